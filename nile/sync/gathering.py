"""The course of a run that brings files back from hosts: whose turn it is, and what came of it. Pure.

Every host's worker offers its files at a port of its own when it is its turn,
and the root's worker takes them, through the links of the tree. Only a few
hosts have a turn at one time: everything goes through the root's port.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from nile.cascade import Publish
from nile.cascade.tree import Tree as Hosts
from nile.cascade.verdicts import Judgement, code_of
from nile.cascade.work import Judge
from nile.events import Code, HostOutput, Notice, Verdict
from nile.sync.asking import LOOPBACK, Asking, Errands
from nile.sync.judging import SILENT_S, STALLED_S, broke_rules, stalled, told
from nile.sync.lines import Line
from nile.sync.options import GatherOptions
from nile.sync.targets import count, rsync_facts, words
from nile.sync.wording import gathered
from nile.topology.model import ROOT_ID

AT_ONE_TIME = 8
"""Hosts that have a turn: while one begins or ends, and one has a slow disk, the others keep the root's port
full. More would only share it, and each takes three processes at the root."""
PAUSE_S = 1.0
"""Before the second try to take from a host; before the next one twice that."""
TRIES = 4
MOST_LINES = 100
"""Files that a host may name in one answer."""

_BROUGHT = ("", "partial", "vanished")
"""Codes with which all came that could."""
_UNREADABLE = b"unreadable "
_NO_CAUSE = (*_BROUGHT, "stopped")


class Step(StrEnum):
    """Where a host stands; after a try that failed it waits again."""

    ABSENT = "absent"
    """Its worker doesn't run."""
    WAITING = "waiting"
    OFFERING = "offering"
    """It was asked to offer its files."""
    TAKING = "taking"
    """The root takes them."""
    OVER = "over"


class Trouble(NamedTuple):
    """A worker's word on a copy that is over; the code is empty where all is well."""

    code: str = ""
    reason: str = ""
    retry: bool = False


@dataclass(slots=True, eq=False)
class _Giver:
    """One host."""

    id: int
    name: str
    step: Step = Step.ABSENT
    heard_s: float = 0.0
    not_before_s: float = 0.0
    tries: int = 0
    turn: _Turn | None = None

    @property
    def at_it(self) -> bool:
        return self.step in (Step.OFFERING, Step.TAKING)


