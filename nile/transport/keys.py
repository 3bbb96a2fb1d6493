"""The keys that the root can sign with: the user's ssh-agent and key files.

Everything that may need the user (a passphrase) or may fail for good (an
unreadable file) happens in `identities`, before a run; what is offered later
can sign. Private keys never leave this process: the root's own logins and
relays' requests both end in `KeyRing.sign`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nile.errors import CredentialsError
from nile.transport.agentclient import AgentClient, AgentError
from nile.transport.base import PublicKey
from nile.transport.keyfile import KeyFile, read_certificate, read_public

Ask = Callable[[str], str]
"""Asks the user for a secret; raises CredentialsError (or EOFError) where nobody can be asked."""

DEFAULT_FILES = ("~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa")
"""OpenSSH's defaults (but DSA, and security keys, which can't sign without ssh), the likeliest one first."""


class SigningFailed(Exception):
    """A signature that couldn't be made; the text is one line for the user."""


@dataclass(frozen=True, slots=True)
class IdentityQuery:
    """Which keys a login may use, as ssh_config(5) says it.

    `named`: the files were named by someone, so they come first, and one that
    is there must work; otherwise they are OpenSSH's defaults. `required`: they
    must all be there. `only`: keys of the agent that no file names aren't
    offered (IdentitiesOnly).
    """

    files: tuple[str, ...] = DEFAULT_FILES
    certificates: tuple[str, ...] = ()
    named: bool = False
    only: bool = False
    agent: str | None = None
    """Path of the agent's socket; None: no agent."""
    required: bool = False


@dataclass(slots=True)
class _Signer:
    """Where signatures of one identity come from: an agent, or a key file."""

    agent: AgentClient | None
    blob: bytes
    file: KeyFile | None = None


@dataclass(slots=True)
class _Offer:
    """Keys in the making, by how surely each is the right one."""

    named: list[PublicKey] = field(default_factory=list)
    default: list[PublicKey] = field(default_factory=list)
    locked: list[KeyFile] = field(default_factory=list)


