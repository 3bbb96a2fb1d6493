"""What the cascade machine wants done, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nile.agent.wire import Frame
from nile.events import Event

COUNTS_S = 24 * 3600
"""How long a host may take to get what was signed (see `Attest`)."""


@dataclass(frozen=True, slots=True)
class Adopt:
    """The root's own relay takes these children: entries of the plan, permits included."""

    entries: tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Carry:
    """The root logs in to this child itself, over bytes that the child's parent carries."""

    entry: dict[str, Any]
    parent_id: int


@dataclass(frozen=True, slots=True)
class Send:
    """A frame downward, from the root."""

    frame: Frame


@dataclass(frozen=True, slots=True)
class Publish:
    """An event for the store and the reports. `node_id` is 0 where it belongs to no host."""

    event: Event
    node_id: int = 0


@dataclass(frozen=True, slots=True)
class Sign:
    """Decide on a relay's request to sign for a login to a child; answered by `Signed`."""

    relay_id: int
    child_id: int
    epoch: int
    """The attachment that the login is to make."""
    serial: int
    binds: tuple[bytes, ...]
    request: bytes
    budget_left: int
    """Signatures that aren't bound to a host key and that the relay may still get."""


@dataclass(frozen=True, slots=True)
class Vouch:
    """Decide on a worker's request to sign for a login that the job planned; answered by `Vouched`."""

    number: int
    taker: int
    binds: tuple[bytes, ...]
    request: bytes
    budget_left: int
    """As of `Sign`: of this login."""


@dataclass(frozen=True, slots=True)
class Attest:
    """Sign, as the operator, what is delivered to these hosts; answered by `Attested`."""

    number: int
    takers: tuple[int, ...]
    run: str
    dest: bytes
    info_hash: bytes
    digest: bytes
    """Of the metadata, by SHA-256."""


@dataclass(frozen=True, slots=True)
class ReadStdin:
    """Standard input may be read: at most `size` bytes."""

    size: int


@dataclass(frozen=True, slots=True)
class TellRoot:
    """Bytes for the root's own worker."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Listen:
    """Open a port on the root's loopback that leads to a port on a host's; answered by `Listening`."""

    number: int
    node_id: int
    port: int


@dataclass(frozen=True, slots=True)
class Finish:
    """Every host has its verdict and every agent was told to end."""


Action = Adopt | Carry | Send | Publish | Sign | Vouch | Attest | ReadStdin | TellRoot | Listen | Finish
