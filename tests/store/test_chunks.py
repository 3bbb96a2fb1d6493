"""Bytes are kept once, at their absolute offsets, however often and in whatever pieces they come."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nile.store.chunks import place


def test_a_chunk_at_the_end_is_kept_whole() -> None:
    assert place(5, 5, b"abc") == (5, b"abc", 0)


def test_a_chunk_that_is_there_already_leaves_nothing() -> None:
    assert place(5, 1, b"abc") == (5, b"", 0)
    assert place(5, 2, b"abc") == (5, b"", 0)


def test_what_overlaps_is_cut_off() -> None:
    assert place(5, 3, b"abcd") == (5, b"cd", 0)


def test_a_chunk_past_the_end_says_how_much_is_missing() -> None:
    assert place(5, 8, b"abc") == (8, b"abc", 3)


@given(
    stream=st.binary(max_size=100),
    cuts=st.lists(st.tuples(st.integers(0, 100), st.integers(0, 100)), max_size=20),
)
def test_repeated_and_overlapping_chunks_make_up_the_stream(
    stream: bytes, cuts: list[tuple[int, int]]
) -> None:
    kept, end = b"", 0
    for start, length in [*cuts, (0, len(stream))]:
        start = min(start, end)  # no gap: from what is known, or its end
        placed = place(end, start, stream[start : start + length])
        assert (placed.offset, placed.missing) == (end, 0)
        kept += placed.data
        end += len(placed.data)
    assert kept == stream
