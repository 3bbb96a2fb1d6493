"""Rings and their readers without a socket: what is kept, who waits for whom, and that nobody waits for ever."""

from __future__ import annotations

import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from nile.agent.worker import segments
from nile.agent.worker.ring import APPLIER, SUCCESSOR, Readers, Ring
from nile.agent.worker.segments import ABORT, END, FROM, GONE, MOST_SEGMENT, STATE, THROUGH, Broken

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
        for i in range(1, 6):
            self._say(i)

    def _say(self, i: int) -> None:
        """What node i says reaches its predecessor."""
        node, above = self._node(i), self.chain[i - 1]
        until, _ = node.readers.until(node.head)
        node.granted = max(node.granted, until, node.head)
        above.readers.taken, above.readers.awaited = node.head, None
        above.settled = above.settled or above.head <= node.head + SIZE // 4

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

    @precondition(lambda self: len(self.chain) > 3)
    @rule(who=WHO, many=st.integers(1, 2))
    def kill(self, who: int, many: int) -> None:
        """One node, or two neighbours, die: the one above waits for another one."""
        i = self._pick(who)
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
                moved += self._take(i, SIZE) + self._apply(i, SIZE)
                before = self._node(i).granted
                self._say(i)
                moved += self._node(i).granted - before
            if not moved:
                break
        assert [self._node(i).readers.applied for i in range(1, len(self.chain))] == [TOTAL] * (
            len(self.chain) - 1
        )


TestChain = Chain.TestCase
TestChain.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)


# What neighbours say


def states(**known: Any) -> segments.States:
    found = segments.States()
    found.feed(segments.state(STATE, 100, 300))
    for name, value in known.items():
        setattr(found, name, value)
    return found


def test_what_a_successor_says_is_taken_over_in_any_pieces() -> None:
    found = segments.States()
    words = segments.state(STATE, 100, 300) + segments.state(STATE, 100, 400)
    for i in range(len(words)):
        found.feed(words[i : i + 1])
    assert (found.greeted, found.sent, found.received, found.granted) == (True, 100, 100, 400)
    found.sent = found.total = 250
    found.feed(segments.state(THROUGH, 250, 400))
    assert found.through


@pytest.mark.parametrize(
    ("words", "known"),
    [
        (segments.state(3, 100, 300), {}),
        (segments.state(STATE, 101, 300), {}),
        (segments.state(STATE, 99, 300), {}),
        (segments.state(STATE, 100, 299), {}),
        (segments.state(STATE, 301, 300), {"sent": 301}),
        (segments.state(THROUGH, 100, 300), {}),
        (segments.state(THROUGH, 100, 300), {"sent": 120, "total": 120}),
        (segments.state(STATE, 100, 300), {"through": True}),
    ],
    ids=["kind", "more-than-sent", "back", "less-granted", "beyond-its-grant", "no-end", "not-all", "after"],
)
def test_a_successor_that_says_what_can_not_be_is_refused(words: bytes, known: dict[str, Any]) -> None:
    with pytest.raises(Broken):
        states(**known).feed(words)


def sent(parser: segments.Segments, words: bytes, piece: int = 1) -> list[Any]:
    """Feed it as a connection would, in pieces: what it told, and the bytes of its segments."""
    told: list[Any] = []
    while words:
        if parser.left:
            count = min(parser.left, piece, len(words))
            told.append(words[:count])
            parser.took(count)
        else:
            count = min(parser.wanted, piece, len(words))
            assert count, "it wants nothing, and has nothing"
            heard = parser.feed(words[:count])
            if heard is not None:
                told.append(heard)
        words = words[count:]
    return told


@pytest.mark.parametrize("piece", [1, 3, 100])
def test_what_a_predecessor_sends_is_understood_in_any_pieces(piece: int) -> None:
    words = segments.word(FROM, 10) + segments.segment(3) + b"abc" + segments.segment(2) + b"de"
    for last, heard in [
        (segments.word(END, 15, 77), (END, [15, 77], "")),
        (segments.abort("the source changed: é"), (ABORT, [22], "the source changed: é")),
        (segments.abort(""), (ABORT, [0], "")),
    ]:
        parser = segments.Segments(10)
        parser.granted = 15
        told = sent(parser, words + last, piece)
        assert told.pop() == heard
        assert b"".join(told) == b"abcde"
    assert sent(segments.Segments(10), segments.word(GONE, 11), piece) == [(GONE, [11], "")]
    assert sent(segments.Segments(10), segments.abort("no"), piece) == [(ABORT, [2], "no")]


def test_a_long_reason_is_cut() -> None:
    heard = sent(segments.Segments(0), segments.abort("x" * 5000), 10_000)
    assert heard[0][2] == "x" * segments.MOST_REASON


BEGUN = segments.word(FROM, 10)


@pytest.mark.parametrize(
    "words",
    [
        segments.word(FROM, 11),
        BEGUN + BEGUN,
        segments.segment(1),
        BEGUN + segments.segment(0),
        BEGUN + segments.segment(MOST_SEGMENT + 1),
        BEGUN + segments.segment(21),
        BEGUN + segments.word(GONE, 11),
        segments.word(GONE, 10),
        segments.word(END, 10, 0),
        BEGUN + segments.word(END, 11, 0),
        BEGUN + segments.segment(ABORT) + b"\xff\xff",
    ],
    ids=[
        *("another-offset", "begins-twice", "no-beginning", "empty", "too-long", "beyond-the-grant"),
        *("gone-later", "not-gone", "ends-at-once", "ends-elsewhere", "long-reason"),
    ],
)
def test_a_predecessor_that_sends_what_can_not_be_is_refused(words: bytes) -> None:
    parser = segments.Segments(10)
    parser.granted = 30
    with pytest.raises(Broken):
        sent(parser, words, 10_000)
