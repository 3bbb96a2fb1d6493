"""Releases over real ssh: delivered, flipped on all hosts together, rolled back, ended after a root died."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from nile.lab import Lab
from tests.agent.worker.copying import tree
from tests.cluster.faults import cut, freeze
from tests.cluster.hosts import clear, patiently, processes, root_of
from tests.cluster.running import Done, Nile

pytestmark = pytest.mark.cluster

HOSTS = [f"h{number:03}" for number in range(1, 7)]
SET = "h[001-006]"
TREE = {"h001": "h[003-004]", "h002": "h[005-006]"}
DEST = "/srv/app"


@pytest.fixture
def nile(fleet: Lab, tmp_path: Path) -> Iterator[Nile]:
    """Six hosts in two stages; what is in their /srv goes afterwards."""
    made = Nile(fleet, tmp_path).with_routes(tree=TREE, timeouts={"lease": "3s", "connect": "3s"})
    yield made
    fleet.heal()
    clear(fleet, HOSTS)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """An application: much that stays the same, and its version."""
    top = tmp_path / "app"
    (top / "lib").mkdir(parents=True)
    for number in range(50):
        (top / f"lib/f{number:02}").write_bytes(os.urandom(2000))
    (top / "lib/again").hardlink_to(top / "lib/f00")
    (top / "run").write_text("#!/bin/sh\nread line\n")
    (top / "run").chmod(0o755)
    return top


def on(nile: Nile, host: str, path: str) -> Path:
    return root_of(nile.lab, host) / DEST.lstrip("/") / path


def now(nile: Nile, which: str = "current") -> list[str]:
    """The version that whoever follows the link finds, host by host."""
    places = [on(nile, host, which) for host in HOSTS]
    return [(place / "version").read_text() if place.is_symlink() else "-" for place in places]


def words(source: Path, version: str, *more: str) -> tuple[str, ...]:
    (source / "version").write_text(version)
    os.utime(source / "version", (int(version), int(version)))
    return ("sync", "-w", SET, "--release", version, *more, f"{source}/", DEST)


def command(nile: Nile, name: str, *rest: str) -> Done:
    return nile.command(name, "--routes", str(nile.routes), *rest)


def deliver(nile: Nile, source: Path, version: str, *more: str) -> Done:
    return command(nile, *words(source, version, "--json", *more))


def codes(done: Done) -> dict[str, Any]:
    return {host: result["code"] for host, result in done.results.items()}


def test_release_patch_and_rollback(nile: Nile, source: Path) -> None:
    deliver(nile, source, "1").all_ok()
    (source / "lib/f07").write_text("patched")
    (source / "run").chmod(0o700)
    done = deliver(nile, source, "2").all_ok()
    assert done.notices[-1] == "2 is current on 6 of 6 hosts"
    assert (now(nile), now(nile, "previous")) == (["2"] * 6, ["1"] * 6)
    for host in HOSTS:
        old, new = (on(nile, host, f"releases/{version}") for version in "12")
        assert (old / "lib/f08").samefile(new / "lib/f08")
        assert (old / "run").stat().st_mode & 0o777 == 0o755
        assert (new / "run").stat().st_mode & 0o777 == 0o700
        assert (new / "lib/again").samefile(new / "lib/f00")
        assert {path.name for path in old.parent.glob(".nile-*")} == {".nile-flip", ".nile-made"}
    assert command(nile, "verify", "-w", SET, f"{source}/", f"{DEST}/current").code == 0

    back = command(nile, "rollback", "-w", SET, DEST)
    assert (back.code, now(nile), now(nile, "previous")) == (0, ["1"] * 6, ["2"] * 6)
    assert "h[001-006] (6)" in back.out
    assert "current  1\nprevious 2\n" in back.out
    listed = command(nile, "releases", "-w", SET, DEST)
    assert (listed.code, listed.out) == (0, back.out)


def test_what_differs_from_the_release_before_comes_as_one_stream(nile: Nile, source: Path) -> None:
    """And that one stays as it is. Little is sent by the root, whatever the releases have."""
    (source / "big").write_bytes(os.urandom(5_000_000))
    deliver(nile, source, "1").all_ok()
    before = [tree(on(nile, host, "releases/1")) for host in HOSTS]
    (source / "lib/f07").write_bytes(os.urandom(40_000))
    (source / "run").chmod(0o700)
    done = deliver(nile, source, "2", "--method", "stream").all_ok()
    assert "one stream for 6 hosts that have the same" in done.notices
    (sent,) = [text for text in done.notices if " by the root, " in text]
    by_root = sent.partition(": ")[2].partition(" by the root")[0]
    assert by_root.endswith("KiB"), sent
    assert 40 <= float(by_root.split()[0]) <= 80, sent
    assert [tree(on(nile, host, "releases/2")) for host in HOSTS] == [tree(source)] * 6
    assert [tree(on(nile, host, "releases/1")) for host in HOSTS] == before
    for host in HOSTS:
        old, new = (on(nile, host, f"releases/{version}") for version in "12")
        linked = {name for name in ("big", "lib/f08", "lib/f07", "run") if (old / name).samefile(new / name)}
        assert linked == {"big", "lib/f08"}
        assert {path.name for path in old.parent.glob(".nile-*")} == {".nile-flip", ".nile-made"}


def test_what_would_be_otherwise_is_said_and_nothing_is_done(nile: Nile, source: Path) -> None:
    deliver(nile, source, "1").all_ok()
    (source / "lib/f07").unlink()
    done = command(nile, *words(source, "2", "-n", "--gather"))
    assert done.code == 0
    assert "extra lib/f07" in done.out
    assert "missing" not in done.out
    assert now(nile) == ["1"] * 6
    assert not on(nile, "h001", "releases/2").exists()


def test_with_a_host_down_nothing_flips_unless_that_is_allowed(nile: Nile, source: Path) -> None:
    deliver(nile, source, "1").all_ok()
    cut(nile.lab, "h005")
    done = deliver(nile, source, "2")
    assert {host: code for host, code in codes(done).items() if host != "h005"} == dict.fromkeys(
        set(HOSTS) - {"h005"}, "quorum"
    )
    assert done.results["h001"]["reason"].endswith("5 of 6 hosts are ready, and 6 have to be")
    assert now(nile) == ["1"] * 6
    done = deliver(nile, source, "2", "--quorum", "80%")
    assert [host for host, code in codes(done).items() if code] == ["h005"]
    assert now(nile) == ["2", "2", "2", "2", "1", "2"]
    nile.lab.heal()
    again = nile.command("sync", "--catch-up", "last", "--json").all_ok()
    assert (set(again.verdicts), again.notices[-1]) == ({"h005"}, "2 is current on 1 of 1 hosts")
    assert (now(nile), now(nile, "previous")) == (["2"] * 6, ["1"] * 6)


HELD = """
import pathlib, sys, time
from nile.cli import main
from nile.events import Decision
from nile.store.recorder import Recorder

