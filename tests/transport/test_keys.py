"""The key ring: agents, files, passphrases, certificates; compared with keys that ssh-keygen made."""

from __future__ import annotations

import asyncio
import base64
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import pytest
from asyncssh.public_key import decode_ssh_certificate

from nile.errors import CredentialsError
from nile.transport.agentclient import MOST_AT_ONCE, AgentClient
from nile.transport.agentwire import SIGN_RESPONSE
from nile.transport.base import PublicKey
from nile.transport.keyfile import KeyFile
from nile.transport.keys import IdentityQuery, KeyRing, SigningFailed
from nile.transport.wire import algorithm, string, u32
from tests.transport.servers import DEADLINE_S, keygen, public_key


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[str]:
    """An empty ssh-agent."""
    path = str(tmp_path / "agent")
    process = subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield path
    finally:
        process.terminate()
        process.communicate(timeout=DEADLINE_S)


def add_to(agent: str, *arguments: str) -> None:
    subprocess.run(
        ["ssh-add", "-q", *arguments],
        env={**os.environ, "SSH_AUTH_SOCK": agent},
        check=True,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def query(*files: Path, named: bool = True, **more: object) -> IdentityQuery:
    return IdentityQuery(files=tuple(map(str, files)), named=named, **more)  # type: ignore[arg-type]


def verified(ring: KeyRing, key: PublicKey, flags: int = 0) -> str:
    """Sign, check the signature against the public key, and give its algorithm."""
    signature = asyncio.run(ring.sign(key.blob, b"some data", flags))
    blob = key.blob
    if "cert" in algorithm(blob):
        blob = decode_ssh_certificate(blob).key.public_data
    public = asyncssh.import_public_key(b" ".join([algorithm(blob).encode(), _b64(blob)]))
    assert public.verify(b"some data", signature)
    return algorithm(signature)


def _b64(blob: bytes) -> bytes:
    return base64.b64encode(blob)


@pytest.mark.parametrize(
    ("kind", "more", "flags", "wanted"),
    [
        ("ed25519", (), 0, "ssh-ed25519"),
        ("ecdsa", ("-b", "384"), 0, "ecdsa-sha2-nistp384"),
        ("rsa", ("-b", "2048"), 4, "rsa-sha2-512"),
        ("rsa", ("-b", "2048"), 2, "rsa-sha2-256"),
        ("rsa", ("-b", "2048", "-m", "PEM"), 4, "rsa-sha2-512"),
    ],
)
@pytest.mark.parametrize("passphrase", ["", "open sesame"])
def test_key_files_sign(
    tmp_path: Path, kind: str, more: tuple[str, ...], flags: int, wanted: str, passphrase: str
) -> None:
    path = keygen(tmp_path / "key", *more, kind=kind, passphrase=passphrase)
    prompts: list[str] = []

    def ask(prompt: str) -> str:
        prompts.append(prompt)
        return passphrase

    ring = KeyRing(ask)
    for _ in range(2):
        (identity,) = ring.identities(query(path))
    ring.identities(query(path, only=True))
    assert identity.blob == public_key(path).blob
    assert verified(ring, identity, flags) == wanted
    assert prompts == ([f"Passphrase of {path}: "] if passphrase else [])


def test_a_wrong_passphrase_names_the_file(tmp_path: Path) -> None:
    path = keygen(tmp_path / "key", passphrase="right")
    with pytest.raises(CredentialsError, match="the passphrase is wrong") as caught:
        KeyRing(lambda _: "wrong").identities(query(path))
    assert caught.value.where == str(path)


def test_nobody_to_ask(tmp_path: Path) -> None:
    path = keygen(tmp_path / "key", passphrase="right")

    def hung_up(prompt: str) -> str:
        raise EOFError(prompt)

    for ask in (None, hung_up):
        with pytest.raises(CredentialsError, match="nobody to ask") as caught:
            KeyRing(ask).identities(query(path))
        assert f"ssh-add {path}" in str(caught.value)


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    key = keygen(tmp_path / "key")

    def problem(path: Path) -> str:
        with pytest.raises(CredentialsError) as caught:
            KeyRing().identities(query(path, required=True))
        assert caught.value.where == str(path)
        assert caught.value.remedy
        return caught.value.message

    assert "No such file" in problem(tmp_path / "missing")
    assert "no private key" in problem(key.with_name("key.pub"))
    assert "can't be read" in problem(tmp_path)
    key.chmod(0o644)
    assert "others may read" in problem(key)
    key.chmod(0o600)
    text = key.read_text()
    key.write_text(text.replace("\n", "\nAAAA", 1))
    assert "can't be used" in problem(key)
    key.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\n-----END OPENSSH PRIVATE KEY-----\n")
    assert "can't be used" in problem(key)


def test_an_agents_key_needs_no_passphrase_and_no_file(tmp_path: Path, agent: str) -> None:
    path = keygen(tmp_path / "key")
    add_to(agent, str(path))
    subprocess.run(["ssh-keygen", "-q", "-p", "-N", "secret", "-f", str(path)], check=True)
    ring = KeyRing()
    (identity,) = ring.identities(query(path, agent=agent))
    assert verified(ring, identity) == "ssh-ed25519"
    path.unlink()  # the .pub file is enough to say which key of the agent is meant
    ring = KeyRing()
    (identity,) = ring.identities(query(path, agent=agent, only=True, required=True))
    assert verified(ring, identity) == "ssh-ed25519"
    ring = KeyRing()
    (identity,) = ring.identities(query(path.with_name("key.pub"), agent=agent, only=True))
    assert verified(ring, identity) == "ssh-ed25519"


def test_order_named_keys_then_the_agents_then_default_files(tmp_path: Path, agent: str) -> None:
    held, named, default = (keygen(tmp_path / name) for name in ("held", "named", "default"))
    add_to(agent, str(held), str(named))
    blobs = {path: public_key(path).blob for path in (held, named, default)}

    def order(*arguments: Path, **more: object) -> list[Path]:
        offered = KeyRing().identities(query(*arguments, agent=agent, **more))  # type: ignore[arg-type]
        return [next(path for path, blob in blobs.items() if blob == key.blob) for key in offered]

    assert order(named) == [named, held]
    assert order(default, named=False) == [held, named, default]
    assert order(named, only=True) == [named]
    assert order(default, only=True) == [default]


def test_defaults_that_are_not_there_or_locked(tmp_path: Path) -> None:
    plain, locked = keygen(tmp_path / "plain"), keygen(tmp_path / "locked", passphrase="secret")
    missing = tmp_path / "missing"
    ring = KeyRing()
    (identity,) = ring.identities(query(missing, locked, plain, named=False))
    assert identity.blob == public_key(plain).blob
    assert any("locked has a passphrase" in notice for notice in ring.notices)
    ring = KeyRing(lambda _: "secret")  # asked only since there is no other key
    (identity,) = ring.identities(query(missing, locked, named=False))
    assert verified(ring, identity) == "ssh-ed25519"
    assert KeyRing().identities(query(missing, named=False)) == ()


def test_certificates_stand_before_their_key(tmp_path: Path, agent: str) -> None:
    path, authority = keygen(tmp_path / "key"), keygen(tmp_path / "ca")
    subprocess.run(
        ["ssh-keygen", "-q", "-s", str(authority), "-I", "me", "-n", "root", f"{path}.pub"], check=True
    )
    ring = KeyRing()
    certificate, bare = ring.identities(query(path))
    assert algorithm(certificate.blob) == "ssh-ed25519-cert-v01@openssh.com"
    assert bare.blob == public_key(path).blob
    assert verified(ring, certificate) == "ssh-ed25519"
    # The same with the bare key in the agent, and the certificate elsewhere.
    elsewhere = (tmp_path / "key-cert.pub").rename(tmp_path / "other-cert.pub")
    add_to(agent, str(path))
    path.unlink()
    ring = KeyRing()
    certificate, bare = ring.identities(query(path, agent=agent, certificates=(str(elsewhere),)))
    assert verified(ring, certificate) == "ssh-ed25519"
    # And one that the agent itself holds.
    stranger = keygen(tmp_path / "stranger")
    subprocess.run(
        ["ssh-keygen", "-q", "-s", str(authority), "-I", "me", "-n", "root", f"{stranger}.pub"], check=True
    )
    add_to(agent, str(stranger))
    ring = KeyRing()
    offered = ring.identities(query(agent=agent, only=False))
    assert len(offered) == 3
    assert verified(ring, offered[-1]) == "ssh-ed25519"


def test_an_agent_that_is_away(tmp_path: Path) -> None:
    path = keygen(tmp_path / "key")
    ring = KeyRing()
    offered = ring.identities(query(path, agent=str(tmp_path / "nowhere")))
    assert [key.blob for key in offered] == [public_key(path).blob]
    assert "nowhere can't be asked" in ring.notices[0]


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        u32(0),
        u32(1 << 30),
        string(b"\x05"),
        string(b"\x0c" + u32(3)),
        string(b"\x0c" + u32(1) + string(b"x")),
    ],
)
def test_an_agent_that_talks_nonsense(tmp_path: Path, answer: bytes) -> None:
    path = str(tmp_path / "agent")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1024)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        ring = KeyRing()
        assert ring.identities(query(agent=path)) == ()
        thread.join(DEADLINE_S)
    assert len(ring.notices) == 1


