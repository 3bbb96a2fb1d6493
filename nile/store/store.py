"""Reads the store of runs: which there were, how each host fared, what it printed."""

from __future__ import annotations

import json
import threading
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from nile.errors import StoreError, UsageError
from nile.events import Code, HostOutput, HostResult, Leftover, Verdict
from nile.options import Script
from nile.store import errors, schema
from nile.store.blobs import unpacked
from nile.store.handover import Handover
from nile.store.recorder import Recorder
from nile.store.records import HostRecord, NoticeRecord, RunContext, RunRecord, RunState, is_alive

PAGE = 64  # rows of output fetched at a time; with recorder.MAX_CHUNK this bounds memory
LAST = "last"
NAMES_SHOWN = 5

_RUN = (
    "SELECT id, name, command, routes, argv, directory, user, process, plan, started_at, ended_at, wall_s,"
    " interrupted, roots, seen_at, settings FROM run"
)
_LISTED = _RUN.replace(" plan,", " '[]',")
"""The same without plans, which are long: of thousands of runs nobody wants to have them in memory."""
_COUNTS = (
    "SELECT run, asked, verdict, count(*) FROM host WHERE run IN (SELECT value FROM json_each(?))"
    " GROUP BY run, asked, verdict"
)
_DATA = "output.data, blob.packed, blob.data FROM output LEFT JOIN blob ON blob.id = output.blob"
_HOST = (
    "SELECT name, asked, parent, stage, t_connect_s, t_ready_s, t_start_s, t_end_s, verdict, rc, signal,"
    " code, reason, remedy, leftover, path, peer, command FROM host WHERE run = ? ORDER BY id"
)


