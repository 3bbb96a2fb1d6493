"""Simulated hosts: how a login to them goes, what runs on them, and what went on there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nile.simulation.clock import Clock
from nile.simulation.commands import KILL, Command, Leave, Process, Script
from nile.simulation.pipes import Wire
from nile.topology.model import PlanNode

if TYPE_CHECKING:
    from nile.simulation.agent import SimAgent

SILENT = "silent"
UP_FOR_S = 86_400.0
"""How long hosts have been up when a simulation begins."""


@dataclass(slots=True)
class LoginBehaviour:
    """What becomes of logins to a host."""

    seconds: float = 0.1
    code: str | None = None
    """Refused, with this code."""
    startups: int = 0
    """So many attempts are dropped first, which says nothing about the host."""
    silent: bool = False
    """Neither answered nor refused."""
    hangs: bool = False
    """The login goes through, and then nothing comes."""
    barred: dict[int, str] = field(default_factory=dict)
    """Who may not log in here, by id, with the code that they get; `SILENT`: a firewall drops it."""
    only: frozenset[int] | None = None
    """Ids of the only ones whose packets come here: the gateways, and who is behind them too."""
    no_python: bool = False
    noise: bytes = b""
    """What the login prints before the first stage speaks."""

    def code_for(self, caller: int) -> str | None:
        """With what code this caller is refused; None: it isn't."""
        if self.only is not None and caller not in self.only:
            return SILENT
        return self.barred.get(caller, self.code)


@dataclass(slots=True)
class Claims:
    """What really happened on a host, for the checks."""

    starts: int = 0
    attempts: int = 0
    most_unacknowledged: dict[str, int] = field(default_factory=lambda: {"stdout": 0, "stderr": 0})
    agents: int = 0


class SimHost:
    """One host: a place that can freeze, lose power, and hold an agent, a command and its descendants."""

    def __init__(self, clock: Clock, node: PlanNode, script: Callable[[], Script]) -> None:
        self.clock = clock
        self.node = node
        self.script = script
        self.lines: list[str] = []
        """What its login shell was given, start by start."""
        self.login = LoginBehaviour()
        self.wire: Wire | None = None
        """What the cable to it is like, where it isn't like the others."""
        self.booted_at = -UP_FOR_S
        self.frozen = False
        self.waiting: list[Callable[[], None]] = []
        self.powered = True
        self.agent: SimAgent | None = None
        self.claimant: SimAgent | None = None
        """The agent that speaks for this host: the first that came here, as long as it lives."""
        self.trace = False
        """An agent of the run was here, and the root didn't say yet that it may be forgotten."""
        self.command: Command | None = None
        self.left: list[Process] = []
        self.claims = Claims()
        self.on_start: Callable[[], None] = lambda: None
        self.on_end: Callable[[], None] = lambda: None
        self.struck = False
        """A fault befell it, or the way to it."""
        self.escaped = False
        """Nobody is left who would end what runs here, until another agent comes."""
        self._pids = 1000

    @property
    def id(self) -> int:
        """Its id in the plan."""
        return self.node.id

    @property
    def name(self) -> str:
        """Its name in the plan."""
        return self.node.host

    def alive(self) -> list[Process]:
        """The processes of the run that live here."""
        command = [self.command] if self.command is not None and self.command.alive else []
        return [*command, *(process for process in self.left if process.alive)]

    def printed(self, stream: str) -> bytes:
        """All that the command wrote to a stream."""
        return self.command.printed(stream) if self.command is not None else b""

    def start(
        self, line: str, readable: Callable[[str], None], ended: Callable[[int | None, int | None], None]
    ) -> Command:
        """Start the command."""
        self.claims.starts += 1
        self.lines.append(line)
        self.on_start()

        def over(status: int | None, signum: int | None) -> None:
            self.on_end()
            ended(status, signum)

        self.command = Command(self._pid(), self.script(), self.clock, self._leave, readable, over)
        return self.command

    def signal_all(self, signum: int) -> None:
        """Signal every process of the run, as the agent or its warden does."""
        self.escaped = self.escaped and signum != KILL
        for process in self.left:
            if signum == KILL or not process.ignores_term:
                process.die()
        if self.command is not None:
            self.command.signal(signum)

    def _leave(self, step: Leave) -> None:
        process = Process(self._pid(), step.name, step.ignores_term)
        self.left.append(process)
        if step.seconds is not None:
            self.clock.after(step.seconds, process.die)

    def _pid(self) -> int:
        self._pids += 1
        return self._pids

    # Faults.

    def crash(self) -> None:
        """The power goes: nothing here lives on, and nobody is told."""
        self.powered = False
        self.trace = False
        for agent in self._agents():
            agent.vanish()
        self.signal_all(KILL)

    def boot(self) -> None:
        """The power is back: nothing of what was here is left."""
        self.powered = True
        self.frozen = False
        self.waiting.clear()
        self.booted_at = self.clock.now

    def kill_agent(self) -> None:
        """The agent is killed: its warden ends what it left, and its connections close."""
        self.kill_both()
        self.signal_all(KILL)

    def kill_warden(self) -> None:
        """The warden is killed: its agent is told, ends the command and then itself."""
        for agent in self._agents():
            agent.warden_lost()

    def kill_both(self) -> None:
        """Agent and warden are killed together: what the command is made of escapes."""
        self.escaped = True
        for agent in self._agents():
            agent.die()

    def _agents(self) -> list[SimAgent]:
        return [agent for agent in {self.agent, self.claimant} if agent is not None]

    def freeze(self) -> None:
        """Nothing here goes on; connections stay open."""
        self.frozen = True

    def thaw(self) -> None:
        """Everything goes on, beginning with what arrived meanwhile."""
        self.frozen = False
        waiting, self.waiting = self.waiting, []
        for call in waiting:
            call()
