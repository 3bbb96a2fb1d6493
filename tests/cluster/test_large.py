"""Many small files, and a file that is nearly all hole, by each way.

rsync reads and sends every byte of a hole. 20 GB by its ways (80 s in the clear, 280 s by ssh, two cores for
all of it) and 100,000 files by all are left to `make soak` (NILE_LARGE=1).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from nile.lab import Lab
from tests.cluster.hosts import clear, root_of
from tests.cluster.running import Done, Nile

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

LARGE = bool(os.environ.get("NILE_LARGE"))
FILES = 100_000 if LARGE else 10_000
HOLE = 20 << 30
PIECE = 1 << 20
HOLES = {
    "stream": HOLE,
    "rsync": HOLE if LARGE else 1 << 28,
    "rsync-tcp": HOLE if LARGE else (1 << 31) + PIECE,
}
"""Bytes. A first delivery by a stream is an archive, which has no holes in it."""
MOST_S = 800.0
HOSTS = ["h001", "h002"]
SET = "h[001-002]"


@pytest.fixture
def nile(fleet: Lab, tmp_path: Path) -> Iterator[Nile]:
    """Two hosts, one below the other; what is in their /srv goes afterwards, and so does the source."""
    made = Nile(fleet, tmp_path).with_routes(tree={"h001": "h002"})
    (tmp_path / "source").mkdir()
    yield made
    shutil.rmtree(tmp_path / "source")
    clear(fleet, HOSTS)


def sync(nile: Nile, method: str, *more: str) -> Done:
    words = ("-w", SET, "--method", method, *more, "--json", f"{nile.state}/source/", "/srv/copy")
    return nile.command("sync", "--routes", str(nile.routes), *words, timeout_s=MOST_S).all_ok()


def on(nile: Nile, host: str) -> Path:
    return root_of(nile.lab, host) / "srv/copy"


def listed(top: Path) -> dict[str, tuple[int, int, int]]:
    """Path -> size, time, mode of all files."""
    found = {}
    for place, _, names in os.walk(top):
        for name in names:
            path = os.path.join(place, name)  # noqa: PTH118 - no Path for each
            seen = os.lstat(path)
            found[os.path.relpath(path, top)] = (seen.st_size, seen.st_mtime_ns, seen.st_mode)
    return found


@pytest.mark.parametrize("method", HOLES)
def test_many_small_files_and_then_those_that_changed(nile: Nile, method: str) -> None:
    source = nile.state / "source"
    for number in range(FILES):
        path = source / f"d{number // 100:04}/f{number:06}"
        if number % 100 == 0:
            path.parent.mkdir()
        path.write_bytes(b"%d" % number)
    sync(nile, method)
    for number in range(0, FILES, 1000):
        path = source / f"d{number // 100:04}/f{number:06}"
        path.write_bytes(b"changed %d" % number)
        path.with_name(f"f{number + 1:06}").unlink()
    sync(nile, method, "--delete", "--max-delete", str(FILES))
    wanted = listed(source)
    assert len(wanted) == FILES - FILES // 1000
    for host in HOSTS:
        assert listed(on(nile, host)) == wanted
        assert (on(nile, host) / "d0000/f000000").read_bytes() == b"changed 0"


@pytest.mark.parametrize(("method", "size"), HOLES.items())
def test_a_file_that_is_nearly_all_hole(nile: Nile, method: str, size: int) -> None:
    places = (0, size // 2, size - PIECE)
    with (nile.state / "source/image").open("wb") as file:
        file.truncate(size)
        for place in places:
            file.seek(place)
            file.write(b"%d" % place * 100)
    *_, told = [event for event in sync(nile, method).events if event["event"] == "progress"]
    moved = told["bytes"]
    assert moved < PIECE if method == "stream" else moved == len(HOSTS) * size, "what is sent is what counts"
    for host in HOSTS:
        seen = (on(nile, host) / "image").stat()
        assert (seen.st_size, seen.st_blocks * 512 < 3 * PIECE) == (size, True)
        with (on(nile, host) / "image").open("rb") as file:
            for place in places:
                file.seek(place)
                assert file.read(100) == (b"%d" % place * 100)[:100]
