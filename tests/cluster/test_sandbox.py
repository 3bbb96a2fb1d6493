"""Commands in a sandbox on real hosts: as root, and as a user who isn't."""

from __future__ import annotations

import contextlib
import pwd
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from nile.lab import Lab
from tests.cluster.hosts import clear, commands, root_of
from tests.cluster.running import Nile
from tests.cluster.test_commands import SERVICE, TREE

pytestmark = pytest.mark.cluster

USER = "daemon"
SET = "h[001-003]"
OTHERS = "h003"
"""Who logs in there isn't root."""


@contextlib.contextmanager
def another_user(lab: Lab, host: str) -> Iterator[None]:
    """One that has a home below /srv on this host, and may log in."""
    entry = pwd.getpwnam(USER)
    users = [line for line in Path("/etc/passwd").read_text().splitlines() if not line.startswith(f"{USER}:")]
    users.append(f"{USER}:x:{entry.pw_uid}:{entry.pw_gid}::/srv/home:/bin/sh")
    (root_of(lab, host) / "run/lab/passwd").write_text("\n".join([*users, ""]))
    home = root_of(lab, host) / "srv/home"
    home.mkdir()
    shutil.chown(home, entry.pw_uid, entry.pw_gid)
    assert lab.run_on(host, ["mount", "--bind", "/run/lab/passwd", "/etc/passwd"]).returncode == 0
    try:
        yield
    finally:
        assert lab.run_on(host, ["umount", "/etc/passwd"]).returncode == 0
        clear(lab, [host])


@pytest.fixture
def held(fleet: Lab, tmp_path: Path) -> Iterator[Nile]:
    """The third of three hosts hangs below the first, and is logged in to as a user who isn't root."""
    made = Nile(fleet, tmp_path)
    with another_user(fleet, OTHERS):
        hosts = {OTHERS: {"user": USER}}
        yield made.with_routes(tree={"h001": [OTHERS], "h002": []}, hosts=hosts)


def test_nothing_outlives_it_and_it_sees_no_other_process(nile: Nile, fleet: Lab) -> None:
    command = f"{SERVICE}; ls /proc | grep -c '^[0-9]'"
    done = nile.json("-w", SET, *TREE, "--sandbox", "pidns", "--", command).all_ok()
    assert all(int(number) < 10 for host in done.results for number in done.stdout_of(host).split())
    assert [result["leftover"] for result in done.results.values()] == [[], [], []]
    assert commands(fleet) == []


def test_where_it_can_not_be_had_nothing_is_started(held: Nile) -> None:
    """Part of /proc is covered on a lab's host: who isn't root can't have another one there."""
    done = held.json("-w", SET, "--sandbox", "pidns", "--", "id -un")
    assert done.verdicts == {"h001": "ok", "h002": "ok", OTHERS: "failed"}
    told = done.results[OTHERS]
    assert (told["code"], told["stdout"]) == ("spawn", "")
    assert told["reason"].startswith("--sandbox pidns can't be had here (this user may mount no /proc: ")


def test_a_time_out_ends_all_of_it(nile: Nile, fleet: Lab) -> None:
    words = ("-u", "1", "--grace", "0.2", "-w", SET, *TREE, "--sandbox", "pidns", "--")
    done = nile.json(*words, f"{SERVICE}; trap '' TERM; sleep 4711; sleep 4711")
    assert set(done.verdicts.values()) == {"timeout"}
    assert {result["reason"] for result in done.results.values()} == {
        "it ran longer than allowed and was killed (seen dead)"
    }
    assert commands(fleet) == []


def test_it_writes_to_its_scratch_alone(held: Nile, fleet: Lab) -> None:
    command = "touch ./x /srv/x /tmp/x; mktemp >/dev/null && echo $NILE_SANDBOX; [ $TMPDIR = $NILE_SCRATCH ]"
    done = held.json("-w", SET, "--sandbox", "strict", "--", command).all_ok()
    assert {done.stdout_of(host) for host in done.results} == {"strict/namespaces\n"}
    for host in done.results:
        assert done.results[host]["stderr"].count("Read-only file system") == 3
    assert "--sandbox strict" in held.command("show", "last").out
