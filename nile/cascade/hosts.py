"""One host's state in a run: where it hangs, and what is known of its command.

A host's contact:

    waiting --parent begins--> login --hello--> up
       ^                         |               |
       +---- placed anew --------+-- failed -----+-- link lost --> none

and, independent of it, its command: nothing, may have started, started, over.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from nile.events import Verdict
from nile.topology.model import PlanNode

MOST_GIVEN = 3
AGAIN_S = (1.0, 2.0, 4.0, 5.0)
"""Pauses before the logins to a host that is to come back; the last one goes on."""


class Contact(StrEnum):
    """What there is between a host and its parent."""

    WAITING = "waiting"
    """Its parent has it to log in to, and didn't begin."""
    LOGIN = "login"
    UP = "up"
    NONE = "none"
    """No parent has it: the login failed, or the link is lost."""


@dataclass(slots=True)
class Absence:
    """A host whose command is over, or took it away, and that is to come back booted anew."""

    since_s: float
    until_s: float
    """When nobody waits for it any longer."""
    gone_s: float | None = None
    """When its link was lost first."""
    tries: int = 0

    def next_s(self, t: float) -> float:
        """When to log in to it, after what was lost or failed just now."""
        self.tries += 1
        return t + AGAIN_S[min(self.tries, len(AGAIN_S)) - 1]


