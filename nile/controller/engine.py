"""One run: the cascade machine, its inputs from everywhere, and the threads around it.

The engine's thread has the event loop: logins, links, heartbeats, decisions.
It waits for neither terminal nor store (see `pipeline`); a terminal that
stands still makes hosts wait for credits, and never their leases run out.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from nile.agent import wire
from nile.agent.handshake import Bundle
from nile.agent.wire import Frame, WireError
from nile.bootstrap import agent_bundle, carrier_code
from nile.cascade import (
    Action,
    Adopt,
    Answered,
    Attest,
    Carry,
    Cascade,
    CascadeOptions,
    Concluded,
    Finish,
    FrameReceived,
    Input,
    Interrupted,
    Limited,
    Listen,
    Listening,
    Outstanding,
    PasswordGiven,
    Publish,
    ReadStdin,
    RootSaid,
    RootWorkerEnded,
    Secret,
    Send,
    Sign,
    Slept,
    Started,
    StdinEnded,
    StdinRead,
    Steered,
    TellRoot,
    Ticked,
    Vouch,
)
from nile.cascade.ledger import Credit, Ledger
from nile.controller.branches import Branches, Dial
from nile.controller.pipeline import Pipeline
from nile.controller.rootworker import RootWorker
from nile.controller.signatures import Signatory, Signatures
from nile.controller.tunnels import KINDS, Tunnels
from nile.events import Event, HostOutput
from nile.options import Pacing, RateLimits
from nile.topology.model import Plan
from nile.transport.base import ResolvedLogin, Transport
from nile.transport.passwords import Passwords

BEAT_S = 1.0
SLEPT_S = 5.0
"""Nobody takes a root for dead that was silent for less."""
NAP_S = 0.5
"""For how long the machine has to have been suspended, all in all, before that is told."""
ANSWER_S = 2.0
"""How long whoever asks for something waits for the engine; its loop may have ended."""
GOODBYE_S = 2.0
"""How long the root waits for its children's links to close once the run is over."""


def new_run_id() -> str:
    """128 random bits: names a run on every host, and can't be guessed."""
    return secrets.token_hex(16)


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """All that a run needs. `record` commits a batch of events, in a thread of its own."""

    plan: Plan
    cascade: CascadeOptions
    logins: Mapping[str, ResolvedLogin]
    transport: Callable[[], Transport]
    signatory: Signatory
    record: Callable[[Sequence[Event]], None]
    bundle: Callable[[], Bundle] = agent_bundle
    carrier_code: Callable[[], Mapping[str, bytes]] = carrier_code
    """Asked in the loop that beats for all hosts: what takes long is to be made before."""
    check_ours: Callable[[], None] = lambda: None
    """Raises TakenOverError where another root has taken the run over; asked after every long sleep."""
    observe: Callable[[Sequence[Event]], None] = lambda _: None
    """Told of all events, in a thread that waits for no terminal; it must neither raise nor wait."""
    passwords: Passwords | None = None
    """What the transport gives to hosts that ask for it, each in its turn."""


