"""Requests for signatures that are being decided, of relays and of workers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

from nile.cascade import Attest, Attested, Sign, Signed, Vouch, Vouched
from nile.cascade.actions import COUNTS_S
from nile.controller.attesting import Taker, likeliest
from nile.errors import CredentialsError
from nile.events import Code
from nile.transport.agentwire import REFUSAL
from nile.transport.base import PublicKey, ResolvedLogin
from nile.transport.signing import SignReply

ATTEST_S = 60.0
"""For the first of the operator's keys to sign: an ssh-agent may ask its user."""
REST_S = 5.0
"""For the others, once one has."""


class Signatory(Protocol):
    """Decides on relays' requests to sign, and signs for the operator (see nile.transport.signing)."""

    async def sign(
        self, child: ResolvedLogin, binds: Sequence[bytes], request: bytes, budget_left: int
    ) -> SignReply:
        """Never raises for a bad request: a refusal is an answer."""

    async def attest(self, key: PublicKey, namespace: str, body: bytes) -> bytes:
        """Raises CredentialsError where that key doesn't sign."""

    def opened(self, login: ResolvedLogin) -> bytes | None:
        """The identity by which that host was logged in to last, if that is known here."""


class Signatures:
    """`login(id)` is the login to a host; `start` begins a task of the run; `give` gets the answers.

    What isn't decided `within_s` is refused: nobody logs in with it any more.
    """

    def __init__(
        self,
        signatory: Signatory,
        login: Callable[[int], ResolvedLogin],
        start: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        give: Callable[[Signed | Vouched | Attested], None],
        within_s: float,
    ) -> None:
        self._signatory = signatory
        self._login = login
        self._start = start
        self._give = give
        self._within_s = within_s
        self._tasks: dict[tuple[type[Sign | Vouch | Attest], int], asyncio.Task[None]] = {}

    def sign(self, action: Sign) -> None:
        """For the login of a relay to its child."""
        self._begin((Sign, action.child_id), self._sign(action))

    def vouch(self, action: Vouch) -> None:
        """For a login that a job planned."""
        self._begin((Vouch, action.taker), self._vouch(action))

    def attest(self, action: Attest) -> None:
        """As the operator, for what a job delivers."""
        self._begin((Attest, action.number), self._attest(action))

    def close(self) -> None:
        """Decide on nothing more: an ssh-agent that never answers must not keep the run from ending."""
        for task in self._tasks.values():
            task.cancel()

    def _begin(
        self, login: tuple[type[Sign | Vouch | Attest], int], deciding: Coroutine[Any, Any, None]
    ) -> None:
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

    async def _attest(self, action: Attest) -> None:
        from nile.agent.worker.signatures import Statement  # with half of the worker: for swarms alone

        now_s = time.time()
        times = {"serial": int(now_s * 1000), "until": int(now_s) + COUNTS_S}
        stated = Statement(action.run, action.dest, action.info_hash, action.digest, **times)
        body = stated.pack()
        takers = {node_id: self._taker(node_id) for node_id in action.takers}
        signed, why = await self._signed(likeliest(takers.values()), body)
        undecided = tuple(node_id for node_id, taker in takers.items() if not taker.can_tell(signed))
        opened = tuple((each, key) for each, taker in takers.items() if (key := taker.opened) in signed)
        self._give(
            Attested(action.number, body, tuple(signed.values()), undecided, "" if signed else why, opened)
        )

    def _taker(self, node_id: int) -> Taker:
        login = self._login(node_id)
        return Taker(login, self._signatory.opened(login))

    async def _signed(self, keys: Sequence[PublicKey], body: bytes) -> tuple[dict[bytes, bytes], str]:
        """Signatures, by the key; and why there is none. All are asked at one time."""
        from nile.agent.worker.signatures import NAMESPACE

        found, why = dict[bytes, bytes](), "there is no ssh key to sign with"
        now = asyncio.get_running_loop().time

        async def ask(key: PublicKey, deadline: asyncio.Timeout) -> None:
            nonlocal why
            try:
                found[key.blob] = await self._signatory.attest(key, NAMESPACE, body)
            except CredentialsError as error:
                why = str(error)
            else:
                if not deadline.expired():
                    deadline.reschedule(min(deadline.when() or 0.0, now() + REST_S))

        try:
            async with asyncio.timeout(ATTEST_S) as deadline, asyncio.TaskGroup() as group:
                for key in keys:
                    group.create_task(ask(key, deadline))
        except TimeoutError:
            why = f"no key signs: there was no answer for {ATTEST_S:.0f} s"
        return {key.blob: found[key.blob] for key in keys if key.blob in found}, why
