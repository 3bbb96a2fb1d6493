"""Requests for signatures that are being decided, of relays and of workers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

from nile.cascade import Sign, Signed, Vouch, Vouched
from nile.events import Code
from nile.transport.agentwire import REFUSAL
from nile.transport.base import ResolvedLogin
from nile.transport.signing import SignReply


class Signatory(Protocol):
    """Decides on relays' requests to sign (see nile.transport.signing)."""

    async def sign(
        self, child: ResolvedLogin, binds: Sequence[bytes], request: bytes, budget_left: int
    ) -> SignReply:
        """Never raises for a bad request: a refusal is an answer."""


class Signatures:
    """`login(id)` is the login to a host; `start` begins a task of the run; `give` gets the answers.

    What isn't decided `within_s` is refused: nobody logs in with it any more.
    """

    def __init__(
        self,
        signatory: Signatory,
        login: Callable[[int], ResolvedLogin],
        start: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        give: Callable[[Signed | Vouched], None],
        within_s: float,
    ) -> None:
        self._signatory = signatory
        self._login = login
        self._start = start
        self._give = give
        self._within_s = within_s
        self._tasks: dict[tuple[type[Sign | Vouch], int], asyncio.Task[None]] = {}

    def sign(self, action: Sign) -> None:
        """For the login of a relay to its child."""
        self._begin((Sign, action.child_id), self._sign(action))

    def vouch(self, action: Vouch) -> None:
        """For a login that a job planned."""
        self._begin((Vouch, action.taker), self._vouch(action))

    def close(self) -> None:
        """Decide on nothing more: an ssh-agent that never answers must not keep the run from ending."""
        for task in self._tasks.values():
            task.cancel()

    def _begin(self, login: tuple[type[Sign | Vouch], int], deciding: Coroutine[Any, Any, None]) -> None:
        """One at a time for each login: whoever asks anew has given up what was asked before."""
        before = self._tasks.pop(login, None)
        if before is not None:
            before.cancel()
        self._tasks[login] = self._start(deciding)

    async def _sign(self, action: Sign) -> None:
        reply = await self._decide(action.child_id, action)
        self._give(Signed(action, reply.response, reply.note, reply.reason, reply.spent))

    async def _vouch(self, action: Vouch) -> None:
        reply = await self._decide(action.taker, action)
        self._give(Vouched(action.number, reply.response, reply.note, reply.reason, reply.spent))

    async def _decide(self, node_id: int, action: Sign | Vouch) -> SignReply:
        login = self._login(node_id)
        try:
            async with asyncio.timeout(self._within_s):
                return await self._signatory.sign(login, action.binds, action.request, action.budget_left)
        except TimeoutError:
            reason = f"no signature for {login.host}: there was none within {self._within_s:g} s"
            return SignReply(REFUSAL, Code.SIGNING, reason)
