"""Files that only root may read and write, for a user who may become it by sudo."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from nile.lab import Lab
from tests.cluster.hosts import clear, patiently, processes, root_of
from tests.cluster.running import Nile
from tests.cluster.test_sync import HOSTS, SLOW, Started, on, under_way

pytestmark = pytest.mark.cluster

USER = "daemon"
SET = "h[001-003]"
MAY_NOT = "h003"
"""Where sudo wants a password."""


@pytest.fixture
def nile(fleet: Lab, tmp_path: Path) -> Iterator[Nile]:
    """Three hosts, of which the third hangs below the first; who logs in is a user who isn't root."""
    assert shutil.which("sudo"), "install sudo, which the tests want"
    users = [line for line in Path("/etc/passwd").read_text().splitlines() if not line.startswith(f"{USER}:")]
    entry = pwd.getpwnam(USER)
    users.append(f"{USER}:x:{entry.pw_uid}:{entry.pw_gid}::/srv/home:/bin/sh")
    bound = []
    for host in HOSTS[:3]:
        own = root_of(fleet, host) / "run/lab"
        (own / "passwd").write_text("\n".join([*users, ""]))
        rule = f"{USER} ALL=(ALL) NOPASSWD: ALL" if host != MAY_NOT else f"{USER} ALL=(ALL) ALL"
        (own / "sudoers").write_text(f"root ALL=(ALL) ALL\n{rule}\n")
        (own / "sudoers").chmod(0o440)
        home = root_of(fleet, host) / "srv/home"
        home.mkdir()
        shutil.chown(home, entry.pw_uid, entry.pw_gid)
        for name in ("passwd", "sudoers"):
            done = fleet.run_on(host, ["mount", "--bind", f"/run/lab/{name}", f"/etc/{name}"])
            assert done.returncode == 0, done.stderr
            bound.append((host, f"/etc/{name}"))
    drawn = {"h001": [MAY_NOT], "h002": []}
    yield Nile(fleet, tmp_path).with_routes(tree=drawn, ssh={"user": USER})
    fleet.heal()
    for host, place in bound:
        assert fleet.run_on(host, ["umount", place]).returncode == 0
    clear(fleet, HOSTS[:3])


def command(nile: Nile, *words: object) -> dict[str, dict[str, object]]:
    done = nile.command(
        str(words[0]), "--routes", str(nile.routes), "-w", SET, "--json", *map(str, words[1:])
    )
    return done.results


def test_what_only_root_may_do_is_done_and_a_refusal_is_named(nile: Nile, tmp_path: Path) -> None:
    source = tmp_path / "app"
    source.mkdir()
    (source / "key").write_text("secret")
    (source / "key").chmod(0o600)
    for host in HOSTS[:3]:
        on(nile, host, "/srv/app").mkdir(mode=0o700)  # root's

    plain = command(nile, "sync", f"{source}/", "/srv/app")
    assert {result["code"] for result in plain.values()} == {"not-writable"}

    for again in range(2):
        found = command(nile, "sync", "--sudo", f"{source}/", "/srv/app")
        assert {host: result["verdict"] for host, result in found.items()} == {
            "h001": "ok",
            "h002": "ok",
            MAY_NOT: "failed",
        }, again
        assert "sudo refuses: sudo: a password is required" in str(found[MAY_NOT]["reason"])
    for host in ("h001", "h002"):
        key = on(nile, host, "/srv/app/key")
        assert (key.read_text(), key.stat().st_uid) == ("secret", 0)
        assert not list(on(nile, host, "/srv/app").glob(".nile*"))

    assert command(nile, "verify", "--sudo", f"{source}/", "/srv/app")["h001"]["verdict"] == "ok"
    back = command(nile, "gather", "--sudo-user", "root", "/srv/app/key", tmp_path / "got")
    assert back["h002"]["verdict"] == "ok"
    assert (tmp_path / "got/h002/key").read_text() == "secret"
    assert not (tmp_path / f"got/{MAY_NOT}").exists()


def test_an_interrupted_run_leaves_nothing_of_root(nile: Nile, tmp_path: Path) -> None:
    source = tmp_path / "app"
    source.mkdir()
    (source / "big").write_bytes(os.urandom(6_000_000))
    for host in HOSTS[:3]:
        on(nile, host, "/srv/app").mkdir(mode=0o700)
    words = ("-w", "h[001-002]", "--sudo", *SLOW, f"{source}/", "/srv/app")
    with Started(nile, *words) as started:
        under_way(nile, "h001", "/srv/app", 1_000_000)
        started.process.send_signal(signal.SIGINT)
        started.wait()
    patiently(lambda: not processes(nile.lab), "nothing runs any more", 20.0)
    assert not list(on(nile, "h001", "/srv/app").iterdir())
