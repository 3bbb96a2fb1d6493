"""The root's own children: what the relay core decides, performed with asyncio and a transport."""

from __future__ import annotations

import asyncio
import functools
import random
import secrets
import socket
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

from nile.agent import wire
from nile.agent.child import LOGIN, Child
from nile.agent.handshake import Bundle
from nile.agent.link import CONTROL_STEP
from nile.agent.relay import Relay
from nile.agent.wire import Frame
from nile.cascade.lastwords import ended
from nile.cascade.performing import Performer
from nile.events import Code
from nile.transport.base import LoginFailed, ResolvedLogin, Session, Transport

MOST_STDERR = 16384
REPORT_S = 1.0
"""So often it is said of a login that waits that it is as if it began."""
TURN_S = 5.0
"""So long at least a login has that was given what it waited for, if it has as long at all."""
Effects = list[tuple[Any, ...]]

Dial = Callable[[], Awaitable[socket.socket]]
"""Gives a connected socket that leads to a host's sshd; raises LoginFailed."""
NO_DIALS: Mapping[int, Dial] = MappingProxyType({})


class Branches(Performer):
    """Children of the root. `up(frame, child_id, size)` gets every frame toward the root.

    `size` is how many bulk bytes it holds of that child's link: give them back
    by `take`. `soon(function)` calls it in the loop's next turn. All methods
    belong to the event loop's thread.
    """

    def __init__(
        self,
        shared: dict[str, Any],
        bundle: Bundle,
        logins: Mapping[int, ResolvedLogin],
        transport: Transport,
        tasks: asyncio.TaskGroup,
        up: Callable[[Frame, int, int], None],
        soon: Callable[[Callable[[], None]], object],
    ) -> None:
        super().__init__()
        self._relay = RootRelay((0, 0), shared, bundle, random.random, lambda: "nile" + secrets.token_hex(12))
        self._relay.shell = _shell
        self._logins = logins
        self._transport = transport
        self._tasks = tasks
        self._up = up
        self._soon = soon
        self._attempts: dict[int, _Attempt] = {}
        self._dials: dict[int, Dial] = {}
        self._unwritten: set[int] = set()
        """Children for whom something waits until the end of the loop's turn."""
        self._writing: set[int] = set()
        """Of these, who is written to just now: whoever hears that a frame left may send more, behind it."""

    def adopt(self, entries: Iterable[dict[str, Any]], dials: Mapping[int, Dial] = NO_DIALS) -> None:
        """More children; `dials` are for those that aren't reached directly, by id."""
        entries = list(entries)
        for entry in entries:
            self._dials.pop(entry["id"], None)
        self._dials.update(dials)
        self._perform(self._relay.adopt(entries, time.monotonic()))

    def carry(self, entry: dict[str, Any], dial: Dial) -> None:
        """One more child, to be logged in to over what `dial` opens."""
        self.adopt([entry], {entry["id"]: dial})

    def frame(self, frame: Frame, sent: Callable[[], None] | None = None) -> None:
        """A frame of the root, downward; `sent()` once a bulk one left the root's memory, or was dropped."""
        self._perform(self._relay.frame(frame, time.monotonic(), sent))

    def take(self, child_id: int, size: int) -> None:
        """`size` bulk bytes of this child left the root's memory."""
        self._perform(self._relay.take(child_id, size))

    def tick(self) -> float:
        """Deadlines and pings; seconds until the next call is due."""
        now = time.monotonic()
        self._perform(self._relay.tick(now))
        return self._relay.next_tick_s(now)

    def waits(self, host: str, waits: bool) -> None:
        """A login to that host begins to wait for others, or ends it: its deadline stands still meanwhile."""
        self._perform(self._relay.waits(self._ids[host], waits, time.monotonic()))

    @functools.cached_property
    def _ids(self) -> dict[str, int]:
        return {login.host: node_id for node_id, login in self._logins.items()}

    @property
    def empty(self) -> bool:
        """Is every login and every link over?"""
        return not self._attempts

    def close(self) -> None:
        """End everything at once; what was said before is still heard."""
        self._write_all_out()
        self._perform(self._relay.parent_lost())

    # Effects of the relay core.

    def _do_up(self, frame: Frame) -> None:
        self._up(frame, 0, 0)

    def _do_pass(self, frame: Frame, child_id: int) -> None:
        self._up(frame, child_id, len(frame.body) if frame.type in wire.BULK else 0)

    def _do_login(self, child_id: int, command: str) -> None:
        attempt = _Attempt(child_id, self)
        self._attempts[child_id] = attempt
        attempt.task = self._tasks.create_task(self._login(attempt, command))

    async def _login(self, attempt: _Attempt, command: str) -> None:
        login, dial = self._logins[attempt.child_id], self._dials.get(attempt.child_id)
        try:
            if dial is None:
                session = await self._transport.login(login, command, attempt)
            else:
                stream = await dial()
                session = await self._transport.login_over(login, stream, command, attempt)
        except LoginFailed as failure:
            self._over(attempt, failure.code, failure.reason, failure.retry)
        else:
            attempt.begin(session)

    def _do_write(self, child_id: int, data: bytes) -> None:
        self._write_out(child_id)
        self._attempts[child_id].write(data)

    def _do_flush(self, child_id: int) -> None:
        """Many hosts below one child answer at a time: what it is told in one turn goes as one.

        A child that is hung up on in that turn isn't told it any more.
        """
        if not self._unwritten:
            self._soon(self._write_all_out)
        self._unwritten.add(child_id)
        link = self._relay.children[child_id].link
        if link is not None and link.waiting() >= CONTROL_STEP:
            self._write_out(child_id)

    def _write_all_out(self) -> None:
        while self._unwritten:
            self._write_out(next(iter(self._unwritten)))

    def _write_out(self, child_id: int) -> None:
        if child_id not in self._unwritten or child_id in self._writing:
            return
        attempt = self._attempts.get(child_id)
        link = self._relay.children[child_id].link
        self._writing.add(child_id)
        while attempt is not None and link is not None and link.pending():
            attempt.write(link.pull(time.monotonic()))
        self._writing.discard(child_id)
        self._unwritten.discard(child_id)

    def _do_hangup(self, child_id: int) -> None:
        attempt = self._attempts.pop(child_id, None)
        if attempt is not None:
            attempt.hang_up()

    # What attempts report.

    def received(self, attempt: _Attempt, data: bytes) -> None:
        """Bytes of a child, or of what is to become one."""
        if self._attempts.get(attempt.child_id) is attempt:
            self._perform(self._relay.data(attempt.child_id, data, time.monotonic()))

    def closed(self, attempt: _Attempt, reason: str, status: int | None) -> None:
        """The session ended by itself; `status` is the exit status, where there is one."""
        said = attempt.last_words()
        if self._relay.children[attempt.child_id].link is not None:
            self._over(attempt, Code.LINK, said or reason or "the connection ended", False)
        elif status is None:
            self._over(attempt, Code.DROPPED, said or reason or "the connection ended", False)
        else:
            failure = ended(said, status)
            self._over(attempt, Code(failure.code), failure.reason, failure.retry)

    def _over(self, attempt: _Attempt, code: Code, reason: str, retry: bool) -> None:
        if self._attempts.get(attempt.child_id) is attempt:
            del self._attempts[attempt.child_id]
            now = time.monotonic()
            self._perform(self._relay.closed(attempt.child_id, code.value, reason, retry, now))


