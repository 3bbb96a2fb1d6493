"""Signatures by keys in files and in an agent, checked by ssh-keygen and by asyncssh."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from asyncssh import sshsig

from nile.errors import CredentialsError
from nile.transport.keys import IdentityQuery, KeyRing
from nile.transport.sshsig import sign, signing_keys
from tests.transport.servers import DEADLINE_S, keygen, public_line

BODY = b"what is signed\0\n" * 3
KINDS = [("ed25519", ()), ("ecdsa", ("-b", "256")), ("ecdsa", ("-b", "521")), ("rsa", ("-b", "2048"))]


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[str]:
    """An empty ssh-agent."""
    path = str(tmp_path / "agent")
    with subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield path
        finally:
            process.terminate()
            process.communicate(timeout=DEADLINE_S)


def query(*files: Path, agent: str | None = None) -> IdentityQuery:
    return IdentityQuery(files=tuple(map(str, files)), named=bool(files), agent=agent)


def signed(ring: KeyRing, query: IdentityQuery, namespace: str = "nile-swarm", body: bytes = BODY) -> bytes:
    return asyncio.run(sign(ring, signing_keys(ring, query)[0], namespace, body))


def verified(
    place: Path, key: Path, signature: bytes, namespace: str = "nile-swarm", body: bytes = BODY
) -> int:
    """The exit status of `ssh-keygen -Y verify`."""
    (place / "signature").write_bytes(signature)
    (place / "allowed").write_text(f'me namespaces="nile-swarm" {public_line(key)}\n')
    argv = ["ssh-keygen", "-Y", "verify", "-n", namespace, "-I", "me", "-f", str(place / "allowed")]
    argv += ["-s", str(place / "signature")]
    done = subprocess.run(argv, input=body, capture_output=True, timeout=DEADLINE_S, check=False)
    return done.returncode


@pytest.mark.parametrize(("kind", "more"), KINDS)
def test_a_key_file_signs(tmp_path: Path, kind: str, more: tuple[str, ...]) -> None:
    path = keygen(tmp_path / "key", *more, kind=kind)
    signature = signed(KeyRing(), query(path))
    assert verified(tmp_path, path, signature) == 0
    assert verified(tmp_path, path, signature, body=BODY + b".") != 0
    assert verified(tmp_path, path, signature, "file") != 0
    allowed = sshsig.import_allowed_signers(f'me namespaces="nile-swarm" {public_line(path)}\n')
    assert asyncssh.validate_sshsig(BODY, signature, "me", allowed)


@pytest.mark.parametrize(("kind", "more"), KINDS)
def test_an_agent_signs(tmp_path: Path, agent: str, kind: str, more: tuple[str, ...]) -> None:
    path = keygen(tmp_path / "key", *more, kind=kind)
    environment = {**os.environ, "SSH_AUTH_SOCK": agent}
    subprocess.run(["ssh-add", "-q", str(path)], env=environment, check=True, stdin=subprocess.DEVNULL)
    path.unlink()
    assert verified(tmp_path, path, signed(KeyRing(), query(agent=agent))) == 0


def test_a_passphrase_is_asked_for(tmp_path: Path) -> None:
    path = keygen(tmp_path / "key", passphrase="open sesame")
    prompts: list[str] = []

    def ask(prompt: str) -> str:
        prompts.append(prompt)
        return "open sesame"

    assert verified(tmp_path, path, signed(KeyRing(ask), query(path))) == 0
    assert prompts == [f"Passphrase of {path}: "]


class Agent(KeyRing):
    """Signs what it likes: with another algorithm, or something else."""

    def __init__(self, **how: Any) -> None:
        super().__init__()
        self.how = how

    async def sign(self, blob: bytes, data: bytes, flags: int) -> bytes:
        return await super().sign(blob, **{"data": data, "flags": flags, **self.how})


def test_an_agent_that_knows_no_sha_2(tmp_path: Path) -> None:
    path = keygen(tmp_path / "key", "-b", "2048", kind="rsa")
    with pytest.raises(CredentialsError, match="SHA-1"):
        signed(Agent(flags=0), query(path))
    assert verified(tmp_path, path, signed(Agent(), query(path))) == 0


@pytest.mark.parametrize(("kind", "more"), KINDS)
def test_an_agent_that_signs_something_else(tmp_path: Path, kind: str, more: tuple[str, ...]) -> None:
    path = keygen(tmp_path / "key", *more, kind=kind)
    with pytest.raises(CredentialsError, match="something else"):
        signed(Agent(data=b"?"), query(path))


def test_a_certificate_isnt_what_signs(tmp_path: Path) -> None:
    authority, path = keygen(tmp_path / "authority"), keygen(tmp_path / "key")
    argv = ["ssh-keygen", "-q", "-s", str(authority), "-I", "me", "-n", "me", f"{path}.pub"]
    subprocess.run(argv, check=True, timeout=DEADLINE_S)
    ring = KeyRing()
    assert len(ring.identities(query(path))) == 2
    assert verified(tmp_path, path, signed(ring, query(path))) == 0


def test_without_a_key_there_is_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(CredentialsError, match="no ssh key to sign with") as caught:
        signing_keys(KeyRing(), IdentityQuery(files=(str(tmp_path / "none"),)))
    assert "ssh-add" in str(caught.value)


def test_an_agent_that_has_gone_is_named(tmp_path: Path, agent: str) -> None:
    path = keygen(tmp_path / "key")
    environment = {**os.environ, "SSH_AUTH_SOCK": agent}
    subprocess.run(["ssh-add", "-q", str(path)], env=environment, check=True, stdin=subprocess.DEVNULL)
    ring = KeyRing()
    (key,) = signing_keys(ring, query(agent=agent))
    subprocess.run(["ssh-add", "-q", "-D"], env=environment, check=True, stderr=subprocess.DEVNULL)
    with pytest.raises(CredentialsError, match="refused to sign"):
        asyncio.run(sign(ring, key, "nile-swarm", BODY))
