"""The course of a run that brings files back from hosts: whose turn it is, and what came of it. Pure.

Every host's worker offers its files at a port of its own when it is its turn,
and the root's worker takes them, through the links of the tree. Only a few
hosts have a turn at one time: everything goes through the root's port.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nile.cascade import Publish
from nile.cascade.tree import Tree as Hosts
from nile.cascade.verdicts import Judgement
from nile.cascade.work import Judge
from nile.events import Code, HostOutput, Notice, Verdict
from nile.options import RateLimits
from nile.sync.asking import LOOPBACK, Asking, Errands
from nile.sync.judging import SILENT_S, STANDS_STILL, broke_rules, stalled, told
from nile.sync.lines import Line
from nile.sync.options import GatherOptions
from nile.sync.targets import count, rsync_facts, words
from nile.sync.turns import BROUGHT, UNREADABLE, Giver, Step, Trouble, Turn, lines
from nile.sync.wording import gathered
from nile.topology.model import ROOT_ID

AT_ONE_TIME = 8
"""Hosts that have a turn: while one begins or ends, and one has a slow disk, the others keep the root's port
full. More would only share it, and each takes three processes at the root."""
MOST_AT_ONE_TIME = 64
"""With those that are slow: they don't keep the others from their turns."""
PAUSE_S = 1.0
"""Before the second try to take from a host; before the next one twice that."""
TRIES = 4


