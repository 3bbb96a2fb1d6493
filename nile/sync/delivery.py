"""One stream, from its recording to its end. Pure.

record, at the root ----> chain of hosts, each applies and passes on ----> each is checked
    against one of them, which is the last in the chain: what it has must not change before
    the recording is over; or, where all is to come, against nothing; or an archive, where
    they have nothing yet
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nile.cascade.verdicts import Judgement
from nile.events import Code, Verdict
from nile.sync.asking import LOOPBACK, Errands
from nile.sync.chain import Chain
from nile.sync.judging import OWN_FAULT, hangs, not_unpacked, told
from nile.sync.lateness import Due
from nile.sync.targets import Step, Target, count, words
from nile.topology.model import ROOT_ID

if TYPE_CHECKING:
    from nile.sync.means import Means
    from nile.sync.streaming import Streams

ATTEMPTS = 2
NEVER_BEGAN = "old-rsync"
"""How a host says that its rsync can't apply what was recorded."""
STOPPED = "stopped"
"""How a host says that it left the chain as it was told to."""
FULL = "spool-full"
"""How the root's worker says that it has no room for it."""
STUCK_S = 200.0
"""A chain of which nobody says anything for so long is given up."""


@dataclass(slots=True)
class Group:
    """Hosts that have the same. `recorder` is the one against which it is recorded what they lack, if any.

    `only` names all that they lack, where that is known (see `targets.Difference`).
    """

    targets: list[Target]
    recorder: Target | None
    only: bytes
    attempt: int = 1
    archive: bool = False
    """They have nothing, and perhaps no rsync."""


def recording(
    streams: Streams, terms: dict[str, Any], recorder: Target | None, only: bytes
) -> dict[str, Any]:
    """What the root's worker is told of a recording, against that host or against nothing."""
    # Whoever applies it links files to its own current release, whatever that is called.
    beside = streams.means.options.linked_to(recorder.current if recorder else "")
    return {
        **terms,
        "copy": {**terms["copy"], "link_dest": beside},
        "address": "",
        "port": 0,
        "peer": recorder.rsync if recorder else None,
        "archive": False,
        "limit": streams.limit,
        "hashed": streams.hashed,
        "only": only,
    }


def listed_terms(means: Means) -> dict[str, Any]:
    """Of what is named: then nothing is to go, and rsync would look for that in all directories."""
    return means.terms(0, delete=False, listed=True)


