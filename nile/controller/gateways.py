"""The relays above some hosts, brought up to reach these hosts' ports and nothing more."""

from __future__ import annotations

import asyncio
import socket
import threading
from concurrent.futures import Future
from dataclasses import replace
from types import TracebackType
from typing import Self

from nile.controller.engine import Engine, new_run_id
from nile.controller.prepare import AskPassword, prepare
from nile.events import Code, HostResult, HostUp
from nile.options import ExecOptions
from nile.topology.model import Plan
from nile.transport.base import LoginFailed, ResolvedLogin
from nile.transport.keys import Ask


class Gateways:
    """While it is entered: `open` reaches a host of the plan from the relay above it.

    The hosts themselves are never logged in to. Nothing is recorded.
    """

    def __init__(self, plan: Plan, ask: Ask | None, password: AskPassword | None = None) -> None:
        self._plan = only_relays(plan)
        self._above = {node.host: node.parent for node in plan.nodes}
        self._up: dict[str, Future[None]] = {node.host: Future() for node in plan.nodes if node.children}
        hosts = [node.host for node in self._plan.asked()]
        self._engine: Engine = prepare(
            new_run_id(),
            self._plan,
            hosts,
            ExecOptions(""),
            lambda events: None,
            ask,
            relays_only=True,
            password=password,
        )
        self._thread = threading.Thread(target=self._follow, name="nile-gateways", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._engine.interrupt(0.0)
        self._thread.join()

    async def open(self, login: ResolvedLogin) -> socket.socket:
        """A connected socket to the host's sshd, as the relay above it sees it; raises LoginFailed."""
        relay_id = self._above[login.host]
        if not relay_id:
            raise LoginFailed(Code.NO_ROUTE, f"{login.host} stands below no gateway")
        # Others wait for the same: whoever gives up must not take it away from them.
        await asyncio.shield(asyncio.wrap_future(self._up[self._plan.node(relay_id).host]))
        dialled = self._engine.dial(relay_id, login.hostname_inside, login.port)
        return await asyncio.wrap_future(dialled)

    def _follow(self) -> None:
        for event in self._engine.events():
            if isinstance(event, HostUp) and event.host in self._up:
                _settle(self._up[event.host], None)
            elif isinstance(event, HostResult) and event.code is not None:
                relay = self._plan.node(self._above[event.host]).host
                _settle(self._up[relay], LoginFailed(event.code, event.reason, event.remedy))


def only_relays(plan: Plan) -> Plan:
    """The same tree, in which nobody with hosts below it is asked for anything."""
    nodes = tuple(replace(node, asked=node.asked and not node.children) for node in plan.nodes)
    return replace(plan, nodes=nodes)


def _settle(future: Future[None], error: LoginFailed | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
