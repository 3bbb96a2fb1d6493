"""What neighbours of a chain say to each other: in any pieces, and refused where it can't be."""

from __future__ import annotations

from typing import Any

import pytest

from nile.agent.worker import segments
from nile.agent.worker.segments import ABORT, END, FROM, GONE, MOST_SEGMENT, STATE, THROUGH, Broken


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
