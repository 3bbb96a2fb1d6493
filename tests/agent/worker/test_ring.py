"""Rings and their readers without a socket: what is kept, and that nobody waits for ever."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from nile.agent.worker.ring import APPLIER, SUCCESSOR, Readers, Ring

SIZE = 64
TOTAL = 1000
STREAM = bytes((i * 7 + i // 256) % 256 for i in range(TOTAL))


def ring(size: int = SIZE) -> Ring:
    return Ring(memoryview(bytearray(size)))


def write(target: Ring, data: bytes) -> None:
    """Write as the kernel would: as much as is in one piece, again and again."""
    while data:
        space = target.space(target.head + len(data))
        count = len(space)
        space[:] = data[:count]
        target.wrote(count)
        data = data[count:]


def read(source: Ring, offset: int, end: int) -> bytes:
    found = b""
    while offset + len(found) < end:
        found += source.view(offset + len(found), end)
    return found


# The ring


def test_a_ring_keeps_the_last_bytes() -> None:
    kept = ring()
    write(kept, STREAM[:150])
    assert (kept.head, kept.begin) == (150, 150 - SIZE)
    assert read(kept, kept.begin, kept.head) == STREAM[150 - SIZE : 150]
    assert kept.crc == zlib.crc32(STREAM[:150])


@pytest.mark.parametrize(("offset", "end"), [(85, 90), (90, 151), (100, 99)])
def test_a_ring_gives_nothing_that_it_has_not(offset: int, end: int) -> None:
    kept = ring()
    write(kept, STREAM[:150])
    with pytest.raises(ValueError, match="of a ring from 86 to 150"):
        kept.view(offset, end)


def test_a_ring_offers_no_space_beyond_the_end_asked_for() -> None:
    kept = ring()
    write(kept, STREAM[:60])
    assert len(kept.space(60)) == 0
    assert len(kept.space(50)) == 0
    assert len(kept.space(62)) == 2
    assert len(kept.space(70)) == 4, "the rest begins at the ring's beginning"


@given(st.integers(1, 80), st.lists(st.integers(1, 90), max_size=30))
def test_a_ring_of_any_size_keeps_what_came_in_any_pieces(size: int, pieces: list[int]) -> None:
    kept = ring(size)
    came = b""
    for piece in pieces:
        data = STREAM[len(came) % 500 :][:piece]
        write(kept, data)
        came += data
        assert kept.head == len(came)
        assert read(kept, kept.begin, kept.head) == came[kept.begin :]
        assert kept.crc == zlib.crc32(came)


# Who waits for whom


def readers(**at: int) -> Readers:
    found = Readers(1600)
    for name, offset in at.items():
        setattr(found, name, offset)
    return found


@pytest.mark.parametrize(
    ("at", "head", "until", "blame"),
    [
        ({}, 500, 2100, ""),
        ({"applied": 100}, 500, 1700, ""),
        ({"applied": 100}, 1650, 1700, APPLIER),
        ({"taken": 100}, 300, 500, ""),
        ({"taken": 100}, 450, 500, SUCCESSOR),
        ({"taken": 100, "awaited": 0}, 450, 500, SUCCESSOR),
        ({"awaited": 100}, 450, 900, ""),
        ({"awaited": 100}, 850, 900, SUCCESSOR),
        ({"applied": 100, "taken": 1400}, 1690, 1700, APPLIER),
        ({"taken": 2000}, 500, 2100, ""),
    ],
)
def test_the_slowest_reader_says_how_far_a_stream_may_go(
    at: dict[str, int], head: int, until: int, blame: str
) -> None:
    assert readers(**at).until(head) == (until, blame)


def test_nothing_is_written_over_what_a_present_reader_has_not_had() -> None:
    assert readers(applied=100).ceiling(500) == 1700
    assert readers(applied=400, taken=100).ceiling(500) == 1700
    assert readers(awaited=100).ceiling(500) == 2100, "only who is there"
    assert readers(taken=900).ceiling(500) == 2100, "one that is ahead leaves us the whole ring"


class Held:
    """One node of a pure chain: what `chain.Node` does with its ring, without sockets."""

    def __init__(self, size: int) -> None:
        self.ring = ring(size)
        self.readers = Readers(size)
        self.readers.applied = 0
        self.granted = 0  # to its predecessor, as that one knows it
        self.settled = True

    @property
    def head(self) -> int:
        return self.ring.head

    @property
    def begin(self) -> int:
        return self.ring.begin

    def give(self, offset: int, end: int) -> bytes:
        return read(self.ring, offset, end)


class Source:
    """The root's file."""

    head, begin = TOTAL, 0

    def __init__(self) -> None:
        self.readers = Readers(SIZE)
        self.settled = True

    def give(self, offset: int, end: int) -> bytes:
        return STREAM[offset:end]


WHO = st.integers(0, 19)


