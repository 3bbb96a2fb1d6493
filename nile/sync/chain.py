"""The chain of a stream: who passes it on to whom, and who is left out. Pure.

A member never looks for another one: it is told where its successor waits.
Whoever is lost, or breaks, or is slow, is left out, and the one behind it
goes on at its own offset, fed by the one before; where that hasn't got these
bytes any more, by the root, which has all of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

from nile.agent.worker.ring import APPLIER
from nile.sync.asking import Errands
from nile.sync.holdups import Holdups
from nile.sync.means import Means
from nile.sync.member import Member, Members
from nile.sync.targets import Target, count, words
from nile.topology.model import ROOT_ID

TRIES = 2
"""Ways to one member that come to nothing, before it is left out."""
TRIES_FROM = 3
"""Ways from one node that come to nothing, before that one is left out."""
HOPELESS = 4
"""Ways that came to nothing before any led anywhere: these hosts can't reach each other."""
ORPHAN_S = 1.5
"""How long a member waits for a feeder of which nobody says that it is gone."""
ANSWER_S = 60.0
"""For a member to say where it waits, or that it has left: a worker that doesn't hangs."""
LAST_S = 240.0
"""For one that has everything to say anything: it renames and deletes, and says so now and then."""
MOST_LAST_S = 1800.0
"""For it to be through with that, and what so many files take beside."""
MOST_PORT = 65535


