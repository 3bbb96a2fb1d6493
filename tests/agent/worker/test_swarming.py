"""A seed and peers, each a real libtorrent, over loopback; and what becomes of the files."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from nile.agent.worker import checking, landing, peering
from nile.agent.worker.landing import OWN
from nile.agent.worker.loop import Loop
from nile.agent.worker.manifest import TEMPORARY, Manifest
from nile.agent.worker.messages import CantError
from nile.agent.worker.metainfo import LEAST_PIECE
from nile.agent.worker.patterns import Patterns
from nile.agent.worker.place import Place
from nile.agent.worker.scanning import changed_since, scan
from nile.agent.worker.signatures import Statement
from nile.agent.worker.swarming import Swarming
from nile.agent.worker.trees import Source
from tests.agent.worker.copying import NAME, SECRET, a_loop
from tests.support import wheels

Message = dict[str, Any]
RUN = os.fsdecode(NAME[len(TEMPORARY) :])
HOW: Message = {"slots": 4, "limit": 0, "python": sys.executable}
TORRENT: Message = {"n": 1, "only": b"", "whole": True, "nonce": b"n" * 32, "name": "nile", "certificate": ""}
MERGED_AS: Message = {
    "keep": False,
    "all": False,
    "differing": b"",
    "delete": False,
    "max_delete": 0,
    "numeric_ids": False,
    "chown": "",
}
SEED = 2
"""The number by which the seed was begun; that of host N is 10 + N."""


@pytest.fixture
def loop() -> Iterator[Loop]:
    with a_loop() as loop:
        yield loop


@pytest.fixture(autouse=True)
def nobody_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever may log in to this machine."""

    def signers(*_: object) -> None:
        raise CantError("no-signers", "nobody is known")

    monkeypatch.setattr(checking, "signers", signers)


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """Large and small files, and what a torrent doesn't carry."""
    top = tmp_path / "source"
    (top / "deep/er").mkdir(parents=True)
    (top / "big").write_bytes(os.urandom(3_000_000))
    (top / "deep/er/small").write_bytes(b"small")
    (top / "deep/run").write_bytes(b"#!/bin/sh\n" * 9000)
    (top / "deep/run").chmod(0o4751)
    (top / os.fsdecode(b"odd \xff\nname")).write_bytes(b"odd")
    (top / "empty").touch()
    os.utime(top / "deep/run", ns=(1, 1_234_567_890_123_456_789))
    return top


FILES = [b"big", b"deep/er/small", b"deep/run", b"odd \xff\nname"]


