"""One login by asyncssh under way: what its host showed, how far it got, and what its failure means."""

from __future__ import annotations

from typing import Any

from nile.events import Code
from nile.transport.asyncssh_options import RingKeyPair
from nile.transport.base import KEYS, PASSWORD, QUESTIONS, LoginFailed, ResolvedLogin
from nile.transport.connecting import no_more_files, out_of_files
from nile.transport.hosttrust import HostKeys, Judgement, Trust
from nile.transport.keys import KeyRing, SigningFailed
from nile.transport.passwordlogin import PasswordLogin
from nile.transport.passwords import Ticket
from nile.transport.prompts import Prompts
from nile.transport.proxy import Proxy
from nile.transport.remedies import HUNG_UP
from nile.transport.sshlib import asyncssh

TOO_MANY = "authentication failures"
"""What sshd says as it hangs up on who tried too often (MaxAuthTries)."""
_TRUST_CODES = {
    Trust.UNKNOWN: Code.HOST_KEY_UNKNOWN,
    Trust.CHANGED: Code.HOST_KEY_CHANGED,
    Trust.REVOKED: Code.HOST_KEY_REVOKED,
}


class Attempt:
    """One login under way: what its host showed, and how far it got."""

    def __init__(self, login: ResolvedLogin, ring: KeyRing, ticket: Ticket | None = None) -> None:
        self.login = login
        self.password = PasswordLogin(login, ticket)
        self.trusted = HostKeys.parse(login.known_hosts)
        self.connection: asyncssh.SSHClientConnection | None = None
        self.judgement: Judgement | None = None
        self.refusal: SigningFailed | None = None
        self.shown: bytes | None = None
        self.proxy: Proxy | None = None
        self._ring = ring
        self._pairs: list[RingKeyPair] = []
        self.offered = 0
        """So many keys."""

    def owner(self) -> asyncssh.SSHClient:
        """A client for asyncssh that answers for this attempt; a new one for each connection."""
        self.judgement, self.offered = None, 0
        ordered = self._ring.in_order(self.login.identities)
        self._pairs = [RingKeyPair(self._ring, identity, self._refused) for identity in ordered]
        return _Owner(self, self._pairs)

    def succeeded(self) -> None:
        """Remember the key that let us in: the last that signed."""
        signed = [pair for pair in self._pairs if pair.signed]
        if signed:
            self._ring.proved(signed[-1].identity.blob)
            self._ring.opens(self.login.host, signed[-1].identity.blob)

    def judged(self, judgement: Judgement) -> bool:
        """Keep a judgement; whether the key is trusted."""
        self.judgement = judgement
        return judgement.trust is Trust.TRUSTED

    def failure(self, exc: Exception) -> LoginFailed:
        """What befell this login, from what asyncssh raised and what was seen."""
        if isinstance(exc, asyncssh.HostKeyNotVerifiable):
            return self._host_key_failure(exc)
        if isinstance(exc, asyncssh.PermissionDenied) or TOO_MANY in str(exc):
            return self._authentication_failure(exc)
        if isinstance(exc, asyncssh.KeyExchangeFailed):
            return LoginFailed(Code.DROPPED, f"no key exchange: {exc}")
        if isinstance(exc, asyncssh.ProtocolError | asyncssh.ProtocolNotSupported):
            return LoginFailed(Code.DROPPED, f"what answers there doesn't speak SSH: {exc}")
        return self._lost(exc)

    def _refused(self, refusal: SigningFailed) -> None:
        self.refusal = self.refusal or refusal

    def _host_key_failure(self, exc: Exception) -> LoginFailed:
        judgement = self.judgement
        if judgement is None or judgement.trust is Trust.TRUSTED:
            # A certificate by a trusted authority that isn't valid here and now, or a revoked key.
            trust = Trust.REVOKED if "revoked" in str(exc) else Trust.UNKNOWN
            judgement = Judgement(trust, f"its host key isn't accepted: {exc}")
        return LoginFailed(_TRUST_CODES[judgement.trust], judgement.why)

    def _authentication_failure(self, exc: Exception) -> LoginFailed:
        if (by_password := self.password.refused()) is not None:
            return by_password
        if self.password.unasked and TOO_MANY in str(exc):
            return LoginFailed(Code.AUTHENTICATION, f"{self.offered} keys were offered, and {HUNG_UP}")
        if self.refusal is not None:
            if out_of_files(self.refusal):
                return no_more_files("no signature for the login", self.refusal)
            return LoginFailed(Code.AUTHENTICATION, f"no signature for the login: {self.refusal}")
        offers = f" ({','.join(self.password.offers)})" if self.password.offers else ""
        return LoginFailed(
            Code.AUTHENTICATION, f"{self.login.user}@{self.login.hostname_root} isn't let in: {exc}{offers}"
        )

    def _lost(self, exc: Exception) -> LoginFailed:
        connection = self.connection
        encrypted = connection is not None and connection.get_extra_info("recv_cipher")
        if not encrypted:
            return LoginFailed(
                Code.STARTUPS,
                f"{self.login.hostname_root} dropped the connection before the key exchange: {exc}",
                retry=True,
            )
        return LoginFailed(Code.DROPPED, f"the connection ended during the login: {exc}", retry=True)


class _Owner(asyncssh.SSHClient):
    """asyncssh's callbacks of one connection."""

    def __init__(self, attempt: Attempt, pairs: list[RingKeyPair]) -> None:
        self._attempt = attempt
        self._pairs = pairs.copy()

    def public_key_auth_requested(self) -> RingKeyPair | None:
        """The next key to offer; asyncssh asks until there is none."""
        self._attempt.password.offered(KEYS)
        self._attempt.offered += bool(self._pairs)
        return self._pairs.pop(0) if self._pairs else None

    def kbdint_auth_requested(self) -> str | None:
        """The host offers to ask questions; None: it isn't to."""
        return "" if self._attempt.password.may(QUESTIONS) else None

    async def kbdint_challenge_received(
        self, name: str, instructions: str, lang: str, prompts: Prompts
    ) -> list[str] | None:
        """Its questions; None: no answer."""
        self._watch()
        return await self._attempt.password.answers(prompts)

    async def password_auth_requested(self) -> str | None:
        """The host takes a password; None: it gets none."""
        self._watch()
        password = self._attempt.password
        return await password.password() if password.may(PASSWORD) else None

    def _watch(self) -> None:
        """Have it told where the method that asks now succeeds: asyncssh tells its own object alone."""
        connection = self._attempt.connection
        method: Any = connection.auth if connection is not None else None
        if method is not None:
            told = method.auth_succeeded

            def succeeded() -> None:
                self._attempt.password.took_part()
                told()

            method.auth_succeeded = succeeded

    def password_change_requested(self, prompt: str, lang: str) -> Any:
        """The password was right, and has expired."""
        self._attempt.password.has_expired()
        return NotImplemented  # asyncssh's own word for that nobody changes it

    def auth_completed(self) -> None:
        """The host lets us in."""
        self._attempt.password.let_in()

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        """The socket is asyncssh's from here on."""
        self._attempt.connection = conn

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        """A bare host key."""
        self._attempt.shown = key.public_data
        return self._attempt.judged(self._attempt.trusted.judge_key(key.public_data))

    def validate_host_ca_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        """The authority of a host certificate; asyncssh checks name and dates itself afterwards."""
        return self._attempt.judged(self._attempt.trusted.judge_authority(key.public_data))
