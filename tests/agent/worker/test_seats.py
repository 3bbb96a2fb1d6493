"""Seats of a chain, with real rsync: what may be applied, and what a seat says."""

from __future__ import annotations

import errno
import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from nile.agent.worker import chain, standstill, streaming
from nile.agent.worker.chain import HELD
from nile.agent.worker.copies import Copies
from nile.agent.worker.loop import Loop
from nile.agent.worker.meeting import Dial
from nile.agent.worker.running import Ending
from nile.agent.worker.streaming import Streaming
from nile.agent.worker.streams import File
from nile.agent.worker.taping import Tape
from tests.agent.worker.chaining import HOST, MIB, descriptors
from tests.agent.worker.copying import NAME, SECRET, a_loop, contents, installed, litter
from tests.agent.worker.taping import clone, old_and_new, record
from tests.agent.worker.test_pushing import same

RECORDING, SERVED, SEAT = 1, 2, 10
COPY: dict[str, Any] = {
    "delete": True,
    "excludes": [],
    "checksum": False,
    "whole": False,
    "numeric_ids": False,
    "chown": b"",
    "bwlimit": 0,
    "max_delete": 1000,
}


def digest(data: bytes) -> bytes:
    """What the root says of a stream."""
    return hashlib.blake2b(data, digest_size=32).digest()


class Workers:
    """The root's streams and those of hosts, in one loop; what they say is kept by the number it is for."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.said: dict[int, list[dict[str, Any]]] = {}
        self.root = Streaming(loop, self._say, list)
        self.hosts = Streaming(loop, self._say, list)
        self._numbers = iter(range(SERVED, SEAT))
        self._fd = os.memfd_create("stream")
        self.file = File(self._fd)

    def _say(self, number: int, fields: dict[str, Any]) -> None:
        assert not self.ended(number), "it spoke after it was over"
        self.said.setdefault(number, []).append(fields)

    def ended(self, number: int) -> dict[str, Any]:
        """How it ended; nothing, if it hasn't."""
        return next((each for each in self.said.get(number, []) if not each.get("more")), {})

    def events(self, number: int) -> list[dict[str, Any]]:
        return [each["event"] for each in self.said.get(number, []) if "event" in each]

    def spool(self, data: bytes, finished: bool = True) -> None:
        """This is what was recorded."""
        os.write(self._fd, data)
        self.root._tapes[RECORDING] = cast(Tape, SimpleNamespace(file=self.file, stop=lambda idle: idle()))
        if finished:
            self.file.finish(len(data))
        else:
            self.file.limit(len(data))

    def join(self, number: int, dest: Path, **more: Any) -> int:
        """Have a seat for that copy: its port."""
        rsync = installed()
        recorded = {"has": sorted(rsync.has), "version": list(rsync.version)}
        fields = {"n": number, "secret": SECRET, "identity": b"", "ring": MIB, "recorded": recorded}
        message = {**fields, "copy": COPY, "temporary": NAME, **more}
        return int(self.hosts.join(message, rsync, os.fsencode(dest))["port"])

    def serve(self, port: int, address: str = HOST) -> int:
        """The root serves who waits there: by this number."""
        number = next(self._numbers)
        where = {"address": address, "port": port, "secret": SECRET}
        self.root.serve({"n": number, "what": RECORDING, "identity": b"", **where})
        return number

    def last(self, number: int) -> None:
        self.hosts.last(number)

    def confirm(self, number: int, value: bytes) -> None:
        self.hosts.confirm({"what": number, "digest": value})

    def wait(self, condition: Callable[[], object]) -> None:
        def look() -> None:
            if condition():
                self.loop.stop()
            else:
                self.loop.at(self.loop.now() + 0.005, look)

        self.loop._stopped = False
        look()
        self.loop.run()

    def wait_has_all(self, number: int) -> dict[str, Any]:
        """Until it has the whole stream: what it says of that."""
        self.wait(lambda: any(each["kind"] == "end" for each in self.events(number)))
        return next(each for each in self.events(number) if each["kind"] == "end")

    def wait_ended(self, number: int) -> dict[str, Any]:
        self.wait(lambda: self.ended(number))
        return self.ended(number)

    def close(self) -> None:
        idle: list[int] = []
        self.root.stop(lambda: idle.append(1))
        self.hosts.stop(lambda: idle.append(2))
        self.wait(lambda: len(idle) == 2)
        os.close(self._fd)


