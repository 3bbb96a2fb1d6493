"""Archives of sources, and copies that are made of them, each in a loop of its own: for the tests of both."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nile.agent.worker import archiving
from nile.agent.worker import rsync as rsyncs
from nile.agent.worker.applying import Fed
from nile.agent.worker.manifest import Terms
from nile.agent.worker.patterns import Patterns
from nile.agent.worker.running import Ending
from nile.agent.worker.scanning import scan
from nile.agent.worker.trees import Source
from nile.agent.worker.unpacking import Unpacking
from tests.agent.worker.chaining import descriptors
from tests.agent.worker.copying import a_loop, litter
from tests.agent.worker.taping import Feed

BIG = 3 << 20
EQUAL = Terms(checksum=True)


def read(*paths: Path | str, excludes: tuple[bytes, ...] = ()) -> Source:
    """A source; a path with a trailing slash is what is in the directory."""
    source = Source([os.fsencode(str(path)) for path in paths], Patterns(excludes))
    source.read(checksum=True)
    return source


def packed(source: Source, **options: Any) -> bytes:
    """It as an archive."""
    with tempfile.TemporaryFile() as file:
        archiving.write(os.dup(file.fileno()), source, **options)
        file.seek(0)
        return file.read()


class Unpacked(Feed):
    """An archive into a destination."""

    def _begin(self, copy: rsyncs.Copy, dest: bytes, recorded: rsyncs.Version | None) -> Fed:
        return Unpacking(self.loop, copy, dest, self._done)


def unpack(data: bytes, dest: Path, then: Callable[[Feed], object] | None = None, **options: Any) -> Ending:
    """How that ended; nothing of ours is left."""
    before = descriptors()
    with a_loop() as loop:
        ending = Unpacked(loop, data, dest, then, **options).run()
    assert descriptors() == before
    assert litter(dest) == []
    return ending


def well(ending: Ending) -> None:
    assert (ending.code, ending.reason) == ("", "")


def same(source: Source, dest: Path, excludes: tuple[bytes, ...] = ()) -> None:
    """What decides whether a host is ok."""
    roots = [(os.fsencode(dest) + b"/" + name, name) for _, name in source.roots]
    found = scan(roots, Patterns(excludes), checksum=True)
    assert [entry._replace(mtime_ns=0) for entry in found.entries] == [
        entry._replace(mtime_ns=0) for entry in source.manifest.entries
    ]
    assert found.fingerprint(EQUAL) == source.manifest.fingerprint(EQUAL)