class Engine:
    """One run. Iterate over `events()`; call `interrupt()` from any thread or signal handler."""

    def __init__(self, options: EngineOptions) -> None:
        self._options = options
        self._cascade = Cascade(options.plan, options.cascade)
        self._ledger = Ledger(self._cascade.received())
        self._pipeline = Pipeline(
            options.record,
            lambda number: self._post(self._stored, number),
            lambda number: self._post(self._shown, number),
            lambda error: self._post(self._fail, error),
            options.observe,
        )
        self._inbox: deque[tuple[Input, Credit | None]] = deque()
        self._pumping = True  # nothing is applied before the run begins
        self._finished = False
        self._awake_at = time.clock_gettime(time.CLOCK_BOOTTIME)
        self._asleep_s = self._awake_at - time.monotonic()
        self._failure: BaseException | None = None
        self._loop = asyncio.new_event_loop()
        self._wake = asyncio.Event()
        self._stirred = asyncio.Event()
        self._tasks: asyncio.TaskGroup
        self._branches: Branches
        self._signatures = Signatures(
            options.signatory,
            self._login_to,
            lambda task: self._tasks.create_task(task),
            self._give,
            options.plan.timeouts.connect_s,
        )
        self._tunnels = Tunnels(self._send_to, self._cascade.route, options.carrier_code, self._carried_less)
        self._worker = RootWorker(
            lambda data: self._give(RootSaid(data)), lambda reason: self._give(RootWorkerEnded(reason))
        )
        self._ends: list[Frame] = []
        """What tells relays to end that still carry something."""

    # The caller's thread.

    def events(self, idle_s: float | None = None, grace_s: float = 0.0) -> Iterator[Event | None]:
        """Run, and yield every event once it is in the store. Raises what broke the engine.

        With `idle_s`, None after every so many seconds without an event. A caller that stops listening
        ends the run: commands get SIGTERM, `grace_s`, SIGKILL. A store that fails ends nothing: a
        notice says so, and its error is raised behind the last event.
        """
        thread = threading.Thread(target=self._engine, name="nile-engine", daemon=True)
        self._pipeline.start()
        thread.start()
        try:
            yield from self._pipeline.events(idle_s)
        except BaseException:
            self.interrupt(grace_s)
            self._pipeline.drain()
            raise
        finally:
            thread.join()
        if self._pipeline.failure is not None:
            raise self._pipeline.failure

    def conclude(self) -> None:
        """Have a run that lasts come to its end in order: hosts that lack something are cancelled."""
        self._post(self._give, Concluded())

    def limit(self, limits: RateLimits) -> None:
        """Have peers of a swarm keep to these rates."""
        self._post(self._give, Limited(limits))

    def interrupt(self, grace_s: float) -> None:
        """End the run: SIGTERM to all commands, `grace_s`, SIGKILL. Again, with less, to hurry."""
        self._post(self._give, Interrupted(grace_s))

    def steer(self, pacing: Pacing) -> str:
        """Have it go on faster, slower, or not for a while; why that can't be, "" where it is done."""
        answer: Future[str] = Future()
        if not self._post(lambda: answer.set_result(self._steered(pacing))):
            return "it has just ended"
        try:
            return answer.result(ANSWER_S)
        except TimeoutError:
            return "its root doesn't answer, or is just ending: `status` shows whether it was done"

    def outstanding(self) -> list[Outstanding]:
        """Who has no verdict yet, and why; nobody where that can't be said now."""
        found: Future[list[Outstanding]] = Future()
        if not self._post(lambda: found.set_result(self._cascade.outstanding())):
            return []
        try:
            return found.result(ANSWER_S)
        except TimeoutError:
            return []

    def answer(self, number: int, yes: bool) -> None:
        """The user's answer to what the `Asked` event of that number asked."""
        self._post(self._give, Answered(number, yes))

    def password(self, typed: str | None, why: str = "") -> None:
        """What the user typed for sudo after `SecretAsked`; None where nobody did, for that reason."""
        self._post(self._give, PasswordGiven(None if typed is None else Secret(typed), why))

    @property
    def by_password(self) -> frozenset[str]:
        """Hosts that let the root in by the user's password, so far."""
        passwords = self._options.passwords
        return frozenset(passwords.taken) if passwords is not None else frozenset()

    def dial(self, relay_id: int, address: str, port: int) -> Future[socket.socket]:
        """Connect from a relay that is up; the future's socket is non-blocking. It may raise LoginFailed."""
        return asyncio.run_coroutine_threadsafe(self._tunnels.open(relay_id, address, port), self._loop)

    def _post(self, function: Callable[..., None], *arguments: object) -> bool:
        """Have the engine's thread do it; False where the loop has ended, and so has what this was about."""
        try:
            self._loop.call_soon_threadsafe(self._guarded, function, *arguments)
        except RuntimeError:
            return False
        return True

    # The engine's thread.

    def _steered(self, pacing: Pacing) -> str:
        refusal = self._cascade.refuses(pacing)
        if not refusal:
            self._give(Steered(pacing))
        return refusal

    def _soon(self, function: Callable[[], None]) -> None:
        self._loop.call_soon(self._guarded, function)

    def _guarded(self, function: Callable[..., None], *arguments: object) -> None:
        """A callback that fails must end the run: the event loop would only log it."""
        try:
            function(*arguments)
        except Exception as error:  # raised again by the run
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        self._failure = self._failure or error
        self._finished = True
        self._wake.set()

    def _engine(self) -> None:
        error: BaseException | None = None
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._run())
        except BaseException as exc:
            error = exc
        self._pipeline.end(error)

    async def _run(self) -> None:
        options = self._options
        transport = options.transport()
        logins = {node.id: options.logins[node.host] for node in (*options.plan.nodes, *options.plan.spares)}
        try:
            async with asyncio.TaskGroup() as self._tasks:
                bundle, shared = options.bundle(), self._cascade.shared()
                self._branches = Branches(
                    shared, bundle, logins, transport, self._tasks, self._up, self._soon
                )
                if options.passwords is not None:
                    options.passwords.waits = self._branches.waits
                if (worker := options.cascade.worker) is not None:
                    self._tasks.create_task(self._worker.run(worker.root_program or worker.program))
                self._inbox.appendleft((Started(), None))
                self._pumping = False
                self._pump()
                await self._until_finished()
                await self._goodbye()
        finally:
            await transport.close()
        if self._failure is not None:
            raise self._failure

    async def _until_finished(self) -> None:
        """The clock of the run: heartbeats, deadlines and pings."""
        beat_at = 0.0
        while not self._finished:
            now = time.monotonic()
            if now >= beat_at:
                beat_at = now + BEAT_S
                self._give(Ticked(self._ledger.settled))
            due_s = min(self._branches.tick(), beat_at - now)
            await self._sleep(due_s)

    async def _goodbye(self) -> None:
        """Let the last frames out: children end, and their links close."""
        await self._until(lambda: not self._tunnels.relays())
        self._tunnels.close()
        await self._until(lambda: self._branches.empty and self._ledger.settled)
        self._branches.close()
        self._worker.close()
        self._signatures.close()
        self._forget_stdin()

    async def _until(self, holds: Callable[[], bool]) -> None:
        """Wait for this, but not for long."""
        try:
            async with asyncio.timeout(GOODBYE_S):
                while not self._failure and not holds():
                    self._stirred.clear()
                    await self._stirred.wait()
        except TimeoutError:
            pass

    async def _sleep(self, seconds: float) -> None:
        """Until then, or until the run is finished."""
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await self._wake.wait()
        except TimeoutError:
            pass

    def _up(self, frame: Frame, child_id: int, size: int) -> None:
        if frame.type in KINDS:
            self._carried(frame, child_id, size)
            return
        self._stirred.set()
        self._inbox.append((FrameReceived(frame), Credit(child_id, size) if size else None))
        self._pump()
        self._tunnels.look(frame)

    def _carried(self, frame: Frame, child_id: int, size: int) -> None:
        """Bytes of a tunnel are the transport's business; there is nothing to decide about them."""
        try:
            self._tunnels.frame(frame)
        except WireError:
            pass  # of no use to anyone; whoever waits for them runs into the deadline of the login
        if size:
            self._branches.take(child_id, size)

    def _send_to(self, relay_id: int, kind: int, body: bytes, sent: Callable[[], None] | None) -> None:
        frame = Frame(kind, path=self._cascade.route(relay_id), body=body)
        self._branches.frame(frame, sent)

    def _send(self, frame: Frame) -> None:
        """Relays end after those that they carry: before, these would not hear that they are to end."""
        if frame.type == wire.END and self._carries(frame.path[-1]):
            self._ends.append(frame)
        else:
            self._branches.frame(frame)
            self._tunnels.look(frame)

    def _carries(self, node_id: int) -> bool:
        return any(node_id in self._cascade.route(relay_id) for relay_id in self._tunnels.relays())

    def _carried_less(self) -> None:
        ends, self._ends = self._ends, []
        for frame in ends:
            self._send(frame)
        self._stirred.set()

    def _dial(self, action: Carry) -> Dial:
        login = self._options.logins[action.entry["host"]]
        return lambda: self._tunnels.open(action.parent_id, login.hostname_inside, login.port)

    def _give(self, event: Input) -> None:
        self._inbox.append((event, None))
        self._pump()

    def _pump(self) -> None:
        """One queue in, one `apply`: what performing an action brings about waits its turn."""
        if self._pumping:
            return
        self._pumping = True
        try:
            while self._inbox and not self._failure:
                self._look_around()
                event, credit = self._inbox.popleft()
                for action in self._cascade.apply(event, time.monotonic()):
                    credit = self._perform(action, credit)
                if credit is not None:  # what was dropped takes no room
                    self._branches.take(credit.child_id, credit.size)
        except Exception as error:  # the caller may be a transport's callback
            self._fail(error)
        finally:
            self._pumping = False

    def _look_around(self) -> None:
        """Who slept for long may have been taken for dead: ask before anything is said to anybody."""
        at, self._awake_at = self._awake_at, time.clock_gettime(time.CLOCK_BOOTTIME)
        if self._awake_at - at > SLEPT_S:
            self._options.check_ours()
        slept_s = self._awake_at - time.monotonic() - self._asleep_s  # which that clock leaves out
        if slept_s > NAP_S:
            self._asleep_s += slept_s
            self._inbox.appendleft((Slept(slept_s), None))

    def _perform(self, action: Action, credit: Credit | None) -> Credit | None:
        """Perform one action; the credit that is still nobody's."""
        match action:
            case Send(frame):
                self._send(frame)
            case Publish(event, node_id):
                owner = credit if isinstance(event, HostOutput) else None
                if self._pipeline.put(self._ledger.add(event, node_id, owner), event):
                    self._soon(self._pipeline.send)
                return None if owner is not None else credit
            case Adopt(entries):
                self._branches.adopt(entries)
            case Carry(entry):
                self._branches.carry(entry, self._dial(action))
            case Sign():
                self._signatures.sign(action)
            case Vouch():
                self._signatures.vouch(action)
            case Attest():
                self._signatures.attest(action)
            case ReadStdin(size):
                self._read_stdin(size)
            case Listen():
                self._listen(action)
            case TellRoot(data):
                self._worker.write(data)
            case Finish():
                self._finished = True
                self._wake.set()
        return credit

    def _listen(self, action: Listen) -> None:
        try:
            port, reason = self._tunnels.listen(action.node_id, action.port), ""
        except OSError as error:
            port, reason = 0, f"the root can't listen: {error.strerror}"
        self._give(Listening(action.number, port, reason))

    def _login_to(self, node_id: int) -> ResolvedLogin:
        return self._options.logins[self._options.plan.node(node_id).host]

    # The store and the terminal.

    def _stored(self, number: int) -> None:
        for committed in self._ledger.stored(number):
            self._give(committed)
        for decided in self._ledger.decided():
            self._give(self._pipeline.recorded(decided))

    def _shown(self, number: int) -> None:
        self._stirred.set()
        for credit in self._ledger.shown(number):
            self._branches.take(credit.child_id, credit.size)

    def _read_stdin(self, size: int) -> None:
        """Read once something is there; a regular file can't be waited for, and needn't be."""
        fd = sys.stdin.fileno()
        try:
            self._loop.add_reader(fd, self._guarded, self._stdin_readable, size)
        except PermissionError:
            self._stdin_readable(size)

    def _stdin_readable(self, size: int) -> None:
        self._forget_stdin()
        data = os.read(sys.stdin.fileno(), size)
        self._give(StdinRead(data) if data else StdinEnded())

    def _forget_stdin(self) -> None:
        if self._options.cascade.exec.stdin:
            self._loop.remove_reader(sys.stdin.fileno())
