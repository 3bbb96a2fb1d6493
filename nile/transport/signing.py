"""Signing through the tree: the root's answer to a relay that wants to log in to one of its children.

Private keys stay at the root. A relay's ssh asks an agent socket that Nile
serves; each request for a signature travels up, together with what ssh said
about its session, and ends here. The relay isn't trusted. A signature is given
only if all of this holds:

- it is for logging in by public key, as the planned user, with one of the
  planned keys, and nothing else can be made of it (RFC 4252, 7);
- it can be used at the planned host only. Either the request itself names a host
  key that the *root's* known_hosts trusts for this host
  (publickey-hostbound-v00@openssh.com), which the server compares with its own.
  Or ssh bound its agent connection (session-bind@openssh.com, OpenSSH 8.9): then
  such a key signed the session id that is in the request. The server compares
  nothing then, and who holds that key may have signed another host's session:
  to `strict` this is not enough.

An older ssh says neither. Then `Signing` decides: `auto` signs for the planned
user as many times as logins are planned, and says so once; the others refuse.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nile.events import Code
from nile.options import Signing
from nile.transport import sshsig
from nile.transport.agentwire import (
    REFUSAL,
    SERVICE,
    SHA2_256,
    SHA2_512,
    SessionBind,
    SignRequest,
    Userauth,
    decode_session_bind,
    decode_sign_request,
    decode_userauth,
    encode_sign_response,
)
from nile.transport.base import PublicKey, ResolvedLogin
from nile.transport.hosttrust import CERTIFICATE_SUFFIX, HostKeys, Trust
from nile.transport.keys import KeyRing, SigningFailed
from nile.transport.sshlib import public_key
from nile.transport.wire import WireError, algorithm

MAX_REQUEST = 64 * 1024

_RSA_FLAGS = {b"rsa-sha2-256": SHA2_256, b"rsa-sha2-512": SHA2_512}


@dataclass(frozen=True, slots=True)
class SignReply:
    """An answer for the relay's ssh, and what the root has to remember of it.

    `response` is the agent's message for ssh (type byte included, no length).
    `code` and `reason` are set if it is a refusal. `spent` is what the answer
    takes off the relay's budget of signatures that aren't bound to a host.
    `note` is for the user, at most once per run.
    """

    response: bytes
    code: Code | None = None
    reason: str = ""
    note: str = ""
    spent: int = 0

    @property
    def signed(self) -> bool:
        """It holds a signature."""
        return self.code is None


class _Refused(Exception):
    """No signature; the text says why, for the user."""


class SigningAuthority:
    """Answers relays' requests for signatures, one run's."""

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring
        self._noted = False

    async def sign(
        self, child: ResolvedLogin, binds: Sequence[bytes], request: bytes, budget_left: int
    ) -> SignReply:
        """Answer one request; never raises for what a relay sent.

        `child` is the login that this relay may make now, `binds` the
        session-bind messages that its ssh sent on the same agent connection,
        `request` the sign request, `budget_left` the number of unbound
        signatures that the relay may still get.
        """
        try:
            sign = _decode_request(request)
            userauth = check_login(child, sign)
            bound = check_binding(child, [_decode_bind(bind) for bind in binds], userauth)
            if not bound:
                check_unbound(child, budget_left)
            signature = await self._ring.sign(sign.blob, sign.data, sign.flags)
        except (_Refused, SigningFailed) as exc:
            return SignReply(REFUSAL, Code.SIGNING, f"no signature for {child.host}: {exc}")
        except (ValueError, ArithmeticError) as exc:  # what libraries make of numbers that are no key's
            return SignReply(
                REFUSAL, Code.SIGNING, f"no signature for {child.host}: it makes no sense: {exc}"
            )
        self._ring.opens(child.host, sign.blob)  # ssh asks for a signature once a server takes the key
        note = "" if bound else self._note(child)
        return SignReply(encode_sign_response(signature), note=note, spent=0 if bound else 1)

    async def attest(self, key: PublicKey, namespace: str, body: bytes) -> bytes:
        """A signature of `body` by one of the operator's keys; raises CredentialsError.

        No relay can ask for it, nor use it for a login: what it is for is in what is signed (see sshsig).
        """
        return await sshsig.sign(self._ring, key, namespace, body)

    def opened(self, login: ResolvedLogin) -> bytes | None:
        """The identity by which that host was logged in to last, if that is known here."""
        return self._ring.opened(login.host)

    def _note(self, child: ResolvedLogin) -> str:
        if self._noted:
            return ""
        self._noted = True
        return (
            f"the ssh of the relay above {child.host} is older than OpenSSH 8.9 and can't bind a signature "
            "to a host: the root signs for the planned user, as often as logins are planned "
            "(`ssh: {signing: strict}` refuses, `{signing: through-root}` needs no signature by relays)"
        )


def check_login(child: ResolvedLogin, sign: SignRequest) -> Userauth:
    """The signature is for logging in as planned and for nothing else; raises a refusal."""
    try:
        userauth = decode_userauth(sign.data)
        kind = algorithm(sign.blob)
    except WireError as exc:
        raise _Refused(f"the relay wants something signed that is no login: {exc}") from exc
    if sign.blob not in {identity.blob for identity in child.identities}:
        raise _Refused("the relay wants a key that isn't planned for this host")
    if userauth.blob != sign.blob:
        raise _Refused("the login is with another key than the one that is to sign")
    if userauth.service != SERVICE:
        raise _Refused("the relay wants another service than a session")
    if userauth.user != child.user.encode():
        user = userauth.user.decode("utf-8", "backslashreplace")
        raise _Refused(f"the relay wants to log in as {user!r}, planned is {child.user!r}")
    _check_algorithm(kind, userauth.algorithm, sign.flags)
    return userauth


def check_binding(child: ResolvedLogin, binds: Sequence[SessionBind], userauth: Userauth) -> bool:
    """Whether the signature is of use at the planned host only; raises a refusal if at another one."""
    if len(set(binds)) > 1:
        raise _Refused("the relay bound one connection to several sessions")
    for bind in binds[:1]:
        _check_bind(child, bind, userauth)
    if userauth.host_key is not None:
        _check_host_key(child, userauth.host_key)
        return True
    if binds and child.signing is Signing.STRICT:
        raise _Refused(
            "the login doesn't name its host key, so the signature might serve for another host "
            "(sshd there is older than OpenSSH 8.9, or no OpenSSH), and the policy is `signing: strict`"
        )
    return bool(binds)


def check_unbound(child: ResolvedLogin, budget_left: int) -> None:
    """What to do about a relay whose ssh can't bind; raises a refusal."""
    if child.signing is not Signing.AUTO:
        raise _Refused(
            "the relay's ssh can't bind the signature to a host (older than OpenSSH 8.9), "
            f"and the policy is `signing: {child.signing}`"
        )
    if budget_left < 1:
        raise _Refused("the relay has used up the signatures for its planned logins")