class KeyRing:
    """The identities of one process. Not for several event loops at once."""

    def __init__(self, ask: Ask | None = None, *, spare: bool = False) -> None:
        """With `spare` there is another way in: nobody is asked for the passphrase of a default key."""
        self._ask = ask
        self._spare = spare
        self._signers: dict[bytes, _Signer] = {}
        self._files: dict[Path, KeyFile] = {}
        self._agents: dict[str, tuple[AgentClient, tuple[PublicKey, ...]]] = {}
        self._answers: dict[IdentityQuery, tuple[PublicKey, ...]] = {}
        self._proven: bytes | None = None
        self._opened: dict[str, bytes] = {}
        self.notices: list[str] = []
        """What the user should know: an agent that is away, a key left out."""

    def identities(self, query: IdentityQuery) -> tuple[PublicKey, ...]:
        """The keys to offer, best first; certificates stand before their bare key.

        Asks for passphrases where it has to: at most once per file, never for a
        key that the agent holds, and for a default file only if there is no
        other key at all. Raises `CredentialsError`; an empty tuple means that
        there is no key, which only the caller can judge.
        """
        if query not in self._answers:
            self._answers[query] = self._gather(query)
        return self._answers[query]

    async def sign(self, blob: bytes, data: bytes, flags: int) -> bytes:
        """A signature of `data` by the identity `blob` (a key or certificate); raises `SigningFailed`.

        `flags` are those of the agent protocol: 2 and 4 choose rsa-sha2-256 and -512.
        """
        signer = self._signers.get(blob)
        if signer is None:
            raise SigningFailed("the key asked for isn't one of those in use")
        try:
            if signer.agent is not None:
                return await signer.agent.sign(signer.blob, data, flags)
            assert signer.file is not None
            return signer.file.sign(data, flags)
        except AgentError as exc:
            raise SigningFailed(str(exc)) from exc
        except (CredentialsError, ValueError) as exc:
            raise SigningFailed(f"the key can't sign: {exc}") from exc

    def proved(self, blob: bytes) -> None:
        """A login with this identity succeeded: offer it first from now on."""
        self._proven = blob

    def opens(self, host: str, blob: bytes) -> None:
        """This identity let one in at the host that the plan calls so: us, or a relay for which we signed."""
        self._opened[host] = blob

    def opened(self, host: str) -> bytes | None:
        """Which identity did so last; None where nobody here knows."""
        return self._opened.get(host)

    def in_order(self, identities: Sequence[PublicKey]) -> list[PublicKey]:
        """The same keys, one that let us in elsewhere first: OpenSSH from 9.8 penalises failed keys."""
        return sorted(identities, key=lambda key: key.blob != self._proven)

    def _gather(self, query: IdentityQuery) -> tuple[PublicKey, ...]:
        client, held = self._agent(query.agent)
        offer = _Offer()
        for name in query.files:
            self._add_file(Path(name).expanduser(), query, client, held, offer)
        others = [] if query.only else [key for key in held if key.blob not in _blobs(offer.named)]
        for key in others:
            assert client is not None
            self._signers.setdefault(key.blob, _Signer(client, key.blob))
        offered = _unique([*offer.named, *others, *offer.default])
        if not offered and offer.locked and not self._spare:
            offered = self._unlock_default(offer.locked)
        elif offer.locked:
            self._tell_locked(offer.locked)
        return tuple(self._with_certificates(offered, query))

    def _agent(self, path: str | None) -> tuple[AgentClient | None, tuple[PublicKey, ...]]:
        if path is None:
            return None, ()
        if path not in self._agents:
            client = AgentClient(path)
            try:
                keys = client.keys()
            except AgentError as exc:
                self.notices.append(f"{exc}; its keys aren't used")
                keys = ()
            self._agents[path] = (client, keys)
        return self._agents[path]

    def _add_file(
        self,
        path: Path,
        query: IdentityQuery,
        client: AgentClient | None,
        held: Sequence[PublicKey],
        offer: _Offer,
    ) -> None:
        public = _public_half(path)
        match = next((key for key in held if public is not None and key.blob == public.blob), None)
        if match is not None:
            self._signers.setdefault(match.blob, _Signer(client, match.blob))
            (offer.named if query.named or query.only else offer.default).append(match)
            return
        if not query.required and not path.exists():
            return
        file = self._file(path)
        if file.encrypted and not query.named:
            offer.locked.append(file)
            return
        (offer.named if query.named else offer.default).append(self._ready(file))

    def _file(self, path: Path) -> KeyFile:
        if path not in self._files:
            self._files[path] = KeyFile.read(path)
        return self._files[path]

    def _ready(self, file: KeyFile) -> PublicKey:
        """Make a key file able to sign, with a passphrase if it needs one."""
        if file.encrypted:
            file.unlock(self._passphrase(file.path))
        else:
            file.load()
        public = file.public()
        assert public is not None
        self._signers.setdefault(public.blob, _Signer(None, public.blob, file))
        return public

    def _passphrase(self, path: Path) -> str:
        problem = CredentialsError(
            "this key has a passphrase, and there is nobody to ask for it",
            where=str(path),
            remedy=f"Load it into your ssh-agent first: ssh-add {path}",
        )
        if self._ask is None:
            raise problem
        try:
            return self._ask(f"Passphrase of {path}: ")
        except EOFError:
            raise problem from None

    def _unlock_default(self, files: Iterable[KeyFile]) -> list[PublicKey]:
        """The first default key alone: one question, and one failed key at most."""
        return [self._ready(file) for file in list(files)[:1]]

    def _tell_locked(self, files: Iterable[KeyFile]) -> None:
        for file in files:
            self.notices.append(f"{file.path} has a passphrase and isn't used (ssh-add {file.path})")

    def _with_certificates(self, keys: Sequence[PublicKey], query: IdentityQuery) -> list[PublicKey]:
        beside = [f"{name}-cert.pub" for name in query.files]
        found = [read_certificate(Path(name).expanduser()) for name in (*query.certificates, *beside)]
        ours: list[PublicKey] = []
        for certificate, bare in (entry for entry in found if entry is not None):
            signer = self._signers.get(bare)
            if signer is not None and bare in _blobs(keys):
                self._signers.setdefault(certificate.blob, signer)
                ours.append(certificate)
        return _unique([*ours, *keys])


def _public_half(path: Path) -> PublicKey | None:
    """The public key of an identity file, which may itself be a .pub file whose key the agent has."""
    return read_public(path) or _from_private(path) or read_public(path.with_name(path.name + ".pub"))


def _from_private(path: Path) -> PublicKey | None:
    try:
        return KeyFile.read(path).public()
    except CredentialsError:
        return None


def _blobs(keys: Iterable[PublicKey]) -> set[bytes]:
    return {key.blob for key in keys}


def _unique(keys: Iterable[PublicKey]) -> list[PublicKey]:
    return list({key.blob: key for key in reversed(list(keys))}.values())[::-1]
