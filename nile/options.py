"""Frozen option values, one class a concern; units stand in the names."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any

LONGEST_LINE = 128 * 1024
"""Bytes, its end included, that Linux takes as one word of a program (execve(2), MAX_ARG_STRLEN)."""
NO_OPTIONS: Mapping[str, str] = MappingProxyType({})
NO_LIMITS: Mapping[str, int] = MappingProxyType({})


class SshClient(StrEnum):
    """The client with which the root itself logs in (relays always use `ssh`)."""

    ASYNCSSH = "asyncssh"
    OPENSSH = "openssh"


class Kex(StrEnum):
    """Key exchange: `fast` takes sntrup761 out of the list in force, `system` leaves it alone."""

    FAST = "fast"
    SYSTEM = "system"


class Signing(StrEnum):
    """What the root does for a relay whose ssh can't bind a signature to a host key.

    `auto` signs for the planned user, as often as logins were planned; `strict`
    refuses, also where it is the host's sshd that can't; `through-root` has the
    root log in itself, end to end, while the relay only carries bytes.
    """

    AUTO = "auto"
    STRICT = "strict"
    THROUGH_ROOT = "through-root"


class Leftover(StrEnum):
    """What becomes of processes that a *successful* command leaves behind."""

    KEEP = "keep"
    KILL = "kill"
    FAIL = "fail"
    DETACH = "detach"
    """They were started to stay: nobody names them."""


class Sandbox(StrEnum):
    """What a command is held in, beside what every one is (see nile.agent.sandbox)."""

    PIDNS = "pidns"
    """A PID namespace of its own: whatever it started ends with it."""
    STRICT = "strict"
    """It writes to its scratch alone, and gains no rights."""


@dataclass(frozen=True, slots=True)
class SshOptions:
    """SSH settings of one host; `None` (or an empty mapping) leaves a setting to the next source.

    `options` maps ssh_config(5) keywords, in their canonical spelling, to values.
    """

    user: str | None = None
    port: int | None = None
    identity: tuple[str, ...] | None = None
    client: SshClient | None = None
    kex: Kex | None = None
    signing: Signing | None = None
    delegate: bool | None = None
    """Whether the host is given the user's Kerberos ticket."""
    options: Mapping[str, str] = field(default_factory=lambda: NO_OPTIONS)

    def over(self, base: SshOptions) -> SshOptions:
        """These settings where they say something, those of `base` elsewhere."""
        said = {
            f.name: getattr(self, f.name)
            for f in fields(self)
            if f.name != "options" and getattr(self, f.name) is not None
        }
        merged = MappingProxyType({**base.options, **self.options})
        return replace(base, **said, options=merged)


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on the tree and on how fast it grows; `None` means unbounded."""

    branches: int = 25
    """Children of one node."""
    parallel: int = 16
    """Logins that one node runs at a time."""
    logins: int | None = None
    """Logins under way at one time over the whole tree."""
    stages: int = 3
    """Depth of the tree."""


MOST_RATE = (1 << 21) - 1
"""KiB a second: libtorrent has 31 bits for bytes."""


@dataclass(frozen=True, slots=True)
class RateLimits:
    """What the seed and each host of a swarm send at most, and what a rack takes over its uplink.

    0: as much as they can; None: as before, and of the seed, if nobody ever said, as the hosts.
    """

    seed_kib_s: int | None = None
    host_kib_s: int | None = None
    rack_kib_s: int | None = None


@dataclass(frozen=True, slots=True)
class Pacing:
    """How fast a run goes on; of a change to it, None: that stays as it is."""

    parallel: int | None = None
    """Logins that one node runs at a time."""
    fanout: int | None = None
    """Hosts on which the command runs at one time."""
    paused: bool | None = None
    """No further login begins, and no command."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Times in seconds; `None` means unlimited."""

    connect_s: float = 10.0
    """One whole login, from the start of the client to the agent's hello."""
    lease_s: float = 30.0
    """How long an agent lives on without a heartbeat of the root."""
    command_s: float | None = None
    """How long a command may run."""
    silence_s: float = 2.8
    """A link from which nothing comes for so long is taken for lost; a ping goes out every second."""


class OnOrphan(StrEnum):
    """What an agent does that lost its parent.

    `adopt` keeps the command for the lease and waits for another parent, `kill`
    ends it at once, `finish` lets it run to its end however long that takes.
    """

    ADOPT = "adopt"
    KILL = "kill"
    FINISH = "finish"


@dataclass(frozen=True, slots=True)
class Script:
    """What is run in place of a line: a file from the root, with arguments that no shell reads."""

    name: str
    """The last part of its path, or `-` where it was read from standard input."""
    text: bytes
    args: tuple[str, ...] = ()
    sha256: str = ""
    size: int = 0

    @classmethod
    def of(cls, name: str, text: bytes, args: Sequence[str] = ()) -> Script:
        """With its hash and size, by which it is known where it isn't at hand."""
        return cls(name, text, tuple(args), hashlib.sha256(text).hexdigest(), len(text))

    @property
    def called(self) -> str:
        """What people know it by, with its arguments."""
        return shlex.join((self.name, *self.args))

    def told(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"name": self.name, "size": self.size, "sha256": self.sha256, "args": list(self.args)}


LEAST_SCRATCH, DEFAULT_SCRATCH, MOST_SCRATCH = 64 << 10, 1 << 30, (1 << 62) - 1
"""What a command's scratch may take, in bytes."""
NO_SCRIPTS: Mapping[str, Script] = MappingProxyType({})
Task = str | Script
"""What a host runs: a line for its login shell, or a script."""


