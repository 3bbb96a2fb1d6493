"""What a run does that brings nothing, and says or changes which releases hosts have. Pure.

Every host is asked first what it has; where something is to be changed, it is
had for this run then. What follows waits for all hosts that can be reached.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from nile.agent.worker.naming import AS_IS, END_IT
from nile.cascade import Publish
from nile.cascade.tree import Tree as Hosts
from nile.cascade.verdicts import Judgement
from nile.cascade.work import Judge
from nile.events import Code, HostOutput, Notice, Verdict
from nile.options import RateLimits
from nile.sync.asking import Asking, Errands
from nile.sync.flipping import STORE, Flipping, Order
from nile.sync.judging import broke_rules, told
from nile.sync.options import Quorum
from nile.sync.roster import Roster
from nile.sync.shelf import Flip, Shelf, interrupted_runs
from nile.sync.silence import Silence
from nile.sync.targets import SPEAKING, Step, Target, words
from nile.sync.wording import settling_decided, some_hosts, stays_current, taken_back_too

RUN_SHOWN = 8  # of a run's id: enough to find it again
OTHERS = "wait until it has ended, or stop it; or leave those hosts out, and end it there later"
_RUN = re.compile(r"[a-z0-9]{4,100}")


class Deed(StrEnum):
    """What is to be done."""

    LIST = "list"
    PRUNE = "prune"
    FLIP = "flip"
    """Make a release current that is there, in most cases the one before."""
    FINISH = "finish"
    """Go through with a flip that was interrupted, on all hosts that speak of it."""
    UNDO = "undo"
    """Take it back, on all hosts of its run, those that say it is over too."""
    LEAVE = "leave"
    """Have it over with what is current now, on hosts where that is neither what it leads from nor to."""


@dataclass(frozen=True, slots=True)
class ReleasesOptions:
    """What to do about the releases in `dest`, an absolute path on the hosts."""

    dest: bytes
    deed: Deed = Deed.LIST
    to: str = ""
    """Which release is to be current; "": the one before, which is the same for all hosts."""
    quorum: Quorum | None = None
    """None: all hosts that answer have to be ready."""
    keep: int | None = None
    """How many releases stay, beside those that are needed; None: all."""


class Releases:
    """The job of such a run (see nile.cascade.work.Job)."""

    def __init__(self, options: ReleasesOptions, run: str, hosts: Hosts) -> None:
        self._options = options
        self._run = run
        self._targets = Roster(hosts)
        self._asking = Asking()
        order = Order(run, options.dest, options.to, quorum=options.quorum, keep=options.keep)
        self._silence = Silence(hosts, self._asking, "the file system")
        self._flipping = Flipping(order, self._targets, self._asking, self._fail, self._done, hosts.attached)
        self._shelves: dict[int, Shelf] = {}
        self._refused = 0
        self._busy: list[str] = []
        """Names of hosts that another run has."""
        self._begun = self._interrupted = False
        self._concerned: dict[int, Flip] = {}
        """Those that are to be ended, by host."""
        self._settling: set[int] = set()
        """Those that were told to end a flip, and haven't said that they have."""

    # What happens.

    def begin(self, t: float) -> Errands:
        """Nothing is to be done at the root."""
        yield from ()

    def started(self, node_id: int, t: float) -> Errands:
        """A host's worker runs."""
        target = self._targets[node_id]
        if target.step is Step.ABSENT:
            target.step = Step.OPENING
            target.heard_s = t
            fields = {"dest": self._options.dest, "hold": self._options.deed is not Deed.LIST}
            yield self._asking.ask(node_id, "look", fields, self._looked)

    def heard(self, node_id: int, message: dict[str, Any], t: float) -> Errands:
        """An answer."""
        target = self._targets.get(node_id)
        if target is not None:
            if target.step is Step.OVER:
                return
            target.heard_s = t
        yield from self._asking.heard(node_id, message, t)
        yield from self._go_on(t)

    def lied(self, node_id: int, reason: str, t: float) -> Errands:
        """A worker that breaks the rules is of no use; that of the root isn't used."""
        if node_id in self._targets:
            yield from self._fail(self._targets[node_id], broke_rules(reason))

    def over(self, node_id: int, t: float) -> Errands:
        """It has its verdict."""
        if node_id in self._targets:
            self._targets[node_id].step = Step.OVER
            yield from self._go_on(t)
            if self._targets.count(Step.OVER) == len(self._targets):
                yield from self._flipping.end()
                yield from self._end()

    def root_lost(self, reason: str, t: float) -> Errands:
        """Its worker isn't used."""
        yield from ()

    def answered(self, yes: bool, t: float) -> Errands:
        """Nothing is asked."""
        yield from ()

    def concluded(self, t: float) -> Errands:
        """It has an end of its own."""
        return iter(())

    def limited(self, limits: RateLimits, t: float) -> Errands:
        """It has no swarm."""
        return iter(())

    def interrupted(self, t: float) -> Errands:
        """Workers end by themselves; nothing is begun any more."""
        self._begun = self._interrupted = True
        self._flipping.interrupt()
        yield from ()

    def tick(self, t: float) -> Errands:
        """One may hang."""
        for target in self._targets.values():
            if target.step in SPEAKING and (judgement := self._silence.judge(target, t)):
                yield from self._fail(target, judgement)
        yield from self._flipping.look_after(t)
        yield from self._go_on(t)

    def missed(self, seconds: float) -> None:
        """The root was kept from its work."""
        self._flipping.missed(seconds)

    # What follows.

    def _looked(self, message: dict[str, Any], t: float) -> Errands:
        target = self._targets[message["from"]]
        if message.get("code"):
            self._refused += 1
            if message["code"] == Code.BUSY:
                self._busy.append(target.name)
            yield from self._fail(target, told(message))
            return
        shelf = self._shelves[target.id] = Shelf.of(message)
        if self._options.deed is Deed.LIST:
            yield from self._list(target, shelf)
        else:
            target.step = Step.READY

    def _list(self, target: Target, shelf: Shelf) -> Errands:
        yield Publish(HostOutput(target.name, "stdout", 0, shelf.lines()), target.id)
        if shelf.interrupted:
            yield from self._fail(target, _unfinished(shelf, shelf.interrupted))
        else:
            yield self._ok(target)

    def _go_on(self, t: float) -> Errands:
        if self._begun:
            yield from self._flipping.go_on(t)
        elif self._targets.count(Step.READY, Step.OVER) == len(self._targets):
            self._begun = True
            ready = self._targets.at(Step.READY)
            if self._options.deed is Deed.FLIP:
                yield from self._flip(ready, t)
            elif self._options.deed is Deed.PRUNE:
                for target in ready:
                    yield self._last(target, "prune", {"keep": self._options.keep}, t)
            elif ready:
                yield from self._settle(ready, t)

    def _flip(self, ready: list[Target], t: float) -> Errands:
        """To the same release on all hosts: where none is named, that is said once, here."""
        shelves = [self._shelves[target.id] for target in ready]
        goals = {shelf.goal for shelf in shelves} - {""}
        if self._options.to:
            goals = {self._options.to}
        elif len(goals) > 1:
            reason = f"these hosts would go back to different releases: {', '.join(sorted(goals))}"
            for target in ready:
                remedy = "name the one that is meant by --to"
                yield from self._fail(target, Judgement(Verdict.FAILED, Code.RELEASE, reason, remedy))
            return
        else:
            self._flipping.aim_back("".join(goals))
            if shelves and all(shelf.went_back and shelf.flipped for shelf in shelves):
                text = f"these hosts went back to {''.join(goals)} before; --to makes another one current"
                yield Publish(Notice(text))
        yield from self._flipping.begin(ready, t, self._refused)
        yield from self._flipping.go_on(t)

    def _settle(self, ready: list[Target], t: float) -> Errands:
        """End what was interrupted: each host its own flip, of those that runs with such hosts have made."""
        deed = self._options.deed
        shelves = {target.id: self._shelves[target.id] for target in ready}
        runs = interrupted_runs(shelves.values())
        if not runs:
            yield Publish(Notice("no flip was interrupted on any of these hosts that can be reached"))
        for target in ready:
            shelf, flip = shelves[target.id], shelves[target.id].flip
            if deed is Deed.LEAVE and shelf.interrupted and not shelf.crossed:  # it would be frozen half-way
                yield from self._fail(target, _unfinished(shelf, shelf.interrupted))
            elif flip is not None and not runs.isdisjoint(flip.runs) and (deed is Deed.UNDO or not flip.done):
                self._concerned[target.id] = flip
            else:
                yield from self._done(target, None)
        if self._concerned and self._busy:  # two that end it at one time could end it two ways
            yield from self._leave_to_others()
        elif self._concerned:
            yield from self._tell_of(shelves)
            names = [self._targets[each].name for each in self._concerned]
            text = settling_decided(deed.value, self._options.dest, names)
            yield self._asking.decide(text, self._decided)

    def _leave_to_others(self) -> Errands:
        reason = f"nothing was ended, since another run is at {some_hosts(self._busy)}"
        for node_id in self._concerned:
            judgement = Judgement(Verdict.FAILED, Code.BUSY, reason, OTHERS)
            yield from self._fail(self._targets[node_id], judgement)

    def _tell_of(self, shelves: Mapping[int, Shelf]) -> Errands:
        """Where a flip is taken back that was over, and where the same release stays, by one of its own."""
        if self._options.deed is not Deed.UNDO:
            return
        others = {each: shelf.flip for each, shelf in shelves.items() if each not in self._concerned}
        for to in sorted({flip.to for flip in self._concerned.values()}):
            over = [each for each, flip in self._concerned.items() if flip.to == to and flip.done]
            stays = [each for each, flip in others.items() if flip and flip.to == to == shelves[each].current]
            for ids, text in ((over, taken_back_too), (stays, stays_current)):
                if ids:
                    yield Publish(Notice(text(to, [self._targets[each].name for each in ids])))

    def _decided(self, message: dict[str, Any], t: float) -> Errands:
        """Which flips are to be ended is in the store; or can't be."""
        for node_id, flip in self._concerned.items():
            target = self._targets[node_id]
            if target.step is Step.READY and message.get("code"):
                reason, remedy = words(message["reason"]), words(message.get("remedy", "")) or STORE
                yield from self._fail(target, Judgement(Verdict.FAILED, Code.QUORUM, reason, remedy))
            elif target.step is Step.READY and not self._interrupted:
                self._settling.add(target.id)
                yield self._last(target, "settle", {"how": self._options.deed.value, "run": flip.run}, t)

    def _end(self) -> Errands:
        """Nothing more is heard of any host."""
        names = [self._targets[each].name for each in self._settling]
        if names:
            where = os.fsdecode(self._options.dest)
            text = f"it isn't known whether the flip is ended on {some_hosts(names)}"
            yield Publish(Notice(f"{text}: `nile releases {where}` says"))

    def _last(self, target: Target, do: str, fields: dict[str, Any], t: float) -> Any:
        target.step = Step.CLOSING
        target.heard_s = t
        return self._asking.ask(target.id, do, fields, self._did)

    def _did(self, message: dict[str, Any], t: float) -> Errands:
        target = self._targets[message["from"]]
        self._settling.discard(target.id)
        if message.get("code"):
            yield from self._fail(target, told(message))
        else:
            yield from self._done(target, message)

    def _done(self, target: Target, message: Mapping[str, Any] | None) -> Errands:
        """Say what it has now."""
        shelf = self._shelves[target.id] if message is None else Shelf.of(message)
        lines = shelf.lines() if self._options.deed is Deed.PRUNE else shelf.standing()
        yield Publish(HostOutput(target.name, "stdout", 0, lines), target.id)
        yield self._ok(target)

    def _ok(self, target: Target) -> Judge:
        target.step = Step.OVER
        return Judge(target.id, Judgement(Verdict.OK))

    def _fail(self, target: Target, judgement: Judgement) -> Errands:
        """Its worker is ended by its agent."""
        target.step = Step.OVER
        yield Judge(target.id, judgement)


def _unfinished(shelf: Shelf, flip: Flip) -> Judgement:
    """That of a host whose flip was interrupted: how it stands, and what ends it."""
    reason = f"a flip {flip.words} was interrupted, and {shelf.fate}"
    remedy = AS_IS if shelf.crossed else END_IT
    if _RUN.fullmatch(flip.run):
        remedy += f"; `nile show {flip.run[:RUN_SHOWN]}` at its root says what was decided"
    return Judgement(Verdict.FAILED, Code.RELEASE, reason, remedy)
