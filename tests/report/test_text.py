"""Nothing that a host prints can act on a terminal, and nothing is lost on the way."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nile.report.text import MAX_LINE, Lines, Piece, complete_length, visible, visible_bytes

BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"plain text, \ttabs", "plain text, \ttabs"),
        ("Zürich, 東京, 🐧".encode(), "Zürich, 東京, 🐧"),
        (b"\x1b[2J\x1b]0;title\x07", "\\x1b[2J\\x1b]0;title\\x07"),
        (b"50%\r100%", "50%\\x0d100%"),
        (b"a\x7fb\x00c", "a\\x7fb\\x00c"),
        ("\x9b31m".encode(), "\\x9b31m"),
        (b"caf\xe9", "caf\\xe9"),
        ("\u202egnp.exe".encode(), "\\u202egnp.exe"),
        ("\u2028\ufeff\U000e0041".encode(), "\\u2028\\ufeff\\U000e0041"),
        (b"\xed\xa0\x80", "\\xed\\xa0\\x80"),
    ],
)
def test_what_a_terminal_would_obey_or_hide_is_written_out(data: bytes, shown: str) -> None:
    assert visible_bytes(data) == shown


@given(st.binary())
def test_bytes_never_become_a_control_character(data: bytes) -> None:
    assert_harmless(visible_bytes(data))


@given(st.text(st.characters(codec=None) | st.sampled_from(BIDI + "\x1b\r\n\x7f\x9b\u2028")))
def test_text_never_becomes_a_control_character(text: str) -> None:
    assert_harmless(visible(text))


def assert_harmless(shown: str) -> None:
    assert not [
        char for char in shown if unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") and char != "\t"
    ]
    assert not set(shown) & set(BIDI)


def test_no_character_of_unicode_acts_on_a_terminal() -> None:
    assert_harmless(visible("".join(map(chr, range(0x110000)))))


@given(text=st.text(max_size=20), cut=st.integers(0, 80))
def test_a_cut_character_is_left_out_and_no_other(text: str, cut: int) -> None:
    data = text.encode()[:cut]
    whole = data[: complete_length(data)]
    assert text.startswith(whole.decode())
    assert len(data) - len(whole) <= 3
    assert data[len(whole) :].decode(errors="ignore") == ""


@pytest.mark.parametrize("data", [b"\xff", b"a\xc0", b"a\xc1", b"a\xf5", b"\x80\x80\x80\x80", b"", b"abc"])
def test_bytes_that_begin_no_character_are_not_waited_for(data: bytes) -> None:
    assert complete_length(data) == len(data)


def cut_up(chunks: list[bytes]) -> list[Piece]:
    lines = Lines()
    pieces = [piece for chunk in chunks for piece in lines.feed(chunk)]
    return [*pieces, *lines.flush()]


def test_lines_come_out_when_they_are_complete() -> None:
    lines = Lines()
    assert list(lines.feed(b"one\ntw")) == [(b"one", True)]
    assert lines.held == 2
    assert list(lines.feed(b"o\n\nthree")) == [(b"two", True), (b"", True)]
    assert list(lines.flush()) == [(b"three", True)]
    assert list(lines.flush()) == []


def test_a_long_line_comes_in_pieces_that_are_marked() -> None:
    data = b"x" * (2 * MAX_LINE + 10)
    pieces = cut_up([data + b"\nnext\n"])
    assert [(len(piece), first) for piece, first in pieces] == [
        (MAX_LINE, True),
        (MAX_LINE, False),
        (10, False),
        (4, True),
    ]


def test_a_line_of_just_the_limit_is_one_piece() -> None:
    assert cut_up([b"x" * MAX_LINE, b"\n", b"y\n"]) == [(b"x" * MAX_LINE, True), (b"y", True)]


def test_a_line_end_after_a_flush_makes_no_empty_piece() -> None:
    lines = Lines()
    assert list(lines.feed(b"half")) == []
    assert list(lines.flush()) == [(b"half", True)]
    assert list(lines.feed(b"\nnext\n")) == [(b"next", True)]


def test_a_long_line_is_not_cut_within_a_character() -> None:
    pieces = cut_up([b"x" + "é".encode() * MAX_LINE])
    assert len(pieces) == 3
    assert all(piece.decode() for piece, _ in pieces)


def test_a_line_of_100_mb_is_never_held() -> None:
    lines, most, total = Lines(), 0, 0
    for _ in range(1600):
        total += sum(len(piece.data) for piece in lines.feed(b"x" * MAX_LINE))
        most = max(most, lines.held)
    assert most <= MAX_LINE
    assert total + lines.held == 1600 * MAX_LINE


@given(st.lists(st.binary(max_size=30) | st.just(b"\n") | st.just(b"z" * MAX_LINE), max_size=12))
def test_pieces_make_up_the_stream_however_it_was_cut(chunks: list[bytes]) -> None:
    pieces = cut_up(chunks)
    joined = b"".join(b"\n" * first + data for data, first in pieces)
    stream = b"".join(chunks)
    assert joined == (b"\n" + stream.removesuffix(b"\n") if stream else b"")