@contextmanager
def workers() -> Iterator[Workers]:
    """Nothing of them is left open afterwards."""
    before = descriptors()
    with a_loop() as loop:
        both = Workers(loop)
        try:
            yield both
        finally:
            both.close()
    assert descriptors() == before


@pytest.fixture(scope="module")
def taped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, bytes]:
    """A source, an older copy, and what was recorded of the one against the other."""
    source, host = old_and_new(tmp_path_factory.mktemp("taped"))
    tape = record(source, clone(host, "recorded against"), delete=True)
    stream = tape.stream
    assert tape.spool.digest == digest(stream)
    tape.spool.close()
    return source, host, stream


@pytest.fixture
def dest(tmp_path: Path, taped: tuple[Path, Path, bytes]) -> Path:
    """One more older copy."""
    return clone(taped[1], str(tmp_path / "dest"))


@pytest.fixture
def forged(tmp_path: Path, taped: tuple[Path, Path, bytes]) -> bytes:
    """What somebody else recorded: the same but for what is in a file."""
    evil = clone(taped[0], str(tmp_path / "evil"))
    about = (evil / "a").stat()
    (evil / "a").write_bytes(b"bad")
    os.utime(evil / "a", ns=(about.st_atime_ns, about.st_mtime_ns))
    tape = record(evil, clone(taped[1], str(tmp_path / "recorded against")), delete=True)
    stream = tape.stream
    tape.spool.close()
    return stream


# The digest


def test_the_end_is_applied_once_the_digest_was_confirmed(
    taped: tuple[Path, Path, bytes], dest: Path
) -> None:
    before = contents(dest)
    with workers() as both:
        both.spool(taped[2])
        both.serve(both.join(SEAT, dest))
        both.last(SEAT)
        assert both.wait_has_all(SEAT)["digest"] == digest(taped[2])
        later = both.loop.now() + 0.3
        both.wait(lambda: both.loop.now() > later)
        assert {name: there for name, there in contents(dest).items() if "nile-sync" not in name} == before
        both.confirm(SEAT, digest(taped[2]))
        assert "code" not in both.wait_ended(SEAT)
    same(taped[0], dest)


def test_a_digest_may_be_known_before_the_end_has_come(taped: tuple[Path, Path, bytes], dest: Path) -> None:
    with workers() as both:
        both.spool(taped[2])
        port = both.join(SEAT, dest)
        both.confirm(SEAT, digest(taped[2]))
        both.serve(port)
        both.last(SEAT)
        assert "code" not in both.wait_ended(SEAT)
    same(taped[0], dest)


def test_what_was_forged_on_the_way_is_not_applied(
    taped: tuple[Path, Path, bytes], dest: Path, forged: bytes
) -> None:
    before = contents(dest)
    with workers() as both:
        both.spool(forged)
        both.serve(both.join(SEAT, dest))
        both.last(SEAT)
        both.wait_has_all(SEAT)
        both.confirm(SEAT, digest(taped[2]))
        assert both.wait_ended(SEAT)["code"] == "corrupt"
    assert contents(dest) == before
    assert litter(dest) == []


def test_what_was_forged_to_have_an_end_before_its_end_is_told(
    taped: tuple[Path, Path, bytes], dest: Path, forged: bytes
) -> None:
    """rsync renames then, though the rest is withheld: the copy is wrong, whatever its times say."""
    with workers() as both:
        both.spool(forged + bytes(2 * HELD))
        both.serve(both.join(SEAT, dest))
        both.last(SEAT)
        both.wait(lambda: (dest / "a").read_bytes() == b"bad")
        both.wait_has_all(SEAT)
        both.confirm(SEAT, digest(taped[2]))
        # What follows its end may be too much for rsync itself, before or after that.
        assert both.wait_ended(SEAT)["code"] in ("corrupt", "broken", "protocol")


