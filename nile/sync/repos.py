"""Several repositories in one run: one tree, one worker a host, one verdict. Pure.

They have their turns one after the other, each as a `Sync` of its own, which
knows nothing of the others: what it tells a worker goes to the part of it that
is for this repository, and a verdict of it is kept until the last one in which
that host is. So no more is under way at one time than for one of them.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from nile.cascade import Attest, Errand, Publish, Tell, Vouch
from nile.cascade.tree import Tree as Hosts
from nile.cascade.verdicts import Judgement
from nile.cascade.work import Judge, Reach
from nile.events import Asked, Code, Event, HostOutput, Notice, Verdict
from nile.options import RateLimits
from nile.sync.asking import Errands
from nile.sync.course import Sync
from nile.sync.equipment import no_authority
from nile.sync.judging import broke_rules
from nile.sync.options import SyncOptions
from nile.sync.paths import Paths
from nile.sync.targets import count
from nile.topology.model import ROOT_ID

if TYPE_CHECKING:
    from nile.bootstrap.authority import Authority


class _Turn:
    """One repository: `over` are its hosts of which it has said what became of them, or that are gone."""

    def __init__(self, name: str, sync: Sync, ids: frozenset[int]) -> None:
        self.name = name
        self.sync = sync
        self.ids = ids
        self.over: set[int] = set()


class Repos:
    """The job of a run that is for several repositories (see nile.cascade.work.Job).

    `repositories`: what to copy, and the names of the hosts that get it. The rest is as for `Sync`.
    """

    def __init__(
        self,
        repositories: Sequence[tuple[SyncOptions, frozenset[str]]],
        run: str,
        hosts: Hosts,
        paths: Paths,
        secret: Callable[[], bytes],
        identity: Callable[[], bytes],
        authority: Callable[[], Authority] = no_authority,
    ) -> None:
        asked = [host for host in hosts.hosts.values() if host.node.asked]
        self._turns: list[_Turn] = []
        for options, names in repositories:
            ids = frozenset(host.id for host in asked if host.name in names)
            name = options.dest.decode("utf-8", "backslashreplace")
            sync = Sync(options, run, hosts, paths, secret, identity, ids, authority)
            self._turns.append(_Turn(name, sync, ids))
        self._at = 0
        self._wanting = Counter(node_id for turn in self._turns for node_id in turn.ids)
        self._started: set[int] = set()
        self._gone: set[int] = set()
        self._judged: defaultdict[int, list[tuple[str, Judgement]]] = defaultdict(list)
        self._told: deque[int] = deque()
        """Those whose verdict its Sync has still to be told of."""
        self._offsets: Counter[int] = Counter()
        self._lost: Judgement | None = None

    @property
    def _turn(self) -> _Turn | None:
        """Whose turn it is; None: all had theirs."""
        return self._turns[self._at] if self._at < len(self._turns) and self._lost is None else None

    # What happens.

    def begin(self, t: float) -> Errands:
        """The first one begins."""
        yield from self._follow(self._begin_turn(t), t)

    def started(self, node_id: int, t: float) -> Errands:
        """A host's worker runs."""
        self._started.add(node_id)
        turn = self._turn
        if self._lost:
            yield Judge(node_id, self._lost)
        elif turn is not None and node_id in turn.ids:
            yield from self._follow(turn.sync.started(node_id, t), t)

    def heard(self, node_id: int, message: dict[str, Any], t: float) -> Errands:
        """A part of a worker says something, or an agent to where a way leads."""
        fields = dict(message)
        if "repo" in fields:
            repo = count(fields.pop("repo"))
        else:
            fields["n"], repo = divmod(count(message["n"]), len(self._turns))
        turn = self._turn
        if turn is not None and repo == self._at:
            yield from self._follow(turn.sync.heard(node_id, fields, t), t)

    def lied(self, node_id: int, reason: str, t: float) -> Errands:
        """A worker that breaks the rules is of no use for any of them."""
        if node_id == ROOT_ID:
            yield from self.root_lost(f"it said {reason}", t)
        elif node_id not in self._gone:
            yield Judge(node_id, broke_rules(reason))

    def over(self, node_id: int, t: float) -> Errands:
        """It has its verdict."""
        self._gone.add(node_id)
        turn = self._turn
        if turn is not None and node_id in turn.ids and node_id not in turn.over:
            turn.over.add(node_id)
            yield from self._follow(turn.sync.over(node_id, t), t)

    def root_lost(self, reason: str, t: float) -> Errands:
        """Nobody can read any source any more."""
        self._lost = Judgement(Verdict.FAILED, Code.SOURCE, f"the root can't go on reading: {reason}")
        for node_id in self._started - self._gone:
            yield Judge(node_id, self._lost)

    def answered(self, yes: bool, t: float) -> Errands:
        """The user's word on what was asked last."""
        if (turn := self._turn) is not None:
            yield from self._follow(turn.sync.answered(yes, t), t)

    def concluded(self, t: float) -> Errands:
        """It has an end of its own."""
        return iter(())

    def limited(self, limits: RateLimits, t: float) -> Errands:
        """Of the swarm under way."""
        if (turn := self._turn) is not None:
            yield from self._follow(turn.sync.limited(limits, t), t)

    def interrupted(self, t: float) -> Errands:
        """Workers end by themselves."""
        yield from ()

    def tick(self, t: float) -> Errands:
        """Time passed."""
        if (turn := self._turn) is not None:
            yield from self._follow(turn.sync.tick(t), t)

    def missed(self, seconds: float) -> None:
        """The root was kept from its work."""
        if (turn := self._turn) is not None:
            turn.sync.missed(seconds)

    # What follows.

    def _begin_turn(self, t: float) -> Errands:
        turn = self._turns[self._at]
        yield from turn.sync.begin(t)
        for node_id in sorted(turn.ids):
            if node_id in self._gone:
                turn.over.add(node_id)
                yield from turn.sync.over(node_id, t)
            elif node_id in self._started:
                yield from turn.sync.started(node_id, t)

    def _follow(self, errands: Iterable[Errand], t: float) -> Errands:
        """Pass on what a Sync wants, tell it of its own verdicts, and let the next one begin."""
        yield from self._pass_on(errands, t)
        while (turn := self._turn) is not None:
            if self._told:
                yield from self._pass_on(turn.sync.over(self._told.popleft(), t), t)
            elif turn.over >= turn.ids:
                yield Tell(ROOT_ID, self._dropped())
                self._at += 1
                if self._turn is not None:
                    yield from self._pass_on(self._begin_turn(t), t)
            else:
                return

    def _pass_on(self, errands: Iterable[Errand], t: float) -> Errands:
        turn = self._turns[self._at]
        for errand in errands:
            match errand:
                case Tell(node_id, message):
                    yield Tell(node_id, {**message, "repo": self._at})
                case Reach() | Vouch() | Attest():
                    yield replace(errand, number=errand.number * len(self._turns) + self._at)
                case Publish():
                    yield self._named(errand, turn)
                case Judge(node_id, judgement):
                    if node_id not in turn.over:
                        yield from self._came_out(turn, node_id, judgement)

    def _came_out(self, turn: _Turn, node_id: int, judgement: Judgement) -> Errands:
        """That is what became of a host in this one; the verdict follows from all of them."""
        turn.over.add(node_id)
        self._told.append(node_id)
        self._judged[node_id].append((turn.name, judgement))
        self._wanting[node_id] -= 1
        if self._wanting[node_id]:
            yield Tell(node_id, self._dropped())
        elif node_id not in self._gone:
            yield Judge(node_id, _all_of(self._judged[node_id]))

    def _dropped(self) -> dict[str, Any]:
        return {"n": 0, "do": "drop", "repo": self._at}

    def _named(self, publish: Publish, turn: _Turn) -> Publish:
        """With the name of the repository, where people read it."""
        event: Event = publish.event
        match event:
            case Notice(text):
                return replace(publish, event=Notice(f"{turn.name}: {text}"))
            case Asked(text):
                return replace(publish, event=Asked(f"{turn.name}: {text}"))
            case HostOutput(_, _, _, data):
                data = turn.name.encode() + b":\n" + data
                offset = self._offsets[publish.node_id]
                self._offsets[publish.node_id] += len(data)
                return replace(publish, event=replace(event, offset=offset, data=data))
        return publish


def _all_of(judged: Sequence[tuple[str, Judgement]]) -> Judgement:
    """Ok only where all are; else the first that isn't says why."""
    bad = [(name, judgement) for name, judgement in judged if judgement.verdict is not Verdict.OK]
    if not bad:
        return Judgement(
            Verdict.OK, peer="; ".join(dict.fromkeys(each.peer for _, each in judged if each.peer))
        )
    name, first = bad[0]
    more = f" (and {len(bad) - 1} more of {len(judged)} repositories)" if len(bad) > 1 else ""
    return replace(first, reason=f"{name}: {first.reason}{more}")
