"""Equal output once: a chunk that several hosts printed is kept in one place, compressed where that gains.

Hosts decide what they print, so equal is what has the same hash of 256 bits.
Short chunks stay in their rows: a place of their own would take more.
"""

from __future__ import annotations

import hashlib
import sqlite3
import zlib

SHORT = 64
"""Bytes up to which a chunk is kept in its row."""
LEVEL = 1
"""Of compression: four times as fast as the usual one, for text nearly as good."""


def keep(db: sqlite3.Connection, piece: bytes) -> tuple[bytes, int | None]:
    """What a chunk's row gets: (its bytes, None), or none and the number of the blob that has them."""
    if len(piece) <= SHORT:
        return piece, None
    digest = hashlib.blake2b(piece, digest_size=32).digest()
    row = db.execute("SELECT id FROM blob WHERE digest = ?", (digest,)).fetchone()
    if row is None:
        packed = zlib.compress(piece, LEVEL)
        gains = len(packed) < len(piece)
        cursor = db.execute(
            "INSERT INTO blob (digest, packed, data) VALUES (?, ?, ?)",
            (digest, gains, packed if gains else piece),
        )
        return b"", cursor.lastrowid
    return b"", int(row[0])


def unpacked(data: bytes, packed: int | None, kept: bytes | None) -> bytes:
    """A chunk's bytes, from its row and the blob's (None where it has none)."""
    if kept is None:
        return data
    return zlib.decompress(kept) if packed else kept


def release(db: sqlite3.Connection, run: int) -> None:
    """Delete a run's output, and the blobs that no other run has."""
    db.execute("CREATE TEMP TABLE IF NOT EXISTS gone (blob INTEGER PRIMARY KEY)")
    db.execute("DELETE FROM gone")
    db.execute("INSERT INTO gone SELECT DISTINCT blob FROM output WHERE run = ? AND blob IS NOT NULL", (run,))
    db.execute("DELETE FROM output WHERE run = ?", (run,))
    db.execute(
        "DELETE FROM blob WHERE id IN (SELECT blob FROM gone)"
        " AND NOT EXISTS (SELECT 1 FROM output WHERE output.blob = blob.id)"
    )
