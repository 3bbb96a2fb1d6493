"""The directory at the root that gets files of hosts: one in it for each host, named like it."""

import os
import shutil
import stat

from nile.agent.worker import target
from nile.agent.worker.lock import Lock
from nile.agent.worker.manifest import TEMPORARY
from nile.agent.worker.place import said

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional, Tuple

PRIVATE = 0o700  # who may read a file at its host need not be who may read it here


class Shelf:
    """`path` while a run has it; `taken` says whether that is so.

    What is unfinished lies in PATH/.nile-sync-RUN/HOST, outside of all that hosts can name.
    """

    def __init__(self, path: bytes, run: str) -> None:
        self.path = path
        self._temporary = os.path.join(path, TEMPORARY + os.fsencode(run))
        self._lock = Lock(path)

    def take(self) -> "Optional[Tuple[str, str, str]]":
        """Have it for this run; or why not: a code, a reason, a remedy. Raises OSError.

        What runs that died left there is removed.
        """
        refusal = target.refuse(self.path, False)
        if refusal is not None:
            code = "not-writable" if refusal.code == "unwritable" else "destination"
            return code, refusal.text, refusal.remedy
        made = target.prepare(self.path, True).made
        if made:
            os.chmod(made[-1], PRIVATE)
        self._lock = Lock(self.path)
        busy = self._lock.acquire()
        if busy is not None:
            return ("busy",) + said(busy)
        for name in os.listdir(self.path):
            if name.startswith(TEMPORARY):
                shutil.rmtree(os.path.join(self.path, name), ignore_errors=True)
        os.mkdir(self._temporary, PRIVATE)
        return None

    def place(self, host: bytes) -> "Tuple[bytes, bytes]":
        """A host's directory, and one for what is unfinished, empty; raises OSError or ValueError."""
        if not host or b"/" in host or host.startswith(b"."):
            raise ValueError("no name for a directory")
        dest, temporary = os.path.join(self.path, host), os.path.join(self._temporary, host)
        try:
            os.mkdir(dest, PRIVATE)
        except FileExistsError:
            found = os.lstat(dest)
            if not stat.S_ISDIR(found.st_mode):
                raise ValueError("%s is there, and is no directory" % os.fsdecode(dest)) from None
            if found.st_dev != os.stat(self.path).st_dev:  # a file would be copied to its name, bit by bit
                raise ValueError("%s is on another file system" % os.fsdecode(dest)) from None
        self.clear(host)
        os.mkdir(temporary, PRIVATE)
        return dest, temporary

    def is_empty(self, host: bytes) -> bool:
        """Is there nothing of this host?"""
        try:
            return not os.listdir(os.path.join(self.path, host))
        except OSError:
            return True

    def unfinished(self, host: bytes) -> int:
        """Bytes of the disk that is taken by what is unfinished."""
        try:
            with os.scandir(os.path.join(self._temporary, host)) as listed:
                return sum(entry.stat(follow_symlinks=False).st_blocks * 512 for entry in listed)
        except OSError:
            return 0  # just now it got its name

    def clear(self, host: bytes) -> None:
        """Nothing more comes from there: what is unfinished goes."""
        shutil.rmtree(os.path.join(self._temporary, host), ignore_errors=True)

    def leave(self) -> None:
        """The run ends."""
        if self._lock.held:
            shutil.rmtree(self._temporary, ignore_errors=True)
            self._lock.release()
