"""Chains over loopback: everything arrives, whoever dies is skipped, and the end is the end."""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import socket
import weakref
import zlib
from types import SimpleNamespace

import pytest

from nile.agent.worker import downstream, hashing, segments, streams
from nile.agent.worker.chain import HELD
from nile.agent.worker.reports import Event
from nile.agent.worker.segments import END, FROM, THROUGH
from tests.agent.worker.chaining import MIB, RING, SIZE, ByHand, Chain, a_chain, finished

# Everything arrives


@pytest.mark.parametrize("size", [0, 1, HELD, RING + 1, SIZE])
def test_every_host_gets_the_whole_stream(size: int) -> None:
    with a_chain(size, 5) as chain:
        chain.join()
        finished(chain)
        chain.wait_done()
        chain.complete(*chain.hosts)
        assert [host.ended().passed for host in chain.all] == [True] * 5 + [False]
        for host in chain.all[:-1]:
            assert host.event("successor", "through").offset == size
        for host in chain.hosts:
            assert host.said("predecessor") == [""]
            assert (host.said("end"), host.said("applier")) == ([""], [""])
            assert host.event("end", "").offset == host.event("applier", "").offset == size


@pytest.mark.parametrize("rings", [(16 * MIB,) * 3, (65536, 16 * MIB, 65536), (1, 1, 1)])
def test_rings_may_be_of_any_size(rings: tuple[int, ...]) -> None:
    """Larger than a segment, larger than a neighbour's: what is said late is said in the end."""
    with a_chain(MIB // 4 if min(rings) < MIB else SIZE, 0) as chain:
        chain.hosts = [chain.another(ring) for ring in rings]
        chain.join()
        finished(chain)
        chain.wait_done()
        chain.complete(*chain.hosts)


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


def test_the_memory_of_a_ring_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[weakref.ref[mmap.mmap]] = []

    def memory(*args: int) -> mmap.mmap:
        found = mmap.mmap(*args)
        made.append(weakref.ref(found))
        return found

    monkeypatch.setattr(streams, "mmap", SimpleNamespace(**{**vars(mmap), "mmap": memory}))
    with a_chain(SIZE, 2) as chain:
        assert all(there() is not None for there in made)
        chain.join()
        chain.file.limit(MIB)
        chain.wait(lambda: chain.hosts[0].node.progress().received == MIB)
        chain.hosts[0].node.stop()
        chain.hosts[1].node.abort("enough")
        assert [there() for there in made] == [None, None]


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
        assert next(event.offset for event in first.events if event.kind == "successor") == 0
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


def sent_everything(chain: Chain) -> ByHand:
    """A successor of its host, by hand, that was sent all that there is and hasn't said anything since."""
    last = ByHand(chain)
    chain.hosts[0].pass_to(last.listen())
    chain.root.pass_to(chain.hosts[0].await_one())
    finished(chain)
    last.wait_met()
    last.greet(0, 1000)
    chain.wait(lambda: chain.hosts[0].node.progress().sent == 1000 and bool(chain.hosts[0].said("end")))
    return last


def test_but_not_for_ever_for_one_that_doesnt_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downstream, "THROUGH_S", 0.1)
    with a_chain(1000, 1) as chain:
        host = chain.hosts[0]
        last = sent_everything(chain)
        last.greet(1000, 1000)
        chain.wait(lambda: host.said("successor") == ["", "timeout"])
        assert host.result is None, "another one may follow"
        host.node.last()
        chain.wait_done()
        chain.complete(host)
        assert not host.ended().passed
        last.close()


def test_who_gets_on_slowly_may() -> None:
    with a_chain(1000, 1) as chain:
        host = chain.hosts[0]
        last = sent_everything(chain)
        below = host.node._downstream
        assert below is not None
        for received in (300, 600, 1000):
            last.greet(received, 1000)
            chain.wait(lambda received=received: host.node.progress().forwarded == received)  # type: ignore[misc]
            below._await_through()
            assert host.said("successor") == [""]
        below._await_through()
        assert host.said("successor") == ["", "timeout"]
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
            host.when_done = lambda host=host: ended.append(host.pipe.at_end())
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
        stuck.plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
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


# The digest


@pytest.mark.parametrize("by", [hashing.SHA256, hashing.BLAKE2B])
def test_who_waits_to_be_confirmed_passes_on_and_is_held_up_by_nobody(by: str) -> None:
    with a_chain(SIZE, 2, hashed=by, held_s=1.0) as chain:
        first, second = chain.hosts
        chain.join()
        finished(chain)
        chain.wait(lambda: second.said("end") == [""] and first.said("end") == [""])
        until = chain.loop.now() + 1.5
        chain.wait(lambda: chain.loop.now() > until and len(second.got) == SIZE - HELD)
        blake2b = hashlib.blake2b(chain.data, digest_size=32)
        expected = (hashlib.sha256(chain.data) if by == hashing.SHA256 else blake2b).digest()
        for host in chain.hosts:
            assert host.event("end", "").fields()["digest"] == expected
            assert (host.said("held"), host.result, len(host.got)) == ([], None, SIZE - HELD)
            assert host.node.progress().applier_s < 1.0
        second.node.confirm()
        chain.wait_done(second)
        assert first.result is None
        first.node.confirm()
        chain.wait_done(first)
        chain.complete(first, second)


def test_another_digest_ends_it_before_its_applier_sees_an_end() -> None:
    with a_chain(SIZE, 1, hashed=hashing.SHA256) as chain:
        host = chain.hosts[0]
        chain.join()
        finished(chain)
        chain.wait(lambda: host.said("end") == [""])
        ended: list[bool] = []
        host.when_done = lambda: ended.append(host.pipe.at_end())
        host.node.confirm("it is another one")
        assert (host.ended().code, host.ended().reason) == ("corrupt", "it is another one")
        assert (ended, host.ended().applied) == ([False], False)
        assert host.got == chain.data[: SIZE - HELD]
