"""Signatures of data by the user's ssh keys, as `ssh-keygen -Y sign` makes them (OpenSSH's PROTOCOL.sshsig).

The key may be in a file or in the user's ssh-agent: it signs wherever it can
sign for a login (nile.transport.keys). On hosts, `ssh-keygen -Y verify` checks
what comes of it: nile.agent.worker.signatures.
"""

from __future__ import annotations

import base64
import hashlib

from nile.errors import CredentialsError
from nile.transport.agentwire import SHA2_512
from nile.transport.base import PublicKey
from nile.transport.hosttrust import CERTIFICATE_SUFFIX
from nile.transport.keys import IdentityQuery, KeyRing, SigningFailed
from nile.transport.sshlib import public_key
from nile.transport.wire import Reader, WireError, algorithm, string, u32

_MAGIC = b"SSHSIG"
_VERSION = 1
_HASH = b"sha512"
_BEGIN, _END = b"-----BEGIN SSH SIGNATURE-----", b"-----END SSH SIGNATURE-----"
_WIDTH = 70


def signing_keys(ring: KeyRing, query: IdentityQuery) -> tuple[PublicKey, ...]:
    """The keys that can sign, best first; asks for passphrases as `KeyRing.identities` does.

    Certificates are left out, since a host that trusts an authority has the
    keys of its users in no list. Raises `CredentialsError` where there is no key.
    """
    identities = ring.in_order(ring.identities(query))
    keys = tuple(key for key in identities if not is_certificate(key))
    if not keys:
        raise CredentialsError(
            "there is no ssh key to sign with",
            remedy="Load one into your ssh-agent (ssh-add), or name a key file.",
        )
    return keys


def is_certificate(key: PublicKey) -> bool:
    """Is it one, and no bare key?"""
    return algorithm(key.blob).endswith(CERTIFICATE_SUFFIX)


async def sign(ring: KeyRing, key: PublicKey, namespace: str, body: bytes) -> bytes:
    """The armoured signature of `body` by this key of the ring; raises `CredentialsError`.

    `namespace` says what it is for: it counts for nothing else.
    """
    fields = string(namespace.encode()) + string(b"") + string(_HASH)
    data = _MAGIC + fields + string(hashlib.sha512(body).digest())
    flags = SHA2_512 if algorithm(key.blob) == "ssh-rsa" else 0
    try:
        signature = await ring.sign(key.blob, data, flags)
    except SigningFailed as exc:
        raise CredentialsError(
            f"this key doesn't sign: {exc}", where=key.comment or None, remedy="Name another key."
        ) from exc
    _check(key, signature, data)
    return _armoured(_MAGIC + u32(_VERSION) + string(key.blob) + fields + string(signature))


def _check(key: PublicKey, signature: bytes, data: bytes) -> None:
    """Is it what hosts take, by that key? An old agent may sign by RSA and SHA-1. Raises CredentialsError."""
    if algorithm(key.blob).startswith("sk-"):  # of what a token signs only a host knows what it has to show
        return
    try:
        how = Reader(signature).string()
        kept = public_key.decode_ssh_public_key(key.blob).verify(data, signature)
    except (public_key.KeyImportError, WireError, ValueError):
        how, kept = b"", False
    if how == b"ssh-rsa" or not kept:
        what = "with SHA-1, which counts nowhere any more" if how == b"ssh-rsa" else "something else"
        raise CredentialsError(
            f"this key doesn't sign: whoever has it signed {what}",
            where=key.comment or None,
            remedy="Name another key, or use a newer ssh-agent.",
        )


def _armoured(data: bytes) -> bytes:
    text = base64.b64encode(data)
    lines = [text[at : at + _WIDTH] for at in range(0, len(text), _WIDTH)]
    return b"\n".join([_BEGIN, *lines, _END, b""])
