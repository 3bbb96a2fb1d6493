"""What a run does on its hosts beside one command: a job, and what it says to its workers.

A job is a pure machine of its own, below which the cascade machine keeps the
tree. On every asked host a worker runs where the command of `nile exec` would
(see nile.agent.worker), and one at the root, beside the root. A job tells them
what to do, and hears what came of it, in messages (nile.agent.worker.messages);
what gets lost with a link is said again, in order and once.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from nile.agent import wire
from nile.agent.wire import WireError
from nile.agent.worker import messages
from nile.cascade.actions import Action, Attest, Listen, Publish, TellRoot, Vouch
from nile.cascade.hosts import Host
from nile.cascade.inputs import (
    Answered,
    Attested,
    Listening,
    Recorded,
    RootSaid,
    RootWorkerEnded,
    Slept,
    Vouched,
)
from nile.cascade.tree import Tree
from nile.cascade.verdicts import Judgement
from nile.events import Asked, Notice
from nile.options import RateLimits
from nile.topology.model import ROOT_ID

WINDOW = 128 * 1024
"""Bytes that may be on their way to one worker: said, and not yet read by it."""
GAP_S = 5.0
"""The root does something every second: where that takes longer, it was kept from its work."""


@dataclass(frozen=True, slots=True)
class Worker:
    """How a worker is started: a line for the login shell, and what that reads first from its input."""

    command: str
    program: bytes
    reach: Mapping[str, bytes] = field(default_factory=dict)
    """What a relay needs to lead connections over its links: sources by the names of their modules."""
    root_program: bytes = b""
    """As `program`, for the root's own; b"": the same."""


@dataclass(frozen=True, slots=True)
class Tell:
    """A message for a worker; `ROOT_ID` has the root's own."""

    node_id: int
    message: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Judge:
    """The verdict on a host, if it has none: its agent ends the worker there once nobody needs it."""

    node_id: int
    judgement: Judgement


@dataclass(frozen=True, slots=True)
class Reach:
    """Have a port opened on one node's loopback that leads, over links, to a port on another's.

    The root reaches every host, a relay its children. The answer is as a worker's, from `giver`: `n` is
    the number, and there is a `port`, or a `code` and a `reason`.
    """

    number: int
    giver: int
    taker: int
    port: int


Errand = Tell | Judge | Reach | Vouch | Attest | Publish


@dataclass(frozen=True, slots=True)
class Neighbours:
    """How nodes find each other, by their ids."""

    address: Callable[[int, int], str]
    """(giver, taker): where one node reaches another; the root's id is `ROOT_ID`."""
    login: Callable[[int, int], dict[str, Any] | None] = lambda giver, taker: None
    """What one host needs to log in to another (see nile.agent.worker.tunnel); None where it may not."""
    rack: Callable[[int], str] = lambda _: ""
    """What hosts are kept together by, in words; "" where that isn't known."""


class Job(Protocol):
    """Decides what workers do. Errands are carried out in order.

    Times are seconds since the run began, without those in which the root was kept from its work (it was
    stopped, or the machine had too much to do): nobody could be heard then, and nobody is judged for that.
    """

    def begin(self, t: float) -> Iterable[Errand]:
        """The run begins; the root's worker listens already."""

    def started(self, node_id: int, t: float) -> Iterable[Errand]:
        """The worker of a host runs."""

    def heard(self, node_id: int, message: dict[str, Any], t: float) -> Iterable[Errand]:
        """A worker says something. Raises KeyError, TypeError or ValueError where it breaks the rules."""

    def lied(self, node_id: int, reason: str, t: float) -> Iterable[Errand]:
        """What a worker said breaks the rules."""

    def over(self, node_id: int, t: float) -> Iterable[Errand]:
        """A host has its verdict, whatever it is: nothing more will be heard of it."""

    def root_lost(self, reason: str, t: float) -> Iterable[Errand]:
        """The root's own worker ended."""

    def answered(self, yes: bool, t: float) -> Iterable[Errand]:
        """The user's answer to what the last `Asked` event asked; it may have become void since."""

    def concluded(self, t: float) -> Iterable[Errand]:
        """The user has enough of what lasts until then: that ends in order. What has its own end goes on."""

    def limited(self, limits: RateLimits, t: float) -> Iterable[Errand]:
        """The user wants other rates, of a swarm."""

    def interrupted(self, t: float) -> Iterable[Errand]:
        """The user wants the run to end: workers are told to. What they still say is heard."""

    def tick(self, t: float) -> Iterable[Errand]:
        """Time passed; about once a second."""

    def missed(self, seconds: float) -> None:
        """For so long the root was kept from its work: times leave it out, and clocks of hosts don't."""


