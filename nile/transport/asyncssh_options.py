"""A resolved login as arguments of asyncssh.connect.

Nothing is left to its defaults that would read files or the environment.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nile.options import Kex
from nile.transport.base import KEYS, PASSWORD, QUESTIONS, PublicKey, ResolvedLogin
from nile.transport.connecting import Endpoint
from nile.transport.hosttrust import CERTIFICATE_SUFFIX, HostKeys
from nile.transport.keys import KeyRing, SigningFailed
from nile.transport.sshlib import encryption, kex, mac, public_key
from nile.transport.wire import algorithm

CIPHERS = (
    "aes128-gcm@openssh.com",  # half the CPU of chacha20-poly1305, which asyncssh would prefer
    "aes256-gcm@openssh.com",
    "chacha20-poly1305@openssh.com",
    "aes128-ctr",
    "aes192-ctr",
    "aes256-ctr",
)
HOST_KEYS = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256",
)
_FAMILIES = {"inet": socket.AF_INET, "inet6": socket.AF_INET6}
_RSA = ("rsa-sha2-512", "rsa-sha2-256")
_FIXED: Mapping[str, Any] = {
    "preferred_auth": [KEYS, QUESTIONS, PASSWORD],  # of the latter two the owner decides
    "agent_forwarding": False,
    "gss_host": None,
    "x509_trusted_certs": None,
    "x509_trusted_cert_paths": [],
    "request_pty": False,
    "x11_forwarding": False,
    "send_env": None,
    "env": None,
    "command": None,
    "keepalive_interval": 0,
    "login_timeout": 0,  # the caller has one deadline over all of it
    "connect_timeout": None,
}
_FLAGS = {b"rsa-sha2-256": 2, b"rsa-sha2-512": 4}


class RingKeyPair(public_key.SSHKeyPair):
    """An identity that asyncssh offers and the key ring signs with.

    `refused` gets the reason when it couldn't sign: asyncssh only goes on to
    the next key, and the user would read "permission denied".
    """

    def __init__(self, ring: KeyRing, identity: PublicKey, refused: Callable[[SigningFailed], None]) -> None:
        name = algorithm(identity.blob).encode()
        certificate = None
        public = identity.blob
        if name.endswith(CERTIFICATE_SUFFIX.encode()):
            certificate = public_key.decode_ssh_certificate(identity.blob)
            name, public = certificate.key.algorithm, certificate.key.public_data
        kinds = (b"rsa-sha2-256", b"rsa-sha2-512") if name == b"ssh-rsa" else (name,)
        super().__init__(name, name, kinds, kinds, public, identity.comment, certificate)
        self._ring = ring
        self._identity = identity
        self._refused = refused
        self.signed = False

    @property
    def identity(self) -> PublicKey:
        """The identity as the plan has it."""
        return self._identity

    async def sign_async(self, data: bytes) -> bytes:
        """Called by asyncssh, which takes a ValueError as "try the next key"."""
        try:
            signature = await self._ring.sign(self._identity.blob, data, _FLAGS.get(self.sig_algorithm, 0))
        except SigningFailed as exc:
            self._refused(exc)
            raise ValueError(str(exc)) from exc
        self.signed = True
        return signature


def settings(login: ResolvedLogin) -> dict[str, str]:
    """`root_options` by keyword in lower case."""
    pairs = (option.partition("=") for option in login.root_options)
    return {keyword.lower(): value for keyword, _, value in pairs}


def endpoint(login: ResolvedLogin) -> Endpoint:
    """Where the root connects to."""
    said = settings(login)
    family = _FAMILIES.get(said.get("addressfamily", "any"), socket.AF_UNSPEC)
    return Endpoint(login.hostname_root, login.port, int(family), said.get("bindaddress", ""))


def connect_arguments(
    login: ResolvedLogin, trusted: HostKeys, host_key_algorithms: Sequence[str]
) -> dict[str, Any]:
    """Keyword arguments of asyncssh.connect, but for the socket and the owner.

    Raises ValueError where an algorithm list has nothing that asyncssh knows.
    """
    said = settings(login)
    arguments: dict[str, Any] = {
        "host": login.hostname_root,
        "port": login.port,
        "username": login.user,
        "config": None,
        "client_keys": None,  # the owner hands them out; so asyncssh looks for no agent and no files
        # The owner judges every key, but for the one within a certificate: asyncssh doesn't show it.
        "known_hosts": ([], [], _revoked(trusted)),
        "host_key_alias": login.host_key_alias,
        "server_host_key_algs": list(host_key_algorithms),
        "kex_algs": _kex(login, said),
        "encryption_algs": _among(said.get("ciphers"), encryption.get_encryption_algs(), CIPHERS),
        "compression_algs": ["zlib@openssh.com", "none"] if said.get("compression") == "yes" else ["none"],
        "tcp_keepalive": said.get("tcpkeepalive", "yes") != "no",
        **_FIXED,
    }
    arguments |= _rekeying(said.get("rekeylimit", ""))
    if "macs" in said:
        arguments["mac_algs"] = _among(said["macs"], mac.get_mac_algs(), ())
    if "pubkeyacceptedalgorithms" in said:
        arguments["signature_algs"] = _among(
            said["pubkeyacceptedalgorithms"], public_key.get_public_key_algs(), ()
        )
    return arguments


def host_key_plans(login: ResolvedLogin, trusted: HostKeys) -> list[list[str]]:
    """Host key algorithms to ask for, best first: the known kinds, then all others.

    Two plans where both an authority and bare keys are known: OpenSSH falls
    back to the bare key of a certificate that it can't trust, and a second
    connection does the same here.
    """
    supported = {
        name.decode() for name in (*public_key.get_certificate_algs(), *public_key.get_public_key_algs())
    }
    wanted = settings(login).get("hostkeyalgorithms")
    allowed = [name for name in (wanted.split(",") if wanted else _default_host_keys()) if name in supported]
    known = {name for blob in trusted.plain for name in _signature_kinds(algorithm(blob))}
    bare = [name for name in allowed if not _is_certificate(name)]
    bare = [name for name in bare if name in known] + [name for name in bare if name not in known]
    if not trusted.authorities:
        return [bare or allowed]
    certified = [name for name in allowed if _is_certificate(name)]
    return [certified + bare, bare] if trusted.plain and bare and certified else [certified + bare]


def _default_host_keys() -> list[str]:
    return [name + CERTIFICATE_SUFFIX for name in HOST_KEYS] + list(HOST_KEYS)


def _is_certificate(name: str) -> bool:
    return name.endswith(CERTIFICATE_SUFFIX)


def _signature_kinds(key_type: str) -> Sequence[str]:
    return _RSA if key_type == "ssh-rsa" else (key_type,)


def _kex(login: ResolvedLogin, said: Mapping[str, str]) -> list[str]:
    default = [name.decode() for name in kex.get_default_kex_algs()]
    names = _among(said.get("kexalgorithms"), kex.get_kex_algs(), default)
    if login.kex is Kex.FAST:
        names = [name for name in names if not name.startswith("sntrup761")]
    if not names:
        raise ValueError("no key exchange algorithm is left that asyncssh knows")
    return names


def _revoked(trusted: HostKeys) -> list[public_key.SSHKey]:
    """Revoked keys as asyncssh compares them; one that it can't decode it can't meet either."""
    keys = []
    for blob in trusted.revoked:
        try:
            keys.append(public_key.decode_ssh_public_key(blob))
        except public_key.KeyImportError:
            continue
    return keys


def _rekeying(limit: str) -> dict[str, int]:
    """RekeyLimit as `ssh -G` prints it: bytes and seconds, 0 for the default."""
    names = ("rekey_bytes", "rekey_seconds")
    return {name: int(word) for name, word in zip(names, limit.split(), strict=False) if word.strip("0")}


def _among(wanted: str | None, supported: Sequence[bytes], default: Sequence[str]) -> list[str]:
    names = {name.decode() for name in supported}
    chosen = [name for name in (wanted.split(",") if wanted else default) if name in names]
    if wanted and not chosen:
        raise ValueError(f"asyncssh knows none of {wanted}")
    return chosen