def _check_bind(child: ResolvedLogin, bind: SessionBind, userauth: Userauth) -> None:
    if bind.forwarding:
        raise _Refused("the relay wants to hand the signature on")
    if bind.session_id != userauth.session_id:
        raise _Refused("the login is in another session than the one that the host signed")
    if userauth.host_key is not None and userauth.host_key != bind.host_key:
        raise _Refused("the login is bound to another host key than the session")
    _check_host_key(child, bind.host_key)
    if not _public_key(bind.host_key).verify(bind.session_id, bind.signature):
        raise _Refused("the host didn't sign this session")


def _check_host_key(child: ResolvedLogin, host_key: bytes) -> None:
    judgement = HostKeys.parse(child.known_hosts).judge(host_key, child.host_key_alias)
    if judgement.trust is not Trust.TRUSTED:
        raise _Refused(f"the host that the relay reached isn't trusted as {child.host}: {judgement.why}")


def _public_key(blob: bytes) -> public_key.SSHKey:
    """The key, or the one in a certificate."""
    try:
        if algorithm(blob).endswith(CERTIFICATE_SUFFIX):
            certificate = public_key.decode_ssh_certificate(blob)
            assert isinstance(certificate, public_key.SSHOpenSSHCertificate)  # judged so before
            return certificate.key
        return public_key.decode_ssh_public_key(blob)
    except (public_key.KeyImportError, WireError) as exc:
        raise _Refused(f"the host key can't be read: {exc}") from exc


def _check_algorithm(kind: str, named: bytes, flags: int) -> None:
    """The signature that the flags make is the one that the login names, and not one by SHA-1."""
    bare = kind.removesuffix(CERTIFICATE_SUFFIX)
    name = named.decode("ascii", "replace").removesuffix(CERTIFICATE_SUFFIX)
    if bare != "ssh-rsa":
        if name != bare or flags:
            raise _Refused("the login names another algorithm than its key has")
        return
    if _RSA_FLAGS.get(name.encode()) != flags:
        raise _Refused("the host or the relay's ssh wants an RSA signature by SHA-1; use an Ed25519 key")


def _decode_request(request: bytes) -> SignRequest:
    if len(request) > MAX_REQUEST:
        raise _Refused("the relay sent a request that is too long")
    try:
        return decode_sign_request(request)
    except WireError as exc:
        raise _Refused(f"the relay sent a garbled request: {exc}") from exc


def _decode_bind(bind: bytes) -> SessionBind:
    if len(bind) > MAX_REQUEST:
        raise _Refused("the relay sent a session-bind that is too long")
    try:
        return decode_session_bind(bind)
    except WireError as exc:
        raise _Refused(f"the relay sent a garbled session-bind: {exc}") from exc