record, place = Recorder.record, pathlib.Path(sys.argv.pop(1))

def held(self, events):
    if any(isinstance(event, Decision) for event in events):
        (place / "reached").touch()
        while not (place / "go").exists():
            time.sleep(0.01)
    record(self, events)

Recorder.record = held
main()
"""


@contextmanager
def amid_flips(nile: Nile, source: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A run that delivers 2 where 1 is current: all hosts have flipped but h004, which is frozen.

    The root's store is held up meanwhile where it gets the decision: nobody may have flipped before.
    """
    deliver(nile, source, "1").all_ok()
    name, *rest = words(source, "2")
    line = [sys.executable, "-c", HELD, str(nile.state), name, "--routes", str(nile.routes), *rest]
    argv = nile.lab.root_argv(line)
    with subprocess.Popen(argv, env=nile.environment(), stderr=subprocess.PIPE) as process:
        try:
            patiently((nile.state / "reached").exists, "it is decided", 30.0)
            paths = [on(nile, host, "releases/.nile-flip") for host in HOSTS]
            assert all('"to": "2"' in path.read_text() for path in paths)
            assert now(nile) == ["1"] * 6
            freeze(nile.lab, "h004")
            (nile.state / "go").touch()
            patiently(lambda: now(nile).count("2") == 5, "five have flipped", 20.0)
            yield process
        finally:
            process.send_signal(signal.SIGKILL)
    (worker,) = [each for each in processes(nile.lab, ["h004"]) if "io,zlib" in " ".join(each.argv)]
    os.kill(worker.pid, signal.SIGKILL)  # it never wakes up
    nile.lab.heal()
    patiently(lambda: not processes(nile.lab), "nothing runs any more", 30.0)
    assert now(nile) == ["2", "2", "2", "1", "2", "2"]


