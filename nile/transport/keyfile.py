"""One private key file: its public half, whether it is encrypted, and its signatures."""

from __future__ import annotations

import binascii
import os
import stat
from pathlib import Path

from nile.errors import CredentialsError
from nile.transport.base import PublicKey
from nile.transport.sshlib import asyncssh
from nile.transport.wire import Reader, WireError, algorithm

OPENSSH_MAGIC = b"openssh-key-v1\0"
OPENSSH_BEGIN = b"-----BEGIN OPENSSH PRIVATE KEY-----"
OPENSSH_END = b"-----END OPENSSH PRIVATE KEY-----"
CERTIFICATE = b"-cert-v01@openssh.com "
MAX_KEY_FILE = 1 << 20

SHA2_256 = 2
SHA2_512 = 4


class KeyFile:
    """A private key in a file. Reading it raises `CredentialsError`, which names the file."""

    def __init__(self, path: Path, data: bytes) -> None:
        self.path = path
        self._data = data
        self._header = _openssh_header(data)
        self._key: asyncssh.SSHKey | None = None

    @classmethod
    def read(cls, path: Path) -> KeyFile:
        """The file at `path`; others may not be able to read it (as OpenSSH has it)."""
        try:
            with path.open("rb") as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode):
                    raise CredentialsError("this is no file", where=str(path))
                data = file.read(MAX_KEY_FILE)
        except OSError as exc:
            raise CredentialsError(
                f"this private key can't be read: {exc.strerror}",
                where=str(path),
                remedy="Check its name: IdentityFile in options or ssh_config, `identity` in the route file.",
            ) from exc
        if b"PRIVATE KEY-----" not in data:
            raise CredentialsError(
                "this is no private key in a format that OpenSSH writes",
                where=str(path),
                remedy="Name the private key itself, not its .pub file; ssh-keygen -p converts odd formats.",
            )
        _check_private(path, status)
        return cls(path, data)

    @property
    def encrypted(self) -> bool:
        """It needs a passphrase that hasn't been given yet."""
        if self._key is not None:
            return False
        if self._header is not None:
            return self._header[0]
        return b"ENCRYPTED" in self._data

    def public(self) -> PublicKey | None:
        """The public half, without a passphrase; None for an encrypted old-format key without a .pub file."""
        comment = str(self.path)
        if self._header is not None:
            return PublicKey(self._header[1], comment)
        if self.encrypted:
            return read_public(self.path.with_name(self.path.name + ".pub"))
        return PublicKey(self._private().public_data, comment)

    def unlock(self, passphrase: str) -> None:
        """Decrypt the key; a wrong passphrase is a `CredentialsError`."""
        self._key = self._import(passphrase)

    def load(self) -> None:
        """Make an unencrypted key ready, so that a broken one is an error before a run and not in it."""
        self._private()

    def sign(self, data: bytes, flags: int) -> bytes:
        """A signature; `flags` are the agent protocol's and choose the hash for RSA."""
        key = self._private()
        name = key.algorithm
        if name == b"ssh-rsa":
            name = _rsa_algorithm(flags)
        return bytes(key.sign(data, name))

    def _private(self) -> asyncssh.SSHKey:
        if self._key is None:
            self._key = self._import(None)
        return self._key

    def _import(self, passphrase: str | None) -> asyncssh.SSHKey:
        try:
            key = asyncssh.import_private_key(self._data, passphrase)
        except asyncssh.KeyEncryptionError as exc:
            raise CredentialsError(
                "the passphrase is wrong" if passphrase is not None else str(exc),
                where=str(self.path),
                remedy="Try again, or load the key into your ssh-agent: ssh-add " + str(self.path),
            ) from exc
        except (asyncssh.KeyImportError, ValueError) as exc:
            raise CredentialsError(
                f"this private key can't be used: {exc}",
                where=str(self.path),
                remedy="Check it with: ssh-keygen -y -f " + str(self.path),
            ) from exc
        if key.algorithm.startswith(b"sk-"):
            raise CredentialsError(
                "this key lives on a security key, which only your ssh-agent or the ssh client can use",
                where=str(self.path),
                remedy=f"Load it (ssh-add {self.path}), or set `ssh: {{client: openssh}}`.",
            )
        return key


def read_public(path: Path) -> PublicKey | None:
    """The key or certificate in a .pub file, or None where there is no such file or none in it."""
    try:
        words = path.read_bytes().split(None, 2)
        key = asyncssh.import_public_key(b" ".join(words[:2])) if len(words) > 1 else None
    except OSError:
        return None
    except asyncssh.KeyImportError:
        return None
    return PublicKey(key.public_data, str(path)) if key else None


def read_certificate(path: Path) -> tuple[PublicKey, bytes] | None:
    """A user certificate and the public key within, or None where there is no (good) one."""
    try:
        data = path.read_bytes()
        if CERTIFICATE not in data:
            return None
        certificate = asyncssh.import_certificate(data)
    except (OSError, asyncssh.KeyImportError):
        return None
    return PublicKey(certificate.public_data, str(path)), certificate.key.public_data


def _rsa_algorithm(flags: int) -> bytes:
    if flags & SHA2_512:
        return b"rsa-sha2-512"
    return b"rsa-sha2-256" if flags & SHA2_256 else b"ssh-rsa"


def _check_private(path: Path, status: os.stat_result) -> None:
    if status.st_uid == os.getuid() and status.st_mode & 0o077:
        raise CredentialsError(
            f"others may read this private key (mode {stat.S_IMODE(status.st_mode):04o})",
            where=str(path),
            remedy=f"Make it yours alone: chmod 600 {path}",
        )


def _openssh_header(data: bytes) -> tuple[bool, bytes] | None:
    """(encrypted, public key) out of the clear part of an OpenSSH key file (PROTOCOL.key); None: not one."""
    start, end = data.find(OPENSSH_BEGIN), data.find(OPENSSH_END)
    if start < 0 or end < 0:
        return None
    try:
        body = binascii.a2b_base64(data[start + len(OPENSSH_BEGIN) : end])
        if not body.startswith(OPENSSH_MAGIC):
            return None
        reader = Reader(body[len(OPENSSH_MAGIC) :])
        cipher = reader.string()
        reader.string()
        reader.string()
        reader.u32()
        public = reader.string()
        algorithm(public)
    except (binascii.Error, WireError):
        return None
    return cipher != b"none", public
