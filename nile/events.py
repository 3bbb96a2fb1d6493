"""What happens in a run, as frozen values: the one language between controller, store and report.

Times named `*_s` are seconds since the run began; `at` is seconds since the
epoch (the wall clock of the root). The JSON contract of `nile exec --json` is
written from these, and the store records them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from nile.options import Pacing

NO_PACING = Pacing()


class Verdict(StrEnum):
    """A host's final state in a run; every asked host gets exactly one."""

    OK = "ok"
    FAILED = "failed"
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    LOST = "lost"
    CANCELLED = "cancelled"


class Code(StrEnum):
    """Why a host isn't ok, or how it came to be, or what befell its login: a word that a program can test."""

    EXIT = "exit"  # the command ended with a status other than 0
    SIGNAL = "signal"  # the command was killed by a signal
    LEFTOVER = "leftover"  # ended well, but left processes and --leftover fail was given
    SPAWN = "spawn"  # the agent couldn't start the command
    SCRATCH = "scratch"  # it put more into its scratch than that may take
    SUDO = "sudo"  # sudo didn't start the command
    COMMAND_TIMEOUT = "command-timeout"
    NAME = "name"  # host name doesn't resolve
    REFUSED = "refused"  # connection refused
    NO_ROUTE = "no-route"  # no route to host, network unreachable
    CONNECT_TIMEOUT = "connect-timeout"
    OPEN_FILES = "open-files"  # the root, or the relay above, may open no more files
    HOST_KEY_UNKNOWN = "host-key-unknown"
    HOST_KEY_CHANGED = "host-key-changed"
    HOST_KEY_REVOKED = "host-key-revoked"
    AUTHENTICATION = "authentication"
    PASSWORD = "password"  # the password that was given isn't taken there, or wasn't tried
    SIGNING = "signing"  # the root refused to sign, or couldn't
    SIGNATURE = "signature"  # what came isn't signed as it should be
    LOGIN_SHELL = "login-shell"  # the login succeeded, but ended before the command of the login ran
    NO_PYTHON = "no-python"
    NO_SSH = "no-ssh"  # a relay without an ssh client, or without what that needs
    STARTUPS = "startups"  # sshd dropped the login (MaxStartups, penalties), also when tried again
    DROPPED = "dropped"  # the connection ended before the agent spoke
    AGENT = "agent"  # the agent itself failed
    PARENT = "parent"  # the relay above could not be used
    LINK = "link"  # the link broke, or fell silent for longer than the lease
    CANCELLED = "cancelled"  # cancelled at the user's request
    GONE_AWAY = "gone-away"  # a disruptive command began, and then the link was lost: ok
    REBOOTED = "rebooted"  # it was waited for, and is back, booted anew: ok
    NOT_REBOOTED = "not-rebooted"  # it was waited for, is in contact, and was not booted anew
    NOT_BACK = "not-back"  # it was waited for, and can't be reached
    SOURCE = "source"  # what is to be copied can't be read, or nothing is there
    SOURCE_CHANGED = "source-changed"  # what is to be copied changed meanwhile
    DESTINATION = "destination"  # nothing is ever copied to that place, or it is no directory
    NOT_WRITABLE = "not-writable"  # the user may not write there
    BUSY = "busy"  # another run copies to that place
    DISK_FULL = "disk-full"
    NO_RSYNC = "no-rsync"
    MAX_DELETE = "max-delete"  # more would be deleted there than may be
    COPY = "copy"  # the copy came to nothing
    DIFFERS = "differs"  # what the host has isn't what the source has
    RELEASE = "release"  # the releases that the host has don't allow it
    QUORUM = "quorum"  # the host is ready, but too few others are: nothing was flipped


@dataclass(frozen=True, slots=True)
class Leftover:
    """A process that a command left behind, or that was there when its command was stopped."""

    pid: int
    name: str
    killed: bool = False
    """Nile ended it, and saw it gone."""
    survived: bool = False
    """It was to be ended, and was still there two seconds after SIGKILL: another user's, or stuck."""


@dataclass(frozen=True, slots=True)
class RunStarted:
    """The first event of a run; `hosts` are those asked for, `relays` only carry."""

    run: str
    command: str
    routes: str | None
    hosts: tuple[str, ...]
    relays: tuple[str, ...]
    at: float
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What the command is given beside its line (see `nile.options.ExecOptions.told`)."""
    scripts: Mapping[str, bytes] = field(default_factory=dict)
    """The contents of scripts that are run, by their SHA-256 in hexadecimal: for the store."""
    commands: Mapping[str, str] = field(default_factory=dict)
    """What each host runs, where they don't all run the same."""


@dataclass(frozen=True, slots=True)
class HostUp:
    """An agent said hello; `parent` is the host that logged in (or the word `root`)."""

    host: str
    parent: str
    stage: int
    t_connect_s: float
    t_ready_s: float


@dataclass(frozen=True, slots=True)
class HostStarted:
    """The command runs."""

    host: str
    t_start_s: float