@dataclass(slots=True, eq=False)
class _Turn:
    """One try: what its host said that it can't offer, and how the two ends of the copy came out."""

    secret: bytes
    offer: int = 0
    fetch: int = 0
    """Numbers of what the two workers were asked."""
    peer: list[int] = field(default_factory=list)
    missing: tuple[bytes, ...] = ()
    unreadable: int = 0
    lines: list[bytes] = field(default_factory=list)
    changed: int = 0
    ends: dict[str, Trouble] = field(default_factory=dict)
    """How each end came out."""

    @property
    def trouble(self) -> Trouble:
        """What counts once both are over: the root knows what it got, but not why a host broke off."""
        fetch, offer = self.ends["fetch"], self.ends["offer"]
        return offer if fetch.retry and not offer.retry and offer.code not in _NO_CAUSE else fetch


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
            host.id: _Giver(host.id, host.name) for host in hosts.hosts.values() if host.node.asked
        }
        self._waiting: Line[_Giver] = Line()
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

    def interrupted(self, t: float) -> Errands:
        """Workers end by themselves."""
        return iter(())

    def tick(self, t: float) -> Errands:
        """Somebody may hang; or be back, or have waited long enough to be tried again."""
        self._waiting.again()
        for giver in [self._givers[node_id] for node_id in sorted(self._at_it)]:
            patience = SILENT_S if giver.step is Step.OFFERING else STALLED_S
            if t - giver.heard_s > patience:
                judgement = stalled("what it sends", patience, ": its disk may hang")
                yield from self._judge(giver, judgement, t)
        yield from self._go_on(t)

    # A turn.

    def _go_on(self, t: float) -> Errands:
        """Give turns to those that wait."""
        if not self._ready or self._stopped:
            return
        while len(self._at_it) < AT_ONE_TIME:
            giver = self._waiting.take(
                lambda each: each.step is Step.WAITING,
                lambda each: t >= each.not_before_s and self._hosts.attached(each.id),
            )
            if giver is None:
                return
            yield from self._begin_turn(giver, t)

    def _wait(self, giver: _Giver) -> None:
        giver.step, giver.turn = Step.WAITING, None
        self._at_it.discard(giver.id)
        self._waiting.join(0, giver.id, giver)

    def _begin_turn(self, giver: _Giver, t: float) -> Errands:
        self._at_it.add(giver.id)
        giver.step, giver.heard_s, giver.turn = Step.OFFERING, t, _Turn(self._secret())
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

    def _offered(self, giver: _Giver, turn: _Turn, message: dict[str, Any], t: float) -> Errands:
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
        turn.lines += [b"missing " + path for path in missing]
        turn.lines += [_UNREADABLE + line for line in lines(message)]
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

    def _reached(self, giver: _Giver, turn: _Turn, message: dict[str, Any], t: float) -> Errands:
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
        }
        tell = self._asking.ask(
            ROOT_ID, "fetch", fields, lambda said, now: self._fetched(giver, turn, said, now)
        )
        turn.fetch = tell.message["n"]
        yield tell

    def _fetched(self, giver: _Giver, turn: _Turn, message: dict[str, Any], t: float) -> Errands:
        """The root says how far it is, and later how it ended."""
        if giver.turn is turn:
            giver.heard_s = t
        if message.get("more"):
            return
        self._received += count(message["received"])
        if giver.turn is turn and giver.at_it:
            yield from self._end(giver, turn, "fetch", message, t)

    def _end(self, giver: _Giver, turn: _Turn, side: str, message: dict[str, Any], t: float) -> Errands:
        """One end of the copy is over."""
        trouble = Trouble()
        if message.get("code"):
            trouble = Trouble(words(message["code"]), words(message["reason"]), message.get("retry") is True)
        turn.ends[side] = trouble
        if side == "offer" and trouble.code and not turn.fetch:
            turn.ends["fetch"] = trouble  # nobody will go there
        elif side == "fetch" and trouble.code and "offer" not in turn.ends:
            yield self._asking.ask(giver.id, "abandon", {"what": turn.offer}, None)
        if len(turn.ends) == 2:
            yield from self._ended(giver, turn, t)

    def _ended(self, giver: _Giver, turn: _Turn, t: float) -> Errands:
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
        if trouble.code in _BROUGHT:
            self._brought += 1
            self._changed += turn.changed
        yield from self._judge(giver, _judgement(trouble, turn), t)

    # The end.

    def _close(self, giver: _Giver) -> None:
        giver.step = Step.OVER
        self._at_it.discard(giver.id)
        self._open.discard(giver.id)

    def _judge(self, giver: _Giver, judgement: Judgement, t: float) -> Errands:
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


def _judgement(trouble: Trouble, turn: _Turn) -> Judgement:
    """What is missing at a host, or can't be read there, is its failure; what vanished meanwhile isn't."""
    if trouble.code not in _BROUGHT:
        return Judgement(Verdict.FAILED, code_of(trouble.code, Code.COPY), trouble.reason)
    lacking = []
    if turn.missing:
        lacking.append(_first_of(turn.missing[0], len(turn.missing), " isn't there"))
    if turn.unreadable:
        first = next((line for line in turn.lines if line.startswith(_UNREADABLE)), b"")
        lacking.append(_first_of(first.removeprefix(_UNREADABLE), turn.unreadable))
    elif trouble.code == "partial":
        lacking.append(trouble.reason)
    if lacking:
        return Judgement(Verdict.FAILED, Code.SOURCE, f"{'; '.join(lacking)}; the rest was brought")
    return Judgement(Verdict.OK)


def _first_of(name: bytes, number: int, what: str = "") -> str:
    return (
        name.decode("utf-8", "backslashreplace") + what + (f", and {number - 1} more" if number > 1 else "")
    )


def lines(message: Mapping[str, Any]) -> list[bytes]:
    """What a host names; raises KeyError, TypeError or ValueError where it breaks the rules."""
    found = message["lines"]
    if not isinstance(found, list) or len(found) > MOST_LINES:
        raise ValueError("more lines than anybody asked for")
    if not all(isinstance(line, bytes) and b"\n" not in line for line in found):
        raise TypeError("lines that are none")
    return list(found)
