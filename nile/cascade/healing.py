"""What to do about hosts that are out of contact: whom to have log in to them next, and when to give up.

A login that failed is tried by other ways, a link that was lost is made anew.
What hangs below a host that doesn't come (back) soon is hung elsewhere: hosts
that nobody began with, and subtrees whose top lost its parent. Whoever waits
for its parent is silent on purpose: a host is given up by decision only.
"""

from __future__ import annotations

import bisect
import math
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from nile.cascade.decisions import CallIn, CallUp, Decision, GiveUp, Moved, Place, Unheard
from nile.cascade.hosts import Contact, Host
from nile.cascade.placing import Places
from nile.cascade.stealing import Stealing
from nile.cascade.tree import Tree
from nile.events import Code
from nile.topology.model import ROOT_ID, Plan

MOST_PATHS = 3
"""Ways that are tried to a host that was never up."""
MOST_TIMEOUTS = 2
"""Of these, how many may end in silence: each costs a whole connect time-out."""
BARREN = 3
"""Equal failures below a relay that never reached anybody: its hosts are reached from elsewhere."""
PATIENCE_LEAST_S = 1.5
PATIENCE_LOGINS = 3
"""A relay may take so many times the median login before what is below it moves."""
SECOND = 2
"""A host that was silent gets this part of a connect time-out by another way."""
RETRY_FIRST_S, RETRY_MOST_S = 0.5, 4.0
STEADY_S = 5.0
"""A link that broke before has held when it stands for so long."""
MOST_BREAKS = 8
UNHEARD_S = 5.0
"""What is to be heard of a login within a connect time-out may be so much later."""
MARGIN_S = 0.5

FINAL = frozenset(
    {
        Code.HOST_KEY_UNKNOWN,
        Code.HOST_KEY_CHANGED,
        Code.HOST_KEY_REVOKED,
        Code.NO_PYTHON,
        Code.AGENT,
        Code.CANCELLED,
    }
)
"""What is wrong with the host itself, by whatever way one comes."""
BY_CHANCE = frozenset({Code.STARTUPS, Code.LINK})
"""What says nothing about the host: the same way may do."""
SILENT = frozenset({Code.CONNECT_TIMEOUT, Code.STARTUPS})
"""What takes a whole connect time-out."""
UNHEARD_OF = "nothing was heard of it"
"""So a parent's reason begins where a link was given up for its silence (nile.agent.relay)."""


@dataclass(slots=True)
class _Trouble:
    """A host out of contact, and what was tried."""

    host: Host
    since_s: float
    code: Code
    reason: str
    tried: list[int] = field(default_factory=list)
    timeouts: int = 0
    not_before_s: float = 0.0
    up_s: float | None = None
    """When its agent said hello again."""
    breaks: int = 0
    """Links that broke soon after that."""
    silent_s: float = 0.0
    """How long its link was silent before it was given up: so long what is below it has waited already."""


def _backoff_s(before: int) -> float:
    """How long to wait after so many tries before this one."""
    return float(min(RETRY_MOST_S, RETRY_FIRST_S * 2**before))


