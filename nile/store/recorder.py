"""Records one run: batches of events go in, each in one transaction.

When `record` returns, the batch is in the kernel's hands: `kill -9` of this
process loses none of it. So an acknowledgement to a host may follow it, and
renderers that read output back may be given the batch. What was decided is
on the disk then, too.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Self

from nile.errors import BugError, TakenOverError, UsageError
from nile.events import (
    Decision,
    Event,
    HostOutput,
    HostResult,
    HostStarted,
    HostUp,
    Notice,
    Paced,
    RunEnded,
    RunGoesOn,
    RunStarted,
)
from nile.store import blobs, errors, schema
from nile.store.chunks import place
from nile.store.records import RunContext, RunRecord

MAX_CHUNK = 256 << 10  # bytes in one row at most, so that reading back needs little memory


class Recorder:
    """Writes the events of one run into the store; the first one must be RunStarted.

    Opens (and makes) the file at once, so that a store that can't be used is
    known before any host is touched. May be made in one thread and used in
    another; a lock keeps calls apart. Everything raises StoreError.
    """

    def __init__(
        self,
        path: Path,
        context: RunContext | None = None,
        handover: str = "",
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._path = path
        self._context = context or RunContext()
        self._handover = handover
        self._roots = 1
        self._clock = clock
        self._lock = threading.Lock()
        self._run: int | None = None
        self._hosts: dict[str, int] = {}
        self._ends: dict[tuple[int, str], int] = {}
        self._db = schema.connect(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def record(self, events: Sequence[Event]) -> None:
        """Commit a batch in one transaction: all of it is in the store, or none and StoreError is raised.

        Output that is there already is not recorded again; a gap in it becomes
        a notice. A second verdict for a host never replaces the first one: it
        becomes a notice too.
        """
        with self._writing(lasting=any(isinstance(event, Decision) for event in events)):
            for event in joined(events):
                self._one(event)
        if any(isinstance(event, RunEnded) for event in events):
            self._to_disk()

    def take_over(self, run: RunRecord) -> None:
        """Go on with a run whose root died: from now on its former root, should it live, records no more.

        Raises UsageError where another root was first.
        """
        values = (self._context.process, self._clock(), run.key, run.roots)
        with self._writing():
            taken = self._db.execute(
                "UPDATE run SET process = ?, roots = roots + 1, seen_at = ?"
                " WHERE id = ? AND roots = ? AND ended_at IS NULL",
                values,
            )
            if not taken.rowcount:
                raise UsageError(
                    f"run {run.run} was taken over, or has ended, just now",
                    where=str(self._path),
                    remedy="`nile runs` says how it stands",
                )
            self._run, self._roots = run.key, run.roots + 1

    def close(self) -> None:
        """End the connection; what was recorded stays, also where the run hasn't ended."""
        with self._lock, errors.mapped(self._path, "close the store of runs"):
            self._db.close()

    @contextmanager
    def _writing(self, lasting: bool = False) -> Iterator[None]:
        """A transaction; a `lasting` one outlives a loss of power once it is committed."""
        run = self._run
        with self._lock, errors.mapped(self._path, "record the run"):
            try:
                with schema.forced(self._db) if lasting else nullcontext(), schema.transaction(self._db):
                    self._refuse_if_taken_over()
                    yield
            except BaseException:
                self._run = run
                self._hosts.clear()  # read anew: what was noted in memory is undone in the file
                self._ends.clear()
                raise

    def check_ours(self) -> None:
        """Raise TakenOverError where another root has taken the run over."""
        with self._lock, errors.mapped(self._path, "read the store of runs"):
            self._refuse_if_taken_over()

    def _refuse_if_taken_over(self) -> None:
        if self._run is None:
            return
        ((roots,),) = self._db.execute("SELECT roots FROM run WHERE id = ?", (self._run,))
        if roots != self._roots:
            raise TakenOverError(
                "another root has taken this run over",
                where=str(self._path),
                remedy="this one was taken for dead, and keeps still; `nile show` has what that one records",
            )

    def _to_disk(self) -> None:
        """Force a run that ended to the disk: it is recorded anyway, so a file in use isn't waited for."""
        with self._lock, errors.mapped(self._path, "record the run"):
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def _one(self, event: Event) -> None:
        match event:
            case HostOutput():
                self._output(event)
            case HostResult():
                self._result(event)
            case HostUp():
                self._host_up(event)
            case HostStarted():
                self._set_host(event.host, "t_start_s = ?", (event.t_start_s,))
            case Paced():
                self._paced(event)
            case Notice():
                self._notice(event.host, event.text)
            case RunStarted():
                self._run_started(event)
            case RunGoesOn(interrupted):
                self._db.execute(
                    "UPDATE run SET seen_at = ?, interrupted = ? WHERE id = ?",
                    (self._clock(), interrupted, self._key()),
                )
            case RunEnded():
                self._db.execute(
                    "UPDATE run SET ended_at = ?, wall_s = ?, interrupted = ?, handover = '' WHERE id = ?",
                    (self._clock(), event.wall_s, event.interrupted, self._key()),
                )

    def _key(self) -> int:
        if self._run is None:
            raise BugError("an event came before the run's start")
        return self._run

    def _run_started(self, event: RunStarted) -> None:
        if self._run is not None:
            return  # it was taken over
        context = self._context
        values = (
            event.run,
            event.command,
            event.routes,
            json.dumps(context.argv),
            context.directory,
            context.user,
            context.process,
            context.plan,
            event.at,
            self._handover,
            self._clock(),
            json.dumps(dict(event.settings)),
        )
        cursor = self._db.execute(
            "INSERT INTO run (name, command, routes, argv, directory, user, process, plan, started_at,"
            " handover, seen_at, settings) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            tuple(storable(value) for value in values),
        )
        self._run = cursor.lastrowid
        scripts = [(sha256, zlib.compress(text)) for sha256, text in event.scripts.items()]
        self._db.executemany("INSERT OR IGNORE INTO script VALUES (?, ?)", scripts)  # each once
        rows = [(self._run, host, True, storable(event.commands.get(host, ""))) for host in event.hosts]
        rows += [(self._run, host, False, "") for host in event.relays]
        self._db.executemany("INSERT INTO host (run, name, asked, command) VALUES (?, ?, ?, ?)", rows)

    def _paced(self, event: Paced) -> None:
        """Another root is to go on as its user set it last."""
        self._notice(event.host, event.text)
        now = event.pacing
        self._db.execute(
            "UPDATE run SET handover = json_set(handover, '$.plan.limits.parallel', ?, '$.exec.fanout', ?,"
            " '$.paused', json(?)) WHERE id = ? AND handover <> ''",
            (now.parallel, now.fanout, json.dumps(bool(now.paused)), self._key()),
        )

    def _keys(self) -> dict[str, int]:
        """The key of every host's row, by name."""
        if not self._hosts:
            self._hosts.update(self._db.execute("SELECT name, id FROM host WHERE run = ?", (self._key(),)))
        return self._hosts

    def _host(self, name: str) -> int:
        if name not in self._keys():
            raise BugError(f"an event of host {name!r}, which is not in the run")
        return self._hosts[name]

    def _host_up(self, event: HostUp) -> None:
        """A gateway that was called up is in the run from then on."""
        if event.host not in self._keys():
            row = self._db.execute(
                "INSERT INTO host (run, name, asked) VALUES (?, ?, FALSE)", (self._key(), event.host)
            )
            self._hosts[event.host] = int(row.lastrowid or 0)
        self._set_host(
            event.host,
            "parent = ?, stage = ?, t_connect_s = ?, t_ready_s = ?",
            (event.parent, event.stage, event.t_connect_s, event.t_ready_s),
        )

    def _set_host(self, host: str, assignments: str, values: tuple[object, ...]) -> None:
        self._db.execute(f"UPDATE host SET {assignments} WHERE id = ?", (*values, self._host(host)))

    def _result(self, event: HostResult) -> None:
        leftover = [[left.pid, left.name, left.killed, left.survived] for left in event.leftover]
        values = (
            event.verdict,
            event.rc,
            event.signal,
            event.code,
            storable(event.reason),
            storable(event.remedy),
            json.dumps(leftover),
            json.dumps(event.path),
            event.stage,
            event.t_end_s,
            event.t_connect_s,
            event.t_ready_s,
            event.peer,
        )
        given = self._db.execute(
            "UPDATE host SET verdict = ?, rc = ?, signal = ?, code = ?, reason = ?, remedy = ?, leftover = ?,"
            " path = ?, stage = ?, t_end_s = ?,"
            " t_connect_s = coalesce(?, t_connect_s), t_ready_s = coalesce(?, t_ready_s), peer = ?"
            " WHERE id = ? AND verdict IS NULL",
            (*values, self._host(event.host)),
        )
        if not given.rowcount:
            self._notice(event.host, f"a later verdict, {event.verdict}: {event.reason}")

    def _output(self, event: HostOutput) -> None:
        host = self._host(event.host)
        key = (host, event.stream)
        if key not in self._ends:
            self._ends[key] = stored_end(self._db, host, event.stream)
        placed = place(self._ends[key], event.offset, event.data)
        if placed.missing:
            at = placed.offset - placed.missing
            self._notice(
                event.host, f"{placed.missing} bytes of {event.stream} are missing, from byte {at} on"
            )
        for start in range(0, len(placed.data), MAX_CHUNK):
            piece = placed.data[start : start + MAX_CHUNK]
            data, blob = blobs.keep(self._db, piece)
            self._db.execute(
                "INSERT INTO output (run, host, stream, offset, length, data, blob)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (self._key(), host, event.stream, placed.offset + start, len(piece), data, blob),
            )
        self._ends[key] = placed.offset + len(placed.data)

    def _notice(self, host: str, text: str) -> None:
        self._db.execute(
            "INSERT INTO notice (run, host, text, at) VALUES (?, ?, ?, ?)",
            (self._key(), storable(host), storable(text), self._clock()),
        )


