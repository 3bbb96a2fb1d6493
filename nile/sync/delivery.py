"""One stream, from its recording to its end. Pure.

record, at the root ----> chain of hosts, each applies and passes on ----> each is checked
    against one of them, which is the last in the chain: what it has must not change before
    the recording is over; or, where hosts have nothing yet, against nothing
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nile.cascade.verdicts import Judgement
from nile.events import Code, Verdict
from nile.sync.asking import Errands
from nile.sync.chain import Chain
from nile.sync.targets import Step, Target, count, words
from nile.topology.model import ROOT_ID

if TYPE_CHECKING:
    from nile.sync.streaming import Streams

ATTEMPTS = 2
STUCK_S = 200.0
"""A chain of which nobody says anything for so long is given up."""


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
