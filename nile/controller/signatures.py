"""Requests for signatures that are being decided, of relays and of workers."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, Protocol

from nile.agent.worker.signatures import NAMESPACE, Statement
from nile.cascade import Attest, Attested, Sign, Signed, Vouch, Vouched
from nile.errors import CredentialsError
from nile.events import Code
from nile.transport.agentwire import REFUSAL
from nile.transport.base import PublicKey, ResolvedLogin
from nile.transport.signing import SignReply
from nile.transport.sshsig import is_certificate

MOST_KEYS = 3
"""By which one thing is signed: hosts may know different ones."""
ATTEST_S = 60.0
"""For each of them: an ssh-agent may ask its user."""
LASTS_S = 24 * 3600
"""How long a host may take to get what was signed."""


class Signatory(Protocol):
    """Decides on relays' requests to sign, and signs for the operator (see nile.transport.signing)."""

    async def sign(
        self, child: ResolvedLogin, binds: Sequence[bytes], request: bytes, budget_left: int
    ) -> SignReply:
        """Never raises for a bad request: a refusal is an answer."""

    async def attest(self, key: PublicKey, namespace: str, body: bytes) -> bytes:
        """Raises CredentialsError where that key doesn't sign."""


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
        now_s = time.time()
        times = {"serial": int(now_s * 1000), "until": int(now_s) + LASTS_S}
        stated = Statement(action.run, action.dest, action.info_hash, action.digest, **times)
        body, signatures, why = stated.pack(), list[bytes](), "there is no ssh key to sign with"
        logins = {node_id: self._login(node_id) for node_id in action.takers}
        for key in _likeliest(logins.values()):
            try:
                async with asyncio.timeout(ATTEST_S):
                    signatures.append(await self._signatory.attest(key, NAMESPACE, body))
            except TimeoutError:
                why = f"{key.comment or 'a key'} doesn't sign: no answer for {ATTEST_S:.0f} s"
            except CredentialsError as error:
                why = str(error)
        certified = (
            node_id for node_id, login in logins.items() if any(map(is_certificate, login.identities))
        )
        self._give(
            Attested(action.number, body, tuple(signatures), tuple(certified), "" if signatures else why)
        )


def _likeliest(logins: Iterable[ResolvedLogin]) -> list[PublicKey]:
    """The keys that may be used for most of these logins, those that are tried first before others."""
    weights: Counter[bytes] = Counter()
    keys: dict[bytes, PublicKey] = {}
    for login in logins:
        own = [key for key in login.identities if not is_certificate(key)]
        for rank, key in enumerate(own):
            keys.setdefault(key.blob, key)
            weights[key.blob] += len(own) - rank
    return [keys[blob] for blob, _ in weights.most_common(MOST_KEYS)]
