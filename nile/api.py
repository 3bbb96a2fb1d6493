"""Nile for other Python programs: `nile.run` runs a command on hosts, and yields what happens.

    async for event in nile.run("n[1-40]", "uptime"):
        match event:
            case nile.HostOutput(host, stream, _, data): ...
            case nile.HostResult(host, verdict): ...

    for event in nile.run("@web", "uptime", routes="nile.yaml"): ...

The run itself is the very engine of `nile exec`, in threads of its own; what it
tells is handed over here, a few events at a time, so that a program that is
slow makes hosts wait and not its memory grow. Leaving the loop, in whatever
way, ends the run as Ctrl-C does `nile exec`; at the latest the interpreter
waits for that when it ends (a suspended run that it tore down otherwise would
leave hosts to their leases). Nothing here asks, prints, or touches signals.
"""

from __future__ import annotations

import asyncio
import atexit
import sys
import threading
from collections import deque
from collections.abc import AsyncIterator, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar
from weakref import WeakSet

from nile.errors import StoreError, UsageError
from nile.events import HostOutput, HostResult, HostStarted, HostUp, Notice, RunEnded, RunStarted
from nile.options import LONGEST_LINE, ExecOptions, Leftover, OnOrphan, Pacing, SshOptions

if TYPE_CHECKING:
    from nile.controller import Engine
    from nile.topology.model import Plan

E = TypeVar("E", bound=StrEnum)
RunEvent = RunStarted | HostUp | HostStarted | HostOutput | HostResult | Notice | RunEnded
"""What a run yields: RunStarted first, RunEnded last, one HostResult for every host asked for."""

MOST_HELD = 64
"""Events that wait for a program that is slow; no more of a host's output comes until it takes them."""


@dataclass(frozen=True, slots=True)
class _Request:
    """What was asked for, as it was given."""

    hosts: tuple[str, ...]
    exclude: tuple[str, ...]
    routes: str | None
    inventories: tuple[str, ...]
    ssh: SshOptions
    ssh_options: tuple[str, ...]
    connect_timeout_s: float | None
    timeout_s: float | None
    store: bool


def run(
    hosts: str | Iterable[str],
    command: str,
    *,
    routes: str | Path | None = None,
    inventories: Sequence[str | Path] = (),
    exclude: str | Iterable[str] = (),
    user: str | None = None,
    port: int | None = None,
    ssh_options: Sequence[str] = (),
    connect_timeout_s: float | None = None,
    timeout_s: float | None = None,
    fanout: int | None = None,
    grace_s: float = 5.0,
    leftover: Leftover | str = Leftover.KEEP,
    on_orphan: OnOrphan | str = OnOrphan.ADOPT,
    idempotent: bool = False,
    store: bool = True,
) -> Run:
    """A run of `command` on `hosts`: iterate over it with `async for`, or with `for`; nothing happens before.

    `hosts` is a host set, or several ("n[1-9]", "@web", "@*" for all of the route file). `routes` is a
    route file; None means the one that `nile exec` would find. `ssh_options` are "Keyword=value" as in
    ssh_config(5). Times are in seconds; a `timeout_s` of None is the route file's. With `store` False
    nothing is recorded. Whatever is wrong with these is raised by the first step of the iteration.
    """
    request = _Request(
        _texts(hosts),
        _texts(exclude),
        None if routes is None else str(routes),
        tuple(map(str, inventories)),
        SshOptions(user=user, port=port),
        tuple(ssh_options),
        connect_timeout_s,
        timeout_s,
        store,
    )
    options = ExecOptions(
        command=command,
        fanout=fanout,
        leftover=_one_of(Leftover, leftover, "leftover"),
        grace_s=grace_s,
        on_orphan=_one_of(OnOrphan, on_orphan, "on_orphan"),
        idempotent=idempotent,
    )
    return Run(request, options)


def _one_of(kind: type[E], word: str, where: str) -> E:
    try:
        return kind(word)
    except ValueError:
        remedy = f"write one of {', '.join(kind)}"
        raise UsageError(f"{word!r} is none of its words", where=where, remedy=remedy) from None


def _texts(hosts: str | Iterable[str]) -> tuple[str, ...]:
    return (hosts,) if isinstance(hosts, str) else tuple(hosts)


