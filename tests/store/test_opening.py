"""A store that can't be used is an error with the file's name and a remedy, never a traceback."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from nile.errors import StoreError
from nile.events import HostOutput, HostResult, HostStarted, HostUp, Verdict
from nile.store import Recorder, Store, errors, schema
from tests.store import sample

REPOSITORY = Path(__file__).parents[2]


def made(path: Path) -> Path:
    with Recorder(path) as recorder:
        recorder.record(sample.whole_run())
    return path


def test_a_newer_schema_is_refused_by_its_number(tmp_path: Path) -> None:
    path = made(tmp_path / "runs.db")
    with sqlite3.connect(path) as db:
        db.execute("UPDATE meta SET value = '7' WHERE name = 'schema'")
    db.close()
    with pytest.raises(StoreError, match=r"runs\.db: .*newer Nile \(schema 7(.|\n)*upgrade"):
        Store(path)


def test_a_file_that_is_no_database_is_named_with_a_remedy(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    path.write_bytes(b"these are not the runs you are looking for" * 100)
    with pytest.raises(StoreError, match=r"runs\.db: not a usable store(.|\n)*mv "):
        Store(path)
    assert path.read_bytes().startswith(b"these are not")


def test_a_damaged_page_is_named_when_it_is_read(tmp_path: Path) -> None:
    path = made(tmp_path / "runs.db")
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (size - 4096))
    with pytest.raises(StoreError, match=r"runs\.db: not a usable store(.|\n)*mv "), Store(path) as store:
        list(store.output(store.run("last")))


def test_a_database_of_something_else_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE recipes (name TEXT)")
    db.close()
    with pytest.raises(StoreError, match="something else"):
        Store(path)


def test_a_store_without_a_schema_number_is_refused(tmp_path: Path) -> None:
    path = made(tmp_path / "runs.db")
    with sqlite3.connect(path) as db:
        db.execute("DELETE FROM meta")
    db.close()
    with pytest.raises(StoreError, match="no schema number"):
        Store(path)


def test_a_state_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where a directory should be")
    with pytest.raises(StoreError, match=r"state(.|\n)*XDG_STATE_HOME"):
        Store(tmp_path / "state" / "nile" / "runs.db")


OPEN_AND_REPORT = """
import sys
from pathlib import Path
from nile.errors import StoreError
from nile.store import Store
try:
    Store(Path(sys.argv[1]))
except StoreError as error:
    print(error)
"""


@pytest.mark.parametrize("existing", [False, True])
def test_a_read_only_state_directory_is_named(tmp_path: Path, *, existing: bool) -> None:
    directory = tmp_path / "nile"
    directory.mkdir(mode=0o700)
    if existing:
        made(directory / "runs.db").chmod(0o400)
    directory.chmod(0o500)
    # To the super-user nothing is read-only until that right is given up.
    prefix = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.getuid() == 0 else []
    argv = [*prefix, sys.executable, "-c", OPEN_AND_REPORT, str(directory / "runs.db")]
    said = subprocess.run(argv, capture_output=True, text=True, cwd=REPOSITORY, check=True).stdout
    directory.chmod(0o700)
    assert f"{directory}/runs.db: can't open the store of runs: " in said
    assert f"make {directory} and the files in it yours and writable" in said


def test_a_full_disk_is_an_error_and_harms_nothing(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    with Recorder(path) as recorder:
        recorder.record([sample.started(), HostOutput("n1", "stdout", 0, b"before")])
        (pages,) = recorder._db.execute("PRAGMA page_count").fetchone()
        recorder._db.execute(f"PRAGMA max_page_count = {pages + 2}")
        with pytest.raises(StoreError, match=r"runs\.db: can't record the run: (.|\n)*free 16 MiB on"):
            recorder.record([HostOutput("n1", "stdout", 6, os.urandom(100_000))])
        recorder._db.execute("PRAGMA max_page_count = 10000")
        recorder.record([HostOutput("n1", "stdout", 6, b" after")])
    with Store(path) as store:
        assert store.read_output(store.run("last"), "n1", "stdout", 100) == (b"before after", False)


def test_another_place_helps_where_there_is_no_room(tmp_path: Path) -> None:
    """What the remedy says: a directory that isn't there yet is made."""
    path = tmp_path / "shm" / "ada" / "nile" / "runs.db"
    made(path)
    with Store(path) as store:
        assert store.run("last").run == "5eed0001"
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_what_is_to_be_freed_is_enough_for_a_large_run(tmp_path: Path) -> None:
    path, hosts = tmp_path / "runs.db", [f"h{number:03}" for number in range(600)]
    size = 0
    with Recorder(path) as recorder:
        recorder.record([sample.started(hosts=hosts)])
        for host in hosts:  # one by one takes most
            recorder.record([HostUp(host, "root", 1, 0.1, 0.2), HostStarted(host, 0.3)])
            recorder.record([HostOutput(host, "stdout", 0, b"current  2\nprevious 1\n")])
            recorder.record([HostResult(host, Verdict.OK, path=("root", host), stage=1, t_end_s=1.0)])
            size = max(size, sum(each.stat().st_size for each in tmp_path.iterdir()))
    assert 2 * size < int(errors.ENOUGH.removesuffix(" MiB")) << 20


