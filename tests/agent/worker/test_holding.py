"""Who holds a node up: by figures alone, and in chains over loopback."""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from typing import NamedTuple

import pytest

from nile.agent.worker.holding import KEPT, Holdup
from nile.agent.worker.reports import Progress
from nile.agent.worker.ring import APPLIER, SUCCESSOR
from tests.agent.worker.chaining import MIB, RING, ByHand, Chain, Host, a_chain, finished
from tests.agent.worker.copying import SECRET

MB = 1_000_000


class At(NamedTuple):
    """What a node shows: bytes that both have taken, seconds that it stood still because of each."""

    applied: float = 0
    forwarded: float = 0
    applier_s: float = 0
    successor_s: float = 0


class Node:
    """A node in virtual time; `said` is (when, who)."""

    def __init__(self, **keeps: int) -> None:
        self.keeps = keeps or {APPLIER: 0}
        self.free = False
        self.holdup = Holdup()
        self.said: list[tuple[float, str]] = []
        self.reasons: list[str] = []
        self.now = 0.0

    def look(self, now: float, shown: At) -> None:
        progress = Progress()
        progress.applied, progress.forwarded = int(shown.applied), int(shown.forwarded)
        progress.applier_s, progress.successor_s = shown.applier_s, shown.successor_s
        self.now = now
        held = self.holdup.look(now, progress, self.keeps, self.free)
        if held is not None:
            who, why, offset = held
            assert offset == (progress.applied if who == APPLIER else progress.forwarded)
            self.said.append((now, who))
            self.reasons.append(why)

    def live(self, until: float, shown: Callable[[float], At]) -> Node:
        """Look twice a second."""
        while self.now < until:
            self.look(self.now + self.holdup.every_s, shown(self.now + self.holdup.every_s))
        return self


def then(now: float, change: float, before: float, after: float) -> float:
    """So much by now, at `before` a second until `change`, and `after` from then on."""
    return before * min(now, change) + after * max(0.0, now - change)


def test_an_applier_that_becomes_slow_is_named_time_and_again() -> None:
    node = Node().live(9, lambda t: At(then(t, 3, 30 * MB, MB), applier_s=then(t, 3, 0, 1)))
    assert node.said == [(4.5, APPLIER), (6.5, APPLIER), (8.5, APPLIER)]
    assert node.reasons[1] == "it stood still for 2.0 of 2.0 s, at 1.00 MB/s; the best was 30.00"


@pytest.mark.parametrize(("rate", "held"), [(9.9, True), (10.0, False), (10.1, False)])
def test_less_than_a_third_of_the_best_rate_is_slow(rate: float, held: bool) -> None:
    node = Node().live(9, lambda t: At(then(t, 3, 30 * MB, rate * MB), applier_s=then(t, 3, 0, 1)))
    assert bool(node.said) == held


@pytest.mark.parametrize(("part", "held"), [(0.59, False), (0.61, True)])
def test_who_does_not_stand_still_is_not_held_up(part: float, held: bool) -> None:
    """It is hungry: what doesn't come can't be passed on."""
    node = Node().live(9, lambda t: At(then(t, 3, 30 * MB, MB), applier_s=then(t, 3, 0, part)))
    assert bool(node.said) == held


@pytest.mark.parametrize("rate", [1, 3000, 30 * MB])
def test_who_was_always_as_slow_holds_nobody_up(rate: int) -> None:
    assert Node().live(40, lambda t: At(rate * t, applier_s=t)).said == []


@pytest.mark.parametrize("who", [APPLIER, SUCCESSOR])
def test_who_takes_nothing_at_all_holds_us_up_whatever_was_before(who: str) -> None:
    def shown(now: float) -> At:
        return At(applier_s=now if who == APPLIER else 0, successor_s=now if who == SUCCESSOR else 0)

    assert Node(**{who: MIB}).live(5, shown).said == [(2.5, who), (4.5, who)]


def test_a_short_stop_is_nothing() -> None:
    def shown(now: float) -> At:
        stopped = max(0, min(now - 3, 1))
        return At(30 * MB * (now - stopped), applier_s=stopped)

    assert Node().live(9, shown).said == []


# A ring is filled first. All appliers are equally slow, here 3 MB/s, and the wire is not


def filling(now: float) -> At:
    return At(3 * MB * now, min(100 * MB * now, 64 * MIB + 3 * MB * now), 0, now)


def test_that_a_ring_was_filled_fast_says_nothing_of_who_has_it() -> None:
    assert Node(**{APPLIER: 0, SUCCESSOR: 64 * MIB}).live(60, filling).said == []
    assert Node(**{SUCCESSOR: 64 * MIB}).live(60, filling).said == [], "a root has no applier to compare with"
    assert Node(**{SUCCESSOR: 0}).live(60, filling).said, "else it would"