class Run:
    """One run; iterate over it once. `id` names it to `nile show`, `nile ctl` and `nile stop`."""

    def __init__(self, request: _Request, options: ExecOptions) -> None:
        """Made by `nile.run`."""
        from nile.controller import new_run_id

        self.id = new_run_id()
        self._request = request
        self._options = options
        self._lock = threading.Lock()
        self._engine: Engine | None = None
        self._cancelled_s: float | None = None
        self._begun = False
        self._here: _Here | None = None

    def cancel(self, grace_s: float | None = None) -> None:
        """End it: commands get SIGTERM, a grace, SIGKILL; every host still gets its verdict.

        From any thread or task, also before it begins; the iteration goes on to its end. Once more, with a
        grace of 0, hurries it.
        """
        grace_s = self._options.grace_s if grace_s is None else grace_s
        with self._lock:
            self._cancelled_s = grace_s
            engine = self._engine
        if engine is not None:
            engine.interrupt(grace_s)

    def __iter__(self) -> Iterator[RunEvent]:
        """All events, in this thread; leaving the loop early ends the run, and waits until it is over."""
        events = self._events()
        _open.add(events)
        return events

    def __aiter__(self) -> AsyncIterator[RunEvent]:
        """All events; a task that is cancelled as it waits for one ends the run, and waits until it is over.

        Leaving the loop otherwise ends it too, and doesn't wait; `async with` the run does.
        """
        self._here = _Here(self, self._events())
        return self._here.taken()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._here is not None:
            await self._here.ended()

    def _events(self) -> Generator[RunEvent, None, None]:
        """The run itself, in whatever thread iterates over it."""
        if self._begun:
            raise UsageError("this run was begun before", remedy="call nile.run() for another one")
        self._begun = True
        notices: list[str] = []
        check_command(self._options.command)
        with ExitStack() as stack:
            engine = self._prepared(stack, notices)
            with self._lock:
                self._engine, cancelled_s = engine, self._cancelled_s
            if cancelled_s is not None:
                engine.interrupt(cancelled_s)
            for event in engine.events(None, self._options.grace_s):
                if isinstance(event, RunEvent):
                    yield event
                if isinstance(event, RunStarted):
                    yield from map(Notice, notices)
        if self._request.store:
            _keep_cap(self.id)

    def _prepared(self, stack: ExitStack, notices: list[str]) -> Engine:
        """The engine, and around it what records the run and answers for it; raises UsageError."""
        from nile.control import Control
        from nile.controller import prepare
        from nile.store import Handover, RunContext, Store, plan_text, store_path

        plan, hosts = _planned(self._request)
        settings = (self.id, plan, hosts, self._options)
        if not self._request.store:
            return prepare(*settings, lambda _: None, None, notices=notices)
        path = store_path()
        store = stack.enter_context(Store(path))
        # The program's own words are nobody else's business, and no command line of Nile's to be read again.
        context = RunContext.here(tuple(sys.argv[:1]), plan_text(plan))
        handover = Handover(plan, self._options, hosts).dump()
        recorder = stack.enter_context(store.recorder(context, handover))
        pacing = Pacing(plan.limits.parallel, self._options.fanout)
        control = Control(path.parent / "control", self.id, pacing)
        engine = prepare(
            *settings,
            recorder.record,
            None,
            notices=notices,
            check_ours=recorder.check_ours,
            observe=control.observe,
        )
        serving = control.serving(
            engine.interrupt, engine.conclude, engine.limit, engine.steer, engine.outstanding
        )
        stack.enter_context(serving)
        return engine


def _keep_cap(ended: str) -> None:
    """Remove the oldest runs where the store has become too large; that it can't be done harms no run."""
    from nile.store import Store, keep_cap, store_path

    with suppress(StoreError), Store(store_path()) as store:
        keep_cap(store, ended)


def check_command(line: str) -> None:
    """Raise UsageError where hosts can't take a command."""
    if not line.strip():
        raise UsageError("no command given", where="command", remedy="write one, as in uptime")
    if len(line.encode(errors="surrogateescape")) >= LONGEST_LINE:
        remedy = "put it on the hosts as a script first, and run that"
        raise UsageError(
            "the command is longer than hosts can take (128 KiB)", where="command", remedy=remedy
        )


