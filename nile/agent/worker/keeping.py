"""A host's part in a swarm that has had all from the beginning: it serves what is in the destination.

Its peer first holds that against the torrent, piece by piece: what only looks like the source is served by
nobody. Nothing there is written to; only the archive, which no host has, comes into a directory of our own.
What it serves is what was looked at: whoever owns a directory there can lead it nowhere else (see guarded).
"""

import os

from nile.agent.worker.guarded import Guarded
from nile.agent.worker.landing import Landing
from nile.agent.worker.partaking import Part
from nile.agent.worker.working import WORK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List

    from nile.agent.worker.loop import Loop
    from nile.agent.worker.metainfo import Metainfo
    from nile.agent.worker.place import Place

    Message = Dict[str, Any]
    Say = Callable[[int, Message], None]


class Keeper(Part):
    """It says its port once all was found to be as it should."""

    def __init__(
        self, loop: "Loop", message: "Message", say: "Say", torrent: "Metainfo", place: "Place"
    ) -> None:
        """Raises OSError where it can't have a directory, and CantError for what it must not serve."""
        self._landing = Landing(place)
        self._guarded = Guarded(self._landing.top)
        try:
            with WORK.announced():
                self._places = self._find(torrent)
            super().__init__(loop, message, say, torrent)
        except BaseException:
            self.clear()
            raise

    def _find(self, torrent: "Metainfo") -> "List[bytes]":
        places = [b""] * len(torrent.files)  # padding is read nowhere
        for number, file in torrent.numbered():
            WORK.done += 1
            places[number] = self._guarded.name(file.path)
        places[torrent.archive] = b"%d" % torrent.archive
        return places

    def _start(self) -> None:
        self._tell_places(self._places)
        self._tell_start(self._landing.directory, bytes(1 for _ in self._places), seed=False)

    def _own(self) -> str:
        return os.fsdecode(self._landing.directory)

    def _leave(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Remove what came."""
        self._guarded.close()
        self._landing.clear()
