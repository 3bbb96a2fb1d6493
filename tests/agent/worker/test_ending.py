"""A worker that is told to end: at once where it looks at files, else when it has done what it does."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from nile.agent.worker import parts, service
from nile.agent.worker.loop import Loop
from nile.agent.worker.patterns import Patterns
from nile.agent.worker.place import Place
from nile.agent.worker.working import Gone


@pytest.mark.parametrize("repo", [{}, {"repo": 3}], ids=["one repository", "several"])
@pytest.mark.parametrize(
    ("do", "expected"),
    [
        ("join", ["begun", "stopped"]),
        ("receive", ["begun", "stopped"]),
        ("scan", ["stopped"]),
        ("flip", ["stopped"]),
    ],
)
def test_a_signal_breaks_into_nothing_that_is_quick(
    do: str, expected: list[str], repo: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What isn't known yet couldn't be stopped, nor cleaned up; but a long look is left."""
    order: list[str] = []

    def begin(*_: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        order.append("begun")

    monkeypatch.setattr(service.Service, f"_do_{do}", begin, raising=False)
    serve({"n": 1, "do": do, **repo}, order, monkeypatch)
    assert order == expected


@pytest.mark.parametrize("do", ["join", "receive"])
def test_but_into_what_goes_before_it_over_all_that_an_earlier_try_left(
    do: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []

    class Untidy(Place):
        def make_ready(self, patterns: Patterns, recorded: bool = False) -> None:
            assert signal.getitimer(signal.ITIMER_REAL)[0] > 0, "it doesn't say that it is at it"
            os.kill(os.getpid(), signal.SIGTERM)
            order.append("made ready")

    monkeypatch.setattr(service.Service, "_opened", lambda _: Untidy(b"/dst", b".nile-sync-r", True))
    serve({"n": 1, "do": do}, order, monkeypatch)
    assert order == ["stopped"]


def serve(message: dict[str, Any], order: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that gets this one message, up to its end."""

    def end(self: Any) -> None:
        order.append("stopped")
        self._loop.stop()

    def listen(self: Any) -> None:
        self._loop.at(0.0, lambda: self._do(message))

    monkeypatch.setattr(service.Service, "listen", listen)
    monkeypatch.setattr(parts.Front, "end", end)
    run_main(monkeypatch)


@pytest.mark.parametrize("times", [1, 3])
def test_what_has_to_be_ended_may_be_broken_into_as_well(times: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look at the source that was about to be made once a program ends, say."""
    order: list[str] = []

    def look() -> None:
        order.append("look")
        raise Gone

    def end(self: Any) -> None:
        order.append("end")
        if order.count("look") < times:
            self._loop.at(0.0, look)
        else:
            self._loop.stop()

    monkeypatch.setattr(service.Service, "listen", lambda self: self._loop.at(0.0, look))
    monkeypatch.setattr(parts.Front, "end", end)
    run_main(monkeypatch)
    assert order == ["look", "end"] * times


def run_main(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker's, in this process."""
    before = {number: signal.getsignal(number) for number in HANDLED}
    loops: list[Loop] = []
    monkeypatch.setattr(parts, "Loop", lambda: loops.append(Loop()) or loops[-1])  # type: ignore[func-returns-value]
    try:
        parts.main()
    finally:
        loops[0].close()
        for number, handler in before.items():
            signal.signal(number, handler)


HANDLED = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGALRM)
