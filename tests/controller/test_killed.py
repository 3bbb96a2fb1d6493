"""`kill -9` of a root at 50 random moments: what it had acknowledged or shown is in the store."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import random
import time
from multiprocessing.reduction import DupFd
from pathlib import Path

import pytest

from nile.store import RunState, Store
from tests.controller.dying import PIECE, PIECES, be_a_root, piece

MOMENTS = 50
WHOLE = b"".join(map(piece, range(PIECES)))
UNREAD = 4096
"""Bytes that a root says before it waits for whoever kills it: it doesn't end because that one was late."""
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tests.controller.dying"])


def heard(end: int, lines: int) -> list[str]:
    """So many lines of a pipe, or all that there are."""
    data = b""
    while data.count(b"\n") < lines and (more := os.read(end, 65536)):
        data += more
    return data.decode().splitlines()


def killed(store: Path, rng: random.Random) -> list[str]:
    """What a root said that was killed at some moment: after some line, and a little while."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, UNREAD)
    after_s = rng.choice((0.0, 0.0, rng.random() * 0.002))
    lines = rng.choice((1, 2, rng.randrange(1, 40), rng.randrange(1, 600)))
    root = FORKS.Process(target=_begin, args=(store, DupFd(writing)))
    root.start()
    os.close(writing)
    try:
        said = heard(reading, lines)
        time.sleep(after_s)  # no test waits for anything here: it is the moment that is chosen
        root.kill()
        return said + heard(reading, 1 << 30)
    finally:
        root.kill()
        root.join()
        os.close(reading)


def _begin(store: Path, said: object) -> None:
    be_a_root(store, said.detach())  # type: ignore[attr-defined]


@pytest.mark.parametrize("seed", [1])
def test_what_it_had_received_is_in_the_store(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    midst = 0
    for moment in range(MOMENTS):
        path = tmp_path / f"{moment}.db"
        said = killed(path, rng)
        known = [(word, int(number)) for word, number in (line.split() for line in said)]
        most = max((number for _, number in known), default=0)
        with Store(path) as store:
            run = store.run("last")
            kept = b"".join(chunk.data for chunk in store.chunks(run, "child", "stdout"))
            assert len(kept) >= most, f"moment {moment}: {most} bytes were said to be kept"
            assert WHOLE.startswith(kept)
            over = any(word in ("end", "verdict") for word, _ in known)
            assert not over or len(store.results(run)) == 1
            assert run.state is not RunState.RUNNING
        midst += 0 < len(kept) < len(WHOLE)
    assert midst > MOMENTS // 3, "most are to be killed in the midst of it"
    assert len(WHOLE) == PIECE * PIECES
