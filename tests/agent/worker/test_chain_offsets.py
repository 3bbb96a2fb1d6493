"""Chains over loopback: neighbours made by hand, which want what isn't there, or break the rules."""

from __future__ import annotations

import socket
import struct
import zlib

import pytest

from nile.agent.worker import segments
from nile.agent.worker.chain import HELD
from nile.agent.worker.segments import END, FROM, GONE, THROUGH
from tests.agent.worker.chaining import MIB, RING, SIZE, ByHand, a_chain, finished

# Offsets


def test_a_successor_that_is_ahead_is_served_once_we_are_there() -> None:
    with a_chain(SIZE, 1) as chain:
        host = chain.hosts[0]
        ahead = ByHand(chain)
        host.pass_to(ahead.listen())
        chain.root.pass_to(host.await_one())
        ahead.wait_met()
        ahead.greet(MIB, 2 * MIB)
        assert ahead.says(12) == segments.word(FROM, MIB)
        chain.file.limit(MIB + 10)
        assert ahead.says(14) == segments.segment(10) + chain.data[MIB : MIB + 10]
        ahead.close()


def test_a_successor_that_wants_more_than_there_is_is_refused() -> None:
    with a_chain(1000, 0) as chain:
        wrong = ByHand(chain)
        chain.root.pass_to(wrong.listen())
        wrong.wait_met()
        wrong.greet(1001, 2000)
        chain.wait(lambda: chain.root.said("successor") == [""])
        finished(chain)
        chain.wait(lambda: chain.root.said("successor") == ["", "protocol"])
        wrong.close()


def test_a_successor_that_comes_too_late_for_the_ring_is_told() -> None:
    with a_chain(SIZE, 2) as chain:
        first, late = chain.hosts
        first.node.last()
        chain.root.pass_to(first.await_one())
        chain.file.limit(MIB)
        chain.wait(lambda: len(first.got) == MIB - HELD)
        late.node.last()
        first.pass_to(late.await_one())
        chain.wait(lambda: "gone" in first.said("successor") and "gone" in late.said("predecessor"))
        assert first.said("successor") == ["gone"]
        begin = MIB - RING
        assert first.event("successor", "gone").reason == f"it wants 0, and we have what begins at {begin}"
        assert late.event("predecessor", "gone").reason == f"it begins at {begin}"
        other = chain.another(chain.file)
        other.pass_to(late.await_one())
        finished(chain)
        chain.wait_done(chain.root, first, late, other)
        chain.complete(first, late)


