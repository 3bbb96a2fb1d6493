"""Streams: one delta for all hosts that have the same, down a chain of them (see delivery). Pure.

A stream only saves time. Whoever comes out of it without an equal copy is
served as any other host (see giving). But for hosts that have no rsync: these
get an archive with all others that have nothing yet, and there is no other way
to them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from nile.agent.worker.hashing import BLAKE2B, SHA256
from nile.cascade import Publish
from nile.cascade.tree import Tree as Hosts
from nile.cascade.verdicts import Judgement
from nile.events import Notice
from nile.sync.ahead import MOST, Ahead
from nile.sync.asking import Errands
from nile.sync.delivery import ATTEMPTS, Delivery, Group, listed_terms, recording
from nile.sync.judging import OWN_FAULT
from nile.sync.means import Means
from nile.sync.survey import Survey
from nile.sync.targets import Difference, Step, Target
from nile.sync.wording import left_out, through_ssh, which_way
from nile.topology.model import ROOT_ID

RING = 32 << 20
"""Bytes of the stream that each host keeps in memory, for the one behind it."""
LEAST = 2
"""Hosts that have the same, for which a stream is recorded."""
AT_ONE_TIME = 2
"""Streams from the root at one time."""
FAMILIES = frozenset({"ACLs", "xattrs"})
"""What all that read a recording must have, if those have it that made it."""


class Streams:
    """All streams of a run. `broken`: why the source serves nobody; `sent`: bytes, by who sent them."""

    def __init__(
        self,
        means: Means,
        check: Callable[[Target], Errands],
        fail: Callable[[Target, Judgement], Errands],
        identity: Callable[[], bytes],
        ring: int = RING,
    ) -> None:
        self.means = means
        self._options = means.options
        self.check = check
        self.fail = fail
        self.ring = ring
        self._make_identity = identity
        self.identity = b""
        """What all members of all chains know each other by; empty where they talk in the clear."""
        self.hashed = ""
        """How it is hashed, so that hosts use only what the root sent; "" in the clear: all are trusted."""
        self._rsync: dict[str, Any] | None = None
        self._waiting: list[Group] = []
        self._under_way: list[Delivery] = []
        self.began_s = 0.0
        self.sent: Counter[int] = Counter()
        self.broken: Judgement | None = None
        self.ahead = Ahead(means.asking, means.secret)

    def record_ahead(self, source: Survey, target: Target, found: Difference) -> Errands:
        """One host lacks that: record it, if the others of the run may well lack just the same."""
        if self.ahead.begun or self.limit or found.move > MOST or not self._can_record(source):
            return
        if target.has_nothing:  # nor have others, perhaps, and then they get an archive
            return
        only = self._only(source, found)
        if not (only and self._recorded_alone(target, source, found, only)):
            return
        self._hash(source, [target])
        terms = listed_terms(self.means)
        yield from self.ahead.begin(recording(self, terms, None, only))

    def begin(
        self,
        differing: Iterable[Target],
        source: Survey,
        estimate: Callable[[Target], Difference | None],
        t: float,
    ) -> Errands:
        """Take of these hosts those for which a stream can be recorded."""
        self._rsync = source.rsync
        self.began_s = t
        differing = list(differing)
        self._hash(source, differing)
        differing.sort(key=self._place())
        empty = self._empty(differing, source)
        others = [target for target in differing if target.rsync is not None and target not in empty]
        able = self._can_record(source)
        groups = self._groups(others) if able else []
        sizes = sorted(map(len, groups), reverse=True)
        bare = sum(target.rsync is None for target in empty)
        if text := which_way(sizes, (len(others) - sum(sizes)) if able else 0, len(empty), bare):
            yield Publish(Notice(text))
        if (groups or empty) and not self._options.plain:
            self.identity = self._make_identity()
        made = [self._group(targets, source, estimate(targets[0])) for targets in groups]
        if empty:
            made.append(Group(empty, None, b"", archive=True))
        for group in sorted(made, key=lambda each: len(each.targets), reverse=True):
            self._wait(group)
        yield from self._go_on(t)
        yield from self.ahead.drop()

    def _hash(self, source: Survey, targets: Iterable[Target]) -> None:
        """Each of them hashes all of a stream, and one that takes long holds up others."""
        if not self._options.plain:
            quicker = {source.hash, *(target.hash for target in targets)}
            self.hashed = SHA256 if quicker == {SHA256} else BLAKE2B

    def _can_record(self, source: Survey) -> bool:
        """A recording is made by another rsync, that reads patterns line by line."""
        return source.rsync is not None and not any(b"\n" in each for each in self._options.excludes)

    def _wait(self, group: Group) -> None:
        for target in group.targets:
            target.step = Step.STREAMING
        self._waiting.append(group)

    def _empty(self, differing: Iterable[Target], source: Survey) -> list[Target]:
        """Those that get an archive: whoever has nothing yet; one alone only where there is no other way.

        To unpack it takes a third of the CPU time of an rsync that applies the same, and holes stay holes.
        What it can't have rsync has to bring.
        """
        empty = [target for target in differing if target.rsync is None or target.has_nothing]
        if (len(empty) < LEAST or source.unpackable) and source.rsync is not None:
            return [target for target in empty if target.rsync is None]
        return empty

    def _group(self, targets: list[Target], source: Survey, found: Difference | None) -> Group:
        """How it is to be recorded what they lack."""
        oldest = min(targets, key=_version)
        if oldest.current:  # what isn't named has to be linked there, so all of it is to be known
            return Group(targets, oldest, b"")
        only = self._only(source, found)
        alone = found is not None and self._recorded_alone(oldest, source, found, only)
        return Group(targets, None if alone else oldest, only)

    def _recorded_alone(self, target: Target, source: Survey, found: Difference, only: bytes) -> bool:
        """Can it be recorded against nothing, for hosts of which this one has the oldest rsync?"""
        able = target.rsync is not None and not target.current and _reads(target, source.rsync)
        return able and self._all_is_sent(source, found, only)

    def _all_is_sent(self, source: Survey, found: Difference, only: bytes) -> bool:
        """Does it make no difference what hosts have of the files that are recorded?"""
        if only:
            return self._options.whole and found.move > 0 and not found.touched and not source.attributed
        everything = found.move >= self.means.bulk.size and not found.touched
        return everything and (self._options.whole or not found.changed)

    def _only(self, source: Survey, found: Difference | None) -> bytes:
        """What they lack by name, if that is all that is to be done."""
        options = self._options
        if found is None or not source.based or options.chown or (options.delete and found.extra):
            return b""
        return found.paths

    def _groups(self, differing: Iterable[Target]) -> list[list[Target]]:
        """Hosts that have the same, each group in their order."""
        groups: dict[object, list[Target]] = {}
        for target in differing:
            if target.rsync is not None and target.found is not None:
                has = FAMILIES & set(target.rsync["has"])
                key = (target.found.like, target.owner, bool(target.current), frozenset(has))
                groups.setdefault(key, []).append(target)
        return [targets for targets in groups.values() if len(targets) >= LEAST]

    def _place(self) -> Callable[[Target], int]:
        """Where a host comes in a chain: neighbours are near each other."""
        ordered = rack_by_rack(self.means.hosts, self.means.paths.rack)
        place = {node_id: at for at, node_id in enumerate(ordered)}
        return lambda target: place.get(target.id, len(place))

    def _go_on(self, t: float) -> Errands:
        while self._waiting and len(self._under_way) < AT_ONE_TIME:
            delivery = Delivery(self, self._waiting.pop(0))
            self._under_way.append(delivery)
            yield from delivery.begin(t)

    def finish(self, delivery: Delivery, t: float) -> Errands:
        """Perhaps nothing of it is left: then those for whom nothing came of it are as any others."""
        if not delivery.over or delivery not in self._under_way:
            return
        self._under_way.remove(delivery)
        yield from delivery.forget()
        chain = delivery.chain
        if chain is not None:
            self.sent.update(chain.sent)
            others = delivery.bare | (delivery.let_go if delivery.attempt < ATTEMPTS else set())
            if whom := [each for each in chain.left_out if each[0] not in others]:
                yield Publish(Notice(left_out(whom)))
            if chain.through_ssh:
                yield self._through_ssh(chain.through_ssh, chain.served)
        self.sent[ROOT_ID] += delivery.root_sent
        if delivery.archive:
            yield from self._finish_archive(delivery)
        else:
            self._finish_recording(delivery)
        yield from self._go_on(t)

    def _through_ssh(self, ways: dict[int, int], of: int) -> Publish:
        """Say how the data went, and why."""
        giver, taker, why = self.means.paths.why(next(iter(ways.values())))
        names = self.means.hosts.name(giver), self.means.hosts.name(taker)
        return Publish(Notice(through_ssh(len(ways), of, names, why)))

    def _finish_recording(self, delivery: Delivery) -> None:
        again = [target for target in delivery.again if target.step is Step.STREAMING]
        if len(again) >= LEAST and delivery.attempt < ATTEMPTS:
            oldest = min(again, key=_version)
            self._waiting.append(Group(again, oldest, delivery.only, delivery.attempt + 1))
        else:
            delivery.left += again
        for target in delivery.left:
            if target.step is Step.STREAMING:
                target.step = Step.DIFFERS

    def _finish_archive(self, delivery: Delivery) -> Errands:
        """For those without rsync for whom nothing came of it there is only the same once more.

        Of the others those get it too who are not to blame for what happened, where enough of them are left.
        """
        once_more = delivery.attempt < ATTEMPTS
        able = [each for each in delivery.again if each.rsync is not None and each.step is Step.STREAMING]
        again = []
        for target in delivery.again + delivery.left:
            if target.step is not Step.STREAMING:
                continue
            judgement = delivery.why_not(target)
            if target.rsync is not None:
                target.step = Step.DIFFERS
            elif once_more and judgement.code not in OWN_FAULT:
                again.append(target)
            else:
                yield from self.fail(target, judgement)
        if once_more and len(again) + len(able) >= LEAST:
            again += able
        if again:
            self._wait(Group(sorted(again, key=self._place()), None, b"", delivery.attempt + 1, archive=True))

    def gone(self, target: Target, t: float) -> Errands:
        """A host has its verdict."""
        for group in self._waiting:
            _leave(target, group)
        self._waiting = [group for group in self._waiting if group.targets]
        for delivery in list(self._under_way):
            yield from delivery.gone(target, t)

    def look_after(self, t: float) -> Errands:
        """Some time has passed."""
        for delivery in list(self._under_way):
            yield from delivery.look_after(t)

    # What all are told.

    @property
    def chains(self) -> int:
        """How many chains the hosts of one stream make."""
        return self._options.chains

    @property
    def limit(self) -> int:
        """KiB/s at which a stream may go; 0: as fast as it can."""
        return self._options.bwlimit_kib_s or 0

    def recorded(self, recorder: Target | None) -> dict[str, Any]:
        """The older one of the two versions by which it is recorded, and what both have."""
        assert self._rsync is not None
        other = recorder.rsync if recorder is not None else None
        ends = [self._rsync] if other is None else [self._rsync, other]
        has = set.intersection(*(set(end["has"]) for end in ends))
        return {"version": min(end["version"] for end in ends), "has": sorted(has)}


def in_order(hosts: Hosts) -> Iterator[int]:
    """Ids of all hosts: each one, then those below it."""
    todo = list(reversed(hosts.top))
    while todo:
        node_id = todo.pop()
        yield node_id
        todo += reversed(hosts.children(node_id))


def rack_by_rack(hosts: Hosts, rack: Callable[[int], str]) -> list[int]:
    """Ids of all hosts in the order of the tree, but with each rack together. So a chain enters it once.

    A tree that is flat, or was drawn, may go to and fro between racks. Of whom no rack is known is in a
    branch (`rack(id)` is "").
    """
    tops, top = set(hosts.top), ROOT_ID
    first: dict[str | int, int] = {}
    place: dict[int, tuple[int, int]] = {}
    for at, node_id in enumerate(in_order(hosts)):
        top = node_id if node_id in tops else top
        place[node_id] = (first.setdefault(rack(node_id) or top, at), at)
    return sorted(place, key=place.__getitem__)


def _version(target: Target) -> tuple[int, ...]:
    return _version_of(target.rsync)


def _version_of(rsync: dict[str, Any] | None) -> tuple[int, ...]:
    return tuple(rsync["version"]) if rsync is not None else ()


def _reads(target: Target, rsync: dict[str, Any] | None) -> bool:
    """Can it read what that one of the root's records by itself?

    What two agree on a later one knows too, and not the other way round.
    """
    assert rsync is not None
    assert target.rsync is not None
    families = FAMILIES.intersection(rsync["has"]) <= set(target.rsync["has"])
    return families and _version(target) >= _version_of(rsync)


def _leave(target: Target, group: Group) -> None:
    group.targets = [each for each in group.targets if each is not target]
    if group.recorder is target:
        group.recorder = min(group.targets, key=_version, default=None)
