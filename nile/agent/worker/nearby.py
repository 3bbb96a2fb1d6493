"""The hosts of one's own rack, by name, and their addresses, which are looked up a few at a time."""

from collections import deque

from nile.agent.worker.lookup import LookUp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Deque, Dict, Iterable, List

    from nile.agent.worker.loop import Loop

AT_ONE_TIME = 8


class Nearby:
    """`found(addresses)` is called for each name once these are known, never from within a call of ours."""

    def __init__(self, loop: "Loop", found: "Callable[[List[str]], None]") -> None:
        self._loop = loop
        self._found = found
        self._waiting: "Deque[str]" = deque()
        self._looking: "Dict[str, LookUp]" = {}

    def add(self, names: "Iterable[str]") -> None:
        """These are, too."""
        self._waiting.extend(names)
        self._look_up()

    def close(self) -> None:
        """Call `found` no more."""
        self._waiting.clear()
        for look_up in self._looking.values():
            look_up.close()
        self._looking.clear()

    def _look_up(self) -> None:
        while self._waiting and len(self._looking) < AT_ONE_TIME:
            name = self._waiting.popleft()
            if name not in self._looking:
                self._looking[name] = LookUp(self._loop, name, 0, self._finder(name))

    def _finder(self, name: str) -> "Callable[[List[Any], str], None]":
        def found(places: "List[Any]", _: str) -> None:
            del self._looking[name]
            self._found(list(dict.fromkeys(place[0].partition("%")[0] for _, place in places)))
            self._look_up()

        return found
