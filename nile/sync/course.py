"""The course of a run that copies: who has what, who gets it from whom, and what became of it. Pure.

    absent -> opening -> opened -> scanning --> differs --> copying --> checking --> same --> closing --> over
                                       |           ^                        |          ^
                                       +-----------|------------------------|----------+   it is as the source
                                                   +---- it came to nothing-+

Nothing is written anywhere before every host has been asked what it has (but see latecomers), so
that what can't work, and what would be deleted, is known before. A host is
`same` only where its own scan says so: then it serves those below it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from nile.cascade import Publish
from nile.cascade.tree import Tree as Hosts
from nile.cascade.verdicts import Judgement
from nile.cascade.work import Judge
from nile.events import Asked, Code, HostOutput, Notice, Verdict
from nile.options import RateLimits
from nile.sync.asking import Errands
from nile.sync.choosing import may_be_swarm, swarm_instead
from nile.sync.concluding import ENOUGH, give_up, seeding
from nile.sync.counting import Counting
from nile.sync.demand import Demand
from nile.sync.equipment import no_authority
from nile.sync.flipping import Flipping, Order
from nile.sync.giving import Giving
from nile.sync.judging import HAS_MORE, MOST_TO_RSYNC, SILENT_S, broke_rules, came_from_nowhere, unfit
from nile.sync.latecomers import Latecomers
from nile.sync.means import Means
from nile.sync.options import Ask, Purpose, SyncOptions
from nile.sync.paths import Paths
from nile.sync.roster import Roster
from nile.sync.silence import Silence
from nile.sync.streaming import Streams
from nile.sync.survey import Survey
from nile.sync.swarming import Swarm
from nile.sync.targets import SPEAKING, Step, Target
from nile.sync.wording import against_bounds, dry_run, many_deletions, summary
from nile.topology.model import ROOT_ID

if TYPE_CHECKING:
    from nile.bootstrap.authority import Authority


class Sync:
    """The job of a run that copies, says what it would copy, or verifies (see nile.cascade.work.Job).

    `secret()` gives 32 random bytes, `identity()` what `sealing.Tls` takes, `authority()` whose certificates
    the peers of a swarm have.
    `only` are the ids of those asked hosts that it is for; None: of all of them.
    """

    def __init__(
        self,
        options: SyncOptions,
        run: str,
        hosts: Hosts,
        paths: Paths,
        secret: Callable[[], bytes],
        identity: Callable[[], bytes],
        only: frozenset[int] | None = None,
        authority: Callable[[], Authority] = no_authority,
    ) -> None:
        self._options = options
        self._hosts = hosts
        self._paths = paths
        self._targets = Roster(hosts, only)
        means = Means(options, run, hosts, paths, secret)
        self._asking, self._ways, self._bulk = means.asking, means.ways, means.bulk
        self._silence = Silence(hosts, means.asking, "the place to copy to")
        self._survey = Survey(means, self._targets, self._fail, self._stop)
        self._counting = Counting(
            self._targets,
            self._asking.ask,
            self._fail,
            options.checksum,
            exact=options.purpose is not Purpose.COPY,
        )
        self._demand = Demand(self._targets, hosts)
        self._giving = Giving(means, self._targets, self._demand, self._survey.check)
        self._streams = Streams(means, self._survey.check, self._fail, identity)
        self._swarm = Swarm(means, self._survey.check, self._fail, self._demand.look_again, authority)
        order = Order(
            run, options.dest, options.release, quorum=options.quorum, keep=options.keep, delivered=True
        )
        self._flipping = Flipping(
            order,
            self._targets,
            self._asking,
            self._fail,
            lambda target, _: iter([self._done(target)]),
            hosts.attached,
        )
        self._shown: Counter[int] = Counter()
        """Bytes of differences that were shown, by host."""
        self._late = Latecomers(options, self._targets)
        self._begun = self._asked = False
        self._stopped: Judgement | None = None

    # What happens.

    def begin(self, t: float) -> Errands:
        """Read the source."""
        yield self._survey.begin()

    def started(self, node_id: int, t: float) -> Errands:
        """A host's worker runs."""
        target = self._targets[node_id]
        if self._stopped or self._swarm.lasting.enough:
            yield from self._fail(target, self._stopped or ENOUGH)
        elif target.step is Step.ABSENT:
            target.heard_s = t
            yield self._survey.open(target)

    def heard(self, node_id: int, message: dict[str, Any], t: float) -> Errands:
        """An answer, or one of several."""
        target = self._targets.get(node_id)
        if target is not None:
            if target.step is Step.OVER:
                return
            target.heard_s = t
        yield from self._asking.heard(node_id, message, t)
        if message.get("more") is not True:  # what is only a part of an answer, nothing follows from yet
            yield from self._go_on(t)
        yield from self._progress(t)

    def lied(self, node_id: int, reason: str, t: float) -> Errands:
        """A worker that breaks the rules is of no use."""
        if node_id == ROOT_ID:
            yield from self.root_lost(f"it said {reason}", t)
            return
        yield from self._fail(self._targets[node_id], broke_rules(reason))

    def over(self, node_id: int, t: float) -> Errands:
        """It has its verdict."""
        if node_id not in self._targets:
            return
        target = self._targets[node_id]
        target.step = Step.OVER
        yield from self._giving.gone(target, t)
        yield from self._streams.gone(target, t)
        yield from self._swarm.gone(target, t)
        self._ways.gone(target.id)
        yield from self._go_on(t)
        yield from self._progress(t)
        if self._targets.count(Step.OVER) == len(self._targets):
            yield from self._swarm.cut_short(t)
            yield from self._summarize(t)
            yield from self._flipping.end()

    def root_lost(self, reason: str, t: float) -> Errands:
        """Nobody can read the source any more."""
        yield from self._stop(
            Judgement(Verdict.FAILED, Code.SOURCE, f"the root can't go on reading: {reason}")
        )

    def answered(self, yes: bool, t: float) -> Errands:
        """The user says whether so much may be deleted: if that was asked, and isn't decided."""
        if not self._asked or self._begun or self._stopped:
            return
        if yes:
            yield from self._start(t)
            yield from self._go_on(t)
        else:
            yield from self._stop(
                Judgement(Verdict.CANCELLED, Code.CANCELLED, "too much would have been deleted")
            )

    def concluded(self, t: float) -> Errands:
        """It has served for long enough. (A release is flipped or isn't: that has its own end.)"""
        self._swarm.lasting.enough = not self._options.release
        yield from self.tick(t)

    def limited(self, limits: RateLimits, t: float) -> Errands:
        """A swarm is to keep to these rates."""
        yield from self._swarm.limited(limits)
        yield from self._progress(t)

    def interrupted(self, t: float) -> Errands:
        """Workers end by themselves; nothing is flipped any more. Who only serves a swarm has its copy."""
        self._flipping.interrupt()
        for target in seeding(self._targets) if not self._options.release else ():
            yield self._done(target)

    def tick(self, t: float) -> Errands:
        """A host that was out of reach may be back, and another run over."""
        for target in self._targets.values():
            if target.step is Step.WAITING:
                yield self._survey.open(target)
            elif target.step in SPEAKING or self._counting.is_asked(target):
                yield from self._judge_silence(target, t)
        yield from self._giving.look_after(t)
        yield from self._streams.look_after(t)
        yield from self._swarm.look_after(t)
        yield from self._flipping.look_after(t)
        yield from self._go_on(t)
        yield from self._progress(t)

    def missed(self, seconds: float) -> None:
        """The root was kept from its work."""
        self._flipping.missed(seconds)

    def _judge_silence(self, target: Target, t: float) -> Errands:
        """It has to speak: does its worker hang?"""
        patience_s = SILENT_S + (self._counting.coming_s if self._counting.is_asked(target) else 0.0)
        if judgement := self._silence.judge(target, t, self._bulk.entries, patience_s):
            yield from self._fail(target, judgement)

    def _progress(self, t: float) -> Errands:
        """Tell how far it is, if it is time to."""
        for told in (self._ways.pace.due(t), self._swarm.progress(t)):
            if told is not None:
                yield Publish(told)

    # What follows.

    def _go_on(self, t: float) -> Errands:
        if self._stopped:
            return
        yield from give_up(self._swarm.lasting, self._targets, self._fail)
        if not self._begun:
            yield from self._begin_copying(t)
        if self._begun and self._options.copies:
            yield from self._counting.go_on()
            yield from self._judge_copies()
            yield from self._welcome(t)
            yield from self._stream_instead(t)
            yield from self._giving.go_on(t)
            yield from self._flip(t) if self._options.release else self._close()
            if broken := self._giving.broken or self._streams.broken or self._swarm.broken:
                yield from self._stop(broken)

    def _judge_copies(self) -> Errands:
        """Those that got their copy, and yet aren't equal: once more, by contents; then it has failed."""
        for target, found in self._counting.answered():
            if target.step is not Step.COMPARING:
                continue
            if found.only_more and not self._options.delete:
                if self._options.purpose is Purpose.REPAIR:
                    yield from self._fail(target, HAS_MORE)
                elif target.by_contents and found.extra > target.had_more:
                    yield from self._show(target, found.lines)
                    yield from self._fail(target, came_from_nowhere(found.extra, target.had_more))
                else:
                    target.has_more = True
                    target.step = Step.SAME
            elif (
                target.swarmed and target.rsync is not None
            ):  # what can't be done there without rsync, perhaps can with it
                target.swarmed = False
                target.step = Step.DIFFERS
            elif not target.checked_bytes and target.rsync is not None:
                target.checked_bytes = True
                target.step = Step.DIFFERS
            else:
                yield from self._show(target, found.lines)
                reason = "its copy still differs from the source"
                yield from self._fail(target, Judgement(Verdict.FAILED, Code.DIFFERS, reason))

    def _begin_copying(self, t: float) -> Errands:
        """Once every host has said what it has, and what would change there is known."""
        if self._asked or not self._survey.sources:
            return
        yield from self._counting.go_on()
        if not self._counting.complete or self._late.are_waited_for(t):
            yield from self._record_ahead()
            return
        differing = self._targets.at(Step.DIFFERS)
        if not self._options.copies:
            self._begun = True
            yield from self._report()
            return
        if self._options.purpose is Purpose.REPAIR:
            yield from self._tell(differing)
        yield from self._refuse([target for target in differing if target.step is Step.DIFFERS])
        question = self._question()
        if question and self._options.ask is Ask.USER:
            self._asked = True
            yield Publish(Asked(question))
        elif question:
            yield from self._stop(
                Judgement(
                    Verdict.FAILED, Code.MAX_DELETE, question, "if that is meant, allow it by --max-delete N"
                )
            )
        else:
            yield from self._start(t)

    def _record_ahead(self) -> Errands:
        """Not all have said yet what they have, but what one lacks is known."""
        first, options = self._counting.first, self._options
        if first is not None and options.streams and not may_be_swarm(options, len(self._targets)):
            yield from self._streams.record_ahead(self._survey, *first)

    def _start(self, t: float) -> Errands:
        """From now on something is written."""
        self._begun = True
        self._late.begin()
        differing = self._targets.at(Step.DIFFERS)
        for target in differing:
            if (found := self._counting.estimate(target)) is not None:
                self._ways.pace.expect(target.id, target.name, found.move)
        found_by = {target: self._counting.estimate(target) for target in differing}
        racks = [self._paths.rack(target.id) for target in differing]
        source = self._survey
        why = swarm_instead(self._options, self._hosts, racks, found_by, source.unpackable, source.room)
        if why:
            yield Publish(Notice(why))
        if self._options.streams and not why:
            yield from self._streams.begin(differing, self._survey, self._counting.estimate, t)
        elif self._options.swarms or why:
            having = self._targets.at(Step.SAME)
            yield from self._swarm.begin(differing, having, self._late.awaited, self._counting.estimate, t)

    def _stream_instead(self, t: float) -> Errands:
        """Of a swarm that nobody asked for, and that came to nothing."""
        left = [target for target in self._swarm.left if target.step is Step.DIFFERS]
        self._swarm.left.clear()
        if left and self._options.streams and not self._swarm.broken:
            for target in left:
                target.peer = ""
            yield from self._streams.begin(left, self._survey, self._counting.estimate, t)

    def _welcome(self, t: float) -> Errands:
        """Those that came late to a swarm that lasts."""
        for target in self._late.arrived(self._counting.estimate):
            yield from self._refuse([target])
            found = self._counting.estimate(target)
            if target.step is Step.DIFFERS and found is not None:
                self._ways.pace.expect(target.id, target.name, found.move)
                yield from self._swarm.welcome(target, found, t)

    def _tell(self, differing: list[Target]) -> Errands:
        """Say what differs before it is mended; where there is only more, that isn't what is mended."""
        for target in differing:
            found = self._counting.estimate(target)
            if target.step is Step.DIFFERS and found is not None:
                yield from self._show(target, found.lines)
                if found.only_more and not self._options.delete:
                    yield from self._fail(target, HAS_MORE)

    def _refuse(self, differing: list[Target]) -> Errands:
        """Hosts on which it can't work, of those that have to get something."""
        for target in differing:
            estimate = self._counting.estimate(target)
            assert estimate is not None
            target.had_more = estimate.extra
            target.may_delete = min(estimate.extra, MOST_TO_RSYNC)
            judgement = unfit(target, estimate, self._survey.room, self._survey.unpackable, self._options)
            if judgement is not None:
                yield from self._fail(target, judgement)

    def _question(self) -> str:
        if not self._options.delete or self._options.max_delete is not None:
            return ""
        doomed = {
            target.name: (found.extra, target.found.entries)
            for target in self._targets.values()
            if target.step is Step.DIFFERS and target.found and (found := self._counting.estimate(target))
        }
        return many_deletions(doomed)

    def _report(self) -> Errands:
        """Say what differs, and nothing more."""
        verify = self._options.purpose is Purpose.VERIFY
        for target in list(self._targets.values()):
            if target.step is Step.SAME:
                yield self._done(target)
            elif target.step is Step.DIFFERS:
                found = self._counting.estimate(target)
                assert found is not None
                delete = self._options.delete
                yield from self._show(target, found.lines if verify else dry_run(found, delete))
                differs = Judgement(Verdict.FAILED, Code.DIFFERS, "its copy differs from the source")
                if verify:
                    yield from self._fail(target, differs)
                else:
                    yield self._done(target)

    def _show(self, target: Target, lines: bytes) -> Errands:
        """Differences are a host's output. (What a repair left is told after what there was.)"""
        before = self._shown[target.id]
        if lines:
            lines = b"and now:\n" + lines if before else lines
            self._shown[target.id] += len(lines)
            yield Publish(HostOutput(target.name, "stdout", before, lines), target.id)

    def _close(self) -> Errands:
        """Those that are served and serve nobody any more."""
        for target in self._demand.idle():
            target.step = Step.CLOSING
            yield self._asking.ask(target.id, "close", {}, self._closed)

    def _flip(self, t: float) -> Errands:
        """A release is made current once every host has it, or won't."""
        if not (self._flipping.begun or self._targets.wanting or self._swarm.active):
            yield from self._summarize(t)
            yield from self._flipping.begin(self._targets.at(Step.SAME), t)
        yield from self._flipping.go_on(t)

    def _closed(self, message: dict[str, Any], t: float) -> Errands:
        target = self._targets[message["from"]]
        if self._targets.count(Step.OVER, Step.CLOSING) == len(self._targets):
            yield from self._summarize(t)
        yield self._done(target)

    def _done(self, target: Target) -> Judge:
        target.step = Step.OVER
        return Judge(target.id, Judgement(Verdict.OK, peer=target.peer))

    def _summarize(self, t: float) -> Errands:
        ways = (self._giving, self._streams, self._swarm)
        sent = sum((way.sent for way in ways), Counter[int]())
        began_s = min(filter(None, (way.began_s for way in ways)), default=t)
        if text := summary(sent, began_s, t):
            yield Publish(Notice(text))
            way = self._ways.slowest
            names = (self._hosts.name(way.giver), self._hosts.name(way.taker)) if way else ("", "")
            for text in against_bounds(t - began_s, self._ways.most, way, names, self._options.rate):
                yield Publish(Notice(text))
            for each in ways:
                each.sent.clear()

    def _fail(self, target: Target, judgement: Judgement) -> Errands:
        """Its worker is ended by its agent, and with it what it does."""
        target.step = Step.OVER
        yield Judge(target.id, replace(judgement, peer=target.peer))

    def _stop(self, judgement: Judgement) -> Errands:
        """Nothing more can be done for any host; but a release that all have can be made current."""
        if self._flipping.begun:
            return
        self._stopped = judgement
        for target in list(self._targets.values()):
            if target.step in (Step.SAME, Step.CLOSING) and not self._options.release:
                yield self._done(target)
            elif target.step not in (Step.ABSENT, Step.OVER):
                yield from self._fail(target, judgement)