def test_a_successor_that_was_always_slow_is_found_by_what_our_own_applier_can() -> None:
    """Its ring is full after a second; our applier has done 30 MB/s until then, and a quarter more."""

    def shown(now: float) -> At:
        return At(then(now, 1.5, 30 * MB, 3 * MB), then(now, 1, 64 * MIB, 3 * MB), 0, max(0, now - 1))

    assert Node(**{APPLIER: 0, SUCCESSOR: 64 * MIB}).live(5, shown).said[0] == (3.0, SUCCESSOR)


def test_a_root_knows_the_best_rate_of_what_it_sent_beyond_a_ring() -> None:
    def shown(now: float) -> At:
        return At(0, then(now, 6, 30 * MB, 3 * MB), 0, now)

    node = Node(**{SUCCESSOR: 32 * MIB}).live(9, shown)
    assert node.said == [(8.0, SUCCESSOR)]
    assert float(node.reasons[0].split()[-1]) == pytest.approx(30 - 32 * MIB / MB / 5.5, abs=0.1)


@pytest.mark.parametrize("free", [False, True])
def test_a_root_knows_that_a_wire_became_slow_before_a_ring_was_filled(free: bool) -> None:
    """If the first host's disk is slow, and not the wire, its ring is full."""
    node = Node(**{SUCCESSOR: 32 * MIB})
    node.free = free
    node.live(5, lambda t: At(0, then(t, 2, 10 * MB, 3 * MB), 0, t))
    assert node.said == [(4.0, SUCCESSOR)] * free


def test_what_is_taken_between_two_looks_at_nearly_one_time_is_no_rate() -> None:
    node = Node().live(2, lambda t: At(30 * MB * t))
    node.look(2.01, At(61 * MB))
    assert node.holdup._takers[APPLIER].best < 32 * MB


def test_the_best_rate_is_remembered_and_the_figures_are_not() -> None:
    node = Node().live(1000, lambda t: At(then(t, 3, 30 * MB, 9.9 * MB), applier_s=then(t, 999, 0, 1)))
    assert node.said == []
    assert node.live(1002, lambda t: At(then(t, 3, 30 * MB, 9.9 * MB), applier_s=then(t, 999, 0, 1))).said
    assert len(node.holdup._takers[APPLIER]._seen) == KEPT


# Who isn't looked at, isn't there, or is another one


def test_a_node_that_was_busy_itself_blames_nobody() -> None:
    def shown(now: float) -> At:
        return At(min(now, 3) * 30 * MB, applier_s=max(0, now - 3))

    node = Node().live(3, shown)
    node.look(13, shown(13))
    assert node.live(14.5, shown).said == []
    assert node.live(15, shown).said == [(15, APPLIER)], "after a whole window"


def test_a_successor_is_not_blamed_for_the_one_before() -> None:
    def shown(now: float) -> At:
        return At(0, min(now, 3) * 30 * MB, 0, max(0, now - 3))

    node = Node(**{SUCCESSOR: 0}).live(3, shown)
    node.keeps = {}
    node.live(3.5, shown)
    node.keeps = {SUCCESSOR: 0}
    assert node.live(5.5, shown).said == []
    assert node.live(6, shown).said == [(6, SUCCESSOR)]


def test_one_that_begins_further_back_is_another_one() -> None:
    node = Node(**{SUCCESSOR: 0}).live(3, lambda t: At(0, 30 * MB * t))
    assert node.live(5, lambda t: At(0, MB, 0, t - 3)).said == []
    assert node.live(6, lambda t: At(0, MB, 0, t - 3)).said == [(5.5, SUCCESSOR)]


# Real sockets


QUICK_S = 0.4
FAST = 6 * MIB


def held(host: Host) -> set[str]:
    return set(host.said("held"))


def fed_by_hand(chain: Chain) -> ByHand:
    """A neighbour behind the last host; it has taken a part of the stream as fast as it goes."""
    host, below = chain.hosts[-1], ByHand(chain)
    host.pass_to(below.listen())
    chain.root.pass_to(host.await_one())
    below.wait_met()
    below.greet(0, len(chain.data))
    chain.file.limit(FAST)
    chain.wait(lambda: host.node.progress().sent > 0)
    while (sent := host.node.progress().sent) < FAST:
        below.greet(sent, len(chain.data))
        chain.wait(lambda sent=sent: host.node.progress().sent > sent)  # type: ignore[misc]
    below.greet(FAST, len(chain.data))
    # Until that was looked at: the best rate is known.
    known = chain.loop.now() + QUICK_S / 2
    chain.wait(lambda: chain.loop.now() > known)
    for one in chain.all:
        one.events = [event for event in one.events if event.kind != "held"]
    return below


