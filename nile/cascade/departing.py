"""Commands that cut the tree, as a reboot does: who starts when, and what it says when a link is lost then.

Starts go bottom-up: a host is told to start once everything that hangs below it
now has its verdict in the store, whatever healed meanwhile, and a gateway once
nobody needs it any more. From then on nobody is hung below it (see
`nile.cascade.placing`). So what its command cuts off is that host alone.

A link that is lost after the command began is how it is to be: ok. Where hosts
have to come back, they are logged in to again and again until one has been up
for a shorter time than since its start: then it was booted anew.
"""

from __future__ import annotations

import math

from nile.cascade.healing import BY_CHANCE
from nile.cascade.hosts import Host
from nile.cascade.slots import OPEN, Gate, Slots
from nile.cascade.tree import Tree
from nile.cascade.verdicts import Judgement, judge_lost, judge_outcome, whole
from nile.events import Code, Verdict
from nile.options import ExecOptions
from nile.topology.model import ROOT_ID, Plan

SHUTDOWN = (1, 9, 15)
"""SIGHUP, SIGKILL and SIGTERM: what a host that goes down sends its processes."""
SHELL_SIGNAL = 128
"""A shell whose command was killed by signal N ends with the status 128 + N."""

AWAKE_S = 3.0
"""What ended while the root slept is heard of within so long."""


class Departures(Slots):
    """Slots for starts, at most `limit` at one time, that only those get whom nobody needs as a way."""

    def __init__(self, limit: int | None, plan: Plan, tree: Tree, gate: Gate = OPEN) -> None:
        super().__init__(len(tree.hosts) + 1 if limit is None else limit, gate)
        self._tree = tree
        self._depths = _depths(plan)
        self._held: dict[int, list[tuple[int, Host]]] = {}
        """By the id of a host that isn't through: who waits for it, among others perhaps; with their keys."""
        self._seen = tree.changes

    def offer(self, key: int, host: Host) -> None:
        """This host would like a slot."""
        if host.id in self._hosts:
            return  # it asked before
        waits_for = self._waits_for(host)
        if waits_for is None:
            super().offer(key, host)
        else:
            self._held.setdefault(waits_for, []).append((key, host))

    def give_back(self, host: Host) -> None:
        """This host needs its slot no more, or wants none; perhaps it was waited for."""
        super().give_back(host)
        self._look_again(host.id)

    def occupy(self, host: Host) -> None:
        """This host has a slot already: a former root may have told it to start."""
        super().occupy(host)
        host.leaving = host.started
        host.start_s = host.t_ready_s if host.started else None

    def grant(self) -> list[Host]:
        """The hosts that get a slot now."""
        if self._seen != self._tree.changes:
            self._seen = self._tree.changes
            for node in list(self._held):
                self._look_again(node)
        granted: list[Host] = []
        while chosen := super().grant():
            granted += filter(self._may_go, chosen)
        return granted

    def _may_go(self, host: Host) -> bool:
        """One that got a slot may have got a host below it since it was offered."""
        waits_for = self._waits_for(host)
        if waits_for is None and self._tree.attached(host.id) and not host.answer_due:
            return True
        super().give_back(host)
        if waits_for is not None:
            self._held.setdefault(waits_for, []).append((host.turn, host))
        return False  # one that is out of contact is offered again when it says where it stands

    def _look_again(self, node: int) -> None:
        for key, host in self._held.pop(node, ()):
            if not (host.ended or host.over):
                self.offer(key, host)

    def _waits_for(self, host: Host) -> int | None:
        """A host that isn't through and has its way by this one; `ROOT_ID` for those behind a gateway."""
        for each in self._tree.below(host):
            if each is not host and not (each.over and each.committed):
                return each.id
        return ROOT_ID if self._tree.behind[host.id] > 0 and self._stands_first(host) else None

    def _stands_first(self, gateway: Host) -> bool:
        """Does it wait for those behind it, who hang below another gateway?

        Not where it was hung below one that is deeper in a site, and that waits for it in
        turn: of two gateways each could wait for a host below which the other one hangs.
        """
        node = gateway.parent
        while node != ROOT_ID:
            above = self._tree[node]
            if not above.over and self._depths[above.name] > self._depths[gateway.name]:
                return False
            node = above.parent
        return True


