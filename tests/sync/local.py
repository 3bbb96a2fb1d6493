"""Runs whose hosts are directories of this machine, each with a real worker: no tree, no links, no agents."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from nile.agent.worker import messages
from nile.bootstrap.program import PYTHON, worker_program
from nile.cascade import Attest, Vouch
from nile.cascade.hosts import Contact
from nile.cascade.tree import Tree
from nile.cascade.verdicts import Judgement
from nile.cascade.work import Errand, Job, Judge, Reach, Tell
from nile.events import Decision, HostOutput, Notice, Verdict
from nile.topology.model import ROOT_ID
from tests.simulation.trees import tree
from tests.sync.operator import Operator

LONGEST_S = 40.0
DEST = b"/dst"
Message = dict[str, Any]


class Killed(Exception):
    """The root is no more."""


class Local:
    """One run of a job on hosts 1 to `count`; /dst of host N is the directory `place`/N.

    `dies(node id, message)` says whether the root dies before it says this. The workers hear of that as of
    any root's death: their input ends. Hosts that are `bare` have no rsync, and run on `python`.
    `loses(node id, message)` gives the host that dies when this is said, or none. The `operator` signs.
    """

    def __init__(
        self,
        place: Path,
        count: int,
        job: Callable[[Tree], Job],
        down: Iterable[int] = (),
        dies: Callable[[int, Message], bool] = lambda node_id, message: False,
        bare: Iterable[int] = (),
        python: str = sys.executable,
        loses: Callable[[int, Message], int | None] = lambda node_id, message: None,
        operator: Operator | None = None,
    ) -> None:
        self.tree = Tree(tree([0] * count), {})
        for host in self.tree.hosts.values():
            host.contact = Contact.UP
        self._place = place
        self._job = job(self.tree)
        self._dies = dies
        self._bare = set(bare)
        self._python = python
        self._loses = loses
        self._operator = operator
        self._program = operator.worker() if operator is not None else worker_program()
        self._attested: Attest | None = None
        self._lost: list[int] = []
        self._waiting: dict[int, int] = {}
        """By port, the host that waits there for who copies to it by way of the tree."""
        self.told: list[tuple[int, Message]] = []
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._buffers: dict[int, bytearray] = {}
        self.judged: dict[int, Judgement] = {}
        self.published: list[Any] = []
        self.decided: list[str] = []
        self._stored: list[int] = []
        """Numbers of decisions of which the job hasn't heard that they are in the store."""
        try:
            self._run(set(down))
        except Killed:
            pass
        finally:
            self._end()

    @property
    def notices(self) -> list[str]:
        return [event.text for event in self.published if isinstance(event, Notice)]

    @property
    def said(self) -> dict[str, str]:
        """What was shown of each host."""
        return {event.host: event.data.decode() for event in self.published if isinstance(event, HostOutput)}

    def _run(self, down: set[int]) -> None:
        hosts = [host.id for host in self.tree.hosts.values()]
        for node_id in (ROOT_ID, *hosts):
            if node_id not in down:
                self._start(node_id)
        self._carry_out(self._job.begin(0.0))
        for node_id in hosts:
            if node_id in down:
                self._judge(node_id, Judgement(verdict="unreachable"))  # type: ignore[arg-type]
            else:
                self._carry_out(self._job.started(node_id, 0.0))
        began = time.monotonic()
        while len(self.judged) < len(hosts):
            t = time.monotonic() - began
            assert t < LONGEST_S, {node_id: self.judged.get(node_id) for node_id in hosts}
            while self._stored:
                self._carry_out(self._job.heard(ROOT_ID, {"n": self._stored.pop(0)}, t))
            while self._lost:
                self._lose(self._lost.pop())
            self._hear(t)
            self._carry_out(self._job.tick(t))

    def _lose(self, node_id: int) -> None:
        """All of it is gone at once, rsync too."""
        process = self._processes[node_id]
        process.send_signal(signal.SIGSTOP)
        for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
            for kill in (os.killpg, os.kill):  # who has just been forked may lead no group yet
                with suppress(ProcessLookupError):
                    kill(int(child), signal.SIGKILL)
        process.kill()
        self._judge(node_id, Judgement(Verdict.LOST))

    def _start(self, node_id: int) -> None:
        pipe = subprocess.PIPE
        bare = node_id in self._bare
        argv = [self._python if bare else sys.executable, "-BISc", PYTHON]
        env = {"PATH": "/nowhere"} if bare else None
        self._processes[node_id] = process = subprocess.Popen(argv, stdin=pipe, stdout=pipe, env=env)
        self._buffers[node_id] = bytearray()
        assert process.stdin
        process.stdin.write(self._program)
        process.stdin.flush()

    def _hear(self, t: float) -> None:
        by_fd = {
            process.stdout.fileno(): node_id
            for node_id, process in self._processes.items()
            if process.stdout and node_id not in self.judged
        }
        for fd in select.select(list(by_fd), [], [], 0.5)[0]:
            node_id = by_fd[fd]
            data = os.read(fd, 65536)
            assert data or node_id in self.judged, f"the worker of {node_id} ended"
            for message in messages.unpack(self._buffers[node_id], data):
                if node_id not in self.judged:
                    self._carry_out(self._job.heard(node_id, message, t))

    def _carry_out(self, errands: Iterable[Errand]) -> None:
        for errand in errands:
            if isinstance(errand, Tell):
                self._tell(errand.node_id, errand.message)
            elif isinstance(errand, Judge):
                self._judge(errand.node_id, errand.judgement)
            elif isinstance(errand, Reach):  # all are on one machine
                answer = {"n": errand.number, "port": errand.port}
                self._waiting[errand.port] = errand.taker
                self._carry_out(self._job.heard(errand.giver, answer, 0.0))
            elif isinstance(errand, Vouch):
                pytest.fail("nobody may log in to another")
            elif isinstance(errand, Attest):
                self._attested = errand
                signed: Message = {
                    "body": b"",
                    "signatures": [],
                    "certified": [],
                    "opened": {},
                    "refused": "",
                }
                self._carry_out(self._job.heard(ROOT_ID, {"n": errand.number, **signed}, 0.0))
            elif isinstance(errand.event, Decision):
                if self._dies(ROOT_ID, {"do": "decide"}):
                    raise Killed
                self.decided.append(errand.event.text)
                self._stored.append(errand.event.number)
            else:
                self.published.append(errand.event)

    def _tell(self, node_id: int, message: Message) -> None:
        if self._dies(node_id, message):
            raise Killed
        if (lost := self._loses(node_id, message)) is not None:
            self._lost.append(lost)
        self.told.append((node_id, message))
        process = self._processes[node_id]
        assert process.stdin
        process.stdin.write(messages.pack(self._there(node_id, message)))
        process.stdin.flush()

    def _there(self, node_id: int, message: Message) -> Message:
        """With the paths of whoever is to have it."""
        whose = message["to"] if message["do"] == "push" else node_id
        if message["do"] == "record" and message["address"]:
            whose = self._waiting[message["port"]]
        own = os.fsencode(self._place / str(whose))

        def named(value: object) -> object:
            if isinstance(value, dict):
                return {key: named(inner) for key, inner in value.items()}
            return own + value[len(DEST) :] if isinstance(value, bytes) and value.startswith(DEST) else value

        there: Message = {key: named(value) for key, value in message.items()}
        if message["do"] == "peer" and self._attested is not None and self._operator is not None:
            dest = named(self._attested.dest)
            assert isinstance(dest, bytes)
            there["statement"], there["signatures"] = self._operator.attest(self._attested, dest)
        return there

    def _judge(self, node_id: int, judgement: Judgement) -> None:
        if node_id in self.judged:
            return
        self.judged[node_id] = judgement
        if node_id in self._processes:
            self._processes[node_id].terminate()
        self._carry_out(self._job.over(node_id, 0.0))

    def _end(self) -> None:
        """Every worker's input ends; each cleans up and ends."""
        for process in self._processes.values():
            assert process.stdin
            process.stdin.close()
        try:
            for process in self._processes.values():
                process.wait(10)
        finally:
            for process in self._processes.values():
                assert process.stdout
                process.stdout.close()
                if process.poll() is None:
                    process.kill()
                    process.wait()
