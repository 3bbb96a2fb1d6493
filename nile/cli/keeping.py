"""Where a run is recorded: in the user's store, or, with `--no-store`, only for as long as it lasts.

What is shown of a run is read back from a store. So a run that is to leave
nothing has one, too, in a directory of its own that goes with it; hosts' output
gets there only where it is needed in the end. What a root leaves that is killed
goes when the next run begins, whether that is recorded or not, and by `nile prune`.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nile.events import Event
    from nile.report import Screen
    from nile.store import Recorder, RunContext, Store

PREFIX = "unkept-"
PROCESS = "process"


@dataclass(frozen=True, slots=True)
class Kept:
    """A run's store, its recorder, and what takes its events."""

    store: Store
    recorder: Recorder
    record: Callable[[Sequence[Event]], None]


@contextmanager
def keeping(given: dict[str, Any], context: RunContext, handover: str) -> Iterator[Kept]:
    """The record of a new run, as the options want it."""
    from nile.cli.showing import is_gathered
    from nile.store import Store, store_path

    if not given.get("no_store"):
        sweep(store_path().parent)
        with Store(store_path()) as store, store.recorder(context, handover) as recorder:
            yield Kept(store, recorder, recorder.record)
        return
    needed = given["as_json"] or is_gathered(given)
    with _passing(context.process) as path, Store(path) as store, store.recorder(context) as recorder:
        yield Kept(store, recorder, recorder.record if needed else _without_output(recorder.record))


def _without_output(record: Callable[[Sequence[Event]], None]) -> Callable[[Sequence[Event]], None]:
    from nile.events import HostOutput

    return lambda events: record([event for event in events if not isinstance(event, HostOutput)])


@contextmanager
def _passing(process: str) -> Iterator[Path]:
    """A store's place that is gone afterwards."""
    from nile.store import FILE_NAME, errors, store_path

    state = store_path().parent
    with errors.mapped(state, "make a directory"):
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        sweep(state)
        directory = Path(tempfile.mkdtemp(prefix=PREFIX, dir=state))
        (directory / PROCESS).write_text(process)
    try:
        yield directory / FILE_NAME
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def sweep(state: Path) -> None:
    """Remove what roots left that were killed, of runs that were to leave nothing."""
    from nile.store.records import is_alive, is_elsewhere
    from nile.topology.durations import WEEK_S

    for directory in state.glob(f"{PREFIX}*"):
        try:
            if time.time() - directory.stat().st_mtime <= WEEK_S:
                process = (directory / PROCESS).read_text()
                if is_alive(process) or is_elsewhere(process):
                    continue
        except OSError:
            continue  # it is just being made, or removed
        shutil.rmtree(directory, ignore_errors=True)


def keep_to_cap(screen: Screen, given: dict[str, Any], run_id: str) -> None:
    """Remove the oldest runs, where the store has become too large; never a reason for a run to fail.

    `run_id` is the run that has ended, which stays.
    """
    from nile.errors import StoreError
    from nile.store import Store, keep_cap, store_path
    from nile.topology.amounts import size

    path = store_path()
    if given.get("no_store") or not path.exists():
        return
    try:
        if path.stat().st_size < SMALL:
            return
        with Store(path) as store:
            removed, cap = keep_cap(store, run_id)
    except (StoreError, OSError) as error:
        screen.err.write(f"nile: the store of runs couldn't be kept to its cap: {error}\n")
        return
    if removed:
        screen.err.write(
            f"nile: the store of runs reached its cap of {size(cap)}: the oldest {removed} went"
            " (see `nile prune --help`)\n"
        )


SMALL = 1 << 20
"""Bytes; no cap is smaller."""
