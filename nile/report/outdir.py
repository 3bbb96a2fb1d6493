"""`--outdir`: what each host prints, in files of its own: `HOST.out`, and `HOST.err` where there is any.

Bytes are written as they come, to the place in the file that they have in the
stream. Only so many files are open at a time. A directory that can't be written
to any more ends nothing: the store has it all, and that is said in the end.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import OrderedDict
from pathlib import Path

from nile.errors import UsageError
from nile.events import Event, HostOutput, HostResult, Verdict

MOST_OPEN = 64
LONGEST_NAME = 200
SUFFIXES = {"stdout": ".out", "stderr": ".err"}

_UNSAFE = re.compile(r"[^A-Za-z0-9_.:%-]|^\.")


class OutDir:
    """Writes the files; made before any host is touched, so that what can't be is known then."""

    def __init__(self, directory: Path) -> None:
        """Make the directory, if it isn't there; raises UsageError."""
        self._directory = directory
        self._open: OrderedDict[Path, int] = OrderedDict()
        self._begun: set[Path] = set()
        self.failure: OSError | None = None
        """Why nothing more is written."""
        try:
            directory.mkdir(parents=True, exist_ok=True)
            if not os.access(directory, os.W_OK | os.X_OK):
                raise PermissionError(13, "you may not write there")
        except OSError as error:
            remedy = "name a directory that you may write to"
            raise UsageError(
                error.strerror or str(error), where=f"--outdir {directory}", remedy=remedy
            ) from error

    def handle(self, event: Event) -> None:
        """Write what a host printed; a host that ran and printed nothing has an empty file."""
        if self.failure is not None:
            return
        try:
            if isinstance(event, HostOutput):
                self._write(event)
            elif isinstance(event, HostResult):
                self._end(event)
        except OSError as error:
            self.failure = error
            self.finish()

    def finish(self) -> None:
        """Close all files."""
        while self._open:
            os.close(self._open.popitem()[1])

    def _write(self, event: HostOutput) -> None:
        descriptor = self._descriptor(self._path(event.host, event.stream))
        data, offset = memoryview(event.data), event.offset
        while data:
            written = os.pwrite(descriptor, data, offset)
            data, offset = data[written:], offset + written

    def _end(self, event: HostResult) -> None:
        if event.verdict is not Verdict.UNREACHABLE:
            self._descriptor(self._path(event.host, "stdout"))
        for stream in SUFFIXES:
            if (descriptor := self._open.pop(self._path(event.host, stream), None)) is not None:
                os.close(descriptor)

    def _descriptor(self, path: Path) -> int:
        """The file, opened if need be; the first time what was in it goes."""
        if path in self._open:
            self._open.move_to_end(path)
            return self._open[path]
        if len(self._open) >= MOST_OPEN:
            os.close(self._open.popitem(last=False)[1])
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(path, flags | (0 if path in self._begun else os.O_TRUNC), 0o666)
        self._begun.add(path)
        self._open[path] = descriptor
        return descriptor

    def _path(self, host: str, stream: str) -> Path:
        return self._directory / (file_name(host) + SUFFIXES[stream])


def file_name(host: str) -> str:
    """A host's name as a file's: the same, unless it is too long for one or has what no host's name has."""
    safe = _UNSAFE.sub(lambda found: f"%{ord(found[0]):02x}", host)
    if len(safe) <= LONGEST_NAME:
        return safe
    return f"{safe[:LONGEST_NAME]}-{hashlib.blake2b(host.encode(), digest_size=8).hexdigest()}"
