"""A host's part in a swarm: what comes is checked, and put in place once all of it is there."""

import os

from nile.agent.worker import checking
from nile.agent.worker.checking import Check
from nile.agent.worker.landing import Landing, wanted
from nile.agent.worker.manifest import FILE
from nile.agent.worker.messages import CantError
from nile.agent.worker.partaking import Part
from nile.agent.worker.working import WORK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Optional, Tuple

    from nile.agent.worker.loop import Loop
    from nile.agent.worker.manifest import Manifest
    from nile.agent.worker.metainfo import Metainfo
    from nile.agent.worker.place import Place
    from nile.agent.worker.running import Ending

    Message = Dict[str, Any]
    Say = Callable[[int, Message], None]


class Taker(Part):
    """A host's: what comes goes to a directory of its own in the destination, and then to its place."""

    def __init__(
        self,
        loop: "Loop",
        message: "Message",
        say: "Say",
        torrent: "Metainfo",
        place: "Place",
        found: "Optional[Manifest]",
    ) -> None:
        """Raises OSError where it can't have a directory."""
        entries = place.here(found) if found is not None and not message["all"] else []
        there = {entry.path: (entry.size, entry.mtime_ns) for entry in entries if entry.kind == FILE}
        for path in message["differing"].split(b"\0"):  # it only seems to be the same
            there.pop(path, None)
        self._names = {path: b"%d" % number for number, path in wanted(torrent.numbered(), there)}
        self._found = found
        self._merge_as = message
        self._is_here = self._complete = self._stopped = self._is_checked = False
        self._end: "Optional[Tuple[str, str]]" = None
        """How its peer ended, before all was in its place."""
        self._left_over: "Optional[str]" = None
        """What the trouble was with what came, once a merge is over."""
        self._landing = Landing(place)
        self._check = Check(loop, message, torrent.hash, place, self._checked)
        super().__init__(loop, message, say, torrent)

    def _start(self) -> None:
        coming = set(self._names.values()) | {b"%d" % self._torrent.archive}
        files = range(len(self._torrent.files))
        wanted = bytes(b"%d" % number in coming for number in files)
        self._tell_start(self._landing.directory, wanted, seed=False)

    def _own(self) -> str:
        return os.fsdecode(self._landing.directory)

    def _checked(self, trouble: "Message", note: str) -> None:
        self._is_checked = True
        if note:
            self._say(self._number, {"unchecked": note, "more": True})
        if trouble:
            self._trouble = self._trouble or trouble
            self._peering.stop()
        if self._end is not None:
            self._over(*self._end)
        elif self._is_here and self._landing.links and not trouble:
            self._merge()

    def _completed(self) -> None:
        if self._trouble or self._is_here:
            return  # what it wrote isn't there
        self._is_here = True
        self._gets_on()
        if self._landing.links:
            if self._is_checked:
                self._merge()
        else:  # a file has one name: it can't be served any more
            self._peering.stop()

    def _gets_on(self) -> None:
        self._say(self._number, {"merging": True, "more": True})

    def _merge(self) -> None:
        how = self._merge_as
        try:
            archive = os.path.join(self._landing.directory, b"%d" % self._torrent.archive)
            with WORK.announced():
                signed = self._check.is_of(archive)
            if not signed:
                self._checked(checking.other_archive(), "")
                return
            self._landing.merge(
                self._loop, self._torrent, self._names, self._found, how, self._merged, self._gets_on
            )
        except OSError as error:
            self._is_merged("%s: %s" % (error.strerror, os.fsdecode(error.filename or b"")))

    def _merged(self, ending: "Ending") -> None:
        trouble = ending.said() if ending.code else ""
        try:
            if not trouble:
                self._check.note()
        except (CantError, OSError) as error:
            trouble = "it can't be kept what was signed last: %s" % error
        self._is_merged(trouble)

    def _is_merged(self, trouble: str) -> None:
        self._left_over = trouble
        if not trouble:
            self._say_complete()
        if self._end is not None:
            self._leave_for_good()
        elif trouble:
            self._peering.stop()

    def _say_complete(self) -> None:
        if not self._stopped:
            self._complete = True
            self._say(self._number, {"complete": True, "trouble": self._left_over, "more": True})

    def _leave_for_good(self) -> None:
        assert self._end is not None
        if self._left_over:  # whoever brings the rest needs the room
            self._landing.clear()
            self._say_complete()
        super()._over(*self._end)

    def stop(self, idle: "Optional[Callable[[], None]]" = None) -> None:
        """As that of any part; what isn't in its place yet gets there no more."""
        self._stopped = True
        self._landing.abort()
        super().stop(idle)

    def _over(self, code: str, reason: str) -> None:
        self._end = code, reason
        if self._landing.merging:
            return
        if not self._is_here or self._left_over is not None or self._stopped or self._trouble:
            self._leave_for_good()
        elif self._is_checked:
            self._merge()

    def _leave(self) -> None:
        self._check.close()
        if not self._complete:
            self.clear()

    def clear(self) -> None:
        """Remove what others are served from."""
        self._landing.clear()