INPLACE, APPEND, APPEND_VERIFY, COMPRESSED, CHECKSUM = 0x1000, 0x2000, 0x4000, 0x100, 0x40


@pytest.mark.parametrize("flags", [INPLACE, APPEND, APPEND_VERIFY, COMPRESSED, CHECKSUM, 0x8000, 1 << 31])
@pytest.mark.parametrize("hashed", [True, False])
def test_what_was_forged_to_have_rsync_do_something_else_never_reaches_it(
    taped: tuple[Path, Path, bytes], dest: Path, flags: int, hashed: bool
) -> None:
    """With --inplace it would write to files under their names, whatever became of the digest."""
    before = contents(dest)
    begins = int.from_bytes(taped[2][:4], "little") | flags
    with workers() as both:
        both.spool(begins.to_bytes(4, "little") + taped[2][4:], finished=False)
        both.serve(both.join(SEAT, dest, hashed=hashed))
        seat = both.hosts._seats[SEAT]
        ended = both.wait_ended(SEAT)
    assert (ended["code"], "flags" in ended["reason"]) == ("corrupt", True)
    assert seat._result is not None
    assert seat._result.progress.applied == 0
    assert contents(dest) == before
    assert litter(dest) == []


def test_an_rsync_that_ends_well_before_it_may_is_taken_for_forgery(
    taped: tuple[Path, Path, bytes], dest: Path
) -> None:
    with workers() as both:
        both.join(SEAT, dest)
        applying = both.hosts._seats[SEAT]._applying
        assert applying is not None
        really = applying._done
        applying._done = lambda _: really(Ending("", ""))
        applying.abort()
        ended = both.wait_ended(SEAT)
    assert (ended["code"], "before" in ended["reason"]) == ("corrupt", True)


def test_in_the_clear_nothing_is_hashed_and_nothing_waits(
    taped: tuple[Path, Path, bytes], dest: Path
) -> None:
    with workers() as both:
        both.spool(taped[2])
        both.serve(both.join(SEAT, dest, hashed=False), "::1")
        both.last(SEAT)
        assert "digest" not in both.wait_has_all(SEAT), "and IPv6 is a way as good as any"
        assert "code" not in both.wait_ended(SEAT)
    same(taped[0], dest)


# What a seat says


def test_an_rsync_that_is_at_it_is_a_word_of_life(
    taped: tuple[Path, Path, bytes], dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standstill, "LOOK_S", 0.01)
    monkeypatch.setattr(streaming, "ALIVE_S", 0.3)
    with workers() as both:
        port = both.join(SEAT, dest)
        one = both.hosts._seats[SEAT]._applying
        assert one is not None
        steps = iter(range(MIB))
        monkeypatch.setattr(one._standstill, "_done", lambda: (next(steps),))
        said: list[float] = []

        def alive() -> int:
            words = sum(fields.get("alive") is True for fields in both.said.get(SEAT, []))
            if words > len(said):
                said.append(both.loop.now())
            return words

        both.wait(lambda: alive() == 3)
        assert min(after - before for before, after in pairwise(said)) > 0.28
        monkeypatch.setattr(one._standstill, "_done", lambda: (0,))
        quiet = both.loop.now() + 0.6
        both.wait(lambda: both.loop.now() > quiet)
        assert alive() <= 4, "it says so while nothing moves"
        both.confirm(SEAT, digest(taped[2]))
        both.spool(taped[2])
        both.serve(port)
        both.last(SEAT)
        assert "code" not in both.wait_ended(SEAT)


# The root's seats


def test_a_seat_of_the_root_is_over_if_nobody_is_found_there(taped: tuple[Path, Path, bytes]) -> None:
    with workers() as both:
        both.spool(taped[2])
        number = both.serve(1)
        assert both.wait_ended(number)["sent"] == 0
        assert [(each["kind"], each["code"]) for each in both.events(number)] == [("successor", "refused")]
        assert (both.root._seats, both.file.changed) == ({}, [])