@dataclass(frozen=True, slots=True)
class HostOutput:
    """Bytes that a command wrote: `data` begins at byte `offset` of that host's stream."""

    host: str
    stream: str
    """`stdout` or `stderr`."""
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class HostResult:
    """A host's verdict. `path` is (root, relays..., host) as really used, as far as it got.

    `peer`: by what it got its files in a swarm.
    """

    host: str
    verdict: Verdict
    rc: int | None = None
    signal: int | None = None
    code: Code | None = None
    reason: str = ""
    remedy: str = ""
    leftover: tuple[Leftover, ...] = ()
    path: tuple[str, ...] = ()
    stage: int = 0
    t_connect_s: float | None = None
    t_ready_s: float | None = None
    t_end_s: float | None = None
    peer: str = ""
    command: str = ""
    """What it was to run, where hosts don't all run the same."""


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that a user should know and that is no verdict; `host` may be empty."""

    text: str
    host: str = ""


@dataclass(frozen=True, slots=True)
class Decision(Notice):
    """What a job has decided, and carries out only once this is in the store and on the disk."""

    number: int = 0
    """By which the job knows it."""


@dataclass(frozen=True, slots=True)
class Paced(Notice):
    """The user has set how fast the run goes on."""

    pacing: Pacing = NO_PACING
    """What holds from now on."""


@dataclass(frozen=True, slots=True)
class RunEnded:
    """The last event of a run; `counts` has every verdict's number, zeros included."""

    run: str
    counts: Mapping[Verdict, int] = field(default_factory=dict)
    wall_s: float = 0.0
    interrupted: bool = False
    """By Ctrl-C, SIGTERM or SIGHUP."""


@dataclass(frozen=True, slots=True)
class RunGoesOn:
    """Every few seconds: the root lives. The store notes when it was heard last; nobody is shown it."""

    interrupted: bool = False
    """By Ctrl-C, SIGTERM or SIGHUP; the first one after that comes at once."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The run waits for the user's word: `text` is a question of yes or no, the `number`th of the run."""

    text: str
    number: int = 0


@dataclass(frozen=True, slots=True)
class SecretAsked:
    """sudo on `host` wants a password to run the command as `user`: the run waits for the user to type it."""

    host: str
    user: str


@dataclass(frozen=True, slots=True)
class HostCopy:
    """How far the copy to one host is: bytes, bytes a second, and seconds (None: that can't be said)."""

    host: str
    got: int
    whole: int
    rate: float
    eta_s: float | None
    over: bool = False
    """It gets nothing more."""


@dataclass(frozen=True, slots=True)
class CopyProgress:
    """How far a run that copies is, a few times a second; the store doesn't keep it.

    `hosts` is how many get something, `complete` how many of them get nothing more. `got` and `whole` are
    bytes of all of them, and `part` (0 to 1) never becomes less; `rate` is in bytes a second.
    """

    hosts: int
    complete: int
    got: int
    whole: int
    part: float
    rate: float
    eta_s: float | None
    """None where that can't be said."""
    behind: tuple[HostCopy, ...] = ()
    """Those under way that are furthest behind, the last one first."""
    each: tuple[HostCopy, ...] = ()
    """Those that were in here never, or that got on, came to a standstill or are over since they were."""


class Stall(StrEnum):
    """Why a host of a swarm gets nothing, though it lacks something."""

    STARTING = "starting"  # its peer doesn't listen yet
    ALONE = "alone"
    NOTHING_NEW = "nothing-new"
    CHOKED = "choked"
    WAITING = "waiting"
    SILENT = "silent"


STALLS = {
    Stall.STARTING: "its peer doesn't run yet",
    Stall.ALONE: "connected to nobody",
    Stall.NOTHING_NEW: "nobody that it is connected to has what it lacks",
    Stall.CHOKED: "those that have what it lacks serve others",
    Stall.WAITING: "it asked, and nothing comes",
    Stall.SILENT: "nothing is heard of its peer",
}
"""In words."""


class SwarmState(StrEnum):
    """Where a host stands in a swarm."""

    STARTING = "starting"  # its peer is to be started, or doesn't listen yet
    GETTING = "getting"
    PLACING = "placing"  # all has come, and is being put in its place
    COMPLETE = "complete"  # it has all, and serves others
    LEFT_OUT = "left-out"  # it gets nothing more here: it is served otherwise, or is out of reach
    ENDED = "ended"  # it had all, and takes part no more


@dataclass(frozen=True, slots=True)
class SwarmHost:
    """One host of a swarm: bytes of files, and bytes a second."""

    host: str
    state: SwarmState
    got: int
    """Of what it is to have,"""
    whole: int
    """which is so much; 0: that isn't known yet."""
    down: int = 0
    up: int = 0
    peers: int = 0
    """Connections."""
    by_seed: int = 0
    """Of what came: from the seed,"""
    by_rack: int = 0
    """from hosts of its own rack (switch, or smallest group),"""
    by_others: int = 0
    """and from all others."""
    stall: Stall | None = None
    """It gets nothing, and why;"""
    still_s: float = 0.0
    """for so long."""
    reason: str = ""
    """Why it is left out."""
    banned_by: int = 0
    """It sent damaged pieces, and so many others have nothing more to do with it."""


@dataclass(frozen=True, slots=True)
class SwarmLimits:
    """What the seed and each host of a swarm send at most, bytes a second; 0: as much as they can."""

    seed: int = 0
    host: int = 0
    rack: int = 0
    """What comes to each rack over its uplink at most,"""
    racks: int = 0
    """of which there are so many; 0: nobody said which there are."""
    peers: int = 0
    """The seed and hosts that run,"""
    keeping: int = 0
    """and how many of them have said that they keep to all that."""


@dataclass(frozen=True, slots=True)
class SwarmProgress:
    """Where a swarm stands, every few seconds (the more hosts, the fewer); the store doesn't keep it."""

    hosts: tuple[SwarmHost, ...]
    """Those that differed from the source when it began."""
    seeding: bool
    """Does the root's seed run?"""
    seed_sent: int
    seed_up: int
    seed_peers: int
    sent: int
    """Bytes, by the seed and all hosts."""
    serving_on: bool = False
    """All have all, or are out, and it goes on until it is stopped."""
    limits: SwarmLimits = SwarmLimits()


Event = (
    RunStarted
    | HostUp
    | HostStarted
    | HostOutput
    | HostResult
    | CopyProgress
    | SwarmProgress
    | Notice
    | Asked
    | SecretAsked
    | RunGoesOn
    | RunEnded
)
