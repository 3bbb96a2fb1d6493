"""Chains over loopback: the slow one is known by name, and nobody waits for who is gone."""

from __future__ import annotations

import os
import socket
import zlib
from itertools import pairwise

import pytest

from nile.agent import wire
from nile.agent.worker import downstream, segments
from nile.agent.worker.reports import Event, Progress
from nile.agent.worker.segments import FROM
from nile.agent.worker.streams import File
from tests.agent.worker.chaining import HOST, MIB, RING, SIZE, ByHand, Host, Turns, a_chain, finished
from tests.agent.worker.copying import SECRET

# Who is slow, or gone


def test_a_slow_applier_holds_up_the_chain_and_is_named() -> None:
    with a_chain(SIZE, 3) as chain:
        slow = chain.hosts[1]
        slow.pipe.pause()
        chain.join()
        finished(chain)
        chain.settle()
        at = [host.node.progress() for host in chain.all]
        piped = at[2].applied
        assert at[2].received == piped + RING, "its ring is full"
        assert at[1].received <= at[2].received + RING // 4, "and nobody runs away from it"
        assert at[0].sent <= at[1].received + RING // 4 + RING
        assert chain.standing() == [(0, 1), (0, 1), (1, 0), (0, 0)], "the last one is hungry, not slow"
        slow.pipe.go_on()
        chain.wait_done()
        chain.complete(*chain.hosts)


@pytest.mark.parametrize("paused", [[], [0], [2], [0, 1, 2]])
def test_who_waits_sleeps(paused: list[int]) -> None:
    with a_chain(SIZE, 3) as chain:
        turns = Turns(chain.loop)
        for i in paused:
            chain.hosts[i].pipe.pause()
        chain.join()
        chain.file.limit(SIZE)
        chain.settle()
        before = turns.count
        chain.settle()
        assert turns.count == before
        finished(chain)
        chain.settle()
        before = turns.count
        chain.settle()
        assert turns.count == before


def test_what_an_applier_takes_slowly_arrives() -> None:
    with a_chain(MIB, 2) as chain:
        slow = chain.hosts[0].pipe
        slow.piece, slow.every_s = 10_000, 0.002
        chain.join()
        finished(chain)
        chain.wait_done()
        chain.complete(*chain.hosts)


def test_a_slow_successor_holds_us_up_by_a_quarter() -> None:
    with a_chain(SIZE, 1) as chain:
        host = chain.hosts[0]
        slow = ByHand(chain)
        host.pass_to(slow.listen())
        slow.wait_met()
        slow.greet(0, SIZE)
        chain.wait(lambda: host.said("successor") == [""])
        chain.root.pass_to(host.await_one())
        finished(chain)
        chain.settle()
        now = host.node.progress()
        assert (now.received, now.forwarded, now.sent) == (RING // 4, 0, RING // 4)
        assert chain.standing() == [(0, 1)] * 2
        slow.greet(RING // 4, SIZE)
        chain.wait(lambda: host.node.progress().received == RING // 2)
        slow.close()
        chain.wait(lambda: "broken" in host.said("successor"))
        assert host.event("successor", "broken").offset == RING // 4
        host.node.last()
        chain.wait_done()
        chain.complete(host)
        assert not host.ended().passed


def test_who_had_to_let_others_have_their_turn_goes_on_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downstream, "BURST", 1000)
    monkeypatch.setattr(segments, "MOST_SEGMENT", 1000)
    with a_chain(100_000, 0) as chain:
        host = Host(chain, chain.file, applies=True)
        chain.readers.append(host.pipe)
        below = ByHand(chain)
        host.pass_to(below.listen())
        below.wait_met()
        below.greet(0, SIZE)
        finished(chain)
        chain.wait(lambda: len(below.got) == 12 + 100 * (4 + 1000) + 16)
        chain.wait(lambda: host.said("applier") == [""])
        host.node.stop()
        below.close()


def test_more_than_was_granted_is_not_sent() -> None:
    with a_chain(SIZE, 0) as chain:
        wary = ByHand(chain)
        chain.root.pass_to(wary.listen())
        finished(chain)
        wary.wait_met()
        wary.greet(0, 5000)
        assert wary.says(12 + 4 + 5000) == segments.word(FROM, 0) + segments.segment(5000) + chain.data[:5000]
        chain.settle()
        assert (wary.got, chain.root.node.progress().sent) == (b"", 5000)
        wary.close()


def test_an_applier_that_dies_ends_nothing() -> None:
    with a_chain(SIZE, 3) as chain:
        host = chain.hosts[1]
        chain.join()
        chain.when(lambda: host.node.progress().received > MIB, host.pipe.die)
        finished(chain)
        chain.wait_done()
        chain.complete(chain.hosts[0], chain.hosts[2])
        result = host.ended()
        assert (result.code, result.total, result.applied, result.passed) == ("", SIZE, False, True)
        assert host.said("applier") == ["failed"]
        assert host.event("applier", "failed").reason == os.strerror(32)
        assert 0 < host.event("applier", "failed").offset < SIZE


def test_a_successor_that_can_not_be_reached_is_reported_and_held_a_place_for() -> None:
    with socket.socket() as nobody, a_chain(SIZE, 2) as chain:
        nobody.bind((HOST, 0))
        first, second = chain.hosts
        first.pass_to(nobody.getsockname()[1])
        chain.root.pass_to(first.await_one())
        finished(chain)
        chain.wait(lambda: "refused" in first.said("successor"))
        chain.settle()
        assert first.node.progress().received == RING // 2
        second.node.last()
        first.pass_to(second.await_one())
        chain.wait_done()
        chain.complete(first, second)


def test_a_place_is_not_held_for_ever() -> None:
    with socket.socket() as nobody, a_chain(SIZE, 1, hold_s=0.2) as chain:
        nobody.bind((HOST, 0))
        host = chain.hosts[0]
        host.pass_to(nobody.getsockname()[1])
        chain.root.pass_to(host.await_one())
        finished(chain)
        chain.wait_done()
        chain.complete(host)
        assert host.said("successor") == ["refused"]
        assert host.ended().progress.at > 0.2
        assert host.ended().progress.successor_s > 0.05


def test_a_predecessor_that_never_comes_is_reported() -> None:
    with a_chain(SIZE, 1) as chain:
        host = chain.hosts[0]
        host.node.predecessor(HOST, SECRET, chain.loop.now() + 0.05)
        chain.wait(lambda: host.said("predecessor") == ["timeout"])
        host.node.last()
        chain.root.pass_to(host.await_one())
        finished(chain)
        chain.wait_done()
        chain.complete(host)


def test_a_successor_that_has_said_something_may_take_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downstream, "GREETING_S", 0.05)
    with a_chain(SIZE, 1) as chain:
        chain.join()
        chain.settle()
        finished(chain)
        chain.wait_done()
        chain.complete(*chain.hosts)
        assert chain.root.said("successor") == ["", "through"]


def test_a_successor_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downstream, "GREETING_S", 0.1)
    with a_chain(SIZE, 0) as chain:
        silent = ByHand(chain)
        chain.root.pass_to(silent.listen())
        chain.wait(lambda: chain.root.said("successor") == ["timeout"])
        chain.wait(lambda: silent.hung_up)
        silent.close()


