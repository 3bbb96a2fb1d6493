"""Archives without contents, files as if they were downloaded, and merges of both, each in its own loop."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nile.agent.worker import archiving, receiving
from nile.agent.worker.compare import lacking
from nile.agent.worker.dressing import Terms
from nile.agent.worker.manifest import Entry
from nile.agent.worker.merging import Done, Merge, Merging
from nile.agent.worker.patterns import Patterns
from nile.agent.worker.running import Ending
from nile.agent.worker.scanning import scan
from nile.agent.worker.trees import Source
from tests.agent.worker.chaining import descriptors
from tests.agent.worker.copying import NAME, a_loop

DOWNLOADS = b"downloads"


def bare(source: Source, **options: Any) -> bytes:
    """It as an archive without contents."""
    with tempfile.TemporaryFile() as file:
        archiving.write_bare(os.dup(file.fileno()), source, **options)
        file.seek(0)
        return file.read()


def own(dest: Path) -> bytes:
    """The run's own directory in a destination."""
    return os.fsencode(dest) + b"/" + NAME


def download(source: Source, entries: Iterable[Entry], dest: Path) -> bytes:
    """Have the content of these in the run's own directory, as if peers had brought it: gives where."""
    downloads = own(dest) + b"/" + DOWNLOADS
    receiving.prepare(os.fsencode(dest), NAME)
    Path(os.fsdecode(downloads)).mkdir(0o700, exist_ok=True)
    for entry in entries:
        place = Path(os.fsdecode(downloads + b"/" + entry.path))
        place.parent.mkdir(parents=True, exist_ok=True)
        (found,) = (path for path in source.places(entry.path) if os.path.lexists(path))
        shutil.copyfile(os.fsdecode(found), place)
    return downloads


def here(dest: Path, source: Source, excludes: tuple[bytes, ...] = (), checksum: bool = False) -> Any:
    """What a host has, as it is looked at."""
    roots = [(os.fsencode(dest) + b"/" + name, name) for _, name in source.roots]
    return scan(roots, Patterns(excludes), checksum)


def merged(data: bytes, what: Merge, terms: Terms = Terms(), abort: bool = False) -> tuple[Ending, Done]:  # noqa: B008
    """How that ended, in a child; of what it made nothing is left beside."""
    found: list[tuple[Ending, Done]] = []
    before = descriptors()
    with a_loop() as loop, tempfile.TemporaryFile() as file:
        file.write(data)
        file.seek(0)

        def done(ending: Ending, result: Done) -> None:
            found.append((ending, result))
            loop.stop()

        merging = Merging(loop, file.fileno(), what, terms, done)
        if abort:
            merging.abort()
        loop.run()
    assert descriptors() == before
    assert not os.path.lexists(what.dest + b"/%b/%b" % (NAME, NAME))
    return found[0]


def bring(
    source: Source,
    dest: Path,
    delete: bool = False,
    excludes: tuple[bytes, ...] = (),
    max_delete: int | None = None,
    paths: bytes | None = None,
    checksum: bool = False,
    terms: Terms = Terms(),  # noqa: B008
) -> tuple[Ending, Done]:
    """All that a host does: it looks what it has, downloads what it lacks, merges. Its own directory goes."""
    dest.mkdir(exist_ok=True)
    seen = here(dest, source, excludes, checksum)
    needed = lacking(source.manifest, seen)
    if paths is not None:
        named = {entry.path for entry in source.chosen(paths)}
        needed = [entry for entry in needed if entry.path in named]
    ours = {entry.path for entry in source.manifest.entries}
    what = Merge(
        os.fsencode(dest),
        NAME,
        download(source, needed, dest),
        frozenset(entry.path for entry in needed),
        extras=[entry.path for entry in seen.entries if entry.path not in ours] if delete else (),
        max_delete=max_delete,
    )
    ending, done = merged(bare(source, paths=paths), what, terms)
    left = [path for path in Path(os.fsdecode(what.downloaded)).rglob("*") if not path.is_dir()]
    receiving.remove(os.fsencode(dest), NAME)
    assert ending.code not in ("", "partial") or not left, "all that came was used"
    return ending, done
