"""What the root has a worker do with releases, message by message.

    look      what there is; with `hold`, and have it for this run
    seal      what was delivered is whole: give it its name
    stage     write down that `current` will be another one; with `back`, since it was that before
    unstage   it won't be
    flip      change it
    confirm   all have been told to: that is over; then remove old ones, if so many are to be kept; where
              that can't be done, the answer has `left`, which says why
    settle    end a flip that was interrupted: go through with it (`how` is "finish"), take that of a run back
              ("undo"), or have it over as it is ("leave")
    prune     remove old ones

Answers but that of `prune` say what there is then. See `nile.agent.worker.releases`.
"""

import errno
import os
import time

from nile.agent.worker.delivery import Delivery
from nile.agent.worker.lock import Lock
from nile.agent.worker.naming import END_IT, LATEST_S
from nile.agent.worker.place import said
from nile.agent.worker.releases import Refused, Releases, fields

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Tuple

    from nile.agent.worker.manifest import Manifest, Terms
    from nile.agent.worker.patterns import Patterns

    Message = Dict[str, Any]

BOOTTIME = 7  # goes on while the machine sleeps; Python has no name for it before 3.7
CODES = {
    errno.EACCES: "not-writable",
    errno.EPERM: "not-writable",
    errno.EROFS: "not-writable",
    errno.ENOSPC: "disk-full",
    errno.EDQUOT: "disk-full",
}


class Releasing:
    """The releases of one destination, that of a delivery or the one that was looked at."""

    def __init__(self) -> None:
        self._delivery: "Optional[Delivery]" = None
        self._releases: "Optional[Releases]" = None
        self._lock: "Optional[Lock]" = None
        self._staged_s = 0.0

    def deliver(self, dest: bytes, temporary: bytes, name: str) -> Delivery:
        """The place for a release that this run brings."""
        self._delivery = Delivery(dest, temporary, name)
        self._releases = self._delivery.releases
        return self._delivery

    def coming(
        self,
        source: "Manifest",
        found: "Manifest",
        looked: "Tuple[List[Tuple[bytes, bytes]], Patterns]",
        terms: "Terms",
    ) -> int:
        """Bytes that a delivery takes of the disk; `looked` is where what was `found` is."""
        assert self._delivery is not None
        return self._delivery.coming(source, found, [name for _, name in looked[0]], looked[1], terms)

    def do(self, message: "Message") -> "Message":
        """Carry it out: the answer, which has a `code` where it couldn't be done."""
        try:
            answer: "Message" = getattr(self, "_do_" + message["do"])(message)
        except Refused as refused:
            return dict(refused.fields)
        except OSError as error:
            return {"code": CODES.get(error.errno or 0, "release"), "reason": _reason(error)}
        return answer

    def _do_look(self, message: "Message") -> "Message":
        self._releases = releases = Releases(message["dest"])
        if message["hold"]:
            if not os.path.isdir(releases.place):
                raise Refused("there are no releases in %s" % os.fsdecode(releases.dest))
            lock = Lock(releases.dest)
            busy = lock.acquire()
            if busy is not None:
                reason, remedy = said(busy)
                return {"code": "busy", "reason": reason, "remedy": remedy}
            self._lock = lock
        return self._look()

    def _do_seal(self, _: "Message") -> "Message":
        assert self._delivery is not None
        self._delivery.seal()
        return self._look()

    def _do_stage(self, message: "Message") -> "Message":
        self._known().stage(message["to"], message["run"], message["back"])
        self._staged_s = time.clock_gettime(BOOTTIME)
        return self._look()

    def _do_unstage(self, _: "Message") -> "Message":
        self._known().unstage()
        return self._look()

    def _do_flip(self, _: "Message") -> "Message":
        if time.clock_gettime(BOOTTIME) - self._staged_s > LATEST_S:
            raise Refused("it was told to flip too late: it may have stood still meanwhile", END_IT)
        self._known().switch()
        return self._look()

    def _do_confirm(self, message: "Message") -> "Message":
        self._known().confirm()
        left = ""
        try:
            if message["keep"] is not None:
                self._known().prune(message["keep"])
        except Refused as refused:
            left = refused.fields["reason"]
        except OSError as error:
            left = _reason(error)
        return dict(self._closed(), left=left)

    def _do_settle(self, message: "Message") -> "Message":
        releases = self._known()
        if message["how"] == "undo":
            releases.undo(message["run"])
        elif message["how"] == "leave":
            releases.leave()
        else:
            releases.switch()
            releases.confirm()
        return self._closed()

    def _do_prune(self, message: "Message") -> "Message":
        look = self._known().look()
        if not look.current or look.flip is None:  # a directory of that name needn't be Nile's
            where = os.fsdecode(self._known().dest)
            raise Refused("no release of %s was ever made current by Nile" % where, "remove old ones by hand")
        self._known().prune(message["keep"])
        return self._closed()

    def _closed(self) -> "Message":
        """The last that this run does."""
        answer = self._look()
        if self._delivery is not None:
            self._delivery.close()
        if self._lock is not None:
            self._lock.release()
        return answer

    def _known(self) -> Releases:
        assert self._releases is not None
        return self._releases

    def _look(self) -> "Message":
        return fields(self._known().look())


def _reason(error: OSError) -> str:
    """What went wrong, and with which file."""
    return (os.fsdecode(error.filename) + ": " if error.filename else "") + (error.strerror or "")
