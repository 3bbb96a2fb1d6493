"""The commands that read the store, with a store of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from nile.events import Event
from nile.store import Recorder, RunContext

PLAN = '{"nodes": [{"host": "gw"}]}'
Record = Callable[[Sequence[Event]], None]


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the store lies that the commands under test read."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("TZ", "UTC")
    return tmp_path / "nile" / "runs.db"


@pytest.fixture
def record(state: Path) -> Record:
    """Records a run of a root that is dead by now."""
    context = RunContext(("nile", "exec", "-w", "n[1-3]", "uptime"), "/home/ada", "ada", "", PLAN)

    def record(events: Sequence[Event]) -> None:
        with Recorder(state, context, clock=lambda: 1002.0) as recorder:
            recorder.record(events)

    return record
