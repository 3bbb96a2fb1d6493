"""Equal output stands once, under the folded set of its hosts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nile.events import HostOutput
from nile.report import Fold, Style, folded, heading
from nile.report.fold import BLOCKS
from tests.report.screens import Caught


class Recorded:
    """What hosts printed, handed to a Fold and read back by it."""

    def __init__(self, *outputs: tuple[str, str, bytes]) -> None:
        self.outputs = outputs

    def chunks(self, host: str, stream: str) -> Iterator[bytes]:
        return (data for of, on, data in self.outputs if (of, on) == (host, stream))

    def shown(self, caught: Caught, style: Style = BLOCKS) -> Caught:
        fold = Fold(caught.screen, self.chunks, style)
        for host, stream, data in self.outputs:
            fold.handle(HostOutput(host, stream, 0, data))
        assert caught.order.getvalue() == b""
        fold.finish()
        return caught


def block(title: str, text: str) -> str:
    return f"---------------\n{title}\n---------------\n{text}"


def test_hosts_with_equal_output_share_a_block_and_the_largest_comes_first() -> None:
    odd = ("n9", "stdout", b"5.10\n")
    same = [(f"n{number}", "stdout", b"6.1\n") for number in (1, 2, 3, 5)]
    shown = Recorded(odd, *same).shown(Caught())
    assert shown.out.decode() == block("n[1-3,5] (4)", "6.1\n") + block("n9 (1)", "5.10\n")
    assert shown.err == b""


def test_how_output_was_cut_and_a_missing_last_line_end_dont_part_hosts() -> None:
    pieces = [
        ("n1", "stdout", b"a\n"),
        ("n1", "stdout", b"b\n"),
        ("n2", "stdout", b"a"),
        ("n2", "stdout", b"\nb"),
    ]
    assert Recorded(*pieces).shown(Caught()).out.decode() == block("n[1-2] (2)", "a\nb\n")


def test_a_line_end_within_parts_hosts() -> None:
    shown = Recorded(("n1", "stdout", b"a\n\n"), ("n2", "stdout", b"a\n")).shown(Caught())
    assert shown.out.decode() == block("n1 (1)", "a\n\n") + block("n2 (1)", "a\n")


def test_standard_error_is_folded_apart() -> None:
    pieces = [("n1", "stdout", b"x\n"), ("n2", "stdout", b"x\n"), ("n2", "stderr", b"oops\n")]
    shown = Recorded(*pieces).shown(Caught())
    assert shown.out.decode() == block("n[1-2] (2)", "x\n")
    assert shown.err.decode() == block("n2 (1) stderr", "oops\n")
    assert shown.order.getvalue() == shown.out + shown.err


def test_a_pipe_gets_the_bytes_and_a_terminal_what_is_harmless() -> None:
    recorded = Recorded(("n1", "stdout", b"\x1b[2J\xff\nend"))
    assert recorded.shown(Caught()).out.endswith(b"\n\x1b[2J\xff\nend\n")
    assert recorded.shown(Caught(terminal=True)).out.endswith(b"\n\\x1b[2J\\xff\nend\n")


def test_the_text_itself_is_not_held() -> None:
    caught = Caught()
    fold = Fold(caught.screen, lambda host, stream: iter([b"as recorded\n"]))
    fold.handle(HostOutput("n1", "stdout", 0, b"as it came\n"))
    fold.finish()
    assert caught.out.decode() == block("n1 (1)", "as recorded\n")


@given(st.lists(st.sampled_from([b"", b"\n", b"a", b"a\n"]), max_size=6))
def test_the_hash_sees_the_bytes_and_not_the_cuts(pieces: list[bytes]) -> None:
    whole = b"".join(pieces)
    outputs = [("n1", "stdout", piece) for piece in pieces] + [("n2", "stdout", whole)]
    out = Recorded(*outputs).shown(Caught()).out
    assert (b"n[1-2] (2)" in out) is bool(whole)


@pytest.mark.parametrize(
    ("hosts", "shown"),
    [
        (["n2", "n1", "n10", "n3"], "n[1-3,10]"),
        (["n01", "n02", "n1"], "n[1,01-02]"),
        (["db", "web1.example.org", "web2.example.org"], "db,web[1-2].example.org"),
        (["10.0.0.1", "10.0.0.2", "fe80::1"], "10.0.0.[1-2],fe80::1"),
        (["fe80::1%eth0", "fe80::2%eth0"], "fe80::[1-2]%eth0"),
        (["n1", "n1"], "n1"),
        ([], ""),
    ],
)
def test_host_sets_are_folded(hosts: list[str], shown: str) -> None:
    assert folded(hosts) == shown


def test_a_heading_counts_hosts_once() -> None:
    assert heading(["n1", "n2", "n1"]) == "n[1-2] (2)"


MIXED = Recorded(
    ("n10", "stdout", b"a\nb\n"),
    ("n2", "stdout", b"a\nb"),
    ("n1", "stdout", b"c\n"),
    ("n2", "stderr", b"oops\n"),
)


def test_lines_stand_behind_their_hosts_in_the_order_of_hosts() -> None:
    shown = MIXED.shown(Caught(), Style(equal=False, lines=True))
    assert shown.out.decode() == "n1: c\nn2: a\nn2: b\nn10: a\nn10: b\n"
    assert shown.err.decode() == "n2: oops\n"


def test_equal_lines_stand_behind_the_set_of_their_hosts() -> None:
    shown = MIXED.shown(Caught(), Style(equal=True, lines=True))
    assert shown.out.decode() == "n[2,10]: a\nn[2,10]: b\nn1: c\n"


@pytest.mark.parametrize("style", [Style(label=False), Style(lines=True, label=False)])
def test_names_are_left_out(style: Style) -> None:
    assert MIXED.shown(Caught(), style).out.decode() == "a\nb\nc\n"


def test_lines_of_hosts_are_visible_on_a_terminal_and_labels_coloured() -> None:
    recorded = Recorded(("n1", "stdout", b"\x1b[2Ja\n"))
    shown = recorded.shown(Caught(terminal=True, colour=True), Style(lines=True))
    assert shown.out.decode().endswith("\x1b[36mn1:\x1b[0m \\x1b[2Ja\n")
