"""Who copies to whom: a host is served by the one above it, which was served before. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from nile.cascade import Errand
from nile.cascade.verdicts import Judgement, code_of
from nile.cascade.work import Judge
from nile.events import Code, Verdict
from nile.sync.asking import LOOPBACK, Errands
from nile.sync.demand import Demand
from nile.sync.judging import STALLED_S, hangs, stalled
from nile.sync.means import Means
from nile.sync.queues import Queues
from nile.sync.roster import Roster
from nile.sync.targets import Step, Target, count, words
from nile.topology.model import ROOT_ID

PAUSE_S = 1.0
"""Before the third try to copy to a host; before the next one twice that. The second one begins at once."""
LEAST_BYTES = 16 * 1024
"""What a copy has to get on by in STALLED_S: more than two rsyncs send to say that they are there."""
MOST_BEYOND = 2
"""Times as much as there is, with names of MOST_NAME bytes, and no more is ever sent in one copy."""
MOST_NAME = 8192
TRIES = 4
"""Copies that are begun for one host before it is given up."""
ANSWER_S = 60.0
"""For a worker to say how a copy ended: that the other side has ended it, or that it was told to end it."""

STOPPED = "stopped"
"""How a worker says that it ended something because it was told to."""


class _Attempt:
    """One copy, from its beginning: what both sides answer counts as long as it is the one under way."""

    def __init__(self, giving: Giving, target: Target, giver: int, secret: bytes) -> None:
        self.target = target
        self.giver = giver
        self.secret = secret
        self._giving = giving
        self._number = len(target.failed_from)
        self._led = False

    @property
    def _current(self) -> bool:
        return self.target.step is Step.COPYING and len(self.target.failed_from) == self._number

    def received(self, message: dict[str, Any], t: float) -> Errands:
        """The taker says where it waits, and later how it ended."""
        if self._current and "port" in message:
            if self._led:
                raise ValueError("it says its port again")
            self._led = True
            yield from self._giving.lead(self, count(message["port"]), t)
        elif self._current:
            yield from self._giving.end_of("receive", self.target, message, t)

    def reached(self, message: dict[str, Any], t: float) -> Errands:
        """There is a way to it, or there is none."""
        if self._current and "port" in message:
            yield self._giving.push(self, LOOPBACK, count(message["port"]), t)
        elif self._current:
            yield from self._giving.end_of("push", self.target, {**message, "retry": True}, t)

    def pushed(self, message: dict[str, Any], t: float) -> Errands:
        """The giver says how far it is, and later how it ended."""
        if message.get("more"):
            self.target.heard_s = t
            if self._current and "sent_so_far" in message:
                so_far = count(message["sent_so_far"])
                self._giving.ways.got(self.target.id, so_far)
                self._giving.gets_on(self.target, so_far, t)
            return
        self._giving.sent[self.giver] += count(message.get("sent", 0))
        if self._current:
            if not message.get("code"):
                self._giving.ways.ended(self.target.id, count(message.get("sent", 0)), t)
            yield from self._giving.end_of("push", self.target, message, t)


class Giving:
    """Copies under way. `sent` counts bytes by who sent them; `broken` is why the source serves nobody."""

    def __init__(
        self,
        means: Means,
        targets: Roster,
        demand: Demand,
        check: Callable[[Target], Errands],
    ) -> None:
        self._means = means
        self._options = means.options
        self._hosts = means.hosts
        self._asking = means.asking
        self._targets = targets
        self._check = check
        self.ways = means.ways
        self._queues = Queues(targets, means.hosts, demand, means.options.over_links)
        self.sent: Counter[int] = Counter()
        self.began_s = 0.0
        self.broken: Judgement | None = None
        self._root_hangs: Judgement | None = None
        self._looked_s = 0.0
        """When it was looked last how far all are."""

    # Whom.

    def look_after(self, t: float) -> Errands:
        """Copies of whose giver nothing more is to be heard, and those of which nothing comes."""
        self._queues.again()
        for target in self._targets.at(Step.COPYING):
            if self._unheard(target):
                yield from self._ended(target, t)
            elif target.doubted_s is not None:
                yield from self._look_who_hangs(target, target.doubted_s, t)
            elif why := self._overdue(target, t):
                yield from self._doubt(target, why, t)
        self._looked_s = t

    def _overdue(self, target: Target, t: float) -> Judgement | None:
        """Of what nothing was heard for too long. While its giver looks at files, it can't give any."""
        assert target.giver is not None
        if target.pushing and self._asking.is_at_it(target.giver, t, self._means.bulk.entries):
            target.heard_s = t
            target.so_far_s += t - self._looked_s
        silent_s = t - max(target.heard_s, target.begun_s)
        patience_s = STALLED_S + self._means.work_s(target.may_delete)
        if silent_s > (ANSWER_S if target.trouble and "receive" in target.ends else STALLED_S):
            return stalled("the copy to it", silent_s)
        return stalled("progress of the copy to it", patience_s) if t - target.so_far_s > patience_s else None

    def _doubt(self, target: Target, why: Judgement, t: float) -> Errands:
        """One of the two sides may hang: have both end it. From the root there is no other way to try."""
        target.doubted_s, target.abandoned = t, True
        if "receive" not in target.ends:
            target.trouble = target.trouble or (Code.AGENT, why.reason, target.giver != ROOT_ID)
            yield self._abandon(target)
        if target.pushing and "push" not in target.ends:
            assert target.giver is not None
            yield self._asking.ask(target.giver, "abandon", {"what": target.pushing}, None)

    def _look_who_hangs(self, target: Target, since_s: float, t: float) -> Errands:
        """That one is failed, and not who has to do with it; one that is out of reach can't have said it."""
        giver = target.giver
        assert giver is not None
        asked = [target.id] * ("receive" not in target.ends) + [giver] * ("push" not in target.ends)
        if not all(map(self._hosts.attached, asked)):
            target.doubted_s = t
        elif t - since_s <= ANSWER_S:
            return
        elif "receive" not in target.ends:
            assert target.trouble is not None
            target.step = Step.OVER
            yield Judge(target.id, hangs(f"{target.trouble[1]}, and it doesn't end it"))
        elif giver == ROOT_ID:
            reason = f"the root hangs: it was to copy to {target.name}, and doesn't end that"
            remedy = "see that the source can be read"
            self._root_hangs = Judgement(Verdict.FAILED, Code.SOURCE, reason, remedy)
            if target.trouble is None:
                yield from self._check(target)
            else:
                target.step = Step.OVER
                yield Judge(target.id, self._root_hangs)
        elif self._targets[giver].step is not Step.OVER:  # its takers follow from its verdict
            self._targets[giver].step = Step.OVER
            yield Judge(giver, hangs(f"it was to copy to {target.name}, and doesn't end that"))

    def gets_on(self, target: Target, so_far: int, t: float) -> None:
        """So many bytes have been sent to it; not for ever more than there are."""
        bulk = self._means.bulk
        if target.so_far + LEAST_BYTES <= so_far <= MOST_BEYOND * (bulk.size + bulk.entries * MOST_NAME):
            target.so_far, target.so_far_s = so_far, t
            if target.giver is not None:  # when it last looked at files counts no more
                self._asking.expect(target.giver)

    def go_on(self, t: float) -> Errands:
        """Begin what can begin: those first that have most to serve in turn."""
        for target, giver in self._queues.next(t):
            if giver == ROOT_ID and self._root_hangs is not None:
                target.step = Step.OVER
                yield Judge(target.id, self._root_hangs)
            else:
                yield from self._begin(target, giver, t)

    def gone(self, target: Target, t: float) -> Errands:
        """It has its verdict: whom it served has to be served by another."""
        for taker in self._queues.served_by(target.id):
            if taker.trouble is None and "receive" not in taker.ends:
                taker.trouble = (Code.LINK, f"{target.name}, which copied to it, is gone", True)
            taker.ends.add("push")
            yield self._abandon(taker)
            yield from self._ended(taker, t)

    def _abandon(self, taker: Target) -> Errand:
        """Nobody will come: its worker needn't wait."""
        taker.abandoned = True
        return self._asking.ask(taker.id, "abandon", {"what": taker.receiving}, None)

    def _unheard(self, target: Target) -> bool:
        """Did its copy break, and is there no word from who gave it, and none to be had?"""
        giver = target.giver
        broke = target.trouble is not None and "receive" in target.ends
        away = giver is not None and giver != ROOT_ID and not self._hosts[giver].alive
        return broke and (away or not target.pushing)

    # How.

    def _begin(self, target: Target, giver: int, t: float) -> Errands:
        self.began_s = self.began_s or t
        target.giver, target.begun_s = giver, t
        target.step = Step.COPYING
        target.so_far, target.so_far_s = 0, t
        target.ends, target.trouble, target.pushing = set(), None, 0
        target.abandoned, target.doubted_s = False, None
        attempt = _Attempt(self, target, giver, self._means.secret())
        fields = {
            "secret": attempt.secret,
            "loopback": self._options.over_links,
            "keep": self._keeps(target),
        }
        tell = self._asking.ask(target.id, "receive", fields, attempt.received)
        target.receiving = tell.message["n"]
        yield tell

    def _keeps(self, target: Target) -> bool:
        """Is what comes by this copy, if it breaks, left for the next one to go on with?

        The last one begins with nothing, so that a disk is full only where it is without that. In a
        release what isn't of it is taken away before each copy.
        """
        return not self._options.release and len(target.failed_from) < TRIES - 2

    def lead(self, attempt: _Attempt, port: int, t: float) -> Errands:
        """It is known where the taker waits: have the giver go there, or first a way to it opened."""
        giver, taker = attempt.giver, attempt.target.id
        if not self._options.over_links:
            yield self.push(attempt, self._means.paths.address(giver, taker), port, t)
        elif giver in (ROOT_ID, self._hosts[taker].parent):
            yield self._asking.reach(giver, taker, port, attempt.reached)
        else:
            gone = {"code": Code.LINK.value, "reason": "it hangs below another host by now", "retry": True}
            yield from self.end_of("push", attempt.target, gone, t)

    def push(self, attempt: _Attempt, address: str, port: int, t: float) -> Errand:
        """Have the giver copy to whoever waits at that address."""
        target = attempt.target
        self.ways.began(attempt.giver, target.id, t)
        where = {"address": address, "port": port, "secret": attempt.secret, "to": target.id}
        fields = {**self._terms(target), **where, "peer": target.rsync}
        tell = self._asking.ask(attempt.giver, "push", fields, attempt.pushed)
        target.pushing = tell.message["n"]
        return tell

    def _terms(self, target: Target) -> dict[str, Any]:
        options = self._options
        return self._means.terms(
            # What was counted before is all that goes, whatever the giver has by now.
            target.may_delete,
            checksum=options.checksum or target.checked_bytes or target.by_contents,
            bwlimit=options.bwlimit_kib_s or 0,
            link_dest=options.linked_to(target.current) if not target.checked_bytes else b"",
            # What came by one that broke is used piece by piece only.
            whole=options.whole and not target.failed_from,
        )

    def end_of(self, side: str, target: Target, message: dict[str, Any], t: float) -> Errands:
        """One side of a copy says how it ended. What the first one says that has trouble is why.

        But for an end that only was an rsync's: it may have said to the other side what it means.
        """
        if message.get("code"):
            trouble = (words(message["code"]), words(message["reason"]), message.get("retry") is True)
            if trouble[0] == Code.SOURCE_CHANGED and (side != "push" or target.giver != ROOT_ID):
                trouble = (Code.COPY, trouble[1], True)  # nobody but the root knows the source
            # Whoever gives learns of a full disk, or of no rights, only that the other one went away.
            known = target.trouble
            told = target.abandoned and trouble[0] == STOPPED
            clearer = known is not None and _is_vague(known[0]) and not _is_vague(trouble[0])
            if not told and (known is None or ((known[2] or clearer) and not trouble[2])):
                target.trouble = trouble
        target.ends.add(side)
        if side == "push" and target.trouble and "receive" not in target.ends:
            yield self._abandon(target)
        yield from self._ended(target, t)

    def _ended(self, target: Target, t: float) -> Errands:
        if target.ends != {"push", "receive"} and not self._unheard(target):
            return
        if target.trouble is None:
            yield from self._check(target)
            return
        code, reason, retry = target.trouble
        target.failed_from.append(target.giver if target.giver is not None else ROOT_ID)
        target.not_before_s = t + PAUSE_S * (len(target.failed_from) - 1)
        target.step = Step.DIFFERS
        if code == Code.SOURCE_CHANGED:
            remedy = "run it again once nobody writes there"
            self.broken = Judgement(Verdict.FAILED, Code.SOURCE_CHANGED, reason, remedy)
        elif not retry or len(target.failed_from) >= TRIES:
            target.step = Step.OVER
            yield Judge(target.id, Judgement(Verdict.FAILED, code_of(code, Code.COPY), reason))


def _is_vague(code: str) -> bool:
    """Is it a word of workers only, for which there is no verdict's?"""
    return code_of(code, Code.COPY) is Code.COPY
