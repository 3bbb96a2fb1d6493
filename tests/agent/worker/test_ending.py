"""A worker that is told to end: at once, but for what it is just beginning."""

from __future__ import annotations

from typing import Any

import pytest

from nile.agent.worker.service import Service
from tests.agent.worker.copying import a_loop


@pytest.mark.parametrize(
    ("do", "expected"),
    [("join", ["begun", "stopped"]), ("receive", ["begun", "stopped"]), ("scan", ["stopped", "begun"])],
)
def test_what_it_is_just_beginning_is_begun_and_stopped(
    do: str, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal comes in the middle of it: what isn't known yet couldn't be stopped, nor cleaned up."""
    order: list[str] = []
    with a_loop() as loop:
        service = Service(loop)

        def begin(_: dict[str, Any]) -> None:
            service.end()
            order.append("begun")

        monkeypatch.setattr(service, f"_do_{do}", begin)
        monkeypatch.setattr(service._copies, "stop", lambda _: order.append("stopped"))
        service._do({"n": 1, "do": do})
        service._do({"n": 2, "do": "last", "what": 1})
    assert order == expected
