"""The tables of a store of runs, and how a connection to one is opened.

One SQLite file in write-ahead-log mode, so that readers never wait for a
writer and several runs can be recorded at once. `synchronous` is NORMAL: a
commit is in the kernel's hands when it returns, so that killing the process
loses nothing; it isn't forced to the disk each time, since a slow disk would
then hold back every acknowledgement to the hosts. A power cut may take the
last moments of a run that dies with it, and never harms the file. The end of
a run is forced to the disk (see `Recorder`), and what it decides (see `forced`).

On network file systems the shared memory of the log doesn't reach from one
machine to another; there the classic rollback journal is used, which locks
the file itself.

What a later version may add comes as a new schema number with the step that
leads to it; a file of a newer schema is refused by name.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nile.errors import StoreError
from nile.store import errors

SCHEMA = 6
FILE_NAME = "runs.db"
BUSY_TIMEOUT_S = 30.0
NETWORK_FILE_SYSTEMS = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "fuse.sshfs", "gpfs", "lustre", "nfs", "nfs4", "smb3", "smbfs"}
)

# `length` is the number of bytes that a chunk stands for, whatever form it is kept in: as it is in `data`, or
# in the `blob` of that number, once for all that are equal, and compressed where that gains.
TABLES = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE run (
  id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, command TEXT NOT NULL, routes TEXT,
  argv TEXT NOT NULL, directory TEXT NOT NULL, user TEXT NOT NULL, process TEXT NOT NULL, plan TEXT NOT NULL,
  started_at REAL NOT NULL, ended_at REAL, wall_s REAL, interrupted INTEGER,
  handover TEXT NOT NULL DEFAULT '', roots INTEGER NOT NULL DEFAULT 1, seen_at REAL,
  settings TEXT NOT NULL DEFAULT '{}');
CREATE TABLE host (
  id INTEGER PRIMARY KEY, run INTEGER NOT NULL REFERENCES run, name TEXT NOT NULL, asked INTEGER NOT NULL,
  parent TEXT, stage INTEGER, t_connect_s REAL, t_ready_s REAL, t_start_s REAL, t_end_s REAL,
  verdict TEXT, rc INTEGER, signal INTEGER, code TEXT, reason TEXT, remedy TEXT, leftover TEXT, path TEXT,
  peer TEXT NOT NULL DEFAULT '', command TEXT NOT NULL DEFAULT '',
  UNIQUE (run, name));
CREATE TABLE blob (
  id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, packed INTEGER NOT NULL, data BLOB NOT NULL);
CREATE TABLE output (
  id INTEGER PRIMARY KEY, run INTEGER NOT NULL REFERENCES run, host INTEGER NOT NULL REFERENCES host,
  stream TEXT NOT NULL, offset INTEGER NOT NULL, length INTEGER NOT NULL, data BLOB NOT NULL,
  blob INTEGER REFERENCES blob);
CREATE UNIQUE INDEX output_place ON output (host, stream, offset);
CREATE INDEX output_blob ON output (blob) WHERE blob IS NOT NULL;
CREATE INDEX output_run ON output (run, id);
CREATE TABLE notice (
  id INTEGER PRIMARY KEY, run INTEGER NOT NULL REFERENCES run, host TEXT NOT NULL, text TEXT NOT NULL,
  at REAL NOT NULL);
CREATE INDEX notice_run ON notice (run, id);
CREATE TABLE script (sha256 TEXT PRIMARY KEY, data BLOB NOT NULL);
"""


STEPS = {
    1: """
ALTER TABLE run ADD COLUMN handover TEXT NOT NULL DEFAULT '';
ALTER TABLE run ADD COLUMN roots INTEGER NOT NULL DEFAULT 1;
ALTER TABLE run ADD COLUMN seen_at REAL;
""",
    2: """
ALTER TABLE host ADD COLUMN peer TEXT NOT NULL DEFAULT '';
""",
    3: """
CREATE TABLE blob (
  id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, packed INTEGER NOT NULL, data BLOB NOT NULL);
ALTER TABLE output ADD COLUMN blob INTEGER REFERENCES blob;
CREATE INDEX output_blob ON output (blob) WHERE blob IS NOT NULL;
""",
    4: """
ALTER TABLE run ADD COLUMN settings TEXT NOT NULL DEFAULT '{}';
CREATE TABLE script (sha256 TEXT PRIMARY KEY, data BLOB NOT NULL);
""",
    5: """
ALTER TABLE host ADD COLUMN command TEXT NOT NULL DEFAULT '';
""",
}
"""From each former schema to the next one."""