class Store:
    """The runs recorded in one file; reading never waits for those who write.

    One connection, opened at once and guarded by a lock, so that any thread may
    call. No query stays open between two calls: what streams is fetched page by
    page. Everything raises StoreError.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._db = schema.connect(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection."""
        with self._lock, errors.mapped(self.path, "close the store of runs"):
            self._db.close()

    def recorder(self, context: RunContext | None = None, handover: str = "") -> Recorder:
        """A writer for one new run, with a connection of its own; `handover` as `Handover.dump` gives it."""
        return Recorder(self.path, context, handover)

    def runs(self, limit: int | None = None) -> list[RunRecord]:
        """The latest runs, newest first, without their plans; all of them where `limit` is None."""
        rows = self._rows(f"{_LISTED} ORDER BY id DESC LIMIT ?", (-1 if limit is None else limit,))
        return self._run_records(rows)

    def runs_since(self, run: RunRecord) -> list[RunRecord]:
        """Those that began after it, newest first, without their plans."""
        return self._run_records(self._rows(f"{_LISTED} WHERE id > ? ORDER BY id DESC", (run.key,)))

    def not_ended(self) -> list[RunRecord]:
        """All runs without an end, newest first, without their plans: under way, or their roots died."""
        return self._run_records(self._rows(f"{_LISTED} WHERE ended_at IS NULL ORDER BY id DESC", ()))

    def run(self, reference: str) -> RunRecord:
        """The run that an id, a unique beginning of one, or the word `last` names; else UsageError."""
        if reference == LAST:
            newest = self._rows(f"{_RUN} ORDER BY id DESC LIMIT 1", ())
            if not newest:
                raise UsageError("no run is recorded yet", where=str(self.path))
            return self._run_records(newest)[0]
        rows = self._rows(
            f"{_RUN} WHERE substr(name, 1, ?) = ? ORDER BY (name = ?) DESC, id DESC LIMIT ?",
            (len(reference), reference, reference, NAMES_SHOWN + 1),
        )
        if not rows or not reference:
            raise UsageError(
                f"no recorded run begins with {reference!r}",
                where=str(self.path),
                remedy="`nile runs` lists the runs; `last` names the latest",
            )
        if len(rows) > 1 and rows[0][1] != reference:
            names = ", ".join(row[1] for row in rows[:NAMES_SHOWN]) + (", ..." if rows[NAMES_SHOWN:] else "")
            raise UsageError(f"{reference!r} could be any of {names}", remedy="give more of the run's id")
        return self._run_records(rows[:1])[0]

    def hosts(self, run: RunRecord) -> list[HostRecord]:
        """Every host of a run in the order of the plan, those without a verdict and mere relays too."""
        with errors.mapped(self.path, "read the store of runs"):
            return [_host_record(row) for row in self._rows(_HOST, (run.key,))]

    def results(self, run: RunRecord) -> list[HostResult]:
        """The verdicts of a run."""
        return [host.result for host in self.hosts(run) if host.result is not None]

    def handover(self, run: RunRecord) -> Handover | None:
        """What another root needs to go on with a run; None where nothing of that is recorded."""
        ((text,),) = self._rows("SELECT handover FROM run WHERE id = ?", (run.key,))
        return Handover.load(text, str(self.path)) if text else None

    def with_text(self, script: Script) -> Script:
        """A script of which only name and hash are at hand, with what is in it."""
        rows = self._rows("SELECT data FROM script WHERE sha256 = ?", (script.sha256,))
        if not rows:
            what = f"the contents of the script {script.name} are gone from the store"
            raise StoreError(
                what, where=str(self.path), remedy="begin a run anew, with that file: nile exec --script"
            )
        try:
            return replace(script, text=zlib.decompress(rows[0][0]))
        except zlib.error as error:
            raise errors.damaged(self.path, str(error)) from error

    def received(self, run: RunRecord) -> dict[str, tuple[int, int]]:
        """Where each host's stdout and stderr end in the store, in bytes; hosts that printed nothing lack."""
        rows = self._rows(
            "SELECT name, (SELECT coalesce(max(offset + length), 0) FROM output"
            " WHERE host = host.id AND stream = 'stdout'), (SELECT coalesce(max(offset + length), 0)"
            " FROM output WHERE host = host.id AND stream = 'stderr') FROM host WHERE run = ?",
            (run.key,),
        )
        return {name: (stdout, stderr) for name, stdout, stderr in rows if stdout or stderr}

    def logins(self, hosts: Sequence[str], most: int = 10_000) -> list[float]:
        """What logins to these hosts took, up to the agent's hello, in seconds: the latest `most`."""
        sql = (
            "SELECT t_ready_s - t_connect_s FROM host WHERE name IN (SELECT value FROM json_each(?))"
            " AND t_connect_s IS NOT NULL AND t_ready_s IS NOT NULL ORDER BY id DESC LIMIT ?"
        )
        return [seconds for (seconds,) in self._rows(sql, (json.dumps(list(hosts)), most))]

    def notices(self, run: RunRecord) -> list[NoticeRecord]:
        """The notices of a run, oldest first."""
        rows = self._rows("SELECT host, text, at FROM notice WHERE run = ? ORDER BY id", (run.key,))
        return [NoticeRecord(*row) for row in rows]

    def chunks(self, run: RunRecord, host: str, stream: str) -> Iterator[HostOutput]:
        """What a host printed on one stream, by rising offset, with little of it in memory at a time."""
        sql = (
            f"SELECT offset, {_DATA} WHERE host ="
            " (SELECT id FROM host WHERE run = ? AND name = ?)"
            " AND stream = ? AND offset > ? ORDER BY offset LIMIT ?"
        )
        for offset, *data in self._pages(sql, (run.key, host, stream)):
            yield HostOutput(host, stream, offset, self._unpacked(*data))

    def output(self, run: RunRecord, hosts: frozenset[str] | None = None) -> Iterator[HostOutput]:
        """What a run's hosts (or some of them) printed, in the order in which it arrived."""
        for _, chunk in self.output_behind(run, -1, hosts):
            yield chunk

    def output_behind(
        self, run: RunRecord, place: int, hosts: frozenset[str] | None = None
    ) -> Iterator[tuple[int, HostOutput]]:
        """The same, each with its place; only what came behind a place (-1: all)."""
        sql = (
            f"SELECT output.id, (SELECT name FROM host WHERE id = output.host), stream, offset, {_DATA}"
            " WHERE run = ? AND output.id > ? ORDER BY output.id LIMIT ?"
        )
        if hosts is not None:
            sql = sql.replace(
                " AND output.id >", " AND host IN (SELECT value FROM json_each(?)) AND output.id >"
            )
        keys = () if hosts is None else (json.dumps(self._host_keys(run, hosts)),)
        for at, host, stream, offset, *data in self._pages(sql, (run.key, *keys), place):
            yield at, HostOutput(host, stream, offset, self._unpacked(*data))

    def read_output(self, run: RunRecord, host: str, stream: str, limit: int) -> tuple[bytes, bool]:
        """The first `limit` bytes of a stream, and whether there are more."""
        held = bytearray()
        for chunk in self.chunks(run, host, stream):
            held += chunk.data[: limit + 1 - len(held)]
            if len(held) > limit:
                return bytes(held[:limit]), True
        return bytes(held), False

    def output_reader(self, run: str) -> Callable[[str, str, int], tuple[bytes, bool]]:
        """`read_output` of one run, to hand to a renderer; the run may be recorded later than this call."""
        known: list[RunRecord] = []

        def read(host: str, stream: str, limit: int) -> tuple[bytes, bool]:
            if not known:
                known.append(self.run(run))
            return self.read_output(known[0], host, stream, limit)

        return read

    def chunk_reader(self, run: str) -> Callable[[str, str], Iterator[bytes]]:
        """The bytes of one host's stream piece by piece, to hand to a renderer."""

        def read(host: str, stream: str) -> Iterator[bytes]:
            for chunk in self.chunks(self.run(run), host, stream):
                yield chunk.data

        return read

    def _unpacked(self, data: bytes, packed: int | None, kept: bytes | None) -> bytes:
        try:
            return unpacked(data, packed, kept)
        except zlib.error as error:
            raise errors.damaged(self.path, str(error)) from error

    def _host_keys(self, run: RunRecord, hosts: frozenset[str]) -> list[int]:
        rows = self._rows("SELECT id, name FROM host WHERE run = ?", (run.key,))
        return [key for key, name in rows if name in hosts]

    def _rows(self, sql: str, values: Sequence[object]) -> list[Any]:
        with self._lock, errors.mapped(self.path, "read the store of runs"):
            return self._db.execute(sql, values).fetchall()

    def _pages(self, sql: str, values: tuple[object, ...], place: int = -1) -> Iterator[Any]:
        """All rows of a query, page by page; its last two parameters are where to go on, and how many."""
        while rows := self._rows(sql, (*values, place, PAGE)):
            yield from rows
            place = rows[-1][0]

    def _run_records(self, rows: Sequence[Sequence[Any]]) -> list[RunRecord]:
        """All of them with one look at their hosts: there may be ten thousand."""
        counts: defaultdict[int, list[Count]] = defaultdict(list)
        for key, asked, verdict, count in self._rows(_COUNTS, (json.dumps([row[0] for row in rows]),)):
            counts[key].append((bool(asked), verdict, count))
        return [_run_record(row, counts[row[0]]) for row in rows]