class NoJob:
    """The job of a run that has none: see `Job`."""

    def begin(self, *_: object) -> tuple[Errand, ...]:
        """Nothing."""
        return ()

    started = heard = lied = over = root_lost = answered = concluded = limited = interrupted = tick = begin

    def missed(self, seconds: float) -> None:
        """Nothing."""


@dataclass(slots=True)
class _Talk:
    """What is said to one worker: absolute offsets of bytes, the program's not counted."""

    said: deque[tuple[int, bytes]] = field(default_factory=deque)
    """Not read yet: (offset, bytes), the first `sent` of them on their way."""
    sent: int = 0
    end: int = 0
    taken: int = 0
    heard: bytearray = field(default_factory=bytearray)


class Work:
    """A job and its conversations. `send(host id, kind, body)` makes a frame for a host."""

    def __init__(
        self,
        job: Callable[[Tree], Job] | None,
        worker: Worker | None,
        tree: Tree,
        send: Callable[[int, int, bytes], Action],
        judge: Callable[[Host, Judgement, float], list[Action]],
    ) -> None:
        self._job: Job = NoJob() if job is None else job(tree)
        self.has_job = job is not None
        self._program = len(worker.program) if worker else 0
        self._reach_code = dict(worker.reach) if worker else {}
        self._tree = tree
        self._send = send
        self._judge = judge
        self._talks: defaultdict[int, _Talk] = defaultdict(_Talk)
        self._asked = 0
        """Questions to the user."""
        self._open = 0
        """The number of the one that isn't answered; 0: there is none."""
        self._last_s = 0.0
        """When anything happened last,"""
        self._missed_s = 0.0
        """and for how long, in all, the root was kept from its work."""

    # What happens.

    def begin(self, t: float) -> list[Action]:
        """The run begins."""
        return self._run(self._job.begin(self._time(t)), t)

    def started(self, host: Host, t: float) -> list[Action]:
        """Its worker runs, and may be told what waited for that."""
        return [*self.again(host), *self._run(self._job.started(host.id, self._time(t)), t)]

    def output(self, host: Host, data: bytes, t: float) -> list[Action]:
        """Bytes that its worker said."""
        return self._heard(host.id, data, t)

    def _heard(self, node_id: int, data: bytes, t: float) -> list[Action]:
        actions: list[Action] = []
        try:
            for message in messages.unpack(self._talks[node_id].heard, data):
                actions += self._hear(node_id, message, t)
        except WireError as error:
            actions += self._run(self._job.lied(node_id, str(error)[:200], self._time(t)), t)
        return actions

    def _hear(self, node_id: int, message: Mapping[str, Any], t: float) -> list[Action]:
        actions: list[Action] = []
        try:
            self._run(self._job.heard(node_id, dict(message), self._time(t)), t, actions)
        except (KeyError, TypeError, ValueError) as error:
            actions += self._run(self._job.lied(node_id, str(error)[:200], self._time(t)), t)
        return actions

    def handle(
        self,
        event: RootSaid | RootWorkerEnded | Listening | Answered | Recorded | Vouched | Attested | Slept,
        t: float,
    ) -> list[Action]:
        """What comes from the root's own worker, from the user, from the store, or of its machine."""
        match event:
            case RootSaid(data):
                return self._heard(ROOT_ID, data, t)
            case Listening(number, port, reason):
                found = {"port": port} if port else {"code": "dropped", "reason": reason}
                return self.reached(ROOT_ID, {"number": number, **found}, t)
            case RootWorkerEnded(reason):
                return self._run(self._job.root_lost(reason, self._time(t)), t)
            case Answered(number, yes) if number == self._open:
                self._open = 0
                return self._run(self._job.answered(yes, self._time(t)), t)
            case Answered():
                return []  # another one has been asked since
            case Recorded(number, kept, reason, remedy):
                lost = {"code": "store", "reason": reason, "remedy": remedy}
                return self.reached(ROOT_ID, {"number": number, **({} if kept else lost)}, t)
            case Slept(seconds):
                self._job.missed(seconds)
                return []
            case Vouched(number, answer, note, refused, spent):
                notes: list[Action] = [Publish(Notice(note))] if note else []
                said = {"answer": answer, "refused": refused, "spent": spent}
                return notes + self.reached(ROOT_ID, {"number": number, **said}, t)
            case Attested(number, body, signatures, certified, refused, opened):
                signed = {"body": body, "signatures": list(signatures), "certified": list(certified)}
                told = {"number": number, **signed, "opened": dict(opened), "refused": refused}
                return self.reached(ROOT_ID, told, t)

    def verdicts(self, hosts: list[Host], t: float) -> list[Action]:
        """These have their verdicts. What follows from that may bring about others: all are taken out."""
        actions: list[Action] = []
        while hosts:
            host = hosts.pop(0)
            if talk := self._talks.pop(host.id, None):
                talk.said.clear()
            actions += self._run(self._job.over(host.id, self._time(t)), t)
        return actions

    def concluded(self, t: float) -> list[Action]:
        """The run is to come to its end in order."""
        return self._run(self._job.concluded(self._time(t)), t)

    def limited(self, limits: RateLimits, t: float) -> list[Action]:
        """Other rates are wanted."""
        return self._run(self._job.limited(limits, self._time(t)), t)

    def interrupted(self, t: float) -> list[Action]:
        """The run is to end."""
        return self._run(self._job.interrupted(self._time(t)), t)

    def tick(self, t: float) -> list[Action]:
        """Time passed."""
        return self._run(self._job.tick(self._time(t)), t)

    def _time(self, t: float) -> float:
        """The time that the job goes by."""
        gap_s, self._last_s = t - self._last_s, t
        if gap_s > GAP_S:
            self._missed_s += gap_s
            self._job.missed(gap_s)
        return t - self._missed_s

    # What is said.

    def taken(self, host: Host, offset: int) -> list[Action]:
        """Its worker has read so much of its standard input, the program included."""
        talk = self._talks.get(host.id)
        if talk is None:
            return []
        talk.taken = max(talk.taken, offset - self._program)
        while talk.said and talk.said[0][0] + len(talk.said[0][1]) <= talk.taken:
            talk.said.popleft()
            talk.sent = max(0, talk.sent - 1)
        return self._flush(host, talk)

    def again(self, host: Host) -> list[Action]:
        """It was attached anew: what was on its way to it may be lost."""
        talk = self._talks.get(host.id)
        if talk is None:
            return []
        talk.sent = 0
        return self._flush(host, talk)

    def _run(self, errands: Iterable[Errand], t: float, done: list[Action] | None = None) -> list[Action]:
        """What follows, in order; with `done` also what did before an error that is raised."""
        actions = [] if done is None else done
        for errand in errands:
            match errand:
                case Publish(event=Asked() as asked):
                    self._asked = self._open = self._asked + 1
                    actions.append(replace(errand, event=replace(asked, number=self._asked)))
                case Publish() | Vouch() | Attest():
                    actions.append(errand)
                case Judge(node_id, judgement):
                    actions += self._judge(self._tree[node_id], judgement, t)
                case Reach():
                    actions.append(self._reach(errand))
                case Tell(node_id, message):
                    actions += self._tell(node_id, message)
        return actions

    def _reach(self, errand: Reach) -> Action:
        if errand.giver == ROOT_ID:
            return Listen(errand.number, errand.taker, errand.port)
        body = {"number": errand.number, "child": errand.taker, "port": errand.port, "code": self._reach_code}
        return self._send(errand.giver, wire.REACH, wire.dumps(body))

    def reached(self, node_id: int, fields: Mapping[str, Any], t: float) -> list[Action]:
        """A node says at which port it leads on, or why not; raises KeyError."""
        return self._hear(node_id, {**fields, "n": fields["number"]}, t)

    def _tell(self, node_id: int, message: dict[str, Any]) -> list[Action]:
        data = messages.pack(message)
        return [TellRoot(data)] if node_id == ROOT_ID else self._say(self._tree[node_id], data)

    def _say(self, host: Host, data: bytes) -> list[Action]:
        talk = self._talks[host.id]
        if host.over:
            return []
        for at in range(0, len(data), wire.CHUNK):
            chunk = data[at : at + wire.CHUNK]
            talk.said.append((talk.end, chunk))
            talk.end += len(chunk)
        return self._flush(host, talk)

    def _flush(self, host: Host, talk: _Talk) -> list[Action]:
        """What the window has room for. One that is out of reach gets it all once it is back.

        Before its worker runs, sudo may read there what its agent is told.
        """
        actions: list[Action] = []
        if not (host.started and self._tree.attached(host.id)):
            return actions
        while talk.sent < len(talk.said):
            offset, chunk = talk.said[talk.sent]
            if offset + len(chunk) > talk.taken + WINDOW:
                break
            number = (host.answered + offset).to_bytes(8, "big")
            actions.append(self._send(host.id, wire.TELL, number + chunk))
            talk.sent += 1
        return actions
