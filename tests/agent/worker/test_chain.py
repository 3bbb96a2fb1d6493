"""Chains over loopback: everything arrives, whoever dies is skipped, and the slow one is known by name."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import zlib
from collections.abc import Callable

import pytest

from nile.agent import wire
from nile.agent.worker import downstream, segments
from nile.agent.worker.chain import HELD, Node
from nile.agent.worker.reports import Event, Progress
from nile.agent.worker.ring import APPLIER
from nile.agent.worker.segments import END, FROM, GONE, THROUGH
from nile.agent.worker.streams import File
from tests.agent.worker.chaining import HOST, MIB, RING, ByHand, Chain, Host, a_chain
from tests.agent.worker.copying import LONGEST_S, SECRET

SIZE = 4 * MIB + 12345


def finished(chain: Chain) -> None:
    chain.file.finish(len(chain.data))


# Everything arrives


@pytest.mark.parametrize("size", [0, 1, HELD, RING + 1, SIZE])
def test_every_host_gets_the_whole_stream(size: int) -> None:
    with a_chain(size, 5) as chain:
        chain.join()
        finished(chain)
        chain.wait_done()
        chain.complete(*chain.hosts)
        assert [host.ended().passed for host in chain.all] == [True] * 5 + [False]
        for host in chain.hosts:
            assert host.said("predecessor") == [""]
            assert (host.said("end"), host.said("applier")) == ([""], [""])
            assert host.event("end", "").offset == host.event("applier", "").offset == size


def test_the_stream_flows_while_it_grows() -> None:
    with a_chain(SIZE, 3) as chain:
        chain.join()
        for part in (100_000, 2 * MIB, SIZE):
            chain.file.limit(part)
            chain.wait(lambda part=part: all(len(h.got) == part - HELD for h in chain.hosts))  # type: ignore[misc]
            assert all(host.node.progress().received == part for host in chain.hosts)
        finished(chain)
        chain.wait_done()
        chain.complete(*chain.hosts)


def test_nobody_is_done_before_it_knows_whether_it_has_a_successor() -> None:
    with a_chain(SIZE, 2) as chain:
        first, second = chain.hosts
        chain.root.pass_to(first.await_one())
        finished(chain)
        chain.settle()
        assert first.result is None
        assert first.node.progress().received == RING // 2, "what it has is kept for it"
        second.node.last()
        first.pass_to(second.await_one())
        chain.wait_done()
        chain.complete(first, second)


def test_one_file_may_have_several_chains() -> None:
    with a_chain(SIZE, 2) as chain:
        first, late = chain.hosts
        first.node.last()
        chain.root.pass_to(first.await_one())
        chain.file.limit(MIB)
        other = chain.another(chain.file)
        late.node.last()
        other.pass_to(late.await_one())
        finished(chain)
        chain.wait_done(chain.root, first, late, other)
        chain.complete(first, late)
        assert chain.file.changed == []


# Who dies is skipped


@pytest.mark.parametrize("percent", [10, 50, 90])
@pytest.mark.parametrize("who", [0, 2, 4])
def test_a_host_that_dies_is_skipped(who: int, percent: int) -> None:
    with a_chain(SIZE, 5) as chain:
        dead = chain.hosts[who]
        above = chain.all[who]
        survivors = [host for host in chain.hosts if host is not dead]

        def broken(event: Event) -> None:
            if (event.kind, event.code) == ("successor", "broken"):
                chain.skip(dead)

        above.when_told = broken
        chain.join()
        at = SIZE * percent // 100
        chain.when(lambda: dead.node.progress().received >= at, dead.node.stop)
        finished(chain)
        chain.wait_done(chain.root, *survivors)
        chain.complete(*survivors)
        assert dead.ended().code == "stopped"
        assert above.said("successor").count("broken") == 1
        if who < 4:
            assert survivors[who].said("predecessor") == ["", "broken", ""]


@pytest.mark.parametrize("many", [1, 2])
def test_what_the_next_one_wants_is_kept_though_all_rings_are_full(many: int) -> None:
    with a_chain(SIZE, 5) as chain:
        for host in chain.hosts[2:]:
            host.pipe.pause()
        dead = chain.hosts[1 : 1 + many]
        chain.join()
        finished(chain)
        chain.settle()
        for host in dead:
            host.node.stop()
        chain.wait(lambda: "broken" in chain.hosts[0].said("successor"))
        chain.skip(*dead)
        for host in chain.hosts:
            host.pipe.go_on()
        chain.wait_done()
        chain.complete(*chain.hosts)


def test_a_predecessor_may_be_replaced_twice_at_once() -> None:
    with a_chain(SIZE, 1) as chain:
        host = chain.hosts[0]
        host.node.last()
        chain.file.limit(MIB)
        chain.root.pass_to(host.await_one())
        chain.wait(lambda: host.node.progress().received == MIB)
        lost = host.await_one(b"first")
        port = host.await_one(b"second")
        other = chain.another(chain.file)
        other.pass_to(lost, b"first")
        chain.wait(lambda: "refused" in other.said("successor"))
        assert host.said("predecessor") == [""], "the old one feeds it as long as no other came"
        other.pass_to(port, b"second")
        chain.wait(lambda: "broken" in chain.root.said("successor"))
        chain.root.node.last()
        finished(chain)
        chain.wait_done(chain.root, host, other)
        chain.complete(host)
        assert host.said("predecessor") == ["", ""], "it isn't broken, it was replaced"
        assert [event.offset for event in host.events[:2]] == [0, MIB]


def test_a_successor_may_be_replaced_while_bytes_are_on_their_way() -> None:
    with a_chain(SIZE, 2) as chain:
        first, second = chain.hosts
        old = ByHand(chain)
        first.pass_to(old.listen())
        chain.root.pass_to(first.await_one())
        chain.file.limit(MIB)
        old.wait_met()
        old.pause()
        old.greet(0, MIB)
        chain.wait(lambda: first.node.progress().sent > 0)
        second.node.last()
        first.pass_to(second.await_one())
        finished(chain)
        chain.wait_done()
        chain.complete(first, second)
        assert [event.offset for event in first.events if event.kind == "successor"][0] == 0
        assert first.said("successor") == ["", "", "through"]
        old.close()


def test_a_host_may_be_taken_out_and_fed_from_the_file() -> None:
    """It is too slow: the one above goes on with the one below, and another chain serves it."""
    with a_chain(SIZE, 3) as chain:
        first, slow, third = chain.hosts
        slow.pipe.pause()
        chain.join()
        finished(chain)
        chain.settle()
        chain.skip(slow)
        chain.wait(lambda: "broken" in slow.said("predecessor"))
        slow.node.last()
        other = chain.another(chain.file)
        other.pass_to(slow.await_one())
        slow.pipe.go_on()
        chain.wait_done(chain.root, first, third, slow, other)
        chain.complete(first, slow, third)
        assert slow.event("predecessor", "broken").offset > 0, "it went on where it was"


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
        # For moments others are waited for too, at the beginning.
        long = at[2].applier_s
        assert long > 0.1
        assert at[1].successor_s > long / 2
        assert max(at[2].successor_s, at[1].applier_s) < long / 2
        assert max(at[3].applier_s, at[3].successor_s) < long / 2, "the one behind it is hungry, not slow"
        slow.pipe.go_on()
        chain.wait_done()
        chain.complete(*chain.hosts)


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
        assert now.successor_s > 0.1
        assert now.applier_s < now.successor_s / 2
        slow.greet(RING // 4, SIZE)
        chain.wait(lambda: host.node.progress().received == RING // 2)
        slow.close()
        chain.wait(lambda: "broken" in host.said("successor"))
        assert host.event("successor", "broken").offset == RING // 4
        host.node.last()
        chain.wait_done()
        chain.complete(host)
        assert not host.ended().passed


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
        assert host.ended().progress.successor_s > 0.1


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


def test_a_successor_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downstream, "GREETING_S", 0.1)
    with a_chain(SIZE, 0) as chain:
        silent = ByHand(chain)
        chain.root.pass_to(silent.listen())
        chain.wait(lambda: chain.root.said("successor") == ["timeout"])
        chain.wait(lambda: silent.hung_up)
        silent.close()


# The end


def test_nobody_is_done_before_its_applier_is() -> None:
    with a_chain(RING // 2, 2) as chain:
        slow = chain.hosts[0]
        slow.pipe.pause()
        chain.join()
        chain.wait(lambda: slow.said("successor") == [""])
        fcntl.fcntl(slow.pipe.fd, fcntl.F_SETPIPE_SZ, 4096)
        finished(chain)
        chain.wait_done(chain.root, chain.hosts[1])
        assert slow.said("successor") == ["", "through"]
        assert slow.result is None
        assert not slow.pipe.at_end()
        slow.pipe.go_on()
        chain.wait_done()
        chain.complete(*chain.hosts)


def test_nobody_is_done_before_its_successor_has_everything() -> None:
    with a_chain(1000, 1) as chain:
        host = chain.hosts[0]
        last = ByHand(chain)
        host.pass_to(last.listen())
        chain.root.pass_to(host.await_one())
        finished(chain)
        last.wait_met()
        last.greet(0, 1000)
        end = segments.word(END, 1000, zlib.crc32(chain.data))
        words = segments.word(FROM, 0) + segments.segment(1000) + chain.data + end
        assert last.says(len(words)) == words
        last.greet(1000, 1000)
        chain.wait(lambda: host.said("applier") == [""])
        chain.settle()
        assert host.result is None
        last.say(segments.state(THROUGH, 1000, 1000))
        chain.wait_done()
        assert host.ended().passed
        last.close()


def test_a_successor_that_breaks_at_the_end_is_replaced() -> None:
    with a_chain(SIZE, 2) as chain:
        first, second = chain.hosts
        gone = ByHand(chain)
        first.pass_to(gone.listen())
        chain.root.pass_to(first.await_one())
        finished(chain)
        gone.wait_met()
        gone.greet(0, SIZE)
        chain.wait(lambda: first.node.progress().sent >= RING // 4)
        gone.greet(RING // 4, SIZE)
        chain.settle()
        gone.close()
        chain.wait(lambda: "broken" in first.said("successor"))
        second.node.last()
        first.pass_to(second.await_one())
        chain.wait_done()
        chain.complete(first, second)


def test_the_applier_gets_the_end_only_when_all_is_right() -> None:
    with a_chain(SIZE, 1) as chain:
        host = chain.hosts[0]
        host.node.last()
        liar = ByHand(chain).dial(host.await_one())
        assert liar.says(17) == segments.state(segments.STATE, 0, RING)
        data = chain.data[: HELD + 10_000]
        liar.say(segments.word(FROM, 0) + segments.segment(len(data)) + data)
        chain.wait(lambda: len(host.got) == 10_000)
        ended: list[bool] = []
        host.when_done = lambda: ended.append(host.pipe.at_end())
        liar.say(segments.word(END, len(data), zlib.crc32(data) ^ 1))
        chain.wait_done(host)
        assert (host.ended().code, host.ended().total, host.ended().applied) == ("corrupt", None, False)
        assert host.got == data[:10_000]
        assert ended == [False], "it can be killed before it sees an end"
        liar.close()


def test_a_wrong_hash_is_passed_down() -> None:
    with a_chain(SIZE, 2) as chain:
        first, second = chain.hosts
        second.node.last()
        first.pass_to(second.await_one())
        liar = ByHand(chain).dial(first.await_one())
        liar.says(17)
        liar.say(segments.word(FROM, 0) + segments.segment(5) + b"abcde")
        chain.wait(lambda: second.node.progress().received == 5)
        liar.say(segments.word(END, 5, 0))
        chain.wait_done(first, second)
        assert [host.ended().code for host in chain.hosts] == ["corrupt", "aborted"]
        assert second.ended().reason == "the hash of 5 bytes is wrong"
        liar.close()


def test_an_abort_reaches_everybody_though_appliers_stand_still() -> None:
    with a_chain(SIZE, 4) as chain:
        for host in chain.hosts:
            host.pipe.pause()
        ended: list[bool] = []
        for host in chain.hosts:
            host.when_done = lambda host=host: ended.append(host.pipe.at_end())  # type: ignore[misc]
        chain.join()
        chain.file.limit(SIZE)
        chain.settle()
        chain.file.abort("a file changed")
        chain.wait(lambda: all(host.result for host in chain.all))
        for host in chain.all:
            result = host.ended()
            assert (result.code, result.reason, result.applied) == ("aborted", "a file changed", False)
        assert ended == [False] * 4
        assert all(host.pipe.at_end() for host in chain.hosts)
        assert all(chain.data.startswith(host.got) for host in chain.hosts)
        assert all(host.said("predecessor") == [""] for host in chain.hosts)


def test_an_abort_may_begin_anywhere() -> None:
    with a_chain(SIZE, 3) as chain:
        chain.join()
        chain.file.limit(MIB)
        chain.wait(lambda: all(host.node.progress().received == MIB for host in chain.hosts))
        chain.hosts[1].node.abort("disk full")
        chain.wait_done(*chain.hosts[1:])
        chain.wait(lambda: "broken" in chain.hosts[0].said("successor"))
        assert [h.ended().reason for h in chain.hosts[1:]] == ["disk full"] * 2
        chain.hosts[0].node.last()
        finished(chain)
        chain.wait_done(chain.root, chain.hosts[0])
        chain.complete(chain.hosts[0])


def test_an_abort_waits_not_long_for_a_successor_that_takes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downstream, "LINGER_S", 0.1)
    with a_chain(SIZE, 0) as chain:
        stuck = ByHand(chain)
        chain.root.pass_to(stuck.listen())
        stuck.wait_met()
        stuck.pause()
        stuck.greet(0, 1 << 40)
        chain.wait(lambda: chain.root.said("successor") == [""])
        stuck.open.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        chain.file.limit(SIZE)
        chain.file.abort("enough")
        chain.wait_done()
        assert chain.root.ended().code == "aborted"
        stuck.close()


def test_stop_ends_it_at_once_and_once() -> None:
    with a_chain(SIZE, 2) as chain:
        chain.join()
        chain.file.limit(MIB)
        chain.wait(lambda: all(host.node.progress().received == MIB for host in chain.hosts))
        first, second = chain.hosts
        first.node.stop()
        first.node.stop()
        first.node.abort("late")
        first.node.last()
        first.pass_to(1)
        assert (first.ended().code, first.ended().progress.received) == ("stopped", MIB)
        with pytest.raises(ValueError, match="needs no predecessor"):
            first.await_one()
        chain.wait(lambda: "broken" in second.said("predecessor"))
        assert second.event("predecessor", "broken").offset == MIB
        assert second.result is None


@pytest.mark.parametrize("when", ["dialling", "listening", "met"])
def test_stop_leaves_nothing_open_whatever_goes_on(when: str) -> None:
    with a_chain(SIZE, 1) as chain:
        other = ByHand(chain)
        if when == "listening":
            chain.hosts[0].await_one()
        else:
            chain.root.pass_to(other.listen())
        if when == "met":
            other.wait_met()
        chain.root.node.stop()
        chain.hosts[0].node.stop()
        other.close()


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
        assert granted > RING
        below = ByHand(chain)
        host.pass_to(below.listen())
        below.wait_met()
        below.greet(0, SIZE)
        below.pause()
        chain.wait(lambda: host.said("successor") == [""])
        more = chain.data[RING // 2 : granted]
        above.open.setblocking(True)
        above.say(segments.segment(len(more)) + more)
        chain.settle()
        assert host.node.progress().received == RING, "the rest waits until it has been taken"
        below.read()
        words = below.says(12 + 4 * 2 + RING)
        assert len(words) == 12 + 4 * 2 + RING
        assert zlib.crc32(_payload(words[12:])) == zlib.crc32(chain.data[:RING])
        below.greet(RING, SIZE)
        chain.wait(lambda: host.node.progress().received == granted)
        above.close()
        below.close()


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


# What it says of itself


def test_progress_is_told_four_times_a_second_and_only_when_there_is_some() -> None:
    with a_chain(SIZE, 1) as chain:
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
        assert min(b - a for a, b in zip(times, times[1:], strict=False)) > 0.24
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
        assert APPLIER == "applier"