class Gather:
    """The job of a run that brings files back (see nile.cascade.work.Job).

    `secret()` gives 32 random bytes.
    """

    def __init__(self, options: GatherOptions, run: str, hosts: Hosts, secret: Callable[[], bytes]) -> None:
        self._options = options
        self._run = run
        self._hosts = hosts
        self._secret = secret
        self._asking = Asking()
        self._givers = {
            host.id: Giver(host.id, host.name) for host in hosts.hosts.values() if host.node.asked
        }
        self._waiting: Line[Giver] = Line()
        self._at_it: set[int] = set()
        """Ids of those that have a turn,"""
        self._open = set(self._givers)
        """and of those that have no verdict yet."""
        self._ready = False
        self._stopped: Judgement | None = None
        self._received = 0
        self._brought = 0
        self._changed = 0
        self._began_s = 0.0
        self._summarized = False

    # What happens.

    def begin(self, t: float) -> Errands:
        """Take the directory that gets everything."""
        yield self._asking.ask(
            ROOT_ID, "collect", {"dest": self._options.dest, "run": self._run}, self._collected
        )

    def _collected(self, message: dict[str, Any], t: float) -> Errands:
        if message.get("code"):
            yield from self._stop(told(message))
            return
        self._ready, self._began_s = True, t
        yield from self._go_on(t)

    def started(self, node_id: int, t: float) -> Errands:
        """A host's worker runs."""
        giver = self._givers[node_id]
        if self._stopped:
            yield from self._judge(giver, self._stopped, t)
        elif giver.step is Step.ABSENT:
            self._wait(giver)
            yield from self._go_on(t)

    def heard(self, node_id: int, message: dict[str, Any], t: float) -> Errands:
        """An answer, or one of several."""
        giver = self._givers.get(node_id)
        if giver is not None:
            if giver.step is Step.OVER:
                return
            if not giver.brings:  # what it says then counts for nothing
                giver.heard_s = t
        yield from self._asking.heard(node_id, message, t)

    def lied(self, node_id: int, reason: str, t: float) -> Errands:
        """A worker that breaks the rules is of no use."""
        if node_id == ROOT_ID:
            yield from self.root_lost(f"it said {reason}", t)
            return
        yield from self._judge(self._givers[node_id], broke_rules(reason), t)

    def over(self, node_id: int, t: float) -> Errands:
        """It has its verdict: what is still under way at the root has to end."""
        giver = self._givers.get(node_id)
        if giver is None:
            return
        self._close(giver)
        if giver.turn is not None and giver.turn.fetch and "fetch" not in giver.turn.ends:
            yield self._asking.ask(ROOT_ID, "abandon", {"what": giver.turn.fetch}, None)
        yield from self._summarize(t)
        yield from self._go_on(t)

    def root_lost(self, reason: str, t: float) -> Errands:
        """Nobody takes anything any more."""
        yield from self._stop(Judgement(Verdict.FAILED, Code.COPY, f"the root can't go on: {reason}"))

    def answered(self, yes: bool, t: float) -> Errands:
        """Nobody is asked anything."""
        return iter(())

    def concluded(self, t: float) -> Errands:
        """It has an end of its own."""
        return iter(())

    def limited(self, limits: RateLimits, t: float) -> Errands:
        """It has no swarm."""
        return iter(())

    def interrupted(self, t: float) -> Errands:
        """Workers end by themselves."""
        return iter(())

    def tick(self, t: float) -> Errands:
        """Somebody may hang; or be back, or have waited long enough to be tried again."""
        self._waiting.again()
        for giver in [self._givers[node_id] for node_id in sorted(self._at_it)]:
            if giver.turn is None:
                continue
            if not giver.brings and not self._hosts.attached(giver.id):  # nothing can come from it
                giver.heard_s = t
                self._asking.expect(giver.id)
            patience = giver.turn.patience_s if giver.brings else SILENT_S
            if t - giver.heard_s > patience:
                judgement = stalled("what it sends", patience, ": its disk may hang")
                yield from self._judge(giver, judgement, t)
            elif not giver.brings and self._asking.stands_still(giver.id, t):
                yield from self._judge(giver, STANDS_STILL, t)
        yield from self._go_on(t)

    def missed(self, seconds: float) -> None:
        """Nothing depends on the hosts' clocks."""

    # A turn.

    def _go_on(self, t: float) -> Errands:
        """Give turns to those that wait."""
        if not self._ready or self._stopped:
            return
        slow = [turn.slow(t) for each in self._at_it if (turn := self._givers[each].turn)]
        room = min(AT_ONE_TIME - slow.count(False), MOST_AT_ONE_TIME - len(slow))
        for _ in range(room):
            giver = self._waiting.take(
                lambda each: each.step is Step.WAITING,
                lambda each: t >= each.not_before_s and self._hosts.attached(each.id),
            )
            if giver is None:
                return
            yield from self._begin_turn(giver, t)

    def _wait(self, giver: Giver) -> None:
        giver.step, giver.turn = Step.WAITING, None
        self._at_it.discard(giver.id)
        self._waiting.join(0, giver.id, giver)

    def _begin_turn(self, giver: Giver, t: float) -> Errands:
        self._at_it.add(giver.id)
        giver.step, giver.heard_s, giver.turn = Step.OFFERING, t, Turn(self._secret(), t)
        turn = giver.turn
        fields = {
            "paths": list(self._options.sources),
            "excludes": list(self._options.excludes),
            "secret": turn.secret,
        }
        tell = self._asking.ask(
            giver.id, "offer", fields, lambda message, now: self._offered(giver, turn, message, now)
        )
        turn.offer = tell.message["n"]
        yield tell

    def _offered(self, giver: Giver, turn: Turn, message: dict[str, Any], t: float) -> Errands:
        """The host says where it waits and what it hasn't; and later how that ended."""
        if giver.turn is not turn or not giver.at_it:
            return
        if "port" not in message:
            if not message.get("code"):
                turn.changed = count(message["changed"])
                turn.lines += [b"changed " + line for line in lines(message)]
            yield from self._end(giver, turn, "offer", message, t)
            return
        if giver.step is not Step.OFFERING:
            raise ValueError("it says its port again")
        missing = tuple(message["missing"])
        if not set(missing) < set(self._options.sources):
            raise ValueError("it misses what nobody asked for")
        turn.missing, turn.unreadable = missing, count(message["unreadable"])
        turn.has = {word: count(message["has"][word]) for word in ("entries", "names", "bytes", "room")}
        turn.lines += [b"missing " + path for path in missing]
        turn.lines += [UNREADABLE + line for line in lines(message)]
        facts = rsync_facts(message["rsync"])
        if facts is None:
            raise ValueError("an offer without an rsync")
        turn.peer = facts["version"]
        giver.step = Step.TAKING
        yield self._asking.reach(
            ROOT_ID,
            giver.id,
            count(message["port"]),
            lambda found, now: self._reached(giver, turn, found, now),
        )

    def _reached(self, giver: Giver, turn: Turn, message: dict[str, Any], t: float) -> Errands:
        """There is a way to it, or there is none."""
        if giver.turn is not turn or not giver.at_it:
            return
        if "port" not in message:
            yield from self._end(giver, turn, "fetch", {**message, "retry": True}, t)
            return
        options = self._options
        fields = {
            "address": LOOPBACK,
            "port": count(message["port"]),
            "secret": turn.secret,
            "host": giver.name.encode(),
            "paths": [path for path in options.sources if path not in turn.missing],
            "peer": turn.peer,
            "excludes": list(options.excludes),
            "numeric_ids": options.numeric_ids,
            "bwlimit": options.bwlimit_kib_s or 0,
            "has": turn.has,
        }
        tell = self._asking.ask(
            ROOT_ID, "fetch", fields, lambda said, now: self._fetched(giver, turn, said, now)
        )
        turn.fetch = tell.message["n"]
        yield tell

    def _fetched(self, giver: Giver, turn: Turn, message: dict[str, Any], t: float) -> Errands:
        """The root says how far it is, and later how it ended."""
        if message.get("more"):
            if giver.turn is turn and turn.gets_on(count(message["so_far"])):
                giver.heard_s = t
            return
        self._received += count(message["received"])
        if giver.turn is turn and giver.at_it:
            yield from self._end(giver, turn, "fetch", message, t)

    def _end(self, giver: Giver, turn: Turn, side: str, message: dict[str, Any], t: float) -> Errands:
        """One end of the copy is over."""
        trouble = Trouble()
        if message.get("code"):
            trouble = Trouble(words(message["code"]), words(message["reason"]), message.get("retry") is True)
        turn.ends[side] = trouble
        if side == "fetch":  # while its files flowed it had nothing to say
            giver.heard_s = t
            self._asking.expect(giver.id)
        if side == "offer" and trouble.code and not turn.fetch:
            turn.ends["fetch"] = trouble  # nobody will go there
        elif side == "fetch" and trouble.code and "offer" not in turn.ends:
            yield self._asking.ask(giver.id, "abandon", {"what": turn.offer}, None)
        if len(turn.ends) == 2:
            yield from self._ended(giver, turn, t)

    def _ended(self, giver: Giver, turn: Turn, t: float) -> Errands:
        trouble = turn.trouble
        giver.tries += 1
        if trouble.retry and giver.tries < TRIES:
            giver.not_before_s = t + PAUSE_S * giver.tries
            self._wait(giver)
            yield from self._go_on(t)
            return
        text = b"".join(line + b"\n" for line in turn.lines)
        if text:
            yield Publish(HostOutput(giver.name, "stdout", 0, text), giver.id)
        if trouble.code in BROUGHT:
            self._brought += 1
            self._changed += turn.changed
        yield from self._judge(giver, turn.judgement, t)

    # The end.

    def _close(self, giver: Giver) -> None:
        giver.step = Step.OVER
        self._at_it.discard(giver.id)
        self._open.discard(giver.id)

    def _judge(self, giver: Giver, judgement: Judgement, t: float) -> Errands:
        self._close(giver)
        yield from self._summarize(t)
        yield Judge(giver.id, judgement)

    def _summarize(self, t: float) -> Errands:
        """Before the last verdict, after which the run is over."""
        if self._summarized or not self._ready or self._open:
            return
        self._summarized = True
        yield Publish(
            Notice(
                gathered(self._received, self._brought, self._changed, self._options.dest, t - self._began_s)
            )
        )

    def _stop(self, judgement: Judgement) -> Errands:
        """Nothing more can be done for any host."""
        self._stopped = judgement
        for giver in list(self._givers.values()):
            if giver.step not in (Step.ABSENT, Step.OVER):
                self._close(giver)
                yield Judge(giver.id, judgement)
