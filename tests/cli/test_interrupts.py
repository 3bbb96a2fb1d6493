"""What a signal says to whoever looks on."""

from __future__ import annotations

import signal

from nile.cli.interrupts import Interrupts


def test_what_comes_in_the_middle_of_a_line_is_said_behind_it() -> None:
    """Writing from a signal handler may fail: the handler interrupted a write to the same stream."""
    said: list[str] = []
    writing = True

    def say(text: str) -> None:
        if writing:
            raise RuntimeError("reentrant call")
        said.append(text)

    with Interrupts(lambda _: None, 1.0, say) as interrupts:
        interrupts._end(signal.SIGINT, None)
        writing = False
        interrupts.wait_while_paused()
        interrupts.wait_while_paused()
    assert said == ["nile: ending all commands (1 s to end by themselves; once more kills them)\n"]


def test_what_comes_in_the_last_line_is_said_at_the_end() -> None:
    said: list[str] = []
    writing = True

    def say(text: str) -> None:
        if writing:
            raise RuntimeError("reentrant call")
        said.append(text)

    with Interrupts(lambda _: None, 1.0, say) as interrupts:
        interrupts._end(signal.SIGINT, None)
        writing = False
    assert len(said) == 1
