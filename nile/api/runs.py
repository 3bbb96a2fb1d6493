"""One run of `nile.run`: begun by the first step of an iteration, and ended however that is left."""

from __future__ import annotations

import sys
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Self

from nile.api.handing import Here, RunEvent, underway
from nile.api.request import Request, planned
from nile.errors import StoreError, UsageError
from nile.events import Notice, RunStarted, SecretAsked
from nile.options import ExecOptions, Pacing

if TYPE_CHECKING:
    from nile.controller import Engine

AskPassword = Callable[[str], str | None]
"""Told the host that asks first; None where there is no password."""


class Run:
    """One run; iterate over it once. `id` names it to `nile show`, `nile ctl` and `nile stop`."""

    def __init__(
        self, request: Request, options: ExecOptions, sudo_password: str | AskPassword | None = None
    ) -> None:
        """Made by `nile.run`; raises UsageError where nothing like this can be a password."""
        from nile.controller import new_run_id

        if not callable(sudo_password) and (why := _no_password(sudo_password)):
            remedy = "give a text, a function that gives one, or None"
            raise UsageError(why, where="sudo_password", remedy=remedy)

        self.id = new_run_id()
        self._request = request
        self._options = options
        self._sudo_password = sudo_password
        self._lock = threading.Lock()
        self._engine: Engine | None = None
        self._cancelled_s: float | None = None
        self._begun = False
        self._here: Here | None = None

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
        underway.add(events)
        return events

    def __aiter__(self) -> AsyncIterator[RunEvent]:
        """All events; a task that is cancelled as it waits for one ends the run, and waits until it is over.

        Leaving the loop otherwise ends it too, and doesn't wait; `async with` the run does.
        """
        self._here = Here(self, self._events())
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
        self._request.what.check()
        with ExitStack() as stack:
            engine = self._prepared(stack, notices)
            with self._lock:
                self._engine, cancelled_s = engine, self._cancelled_s
            if cancelled_s is not None:
                engine.interrupt(cancelled_s)
            for event in engine.events(None, self._options.grace_s):
                if isinstance(event, SecretAsked):
                    engine.password(*self._password(event.host))
                if isinstance(event, RunEvent):
                    yield event
                if isinstance(event, RunStarted):
                    yield from map(Notice, notices)
        if self._request.store:
            _keep_cap(self.id)

    def _password(self, host: str) -> tuple[str | None, str]:
        """What is given to this host's sudo; None, and why."""
        given = self._sudo_password
        if given is None:
            return None, "the program has none (sudo_password)"
        text = given(host) if callable(given) else given
        if why := _no_password(text):
            return None, f"what sudo_password gave is none: {why}"
        return text or None, ""

    def _prepared(self, stack: ExitStack, notices: list[str]) -> Engine:
        """The engine, and around it what records the run and answers for it; raises UsageError."""
        from nile.control import Control
        from nile.controller import prepare
        from nile.store import Handover, RunContext, Store, plan_text, store_path

        plan, hosts, options = planned(self._request, self._options)
        settings = (self.id, plan, hosts, options)
        if not self._request.store:
            return prepare(*settings, lambda _: None, None, notices=notices)
        path = store_path()
        store = stack.enter_context(Store(path))
        # The program's own words are nobody else's business, and no command line of Nile's to be read again.
        context = RunContext.here(tuple(sys.argv[:1]), plan_text(plan))
        handover = Handover(plan, options, hosts).dump()
        recorder = stack.enter_context(store.recorder(context, handover))
        pacing = Pacing(plan.limits.parallel, options.fanout)
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


def _no_password(given: object) -> str:
    """Why this can't be one; "" where it can, or stands for that there is none."""
    from nile.cascade import unfit

    if given is None:
        return ""
    return unfit(given) if isinstance(given, str) else f"no password is of type {type(given).__name__}"


def _keep_cap(ended: str) -> None:
    """Remove the oldest runs where the store has become too large; that it can't be done harms no run."""
    from nile.store import Store, keep_cap, store_path

    with suppress(StoreError), Store(store_path()) as store:
        keep_cap(store, ended)
