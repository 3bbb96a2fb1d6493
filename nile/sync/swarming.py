"""A swarm: hosts that differ get their files from each other, and from a seed at the root. Pure.

    torrent, at the root ----> seed, at the root
            |                     ^
            +----> a peer on each host, which are told of each other ----> each is checked

Like a stream, a swarm only saves time. Whoever comes out of it without an equal
copy is served as any other host (see giving): for want of libtorrent or of
room, because it gets nothing while others do, or can't do all that an archive
says. A host that has all puts that in its place, is looked at right away, and
serves on until the last one has all or is out; then they go, and the seed last.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from nile.cascade import Publish
from nile.cascade.verdicts import Judgement
from nile.events import Code, Notice, SwarmProgress, SwarmState
from nile.options import RateLimits
from nile.sync.apart import Apart
from nile.sync.asking import Errands
from nile.sync.carrying import RSYNC, Carrying, program
from nile.sync.choosing import ABLE
from nile.sync.concluding import Lasting
from nile.sync.culprits import Culprits
from nile.sync.equipment import Equipment
from nile.sync.following import Following
from nile.sync.introducing import Introducing
from nile.sync.judging import no_other_way, source_changed, told
from nile.sync.keepers import Keepers
from nile.sync.latecomers import IS_OVER, Admission
from nile.sync.launching import Launching
from nile.sync.limiting import Limiting
from nile.sync.making import Making
from nile.sync.means import Means
from nile.sync.options import Method
from nile.sync.remarks import Remarks
from nile.sync.rootseed import Seed
from nile.sync.streaming import in_order
from nile.sync.swarmers import Swarmer, Swarmers, Tally
from nile.sync.targets import Difference, Step, Target, count, words
from nile.sync.torrents import NO_ROOM, coming, contents, fits, gets, unpackable
from nile.sync.tracking import Tracking
from nile.sync.watching import END_S, STUCK_S, Watch
from nile.sync.wording import NO_RACKS, no_swarm, seed_ended, swarm_begins, swarm_ended
from nile.topology.model import ROOT_ID

if TYPE_CHECKING:
    from nile.bootstrap.authority import Authority

HASHING_S = 90.0
"""The root's worker is given up that says for so long that it doesn't get on with the torrent."""


class Swarm:
    """The swarm of a run. `broken`: why the source serves nobody; `sent`: bytes, by who sent them.

    `check(target)` has a host looked at, `free(target)` says that others need it no more.
    """

    def __init__(
        self,
        means: Means,
        check: Callable[[Target], Errands],
        fail: Callable[[Target, Judgement], Errands],
        free: Callable[[Target], None],
        authority: Callable[[], Authority],
    ) -> None:
        self._means = means
        self._options = means.options
        self._asking = means.asking
        self._pace = means.ways.pace
        self._check = check
        self._fail = fail
        self._free = free
        self._authority = authority
        self._equipment: Equipment | None = None
        self._all = Swarmers(means.hosts, means.options.seeders)
        self._introducing = Introducing(means, self._all)
        self.following = Following(means.paths.rack)
        self._carrying = Carrying(means, self._without)
        self._apart = Apart(means, self._start_next)
        self._limiting = Limiting(means, self._all)
        self._launching = Launching(means, self._all, self.following, self._apart, self._limiting, self._said)
        self._making = Making(means, self._ready, self._not_made)
        self._admission = Admission(means.options, means.bulk)
        self.lasting = Lasting(means.options.serve_s)
        self._ending = self._dissolved = False
        self._parting: Target | None = None
        """The last one: it waits for the seed to end, so that all is known that was sent."""
        self.left: list[Target] = []
        """Whom it served no more as it came to nothing: they are to be served otherwise."""
        self._unsigned = 0
        self._hosts = 0
        self._remarks = Remarks()
        self._tally = Tally(means)
        self._keepers = Keepers(
            self._all.racks.seeders, self._launching, self.following, self._remarks, self._otherwise
        )
        self._culprits = Culprits(means, self.following, self._remarks)
        self._tracking = Tracking(means)
        parts = (self._introducing, self._limiting)
        self._watch = Watch(means, self._all, *parts, self._is_left_out, fail, self.following.stalled)
        self._seed = Seed(means, *parts, self.following, self._tracking, self._tally, self)
        self.active = False
        self.began_s = 0.0
        self.sent: Counter[int] = Counter()
        self.broken: Judgement | None = None

    # Its beginning.

    def begin(
        self,
        differing: Iterable[Target],
        having: list[Target],
        awaited: Iterable[Target],
        estimate: Callable[[Target], Difference | None],
        t: float,
    ) -> Errands:
        """Take these hosts, in the order in which they hang in the tree, but seeders first.

        Of those that are `having` all already, seeders serve it. Others are `awaited`.
        """
        differing = list(differing)
        found = {target: estimate(target) for target in differing}
        place = {node_id: at for at, node_id in enumerate(in_order(self._means.hosts))}
        bulk = self._means.bulk
        fitting = [target for target in differing if fits(self._options, target, found[target], bulk)]
        what = contents(self._options, {target: found[target] for target in fitting})
        if why := unpackable(what, bulk):
            fitting = []
        for target in differing:
            if target not in fitting:
                yield from self._to_rsync(target, why or NO_ROOM)
        seeders = self._all.racks.seeders
        order = {target: (target.id not in seeders, place.get(target.id, len(place))) for target in fitting}
        targets = sorted(fitting, key=order.__getitem__)
        if not targets:
            yield from self._remarks.say()
            return
        self.active, self.began_s, self._hosts = True, t, len(targets)
        self._equipment = Equipment(self._options, self._authority)
        yield Publish(Notice(swarm_begins(len(targets), plain=self._options.plain)))
        for target in targets:
            target.peer = RSYNC
        self._launching.wait({target: gets(self._options, target, found[target]) for target in targets})
        self.following.begin(targets, t)
        yield from self._keepers.begin(having, self._options.release, t)
        if self._options.rack_limit_kib_s and not self._all.racks.several:
            yield Publish(Notice(NO_RACKS))
        self._tally.hosts = len(self._launching)
        self._carrying.coming = {to.id: coming(self._options, to, found[to], bulk) for to in differing}
        self._admission.made(what["only"])
        fields = {**what, **self._equipment.torrent()}
        yield from self._making.begin([target.id for target in [*targets, *awaited]], fields)

    def welcome(self, target: Target, found: Difference, t: float) -> Errands:
        """One more, late; where that can't be, it is served as any host that isn't in a swarm."""
        over = not self.active or self._ending or self._dissolved
        if why := IS_OVER if over else self._admission.refusal(target, found, t):
            yield from self._to_rsync(target, why)
            if not self.active:
                yield from self._remarks.say()
            return
        self._hosts += 1
        self._tally.hosts += 1
        self._watch.moved_s = t
        self._carrying.coming[target.id] = coming(self._options, target, found, self._means.bulk)
        self._launching.wait({target: gets(self._options, target, found)})
        self.following.joins(target, t)
        self.lasting.begins_anew()
        yield from self._start_next(t)

    def _ready(self, message: dict[str, Any], t: float) -> Errands:
        """There is a torrent, and it is signed."""
        if not self.active or self._dissolved:
            return
        yield from self._tracking.begin()
        yield from self._apart.begin(t)
        assert self._equipment is not None
        self._equipment.signed(message)
        self._admission.signed(t)
        takers = self._all.for_seed(self._hosts)
        yield from self._seed.begin(partial(self._equipment.seed, takers=takers), t)

    def _not_made(self, code: str, reason: str, t: float) -> Errands:
        if not self.active or self._dissolved:
            return
        if code == Code.SOURCE_CHANGED:
            self.broken = source_changed(reason)
        yield from self._dissolve(reason, t)

    def _start_next(self, t: float) -> Errands:
        if self._seed.serves and self._apart.known and self._equipment is not None:
            yield from self._launching.go_on(self._making.chunks, self._equipment, t)
        yield from self._carrying.go_on(t)

    # What becomes of its seed.

    def seed_listens(self, t: float) -> Errands:
        """Hosts can be served."""
        self._watch.moved_s = t
        yield from self._start_next(t)

    def seed_lacks(self, seed: Swarmer, message: dict[str, Any], t: float) -> Errands:
        """There is no libtorrent at the root."""
        yield from self._carrying.lacks(seed, message, t)

    def seed_ended(self, message: dict[str, Any], listened: bool, t: float) -> Errands:
        """Nothing of it is left: since it was told to go, or can't go on."""
        if message.get("code") == Code.SOURCE_CHANGED:
            self.broken = source_changed(words(message["reason"]))
        if message.get("code") and (not listened or self.broken):
            yield from self._dissolve(f"at the root: {words(message['reason'])}", t)
        elif message.get("code"):
            yield Publish(Notice(seed_ended(words(message["reason"]))))
        yield from self._perhaps_over(t)

    # What they say.

    def _said(self, peer: Swarmer, message: dict[str, Any], t: float) -> Errands:
        if message.get("more") is not True:
            yield from self._ended(peer, message, t)
        elif not peer.inside:
            return
        elif "lacks" in message:
            yield from self._carrying.lacks(peer, message, t)
        elif "port" in message:
            peer.program = program(message["peer"], carried=peer.carried)
            yield from self._listens(peer, message["port"], t)
        elif "unchecked" in message:
            self._remarks.unchecked(self._means.hosts.name(peer.id), words(message["unchecked"]))
        elif "banned" in message:
            yield from self._culprits.banned(peer.id, message["banned"])
        elif "merging" in message:
            self._watch.puts_in_place(peer, t)
            self.following.is_at(peer.id, SwarmState.PLACING)
        elif "complete" in message:
            yield from self._completed(peer, words(message["trouble"]), t)
            yield from self._perhaps_over(t)
        else:
            self._progress(peer, message, t)

    def _listens(self, peer: Swarmer, port: object, t: float) -> Errands:
        """It can be reached."""
        if peer.port or not 0 < (number := count(port)) < 1 << 16:
            raise ValueError("a port that is none")
        peer.port, peer.due_s, peer.moved_s, self._watch.moved_s = number, None, t, t
        self._all.listens(peer)
        yield from self._tracking.listens(peer)
        self.following.listens(peer.id, t)
        if peer.keeps:
            self.following.is_at(peer.id, SwarmState.COMPLETE)
        else:
            self._means.ways.began(ROOT_ID, peer.id, t)
        yield from self._limiting.keep(peer)
        yield from self._introducing.listens(peer, self._hosts)
        yield from self._start_next(t)

    def _progress(self, peer: Swarmer, message: dict[str, Any], t: float) -> None:
        told = message.get("progress")
        if told is None:
            return
        self.following.report(peer.id, told, t)
        peer.connected = count(told["peers"])
        self._tally.account(peer.id, told)
        if peer.target is not None and not peer.complete:
            at, whole = self._tally.far(told)
            self._watch.gets(peer, at, whole, t)
            self._pace.whole([peer.id], whole)
            self._means.ways.got(peer.id, at)

    def _completed(self, peer: Swarmer, trouble: str, t: float) -> Errands:
        """It has all that it is to get from here, but for what the `trouble` was with."""
        target = peer.target
        assert target is not None
        if peer.complete:
            raise ValueError("it is complete again")
        if not peer.port:
            raise ValueError("it is complete, and took no part")
        target.peer = peer.program or target.peer
        self._all.completes(peer)
        state = SwarmState.LEFT_OUT if trouble else SwarmState.COMPLETE
        self.following.is_at(peer.id, state, trouble)
        peer.due_s = None
        self._watch.served += not trouble
        self._watch.moved_s = t
        self._means.ways.shared(peer.id, peer.got)
        target.seeds = not trouble
        if trouble:
            yield from self._to_rsync(target, trouble)
        else:
            target.swarmed = True
            yield from self._check(target)

    def _ended(self, peer: Swarmer, message: dict[str, Any], t: float) -> Errands:
        """It takes part no more: since it was told to, or can't."""
        self._tally.account(peer.id, message)
        if peer.inside and peer.keeps:
            yield from self._keepers.ended(peer, message)
        elif peer.inside and not peer.complete:
            if message.get("code") == Code.SIGNATURE and peer.target is not None:
                yield from self._refused(peer, message, t)
            else:
                reason = words(message["reason"]) if message.get("code") else "its peer ended"
                yield from self._leave_out(peer, reason, tell=False)
        yield from self._is_out(peer)
        yield from self._start_next(t)
        yield from self._perhaps_over(t)

    def _refused(self, peer: Swarmer, message: dict[str, Any], t: float) -> Errands:
        """It doesn't trust what is signed: who didn't ask for a swarm gets it as where there is none."""
        assert peer.target is not None
        if self._options.method is Method.SWARM:
            yield from self._fail(peer.target, told(message))
            return
        yield from self._leave_out(peer, words(message["reason"]), tell=False)
        self._unsigned += 1
        if not (self._watch.served or self._dissolved) and self._unsigned > (1 - ABLE) * self._hosts:
            yield from self._dissolve(words(message["reason"]), t)

    # Who is out.

    def _without(self, peer: Swarmer, reason: str, t: float) -> Errands:
        """It has no libtorrent, and isn't brought any."""
        if peer.target is None:
            yield from self._dissolve(f"at the root: {reason}", t)
            return
        yield from self._leave_out(peer, reason, tell=True)
        yield from self._start_next(t)
        yield from self._perhaps_over(t)

    def _is_out(self, peer: Swarmer) -> Errands:
        """Nothing of its peer is left, or it isn't waited for."""
        peer.inside = False
        self._carrying.drop(peer)
        self._all.remove(peer)
        self._limiting.drop(peer.id)
        self.following.out(peer.id)
        target: Target | None = peer.target
        last = self._ending and peer.complete and not self._all
        if last and target is not None and target.step is not Step.OVER:
            self._parting = target
        elif target is not None:
            self._serves_no_more(target)
        yield from self._tracking.out(peer)

    def _serves_no_more(self, target: Target) -> None:
        if target.seeds:
            target.seeds = False
            self._free(target)

    def _is_left_out(self, peer: Swarmer, reason: str) -> Errands:
        yield from self._leave_out(peer, reason, tell=True)

    def _leave_out(self, peer: Swarmer, reason: str, *, tell: bool) -> Errands:
        """It gets nothing more here."""
        target = peer.target
        assert target is not None
        yield from self._is_out(peer)
        self.following.is_at(target.id, SwarmState.LEFT_OUT, reason)
        self._means.ways.left(target.id)
        if tell:
            yield self._asking.ask(target.id, "unpeer", {"what": peer.number}, None)
        if peer.keeps:
            self._keepers.left(target, reason)
        else:
            yield from self._to_rsync(target, reason)

    def _to_rsync(self, target: Target, reason: str) -> Errands:
        """It is to be said that it is served otherwise."""
        self._remarks.left_out(target.name, reason)
        target.peer = target.peer or RSYNC
        yield from self._otherwise(target, reason)

    def _otherwise(self, target: Target, reason: str) -> Errands:
        """It is served otherwise, if it can be."""
        if target.rsync is None:
            yield from self._fail(target, no_other_way(reason))
        else:
            target.step = Step.DIFFERS

    def _dissolve(self, reason: str, t: float) -> Errands:
        """Nothing comes of it for those that haven't got all."""
        self._dissolved = True
        if self._launching and not self.broken:
            yield Publish(Notice(no_swarm(reason, asked_for=self._options.method is Method.SWARM)))
        for target in self._launching.drop_all():
            if target.seeds:
                self._serves_no_more(target)
            else:
                self.left.append(target)
                yield from self._otherwise(target, reason)
        for peer in self._all.getting:
            if peer.target is not None and not peer.keeps:
                self.left.append(peer.target)
            yield from self._leave_out(peer, reason, tell=True)
        yield from self._perhaps_over(t)

    def gone(self, target: Target, t: float) -> Errands:
        """A host has its verdict: nothing more is heard of it."""
        if not self.active:
            return
        if self._launching.drop(target):
            self.following.out(target.id)
        if (peer := self._all.of(target.id)) is not None:
            yield from self._is_out(peer)
            yield from self._start_next(t)
        yield from self._perhaps_over(t)

    # Its end.

    def _perhaps_over(self, t: float) -> Errands:
        """Once all have all, or are out, they go; then the seed; then it is over."""
        if not self.active or self._launching or not self._all.done:
            return
        if self._seed.peer is not None and len(self._all) > 0 and self.lasting.goes_on(t):
            self.following.serves_on()
            return
        self._ending = True
        for peer in self._all:
            if peer.inside:
                peer.inside, peer.due_s = False, t + END_S
                yield self._asking.ask(peer.id, "unpeer", {"what": peer.number}, None)
        if self._all:
            return
        yield from self._seed.leave(t)
        if self._seed.gone:
            yield from self._say_how_it_was()

    def cut_short(self, t: float) -> Errands:
        """All hosts have their verdicts, the last one because it was lost: the seed isn't waited for."""
        if self.active:
            yield from self._seed.leave(t)
            yield from self._say_how_it_was()

    def _say_how_it_was(self) -> Errands:
        self.active = False
        if self._parting is not None:
            self._serves_no_more(self._parting)
        self._making.chunks.clear()
        yield from self._tracking.end()
        self.sent.update(self._tally.sent)
        yield from self._remarks.say()
        if hint := self._carrying.hint:
            yield Publish(Notice(hint))
        if total := self._tally.sent.total():
            text = swarm_ended(self._watch.served, self._hosts, self._tally.sent[ROOT_ID], total)
            yield Publish(Notice(text))

    # What is wanted of it.

    def limited(self, limits: RateLimits) -> Errands:
        """Its peers are to keep to these rates."""
        yield from self._limiting.change(limits, [*filter(None, [self._seed.peer]), *self._all])

    def progress(self, t: float) -> SwarmProgress | None:
        """How it is, if it is time to tell that."""
        return self.following.due(t, self._limiting.told(self._seed.peer))

    # Time passes.

    def look_after(self, t: float) -> Errands:
        """Who gets nothing, who knows too few others, and who doesn't answer?"""
        if not self.active:
            return
        yield from self._look_after_root(t)
        yield from self._carrying.go_on(t)
        yield from self._apart.look_after(t)
        if self._seed.serves and self._watch.is_stuck(t, self._carrying.moved_s):
            yield from self._dissolve(f"nobody got anything for {STUCK_S:.0f} s", t)
        yield from self._watch.look_after(t)
        yield from self._perhaps_over(t)
        yield from self._watch.look_after_leaving(t)

    def _look_after_root(self, t: float) -> Errands:
        """Does it get on with the torrent, and then with its seed?"""
        if self._dissolved:
            return
        if self._seed.peer is None:
            entries, late = self._means.bulk.entries, t - self.began_s > HASHING_S
            if late and not self._making.made and not self._asking.is_at_it(ROOT_ID, t, entries):
                yield from self._dissolve("the root doesn't get on with the torrent", t)
        elif self._seed.late(t):
            yield from self._dissolve("at the root: its seed doesn't start", t)
