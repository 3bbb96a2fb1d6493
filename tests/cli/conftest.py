"""The commands that read the store, with a store of their own."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from nile.events import Event
from nile.store import Recorder, RunContext

PLAN = [
    {"id": 1, "host": "gw", "parent": 0, "stage": 1, "asked": False},
    {"id": 2, "host": "n1", "parent": 1, "stage": 2, "asked": True},
    {"id": 3, "host": "n2", "parent": 0, "stage": 1, "asked": True},
    {"id": 4, "host": "n3", "parent": 1, "stage": 2, "asked": True},
]
Record = Callable[[Sequence[Event]], None]


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    """Where the store lies that the commands under test read; the local time zone is UTC."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path))
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield tmp_path / "nile" / "runs.db"
    time.tzset()


@pytest.fixture
def record(state: Path) -> Record:
    """Records a run of a root that is dead by now."""
    context = RunContext(("nile", "exec", "-w", "n[1-3]", "uptime"), "/home/ada", "ada", "", json.dumps(PLAN))

    def record(events: Sequence[Event]) -> None:
        with Recorder(state, context, clock=lambda: 1002.0) as recorder:
            recorder.record(events)

    return record