def test_a_seat_of_the_root_is_over_if_its_successor_breaks(
    taped: tuple[Path, Path, bytes], dest: Path
) -> None:
    with workers() as both:
        both.spool(taped[2][:HELD], finished=False)
        number = both.serve(both.join(SEAT, dest))
        both.wait(lambda: both.events(number))
        both.hosts.leave(SEAT)
        both.wait_ended(number)
        assert [each["code"] for each in both.events(number)] == ["", "broken"]
        assert (both.root._seats, both.file.changed) == ({}, [])


@pytest.mark.parametrize(
    ("loopback", "address", "code"),
    [(False, HOST, ""), (False, "::1", ""), (True, HOST, ""), (True, "::1", "refused")],
)
def test_a_copy_is_awaited_at_all_addresses_or_at_loopback(
    dest: Path, loopback: bool, address: str, code: str
) -> None:
    with a_loop() as loop:
        said: list[str] = []
        copies = Copies(loop, lambda *_: None, list)
        copies.rsync = installed()
        message = {"n": 1, "loopback": loopback, "secret": SECRET}
        port = copies.receive(message, os.fsencode(dest), NAME)["port"]

        def met(connection: Any, code: str, _: str) -> None:
            said.append(code)
            if connection is not None:
                connection.close()
            copies.stop(loop.stop)

        Dial(loop, address, port, SECRET, loop.now() + 5, met)
        loop.run()
        assert said == [code]


class TestThatCanNotBegin:
    """For want of descriptors, say."""

    @pytest.mark.parametrize("calls", range(2))
    def test_a_place_that_can_not_be_taken_is_none(
        self, dest: Path, monkeypatch: pytest.MonkeyPatch, calls: int
    ) -> None:
        rsync = installed()
        monkeypatch.setattr(sys.modules[__name__], "installed", lambda: rsync)
        with workers() as both:
            with monkeypatch.context() as patch:
                seen = iter(range(calls))
                for name in ("pipe", "open"):
                    patch.setattr(os, name, failing_after(seen, getattr(os, name)))
                with pytest.raises(OSError, match="Too many open files"):
                    both.join(SEAT, dest)
            assert both.hosts._seats == {}
            assert both.join(SEAT + 1, dest) > 0

    def test_one_that_finds_no_port_leaves_nothing(self, dest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with workers() as both:
            with monkeypatch.context() as patch:
                patch.setattr(chain, "Listener", failing_after(iter(()), list))
                with pytest.raises(OSError, match="Too many open files"):
                    both.join(SEAT, dest)
            both.wait(lambda: not both.hosts._seats)
            assert not litter(dest)

    @pytest.mark.parametrize("recorded", [{}, {"recorded": {"archive": True}}], ids=["rsync", "archive"])
    def test_nor_does_one_that_has_no_memory(
        self, dest: Path, monkeypatch: pytest.MonkeyPatch, recorded: dict[str, Any]
    ) -> None:
        with workers() as both:
            before = descriptors()
            with monkeypatch.context() as patch:
                patch.setattr(streaming, "Node", failing_after(iter(()), list))
                with pytest.raises(OSError, match="Too many open files"):
                    both.join(SEAT, dest, **recorded)
            assert both.hosts._seats == {}
            both.wait(lambda: not both.loop._children and not litter(dest))
            assert descriptors() == before

    def test_nor_does_one_at_the_root_of_what_is_not_recorded(self) -> None:
        with workers() as both:
            assert both.ended(both.serve(1))["reason"] == "there is nothing recorded"
            assert both.root._seats == {}


def failing_after(calls: Iterator[int], function: Callable[..., Any]) -> Callable[..., Any]:
    """The same, as long as there are calls; then it fails."""

    def called(*words: Any, **more: Any) -> Any:
        if next(calls, None) is None:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return function(*words, **more)

    return called
