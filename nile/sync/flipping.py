"""Hosts that change their current release together, or none of them. Pure.

    waiting --> sealing --> staging --> deciding --> flipping --> confirming --> over
                   |           |            |                                      ^
                   |           +------------+--> unstaging ------------------------+  too few are ready
                   +---------------------------------------------------------------+

Nothing follows before all hosts that are still there have done what was asked
last. A host that has staged the flip has written it down: should its root die
now, it can tell what was under way, and whether it flipped. The root has it in
its store before it tells anybody to flip. What is together is the moment at
which all are told; hosts can still be lost in it. Once the user wants the run
to end nothing follows any more, and what is said last is who has flipped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from nile.agent.worker.naming import LATEST_S
from nile.cascade import Publish
from nile.cascade.verdicts import Judgement
from nile.events import Code, Notice, Verdict
from nile.sync.asking import Asking, Errands
from nile.sync.judging import told
from nile.sync.options import Quorum
from nile.sync.roster import Roster
from nile.sync.standing import Standing
from nile.sync.targets import Step, Target, words
from nile.sync.wording import flip_decided

MOST_S = 60.0
"""For hosts to write a flip down, or to flip; less than makes a word too old (`LATEST_S`)."""

WORD_S = 30.0
"""For the word to flip, to get to the last host: with less than that left nobody is told."""

STORE = "see that the store of runs can be written, or give it another place by XDG_STATE_HOME"
LATE = "run it again; if that takes as long again, give the store of runs a faster disk by XDG_STATE_HOME"
FINISH = "mend that; then `nile releases --finish` writes it down"


class Phase(StrEnum):
    """What is being done; the values of most are what workers are asked."""

    WAITING = "waiting"
    SEALING = "seal"
    STAGING = "stage"
    UNSTAGING = "unstage"
    DECIDING = "decide"
    FLIPPING = "flip"
    CONFIRMING = "confirm"
    OVER = "over"


@dataclass(frozen=True, slots=True)
class Order:
    """A flip to release `to`; with `back`, since it was current before."""

    run: str
    dest: bytes
    to: str = ""
    back: bool = False
    quorum: Quorum | None = None
    """None: all hosts that answer have to be ready."""
    keep: int | None = None
    """How many releases stay, once that is over; None: all."""
    delivered: bool = False
    """This run has brought the release, and it has yet to be given its name."""


class Flipping:
    """`fail(target, judgement)` gives a verdict, `done(target, message)` one of `ok`.

    `attached(id)` says whether anything can come from a host.
    """

    def __init__(
        self,
        order: Order,
        targets: Roster,
        asking: Asking,
        fail: Callable[[Target, Judgement], Errands],
        done: Callable[[Target, Mapping[str, Any]], Errands],
        attached: Callable[[int], bool],
    ) -> None:
        self._order = order
        self._targets = targets
        self._asking = asking
        self._fail = fail
        self._done = done
        self._attached = attached
        self._away_s: dict[int, float] = {}
        """Until when those were out of reach that had to do something then."""
        self._phase = Phase.WAITING
        self._members: list[Target] = []
        self._refused = 0
        self._since_s = 0.0
        self._missed_s = 0.0
        """For how long the root was kept from its work since then."""
        self._unrecorded = self._remedy = ""
        """Why the store hasn't what was decided, or had it too late; and what helps."""
        self._interrupted = False
        self._open = Standing()

    @property
    def begun(self) -> bool:
        """Has anybody been asked?"""
        return self._phase is not Phase.WAITING

    def aim_back(self, to: str) -> None:
        """It is to go back to this one, on all hosts; "": there is none."""
        self._order = replace(self._order, to=to, back=True)

    def begin(self, members: Iterable[Target], t: float, refused: int = 0) -> Errands:
        """Flip these. So many others have answered that they can't."""
        if self._interrupted:
            return
        self._members = list(members)
        self._refused = refused
        yield from self._ask(Phase.SEALING if self._order.delivered else Phase.STAGING, t)

    def look_after(self, t: float) -> Errands:
        """One that says that it is at it, and never gets there, holds up nobody."""
        if self._phase not in (Phase.STAGING, Phase.UNSTAGING, Phase.FLIPPING):
            return
        for target in [each for each in self._members if each.step is Step.CLOSING]:
            away, why = not self._attached(target.id), "its file system may hang"
            if away and self._phase is Phase.STAGING:  # for those that are ready the word would grow too old
                why = "it is out of reach"
            elif away:  # it hears of it once it is back
                self._away_s[target.id] = t
            if t - max(self._since_s, self._away_s.get(target.id, 0.0)) > MOST_S:
                self._refused += 1
                reason = f"it had to {self._phase.value}, and hasn't in {MOST_S:.0f} s: {why}"
                yield from self._fail(target, Judgement(Verdict.FAILED, Code.AGENT, reason))

    def go_on(self, t: float) -> Errands:
        """What follows, once all have done what they were asked last."""
        while self.begun and self._phase not in (Phase.DECIDING, Phase.OVER) and not self._interrupted:
            if self._targets.count(Step.CLOSING):
                return
            self._members = [target for target in self._members if target.step is not Step.OVER]
            yield from self._next(t)

    def _next(self, t: float) -> Errands:
        match self._phase:
            case Phase.SEALING if self._lacking():
                yield from self._give_up()
            case Phase.SEALING:
                yield from self._ask(Phase.STAGING, t)
            case Phase.STAGING if self._lacking():
                yield from self._ask(Phase.UNSTAGING, t)
            case Phase.STAGING:
                self._phase = Phase.DECIDING
                names = [target.name for target in self._members]
                text = flip_decided(self._order.to, self._order.dest, names, len(self._targets))
                yield self._asking.decide(text, self._decided)
            case Phase.UNSTAGING:
                yield from self._give_up()
            case Phase.FLIPPING:
                if self._members:
                    yield Publish(Notice(self._outcome()))
                yield from self._ask(Phase.CONFIRMING, t)
            case _:
                self._phase = Phase.OVER

    def _decided(self, message: dict[str, Any], t: float) -> Errands:
        """It is in the store; or can't be, and nobody who looks later could tell what was to be."""
        self._unrecorded = words(message["reason"]) if message.get("code") else ""
        self._remedy = words(message.get("remedy", "")) or STORE
        if (waited_s := t - self._since_s + self._missed_s) > LATEST_S - WORD_S and not self._unrecorded:
            self._unrecorded = f"{waited_s:.0f} s after hosts were asked to be ready it was decided: too late"
            self._remedy = LATE
        if self._interrupted:
            return
        self._members = [target for target in self._members if target.step is not Step.OVER]
        yield from self._ask(Phase.UNSTAGING if self._lacking() else Phase.FLIPPING, t)
        yield from self.go_on(t)

    def interrupt(self) -> None:
        """The user wants the run to end: what all were told is all that they are told."""
        self._interrupted = True

    def missed(self, seconds: float) -> None:
        """The root was kept from its work: on hosts a word grows too old all the same."""
        self._missed_s += seconds

    def end(self) -> Errands:
        """Nothing more is heard of any host: say who has flipped, if they aren't all through with it."""
        for text in self._open.said(self._targets, self._order.to, self._order.dest):
            yield Publish(Notice(text))
        self._open = Standing()

    def _ask(self, phase: Phase, t: float) -> Errands:
        self._phase, self._since_s, self._missed_s = phase, t, 0.0
        fields: dict[str, Any] = {}
        if phase is Phase.STAGING:
            fields = {"to": self._order.to, "run": self._order.run, "back": self._order.back}
        elif phase is Phase.CONFIRMING:
            fields = {"keep": self._order.keep}
        for target in self._members:
            target.step = Step.CLOSING
            target.heard_s = t
            self._open.asked(target.id, phase.value)
            yield self._asking.ask(target.id, phase.value, fields, self._answered)

    def _answered(self, message: dict[str, Any], t: float) -> Errands:
        target = self._targets[message["from"]]
        self._open.answered(target.id, self._phase.value, well=not message.get("code"))
        if message.get("code"):
            self._refused += 1
            judgement = told(message)
            if self._phase is Phase.CONFIRMING:
                why = f"it has flipped, and can't write down that this is over: {judgement.reason}"
                judgement = replace(judgement, reason=why, remedy=judgement.remedy or FINISH)
            yield from self._fail(target, judgement)
        elif self._phase is Phase.CONFIRMING:
            if left := words(message.get("left", "")):
                yield Publish(Notice(f"old releases are still there: {left}", target.name), target.id)
            yield from self._done(target, message)
        else:
            target.step = Step.READY

    def _lacking(self) -> str:
        """Why nothing is flipped; "" where it is."""
        if self._unrecorded:
            return self._unrecorded
        ready, asked, quorum = len(self._members), len(self._targets), self._order.quorum
        if quorum is None:
            return f"{self._refused} of the hosts can't be flipped" if self._refused else ""
        needed = quorum.needed(asked)
        return f"{ready} of {asked} hosts are ready, and {needed} have to be" if ready < needed else ""

    def _give_up(self) -> Errands:
        lacking = self._lacking()
        self._phase = Phase.OVER
        what = "the release is there, and not current: " if self._order.delivered else "nothing was flipped: "
        remedy = "run it again once the others are well, or with another --quorum"
        if self._unrecorded:
            remedy = self._remedy
        for target in self._members:
            yield from self._fail(target, Judgement(Verdict.FAILED, Code.QUORUM, what + lacking, remedy))

    def _outcome(self) -> str:
        return f"{self._order.to} is current on {len(self._members)} of {len(self._targets)} hosts"