class Delivery:
    """One stream, from its recording to its end."""

    def __init__(self, streams: Streams, group: Group) -> None:
        self._streams = streams
        self._asking = streams.means.asking
        self.targets = dict.fromkeys(group.targets)
        self.only = group.only
        self._recorder = recorder = group.recorder
        self.attempt = group.attempt
        self._secret = streams.means.secret()
        self._number = 0
        self._receiving = 0
        self._recorded = False
        """Whatever came of the recording, nothing more does."""
        self._led = self._complete = self._joined = self._served = False
        self._free = recorder is None
        """Is nobody busy any more with what it is recorded against?"""
        self._due = Due()
        """By when whom it is recorded against has to answer."""
        self.chain: Chain | None = None
        self.left: list[Target] = []
        """Those for whom nothing came of it."""
        self.again: list[Target] = []
        """Those that another attempt may serve."""
        self.archive = group.archive
        self.bare = {target.name for target in group.targets if target.rsync is None}
        """Names of those for which there is no other way."""
        self.let_go: set[str] = set()
        """Names of those that were told to leave because nothing was recorded."""
        self._reasons: dict[int, tuple[str, str]] = {}
        """By id: code and reason of those for whom nothing came of it."""
        self._failure: Judgement | None = None
        """Why nothing was recorded, for those who only have an archive to wait for."""
        self.root_sent = 0

    @property
    def over(self) -> bool:
        """Is nothing of it left?"""
        chain, recorder = self.chain, self._recorder
        free = self._free or recorder is None or recorder.step is Step.OVER
        return self._recorded and free and not self._awaits_last and (chain is None or not chain.active)

    # The recording.

    def begin(self, t: float) -> Errands:
        """Have it recorded."""
        if self._recorder is None:
            yield from self._record("", 0, t)
            return
        fields = {"secret": self._secret, "loopback": True, "recorded": True}
        tell = self._asking.ask(self._recorder.id, "receive", fields, self._received)
        self._receiving = tell.message["n"]
        self._due.expect(t)
        yield tell

    def _received(self, message: dict[str, Any], t: float) -> Errands:
        """The one that it is recorded against waits; or it couldn't; or that is over."""
        assert self._recorder is not None
        self._due.by_s = None
        if "port" in message:
            if self._led:
                raise ValueError("it says its port again")
            self._led = True
            port = count(message["port"])
            yield self._asking.reach(ROOT_ID, self._recorder.id, port, self._reached)
            return
        self._free = True
        if self.chain is None:
            yield from self._come_to_nothing(t)
        yield from self._join_last(t)
        yield from self._streams.finish(self, t)

    def _reached(self, message: dict[str, Any], t: float) -> Errands:
        if "port" in message and not self._recorded:
            yield from self._record(LOOPBACK, count(message["port"]), t)
        else:
            yield from self._come_to_nothing(t)

    def _record(self, address: str, port: int, t: float) -> Errands:
        streams, recorder = self._streams, self._recorder
        terms = self._terms()
        fields = {
            **recording(streams, terms, recorder, self.only),
            "address": address,
            "port": port,
            "archive": self.archive,
        }
        self._number = streams.ahead.take(fields, self._said)
        if not self._number:
            tell = self._asking.ask(ROOT_ID, "record", {**fields, "secret": self._secret}, self._said)
            self._number = tell.message["n"]
            yield tell
        recorded = {"archive": True} if self.archive else streams.recorded(recorder)
        how = {"recorded": recorded, "ring": streams.ring, "hashed": streams.hashed}
        self.chain = Chain(streams.means, self._number, {**terms, **how}, streams.identity, self._out, t)
        if self.archive and self.attempt >= ATTEMPTS:
            self.chain.spare(target.id for target in self.targets if target.rsync is None)
        others = [target for target in self.targets if target is not recorder]
        yield from self.chain.join(others, t, streams.chains)
        if recorder is None:
            yield from self.chain.close()
        yield from streams.ahead.catch_up(t)

    def _terms(self) -> dict[str, Any]:
        means = self._streams.means
        if self.only:
            return listed_terms(means)
        doomed = max((target.may_delete for target in self.targets), default=0)
        # Of who may have been given something forged, sizes and times say nothing.
        forged = any(target.by_contents for target in self.targets)
        return means.terms(doomed, checksum=means.options.checksum or forged)

    def _said(self, message: dict[str, Any], t: float) -> Errands:
        """How far the recording is, and how it ended."""
        assert self.chain is not None
        self.chain.heard_s = t
        if message.get("more") is True:
            # The last one waits for the one that is recorded against, but not for longer than it can.
            if count(message["written"]) > self._streams.ring // 8:
                yield from self.chain.close()
            return
        self.root_sent += count(message.get("sent", 0))
        if self._recorded:  # nobody wanted it any more
            return
        if message.get("code"):
            yield from self._failed(message, t)
        else:
            self._recorded = self._complete = True
            self._await_free(t)
            self._streams.means.ways.pace.whole((each.id for each in self.targets), count(message["total"]))
            yield from self.chain.digested(message.get("digest") if self._streams.hashed else None, t)
            yield from self._join_last(t)
        yield from self._streams.finish(self, t)

    def _failed(self, message: dict[str, Any], t: float) -> Errands:
        assert self.chain is not None
        code, reason = words(message["code"]), words(message["reason"])
        if code == Code.SOURCE_CHANGED:
            remedy = "run it again once nobody writes there"
            self._streams.broken = Judgement(Verdict.FAILED, Code.SOURCE_CHANGED, reason, remedy)
        if code == FULL:  # it would be full again
            self.attempt = ATTEMPTS
        yield from self._end_recording(t)
        if self.archive:  # who was served what isn't there needn't look for another way
            self._failure = told(message, Code.COPY)
            before = len(self.chain.left_out)
            yield from self.chain.dissolve(reason, t)
            self.let_go.update(name for name, _ in self.chain.left_out[before:])
        yield from self.chain.close()

    def _end_recording(self, t: float) -> Errands:
        """It came to nothing: whom it was recorded against is told."""
        self._recorded = True
        recorder = self._recorder
        if recorder is not None and recorder.step is Step.STREAMING:
            self.left.append(recorder)
            self._await_free(t)
            if not self._free:
                yield self._asking.ask(recorder.id, "abandon", {"what": self._receiving}, None)

    def _come_to_nothing(self, t: float) -> Errands:
        """It didn't even begin."""
        if self._recorded:
            return
        others = [each for each in self.targets if each is not self._recorder and each.step is Step.STREAMING]
        self.again += others
        yield from self._end_recording(t)
        yield from self._streams.finish(self, t)

    # The chain.

    def _join_last(self, t: float) -> Errands:
        """What the one has against which it was recorded may change now."""
        if self._awaits_last and self._free:
            assert self._recorder is not None
            assert self.chain is not None
            self._joined = True
            yield from self.chain.join([self._recorder], t)
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
            self._served = True
            yield from self._streams.check(target)
        else:
            # Whoever was before it may have forged an end: sizes and times may be right, and nothing else.
            self._reasons[target.id] = (words(message["code"]), words(message["reason"]))
            target.by_contents = bool(self._streams.hashed) and message["code"] != NEVER_BEGAN
            let_go = message["code"] == STOPPED and target.name in self.let_go
            (self.again if let_go or message["code"] == "aborted" else self.left).append(target)
        yield from self._perhaps_over(t)

    def _perhaps_over(self, t: float) -> Errands:
        """Where nobody is left who would get it, it needn't be recorded to its end."""
        chain = self.chain
        if chain is not None and not (chain.active or self._recorded or self._served):
            yield from self._end_recording(t)
            yield from self.forget()
        yield from self._streams.finish(self, t)

    def why_not(self, target: Target) -> Judgement:
        """The verdict on a host for which nothing came of it, and which has no rsync."""
        code, reason = self._reasons.get(target.id, ("", "nothing came of the stream"))
        left_out = dict(self.chain.left_out).get(target.name, "") if self.chain is not None else ""
        own = not_unpacked(code, reason, left_out if code in ("", STOPPED) else "")
        return own if self._failure is None or own.code in OWN_FAULT else self._failure

    def gone(self, target: Target, t: float) -> Errands:
        """A host has its verdict."""
        if target not in self.targets:
            return
        del self.targets[target]
        self.left = [each for each in self.left if each is not target]
        self.again = [each for each in self.again if each is not target]
        if self.chain is not None:
            yield from self.chain.gone(target, t)
            if target is self._recorder:
                yield from self.chain.close()
        elif target is self._recorder:
            yield from self._come_to_nothing(t)
        yield from self._perhaps_over(t)

    def look_after(self, t: float) -> Errands:
        """Some time has passed."""
        chain, late = self.chain, []
        if self._recorder is not None and self._due.hangs(self._streams.means, self._recorder.id, t):
            late.append(self._recorder)
        if chain is not None:
            yield from chain.look_after(t)
            yield from chain.leave_out_late(t)
            yield from chain.leave_out_stuck(t)
            late += chain.overdue(t)
            if self._asking.is_at_it(ROOT_ID, t, self._streams.means.bulk.entries):
                chain.heard_s = t  # as long as the root looks at the source, it has nothing for anybody
            if chain.active and t - chain.heard_s > STUCK_S:
                yield from chain.dissolve(f"nobody said anything for {STUCK_S:.0f} s", t)
        for target in late:
            yield from self._streams.fail(target, hangs("it doesn't say what became of the stream"))

    def _await_free(self, t: float) -> None:
        """Whom it was recorded against has to say that this is over."""
        self._due.by_s = None
        if not self._free and self._recorder is not None:
            self._due.expect(t)
            self._asking.expect(self._recorder.id)

    def forget(self) -> Errands:
        """Have the root give the room back."""
        if self._number:
            number, self._number = self._number, 0
            yield self._asking.ask(ROOT_ID, "forget", {"what": number}, None)
