"""Streams: one delta for all hosts that have the same, down a chain of them. Pure.

    record, at the root ----> chain of hosts, each applies and passes on ----> each is checked
        against one of them, which is the last in the chain: what it has must not change before
        the recording is over; or, where hosts have nothing yet, against nothing

A stream only saves time. Whoever comes out of it without an equal copy is
served as any other host (see giving).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from nile.agent.worker.manifest import TEMPORARY
from nile.cascade import Publish
from nile.cascade.tree import Tree as Hosts
from nile.cascade.verdicts import Judgement
from nile.events import Code, Notice, Verdict
from nile.sync.asking import Asking, Errands
from nile.sync.chain import Chain
from nile.sync.options import SyncOptions
from nile.sync.targets import Difference, Step, Target, count, words
from nile.sync.ways import Ways
from nile.sync.wording import left_out, which_way
from nile.topology.model import ROOT_ID

RING = 32 << 20
"""Bytes of the stream that each host keeps in memory, for the one behind it."""
LEAST = 2
"""Hosts that have the same, for which a stream is recorded."""
AT_ONE_TIME = 2
"""Streams from the root at one time."""
ATTEMPTS = 2
STUCK_S = 200.0
"""A chain of which nobody says anything for so long is given up."""
FAMILIES = frozenset({"ACLs", "xattrs"})
"""What all that read a recording must have, if those have it that made it."""


class Delivery:
    """One stream, from its recording to its end."""

    def __init__(
        self, streams: Streams, targets: list[Target], recorder: Target | None, attempt: int
    ) -> None:
        self._streams = streams
        self._asking = streams.asking
        self.targets = targets
        self._recorder = recorder
        self.attempt = attempt
        self._secret = streams.secret()
        self._number = 0
        self._recorded = False
        self._complete = self._joined = False
        self._free = recorder is None
        """Is nobody busy any more with what it is recorded against?"""
        self.chain: Chain | None = None
        self.left: list[Target] = []
        """Those for whom nothing came of it."""
        self.again: list[Target] = []
        """Those that another attempt may serve."""
        self.root_sent = 0

    @property
    def over(self) -> bool:
        """Is nothing of it left?"""
        return self._recorded and not self._awaits_last and (self.chain is None or not self.chain.active)

    def begin(self) -> Errands:
        """Have it recorded."""
        if self._recorder is None:
            yield from self._record("", 0)
            return
        fields = {"secret": self._secret, "loopback": True}
        yield self._asking.ask(self._recorder.id, "receive", fields, self._received)

    def _received(self, message: dict[str, Any], t: float) -> Errands:
        """The one that it is recorded against waits; or it couldn't."""
        assert self._recorder is not None
        if "port" in message:
            port = count(message["port"])
            yield self._asking.reach(ROOT_ID, self._recorder.id, port, self._reached)
        else:
            self._free = True
            if self.chain is None:
                yield from self._come_to_nothing()
            yield from self._join_last()

    def _reached(self, message: dict[str, Any], t: float) -> Errands:
        if "port" in message and not self._recorded:
            yield from self._record("127.0.0.1", count(message["port"]))
        else:
            yield from self._come_to_nothing()

    def _come_to_nothing(self) -> Errands:
        if not self._recorded:
            self._recorded = True
            self.left += [target for target in self.targets if target.step is Step.STREAMING]
            yield from self._streams.finish(self)

    def _record(self, address: str, port: int) -> Errands:
        streams, recorder = self._streams, self._recorder
        terms = streams.terms(max((target.may_delete for target in self.targets), default=0))
        fields = {
            **terms,
            "address": address,
            "port": port,
            "secret": self._secret,
            "peer": recorder.rsync if recorder else None,
            "limit": streams.limit,
        }
        tell = self._asking.ask(ROOT_ID, "record", fields, self._said)
        self._number = tell.message["n"]
        yield tell
        recorded = streams.recorded(recorder)
        self.chain = Chain(
            self._asking,
            streams.hosts,
            self._number,
            {**terms, "recorded": recorded, "ring": streams.ring},
            streams.identity,
            streams.address,
            streams.secret,
            self._out,
            streams.ways,
        )
        yield from self.chain.join([target for target in self.targets if target is not recorder])
        if recorder is None:
            yield from self.chain.close()

    def _said(self, message: dict[str, Any], t: float) -> Errands:
        """How far the recording is, and how it ended."""
        assert self.chain is not None
        if message.get("more") is True:
            # The last one waits for the one that is recorded against, but not for longer than it can.
            if count(message["written"]) > self._streams.ring // 8:
                yield from self.chain.close()
            return
        self._recorded = True
        self.root_sent = count(message.get("sent", 0))
        recorder = self._recorder
        if message.get("code") == Code.SOURCE_CHANGED:
            remedy = "run it again once nobody writes there"
            self._streams.broken = Judgement(
                Verdict.FAILED, Code.SOURCE_CHANGED, words(message["reason"]), remedy
            )
        elif message.get("code"):
            if recorder is not None and recorder.step is Step.STREAMING:
                self.left.append(recorder)
            yield from self.chain.close()
        else:
            self._complete = True
            self._streams.ways.pace.whole((each.id for each in self.targets), count(message["total"]))
            yield from self._join_last()
        yield from self._streams.finish(self)

    def _join_last(self) -> Errands:
        """What the one has against which it was recorded may change now."""
        if self._awaits_last and self._free:
            assert self._recorder is not None
            assert self.chain is not None
            self._joined = True
            yield from self.chain.join([self._recorder])
            yield from self.chain.close()

    @property
    def _awaits_last(self) -> bool:
        recorder = self._recorder
        return (
            self._complete and not self._joined and recorder is not None and recorder.step is Step.STREAMING
        )

    def _out(self, target: Target, message: dict[str, Any], t: float) -> Errands:
        """A member has nothing more to do with the chain."""
        if not message.get("code"):
            yield from self._streams.check(target)
        elif message["code"] == "aborted" and self.attempt < ATTEMPTS:
            self.again.append(target)
        else:
            self.left.append(target)
        yield from self._streams.finish(self)

    def gone(self, target: Target, t: float) -> Errands:
        """A host has its verdict."""
        if target not in self.targets:
            return
        self.targets.remove(target)
        self.left = [each for each in self.left if each is not target]
        self.again = [each for each in self.again if each is not target]
        if self.chain is not None:
            yield from self.chain.gone(target, t)
            if target is self._recorder:
                yield from self.chain.close()
        elif target is self._recorder:
            yield from self._come_to_nothing()
        yield from self._streams.finish(self)

    def look_after(self, t: float) -> Errands:
        """Some time has passed."""
        if self.chain is None:
            return
        yield from self.chain.look_after(t)
        if self.chain.active and t - max(self.chain.heard_s, self._streams.began_s) > STUCK_S:
            yield from self.chain.dissolve(f"nobody said anything for {STUCK_S:.0f} s", t)

    def forget(self) -> Errands:
        """Have the root give the room back."""
        if self._number:
            yield self._asking.ask(ROOT_ID, "forget", {"what": self._number}, None)


