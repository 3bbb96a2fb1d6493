"""An archive that comes, and the child that does it to the destination (see restoring)."""

from nile.agent.worker import rsync as rsyncs
from nile.agent.worker.applying import Fed
from nile.agent.worker.dressing import Terms
from nile.agent.worker.forking import Working
from nile.agent.worker.restoring import restore

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List

    from nile.agent.worker.running import Running


STILL_S = 120.0  # for a disk to give names to what has come: it waits for nobody else


class Unpacking(Fed):
    """One archive, unpacked. Takes the place of `Applying` where there is no rsync.

    Its codes are, beside those of whatever is fed: `corrupt`, `broken` (it is torn), `diverged` (something
    has its place by now), `disk-full`, `not-writable`, `files`.
    """

    def _run(self, fds: "List[int]") -> "Running":
        copy = self._copy
        terms = Terms(copy.numeric_ids, copy.chown or "")
        dest, temporary = self._dest, self._temporary
        return Working(self._loop, lambda: restore(0, dest, temporary, terms), fds, self._over)

    def _leave_s(self) -> float:
        return STILL_S

    def _unable(self, error: OSError) -> rsyncs.Refusal:
        return rsyncs.Refusal("memory", "nothing can be run: %s" % error.strerror)