class Chain:
    """The hosts of one stream, which the root serves under the number `recording`.

    `terms` is what every member is told, `identity` what they know each other by, or empty. How each one
    ended is told to `over(target, message, t)`, but for those that have their verdict.
    """

    def __init__(
        self,
        means: Means,
        recording: int,
        terms: dict[str, Any],
        identity: bytes,
        over: Callable[[Target, dict[str, Any], float], Errands],
        t: float,
    ) -> None:
        self._means = means
        self._asking = means.asking
        self._hosts = means.hosts
        self._ways = means.ways
        self._recording = recording
        self._terms = {**terms, "identity": identity}
        self._identity = identity
        self._over = over
        self._members = Members()
        self._holdups = Holdups(self._members)
        self._orphans: dict[Member, float] = {}
        """Those whom nobody feeds, and since when."""
        self._links: dict[int, Member] = {}
        """By the number of the words by which its feeder was told of it, as long as these hold."""
        self._digest: bytes | None = None
        self._leaving: dict[int, Member] = {}
        """By id, those that have yet to say that they have stopped."""
        self._open = True
        self._failed_from: Counter[int] = Counter()
        self._failures = 0
        self._reached: set[int] = set()
        """Ids of nodes that have reached another one."""
        self.sent: Counter[int] = Counter()
        """Bytes, by who sent them."""
        self.left_out: list[tuple[str, str]] = []
        """Names of hosts that were left out, and why."""
        self.heard_s = t
        """When anybody last said anything."""

    @property
    def active(self) -> bool:
        """Is there anybody in it, or yet to say that it has left?"""
        return bool(self._members or self._leaving)

    # Who is in it.

    def join(self, targets: list[Target], t: float, heads: int = 1) -> Errands:
        """These follow, in this order; so many of them, evenly spread, are fed by the root."""
        self.heard_s = t
        parts = min(heads, len(targets))
        first = {part * len(targets) // parts for part in range(1, parts)}
        for at, target in enumerate(targets):
            before = self._members.last if at not in first else None
            member = Member(target, before, secret=self._means.secret(), due_s=t + ANSWER_S)
            self._ways.left(target.id)
            fields = {"secret": member.secret, **self._terms}
            tell = self._asking.ask(target.id, "join", fields, partial(self._said, member))
            member.number = member.asked = tell.message["n"]
            self._members.add(member)
            yield tell

    def close(self) -> Errands:
        """The last one need not wait for another one to follow. (Should one yet join, it is told.)"""
        self._open = False
        yield from self._settle()

    def gone(self, target: Target, t: float) -> Errands:
        """It has its verdict: nothing more is heard of it."""
        self._leaving.pop(target.id, None)
        if (member := self._members.of(target)) is not None:
            yield from self._leave_out(member, "it is gone", t, False)

    def dissolve(self, reason: str, t: float) -> Errands:
        """Nothing comes of it, but for those that have everything."""
        self._open = False
        for member in reversed([*self._members]):  # from the end, so that nobody is fed anew
            if not member.complete:
                yield from self._leave_out(member, reason, t, True)

    def look_after(self, t: float) -> Errands:
        """Some time has passed."""
        for member in list(self._orphans):
            if (since_s := self._orphans.get(member)) is not None:
                yield from self._look_after(member, since_s, t)

    def leave_out_late(self, t: float) -> Errands:
        """Those that have still to make room for what comes: the others needn't wait for that."""
        for member in self._members:
            late = member.due_s is not None and t > member.due_s and member.asked == member.number
            if late and self._asking.is_at_it(member.target.id, t):
                yield from self._leave_out(member, "it still takes away what an earlier copy left", t, True)

    def overdue(self, t: float) -> list[Target]:
        """Hosts whose workers hang: they haven't said what they have to say."""
        late = [member for member in (*self._members, *self._leaving.values()) if self._hangs(member, t)]
        late += [member for member in self._members if member.complete and self._is_late(member, t)]
        return [member.target for member in late]

    def _hangs(self, member: Member, t: float) -> bool:
        """Has it to answer, and doesn't? To take away what is unfinished it has its time."""
        if member.due_s is not None and not self._hosts.attached(member.target.id):
            member.due_s = t + ANSWER_S  # nothing can come from it
        late = member.due_s is not None and t > member.due_s
        return late and (member.inside or not self._asking.is_at_it(member.target.id, t))

    def _is_late(self, member: Member, t: float) -> bool:
        """Has it said nothing for too long, or only that it is at it for longer than there is work for?"""
        most_s = MOST_LAST_S + self._means.work_s(member.target.may_delete)
        return t - member.target.heard_s > LAST_S or t - member.complete_s > most_s

    # What it was.

    def digested(self, digest: bytes | None) -> Errands:
        """What a digest of all that the root has of it is; None: nobody waits for that."""
        self._digest = digest
        for member in self._members:
            yield from self._confirm(member)

    def _confirm(self, member: Member) -> Errands:
        """It uses what it got only if that is what the root has: others had it in their hands."""
        if self._digest is not None and member.digest_due:
            member.digest_due = False
            fields = {"what": member.number, "digest": self._digest}
            yield self._asking.ask(member.target.id, "approve", fields, None)

    # What members say.

    def _said(self, member: Member, message: dict[str, Any], t: float) -> Errands:
        self.heard_s = t
        if message.get("more") is not True:
            yield from self._ended(member, message, t)
        elif not member.inside:
            return
        elif "port" in message:
            yield from self._waits(member, message, t)
        elif "event" in message:
            yield from self._event(member, message, t)
        elif "progress" in message:
            self._ways.got(member.target.id, count(message["progress"]["received"]))
            self._ways.held(member.target.id, float(message["progress"]["successor_s"]))
            member.reports(message["progress"], t)
        yield from self.look_after(t)

    def _ended(self, member: Member, message: dict[str, Any], t: float) -> Errands:
        """It has everything, or gave up, or did as it was told."""
        self.sent[member.target.id] += count(message.get("sent", 0))
        if not member.inside:
            self._leaving.pop(member.target.id, None)
        elif message.get("code"):
            yield from self._leave_out(member, words(message["reason"]), t, False)
        else:
            self._remove(member)
            # Whoever was to be fed by it, and wasn't yet: others know that they have everything.
            yield from self._feed_all(member, None, t)
            if member.asked:  # whoever was to feed it feeds nobody
                yield from self._settle()
        yield from self._over(member.target, message, t)

    def _event(self, member: Member, message: dict[str, Any], t: float) -> Errands:
        kind, code, reason = _words_of(message["event"])
        if kind == "end":
            member.complete_s = member.complete_s if member.complete else t
            member.complete = member.digest_due = True
            self._orphans.pop(member, None)
            self._ways.ended(member.target.id, count(message["event"]["offset"]), t)
        elif kind == "predecessor":
            if not code:
                self._orphans.pop(member, None)
            elif not member.complete:
                self._orphans[member] = t
        elif kind == "successor":
            fed = self._links.get(count(message["link"]))
            if fed is not None and fed.feeder is member:
                yield from self._of_way(member, fed, code, reason, t)
        elif kind == "held":
            yield from self._leave_out_slow(self._holdups.held(member, code, t), t)
        yield from self._confirm(member)

    def _root_said(self, fed: Member, message: dict[str, Any], t: float) -> Errands:
        """The root's worker, of what it serves to one member."""
        current = message["n"] in self._links
        if message.get("more") is not True:
            self.sent[ROOT_ID] += count(message.get("sent", 0))
            if current and message.get("code") and not fed.complete:
                yield from self._broke(None, fed, words(message["reason"]), t)
        elif current and "event" in message:
            kind, code, reason = _words_of(message["event"])
            if kind == "successor":
                yield from self._of_way(None, fed, code, reason, t)
            elif kind == "held" and code != APPLIER:
                yield from self._leave_out_slow(self._holdups.root_held(fed, t), t)
        yield from self.look_after(t)

    # Ways.

    def _feed(self, member: Member, feeder: Member | None, t: float) -> Errands:
        """It is to get the rest from that one: first it has to say where it waits."""
        self._members.feed(member, feeder)
        self._orphans.pop(member, None)
        self._links.pop(member.link, None)
        member.link = 0
        member.due_s = t + ANSWER_S
        member.secret = self._means.secret()
        fields = {"what": member.number, "secret": member.secret}
        tell = self._asking.ask(member.target.id, "predecessor", fields, partial(self._waits, member))
        member.asked = tell.message["n"]
        yield tell

    def _feed_all(self, gone: Member, feeder: Member | None, t: float) -> Errands:
        """Those that were fed by it are to get the rest from that one, unless they have all of it."""
        for behind in sorted(gone.feeds, key=lambda each: each.number):
            if not behind.complete:
                yield from self._feed(behind, feeder, t)

    def _waits(self, member: Member, message: dict[str, Any], t: float) -> Errands:
        """It waits at a port, or needs nobody any more."""
        if not member.inside or message["n"] != member.asked:
            return
        member.asked, member.due_s = 0, None
        if "port" not in message:  # so whoever was to feed it feeds nobody
            self._members.feed(member, None)
            yield from self._settle()
            return
        port = count(message["port"])
        if not 0 < port <= MOST_PORT:
            raise ValueError("a port that is none")
        if member.feeder is not None and not member.feeder.inside:
            self._members.feed(member, None)
        feeder = member.feeder
        giver = feeder.target.id if feeder else ROOT_ID
        where = {
            "address": self._means.address(giver, member.target.id),
            "port": port,
            "secret": member.secret,
        }
        if feeder is None:
            fields = {"what": self._recording, "identity": self._identity, **where}
            tell = self._asking.ask(ROOT_ID, "serve", fields, partial(self._root_said, member))
        else:
            tell = self._asking.ask(giver, "successor", {"what": feeder.number, **where}, None)
            feeder.told_last = False
        member.link = tell.message["n"]
        self._links[member.link] = member
        yield tell

    def _of_way(self, feeder: Member | None, fed: Member, code: str, reason: str, t: float) -> Errands:
        """What became of the way from one to the next."""
        if code == "through":
            return
        giver = feeder.target.id if feeder else ROOT_ID
        if not code:
            self._reached.add(giver)
            self._ways.began(giver, fed.target.id, t, anew=False)
            self._failed_from[giver] = fed.failed = 0
        elif code == "gone":  # it has these bytes no more; the root has them
            yield from self._feed(fed, None, t)
            yield from self._settle()
        elif not fed.complete:
            yield from self._broke(feeder, fed, reason, t)

    def _broke(self, feeder: Member | None, fed: Member, reason: str, t: float) -> Errands:
        giver = feeder.target.id if feeder else ROOT_ID
        self._failures += 1
        self._failed_from[giver] += 1
        fed.failed += 1
        hopeless = not self._reached and self._failures >= min(HOPELESS, TRIES * len(self._members))
        if hopeless or (feeder is None and self._failed_from[ROOT_ID] >= TRIES_FROM):
            yield from self.dissolve(reason, t)
        elif not self._hosts.attached(fed.target.id) or fed.failed >= TRIES:
            yield from self._leave_out(fed, reason, t, True)
        elif feeder is not None and self._failed_from[giver] >= TRIES_FROM:
            yield from self._leave_out(feeder, reason, t, True)
        else:
            yield from self._feed(fed, feeder, t)

    def _look_after(self, member: Member, since_s: float, t: float) -> Errands:
        """Nobody feeds it: why?"""
        feeder = member.feeder
        if feeder is not None and not feeder.inside:
            yield from self._feed(member, None, t)
        elif feeder is not None and not self._hosts.attached(feeder.target.id):
            yield from self._leave_out(feeder, "it is out of reach", t, True)
        elif t - since_s >= ORPHAN_S:
            yield from self._broke(feeder, member, "it was cut off", t)

    def _leave_out(self, member: Member, reason: str, t: float, says: bool) -> Errands:
        """It gets nothing more; `says`: it has yet to say that it has stopped."""
        if not member.inside:
            return
        feeder = member.feeder
        self._remove(member)
        self._holdups.changed(t)
        self.left_out.append((member.target.name, reason))
        if says:
            self._leaving[member.target.id] = member
            member.due_s = t + ANSWER_S
            self._asking.expect(member.target.id)
            yield self._asking.ask(member.target.id, "leave", {"what": member.number}, None)
        if feeder is None and member.link:
            yield self._asking.ask(ROOT_ID, "leave", {"what": member.link}, None)
        yield from self._feed_all(member, feeder if feeder is not None and feeder.inside else None, t)
        yield from self._settle()

    def _leave_out_slow(self, member: Member | None, t: float) -> Errands:
        if member is not None:
            yield from self._leave_out(member, "it is slow", t, True)

    def _remove(self, member: Member) -> None:
        self._members.remove(member)
        self._orphans.pop(member, None)
        self._links.pop(member.link, None)
        self._holdups.left(member)

    def _settle(self) -> Errands:
        """Whoever feeds nobody is told that it is the last one, unless somebody may follow."""
        for member in self._members.loose():
            if not (self._open and member is self._members.last):
                member.told_last = True
                yield self._asking.ask(member.target.id, "last", {"what": member.number}, None)


def _words_of(event: dict[str, Any]) -> tuple[str, str, str]:
    """What somebody says happened: its kind, a code, and the reason; raises KeyError or TypeError."""
    return words(event["kind"]), words(event["code"]), words(event["reason"])