def test_where_its_side_files_find_no_room_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite calls it an error of the disk."""
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result((4096, 4096, 9, 1, 1, 9, 9, 9, 0, 255)))
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR
    said = r"free 16 MiB on the file system of (.|\n)*XDG_STATE_HOME=/dev/shm"
    with pytest.raises(StoreError, match=said), errors.mapped(tmp_path / "runs.db", "open it"):
        raise error


def test_a_store_that_stays_locked_says_who_may_hold_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "BUSY_TIMEOUT_S", 0.05)
    path = made(tmp_path / "runs.db")
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with (
        Recorder(path) as recorder,
        pytest.raises(StoreError, match=r"locked(.|\n)*another process holds the store"),
    ):
        recorder.record([sample.started("other")])
    holder.close()


def test_a_transaction_has_the_write_lock_from_its_start(tmp_path: Path) -> None:
    path = made(tmp_path / "runs.db")
    ours, other = schema.connect(path), sqlite3.connect(path, timeout=0, isolation_level=None)
    with schema.transaction(ours), pytest.raises(sqlite3.OperationalError, match="locked"):
        other.execute("BEGIN IMMEDIATE")
    other.execute("BEGIN IMMEDIATE")
    other.close()
    ours.close()


def test_tables_that_another_process_made_just_now_are_kept(tmp_path: Path) -> None:
    path = made(tmp_path / "runs.db")
    connection = schema.connect(path)
    schema._create(connection, path)
    assert connection.execute("SELECT count(*) FROM run").fetchone() == (1,)
    connection.close()


@pytest.mark.parametrize(
    ("kind", "journal", "synchronous"), [("ext4", "wal", 1), ("nfs4", "delete", 2), ("", "wal", 1)]
)
def test_the_journal_fits_the_file_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, journal: str, synchronous: int
) -> None:
    monkeypatch.setattr(schema, "file_system", lambda path, mountinfo: kind)
    with Recorder(made(tmp_path / "runs.db")) as recorder:
        assert recorder._db.execute("PRAGMA journal_mode").fetchone() == (journal,)
        assert recorder._db.execute("PRAGMA synchronous").fetchone() == (synchronous,)


def test_the_file_system_is_the_innermost_and_latest_mount(tmp_path: Path) -> None:
    (tmp_path / "home dir").mkdir()
    place = str(tmp_path / "home dir").replace(" ", "\\040")
    table = tmp_path / "mountinfo"
    table.write_text(
        "1 0 8:1 / / rw - ext4 /dev/sda rw\n"
        f"2 1 0:50 / {place} rw shared:1 - autofs none rw\n"
        f"3 2 0:51 / {place} rw shared:2 - nfs4 server:/home rw\n"
        f"4 1 0:52 / {place}/deeper rw - tmpfs none rw\n"
    )
    assert schema.file_system(tmp_path / "home dir" / "runs.db", table) == "nfs4"
    assert schema.file_system(tmp_path / "home", table) == "ext4"
    assert schema.file_system(tmp_path, tmp_path / "no such table") == ""
