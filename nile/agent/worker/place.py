"""The destination of a run on this host, while the run has it."""

import os
import time

from nile.agent.worker import target
from nile.agent.worker.lock import Busy, Lock
from nile.agent.worker.receiving import sweep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Tuple

    from nile.agent.worker.manifest import Entry, Manifest, Terms
    from nile.agent.worker.patterns import Patterns

    Looked = Tuple[List[Tuple[bytes, bytes]], Patterns]


class Place:
    """Made, locked and cleaned where it is to be written (`write`); else only looked at.

    `basis` is a directory whose files a copy may be linked to where they are the same; b"": none.
    `signed_in` is where is kept what was signed last of all that came here (see signatures); b"": nowhere.
    """

    basis = b""
    signed_in = b""

    def __init__(self, dest: bytes, temporary: bytes, write: bool) -> None:
        self.dest = dest
        self.temporary = temporary
        self._write = write
        self._lock: "Optional[Lock]" = None
        self._prepared: "Optional[target.Prepared]" = None

    def take(self) -> "Optional[Tuple[str, str]]":
        """Have it for this run; or why not, and the remedy, where another run has it. Raises OSError."""
        if not self._write:
            return None
        self._prepared = target.prepare(self.dest, True)
        self._lock = Lock(self.dest)
        busy = self._lock.acquire()
        if busy is not None:
            return said(busy)
        target.clean(self._lock)
        return None

    def about(self) -> "Optional[Dict[str, Any]]":
        """What is to be known of it where a release goes there: see `nile.agent.worker.delivery`."""
        return None

    def here(self, found: "Manifest") -> "List[Entry]":
        """What a copy needn't bring: of what was `found`, and of what is in `basis`."""
        return found.entries

    def tidy(self, patterns: "Patterns") -> None:
        """It is about to be looked at."""

    def fingerprints(self, found: "Manifest", looked: "Looked", terms: "Terms") -> "Tuple[bytes, bytes]":
        """Of what was `found`, and one that is equal where a copy has to bring the same files.

        `looked` is where what was found is. See `Manifest.fingerprints`.
        """
        return found.fingerprints(terms)

    def make_ready(self, patterns: "Patterns", recorded: bool = False) -> None:
        """A copy begins; `recorded`: of what it would bring only a recording is made."""

    def close(self) -> None:
        """What the run was to do there is done."""
        self._prepared = None  # it stays, empty or not
        if self._lock is not None:
            self._lock.release()

    def abandon(self) -> None:
        """It wasn't: nothing of ours stays but what came whole."""
        ours = self._lock is not None and self._lock.held
        if ours:
            try:
                sweep(self.dest, self.temporary)
            except OSError:
                pass  # then the next run does
        if self._prepared is not None and (ours or self._lock is None):
            self._prepared.undo()
        if self._lock is not None:
            self._lock.release()


def said(busy: Busy) -> "Tuple[str, str]":
    """That another run has it, or a host of this one that shares its files with us; and the remedy."""
    if busy.run is not None and busy.run == os.environ.get("NILE_RUN"):
        reason = "another host of this run writes there: the two have these files in common"
        return reason, "name one of them alone, or a directory that each has for itself"
    words = ["another run writes there"]
    if busy.user is not None:
        words.append(" of %s" % busy.user)
    if busy.since is not None:
        words.append(" since %s" % time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(busy.since)))
    if busy.run is not None:
        words.append(" (run %s)" % busy.run[:8])
    return "".join(words), "wait until it has ended, or stop it"
