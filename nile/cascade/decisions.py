"""What the healer may decide about hosts that are out of contact, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass

from nile.cascade.hosts import Host
from nile.events import Code


@dataclass(frozen=True, slots=True)
class Place:
    """Have `parent` log in to this host, with all that is below it."""

    host: Host
    parent: int
    connect_s: float | None = None
    """How long that may take, if not as long as any login."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Nothing more is to be tried."""

    host: Host
    code: Code
    reason: str


@dataclass(frozen=True, slots=True)
class Moved:
    """`count` hosts (each with what is below it) left this relay; `code` is set where it can't log in."""

    relay: Host
    count: int
    code: Code | None = None


@dataclass(frozen=True, slots=True)
class CallUp:
    """This gateway, which had no place in the tree, is needed."""

    host: Host


@dataclass(frozen=True, slots=True)
class CallIn:
    """This gateway, which a pause keeps back, is needed by those that the pause leaves alone."""

    host: Host


@dataclass(frozen=True, slots=True)
class Unheard:
    """Whoever began to log in to it says nothing of how that went."""

    host: Host


Decision = Place | GiveUp | Moved | CallUp | CallIn | Unheard
