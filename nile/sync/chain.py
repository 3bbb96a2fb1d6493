"""The chain of a stream: who passes it on to whom, and who is left out. Pure.

A member never looks for another one: it is told where its successor waits.
Whoever is lost, or breaks, or is slow, is left out, and the one behind it
goes on at its own offset, fed by the one before; where that hasn't got these
bytes any more, by the root, which has all of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from nile.agent.worker.ring import APPLIER
from nile.sync.asking import Errands
from nile.sync.holdups import Holdups
from nile.sync.lateness import Lateness
from nile.sync.leading import Leading
from nile.sync.means import Means
from nile.sync.member import Member, Members
from nile.sync.targets import Target, count, words
from nile.sync.tries import Tries
from nile.sync.wording import said_by_ssh
from nile.topology.model import ROOT_ID

MOST_APART = 4
"""Members that the root feeds because the one before them may not log in there: each takes of its port."""
ORPHAN_S = 1.5
"""How long a member waits for a feeder of which nobody says that it is gone."""
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
        self._paths = means.paths
        self._terms = {**terms, "identity": identity}
        self._leading = Leading(means, recording, identity, self._root_said, partial(self._broke, None))
        self._over = over
        self._members = Members()
        self._holdups = Holdups(self._members)
        self._late = Lateness(means)
        self._orphans: dict[Member, float] = {}
        """Those whom nobody feeds, and since when."""
        self._digest: bytes | None = None
        self._leaving: dict[int, Member] = {}
        """By id, those that have yet to say that they have stopped."""
        self._open = True
        self._tries = Tries()
        self._apart = 0
        """Members that are fed by the root for that reason."""
        self._reached: set[int] = set()
        """Ids of nodes that have reached another one."""
        self.sent: Counter[int] = Counter()
        """Bytes, by who sent them."""
        self.left_out: list[tuple[str, str]] = []
        """Names of hosts that were left out, and why."""
        self._joined = 0
        self.through_ssh: dict[int, int] = {}
        """By id of a host that got it through ssh, of whom last."""
        self.heard_s = t
        """When anybody last said anything."""

    @property
    def active(self) -> bool:
        """Is there anybody in it, or yet to say that it has left?"""
        return bool(self._members or self._leaving)

    @property
    def served(self) -> int:
        """Hosts that got it, or are to get it yet."""
        return self._joined - len(self.left_out)

    # Who is in it.

    def join(self, targets: list[Target], t: float, heads: int = 1) -> Errands:
        """These follow, in this order; so many of them, evenly spread, are fed by the root."""
        self.heard_s = t
        self._joined += len(targets)
        parts = min(heads, len(targets))
        first = {part * len(targets) // parts for part in range(1, parts)}
        for at, target in enumerate(targets):
            before = self._members.last if at not in first else None
            member = Member(target, before, secret=self._means.secret(), grew_s=t)
            member.due.expect(t)
            self._ways.left(target.id)
            fields = {"secret": member.secret, **self._leading.prepare(member), **self._terms}
            tell = self._asking.ask(target.id, "join", fields, partial(self._said, member))
            member.number = member.asked = tell.message["n"]
            self._members.add(member)
            yield tell

    def spare(self, ids: Iterable[int]) -> None:
        """Nobody of these is left out for being slow: nothing else comes to them."""
        self._holdups.spared.update(ids)

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
            late = member.asked == member.number and member.due.is_late(self._means, member.target.id, t)
            if late and self._asking.is_at_it(member.target.id, t):
                yield from self._leave_out(member, "it still takes away what an earlier copy left", t, True)

    def leave_out_stuck(self, t: float) -> Errands:
        """Those that say this and that, and never get to the end."""
        for member in list(self._late.progress(self._members, t)):
            yield from self._leave_out(member, "it doesn't get to the end", t, True)

    def overdue(self, t: float) -> list[Target]:
        """Hosts whose workers hang: they haven't said what they have to say."""
        late = [*self._late.answers((*self._members, *self._leaving.values()), t)]
        return [member.target for member in (*late, *self._late.ends(self._members, t))]

    # What it was.

    def digested(self, digest: bytes | None, t: float) -> Errands:
        """All of it is there, and this is what a digest of it is; None: nobody waits for that."""
        self._digest = digest
        self._late.whole(t)
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
        elif "request" in message:
            yield from self._leading.sign(member, message)
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
            fed = self._leading.holder(count(message["link"]))
            if fed is not None and fed.feeder is member:
                yield from self._of_way(member, fed, code, reason, t)
        elif kind == "held":
            yield from self._leave_out_slow(self._holdups.held(member, code, t), t)
        yield from self._confirm(member)

    def _root_said(self, fed: Member, message: dict[str, Any], t: float) -> Errands:
        """The root's worker, of what it serves to one member."""
        current = self._leading.holder(message["n"]) is fed
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
        self._leading.end(member)
        member.due.expect(t)
        member.grew_s = t
        member.secret = self._means.secret()
        fields = {"what": member.number, "secret": member.secret, **self._leading.prepare(member)}
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
        member.asked, member.due.by_s = 0, None
        if "port" not in message:  # so whoever was to feed it feeds nobody
            self._members.feed(member, None)
            yield from self._settle()
            return
        port = count(message["port"])
        if not 0 < port <= MOST_PORT:
            raise ValueError("a port that is none")
        if member.feeder is not None and not member.feeder.inside:
            self._members.feed(member, None)
        yield from self._leading.lead(member, port)

    def _of_way(self, feeder: Member | None, fed: Member, code: str, reason: str, t: float) -> Errands:
        """What became of the way from one to the next."""
        if code == "through":
            return
        giver, taker = feeder.target.id if feeder else ROOT_ID, fed.target.id
        if not code:
            self._find(giver, fed)
            self._ways.began(giver, taker, t, anew=False)
            self._tries.led(giver, taker)
        elif code == "gone":  # it has these bytes no more; the root has them
            yield from self._feed(fed, None, t)
            yield from self._settle()
        elif fed.complete:
            return
        elif not fed.found and self._paths.failed(giver, taker, code, reason, by_ssh=fed.by_ssh):
            yield from self._feed(fed, feeder, t)
        else:
            yield from self._broke(feeder, fed, said_by_ssh(reason) if code == "ssh" else reason, t)

    def _find(self, giver: int, fed: Member) -> None:
        """A feeder got to the one that it is to feed."""
        if giver != ROOT_ID or not fed.by_ssh:  # that leads to all of them
            self._reached.add(giver)
        self._leading.found(fed)
        self._paths.found(giver, fed.target.id, by_ssh=fed.by_ssh)
        self.through_ssh.pop(fed.target.id, None)
        if fed.by_ssh:
            self.through_ssh[fed.target.id] = giver

    def _broke(self, feeder: Member | None, fed: Member, reason: str, t: float) -> Errands:
        giver = feeder.target.id if feeder else ROOT_ID
        if self._apart < MOST_APART and self._paths.apart(giver, fed.target.id):
            self._apart += 1
            yield from self._feed(fed, None, t)
            yield from self._settle()
            return
        self._leading.lost(fed)
        self._tries.failed(giver, fed.target.id)
        many = self._tries.many(len(self._members))
        hopeless = many and not self._reached and not self._leading.looking
        if hopeless or (feeder is None and self._tries.from_nowhere(ROOT_ID)):
            yield from self.dissolve(reason, t)
        elif not self._hosts.attached(fed.target.id) or self._tries.to_nowhere(fed.target.id):
            yield from self._leave_out(fed, reason, t, True)
        elif feeder is not None and self._tries.from_nowhere(giver):
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
        feeder, link = member.feeder, member.link
        self._remove(member)
        self._holdups.changed(t)
        self.left_out.append((member.target.name, reason))
        self.through_ssh.pop(member.target.id, None)
        if says:
            self._leaving[member.target.id] = member
            member.due.expect(t)
            self._asking.expect(member.target.id)
            yield self._asking.ask(member.target.id, "leave", {"what": member.number}, None)
        if feeder is None and link:
            yield self._asking.ask(ROOT_ID, "leave", {"what": link}, None)
        yield from self._feed_all(member, feeder if feeder is not None and feeder.inside else None, t)
        yield from self._settle()

    def _leave_out_slow(self, member: Member | None, t: float) -> Errands:
        if member is not None:
            yield from self._leave_out(member, "it is slow", t, True)

    def _remove(self, member: Member) -> None:
        self._members.remove(member)
        self._orphans.pop(member, None)
        self._leading.end(member)
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
