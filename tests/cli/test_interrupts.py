"""What a signal says to whoever looks on."""

from __future__ import annotations

import signal

from nile.cli.interrupts import Interrupts


class Screen:
    """Can't be written to while a line is being written to it, as from a signal handler."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.writing = True

    def say(self, text: str) -> None:
        if self.writing:
            raise RuntimeError("reentrant call")
        self.said.append(text)


def test_what_comes_in_the_middle_of_a_line_is_said_behind_it() -> None:
    """Writing from a signal handler may fail: the handler interrupted a write to the same stream."""
    screen = Screen()
    with Interrupts(lambda _: None, 1.0, screen.say) as interrupts:
        interrupts._end(signal.SIGINT, None)
        screen.writing = False
        interrupts.wait_while_paused()
        interrupts.wait_while_paused()
    assert screen.said == ["nile: ending all commands (1 s to end by themselves; once more kills them)\n"]


def test_what_comes_in_the_last_line_is_said_at_the_end() -> None:
    screen = Screen()
    with Interrupts(lambda _: None, 1.0, screen.say) as interrupts:
        interrupts._end(signal.SIGINT, None)
        screen.writing = False
    assert len(screen.said) == 1