def stored_end(db: sqlite3.Connection, host: int, stream: str) -> int:
    """Where a host's stream ends in the store, in bytes from its beginning."""
    with closing(
        db.execute(
            "SELECT offset + length FROM output WHERE host = ? AND stream = ? ORDER BY offset DESC LIMIT 1",
            (host, stream),
        )
    ) as rows:
        row = rows.fetchone()
    return int(row[0]) if row else 0


def joined(events: Sequence[Event]) -> Iterator[Event]:
    """The events, with neighbouring chunks of the same stream made one: fewer rows, the same order."""
    held: list[HostOutput] = []
    end = 0
    for event in events:
        if held and not (
            isinstance(event, HostOutput)
            and (event.host, event.stream, event.offset) == (held[0].host, held[0].stream, end)
        ):
            yield _one_chunk(held)
            held = []
        if isinstance(event, HostOutput):
            held.append(event)
            end = event.offset + len(event.data)
        else:
            yield event
    if held:
        yield _one_chunk(held)


def _one_chunk(chunks: Sequence[HostOutput]) -> HostOutput:
    first = chunks[0]
    if len(chunks) == 1:
        return first
    return HostOutput(first.host, first.stream, first.offset, b"".join(chunk.data for chunk in chunks))


def storable(value: object) -> object:
    """SQLite takes UTF-8 only: bytes of a name or an argument that aren't stay visible as escapes."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    return value
