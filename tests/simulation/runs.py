"""Small clusters and commands for tests of single rules."""

from __future__ import annotations

import random
from collections.abc import Callable

from nile.events import Verdict
from nile.options import ExecOptions, Leftover
from nile.simulation.agent import SimAgent
from nile.simulation.cluster import Cluster, Setup
from nile.simulation.commands import IgnoreTerm, Leave, Script, Sleep, Write
from nile.simulation.hosts import SimHost
from nile.simulation.pipes import Wire
from nile.simulation.root import RootTimes
from nile.topology.model import Plan
from tests.simulation.checks import violations

# Two relays, each with three leaves: 1 -> 3, 5, 7; 2 -> 4, 6, 8.
TWO_RELAYS = [0, 0, 1, 2, 1, 2, 1, 2]
# A chain of relays, three deep, with two leaves at its end; and a brother of each.
CHAIN = [0, 1, 2, 3, 3, 0, 1, 2]


def sleeper(seconds: float) -> Callable[[str, random.Random], Script]:
    """A command that says its name, sleeps and says it again."""

    def script(name: str, _: random.Random) -> Script:
        yield Write("stdout", f"{name} begins\n".encode())
        yield Sleep(seconds)
        yield Write("stdout", f"{name} ends\n".encode())
        return 0

    return script


def stubborn(name: str, _: random.Random) -> Script:
    """Ignores SIGTERM, and so does what it leaves behind."""
    yield IgnoreTerm()
    yield Leave("daemon", ignores_term=True)
    yield Write("stdout", b"still here\n")
    yield Sleep(1e6)
    return 0


def chatty(name: str, _: random.Random) -> Script:
    """Prints four megabytes."""
    for serial in range(400):
        yield Write("stdout", f"{name} {serial}\n".encode().ljust(10_000, b"."))
    return 0


def quiet(name: str, _: random.Random) -> Script:
    """Ends well, at once."""
    yield Sleep(0.0)
    return 0


def cluster(
    plan: Plan,
    script: Callable[[str, random.Random], Script],
    *,
    fanout: int | None = None,
    leftover: Leftover = Leftover.KEEP,
    stdin: bytes | None = None,
    grace_s: float = 1.0,
    wire: Wire = Wire(),  # noqa: B008  (frozen)
    times: RootTimes | None = None,
    agents: dict[str, type[SimAgent]] | None = None,
) -> Cluster:
    options = ExecOptions("a command", fanout, leftover, stdin is not None, grace_s)
    return Cluster(Setup(plan, options, script, 1, wire, times or RootTimes(), stdin or b"", agents or {}))


def all_ok(run: Cluster) -> None:
    assert violations(run) == []
    assert set(run.verdicts().values()) == {Verdict.OK}


FAULTS: dict[str, Callable[[Cluster, SimHost], object]] = {
    "crash": lambda _, host: host.crash(),
    "kill": lambda _, host: host.kill_agent(),
    "freeze": lambda _, host: host.freeze(),
    "cut": lambda run, host: run.cut(host),
}
