"""An archive that comes, and the child that does it to the destination (see restoring)."""

import contextlib
import os
from functools import partial

from nile.agent.worker import receiving
from nile.agent.worker import rsync as rsyncs
from nile.agent.worker.applying import Fed
from nile.agent.worker.dressing import Terms
from nile.agent.worker.forking import Working
from nile.agent.worker.removing import remove_tree
from nile.agent.worker.restoring import restore
from nile.agent.worker.working import WORK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List

    from nile.agent.worker.running import Ending, Running

CHUNK = 64 * 1024
STILL_S = 120.0  # for a disk to give names to what has come: it waits for nobody else


class Unpacking(Fed):
    """One archive, unpacked. Takes the place of `Applying` where there is no rsync.

    Its codes are, beside those of whatever is fed: `corrupt`, `broken` (it is torn), `diverged` (something
    has its place by now), `disk-full`, `not-writable`, `files`.
    """

    _came = False
    """An earlier one of this run had come whole, and has its place by now."""

    def _prepare(self) -> bool:
        """What that one couldn't be given is given first, and what it left is no more in the way."""
        own = os.path.join(self._dest, self._temporary)
        if os.path.isdir(own):
            with WORK.told():
                self._came = receiving.see_placed(self._dest, self._temporary)
                with contextlib.suppress(FileNotFoundError):
                    remove_tree(rsyncs.inner_directory(self._dest, self._temporary))
        return super()._prepare()

    def _run(self, fds: "List[int]") -> "Running":
        copy = self._copy
        terms = Terms(copy.numeric_ids, copy.chown or "")
        dest, temporary = self._dest, self._temporary
        work = partial(swallow, 0) if self._came else partial(restore, 0, dest, temporary, terms)
        return Working(self._loop, work, fds, self._over)

    def _tidy(self, ending: "Ending") -> None:
        """Who was killed while it gave out names had all of it: others have done the rest."""
        placed = False
        if ending.code and ending.code != "stopped":
            with WORK.told(), contextlib.suppress(OSError):  # then it is kept
                placed = receiving.see_placed(self._dest, self._temporary)
        super()._tidy(ending)
        if placed:
            ending.instead("", "")

    def _leave_s(self) -> float:
        return STILL_S

    def _unable(self, error: OSError) -> rsyncs.Refusal:
        return rsyncs.Refusal("memory", "nothing can be run: %s" % error.strerror)


def swallow(fd: int) -> None:
    """Take all that comes, and do nothing: it is there."""
    while os.read(fd, CHUNK):
        pass