def test_a_successor_that_reads_slowly_is_named() -> None:
    with a_chain(8 * MIB, 1, held_s=QUICK_S) as chain:
        (host,) = chain.hosts
        below = fed_by_hand(chain)
        taken = FAST

        def take() -> None:
            nonlocal taken
            if below.socket is not None and below.socket.fileno() >= 0:
                taken = min(taken + 4000, host.node.progress().sent)
                below.greet(taken, len(chain.data))
                chain.loop.at(chain.loop.now() + 0.02, take)

        take.__name__ = "again"
        take()
        finished(chain)
        chain.wait(lambda: bool(held(host) and held(chain.root)))
        assert (held(host), held(chain.root)) == ({SUCCESSOR}, {SUCCESSOR})
        event = next(event for event in host.events if event.kind == "held")
        assert FAST <= event.offset < 8 * MIB
        assert "at 0." in event.reason
        below.close()


def test_a_successor_that_stops_reading_is_named_again_and_again() -> None:
    with a_chain(8 * MIB, 1, held_s=QUICK_S) as chain:
        (host,) = chain.hosts
        below = fed_by_hand(chain)
        below.pause()
        finished(chain)
        began = chain.loop.now()
        chain.wait(lambda: len(host.said("held")) == 3 and bool(held(chain.root)))
        assert (held(host), held(chain.root)) == ({SUCCESSOR}, {SUCCESSOR})
        assert chain.loop.now() - began > 2 * QUICK_S, "not oftener than once in that time"
        below.close()
        chain.wait(lambda: "broken" in host.said("successor"))
        known = len(host.said("held"))
        now = chain.loop.now()
        chain.wait(lambda: chain.loop.now() > now + 2 * QUICK_S)
        assert len(host.said("held")) == known, "who is gone isn't slow"


def test_how_much_a_successor_may_keep_is_known_of_our_ring_or_of_its_grants() -> None:
    with a_chain(MIB, 1) as chain:
        (host,) = chain.hosts
        assert (chain.root.node._keeps()[0], host.node._keeps()[0]) == ({}, {APPLIER: 0})
        below = ByHand(chain)
        host.pass_to(below.listen())
        below.wait_met()
        below.greet(0, 1000)
        chain.wait(lambda: host.said("successor") == [""])
        assert host.node._keeps()[0] == {APPLIER: 0, SUCCESSOR: RING}
        below.close()
        other = ByHand(chain)
        chain.root.pass_to(other.listen())
        other.wait_met()
        other.greet(500, 1000)
        chain.wait(lambda: chain.root.node._keeps()[0] == {SUCCESSOR: 4 * 500})
        other.greet(500, 1200)
        chain.wait(lambda: chain.root.node._keeps() == ({SUCCESSOR: 4 * 700}, True))
        chain.file.limit(1000)
        chain.wait(lambda: chain.root.node._keeps() == ({SUCCESSOR: 4 * 700}, False))
        chain.file.abort("enough")
        assert chain.root.node._keeps()[0] == {}
        other.close()


def test_of_those_held_up_the_last_one_names_the_cause() -> None:
    with a_chain(4 * MIB, 3, held_s=QUICK_S) as chain:
        slow = chain.hosts[1]
        slow.pipe.pause()
        chain.join()
        finished(chain)
        chain.wait(lambda: all(held(host) for host in (chain.root, *chain.hosts[:2])))
        assert [held(host) for host in chain.all] == [{SUCCESSOR}, {SUCCESSOR}, {APPLIER}, set()]
        slow.pipe.go_on()
        chain.wait_done()
        chain.complete(*chain.hosts)


def test_it_is_said_of_the_last_ring_too() -> None:
    """All has come, and is in the ring: but it isn't taken."""
    with a_chain(RING // 8, 2, held_s=QUICK_S) as chain:
        first, silent = chain.hosts[0], ByHand(chain)
        first.pass_to(silent.listen())
        chain.root.pass_to(first.await_one(SECRET))
        finished(chain)
        silent.wait_met()
        silent.greet(0, 1000)
        chain.wait(lambda: held(first) == {SUCCESSOR})
        chain.wait(lambda: chain.root.result is not None)
        assert first.node.progress().received == RING // 8
        silent.close()


def test_an_applier_that_has_the_rest_before_it_holds_nobody_up() -> None:
    """It may be copying long files that didn't change, of which nothing is in the stream."""
    with a_chain(RING // 2, 1, held_s=QUICK_S) as chain:
        (host,) = chain.hosts
        host.pipe.pause()
        fcntl.fcntl(host.pipe.fd, fcntl.F_SETPIPE_SZ, 4096)
        chain.join()
        finished(chain)
        chain.wait(lambda: chain.root.result is not None)
        assert host.node.progress().applied < RING // 2
        assert chain.standing() == [(0, 0)] * 2
        host.pipe.go_on()
        chain.wait_done()
        chain.complete(host)
        assert host.ended().progress.applier_s == 0