class Swarm:
    """The root's worker and those of hosts, in one loop."""

    def __init__(self, loop: Loop, top: Path, place: Path) -> None:
        self.loop = loop
        self.top = top
        self.place = place
        self.source = Source([os.fsencode(top) + b"/"], Patterns())
        self.source.read(False)
        self.said: dict[int, list[Message]] = defaultdict(list)
        self.chunks: list[bytes] = []
        self.hash = self.digest = b""
        self.root = Swarming(loop, self._say, self.source.changed)
        self.hosts: dict[int, Swarming] = {}
        self.places: dict[int, Place] = {}

    def _say(self, number: int, fields: Message) -> None:
        self.said[number].append(fields)
        self.loop.stop()

    def until(self, condition: Callable[[], object]) -> None:
        """Go on until then; the loop fails where that takes too long."""
        while not condition():
            self.loop._stopped = False
            self.loop.run()

    def seed(self, only: bytes = b"", **how: Any) -> int:
        """Make the torrent and serve it; the port."""
        self.make(only)
        self.root.seed({**HOW, **how, "n": SEED})
        return self.port(SEED)

    def make(self, only: bytes = b"") -> None:
        """The torrent, which hosts get when they begin."""
        made = self.root.torrent({**TORRENT, "only": only, "whole": not only}, self.source)
        self.hash, self.digest = made["hash"], made["digest"]
        self.chunks = [fields["chunk"] for fields in self.said[1]]

    def trouble(self, number: int) -> str:
        """Why what came to a host wasn't put in place; "" where it was."""
        self.until(lambda: self.has(number, "complete"))
        return next(str(each["trouble"]) for each in self.said[number] if "complete" in each)

    def port(self, number: int) -> int:
        self.until(lambda: any("port" in each or not each.get("more") for each in self.said[number]))
        return next(int(each["port"]) for each in self.said[number] if "port" in each)

    def dest(self, host: int) -> Path:
        return self.place / str(host)

    def found(self, host: int) -> Manifest:
        """What a host has."""
        return scan([(os.fsencode(self.dest(host)), b"")], Patterns())

    def begin(self, host: int, found: Manifest | None = None, **how: Any) -> None:
        """Have a host's peer started."""
        self.hosts[host] = worker = Swarming(self.loop, self._say, list)
        self.dest(host).mkdir(exist_ok=True)
        self.places[host] = Place(os.fsencode(self.dest(host)), NAME, True)
        for chunk in self.chunks:
            worker.metainfo({"n": 9, "chunk": chunk})
        place = self.places[host]
        stated = Statement(RUN, place.dest, self.hash, self.digest, 1, int(time.time()) + 60)
        signed: Message = {"statement": stated.pack(), "signatures": [], "certified": False, "opened": b""}
        worker.peer({**HOW, **MERGED_AS, **signed, **how, "n": 10 + host}, self.places[host], found)

    def join(self, host: int, *others: int, **how: Any) -> None:
        """The same, told of the seed's port or those of others."""
        self.begin(host, **how)
        self.port(10 + host)
        self.connect(10 + host, *others)

    def connect(self, number: int, *ports: int, address: str = "127.0.0.1") -> None:
        worker = self.root if number == SEED else self.hosts[number - 10]
        worker.peers({"n": 8, "what": number, "peers": [[address, port] for port in ports]})

    def has(self, number: int, what: str) -> bool:
        return any(what in fields for fields in self.said[number])

    def ended(self, number: int) -> bool:
        return bool(self.said[number]) and not self.said[number][-1].get("more")

    def last(self, number: int) -> Message:
        self.until(lambda: self.ended(number))
        return self.said[number][-1]

    def progress(self, number: int) -> Message:
        told: list[Message] = [each["progress"] for each in self.said[number] if "progress" in each]
        return told[-1] if told else {"got": 0, "sent": 0, "failed": 0, "peers": 0}

    def end(self) -> None:
        """Stop all of them: nothing is left."""
        all_of_them = [self.root, *self.hosts.values()]
        left = list(all_of_them)

        def stopped(which: Swarming) -> None:
            left.remove(which)
            self.loop.stop()

        for each in all_of_them:
            each.stop(partial(stopped, each))
        self.until(lambda: not left)


@pytest.fixture
def swarm(loop: Loop, top: Path, tmp_path: Path) -> Iterator[Swarm]:
    place = tmp_path / "hosts"
    place.mkdir()
    made = Swarm(loop, top, place)
    yield made
    made.end()
    assert not loop._children
    assert not list(place.glob("*/.nile-sync-*"))


