"""The course of a run that copies: who has what, who gets it from whom, and what became of it. Pure.

    absent --starts--> opening --> scanning --> differs --> copying --> checking --> same --> closing --> over
                                       |           ^                        |          ^
                                       +-----------|------------------------|----------+   it is as the source
                                                   +---- it came to nothing-+

Nothing is written anywhere before every host has been asked what it has, so
that what can't work, and what would be deleted, is known before. A host is
`same` only where its own scan says so: then it serves those below it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from nile.cascade import Errand, Publish, Tell
from nile.cascade.tree import Tree as Hosts
from nile.cascade.verdicts import Judgement
from nile.cascade.work import Judge, Reach
from nile.events import Asked, Code, HostOutput, Notice, Verdict
from nile.sync.counting import Counting
from nile.sync.giving import Giving
from nile.sync.judging import SILENT_S, told, unfit
from nile.sync.options import Ask, Purpose, SyncOptions
from nile.sync.targets import SPEAKING, Step, Target, Tree, count, rsync_facts, words
from nile.sync.wording import dry_run, many_deletions, other_file_systems, summary
from nile.topology.model import ROOT_ID

Errands = Iterator[Errand]
Answer = Callable[[dict[str, Any], float], Errands]


class Sync:
    """The job of a run that copies, says what it would copy, or verifies (see nile.cascade.work.Job).

    `address(giver, taker)` is where a giver reaches a taker; `secret()` gives 32 random bytes.
    """

    def __init__(
        self,
        options: SyncOptions,
        run: str,
        hosts: Hosts,
        address: Callable[[int, int], str],
        secret: Callable[[], bytes],
    ) -> None:
        self._options = options
        self._run = run
        self._hosts = hosts
        self._targets = {
            host.id: Target(host.id, host.name) for host in hosts.hosts.values() if host.node.asked
        }
        self._sources: dict[str, Tree] = {}
        """What the root has, by how owners are compared."""
        self._names: list[bytes] = []
        """What of the destination the source speaks of."""
        self._owners: dict[str, Any] = {}
        self._waiting: dict[int, tuple[int, Answer]] = {}
        self._numbers = itertools.count(1)
        self._counting = Counting(self._targets, self._ask, self._cant, options.checksum)
        self._giving = Giving(
            options,
            self._common(),
            hosts,
            self._targets,
            self._ask,
            self._reach,
            self._check,
            address,
            secret,
        )
        self._room = 0
        """Bytes that the source takes on a disk: less than its size where files have holes."""
        self._closed_at = (0, 0, 0)
        """What decided who may be closed, when that was looked at last."""
        self._begun = False
        self._asked = False
        self._stopped: Judgement | None = None

    # What happens.

    def begin(self, t: float) -> Errands:
        """Read the source."""
        options = self._options
        ask = {"sources": list(options.sources), **self._terms()}
        yield self._ask(ROOT_ID, "read", ask, self._read)

    def started(self, node_id: int, t: float) -> Errands:
        """A host's worker runs."""
        target = self._targets[node_id]
        if self._stopped:
            yield from self._fail(target, self._stopped)
        elif target.step is Step.ABSENT:
            target.heard_s = t
            yield self._open(target)

    def _open(self, target: Target) -> Tell:
        target.step = Step.OPENING
        fields = {
            "dest": self._options.dest,
            "write": self._options.purpose is Purpose.COPY,
            "delete": self._options.delete,
            "run": self._run,
        }
        return self._ask(target.id, "open", fields, self._opened)

    def heard(self, node_id: int, message: dict[str, Any], t: float) -> Errands:
        """An answer, or one of several."""
        number = count(message["n"])
        asked, answer = self._waiting.get(number, (node_id, None))
        if asked != node_id:
            raise ValueError("an answer to what another was asked")
        if answer is None or (node_id and self._targets[node_id].step is Step.OVER):
            return
        if node_id:
            self._targets[node_id].heard_s = t
        if message.get("alive") is True:  # it is at it
            return
        if message.get("more") is True:  # there is more to come: nothing follows from it yet
            yield from answer({**message, "from": node_id}, t)
            return
        del self._waiting[number]
        yield from answer({**message, "from": node_id}, t)
        yield from self._go_on(t)

    def lied(self, node_id: int, reason: str, t: float) -> Errands:
        """A worker that breaks the rules is of no use."""
        if node_id == ROOT_ID:
            yield from self.root_lost(f"it said {reason}", t)
            return
        judgement = Judgement(Verdict.FAILED, Code.AGENT, f"its worker broke the rules: {reason}")
        yield from self._fail(self._targets[node_id], judgement)

    def over(self, node_id: int, t: float) -> Errands:
        """It has its verdict."""
        if node_id not in self._targets:
            return
        target = self._targets[node_id]
        target.step = Step.OVER
        yield from self._giving.gone(target, t)
        self._counting.gone(target)
        yield from self._go_on(t)

    def root_lost(self, reason: str, t: float) -> Errands:
        """Nobody can read the source any more."""
        yield from self._stop(
            Judgement(Verdict.FAILED, Code.SOURCE, f"the root can't go on reading: {reason}")
        )

    def answered(self, yes: bool, t: float) -> Errands:
        """The user says whether so much may be deleted."""
        if yes:
            self._begun = True
            yield from self._go_on(t)
        else:
            yield from self._stop(
                Judgement(Verdict.CANCELLED, Code.CANCELLED, "too much would have been deleted")
            )

    def tick(self, t: float) -> Errands:
        """A host that was out of reach may be back, and another run over."""
        for target in self._targets.values():
            if target.step is Step.WAITING:
                yield self._open(target)
            elif target.step in SPEAKING and t - target.heard_s > SILENT_S:
                reason = f"its worker has said nothing for {SILENT_S:.0f} s: the place to copy to may hang"
                yield from self._fail(target, Judgement(Verdict.FAILED, Code.AGENT, reason))
        yield from self._giving.look_after(t)
        yield from self._go_on(t)

    # What is said, and what it means.

    def _ask(self, node_id: int, do: str, fields: dict[str, Any], answer: Answer | None) -> Tell:
        number = next(self._numbers)
        if answer is not None:
            self._waiting[number] = (node_id, answer)
        return Tell(node_id, {"n": number, "do": do, **fields})

    def _reach(self, giver: int, taker: int, port: int, answer: Answer) -> Errand:
        number = next(self._numbers)
        self._waiting[number] = (giver, answer)
        return Reach(number, giver, taker, port)

    def _common(self) -> dict[str, Any]:
        """What every copy is told; the names are known once the source is read."""
        return {
            "dest": self._options.dest,
            "temporary": b".nile-sync-" + self._run.encode(),
            "names": self._names,
        }

    def _terms(self) -> dict[str, Any]:
        return {"excludes": list(self._options.excludes), "checksum": self._options.checksum}

    @property
    def _copies(self) -> bool:
        return self._options.purpose is Purpose.COPY

    def _read(self, message: dict[str, Any], t: float) -> Errands:
        if message.get("code"):
            reason, remedy = words(message["reason"]), words(message.get("remedy", ""))
            yield from self._stop(Judgement(Verdict.FAILED, Code.SOURCE, reason, remedy))
            return
        self._names += message["names"]
        self._owners = {"users": message["users"], "groups": message["groups"]}
        for owner, fingerprint in message["fingerprints"].items():
            self._sources[owner] = Tree.of(message, fingerprint)
        self._room = count(message["room"])
        if mounts := list(message["mounts"]):
            yield Publish(Notice(other_file_systems(mounts)))
        if self._options.delete and message["empty"] is not False:
            remedy = "look at the source; to empty a directory, use `nile exec`"
            empty = Judgement(
                Verdict.FAILED, Code.SOURCE, "the source is empty, and --delete is given", remedy
            )
            yield from self._stop(empty)
            return
        for target in self._targets.values():
            if target.step is Step.SCANNING:
                yield self._scan(target)

    def _opened(self, message: dict[str, Any], t: float) -> Errands:
        target = self._targets[message["from"]]
        if message.get("code") == Code.BUSY and t < self._options.wait_s:
            target.step = Step.WAITING
            return
        if message.get("code"):
            yield from self._fail(target, told(message))
            return
        target.owner = self._owner(count(message["uid"]))
        target.free = count(message["free"])
        target.rsync = rsync_facts(message["rsync"])
        target.step = Step.SCANNING
        if self._sources:
            yield self._scan(target)

    def _owner(self, uid: int) -> str:
        if uid or self._options.chown:
            return "none"
        return "numbers" if self._options.numeric_ids else "names"

    def _scan(self, target: Target) -> Tell:
        ask = {"roots": self._names, "owner": target.owner, **self._owners, **self._terms()}
        return self._ask(target.id, "scan", ask, self._scanned)

    def _check(self, target: Target) -> Errands:
        """It got its copy."""
        target.step = Step.CHECKING
        yield self._scan(target)

    def _scanned(self, message: dict[str, Any], t: float) -> Errands:
        target = self._targets[message["from"]]
        if message.get("code"):
            yield from self._fail(target, told(message))
            return
        target.found = Tree.of(message, message["fingerprint"])
        equal = target.found.fingerprint == self._sources[target.owner].fingerprint
        # Owners that are asked for aren't compared: a copy is made in any case.
        if equal and not (self._options.chown and target.step is Step.SCANNING and self._copies):
            target.step = Step.SAME
        elif target.step is Step.CHECKING:
            target.step = Step.COMPARING
        else:
            target.step = Step.DIFFERS

    def _judge_copies(self) -> Errands:
        """Those that got their copy, and yet aren't equal: once more, by contents; then it has failed."""
        copied = [target for target in self._targets.values() if target.step is Step.COMPARING]
        yield from self._counting.go_on_each(copied)
        for target in copied:
            found = self._counting.take_own(target)
            if found is None or target.step is not Step.COMPARING:
                continue
            if found.only_more and not self._options.delete:
                target.step, target.has_more = Step.SAME, True
            elif not target.checked_bytes:
                target.checked_bytes = True
                target.step = Step.DIFFERS
            else:
                yield from self._show(target, found.lines)
                reason = "its copy still differs from the source"
                yield from self._fail(target, Judgement(Verdict.FAILED, Code.DIFFERS, reason))

    # What follows.

    def _go_on(self, t: float) -> Errands:
        if self._stopped:
            return
        if not self._begun:
            yield from self._begin_copying(t)
        if self._begun and self._options.purpose is Purpose.COPY:
            yield from self._judge_copies()
            yield from self._giving.go_on(t)
            yield from self._close()
            if self._giving.broken is not None:
                yield from self._stop(self._giving.broken)

    def _begin_copying(self, t: float) -> Errands:
        """Once every host has said what it has, and what would change there is known."""
        targets = self._targets.values()
        if self._asked or not self._sources or not all(target.settled for target in targets):
            return
        differing = [target for target in targets if target.step is Step.DIFFERS]
        yield from self._counting.go_on(differing)
        if not self._counting.complete(differing):
            return
        if self._options.purpose is not Purpose.COPY:
            self._begun = True
            yield from self._report()
            return
        yield from self._refuse(differing)
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
            self._begun = True

    def _refuse(self, differing: list[Target]) -> Errands:
        """Hosts on which it can't work, of those that have to get something."""
        for target in differing:
            estimate = self._counting.estimate(target)
            assert estimate is not None
            target.may_delete = estimate.extra
            judgement = unfit(target, estimate, self._room, self._options)
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

    @staticmethod
    def _show(target: Target, lines: bytes) -> Errands:
        if lines:
            yield Publish(HostOutput(target.name, "stdout", 0, lines), target.id)

    def _close(self) -> Errands:
        """Those that are served and serve nobody any more."""
        served = [target for target in self._targets.values() if target.step is Step.SAME]
        state = (len(served), sum(target.wanting for target in self._targets.values()), self._hosts.changes)
        if not served or state == self._closed_at:
            return
        self._closed_at = state
        needed = self._giving.needed()
        for target in served:
            if target.id not in needed or target.has_more:
                target.step = Step.CLOSING
                yield self._ask(target.id, "close", {}, self._closed)

    def _closed(self, message: dict[str, Any], t: float) -> Errands:
        target = self._targets[message["from"]]
        if not any(each.step not in (Step.OVER, Step.CLOSING) for each in self._targets.values()):
            yield from self._summarize(t)
        yield self._done(target)

    def _done(self, target: Target) -> Judge:
        target.step = Step.OVER
        return Judge(target.id, Judgement(Verdict.OK))

    def _summarize(self, t: float) -> Errands:
        if text := summary(self._giving.sent, self._giving.began_s, t):
            yield Publish(Notice(text))
            self._giving.sent.clear()

    def _cant(self, target: Target, message: Mapping[str, Any]) -> Errands:
        yield from self._fail(target, told(message))

    def _fail(self, target: Target, judgement: Judgement) -> Errands:
        """Its worker is ended by its agent, and with it what it does."""
        target.step = Step.OVER
        yield Judge(target.id, judgement)

    def _stop(self, judgement: Judgement) -> Errands:
        """Nothing more can be done for any host."""
        self._stopped = judgement
        for target in list(self._targets.values()):
            if target.step in (Step.SAME, Step.CLOSING):
                yield self._done(target)
            elif target.step not in (Step.ABSENT, Step.OVER):
                yield from self._fail(target, judgement)
