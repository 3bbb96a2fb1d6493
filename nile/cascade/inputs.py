"""What can happen to a run, as frozen values: the one queue into the cascade machine."""

from __future__ import annotations

from dataclasses import dataclass

from nile.agent import wire
from nile.agent.wire import Frame
from nile.cascade.actions import Sign
from nile.cascade.secret import Secret
from nile.options import Pacing, RateLimits

FRAME_NAMES = {
    value: name
    for name, value in vars(wire).items()
    if name.isupper()
    and isinstance(value, int)
    and value in wire.UP_TYPES | wire.DOWN_TYPES | wire.LINK_TYPES
}


def frame_name(kind: object) -> str:
    """What the code calls frames of this type; of any other, that it is of another."""
    return FRAME_NAMES.get(kind, "a frame of no type") if isinstance(kind, int) else "a frame of no type"


@dataclass(frozen=True, slots=True)
class Started:
    """The run begins."""


@dataclass(frozen=True, slots=True)
class FrameReceived:
    """An upward frame; `origin` 0 is the root's own relay, reporting on its own children."""

    frame: Frame


@dataclass(frozen=True, slots=True)
class Committed:
    """Everything published up to now for this node is in the store and was shown.

    `stdout` and `stderr` are absolute offsets; `result` says that its verdict is among it.
    """

    node_id: int
    stdout: int
    stderr: int
    result: bool


@dataclass(frozen=True, slots=True)
class Signed:
    """The root's answer to a request to sign for the login to a child.

    `answer` is a message of the ssh-agent protocol; `refused` says why it holds
    no signature; `spent` is what it takes off the relay's budget.
    """

    asked: Sign
    answer: bytes
    note: str = ""
    refused: str = ""
    spent: int = 0


@dataclass(frozen=True, slots=True)
class Vouched:
    """The root's answer to the request of that number. The rest as of `Signed`."""

    number: int
    answer: bytes
    note: str = ""
    refused: str = ""
    spent: int = 0


@dataclass(frozen=True, slots=True)
class Attested:
    """What was signed, and by whom; or why nobody did. The answer to the `Attest` of that number."""

    number: int
    body: bytes
    signatures: tuple[bytes, ...] = ()
    """One by each of some keys by which hosts are logged in to."""
    certified: tuple[int, ...] = ()
    """Hosts that may be logged in to by a certificate, or another key, and so may have none of these."""
    refused: str = ""
    opened: tuple[tuple[int, bytes], ...] = ()
    """By which of these keys the others were logged in to, as far as that is known."""


@dataclass(frozen=True, slots=True)
class StdinRead:
    """Bytes of standard input, to be broadcast."""

    data: bytes


@dataclass(frozen=True, slots=True)
class StdinEnded:
    """Standard input is at its end."""


@dataclass(frozen=True, slots=True)
class RootSaid:
    """Bytes that the root's own worker said."""

    data: bytes


@dataclass(frozen=True, slots=True)
class RootWorkerEnded:
    """The root's own worker ended, and nobody told it to."""

    reason: str


@dataclass(frozen=True, slots=True)
class Listening:
    """The port that `Listen` asked for; 0 where there can be none, for that `reason`."""

    number: int
    port: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Answered:
    """The user's answer to the question of that number which the run's job asked."""

    number: int
    yes: bool


@dataclass(frozen=True, slots=True)
class PasswordGiven:
    """What the user typed for `SecretAsked`; None where nothing was, for that reason."""

    secret: Secret | None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a job decided is in the store; or can't be, for that `reason`, and then it isn't `kept`."""

    number: int
    kept: bool = True
    reason: str = "the store of runs takes no record of it"
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Concluded:
    """The user has enough of a run that lasts until then: its job comes to an end in order."""


@dataclass(frozen=True, slots=True)
class Limited:
    """The user wants peers of a swarm to keep to these rates from now on."""

    limits: RateLimits


@dataclass(frozen=True, slots=True)
class Steered:
    """The user wants the run to go on faster, slower, or not for a while."""

    pacing: Pacing


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The user wants it to end: commands get SIGTERM, `grace_s`, SIGKILL."""

    grace_s: float


@dataclass(frozen=True, slots=True)
class Ticked:
    """Time passed; sent once a second. `settled`: everything published up to now is stored and shown."""

    settled: bool = True


@dataclass(frozen=True, slots=True)
class Slept:
    """The root's machine was suspended for so long: times that come with inputs leave that out."""

    seconds: float


Input = (
    Started
    | FrameReceived
    | Committed
    | Signed
    | Vouched
    | Attested
    | StdinRead
    | StdinEnded
    | RootSaid
    | RootWorkerEnded
    | Listening
    | Answered
    | PasswordGiven
    | Recorded
    | Concluded
    | Limited
    | Steered
    | Interrupted
    | Ticked
    | Slept
)
