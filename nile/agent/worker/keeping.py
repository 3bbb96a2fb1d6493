"""A host's part in a swarm that has had all from the beginning: it serves what is in the destination.

Its peer first holds that against the torrent, piece by piece: what only looks like the source is served by
nobody. Nothing there is written to; only the archive, which no host has, comes into a directory of our own.
"""

import os

from nile.agent.worker.landing import Landing
from nile.agent.worker.partaking import Part

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict

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
        """Raises OSError where it can't have a directory."""
        self._dest = place.dest
        self._landing = Landing(place)
        super().__init__(loop, message, say, torrent)

    def _start(self) -> None:
        places = [b""] * len(self._torrent.files)  # padding is read nowhere
        for number, file in self._torrent.numbered():
            places[number] = os.path.join(self._dest, file.path)
        places[self._torrent.archive] = b"%d" % self._torrent.archive
        self._tell_places(places)
        self._tell_start(self._landing.directory, bytes(1 for _ in places), seed=False)

    def _own(self) -> str:
        return os.fsdecode(self._landing.directory)

    def _leave(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Remove what came."""
        self._landing.clear()