def test_an_agent_that_lost_the_key(tmp_path: Path, agent: str) -> None:
    path = keygen(tmp_path / "key")
    add_to(agent, str(path))
    ring = KeyRing()
    (identity,) = ring.identities(query(agent=agent))
    add_to(agent, "-D")
    with pytest.raises(SigningFailed, match="refused to sign"):
        asyncio.run(ring.sign(identity.blob, b"data", 0))
    with pytest.raises(SigningFailed, match="isn't one of those"):
        asyncio.run(ring.sign(b"unknown", b"data", 0))


def test_a_security_key_in_a_file_is_left_to_agent_or_ssh(tmp_path: Path) -> None:
    """Made by hand, since ssh-keygen needs the token: PROTOCOL.u2f's private key without its token."""
    path = tmp_path / "id_sk"
    kind, application = b"sk-ssh-ed25519@openssh.com", b"ssh:"
    public = string(kind) + string(b"\1" * 32) + string(application)
    private = u32(7) * 2 + public + b"\1" + string(b"handle") + string(b"") + string(b"me")
    private += bytes(range(1, 1 + -len(private) % 8))
    body = b"openssh-key-v1\0" + string(b"none") * 2 + string(b"") + u32(1) + string(public) + string(private)
    path.write_bytes(
        b"-----BEGIN OPENSSH PRIVATE KEY-----\n" + _b64(body) + b"\n-----END OPENSSH PRIVATE KEY-----\n"
    )
    path.chmod(0o600)
    assert KeyFile.read(path).public() == PublicKey(public, str(path))
    with pytest.raises(CredentialsError, match="security key"):
        KeyRing().identities(query(path))


async def test_of_one_agent_not_too_much_is_asked_at_one_time(tmp_path: Path) -> None:
    here, most, full = list[asyncio.StreamWriter](), 0, asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal most
        here.append(writer)
        most = max(most, len(here))
        if len(here) == MOST_AT_ONCE:
            for _ in range(1000):  # whoever else comes has come by then
                await asyncio.sleep(0)
            full.set()
        await full.wait()
        await reader.readexactly(int.from_bytes(await reader.readexactly(4), "big"))
        here.remove(writer)
        writer.write(string(bytes([SIGN_RESPONSE]) + string(b"signed")))
        writer.close()

    path = str(tmp_path / "agent")
    async with asyncio.timeout(20), await asyncio.start_unix_server(answer, path):
        client = AgentClient(path)
        signed = [client.sign(b"blob", b"data", 0) for _ in range(2 * MOST_AT_ONCE)]
        async with asyncio.TaskGroup() as tasks:
            made = [tasks.create_task(each) for each in signed]
        assert {each.result() for each in made} == {b"signed"}
    assert most == MOST_AT_ONCE