@pytest.mark.parametrize("way", ["--finish", "--rollback"])
def test_a_root_that_is_killed_between_flips(nile: Nile, source: Path, way: str) -> None:
    with amid_flips(nile, source) as process:
        process.send_signal(signal.SIGKILL)
    shown = nile.command("show", "last").out
    assert "decided: 2 is to be current in /srv/app on 6 of 6 hosts: h[001-006] (6)" in shown

    told = command(nile, "releases", "-w", SET, DEST)
    assert told.code == 1
    assert "h[001-003,005-006] (5): a flip 1 -> 2 was interrupted, and it flipped" in told.err
    assert "h004 (1): a flip 1 -> 2 was interrupted, and it did not flip" in told.err
    assert f"`nile show {shown.split()[1][:8]}` at its root says what was decided" in told.err
    assert codes(command(nile, "rollback", "-w", SET, "--json", DEST)) == dict.fromkeys(HOSTS, "release")

    assert command(nile, "releases", "-w", SET, way, DEST).code == 0
    assert now(nile) == (["2"] if way == "--finish" else ["1"]) * 6
    assert command(nile, "releases", "-w", SET, DEST).code == 0


def test_who_ends_it_amid_flips_is_told_who_has_flipped(nile: Nile, source: Path) -> None:
    with amid_flips(nile, source) as process:
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=40)
        assert process.returncode == 130
    for words in (
        "the flip to 2 isn't over on h[001-006] (6)",
        "flipped: h[001-003,005-006] (5)",
        "it isn't known whether they flipped: h004 (1)",
        f"`nile releases --finish {DEST}` flips all of these hosts, `--rollback` takes it back on all",
    ):
        assert words in err.decode(), err.decode()
    assert command(nile, "releases", "-w", SET, "--rollback", DEST).code == 0
    assert now(nile) == ["1"] * 6


def test_old_ones_are_removed_but_one_in_use_is_kept(nile: Nile, source: Path) -> None:
    for version in "123":
        deliver(nile, source, version).all_ok()
    os.mkfifo(on(nile, "h003", "pipe"))
    script = f"cd {DEST}/releases/1/lib && (read line < {DEST}/pipe) >/dev/null 2>&1 &"
    assert nile.exec("-w", "h003", "--", script).code == 0
    try:
        deliver(nile, source, "4", "--keep", "1").all_ok()
        found = {
            host: sorted(path.name for path in on(nile, host, "releases").glob("[0-9]")) for host in HOSTS
        }
        assert found == {host: ["1", "3", "4"] if host == "h003" else ["3", "4"] for host in HOSTS}
    finally:
        on(nile, "h003", "pipe").write_text("\n")
    patiently(lambda: not processes(nile.lab, ["h003"]), "nobody uses it any more", 10.0)
    assert command(nile, "releases", "-w", SET, "--keep", "1", DEST).code == 0
    assert not on(nile, "h003", "releases/1").exists()
