"""Who may start while not everybody may: canaries first, then waves, and nobody once too many failed. Pure.

A gate before the slots for starts (`nile.cascade.slots`). Canaries are a fixed
choice (`canaries`), so that a user can name them. A wave isn't: it takes the next
hosts whose turn it is, as slots do, and nobody waits for one that can't be reached.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum

from nile.cascade.actions import Action, Publish
from nile.cascade.hosts import Host
from nile.cascade.pace import Pace
from nile.cascade.slots import Gate
from nile.cascade.tree import Tree
from nile.events import Asked, Notice, Verdict
from nile.options import ExecOptions
from nile.topology.model import Plan

AHEAD = 1 << 32
"""A canary has its turn before all others."""
MOST_REASONS = 5
"""Reasons why canaries aren't ok that a question names."""


class Phase(Enum):
    """How far a run with canaries is."""

    CANARIES = "canaries"
    ASKING = "asking"
    OPEN = "open"
    """There were none, or they did well."""


def canaries(plan: Plan, hosts: Sequence[str], options: ExecOptions) -> tuple[str, ...]:
    """The hosts that go first, of those asked for, in the order of their ranks.

    Where the command cuts hosts off, nobody who leads to others does: those have to go before it.
    """
    if options.canary is None:
        return ()
    able: Iterable[str] = hosts
    if options.disruptive:
        ways = {gate for spec in plan.specs.values() for gate in spec.via}
        ways.update(node.host for node in plan.nodes if node.children)
        able = (host for host in hosts if host not in ways)
    return tuple(able)[: options.canary]


class Caution(Gate):
    """Told who starts and who is over; `may_start` says whether one more may."""

    def __init__(
        self, options: ExecOptions, plan: Plan, hosts: Sequence[str], tree: Tree, pace: Pace
    ) -> None:
        self._options = options
        self._tree = tree
        self._pace = pace
        self._first = {host.id: host for host in _named(tree, canaries(plan, hosts, options))}
        self._phase = Phase.CANARIES if self._first else Phase.OPEN
        self._wave: set[int] = set()
        self._wave_open = 0
        """Hosts of the wave that have no verdict."""
        self._bad = 0
        self.failed = ""
        """The first host that wasn't ok, and why; "" where there is none."""
        self.ceased = ""
        """Why nobody starts any more; "" while somebody may."""
        for host in self._first.values():
            host.turn -= AHEAD
            host.kept_free = options.disruptive

    @property
    def asking(self) -> bool:
        """Does it wait for the user's word?"""
        return self._phase is Phase.ASKING and not self.ceased

    # The gate.

    def may_start(self, host: Host) -> bool:
        """May this host, whose turn it is, start now?"""
        if self._pace.paused or self.ceased or self._phase is Phase.ASKING:
            return False
        if self._phase is Phase.CANARIES:
            return host.id in self._first
        batch = self._options.batch
        if batch is not None and len(self._wave) >= batch and not self._wave_open:
            self._wave.clear()
        return batch is None or len(self._wave) < batch

    def took(self, host: Host) -> None:
        """It got a slot, or has one of a former root's."""
        if host.id not in self._first and host.id not in self._wave:
            self._wave.add(host.id)
            self._wave_open += not host.over

    def gave_back(self, host: Host) -> None:
        """It needs its slot no more: it is over, or didn't start."""
        if host.id in self._wave and not host.over:
            self._wave.discard(host.id)
            self._wave_open -= 1

    # What happens.

    def inherit(self) -> list[Action]:
        """What a former root's record says. Where others have started, the canaries were well enough."""
        hosts = self._tree.hosts.values()
        if any(host.started and host.id not in self._first for host in hosts):
            self._phase = Phase.OPEN
        return self._judged([host for host in hosts if host.verdict is not None])

    def judged(self, hosts: Sequence[Host]) -> list[Action]:
        """These have their verdicts."""
        self._wave_open -= sum(host.id in self._wave for host in hosts)
        return self._judged(hosts)

    def answered(self, yes: bool) -> list[Action]:
        """The user's word on the canaries."""
        if not self.asking:
            return []
        self._phase = Phase.OPEN
        return [] if yes else self._cease("the user didn't want it to go on after its canaries")

    def _judged(self, hosts: Iterable[Host]) -> list[Action]:
        for host in hosts:
            host.kept_free = False
            self._bad += _bad(host)
            self.failed = self.failed or (f"{host.name} {_fate(host)}" if _bad(host) else "")
        if self.ceased:
            return []
        most = self._options.max_failures
        if most is not None and self._bad > most:
            failed = "1 host isn't" if self._bad == 1 else f"{self._bad} hosts aren't"
            return self._cease(f"{failed} ok, and no more than {most} may fail")
        if self._phase is Phase.CANARIES and all(host.over for host in self._first.values()):
            return self._after_canaries()
        return []

    def _after_canaries(self) -> list[Action]:
        left = sum(not host.over for host in self._tree.hosts.values())
        if not left:
            return []
        bad = [host for host in self._first.values() if host.verdict is not Verdict.OK]
        others = "the other host" if left == 1 else f"the other {left} hosts"
        if not self._options.yes:
            self._phase = Phase.ASKING
            return [Publish(Asked(f"{self._fared(bad)}. {others.capitalize()} wait", 1))]
        if bad:
            return self._cease(self._fared(bad))
        self._phase = Phase.OPEN
        return [Publish(Notice(f"{self._fared(bad)}: on with {others}"))]

    def _fared(self, bad: Sequence[Host]) -> str:
        """`canaries n[1-3] (3): 2 ok, n3 failed (exit status 1)`."""
        whole = f"canaries {_names(self._first.values())}"
        if not bad:
            return f"{whole} are ok"
        by_reason: dict[str, list[Host]] = {}
        for host in bad:
            by_reason.setdefault(_fate(host), []).append(host)
        said = [f"{_names(hosts)} {reason}" for reason, hosts in by_reason.items()]
        more = [f"{len(said) - MOST_REASONS} more reasons"] if len(said) > MOST_REASONS else []
        return f"{whole}: " + ", ".join([f"{len(self._first) - len(bad)} ok", *said[:MOST_REASONS], *more])

    def _cease(self, why: str) -> list[Action]:
        self.ceased = why
        return [Publish(Notice(f"no further starts: {why}"))]


def _bad(host: Host) -> bool:
    return host.verdict not in (Verdict.OK, Verdict.CANCELLED)


def _fate(host: Host) -> str:
    """`failed (exit status 1)`."""
    return f"{host.verdict} ({host.why})" if host.why else str(host.verdict)


def _named(tree: Tree, names: Iterable[str]) -> list[Host]:
    by_name = {host.name: host for host in tree.hosts.values()}
    return [by_name[name] for name in names]


def _names(hosts: Iterable[Host]) -> str:
    from nile.topology.hostsets import fold  # brings ClusterShell

    names = [host.name for host in hosts]
    return f"{fold(names)} ({len(names)})"
