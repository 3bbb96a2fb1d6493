"""Equal output once, compressed; and runs that go again."""

from __future__ import annotations

import os
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nile.errors import StoreError
from nile.events import Event, HostOutput, RunEnded
from nile.options import Script
from nile.store import Pruning, Recorder, RunContext, Store, keep_cap, removable, schema
from nile.store.pruning import CAP, DOUBTFUL_S
from nile.store.records import process_identity
from tests.store import sample

LONG = b"the same on all hosts, many times over\n" * 5000


def record(path: Path, number: int, *outputs: tuple[str, bytes], end: bool = True, process: str = "") -> str:
    run = f"{number:08x}"
    events: list[Event] = [sample.started(run, at=1000.0 + number)]
    events += [HostOutput(host, "stdout", 0, data) for host, data in outputs]
    with Recorder(path, RunContext(process=process), clock=lambda: 1000.0 + number) as recorder:
        recorder.record([*events, RunEnded(run)] if end else events)
    return run


def raw(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with sqlite3.connect(path) as db:
        rows = db.execute(sql).fetchall()
    db.close()
    return rows


def printed(path: Path, run: str) -> dict[str, bytes]:
    with Store(path) as store:
        return {chunk.host: chunk.data for chunk in store.output(store.run(run))}


def test_equal_output_is_kept_once_and_compressed(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    noise = os.urandom(5000)
    outputs = {"n1": LONG, "n2": LONG, "n3": noise}
    first, second = record(path, 1, *outputs.items()), record(path, 2, ("n1", LONG), ("n2", b"short"))
    assert raw(path, "SELECT count(*), sum(length(data)) < 20000 FROM blob") == [(2, 1)]
    assert raw(path, "SELECT sum(length(data)) FROM output") == [(len(b"short"),)]
    assert printed(path, first) == outputs
    assert printed(path, second) == {"n1": LONG, "n2": b"short"}
    with Store(path) as store:
        run = store.run(first)
        assert store.received(run)["n2"] == (len(LONG), 0)
        assert store.read_output(run, "n2", "stdout", 10) == (LONG[:10], True)


def test_a_damaged_blob_is_an_error_of_the_store(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    run = record(path, 1, ("n1", LONG))
    raw(path, "UPDATE blob SET data = x'00'")
    with pytest.raises(StoreError, match="not a usable store"):
        printed(path, run)


def test_a_store_from_before_is_read_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its output is in its rows, and what comes now is kept as of today."""
    path = tmp_path / "runs.db"
    old = record(path, 1)
    statements = ["DROP INDEX output_blob", "ALTER TABLE output DROP COLUMN blob", "DROP TABLE blob"]
    statements += ["ALTER TABLE run DROP COLUMN settings", "DROP TABLE script"]
    statements += ["ALTER TABLE host DROP COLUMN command"]
    for sql in (*statements, "UPDATE meta SET value = '3' WHERE name = 'schema'"):
        raw(path, sql)
    raw(path, "INSERT INTO output VALUES (1, 1, 1, 'stdout', 0, 3, x'616263')")
    new = record(path, 2, ("n1", LONG))
    assert printed(path, old) == {"n1": b"abc"}
    assert printed(path, new) == {"n1": LONG}
    assert raw(path, "SELECT value FROM meta WHERE name = 'schema'") == [(str(schema.SCHEMA),)]


def test_what_goes_and_what_stays(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    first, second = record(path, 1, ("n1", LONG), ("n2", b"x" * 200)), record(path, 2, ("n1", LONG))
    with Store(path) as store, Pruning(path) as pruning:
        pruning.remove(store.run(first))
        assert [run.run for run in store.runs()] == [second]
        assert printed(path, second) == {"n1": LONG}, "what another run has, too, stays"
        assert raw(path, "SELECT count(*) FROM blob") == [(1,)]
        pruning.remove(store.run(second))
    for table in ("run", "host", "output", "notice", "blob"):
        assert raw(path, f"SELECT count(*) FROM {table}") == [(0,)]


def test_only_runs_that_are_over_are_removed(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    ended = record(path, 1)
    dead = record(path, 2, end=False)
    record(path, 3, end=False, process=process_identity(os.getpid()))
    with Store(path) as store:
        assert [run.run for run in removable(store.runs(), 1003.0)] == [ended]
        assert [run.run for run in removable(store.runs(), 1003.0 + DOUBTFUL_S)] == [ended, dead]


def test_the_cap(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    runs = [record(path, number, ("n1", os.urandom(300_000))) for number in range(8)]
    with Store(path) as store:
        assert keep_cap(store) == (0, CAP)
        with Pruning(path) as pruning:
            assert pruning.cap() == CAP
            pruning.set_cap(1_500_000)
        file_before = path.stat().st_size
        removed, cap = keep_cap(store)
        assert (removed, cap) == (4, 1_500_000)
        assert [run.run for run in store.runs()] == runs[:3:-1]
        with Pruning(path) as pruning:
            assert pruning.size() <= cap
            pruning.set_cap(None)
            assert pruning.cap() is None
        assert path.stat().st_size < file_before, "the file system has its room again"
        assert keep_cap(store) == (0, 0)


def test_the_newest_run_stays_however_large(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    run = record(path, 1, ("n1", os.urandom(3_000_000)))
    with Store(path) as store, Pruning(path) as pruning:
        pruning.set_cap(1_000_000)
        assert keep_cap(store) == (0, 1_000_000)
        assert [each.run for each in store.runs()] == [run]


@pytest.mark.parametrize("word", ["script", "scripts"])
def test_a_script_goes_with_the_last_run_of_it(tmp_path: Path, word: str) -> None:
    path = tmp_path / "runs.db"
    script = Script.of("s", b"true")
    told = {word: script.told()} if word == "script" else {word: [script.told()]}
    for run in ("5eed0001", "5eed0002"):
        with Recorder(path) as recorder:
            started = replace(sample.started(run), settings=told, scripts={script.sha256: b"true"})
            recorder.record([started, RunEnded(run)])
    with Store(path) as store, Pruning(path) as pruning:
        first, second = store.run("5eed0001"), store.run("5eed0002")
        pruning.remove(first)
        assert store.with_text(replace(script, text=b"")) == script
        pruning.remove(second)
        assert raw(path, "SELECT * FROM script") == []


def test_a_run_that_has_just_ended_stays_though_others_began_after_it(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    old, ended, newest = (record(path, number, ("n1", os.urandom(600_000))) for number in range(3))
    with Store(path) as store, Pruning(path) as pruning:
        pruning.set_cap(1_000_000)
        assert keep_cap(store, ended) == (1, 1_000_000)
        assert [run.run for run in store.runs()] == [newest, ended]
        assert old not in (newest, ended)


def test_the_file_gives_back_what_was_removed(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    run = record(path, 1, ("n1", os.urandom(3_000_000)))
    with Store(path) as store, Pruning(path) as pruning:
        before = path.stat().st_size
        pruning.remove(store.run(run))
        pruning.give_back()
        assert before - path.stat().st_size > 2_900_000
