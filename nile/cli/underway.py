"""Runs under way, as commands at other terminals find them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from nile.cli import recorded
from nile.errors import UsageError

if TYPE_CHECKING:
    from nile.control import Remote
    from nile.store import RunRecord


@contextmanager
def root_of(reference: str) -> Iterator[Remote]:
    """The run's root, to be asked; UsageError where it doesn't answer: the run is over, or elsewhere."""
    from nile.control import NoAnswerError, RefusedError, Remote

    record = _record(reference)
    if refusal := _why_not(record):
        raise refusal
    try:
        yield Remote(recorded.control_directory(), record.run)
    except (NoAnswerError, RefusedError) as error:
        raise _no_answer(reference, error) from None


def _why_not(record: RunRecord) -> UsageError | None:
    """Why nobody can answer for the run."""
    from nile.store import RunState
    from nile.store.records import is_elsewhere

    where = f"run {record.run}"
    if record.ended_at is not None:
        return UsageError("it has ended", where=where, remedy=f"`nile show {record.run}` shows how")
    if is_elsewhere(record.context.process):
        remedy = "ask on the machine where it was begun"
        return UsageError(
            "its root is on another machine, or was there before a boot", where=where, remedy=remedy
        )
    if record.state is RunState.UNFINISHED:
        remedy = f"`nile attach {record.run}` goes on with it, within its lease"
        return UsageError("its root is dead", where=where, remedy=remedy)
    return None


def _no_answer(reference: str, why: Exception) -> UsageError:
    """Its root was there, and yet didn't answer: perhaps it is over by now."""
    record = _record(reference)
    if refusal := _why_not(record):
        return refusal
    pid = record.context.process.split()[2]
    remedy = f"look on at its own terminal; `kill {pid}` ends it as Ctrl-C does"
    return UsageError(f"its root doesn't answer: {why}", where=f"run {record.run}", remedy=remedy)


def _record(reference: str) -> RunRecord:
    with recorded.open_store() as store:
        return store.run(reference)