@dataclass(slots=True, eq=False)
class Host:
    """A host of the plan: equal to itself only. Times are seconds since the run began."""

    node: PlanNode
    id: int = field(init=False)
    """Its id in the plan."""
    turn: int = field(init=False)
    """Of those that wait for their turn the lowest one has it."""
    name: str = field(init=False)
    """Its name in the plan."""
    rank: int
    """Its place among the hosts that were asked for."""
    parent: int
    """Who logs in to it now; the plan has who was to do so first."""
    children: list[int]
    epoch: int = 1
    least_epoch: int = 0
    """No attachment by this root has a lower one, and none by a former root one as high."""
    inherited: bool = False
    """Its link is of a former root's time: only its parent knows in which epoch."""
    former: set[int] = field(default_factory=set)
    """Nodes below which it hung before."""
    state_due: bool = True
    """Its agent was attached, or asked, and hasn't said yet where it stands."""
    answer_due: bool = False
    """It is sure to say so, and what it has below it that should hang elsewhere: it starts nothing before."""
    ask: int = 0
    """The number of the request that it is to answer: what it said before, or to a former root, is none."""
    carrier: int | None = None
    """The root logs in itself, over bytes that this relay carries: its link is the root's."""
    contact: Contact = Contact.WAITING
    permitted: bool = False
    held: bool = False
    """Its agent starts the command only when it is told to."""
    called_s: float | None = None
    """In a pause others need it as their way, since then: it is logged in to, and starts after the pause."""
    may_have_started: bool = False
    """A start has left for it, as far as anyone can know."""
    admitted: bool = False
    """Its parent can log in to it, and hasn't said yet what came of it."""
    started: bool = False
    """Its agent said so."""
    resumed: bool = False
    """It was attached anew: output that got lost meanwhile comes again, and some perhaps twice."""
    start_in: int = 0
    """The epoch of the attachment in which it was last told to start; 0: never, or it starts by itself."""
    start_ask: int = 0
    """What it had been asked last (`ask`) when it was told so: an answer to that may not know of it yet."""
    leaving: bool = False
    """It was told to start a command that may cut it off: nobody is hung below it any more."""
    silent: bool = False
    """With such a command its link fell silent: only what a login finds says what became of it."""
    shell: bool = False
    """It has no Python: its parent has a shell there run the command, and nobody is hung below it."""
    kept_free: bool = False
    """It is to start such a command before others: nobody is hung below it, who would have to go first."""
    absence: Absence | None = None
    """It is waited for."""
    booted_anew: bool = False
    """It was booted after it was told to start such a command."""
    connect_s: float | None = None
    """How long the next login may take; None: as long as any."""
    t_connect_s: float | None = None
    t_ready_s: float | None = None
    uptime_s: float = 0.0
    """For how long it had been up when its agent said hello last."""
    booted_s: float | None = None
    """When it was booted; negative: before the run began."""
    received: dict[str, int] = field(default_factory=lambda: {"stdout": 0, "stderr": 0})
    acked: tuple[int, int] = (0, 0)
    wants_password: bool = False
    """sudo waits for one there: the command hasn't begun, and that is nobody's fault."""
    answered: int = 0
    """Bytes of the answer that its agent got to that: what a worker there is told counts from behind them."""
    start_s: float | None = None
    """When its command may have started first."""
    placed_s: float = 0.0
    """When it was last given to a node."""
    permitted_s: float = 0.0
    """When that node was last told that it may log in to it, if it had to wait for that."""
    lost_s: float = 0.0
    """When it was last lost, or a login to it failed."""
    attached_s: float = 0.0
    """When it was last attached."""
    heard_s: float = 0.0
    """When its agent last said something of its command, or where it stands."""
    outcome: dict[str, Any] | None = None
    """The agent's RESULT, while its output is still on the way."""
    verdict: Verdict | None = None
    why: str = ""
    """The reason of its verdict."""
    committed: bool = False
    """Its verdict is in the store (always so for one that only relays)."""
    ended: bool = False
    """Its agent was told to end, or is given up."""
    signatures: int = 0
    """Unbound signatures that it got as a relay, or that are being decided on."""
    given: Counter[int] = field(default_factory=Counter)
    """How often it was told, as a relay, to log in to which host."""
    logins: int = 0
    """Logins that it was given to do so; many in vain to one host count as a few."""
    equipped: bool = field(init=False)
    """Its agent has what a relay needs, unless that was lost with a link and the root doesn't know yet."""
    complained_of: bool = False
    """Its parent reported that it lied."""
    asking: int = 0
    """The attachment for which a signature is being decided on."""
    refused: str = ""
    """Why the root didn't sign for the login to this host."""

    def __post_init__(self) -> None:
        self.id, self.name, self.turn = self.node.id, self.node.host, self.rank
        self.links_lost()

    def links_lost(self) -> None:
        """What was on its way to it is lost, perhaps; what a relay of the plan needs came with its agent."""
        self.resumed = self.resumed or self.t_ready_s is not None
        self.equipped = bool(self.node.children)

    @property
    def alive(self) -> bool:
        """Does an agent run there that the root may hear of?"""
        return self.contact is Contact.UP and not self.ended

    @property
    def was_here(self) -> bool:
        """May an agent of it wait to be adopted?"""
        return self.may_have_started or self.t_ready_s is not None

    @property
    def urgent(self) -> bool:
        """Is it logged in to in a pause, too? Its agent may wait, or others need it as their way."""
        return self.was_here or self.called or not self.node.asked

    @property
    def called(self) -> bool:
        """Was it needed as a way while a pause kept it back?"""
        return self.called_s is not None

    @property
    def in_doubt(self) -> bool:
        """Can its command have started, for all that is known?"""
        return self.may_have_started or self.admitted

    @property
    def over(self) -> bool:
        """Is nothing more wanted of it for itself?"""
        return self.verdict is not None or not self.node.asked

    def attach_anew(self) -> None:
        """What the attachment before was is void from now on."""
        self.epoch = max(self.epoch, self.least_epoch) + 1
        self.inherited = False

    def give(self, host_id: int) -> None:
        """It is told, as a relay, to log in to this host."""
        self.given[host_id] += 1
        self.logins += self.given[host_id] <= MOST_GIVEN

    def met(self, uptime_s: float, t: float) -> None:
        """Its agent said hello, on a machine that has been up for so long."""
        # The root's clock may have stood still meanwhile (a laptop's lid): a shorter uptime says it too.
        self.booted_anew = self.booted_anew or (self.leaving and uptime_s < self.uptime_s)
        self.uptime_s = uptime_s
        self.dated(uptime_s, t)

    def dated(self, uptime_s: float, t: float) -> None:
        """It has been up for so long, by its kernel or, which a container knows better, its first process."""
        self.booted_s = t - uptime_s
        if self.leaving and self.start_s is not None and self.booted_s > self.start_s:
            self.booted_anew = True

    def output_complete(self) -> bool:
        """Has everything arrived that the result says was printed?"""
        return self.outcome is not None and not self.output_missing()

    def output_missing(self) -> int:
        """How many of the bytes that the result says were printed haven't arrived."""
        said = self.outcome or {}
        return sum(max(0, _size(said.get(name)) - have) for name, have in self.received.items())


def _size(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0
