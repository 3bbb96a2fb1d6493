"""Releases over real ssh: delivered, flipped on all hosts together, rolled back, ended after a root died."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nile.lab import Lab
from tests.cluster.faults import cut, freeze
from tests.cluster.hosts import clear, patiently, processes, root_of
from tests.cluster.running import Done, Nile
from tests.lab.helpers import eventually

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
        assert not list((old.parent).glob(".nile-[!f]*"))
    assert command(nile, "verify", "-w", SET, f"{source}/", f"{DEST}/current").code == 0

    back = command(nile, "rollback", "-w", SET, DEST)
    assert (back.code, now(nile), now(nile, "previous")) == (0, ["1"] * 6, ["2"] * 6)
    assert "h[001-006] (6)" in back.out
    assert "current  1\nprevious 2\n" in back.out
    listed = command(nile, "releases", "-w", SET, DEST)
    assert (listed.code, listed.out) == (0, back.out)


def test_what_would_be_otherwise_is_said_and_nothing_is_done(nile: Nile, source: Path) -> None:
    deliver(nile, source, "1").all_ok()
    (source / "lib/f07").unlink()
    done = command(nile, *words(source, "2", "-n", "-b"))
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
    deliver(nile, source, "2").all_ok()
    assert (now(nile), now(nile, "previous")) == (["2"] * 6, ["1"] * 6)


class Gate:
    """Holds up one host where it reads what is written down of its last flip: that is a pipe meanwhile."""

    def __init__(self, nile: Nile, host: str) -> None:
        self._path = on(nile, host, "releases/.nile-flip")
        self._next = self._path.with_name("next")
        self._kept = self._path.read_bytes()
        self._close()

    def _close(self) -> None:
        os.mkfifo(self._next)
        self._next.rename(self._path)

    def pass_once(self) -> None:
        """Wait until it reads, and let it; next time it is held up again."""
        with self._path.open("wb") as pipe:
            self._close()
            pipe.write(self._kept)

    def wait_and_open(self, meanwhile: Callable[[], None]) -> None:
        """Wait until it reads; what is done then, is done before it goes on."""
        with self._path.open("wb") as pipe:
            self._next.write_bytes(self._kept)
            self._next.rename(self._path)
            meanwhile()
            pipe.write(self._kept)


@pytest.mark.parametrize("way", ["--finish", "--rollback"])
def test_a_root_that_is_killed_between_flips(nile: Nile, source: Path, way: str) -> None:
    deliver(nile, source, "1").all_ok()

    def staged() -> bool:
        paths = [on(nile, host, "releases/.nile-flip") for host in HOSTS if host != "h006"]
        return all('"to": "2"' in path.read_text() for path in paths)

    def freeze_one() -> None:
        patiently(staged, "all others have staged it", 20.0)
        assert now(nile) == ["1"] * 6
        freeze(nile.lab, "h004")

    name, *rest = words(source, "2")
    argv = nile.argv(name, "--routes", str(nile.routes), *rest)
    with subprocess.Popen(argv, env=nile.environment(), stderr=subprocess.PIPE) as process:
        try:
            making = on(nile, "h006", "releases/.nile-making-2")
            eventually(making.exists, "h006 has begun", 40.0)  # it is there for a moment only
            gate = Gate(nile, "h006")
            gate.pass_once()  # it looks at what there is when it has given the release its name
            gate.wait_and_open(freeze_one)
            patiently(lambda: now(nile).count("2") == 5, "five have flipped", 20.0)
        finally:
            process.send_signal(signal.SIGKILL)
    (worker,) = [each for each in processes(nile.lab, ["h004"]) if "io,zlib" in " ".join(each.argv)]
    os.kill(worker.pid, signal.SIGKILL)  # it never wakes up
    nile.lab.heal()
    patiently(lambda: not processes(nile.lab), "nothing runs any more", 30.0)
    assert now(nile) == ["2", "2", "2", "1", "2", "2"]

    told = command(nile, "releases", "-w", SET, DEST)
    assert told.code == 1
    assert "h[001-003,005-006] (5): a flip 1 -> 2 was interrupted, and it flipped" in told.err
    assert "h004 (1): a flip 1 -> 2 was interrupted, and it did not flip" in told.err
    assert codes(command(nile, "rollback", "-w", SET, "--json", DEST)) == dict.fromkeys(HOSTS, "release")

    assert command(nile, "releases", "-w", SET, way, DEST).code == 0
    assert now(nile) == (["2"] if way == "--finish" else ["1"]) * 6
    assert command(nile, "releases", "-w", SET, DEST).code == 0


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
