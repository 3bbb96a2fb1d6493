"""What a swarm loses amid it, or is given that is damaged: hosts get all of it, or have a verdict soon."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from nile.lab import Lab
from nile.lab.links import NETWORK, ROOT_ADDRESS
from tests.cluster.conftest import check_nothing_is_left
from tests.cluster.hosts import patiently, processes
from tests.cluster.running import Done, Json, Nile
from tests.cluster.test_swarm import HOSTS, WITHOUT, arrived, nile, nothing_unfinished, peers, wires
from tests.cluster.test_swarm_control import LEASE_S
from tests.cluster.test_sync import copied, on

pytestmark = pytest.mark.cluster
__all__ = ["nile", "peers", "wires"]  # fixtures

SIZE = 5_000_000
"""Bytes, of which most are in files of equal size."""
FILES = 2
PORT = 6969
OWN = f"{NETWORK}.0.9"
"""Where the root is seen by who asks its own tracker; it can be lost."""
OWN_TRACKER = f"http://{OWN}:{PORT + 1}"
SCRAPE = """
import sys, urllib.parse, urllib.request
print(urllib.request.urlopen(sys.argv[1] + urllib.parse.quote(bytes.fromhex(sys.argv[2])), timeout=5).read())
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    top = tmp_path / "source"
    top.mkdir()
    for number in range(FILES):
        (top / f"big{number}").write_bytes(os.urandom(SIZE // FILES))
    return top


class Begun:
    """`nile swarm run --json`, whose lines are there while it runs."""

    def __init__(
        self, nile: Nile, source: Path, peers: Path, *words: object, hosts: Sequence[str] = HOSTS
    ) -> None:
        self._out = nile.state / "lines"
        chosen = ("--routes", nile.routes, "-w", ",".join(hosts), "--json", "--peer-python", peers, *words)
        argv = nile.argv("swarm", "run", *map(str, chosen), f"{source}/", "/srv/copy")
        with self._out.open("wb") as out:
            null, pipe = subprocess.DEVNULL, subprocess.PIPE
            self.process = subprocess.Popen(argv, env=nile.environment(), stdin=null, stdout=out, stderr=pipe)

    def __enter__(self) -> Begun:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()

    def lines(self) -> list[Json]:
        return [
            json.loads(line)
            for line in self._out.read_bytes().splitlines(keepends=True)
            if line[-1:] == b"\n"
        ]

    def swarm(self) -> Json:
        """Where it stands."""
        told = [line for line in self.lines() if line["event"] == "swarm"]
        return told[-1] if told else {"hosts": [], "seed_bytes_sent": 0}

    def wait(self) -> Done:
        _, err = self.process.communicate(timeout=90)
        return Done(self.process.returncode, self._out.read_bytes(), err)


def patient(nile: Nile) -> Nile:
    """Nobody is lost because a machine is busy."""
    return nile.with_routes(timeouts={"lease": "30s"})


def test_who_sends_damaged_pieces_is_banned_and_named_and_nothing_of_that_is_used(
    nile: Nile, source: Path, peers: Path
) -> None:
    """A seeder, whose disk changes what it has once its peer has looked at that.

    Until then hosts get next to nothing: however late that is seen here, most of it is still to come.
    """
    nile, culprit = patient(nile), "h001"
    hosts = [host for host in HOSTS if host not in (culprit, WITHOUT)]
    place = on(nile, culprit, "/srv/copy")
    subprocess.run(["cp", "-a", source, place], check=True)
    words = ("--seeders", culprit, "--bwlimit", 50)
    taking_part = [culprit, *hosts]  # rsync would keep to that limit to the end
    with Begun(nile, source, peers, *words, hosts=taking_part) as begun:
        patiently(lambda: _states(begun).get(culprit) == "complete", "it serves what it has", 30.0)
        for number in range(FILES):
            with (place / f"big{number}").open("r+b") as file:
                file.write(os.urandom(SIZE // FILES))
        limited = nile.command("swarm", "limit", "--host", "2000", "--seed", "2000")
        done = begun.wait().all_ok()
    assert limited.code == 0, limited.err
    copied(nile, source, "/srv/copy", hosts)
    nothing_unfinished(nile)
    (said,) = (text for text in done.notices if "damaged" in text)
    assert re.match(
        rf"damaged pieces came from {culprit}, banned by h\S+ \(\d\): nothing of them was used", said
    )
    by = {host["host"]: host["banned_by"] for host in begun.swarm()["hosts"] if host["banned_by"]}
    assert by.keys() == {culprit}
    assert 1 <= by[culprit] <= len(hosts)


def _states(begun: Begun) -> dict[str, str]:
    return {host["host"]: host["state"] for host in begun.swarm()["hosts"]}


def _done(begun: Begun) -> list[str]:
    return [host for host, state in _states(begun).items() if state in ("placing", "complete", "ended")]


# The tracker.


class OpenTracker:
    """Debian's opentracker on the root machine."""

    url = f"http://{ROOT_ADDRESS}:{PORT}/announce"

    def __init__(self, lab: Lab, place: Path) -> None:
        self._lab = lab
        self._allowed = place / "allowed"
        self._allowed.touch()
        program = shutil.which("opentracker")
        assert program, "this needs opentracker (package opentracker)"
        argv = [program, "-i", ROOT_ADDRESS, "-p", str(PORT), "-P", str(PORT), "-w", str(self._allowed)]
        self.process = subprocess.Popen(
            lab.root_argv(argv), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def allow(self, info_hash: str) -> None:
        self._allowed.write_text(info_hash + "\n")
        self.process.send_signal(signal.SIGHUP)

    def knows(self, info_hash: str) -> int:
        """How many take part."""
        return scraped(self._lab, f"http://{ROOT_ADDRESS}:{PORT}", info_hash)


def scraped(lab: Lab, tracker: str, info_hash: str) -> int:
    """How many take part and haven't all, as a tracker has it."""
    argv = lab.root_argv(["python3", "-c", SCRAPE, f"{tracker}/scrape?info_hash=", info_hash])
    said = subprocess.run(argv, capture_output=True, text=True, check=False).stdout
    return sum(map(int, re.findall(r"10:incompletei(\d+)e", said)))


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that other users can get to."""
    with tempfile.TemporaryDirectory(prefix="nile-test-") as made:
        Path(made).chmod(0o755)
        yield Path(made)


@contextmanager
def opentracker(lab: Lab, place: Path) -> Iterator[OpenTracker]:
    made = OpenTracker(lab, place)
    try:
        yield made
    finally:
        made.process.kill()
        made.process.wait()


@contextmanager
def one_more_address(lab: Lab) -> Iterator[None]:
    """The root has one, as long as this goes on."""
    where = (f"{OWN}/32", "dev", root_port(lab))
    subprocess.run(lab.root_argv(["ip", "addr", "add", *where]), check=True)
    try:
        yield
    finally:
        subprocess.run(lab.root_argv(["ip", "addr", "del", *where]), check=True)


def test_nobody_needs_trackers_that_are_lost(nile: Nile, source: Path, peers: Path, place: Path) -> None:
    """Neither opentracker nor the run's own; both knew them all."""
    nile, lab = patient(nile), nile.lab
    trackers = ("--tracker", OpenTracker.url, "--tracker", f"{OWN_TRACKER}/announce")
    words = (*trackers, "--tracker-at", f"{OWN}:{PORT + 1}", "--bwlimit", 100)
    with Begun(nile, source, peers, *words) as begun:
        with one_more_address(lab), opentracker(lab, place) as tracker:
            found: list[str] = []

            def is_named() -> bool:
                said = " ".join(line["text"] for line in begun.lines() if line["event"] == "notice")
                found.extend(re.findall(r"\b[0-9a-f]{40}\b", said))
                return bool(found)

            patiently(is_named, "it is said what the torrent is", 30.0)
            tracker.allow(found[0])  # who was sooner than that comes again after 17 s
            patiently(lambda: tracker.knows(found[0]) >= len(HOSTS) - 2, "hosts are known there", 45.0)
            assert scraped(lab, OWN_TRACKER, found[0]) >= len(HOSTS) - 2
        assert not scraped(lab, OWN_TRACKER, found[0])
        assert not _done(begun), "it was over too soon"
        nile.command("swarm", "limit", "--host", "none")
        done = begun.wait().all_ok()
    copied(nile, source, "/srv/copy", HOSTS)
    nothing_unfinished(nile)
    assert "the swarm served 5 of 6 hosts" in " ".join(done.notices)


# The seed, and its host.


def test_hosts_that_have_all_of_it_among_them_need_no_seed(nile: Nile, source: Path, peers: Path) -> None:
    nile = patient(nile)
    with Begun(nile, source, peers, "--bwlimit", 200, "--seed-limit", 2000) as begun:
        patiently(lambda: begun.swarm()["seed_bytes_sent"] > 1.5 * SIZE, "all of it is with them", 60.0)
        os.kill(seed(begun.process.pid), signal.SIGKILL)
        assert len(_done(begun)) < len(HOSTS) - 1, "it was over too soon"
        limited = nile.command("swarm", "limit", "--host", "none")
        done = begun.wait().all_ok()
    assert limited.code == 0, limited.err
    copied(nile, source, "/srv/copy", HOSTS)
    nothing_unfinished(nile)
    said = " ".join(done.notices)
    assert "the seed at the root has ended (its peer was killed by signal 9): hosts go on with" in said
    assert "the swarm served 5 of 6 hosts" in said


def seed(pid: int) -> int:
    """The root's peer: the only one below this process that runs what it reads, and no worker."""
    todo = [pid]
    while todo:
        at = todo.pop()
        words = Path(f"/proc/{at}/cmdline").read_bytes().split(b"\0")
        if b"-BSc" in words:
            return at
        for task in Path(f"/proc/{at}/task").iterdir():
            todo += map(int, (task / "children").read_text().split())
    raise AssertionError("no seed is there")


def test_a_root_whose_cable_is_pulled_leaves_nobody_running_and_no_host_without_a_verdict(
    nile: Nile, source: Path, peers: Path
) -> None:
    with Begun(nile, source, peers, "--bwlimit", 100) as begun:
        patiently(lambda: arrived(nile, "h001") > 0, "something is there", 30.0)
        port = root_port(nile.lab)
        try:
            plugged(nile.lab, port, "down")
            patiently(lambda: not processes(nile.lab), "no process is left", 3 * LEASE_S + 10.0)
            done = begun.wait()
        finally:
            plugged(nile.lab, port, "up")
    assert done.verdicts.keys() == set(HOSTS)
    assert "ok" not in done.verdicts.values()
    nothing_unfinished(nile)
    check_nothing_is_left(nile, HOSTS)  # who had its verdict before never heard that it was over


def root_port(lab: Lab) -> str:
    argv = lab.root_argv(["ip", "-o", "-4", "addr", "show", "to", ROOT_ADDRESS])
    return (
        subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()[1].partition("@")[0]
    )


def plugged(lab: Lab, port: str, state: str) -> None:
    subprocess.run(lab.root_argv(["ip", "link", "set", port, state]), check=True)