class Streams:
    """All streams of a run. `broken`: why the source serves nobody; `sent`: bytes, by who sent them."""

    def __init__(
        self,
        options: SyncOptions,
        run: str,
        names: list[bytes],
        hosts: Hosts,
        asking: Asking,
        check: Callable[[Target], Errands],
        address: Callable[[int, int], str],
        secret: Callable[[], bytes],
        ways: Ways,
        identity: Callable[[], bytes],
        ring: int = RING,
    ) -> None:
        self._options = options
        self._run = run
        self._names = names
        self.hosts = hosts
        self.asking = asking
        self.check = check
        self.address = address
        self.secret = secret
        self.ways = ways
        self.ring = ring
        self._make_identity = identity
        self.identity = b""
        """What all members of all chains know each other by; empty where they talk in the clear."""
        self._rsync: dict[str, Any] | None = None
        self._waiting: list[tuple[list[Target], Target | None, int]] = []
        self._under_way: list[Delivery] = []
        self.began_s = 0.0
        self.sent: Counter[int] = Counter()
        self.broken: Judgement | None = None

    @property
    def idle(self) -> bool:
        """Is no stream under way, or to come?"""
        return not (self._waiting or self._under_way)

    def begin(
        self,
        differing: Iterable[Target],
        rsync: dict[str, Any] | None,
        size: int,
        estimate: Callable[[Target], Difference | None],
        t: float,
    ) -> Errands:
        """Take of these hosts those for which a stream can be recorded. `rsync` is the root's.

        `size` is that of all files of the source, in bytes.
        """
        self._rsync = rsync
        self.began_s = t
        if rsync is None or any(b"\n" in pattern for pattern in self._options.excludes):
            return  # a recording is made by another rsync, that reads patterns line by line
        differing = list(differing)
        groups = self._groups(differing)
        sizes = sorted(map(len, groups), reverse=True)
        if text := which_way(sizes, len(differing) - sum(sizes)):
            yield Publish(Notice(text))
        if groups and not self._options.plain:
            self.identity = self._make_identity()
        for targets in sorted(groups, key=len, reverse=True):
            found = estimate(targets[0])
            new = found is not None and found.move >= size and (self._options.whole or not found.changed)
            oldest = min(targets, key=_version)
            # What two agree on a later one knows too, and not the other way round.
            alone = new and _version(oldest) >= tuple(rsync["version"])
            for target in targets:
                target.step = Step.STREAMING
            self._waiting.append((targets, None if alone else oldest, 1))
        yield from self._go_on()

    def _groups(self, differing: Iterable[Target]) -> list[list[Target]]:
        """Hosts that have the same, each group as it hangs in the tree: neighbours are near each other."""
        place = {node_id: at for at, node_id in enumerate(in_order(self.hosts))}
        groups: dict[object, list[Target]] = {}
        for target in differing:
            if target.rsync is not None and target.found is not None:
                has = FAMILIES & set(target.rsync["has"])
                key = (target.found.like, target.owner, frozenset(has))
                groups.setdefault(key, []).append(target)
        return [
            sorted(targets, key=lambda target: place.get(target.id, len(place)))
            for targets in groups.values()
            if len(targets) >= LEAST
        ]

    def _go_on(self) -> Errands:
        while self._waiting and len(self._under_way) < AT_ONE_TIME:
            targets, recorder, attempt = self._waiting.pop(0)
            delivery = Delivery(self, targets, recorder, attempt)
            self._under_way.append(delivery)
            yield from delivery.begin()

    def finish(self, delivery: Delivery) -> Errands:
        """Perhaps nothing of it is left: then those for whom nothing came of it are as any others."""
        if not delivery.over or delivery not in self._under_way:
            return
        self._under_way.remove(delivery)
        yield from delivery.forget()
        chain = delivery.chain
        if chain is not None:
            self.sent.update(chain.sent)
            if chain.left_out:
                yield Publish(Notice(left_out(chain.left_out)))
        self.sent[ROOT_ID] += delivery.root_sent
        again = [target for target in delivery.again if target.step is Step.STREAMING]
        if len(again) >= LEAST:
            self._waiting.append((again, min(again, key=_version), delivery.attempt + 1))
        else:
            delivery.left += again
        for target in delivery.left:
            if target.step is Step.STREAMING:
                target.step = Step.DIFFERS
        yield from self._go_on()

    def gone(self, target: Target, t: float) -> Errands:
        """A host has its verdict."""
        self._waiting = [entry for entry in map(partial(_without, target), self._waiting) if entry[0]]
        for delivery in list(self._under_way):
            yield from delivery.gone(target, t)

    def look_after(self, t: float) -> Errands:
        """Some time has passed."""
        for delivery in list(self._under_way):
            yield from delivery.look_after(t)

    # What all are told.

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

    def terms(self, may_delete: int) -> dict[str, Any]:
        """What, and how: the same at both ends of a recording, and for all that read it."""
        options = self._options
        return {
            "dest": options.place,
            "temporary": TEMPORARY + self._run.encode(),
            "names": self._names,
            "copy": {
                "delete": options.delete,
                "excludes": list(options.excludes),
                "checksum": options.checksum,
                "whole": options.whole,
                "numeric_ids": options.numeric_ids,
                "chown": options.chown,
                "bwlimit": 0,
                "max_delete": may_delete,
            },
        }


def in_order(hosts: Hosts) -> Iterator[int]:
    """Ids of all hosts: each one, then those below it. So a chain goes over each uplink once."""
    todo = list(reversed(hosts.top))
    while todo:
        node_id = todo.pop()
        yield node_id
        todo += reversed(hosts.children(node_id))


def _version(target: Target) -> tuple[int, ...]:
    return tuple(target.rsync["version"]) if target.rsync is not None else ()


def _without(
    target: Target, entry: tuple[list[Target], Target | None, int]
) -> tuple[list[Target], Target | None, int]:
    targets, recorder, attempt = entry
    left = [each for each in targets if each is not target]
    if recorder is target:
        recorder = min(left, key=_version, default=None)
    return left, recorder, attempt
