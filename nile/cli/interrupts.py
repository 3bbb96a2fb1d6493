"""Signals during a run: Ctrl-C and its kind end the run, Ctrl-Z stops the display only."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """While it is entered: the first signal ends the run with the grace, the second without.

    `interrupt(grace_s)` may be called from a signal handler; `say(text)` writes
    a line for the user. A signal that was ignored when Nile started (nohup)
    stays ignored.
    """

    def __init__(
        self, interrupt: Callable[[float], None], grace_s: float, say: Callable[[str], object]
    ) -> None:
        self._interrupt = interrupt
        self._grace_s = grace_s
        self._say = say
        self._count = 0
        self._going = threading.Event()
        self._going.set()
        self._before: dict[int, Any] = {}
        self._unsaid: list[str] = []

    def __enter__(self) -> Self:
        for signum in ENDING:
            if signal.getsignal(signum) is not signal.SIG_IGN:
                self._before[signum] = signal.signal(signum, self._end)
        if signal.getsignal(signal.SIGTSTP) is not signal.SIG_IGN:
            self._before[signal.SIGTSTP] = signal.signal(signal.SIGTSTP, self._pause)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)
        self._say_rest()

    def wait_while_paused(self) -> None:
        """Return once the display may go on."""
        self._say_rest()
        self._going.wait()

    def _end(self, signum: int, frame: FrameType | None) -> None:
        self._count += 1
        self._going.set()
        if self._count == 1:
            self._interrupt(self._grace_s)
            self._tell(
                f"ending all commands ({self._grace_s:g} s to end by themselves; once more kills them)"
            )
        else:
            self._interrupt(0.0)

    def _pause(self, signum: int, frame: FrameType | None) -> None:
        """Stopping the process would stop the heartbeats, and with them every command."""
        if self._going.is_set():
            self._tell("the display stands still and the run goes on; Ctrl-Z again to look on")
            self._going.clear()
        else:
            self._going.set()

    def _tell(self, text: str) -> None:
        try:
            self._say(f"nile: {text}\n")
        except OSError:
            pass  # the terminal is gone: the run matters more
        except RuntimeError:
            self._unsaid.append(text)  # it is in the middle of a line

    def _say_rest(self) -> None:
        """What a signal came in the middle of a line for."""
        unsaid, self._unsaid = self._unsaid, []
        for text in unsaid:
            self._tell(text)