def connect(path: Path) -> sqlite3.Connection:
    """A connection to the store at `path`, made where there is none (directory 0700, file 0600).

    It is in autocommit mode and may be handed from one thread to another, but
    used by one at a time. Raises StoreError.
    """
    with errors.mapped(path, "open the store of runs"):
        _make_file(path)
        connection = sqlite3.connect(
            path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False, cached_statements=64
        )
        try:
            _prepare(connection, path)
        except BaseException:
            connection.close()
            raise
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """One write transaction: committed at the end of the block, undone where it raises.

    It takes the write lock at its start: a lock taken later, after a read,
    could fail at once in spite of the busy time-out.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextmanager
def forced(connection: sqlite3.Connection) -> Iterator[None]:
    """What is committed in the block is on the disk then, with all that was committed before.

    A checkpoint wouldn't do: it leaves alone what follows the snapshot of any reader.
    """
    ((usual,),) = connection.execute("PRAGMA synchronous").fetchall()
    connection.execute("PRAGMA synchronous = FULL")
    try:
        yield
    finally:
        connection.execute(f"PRAGMA synchronous = {int(usual)}")


def _make_file(path: Path) -> None:
    """Directory and file, for their owner alone; SQLite gives its side files the mode of the file.

    A file that exists is never opened here: to close it again would drop the
    POSIX locks that other connections of this process hold on it.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    for place, mode in ((path.parent, 0o700), (path, 0o600)):
        if place.stat().st_mode & 0o077:
            place.chmod(mode)


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute(f"PRAGMA busy_timeout = {int(BUSY_TIMEOUT_S * 1000)}")
    if not path.stat().st_size:
        connection.execute(
            "PRAGMA auto_vacuum = INCREMENTAL"
        )  # see `Pruning`; too late for one that is there
    networked = file_system(path, Path("/proc/self/mountinfo")) in NETWORK_FILE_SYSTEMS
    _set_journal(connection, "delete" if networked else "wal")
    connection.execute(f"PRAGMA synchronous = {'FULL' if networked else 'NORMAL'}")
    connection.execute("PRAGMA foreign_keys = ON")
    version = _version(connection, path)
    if version is None:
        _create(connection, path)
    elif version > SCHEMA:
        raise StoreError(
            f"written by a newer Nile (schema {version}; this one knows {SCHEMA})",
            where=str(path),
            remedy="upgrade this Nile, or set XDG_STATE_HOME to another place",
        )
    elif version < SCHEMA:
        _upgrade(connection, path)


def _set_journal(connection: sqlite3.Connection, mode: str) -> None:
    """Change the journal mode; SQLite doesn't always wait for the lock that this needs, so we do."""
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while connection.execute("PRAGMA journal_mode").fetchone()[0] != mode:
        try:
            connection.execute(f"PRAGMA journal_mode = {mode}")
        except sqlite3.OperationalError as error:
            if errors.primary_code(error) not in errors.BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _version(connection: sqlite3.Connection, path: Path) -> int | None:
    """The schema number of the file; None where it is empty."""
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not tables:
        return None
    if "meta" not in tables:
        raise errors.damaged(path, "it is a database of something else")
    row = connection.execute("SELECT value FROM meta WHERE name = 'schema'").fetchone()
    if row is None or not str(row[0]).isdecimal():
        raise errors.damaged(path, "it has no schema number")
    return int(row[0])


def _create(connection: sqlite3.Connection, path: Path) -> None:
    with transaction(connection):
        if _version(connection, path) is not None:
            return  # another process was first
        _execute(connection, TABLES)
        connection.execute("INSERT INTO meta VALUES ('schema', ?)", (str(SCHEMA),))


def _upgrade(connection: sqlite3.Connection, path: Path) -> None:
    with transaction(connection):
        version = _version(connection, path)  # another process may have been first
        while version is not None and version < SCHEMA:
            _execute(connection, STEPS[version])
            version += 1
            connection.execute("UPDATE meta SET value = ? WHERE name = 'schema'", (str(version),))


def _execute(connection: sqlite3.Connection, statements: str) -> None:
    """Within the transaction that there is (`executescript` would end it)."""
    for statement in statements.strip().split(";\n"):
        connection.execute(statement)


def file_system(path: Path, mountinfo: Path) -> str:
    """The type of the file system that holds `path` by a mountinfo table (proc(5)); "" where unknown."""
    try:
        table = mountinfo.read_text(errors="surrogateescape")
    except OSError:
        return ""
    best, kind = "", ""
    place = f"{path.resolve()}/"
    for line in table.splitlines():
        left, _, right = line.partition(" - ")
        mount = left.split(" ")[4].replace("\\040", " ").rstrip("/") + "/"
        if place.startswith(mount) and len(mount) >= len(best):
            best, kind = mount, right.split(" ")[0]
    return kind
