"""`host: line`, each stream to its own, in whole lines, with bounded memory."""

from __future__ import annotations

import io

import pytest

from nile.events import HostOutput, HostResult, Verdict
from nile.report import Live, Screen, Sink, live
from nile.report.text import MAX_LINE
from tests.report.screens import Caught


def fed(caught: Caught, *outputs: tuple[str, str, bytes]) -> Live:
    renderer = Live(caught.screen)
    for host, stream, data in outputs:
        renderer.handle(HostOutput(host, stream, 0, data))
    return renderer


def test_lines_of_hosts_never_mix() -> None:
    caught = Caught()
    fed(caught, ("n1", "stdout", b"one "), ("n2", "stdout", b"two\n"), ("n1", "stdout", b"line\nrest"))
    assert caught.out == b"n2: two\nn1: one line\n"


def test_standard_error_goes_to_standard_error() -> None:
    caught = Caught()
    fed(caught, ("n1", "stderr", b"oops\n"), ("n1", "stdout", b"fine\n"))
    assert (caught.out, caught.err) == (b"n1: fine\n", b"n1: oops\n")
    assert caught.order.getvalue() == b"n1: oops\nn1: fine\n"


def test_a_last_line_without_an_end_is_written_at_the_verdict() -> None:
    caught = Caught()
    renderer = fed(caught, ("n1", "stdout", b"half"), ("n2", "stdout", b"other"))
    renderer.handle(HostResult("n1", Verdict.OK, 0))
    assert caught.out == b"n1: half\n"
    renderer.finish()
    assert caught.out == b"n1: half\nn2: other\n"


def test_a_pipe_gets_the_bytes_as_they_are() -> None:
    caught = Caught()
    fed(caught, ("n1", "stdout", b"\x1b[31mred\xff\r\n"))
    assert caught.out == b"n1: \x1b[31mred\xff\r\n"


def test_a_terminal_gets_nothing_that_it_would_obey() -> None:
    caught = Caught(terminal=True)
    fed(caught, ("n1", "stdout", b"\x1b[31mred\xff\r\n"), ("n1", "stderr", b"\x07\n"))
    assert (caught.out, caught.err) == (b"n1: \\x1b[31mred\\xff\\x0d\n", b"n1: \\x07\n")


def test_host_names_are_coloured_where_colours_are_on() -> None:
    caught = Caught(terminal=True, colour=True)
    fed(caught, ("n1", "stdout", b"x\n"), ("n1", "stderr", b"y\n"))
    assert (caught.out, caught.err) == (b"\x1b[36mn1:\x1b[0m x\n", b"\x1b[31mn1:\x1b[0m y\n")


def test_a_long_line_goes_on_under_a_mark_of_its_own() -> None:
    caught = Caught()
    fed(caught, ("n1", "stdout", b"x" * (MAX_LINE + 1)), ("n2", "stdout", b"y\n"), ("n1", "stdout", b"z\n"))
    assert caught.out == b"n1: " + b"x" * MAX_LINE + b"\nn2: y\nn1+ xz\n"


def test_unfinished_lines_of_many_hosts_are_bounded_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "MAX_HELD", 10)
    caught = Caught()
    renderer = fed(caught, ("n1", "stdout", b"aaaaaa"), ("n2", "stdout", b"bbbb"), ("n3", "stdout", b"c"))
    assert caught.out == b"n1: aaaaaa\n"
    renderer.handle(HostOutput("n1", "stdout", 6, b"more\n"))
    renderer.finish()
    assert caught.out == b"n1: aaaaaa\nn1+ more\nn2: bbbb\nn3: c\n"


def test_a_host_that_is_done_holds_nothing() -> None:
    caught = Caught()
    renderer = fed(caught, ("n1", "stdout", b"whole\n"), ("n2", "stderr", b"half"))
    assert list(renderer._held) == [("n2", "stderr")]
    renderer.handle(HostResult("n2", Verdict.OK, 0))
    assert renderer._held == {}
    assert renderer._bytes_held == 0


def test_letters_that_the_terminal_lacks_are_written_out() -> None:
    raw = io.BytesIO()
    sink = Sink(io.TextIOWrapper(raw, encoding="latin-1"), terminal=True, colour=False)
    Live(Screen(sink, sink)).handle(HostOutput("n1", "stdout", 0, "é 東\n".encode()))
    assert raw.getvalue() == b"n1: \xe9 \\u6771\n"


def test_a_stream_of_text_alone_serves_too() -> None:
    text = io.StringIO()
    Live(Screen(Sink(text), Sink(text))).handle(HostOutput("n1", "stdout", 0, "é\xff\n".encode("latin-1")))
    assert text.getvalue() == "n1: \\xe9\\xff\n"


@pytest.mark.parametrize(
    ("terminal", "environment", "colour"),
    [
        (True, {}, True),
        (True, {"NO_COLOR": "1"}, False),
        (True, {"NO_COLOR": ""}, True),
        (True, {"TERM": "dumb"}, False),
        (False, {}, False),
    ],
)
def test_colours_are_for_terminals_that_want_them(
    terminal: bool, environment: dict[str, str], colour: bool
) -> None:
    assert Sink(io.StringIO(), terminal=terminal, environment=environment).colour is colour