# What it says of itself


def test_progress_is_told_as_often_as_asked_for_and_only_when_there_is_some() -> None:
    with a_chain(SIZE, 1, progress_s=0.25) as chain:
        host = chain.hosts[0]
        chain.join()
        chain.file.limit(MIB)
        chain.wait(lambda: len(host.reports) >= 1)
        known = len(host.reports)
        chain.loop.at(chain.loop.now() + 0.6, chain.loop.stop)
        chain.loop._stopped = False
        chain.loop.run()
        assert len(host.reports) == known, "nothing moved"
        host.pipe.pause()
        chain.file.limit(SIZE)
        chain.wait(lambda: len(host.reports) >= known + 3)
        times = [report.at for report in host.reports]
        assert min(b - a for a, b in pairwise(times)) > 0.24
        stood = [report.applier_s for report in host.reports]
        assert stood == sorted(stood)
        assert stood[-1] > stood[-2] > 0, "it moves no more, and says for how long"


def test_what_a_node_says_can_be_sent() -> None:
    with a_chain(SIZE, 1) as chain:
        chain.join()
        finished(chain)
        chain.wait_done()
        host = chain.hosts[0]
        for fields in [host.ended().fields(), *(event.fields() for event in host.events)]:
            assert wire.loads(wire.dumps(fields)) == fields
        assert host.ended().fields()["progress"]["received"] == SIZE
        assert Progress().differs(host.ended().progress)


def test_who_is_told_may_act_at_once() -> None:
    """A coordinator that stops, or goes on, within what it is told, is heard once."""
    with a_chain(SIZE, 2) as chain:
        first, second = chain.hosts

        def stop(event: Event) -> None:
            if event.kind == "end":
                second.node.stop()

        second.when_told = stop
        first.when_told = lambda event: first.node.last() if event.code == "broken" else None
        chain.join()
        finished(chain)
        chain.wait_done(chain.root, first)
        chain.wait(lambda: second.result is not None)
        assert second.ended().code == "stopped"
        assert second.ended().total == SIZE


# The file


def test_a_file_grows_and_ends_once() -> None:
    fd = os.memfd_create("stream")
    try:
        os.write(fd, b"x" * 1000)
        file = File(fd)
        file.limit(600)
        with pytest.raises(ValueError, match="can't become"):
            file.limit(599)
        with pytest.raises(ValueError, match="ends at 1000"):
            file.limit(1001)
        file.finish(1000)
        assert (file.head, file.total, file.crc) == (1000, 1000, zlib.crc32(b"x" * 1000))
        with pytest.raises(ValueError, match="can't become"):
            file.limit(1000)
        file.abort("too late")
        assert file.failed == ""
    finally:
        os.close(fd)


def test_a_file_that_became_shorter_breaks_the_connection() -> None:
    with a_chain(SIZE, 1) as chain:
        chain.join()
        chain.file.limit(SIZE)
        os.ftruncate(chain._fd, 100_000)
        chain.wait(lambda: "broken" in chain.root.said("successor"))
        assert chain.root.event("successor", "broken").reason == "the file ends at 100000"


def test_the_applier_of_a_root_may_read_the_file_too() -> None:
    with a_chain(SIZE, 0) as chain:
        host = Host(chain, chain.file, applies=True)
        chain.readers.append(host.pipe)
        host.node.last()
        finished(chain)
        chain.wait_done(host)
        chain.complete(host)