class Healer:
    """Told what happens, asked what to do. Times are seconds since the run began."""

    def __init__(self, tree: Tree, plan: Plan, grace_s: float) -> None:
        self._tree = tree
        self._plan = plan
        self._outlives_s = max(plan.timeouts.lease_s + grace_s, plan.timeouts.connect_s) + MARGIN_S
        self.ending = False
        """The run was cancelled: only those are looked after that have a command to end."""
        self._paused = False
        """No login begins: nobody is slow."""
        self._resumed_s = -math.inf
        self._stealing = Stealing(tree)
        self._taken_from: dict[int, int] = {}
        self._troubles: dict[int, _Trouble] = {}
        self._past: dict[int, _Trouble] = {}
        self._begun: dict[int, float] = {}
        self._reported: dict[int, float] = {}
        """When a relay last said something of its logins."""
        self._moved: set[int] = set()
        self._took: list[float] = []
        self._fruitful: set[int] = set()
        self._failures: dict[int, Counter[Code]] = {}
        self._barren: set[int] = set()
        self._stirred = False
        self._homeless = False
        """Somebody is out of contact, and nobody was found who could take it."""

    # What happened.

    def begun(self, host: Host, t: float) -> None:
        """A login to it began."""
        self._reported[self._tree.link_parent(host)] = t
        self._begun[host.id] = t

    def up(self, host: Host, t: float) -> None:
        """Its agent said hello."""
        self._stirred = self._stirred or self._homeless
        trouble = self._troubles.pop(host.id, None) or self._brief(host, t)
        self._past[host.id] = trouble = trouble or _Trouble(host, math.inf, Code.LINK, "")
        trouble.up_s = t
        self._moved.discard(host.id)
        self._reported[self._tree.link_parent(host)] = t
        self._fruitful.add(self._tree.link_parent(host))
        begun = self._begun.pop(host.id, None)
        if begun is not None:
            bisect.insort(self._took, t - begun)

    def failed(self, host: Host, code: Code, reason: str, t: float) -> None:
        """A login to it came to nothing."""
        self._stirred = True
        begun = self._begun.pop(host.id, t)
        trouble = self._troubles.setdefault(host.id, _Trouble(host, begun, code, reason))
        parent = self._tree.link_parent(host)
        trouble.tried.append(parent)
        again = code is trouble.code and code in SILENT  # it was waited for longest the first time
        if not again and (code not in BY_CHANCE or trouble.code in BY_CHANCE):
            trouble.code, trouble.reason = code, reason
        trouble.timeouts += code in SILENT
        if host.absence is not None:
            trouble.not_before_s = host.absence.next_s(t)
        else:
            trouble.not_before_s = t + _backoff_s(len(trouble.tried) - 1) if host.was_here else t
        if host.t_ready_s is None and code not in FINAL:
            self._count_failure(parent, code)

    def lost(self, host: Host, code: Code, reason: str, t: float) -> None:
        """The link to it is gone, or what was to lead to it."""
        self._stirred = True
        self._begun.pop(host.id, None)
        known = self._troubles.get(host.id) or self._brief(host, t)
        since_s = min(t, known.since_s) if known else t
        trouble = self._troubles[host.id] = _Trouble(host, since_s, code, reason)
        trouble.silent_s = self._plan.timeouts.silence_s if reason.startswith(UNHEARD_OF) else 0.0
        if known is not None and known.up_s is not None:
            trouble.breaks = known.breaks + 1
            trouble.not_before_s = t + _backoff_s(known.breaks) if known.breaks else t
        elif known is not None:
            trouble.breaks, trouble.not_before_s = known.breaks, known.not_before_s
        if host.absence is not None:
            trouble.not_before_s = host.absence.next_s(t)

    def _brief(self, host: Host, t: float) -> _Trouble | None:
        """The trouble before this one, where its link held for so short a time that it is the same.

        So it is, however long it stood, where its agent never said that it had its plan.
        """
        before = self._past.get(host.id)
        if before is None or before.up_s is None:
            return None
        held = t - before.up_s > STEADY_S and host.heard_s >= before.up_s
        return None if held else before

    def over(self, host: Host) -> None:
        """Nothing more is wanted of it."""
        self._troubles.pop(host.id, None)
        self._begun.pop(host.id, None)

    def _count_failure(self, parent: int, code: Code) -> None:
        if parent == ROOT_ID or parent in self._fruitful:
            return
        failures = self._failures.setdefault(parent, Counter())
        failures[code] += 1
        if failures[code] >= BARREN:
            self._barren.add(parent)

    def hold(self, paused: bool, t: float) -> None:
        """From now on no login begins, or they do again."""
        if self._paused and not paused:
            self._resumed_s = t
            self._stirred = True
        self._paused = paused

    def stir(self) -> None:
        """What was decided can't be done: decide anew."""
        self._stirred = True

    # What to do.

    def decide(self, t: float, *, ticked: bool = False) -> list[Decision]:
        """What to do now, in order. Cheap where nothing changed since it was asked last."""
        if not (self._stirred or ticked):
            return []
        self._stirred = self._homeless = False
        places = Places(self._tree, self._plan, self._barren)
        decisions: list[Decision] = []
        for trouble in self._urgent(t):
            decisions += self._about(trouble, places, t)
        if ticked and not (self.ending or self._paused):
            decisions += self._unheard(t)
        for relay, code in self._left_behind(t) if ticked or self._barren else ():
            decisions += self._move_below(relay, code, places)
        if ticked and not (self.ending or self._paused):
            for host, thief in self._stealing.take(places, t - self._patience_s()):
                self._taken_from[host.id] = host.parent
                decisions.append(Place(host, thief))
        return decisions

    def _urgent(self, t: float) -> list[_Trouble]:
        """Those that somebody has to look after now, the oldest first; most wait for a login under way."""
        troubles = self._troubles.values()
        urgent = [each for each in troubles if each.host.contact is Contact.NONE or self._hopeless(each, t)]
        return sorted(urgent, key=lambda each: (each.since_s, each.host.id))

    def _unheard(self, t: float) -> Iterator[Decision]:
        """A relay that lives and says nothing of its logins is no relay: what it has is taken from it."""
        before_s = t - self._plan.timeouts.connect_s - UNHEARD_S
        for host_id, begun_s in self._begun.items():
            host = self._tree[host_id]
            if begun_s < before_s and host.contact is Contact.LOGIN and host.parent != ROOT_ID:
                yield Unheard(host)
        for relay in [self._tree[node] for node in self._tree.relays]:
            if relay.contact is not Contact.UP or relay.ended or relay.attached_s >= before_s:
                continue
            if max(self._reported.get(relay.id, 0.0), self._resumed_s) >= before_s:
                continue
            overdue = [
                each for each in self._waiting(relay) if max(each.placed_s, each.permitted_s) < before_s
            ]
            if relay.id in self._barren:  # nobody had room for these
                yield from map(Unheard, overdue)
            elif overdue:
                self._failures.setdefault(relay.id, Counter())[Code.CONNECT_TIMEOUT] += 1
                self._barren.add(relay.id)

    def _waiting(self, relay: Host) -> list[Host]:
        """Those that it is to log in to, and hasn't begun with."""
        children = map(self._tree.hosts.__getitem__, relay.children)
        waiting = (each for each in children if each.contact is Contact.WAITING)
        return [each for each in waiting if each.permitted and not each.ended]

    def _about(self, trouble: _Trouble, places: Places, t: float) -> Iterator[Decision]:
        host = trouble.host
        if host.contact is not Contact.NONE:
            if host.was_here and self._hopeless(trouble, t):  # whatever answers now comes too late
                yield GiveUp(host, trouble.code, trouble.reason)
            return
        if self.ending and not self._tree.waiting_below(host):
            return
        if not self._needed(host) or self._hopeless(trouble, t):
            yield GiveUp(host, trouble.code, trouble.reason)
            return
        if t < trouble.not_before_s or self._kept_back(host):
            return
        parent = self._next_way(trouble, places)
        if parent is not None:
            places.took(host, parent)
            yield Place(host, parent, self._connect_s(trouble))
        elif (call := self._call(host, places)) is not None:
            self._homeless = True
            yield call
        elif host.absence or (places.hope(host) and t <= self._since_s(trouble) + self._outlives_s):
            self._homeless = True
        else:
            yield GiveUp(host, trouble.code, trouble.reason)

    def _connect_s(self, trouble: _Trouble) -> float | None:
        """Who was silent once, and never up, is given less time by another way.

        It may be one of many dead hosts, and these are waited for one after another.
        """
        if not trouble.timeouts or trouble.host.was_here:
            return None
        connect_s = self._plan.timeouts.connect_s
        return min(connect_s, max(connect_s / SECOND, PATIENCE_LOGINS * self._median_s()))

    def _next_way(self, trouble: _Trouble, places: Places) -> int | None:
        """By its parent anew, by others, last by the root: whoever lets others in has to let that in.

        One whose agent may wait there is tried again and again: its lease doesn't wait for room.
        """
        host, tried = trouble.host, trouble.tried
        if host.absence is not None:  # what it doesn't answer now it will answer when it is back
            return places.best(host, (), host.parent, beyond=True)
        waits = host.was_here
        last = len(tried) >= MOST_PATHS - 1 or trouble.timeouts >= MOST_TIMEOUTS - 1
        if (
            last
            and ROOT_ID not in tried
            and host.id not in self._taken_from
            and places.best(host, tried, ROOT_ID, beyond=True) == ROOT_ID
        ):
            return ROOT_ID
        # Who took it from another may have no way to it: its silence says nothing yet.
        before = self._taken_from.pop(host.id, None) if tried else None
        if before is not None and places.best(host, tried, before, beyond=True) == before:
            trouble.timeouts = 0
            return before
        parent = places.best(host, tried, None if tried else host.parent)
        if parent is None and (waits or not places.hope(host)):
            parent = places.best(host, tried, beyond=True)
        if parent is None and waits:
            parent = places.best(host, tried[-1:], beyond=True)
        if parent is None and (waits or trouble.code in BY_CHANCE):
            parent = places.best(host, beyond=True)
        return parent

    def _needed(self, host: Host) -> bool:
        return not host.over or self._tree.needed(host)

    def _kept_back(self, host: Host) -> bool:
        """Does a pause keep it back? A leaf that is to be its relay then may not know of the pause."""
        return self._paused and not host.urgent

    def _call(self, host: Host, places: Places) -> CallUp | CallIn | None:
        """A gateway that a host needs to which nobody has a way: a spare one, or one that a pause keeps back.

        The latter only where an agent waits to be adopted.
        """
        if (spare := places.spare(host)) is not None:
            return CallUp(spare)
        if not self._paused:
            return None
        waits = host.called or any(each.was_here and not each.ended for each in self._tree.below(host))
        gateway = places.kept_back(host) if waits else None
        return CallIn(gateway) if gateway is not None else None

    def _since_s(self, trouble: _Trouble) -> float:
        """Since when somebody looks for it: a pause that kept it back is left out."""
        if trouble.host.was_here:
            return trouble.since_s
        return max(trouble.since_s, self._resumed_s, trouble.host.called_s or 0.0)

    def _hopeless(self, trouble: _Trouble, t: float) -> bool:
        if trouble.host.absence is not None:
            return t >= trouble.host.absence.until_s
        if trouble.code in FINAL or trouble.breaks > MOST_BREAKS:
            return True
        if trouble.host.was_here:
            return t >= trouble.since_s + self._outlives_s
        if trouble.code is Code.PASSWORD:  # it took no key of ours, and relays have nothing else
            return True
        return len(trouble.tried) >= MOST_PATHS or trouble.timeouts >= MOST_TIMEOUTS

    def _left_behind(self, t: float) -> Iterator[tuple[Host, Code | None]]:
        """Relays that keep what is below them waiting."""
        patience_s = self._patience_s()
        since = {each.host.id: self._since_s(each) - each.silent_s for each in self._troubles.values()}
        for host_id, since_s in {**self._begun, **since}.items():
            host = self._tree[host_id]
            # Who waits below one that was up, waits on its lease.
            most_s = min(patience_s, self._plan.timeouts.lease_s / 4) if host.t_ready_s else patience_s
            if host.children and host.contact is not Contact.UP and t - since_s > most_s:
                yield host, None
        for host_id in self._barren - self._moved:
            code = self._failures[host_id].most_common(1)[0][0]
            yield self._tree[host_id], code

    def _patience_s(self) -> float:
        """How long a relay may keep others waiting; before anybody is up, half a connect time-out."""
        if not self._took:
            return self._plan.timeouts.connect_s / 2
        return max(PATIENCE_LEAST_S, PATIENCE_LOGINS * self._median_s())

    def _median_s(self) -> float:
        """What logins took so far."""
        return self._took[len(self._took) // 2] if self._took else 0.0

    def _move_below(self, relay: Host, code: Code | None, places: Places) -> Iterator[Decision]:
        """Hang those below it elsewhere; where nobody has a way to one, what is below that."""
        count = 0
        avoid = {relay.id, *self._barren}  # others may have turned out to be so just now
        todo = deque(relay.children)
        while todo:
            host = self._tree[todo.popleft()]
            if host.ended or host.contact is Contact.NONE:
                continue
            if code is not None and host.contact is not Contact.WAITING:
                continue
            if host.shell and host.contact is Contact.UP:  # its command would end with the link to its relay
                continue
            if self._kept_back(host) or (self.ending and not self._tree.waiting_below(host)):
                continue
            parent = places.best(host, avoid)
            if parent is None and host.was_here:  # its lease doesn't wait until there is room
                parent = places.best(host, avoid, beyond=True)
            if parent is not None:
                places.took(host, parent)
                count += 1
                yield Place(host, parent)
                continue
            todo += host.children
            if (call := self._call(host, places)) is not None:
                self._homeless = True
                yield call
        if count and relay.id not in self._moved:
            yield Moved(relay, count, code)
        if count or code is not None:
            self._moved.add(relay.id)