def _distinct(scripts: Iterable[Script]) -> tuple[Script, ...]:
    return tuple({(each.sha256, each.name, each.args): each for each in scripts}.values())


@dataclass(frozen=True, slots=True)
class Outfit:
    """What a command is given beside its line."""

    env: Mapping[str, str] = field(default_factory=lambda: NO_OPTIONS)
    """Variables over those of the login. Their values are nobody else's business: no store has them."""
    clean_env: bool = False
    """Of the login's variables only those that every login has."""
    cwd: str | None = None
    """Where it begins; a relative path is one from the login's directory."""
    rlimits: Mapping[str, int] = field(default_factory=lambda: NO_LIMITS)
    """Of each of its processes: `cpu` in seconds, `mem` (address space) in bytes, `nofile` open files."""
    subst: bool = False
    """%h and the like in the line, or in a script's arguments, stand for the host (see nile.agent.outfit)."""
    script: Script | None = None
    """What is run in place of the line."""
    sandbox: Sandbox | None = None
    sudo: str | None = None
    """As whom it runs, by sudo, if not as who logs in."""

    def told(self) -> dict[str, Any]:
        """What of it was asked for, as JSON has it (docs/reference/json.md): of variables only the names."""
        said = {
            "env": list(self.env),
            "clean_env": self.clean_env,
            "cwd": self.cwd,
            "rlimits": dict(self.rlimits),
            "subst": self.subst,
            "script": self.script and self.script.told(),
            "sandbox": self.sandbox and self.sandbox.value,
            "sudo": self.sudo,
        }
        return {name: value for name, value in said.items() if value}


@dataclass(frozen=True, slots=True)
class ExecOptions:
    """What to run, and how."""

    command: str
    """The line that the hosts' login shells get; of a script what it is called, for people."""
    fanout: int | None = None
    """Hosts on which the command runs at one time, over the whole run."""
    leftover: Leftover = Leftover.KEEP
    stdin: bool = False
    """Broadcast standard input to every host instead of /dev/null."""
    grace_s: float = 5.0
    """Between SIGTERM and SIGKILL."""
    on_orphan: OnOrphan = OnOrphan.ADOPT
    idempotent: bool = False
    """It may be started again where nobody knows how far it got."""
    disruptive: bool = False
    """It may cut the host off: hosts start bottom-up, and one that goes away after its start is ok."""
    wait_back_s: float | None = None
    """How long a host may take to be back, booted anew; None: nobody waits for that."""
    outfit: Outfit = field(default_factory=Outfit)
    per_host: Mapping[str, str] = field(default_factory=lambda: NO_OPTIONS)
    """The line of each asked host, where they aren't all the same: `command` is what they are called then."""
    scripts: Mapping[str, Script] = field(default_factory=lambda: NO_SCRIPTS)
    """Of these a host runs its script, and the line in `per_host` is what that is called, for people."""
    batch: int | None = None
    """Start on so many at a time, and on the next ones once all of these have their verdicts."""
    canary: int | None = None
    """Start on so many first, and go on only if the user says so once they have their verdicts."""
    yes: bool = False
    """Don't ask: go on by yourself if all canaries are ok, else don't."""
    max_failures: int | None = None
    """Where more hosts than that aren't ok, no further one starts."""
    fail_fast: bool = False
    """The first host that isn't ok ends the run."""
    scratch_bytes: int = DEFAULT_SCRATCH
    """What the command's scratch may take on each host."""

    @classmethod
    def by_host(cls, tasks: Mapping[str, Task]) -> dict[str, Any]:
        """The fields by which each of these hosts runs its own."""
        lines = {host: task.called if isinstance(task, Script) else task for host, task in tasks.items()}
        count = len(set(lines.values()))
        return {
            "command": f"{count} command{'s' * (count > 1)} (--per-host)",
            "per_host": lines,
            "scripts": {host: task for host, task in tasks.items() if isinstance(task, Script)},
        }

    @property
    def held(self) -> bool:
        """Does a host start only when the root says so? Else it does as soon as it is reached."""
        bounds = (self.fanout, self.batch, self.canary, self.max_failures)
        return self.disruptive or any(bound is not None for bound in bounds)

    def tasks(self) -> dict[Task, list[str]]:
        """The hosts that run each, where they don't all run the same."""
        found: dict[Task, list[str]] = {}
        for host, line in self.per_host.items():
            found.setdefault(self.scripts.get(host, line), []).append(host)
        return found

    @property
    def outfitted(self) -> bool:
        """Is more than a line run anywhere?"""
        return self.outfit != Outfit() or bool(self.scripts)

    def all_scripts(self) -> tuple[Script, ...]:
        """Those that hosts run, each once."""
        alone = self.outfit.script
        return _distinct([*([alone] if alone else []), *self.scripts.values()])

    def told(self) -> dict[str, Any]:
        """What the command is given beside its line, as JSON has it (docs/reference/json.md)."""
        tasks = self.tasks().items() if self.scripts else ()
        own = [task.told() | {"hosts": hosts} for task, hosts in tasks if isinstance(task, Script)]
        more = {
            "scripts": own,
            "scratch": self.scratch_bytes if self.scratch_bytes != DEFAULT_SCRATCH else None,
            "detach": self.leftover is Leftover.DETACH,
        }
        return self.outfit.told() | {name: value for name, value in more.items() if value}