def _planned(request: _Request) -> tuple[Plan, tuple[str, ...]]:
    """The tree for the hosts that were asked for; raises UsageError where they name none, or admit none."""
    from nile.topology.finding import read_routes
    from nile.topology.plan import plan
    from nile.topology.refusal import Refusal
    from nile.topology.ssh_words import parse_ssh_options

    ssh, connect_s = parse_ssh_options(request.ssh_options)
    connect_s = request.connect_timeout_s or connect_s
    routes = read_routes(request.routes, request.inventories)
    routes = routes.override(
        ssh=request.ssh.over(ssh),
        timeouts=replace(routes.timeouts, connect_s=connect_s) if connect_s else None,
    )
    chosen: dict[str, None] = {}
    try:
        for text in request.hosts:
            chosen.update(dict.fromkeys(routes.host_sets().expand(text)))
        for text in request.exclude:
            for name in routes.host_sets(relays_too=True).expand(text):
                chosen.pop(name, None)
    except Refusal as refusal:
        raise refusal.usage_error("hosts") from refusal
    if not chosen:
        raise UsageError("no hosts given", where="hosts", remedy="name at least one, as in n[1-9]")
    planned = plan(routes, tuple(chosen))
    if request.timeout_s is not None:
        planned = replace(planned, timeouts=replace(planned.timeouts, command_s=request.timeout_s))
    return planned, tuple(chosen)


class _Taken:
    """What an `async for` holds of a run: dropping it ends the run."""

    def __init__(self, here: _Here) -> None:
        self._here = here

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> RunEvent:
        try:
            event = await self._here.next()
        except asyncio.CancelledError:
            await self._here.ended()
            raise
        if event is None:
            raise StopAsyncIteration
        return event

    async def aclose(self) -> None:
        """End the run, if it isn't over, and wait for that."""
        await self._here.ended()

    def __del__(self) -> None:
        self._here.leave()


class _Here:
    """A run's events from the thread that it has of its own to an event loop."""

    def __init__(self, run: Run, events: Generator[RunEvent, None, None]) -> None:
        self._run = run
        self._events = events
        self._loop = asyncio.get_running_loop()
        self._woken = asyncio.Event()
        self._room = threading.Condition()
        self._held: deque[RunEvent] = deque()
        self._left = False
        self._over = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="nile-run", daemon=True)
        _open.add(self)
        self._thread.start()

    def taken(self) -> _Taken:
        """Its iterator."""
        return _Taken(self)

    async def next(self) -> RunEvent | None:
        """The next event; None behind the last one. Raises what ended the run otherwise."""
        while True:
            with self._room:
                if self._held:
                    event = self._held.popleft()
                    self._room.notify()
                    return event
                if self._over:
                    break
                self._woken.clear()
            await self._woken.wait()
        if self._error is not None:
            raise self._error
        return None

    def leave(self) -> None:
        """Nobody takes events any more: end the run, if it isn't over. Nothing is waited for."""
        with self._room:
            over, self._left = self._over or self._left, True
            self._held.clear()
            self._room.notify()
        if not over:
            self._run.cancel()

    async def ended(self) -> None:
        """The same, and wait until it is over; a task that is cancelled meanwhile hurries it."""
        self.leave()
        cancelled: asyncio.CancelledError | None = None
        while not self._over:
            try:
                await self._woken.wait()
                self._woken.clear()
            except asyncio.CancelledError as error:
                cancelled = error
                self._run.cancel(0.0)
        self._thread.join()
        if cancelled is not None:
            raise cancelled

    def close(self) -> None:
        """The same, for whom no event loop waits."""
        self.leave()
        self._thread.join()

    def _work(self) -> None:
        """In the thread: take events as they come, and wait where they aren't taken from here."""
        try:
            for event in self._events:
                with self._room:
                    self._room.wait_for(lambda: self._left or len(self._held) < MOST_HELD)
                    if not self._left:
                        self._held.append(event)
                self._wake()
        except BaseException as error:
            self._error = error
        finally:
            with self._room:
                self._over = True
            self._wake()

    def _wake(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._woken.set)
        except RuntimeError:
            pass  # the loop has ended


_open: WeakSet[_Here | Generator[RunEvent, None, None]] = WeakSet()
"""Runs that somebody iterates over, or has left."""


@atexit.register
def _close_all() -> None:
    """While threads of this interpreter still run: end what is under way, and wait for it."""
    for each in list(_open):
        with suppress(ValueError):  # it is at work in a thread that nobody waits for
            each.close()
