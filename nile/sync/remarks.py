"""What is said in the end of hosts for which a swarm didn't do all that it was to do. Pure."""

from __future__ import annotations

from collections.abc import Callable

from nile.cascade import Publish
from nile.events import Notice
from nile.sync.asking import Errands
from nile.sync.wording import damaged, left_to_rsync, not_checked, not_seeding


class Remarks:
    """Names and reasons, in the order in which they were noted."""

    def __init__(self) -> None:
        self._left_out: list[tuple[str, str]] = []
        self._unchecked: dict[str, str] = {}
        self._no_seeders: list[tuple[str, str]] = []
        self._culprits: dict[str, Callable[[], list[str]]] = {}

    def left_out(self, name: str, reason: str) -> None:
        """It gets nothing more by the swarm."""
        self._left_out.append((name, reason))

    def no_seeder(self, name: str, reason: str) -> None:
        """It has all, or seemed to, and doesn't serve it."""
        self._no_seeders.append((name, reason))

    def unchecked(self, name: str, reason: str) -> None:
        """It can't tell who signed what comes; it may say so any number of times."""
        self._unchecked.setdefault(name, reason)

    def banned(self, name: str, by: Callable[[], list[str]]) -> None:
        """It sent damaged pieces, as these say: all that will have said so by then."""
        self._culprits[name] = by

    def forget_banned(self) -> None:
        """They are about to be named anew."""
        self._culprits.clear()

    def say(self) -> Errands:
        """All of that, once."""
        if self._unchecked:
            yield Publish(Notice(not_checked(list(self._unchecked.items()))))
        if self._left_out:
            yield Publish(Notice(left_to_rsync(self._left_out)))
        if self._no_seeders:
            yield Publish(Notice(not_seeding(self._no_seeders)))
        if self._culprits:
            yield Publish(Notice(damaged({name: by() for name, by in self._culprits.items()})))
        self._culprits.clear()
        self._no_seeders.clear()
        self._unchecked.clear()
        self._left_out.clear()