def test_bytes_that_a_new_successor_wants_are_not_written_over_though_more_was_granted() -> None:
    with a_chain(SIZE, 1) as chain:
        host = chain.hosts[0]
        host.node.last()
        above = ByHand(chain).dial(host.await_one())
        above.says(17)
        above.say(segments.word(FROM, 0) + segments.segment(RING // 2) + chain.data[: RING // 2])
        chain.wait(lambda: len(host.got) == RING // 2 - HELD)
        last_said = above.got[-17:]
        granted = struct.unpack("!BQQ", last_said)[2]
        assert granted > RING + 1000
        below = ByHand(chain)
        host.pass_to(below.listen())
        below.wait_met()
        below.greet(1000, SIZE)
        below.pause()
        chain.wait(lambda: host.said("successor") == [""])
        more = chain.data[RING // 2 : granted]
        above.plain.setblocking(True)
        above.say(segments.segment(len(more)) + more)
        chain.settle()
        assert host.node.progress().received == RING + 1000, "the rest waits until it has been taken"
        below.read()
        chain.wait(lambda: len(_payload(below.got[12:])) == RING)
        assert zlib.crc32(_payload(below.got[12:])) == zlib.crc32(chain.data[1000 : RING + 1000])
        below.greet(RING + 1000, SIZE)
        chain.wait(lambda: host.node.progress().received == granted)
        assert host.said("predecessor") == [""]
        above.close()
        below.close()


def test_a_predecessor_that_is_reset_is_noticed_though_nothing_is_read() -> None:
    with a_chain(SIZE, 1) as chain:
        host = chain.hosts[0]
        host.pipe.pause()
        host.node.last()
        above = ByHand(chain).dial(host.await_one())
        above.says(17)
        above.say(segments.word(FROM, 0) + segments.segment(RING // 2) + chain.data[: RING // 2])
        chain.wait(lambda: host.node.progress().received == RING // 2)
        above.reset()
        chain.wait(lambda: host.said("predecessor") == ["", "broken"])


def test_a_successor_that_is_reset_is_replaced() -> None:
    with a_chain(SIZE, 2) as chain:
        first, second = chain.hosts
        below = ByHand(chain)
        first.pass_to(below.listen())
        chain.root.pass_to(first.await_one())
        finished(chain)
        below.wait_met()
        below.greet(0, SIZE)
        chain.wait(lambda: first.node.progress().sent > 0)
        below.reset()
        chain.wait(lambda: first.said("successor") == ["", "broken"])
        second.node.last()
        first.pass_to(second.await_one())
        chain.wait_done()
        chain.complete(first, second)


def _payload(words: bytes) -> bytes:
    """What is in these segments."""
    found = b""
    while words:
        (length,) = struct.unpack_from("!I", words)
        found += words[4 : 4 + length]
        words = words[4 + length :]
    return found


# Neighbours that break the rules, or off


BEGUN = segments.word(FROM, 0)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (segments.word(FROM, 7), "protocol"),
        (segments.segment(5) + b"abcde", "protocol"),
        (BEGUN + segments.segment(0), "protocol"),
        (BEGUN + segments.segment(RING + 1), "protocol"),
        (BEGUN + segments.word(END, 1, 0), "protocol"),
        (BEGUN + segments.segment(5) + b"abc", "broken"),
        (BEGUN, "broken"),
        (b"", "broken"),
        (segments.word(GONE, 77), "gone"),
    ],
)
def test_a_predecessor_that_breaks_the_rules_or_off_can_be_replaced(words: bytes, code: str) -> None:
    with a_chain(SIZE, 1) as chain:
        host = chain.hosts[0]
        host.node.last()
        bad = ByHand(chain).dial(host.await_one())
        bad.says(17)
        if words:
            bad.say(words)
        bad.open.shutdown(socket.SHUT_WR)
        chain.wait(lambda: code in host.said("predecessor"))
        chain.wait(lambda: bad.hung_up)
        came = 3 if words.endswith(b"abc") else 0
        assert host.event("predecessor", code).offset == came
        bad.close()
        if came:
            assert chain.data[:3] != b"abc"
            return
        chain.root.pass_to(host.await_one())
        finished(chain)
        chain.wait_done()
        chain.complete(host)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (segments.state(9, 0, RING), "protocol"),
        (segments.state(segments.STATE, 0, RING) * 2 + segments.state(THROUGH, 0, RING), "protocol"),
        (segments.state(segments.STATE, 0, RING) + segments.state(segments.STATE, SIZE, SIZE), "protocol"),
        (segments.state(segments.STATE, 0, RING) + segments.state(segments.STATE, 0, 5), "protocol"),
        (segments.state(segments.STATE, 0, RING), "broken"),
        (segments.state(segments.STATE, 0, RING)[:9], "broken"),
    ],
)
def test_a_successor_that_breaks_the_rules_or_off_can_be_replaced(words: bytes, code: str) -> None:
    with a_chain(SIZE, 2) as chain:
        first, second = chain.hosts
        bad = ByHand(chain)
        first.pass_to(bad.listen())
        chain.root.pass_to(first.await_one())
        chain.file.limit(MIB)
        bad.wait_met()
        bad.say(words)
        bad.open.shutdown(socket.SHUT_WR)
        chain.wait(lambda: code in first.said("successor"))
        bad.close()
        second.node.last()
        first.pass_to(second.await_one())
        finished(chain)
        chain.wait_done()
        chain.complete(first, second)