Count = tuple[bool, str | None, int]
"""How many hosts of a run were asked, or only relayed, and have that verdict."""


def _run_record(row: Sequence[Any], counts: Sequence[Count]) -> RunRecord:
    key, name, command, routes, argv, directory, user, process, plan, *times = row
    started_at, ended_at, wall_s, interrupted, roots, seen_at, settings = times
    context = RunContext(tuple(json.loads(argv)), directory, user, process, plan)
    state = _state(ended_at, interrupted, process)
    by_verdict: Mapping[Verdict, int] = {
        Verdict(verdict): count for asked, verdict, count in counts if asked and verdict is not None
    }
    return RunRecord(
        key,
        name,
        command,
        routes,
        context,
        started_at,
        ended_at,
        wall_s,
        state,
        sum(count for asked, _, count in counts if asked),
        sum(count for asked, _, count in counts if not asked),
        by_verdict,
        roots,
        seen_at,
        bool(interrupted),
        json.loads(settings),
    )


def _state(ended_at: float | None, interrupted: int | None, process: str) -> RunState:
    if ended_at is None:
        return RunState.RUNNING if is_alive(process) else RunState.UNFINISHED
    return RunState.INTERRUPTED if interrupted else RunState.ENDED


def _host_record(row: Sequence[Any]) -> HostRecord:
    name, asked, parent, stage, t_connect, t_ready, t_start, t_end, verdict, *rest, command = row
    result = None
    if verdict is not None:
        rc, signal, code, reason, remedy, leftover, path, peer = rest
        result = HostResult(
            host=name,
            verdict=Verdict(verdict),
            rc=rc,
            signal=signal,
            code=None if code is None else Code(code),
            reason=reason,
            remedy=remedy,
            leftover=tuple(Leftover(*left) for left in json.loads(leftover)),
            path=tuple(json.loads(path)),
            stage=stage,
            t_connect_s=t_connect,
            t_ready_s=t_ready,
            t_end_s=t_end,
            peer=peer,
            command=command,
        )
    return HostRecord(name, bool(asked), parent, stage, t_connect, t_ready, t_start, result, command)