def peers() -> list[int]:
    """Peer processes below this one."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [int(pid) for pid in children if b"FileIO" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def same(top: Path, dest: Path, paths: list[bytes] = FILES) -> None:
    for path in paths:
        one, other = top / os.fsdecode(path), dest / os.fsdecode(path)
        assert one.read_bytes() == other.read_bytes()
        assert one.stat().st_mtime_ns == other.stat().st_mtime_ns


def test_two_hosts_get_all_files_and_the_seed_sends_less_than_both_got(swarm: Swarm, top: Path) -> None:
    port = swarm.seed()
    for host in (1, 2):
        swarm.join(host, port)
    swarm.connect(12, swarm.port(11))
    for host in (1, 2):
        assert swarm.trouble(10 + host) == ""
        same(top, swarm.dest(host))
        assert swarm.source.manifest.entries == swarm.found(host).entries
        swarm.hosts[host].unpeer({"n": 7, "what": 10 + host})
        assert "code" not in swarm.last(10 + host)
    swarm.root.unpeer({"n": 7, "what": SEED})
    size = sum((top / os.fsdecode(path)).stat().st_size for path in FILES)
    assert sum(swarm.progress(10 + host)["got"] for host in (1, 2)) >= 2 * size
    assert swarm.last(SEED)["sent"] <= 2 * size + 150_000
    assert peers() == []


def test_it_is_known_of_whom_it_came(swarm: Swarm) -> None:
    """Whoever connected to whom: of the last host, whose rack is another one, the others are."""
    port = swarm.seed(word="-NLS0000", limit=1_000_000)
    for host, word in enumerate(("-NLH0001", "-NLH0001", "-NLH0002"), start=1):
        swarm.join(host, word=word)
        swarm.connect(10 + host, *(swarm.port(10 + other) for other in range(1, host)))
    for host in (1, 2):
        swarm.connect(10 + host, port)
    swarm.until(lambda: all(swarm.has(10 + host, "complete") for host in (1, 2, 3)))
    near, nearer, far = (swarm.progress(10 + host) for host in (1, 2, 3))
    for told in (near, nearer, far):
        assert 0 < sum(told["from"]) <= told["got"]
    assert far["from"][:2] == [0, 0]
    assert near["from"][0] + nearer["from"][0] > 0
    assert near["from"][1] + nearer["from"][1] > 0


def test_the_seed_goes_to_a_host_by_its_name(swarm: Swarm, top: Path) -> None:
    swarm.seed()
    swarm.begin(1)
    swarm.connect(SEED, swarm.port(11), address="localhost")
    swarm.connect(SEED, 1, address="no.such.name.invalid")
    swarm.until(lambda: swarm.has(11, "complete"))
    same(top, swarm.dest(1))


def test_a_host_that_is_complete_serves_the_next_one_without_the_seed(swarm: Swarm, top: Path) -> None:
    swarm.join(1, swarm.seed())
    swarm.until(lambda: swarm.has(11, "complete"))
    swarm.root.unpeer({"n": 7, "what": SEED})
    swarm.last(SEED)
    swarm.join(2, swarm.port(11))
    swarm.until(lambda: swarm.has(12, "complete"))
    same(top, swarm.dest(2))


def test_a_copy_that_others_are_given_looks_untouched_until_nobody_is(swarm: Swarm) -> None:
    swarm.join(1, swarm.seed())
    swarm.until(lambda: swarm.has(11, "complete"))
    roots = [(os.fsencode(swarm.dest(1)), b"")]
    found = scan(roots, Patterns())
    swarm.hosts[1].unpeer({"n": 7, "what": 11})
    swarm.last(11)
    assert changed_since(found, roots, Patterns()) == []
    swarm.hosts[1].clear()
    assert not list(swarm.dest(1).glob(".nile-sync-*"))
    assert set(changed_since(found, roots, Patterns())) >= set(FILES)  # by ctime alone


def test_what_is_there_already_isnt_fetched(swarm: Swarm, top: Path) -> None:
    dest = swarm.dest(1)
    dest.mkdir()
    subprocess.run(["cp", "-p", str(top / "big"), str(dest)], check=True)
    before = (dest / "big").stat().st_ino
    port = swarm.seed()
    found = scan([(os.fsencode(dest), b"")], Patterns())
    swarm.join(1, port, found=found)
    swarm.until(lambda: swarm.has(11, "complete"))
    same(top, dest)
    assert (dest / "big").stat().st_ino == before
    swarm.hosts[1].unpeer({"n": 7, "what": 11})
    swarm.last(11)
    assert 0 < swarm.progress(11)["got"] < 1_000_000


def test_what_only_seems_to_be_the_same_comes_where_that_is_known(swarm: Swarm, top: Path) -> None:
    dest = swarm.dest(1)
    subprocess.run(["cp", "-a", str(top), str(dest)], check=True)
    times = (dest / "big").stat()
    (dest / "big").write_bytes(os.urandom(times.st_size))
    os.utime(dest / "big", ns=(times.st_atime_ns, times.st_mtime_ns))
    port = swarm.seed()
    swarm.join(1, port, found=swarm.found(1), differing=b"big")
    swarm.until(lambda: swarm.has(11, "complete"))
    same(top, dest)
    assert 3_000_000 <= swarm.progress(11)["whole"] < 3_080_000, "and nothing else does"


def test_who_has_everything_ends_well(swarm: Swarm, top: Path) -> None:
    dest = swarm.dest(1)
    subprocess.run(["cp", "-a", str(top), str(dest)], check=True)
    port = swarm.seed()
    swarm.join(1, port, found=scan([(os.fsencode(dest), b"")], Patterns()))
    swarm.until(lambda: swarm.has(11, "complete"))


def test_files_of_a_host_that_damages_them_are_used_by_nobody(swarm: Swarm, top: Path) -> None:
    swarm.join(1, swarm.seed())
    swarm.until(lambda: swarm.has(11, "complete"))
    swarm.root.unpeer({"n": 7, "what": SEED})
    swarm.last(SEED)
    with (swarm.dest(1) / "big").open("r+b") as file:
        file.write(b"damage" * 100_000)
    swarm.join(2, swarm.port(11))
    swarm.until(lambda: swarm.progress(12)["failed"])
    swarm.until(lambda: swarm.has(12, "banned"))
    assert {each["banned"] for each in swarm.said[12] if "banned" in each} == {"127.0.0.1"}
    assert not swarm.has(12, "complete")
    assert list(swarm.dest(2).iterdir()) == [swarm.dest(2) / os.fsdecode(NAME + OWN)]


def test_who_damages_some_blocks_of_a_piece_is_found_among_those_who_sent_it(swarm: Swarm, top: Path) -> None:
    """The others serve on, and nobody else is banned.

    Each has an address of its own, as a host has: who is under suspicion for another one's
    blocks is pardoned by his. The seed is slow until it is known: there is a next piece by which to know.
    """
    seed = swarm.seed()
    swarm.join(1, seed)
    swarm.until(lambda: swarm.has(11, "complete"))
    with (swarm.dest(1) / "big").open("r+b") as file:
        file.write(os.urandom(3_000_000))
    swarm.root.limit({"n": 7, "what": SEED, "limit": 100_000})
    swarm.join(2, seed)
    swarm.connect(12, swarm.port(11), address="::1")
    swarm.until(lambda: swarm.has(12, "banned"))
    assert not swarm.has(12, "complete")
    swarm.root.limit({"n": 7, "what": SEED, "limit": 0})
    swarm.until(lambda: swarm.has(12, "complete"))
    same(top, swarm.dest(2))
    assert [each["banned"] for each in swarm.said[12] if "banned" in each] == ["::1"]
    assert not swarm.has(11, "banned")


def test_a_source_that_changes_while_it_is_served_is_noticed(swarm: Swarm, top: Path) -> None:
    port = swarm.seed()
    with (top / "big").open("r+b") as file:
        file.write(b"damage" * 500_000)
    swarm.join(1, port)
    assert swarm.last(SEED)["code"] == "source-changed"
    assert not swarm.has(11, "complete")


def test_a_source_that_changes_while_it_is_read_is_noticed(swarm: Swarm, top: Path) -> None:
    (top / "big").write_bytes(b"another")
    with pytest.raises(CantError) as caught:
        swarm.seed()
    assert caught.value.fields["code"] == "source-changed"
    assert "big" in caught.value.fields["reason"]


def test_what_comes_to_be_in_the_source_is_noticed(swarm: Swarm, top: Path) -> None:
    (top / "new").write_bytes(b"new")
    with pytest.raises(CantError, match="changed"):
        swarm.seed()


def test_a_peer_that_is_killed(swarm: Swarm) -> None:
    swarm.seed()
    seed = set(peers())
    swarm.begin(1)
    swarm.port(11)
    (pid,) = set(peers()) - seed
    os.kill(pid, signal.SIGKILL)
    last = swarm.last(11)
    assert last["code"] == "copy"
    assert "signal 9" in last["reason"]
    assert not list(swarm.dest(1).iterdir())


def test_one_that_is_stopped_in_the_middle_leaves_nothing(swarm: Swarm) -> None:
    port = swarm.seed(limit=200_000)
    swarm.join(1, port)
    swarm.until(lambda: swarm.progress(11)["got"])
    swarm.hosts[1].unpeer({"n": 7, "what": 11})
    assert not swarm.last(11).get("code")
    assert not swarm.has(11, "complete")
    assert not list(swarm.dest(1).iterdir())


def test_what_goes_out_is_limited_and_that_can_be_changed(swarm: Swarm) -> None:
    port = swarm.seed(limit=100_000)
    swarm.join(1, port)
    swarm.until(lambda: swarm.progress(11)["got"])
    began, first = time.monotonic(), swarm.progress(11)["got"]
    swarm.until(lambda: time.monotonic() - began > 2)
    assert swarm.progress(11)["got"] - first < 1_000_000
    assert not swarm.has(11, "complete")
    swarm.root.limit({"n": 7, "what": SEED, "limit": 0})
    swarm.until(lambda: swarm.has(11, "complete"))


def test_only_so_many_are_served_at_one_time(swarm: Swarm) -> None:
    """Also at addresses that libtorrent takes for near, and serves beside all others by default."""
    port, hosts = swarm.seed(slots=1, limit=100_000), (1, 2, 3)
    for host in hosts:
        swarm.join(host)
    for host in hosts:
        swarm.connect(10 + host, port)
    swarm.until(lambda: swarm.progress(SEED)["peers"] == 3 and swarm.progress(SEED)["sent"] > 200_000)
    swarm.until(lambda: sum(swarm.progress(10 + host)["serving"] for host in hosts) == 1)
    assert not any(swarm.has(10 + host, "complete") for host in hosts)


def test_one_host_gets_this_part_of_the_pieces_first_and_another_one_that(swarm: Swarm, top: Path) -> None:
    """Neither knows of the other. Each is looked at long before it has its half."""
    port, left = swarm.seed(limit=600_000), {0, 1}
    for host in left:
        swarm.join(host)
        swarm.hosts[host].share({"n": 7, "what": 10 + host, "part": host, "parts": 2})
        swarm.connect(10 + host, port)
    whole = (top / "big").read_bytes()

    def begun() -> list[int]:
        return [host for host in left if swarm.progress(10 + host)["got"] >= 300_000]

    while left:
        swarm.until(begun)
        for host in begun():
            left.remove(host)
            (came,) = swarm.dest(host).glob(".nile-sync-*/0")
            there = came.read_bytes()
            starts = range(0, len(there) - LEAST_PIECE, LEAST_PIECE)
            blocks = [slice(start, start + LEAST_PIECE) for start in starts]
            has = {number for number, block in enumerate(blocks) if there[block] == whole[block]}
            assert len(has) >= 2
            assert {number % 2 for number in has} == {host}


def test_where_no_python_has_libtorrent(swarm: Swarm, monkeypatch: pytest.MonkeyPatch) -> None:
    swarm.seed()
    monkeypatch.setattr(peering, "pythons", lambda given: ["/nowhere/python3", "/bin/false", "/bin/true"])
    swarm.begin(1)
    last = swarm.last(11)
    assert (last["code"], last["reason"]) == ("no-libtorrent", peering.NONE)
    assert not list(swarm.dest(1).iterdir())


def test_the_first_python_that_has_it_is_taken(swarm: Swarm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peering, "pythons", lambda given: ["/bin/false", sys.executable])
    swarm.join(1, swarm.seed())
    swarm.until(lambda: swarm.has(11, "complete"))


def test_one_that_has_none_is_brought_one_takes_part_and_hands_it_on(
    swarm: Swarm, top: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = wheels.pack(tmp_path).read_bytes()
    bare = wheels.bare_python(tmp_path)
    port = swarm.seed()
    monkeypatch.setattr(peering, "pythons", lambda given: [given])
    swarm.begin(1, python=str(bare))
    swarm.until(lambda: swarm.has(11, "lacks"))
    for at in range(0, len(wheel), 32768):
        swarm.hosts[1].carry({"n": 6, "what": 11, "chunk": wheel[at : at + 32768]})
    assert len(swarm.said[6]) == -(-len(wheel) // 32768)
    digest = hashlib.sha256(wheel).digest()
    swarm.hosts[1].load({"n": 7, "what": 11, "python": 0, "digest": digest})
    swarm.port(11)
    swarm.connect(11, port)
    swarm.until(lambda: swarm.has(11, "complete"))
    same(top, swarm.dest(1))
    (said,) = [each["peer"] for each in swarm.said[11] if "port" in each]
    assert said.startswith("libtorrent 2.")
    swarm.begin(2, python=str(bare))
    swarm.until(lambda: swarm.has(12, "lacks"))
    take = {"n": 20, "what": 12, "size": len(wheel), "digest": digest, "secret": SECRET}
    swarm.hosts[2].take(take)
    where = {"address": "127.0.0.1", "port": swarm.port(20), "secret": SECRET}
    swarm.hosts[1].hand({"n": 21, "what": 11, **where})
    assert swarm.last(21) == swarm.last(20) == {}
    swarm.hosts[2].load({"n": 22, "what": 12, "python": 0, "digest": digest})
    swarm.port(12)
    swarm.connect(12, port)
    swarm.until(lambda: swarm.has(12, "complete"))
    same(top, swarm.dest(2))


def test_one_that_takes_no_part_hands_nothing_on(swarm: Swarm) -> None:
    swarm.join(1, swarm.seed())
    swarm.hosts[1].unpeer({"n": 7, "what": 11})
    swarm.last(11)
    for do, number in (("hand", 20), ("take", 21)):
        getattr(swarm.hosts[1], do)({"n": number, "what": 11})
        assert swarm.last(number) == {"code": "copy", "reason": "it takes part no more"}


def test_one_that_is_too_old_is_none(swarm: Swarm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "libtorrent.py").write_text("__version__ = '1.2.9.0'\n")
    old = tmp_path / "old"
    old.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path} exec {sys.executable} "$@"\n')
    old.chmod(0o755)
    monkeypatch.setattr(peering, "pythons", lambda given: [given])
    swarm.seed()
    swarm.begin(1, python=str(old))
    swarm.until(lambda: swarm.has(11, "lacks"))
    assert not swarm.has(11, "port")


def test_where_a_file_has_only_one_name(swarm: Swarm, top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landing, "can_link", lambda directory: False)
    swarm.join(1, swarm.seed())
    assert "code" not in swarm.last(11)
    assert swarm.trouble(11) == ""
    assert swarm.source.manifest.entries == swarm.found(1).entries
    assert {path.stat().st_nlink for path in swarm.dest(1).rglob("*") if path.is_file()} == {1}


def test_a_full_disk(swarm: Swarm, mounted: Path) -> None:
    port = swarm.seed()
    (swarm.place / "1").symlink_to(mounted)
    swarm.join(1, port)
    assert swarm.last(11)["code"] == "disk-full"


def test_nothing_is_written_where_a_link_leads(swarm: Swarm, top: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    swarm.dest(1).mkdir()
    (swarm.dest(1) / "deep").symlink_to(outside)
    swarm.join(1, swarm.seed())
    assert swarm.trouble(11) == ""
    assert not list(outside.iterdir())
    assert swarm.source.manifest.entries == swarm.found(1).entries


def test_a_directory_that_is_in_the_way_stays(swarm: Swarm, top: Path) -> None:
    (swarm.dest(1) / "big/mine").mkdir(parents=True)
    swarm.join(1, swarm.seed())
    assert "in the way (big)" in swarm.trouble(11)
    assert not list(swarm.dest(1).glob(".nile-sync-*")), "whoever brings the rest needs the room"
    assert "code" not in swarm.last(11)
    assert (swarm.dest(1) / "big/mine").is_dir()
    same(top, swarm.dest(1), FILES[1:])


def test_what_the_source_doesnt_have_goes_only_where_that_is_known(swarm: Swarm, top: Path) -> None:
    for host in (1, 2):
        (swarm.dest(host) / "old").mkdir(parents=True)
        (swarm.dest(host) / "old/file").write_text("x")
    how: Message = {"delete": True, "max_delete": None}
    swarm.join(1, swarm.seed(), found=swarm.found(1), **how)
    assert swarm.trouble(11) == ""
    assert swarm.source.manifest.entries == swarm.found(1).entries
    swarm.root.unpeer({"n": 7, "what": SEED})
    swarm.last(SEED)
    for each in (1, SEED):
        swarm.said[each].clear()
    swarm.join(2, swarm.seed(b"deep/run"), found=swarm.found(2), **how)
    assert swarm.trouble(12) == ""
    assert (swarm.dest(2) / "old/file").exists()
    assert not (swarm.dest(2) / "big").exists()
    same(top, swarm.dest(2), [b"deep/run"])


def test_one_that_is_stopped_while_it_is_put_in_place(swarm: Swarm) -> None:
    swarm.join(1, swarm.seed())
    swarm.until(lambda: swarm.has(11, "merging"))
    swarm.hosts[1].unpeer({"n": 7, "what": 11})
    swarm.last(11)
    assert not swarm.has(11, "complete")
    assert not list(swarm.dest(1).glob(".nile-sync-*"))


def test_what_isnt_whole_is_put_nowhere(swarm: Swarm, monkeypatch: pytest.MonkeyPatch) -> None:
    swarm.join(1, swarm.seed())
    merge = landing.Landing.merge

    def lose(self: landing.Landing, *args: Any) -> None:
        (Path(os.fsdecode(self.directory)) / "0").unlink()
        merge(self, *args)

    monkeypatch.setattr(landing.Landing, "merge", lose)
    assert "wasn't downloaded" in swarm.trouble(11)
    assert not list(swarm.dest(1).iterdir())


def test_a_torrent_that_cant_be_read(swarm: Swarm) -> None:
    swarm.chunks = [b"garbage"]
    with pytest.raises(CantError, match="can't be read"):
        swarm.begin(1)


def test_a_source_of_which_a_torrent_carries_nothing(swarm: Swarm, top: Path) -> None:
    swarm.join(1, swarm.seed(b"empty"))
    assert swarm.trouble(11) == ""
    assert (swarm.dest(1) / "empty").stat().st_size == 0
    assert not (swarm.dest(1) / "big").exists()


PARENT = """
import sys
from nile.agent.worker.loop import Loop
from nile.agent.worker.peering import Peering
loop = Loop()
peer = Peering(loop, [sys.executable], lambda message: print(peer._process.pid, flush=True), print)
loop.run()
"""


def test_a_peer_ends_with_its_worker_however_that_ends() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE)
    assert parent.stdout
    try:
        pid = int(parent.stdout.readline())
        os.kill(pid, 0)
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()
    end = time.monotonic() + 10
    while _lives(pid):
        assert time.monotonic() < end
        time.sleep(0.02)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