def start_slots(options: ExecOptions, plan: Plan, tree: Tree, gate: Gate) -> Slots:
    """Slots for the starts of a run's command, of those hosts that wait to be told."""
    if options.disruptive:
        return Departures(options.fanout, plan, tree, gate)
    return Slots(options.fanout or len(tree.hosts) + 1, gate)


class Wakes:
    """When the root was kept from its work: agents hang up on one that says nothing; they didn't go away."""

    def __init__(self, silence_s: float) -> None:
        self._silence_s = silence_s
        self._ticked_s = 0.0
        self._woke_s = -math.inf

    def since(self, t: float) -> None:
        """This root goes on from here."""
        self._ticked_s = t

    def tick(self, t: float) -> None:
        """It is awake; tell it once a second."""
        if t - self._ticked_s > self._silence_s:
            self._woke_s = t
        self._ticked_s = t

    def lately(self, t: float) -> bool:
        """May a link that ends now have done so because the root was silent?"""
        return t - self._ticked_s > self._silence_s or t - self._woke_s < AWAKE_S


def _depths(plan: Plan) -> dict[str, int]:
    """By host: how many gateways one has to pass on the longest way to it."""
    depths: dict[str, int] = {}

    def depth(name: str) -> int:
        if name not in depths:
            depths[name] = max((1 + depth(gate) for gate in plan.specs[name].via), default=0)
        return depths[name]

    for node in (*plan.nodes, *plan.spares):
        depth(node.host)
    return depths


def may_be_going_down(judgement: Judgement) -> bool:
    """Does a command end like this whose host then goes down? It may be the shutdown that killed it."""
    killed = judgement.code is Code.SIGNAL and judgement.signal in SHUTDOWN
    killed = killed or (judgement.code is Code.EXIT and (judgement.rc or 0) - SHELL_SIGNAL in SHUTDOWN)
    return killed or judgement.verdict is Verdict.OK


def judge_away(host: Host, options: ExecOptions, code: Code, reason: str) -> Judgement | None:
    """The verdict on a host that was told to start and of which no more will be heard; None: as in any run.

    Of a command that isn't known to have begun nothing is assumed. `code` and
    `reason` say how the link was lost, or why no login succeeded.
    """
    if not host.leaving:
        return None
    if host.outcome is not None and (
        host.absence is None or not may_be_going_down(judge_outcome(host.outcome, options.leftover))
    ):
        return None
    unseen = code in (Code.CANCELLED, Code.PARENT) or (host.silent and code in BY_CHANCE)
    if host.absence is None and unseen:
        return None  # neither what befell those above it nor silence says anything of it
    if code is Code.CANCELLED:
        return Judgement(Verdict.CANCELLED, code, "cancelled while it was waited for", rc=_rc(host))
    if not host.started:
        return None
    if host.absence is None:
        return Judgement(Verdict.OK, Code.GONE_AWAY, f"it went away after its command had begun: {reason}")
    said = f"it did not come back within {options.wait_back_s:g} s: {reason}"
    return Judgement(Verdict.TIMEOUT, Code.NOT_BACK, said, "look at its console", rc=_rc(host))


def judge_absent(host: Host, options: ExecOptions, t: float) -> Judgement | None:
    """The verdict on a host that is waited for and is in contact; None while there is time."""
    if host.absence is None or t < host.absence.until_s:
        return None
    said = f"it was not booted anew within {options.wait_back_s:g} s"
    known = judge_outcome(host.outcome, options.leftover) if host.outcome is not None else None
    if known is not None and known.verdict is not Verdict.OK:  # the shutdown was none, or it hangs
        said = f"{known.reason}, and {said}"
    if not host.started:
        return judge_lost(Code.NOT_REBOOTED, f"{said}, and nobody heard that its command began")
    remedy = "where the command only cuts links, leave --wait-back out"
    return Judgement(Verdict.FAILED, Code.NOT_REBOOTED, said, remedy, rc=_rc(host))


def judge_back(host: Host, t: float) -> Judgement:
    """The verdict on a host that was booted anew after its command had begun."""
    if host.absence is None:
        return Judgement(Verdict.OK, Code.GONE_AWAY, "it was booted anew after its command had begun")
    away_s = t - (host.absence.since_s if host.absence.gone_s is None else host.absence.gone_s)
    return Judgement(Verdict.OK, Code.REBOOTED, f"booted anew, back after {away_s:.0f} s", rc=_rc(host))


def _rc(host: Host) -> int | None:
    """What the command ended with, as far as was heard."""
    return whole((host.outcome or {}).get("rc"))