class RootRelay(Relay):
    """The root's own children. Some of its logins wait for others (see `nile.transport.passwords`)."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._held: dict[int, tuple[Child, float]] = {}
        """Children of which the login waits, each with the seconds that it had left."""
        self._reported_at = 0.0

    def waits(self, child_id: int, waits: bool, now: float) -> Effects:
        """The login of this child stands still, or goes on with the time that it had left, or `TURN_S`."""
        child = self.children[child_id]
        if waits and child.deadline is not None:
            self._held[child_id] = child, child.deadline - now
            child.deadline = None
        elif not waits and child_id in self._held:
            held, left_s = self._held.pop(child_id)
            if held is child and child.state == LOGIN:
                child.deadline = now + max(left_s, min(TURN_S, child.entry["connect"]))
                self._quiet_until = 0.0
                return [self._begins(child)]
        return []

    def tick(self, now: float) -> Effects:
        """See `Relay.tick`. Whoever waits is no slower for it: each second it is as if its login began."""
        effects = super().tick(now)  # which may end some of them
        if not self._held or now - self._reported_at < REPORT_S:
            return effects
        self._reported_at = now
        waiting = [child for child, _ in self._held.values() if child.state == LOGIN]
        held = [child for child in waiting if self.children.get(child.id) is child]
        return effects + [self._begins(child) for child in held]

    def _begins(self, child: Child) -> tuple[Any, ...]:
        report = {"child": child.id, "epoch": child.epoch, "attempt": child.attempts}
        return "up", self._say(wire.LOGIN, report)


def _shell(entry: dict[str, Any], shared: dict[str, Any], nonce: str, now: float) -> tuple[str, Any]:
    from nile.agent import shellleaf  # few runs meet a host without Python

    return shellleaf.begin(entry, shared, nonce, now)


class _Attempt:
    """One login of the root, and the session that comes of it (a `SessionSink`)."""

    def __init__(self, child_id: int, branches: Branches) -> None:
        self.child_id = child_id
        self.task: asyncio.Task[None] | None = None
        self._branches = branches
        self._session: Session | None = None
        self._early: list[bytes] = []
        self._closed: tuple[str, int | None] | None = None
        self._stderr = b""

    def begin(self, session: Session) -> None:
        """The command runs; what it said before we could answer comes first."""
        self._session = session
        for data in self._early:
            self._branches.received(self, data)
        self._early.clear()
        if self._closed is not None:
            self._branches.closed(self, *self._closed)

    def write(self, data: bytes) -> None:
        """Bytes for its standard input."""
        if self._session is not None:
            self._session.write(data)

    def hang_up(self) -> None:
        """End it, in whatever state it is."""
        if self._session is not None:
            self._session.close()
        elif self.task is not None:
            self.task.cancel()

    def last_words(self) -> str:
        """The last line that it wrote on standard error."""
        lines = self._stderr.decode("utf-8", "replace").strip().splitlines()
        return lines[-1].strip() if lines else ""

    def data_received(self, data: bytes) -> None:
        """See `SessionSink`."""
        if self._session is None:
            self._early.append(data)
        else:
            self._branches.received(self, data)

    def stderr_received(self, data: bytes) -> None:
        """See `SessionSink`."""
        self._stderr = (self._stderr + data)[-MOST_STDERR:]

    def session_closed(self, reason: str, status: int | None = None) -> None:
        """See `SessionSink`."""
        if self._session is None:
            self._closed = reason, status
        else:
            self._branches.closed(self, reason, status)
