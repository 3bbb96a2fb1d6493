"""Two streams that may be one terminal, and the line between them."""

from __future__ import annotations

from nile.report.screen import ERASE
from tests.report.screens import Caught


def test_what_was_written_first_is_seen_first() -> None:
    caught = Caught()
    caught.screen.out.write("one ")
    caught.screen.err.write("two ")
    caught.screen.out.write("three")
    caught.screen.flush()
    assert caught.order.getvalue() == b"one two three"


def test_the_status_line_comes_after_what_was_written_before_it() -> None:
    caught = Caught(terminal=True)
    caught.screen.out.write("one\n")
    caught.screen.show_status("status")
    assert caught.order.getvalue() == b"one\n" + ERASE.encode() + b"status"


def test_the_status_line_is_erased_once() -> None:
    caught = Caught(terminal=True)
    caught.screen.show_status("status")
    caught.screen.hide_status()
    caught.screen.hide_status()
    assert caught.err.decode() == f"{ERASE}status{ERASE}"