class Chain(RuleBasedStateMachine):
    """Nodes that take, apply, acknowledge and die in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.chain: list[Source | Held] = [Source(), *(Held(SIZE) for _ in range(5))]
        for i in range(5, 0, -1):  # the last one first, as a chain is joined
            self._say(i)

    def _say(self, i: int) -> None:
        """What node i says reaches its predecessor."""
        node, above = self._node(i), self.chain[i - 1]
        until, _ = node.readers.until(node.head)
        node.granted = max(node.granted, until, node.head)
        above.readers.taken, above.readers.awaited = node.head, None
        # What it was granted before this one came can't be taken back: it may still go so far.
        far = above.granted if isinstance(above, Held) else above.head
        above.settled = above.settled or far <= node.head + SIZE // 4

    def _node(self, i: int) -> Held:
        node = self.chain[i]
        assert isinstance(node, Held)
        return node

    def _take(self, i: int, most: int) -> int:
        node, above = self._node(i), self.chain[i - 1]
        if above.readers.taken is None:
            return 0
        end = min(above.head, node.granted, node.readers.ceiling(node.head), node.head + most)
        if end <= node.head:
            return 0
        count = end - node.head
        write(node.ring, above.give(node.head, end))
        return count

    def _apply(self, i: int, most: int) -> int:
        node = self._node(i)
        at = node.readers.applied
        assert at is not None
        end = min(node.head, at + most)
        assert node.give(at, end) == STREAM[at:end]
        node.readers.applied = end
        return end - at

    @precondition(lambda self: len(self.chain) > 1)
    @rule(who=WHO, most=st.integers(1, 40))
    def take(self, who: int, most: int) -> None:
        self._take(self._pick(who), most)

    @precondition(lambda self: len(self.chain) > 1)
    @rule(who=WHO, most=st.integers(1, 40))
    def apply(self, who: int, most: int) -> None:
        self._apply(self._pick(who), most)

    @precondition(lambda self: len(self.chain) > 1)
    @rule(who=WHO)
    def say(self, who: int) -> None:
        i = self._pick(who)
        if self.chain[i - 1].readers.taken is not None:
            self._say(i)

    @rule(frozen=st.sets(WHO, max_size=3))
    def flow(self, frozen: set[int]) -> None:
        """All go on until they can't, but for some."""
        self.go_on({self._pick(who) for who in frozen if len(self.chain) > 1})

    def go_on(self, still: set[int]) -> None:
        while sum(self._go_on(i) for i in range(1, len(self.chain)) if i not in still):
            pass

    def _go_on(self, i: int) -> int:
        """One turn of a node: how much has changed."""
        if self.chain[i - 1].readers.taken is None:
            return self._apply(i, SIZE)
        before = self._node(i).granted
        moved = self._take(i, SIZE) + self._apply(i, SIZE)
        self._say(i)
        return moved + self._node(i).granted - before

    @precondition(lambda self: 1 < len(self.chain) < 7)
    @rule()
    def join(self) -> None:
        """The last one gets a successor after all."""
        above = self.chain[-1]
        if above.readers.taken is None and above.readers.awaited is None:
            self.chain.append(Held(SIZE))
            above.settled = False
            self._meet(len(self.chain) - 1)

    @precondition(lambda self: len(self.chain) > 3)
    @rule(who=WHO, many=st.integers(1, 2))
    def kill(self, who: int, many: int) -> None:
        """One node, or two neighbours, die: the one above waits for another one."""
        self.lose(self._pick(who), many)

    def lose(self, i: int, many: int) -> None:
        above, dead = self.chain[i - 1], self.chain[i : i + many]
        # What is promised is promised of neighbours that had found each other, and caught up.
        above.settled = all(node.settled and node.readers.taken is not None for node in [above, *dead])
        if above.readers.taken is not None:
            above.readers.awaited, above.readers.taken = above.readers.taken, None
        del self.chain[i : i + many]

    @precondition(lambda self: len(self.chain) > 1)
    @rule(who=WHO)
    def meet(self, who: int) -> None:
        """Whoever stands below now is met by whoever stands above."""
        i = self._pick(who)
        if self.chain[i - 1].readers.taken is None:
            self._meet(i)

    def _pick(self, who: int) -> int:
        return 1 + who % (len(self.chain) - 1)

    def _meet(self, i: int) -> None:
        node, above = self._node(i), self.chain[i - 1]
        if above.settled:
            assert above.begin <= node.head, "what the next one wants is in the ring"
        if above.begin > node.head:
            del self.chain[i]  # the root serves it
            return
        above.settled = False
        self._say(i)

    @invariant()
    def nothing_is_lost_for_who_is_there(self) -> None:
        for node in self.chain[1:]:
            applied, taken = node.readers.applied, node.readers.taken
            assert applied is not None
            assert node.begin <= applied
            assert taken is None or node.begin <= taken

    def teardown(self) -> None:
        """Whatever happened, everybody who is left gets everything."""
        for _ in range(10 * TOTAL):
            moved = 0
            for i in range(len(self.chain) - 1, 0, -1):
                if i < len(self.chain) and self.chain[i - 1].readers.taken is None:
                    self._meet(i)
            self.chain[-1].readers.taken = self.chain[-1].readers.awaited = None
            for i in range(1, len(self.chain)):
                moved += self._go_on(i)
            if not moved:
                break
        assert [self._node(i).readers.applied for i in range(1, len(self.chain))] == [TOTAL] * (
            len(self.chain) - 1
        )


@pytest.mark.parametrize("many", [1, 2])
@pytest.mark.parametrize("frozen", [4, 5])
def test_what_is_promised_holds_where_everybody_is_as_far_ahead_as_he_may(many: int, frozen: int) -> None:
    chain = Chain()
    chain.go_on({frozen})
    first = frozen - many
    above, waiting = chain.chain[first - 1], chain.chain[frozen]
    assert above.head > waiting.head, "else there is nothing to lose"
    chain.lose(first, many)
    chain.go_on({first})
    assert above.settled
    chain._meet(first)
    assert waiting in chain.chain
    chain.teardown()


TestChain = Chain.TestCase
TestChain.settings = settings(max_examples=100, stateful_step_count=60, deadline=None)
