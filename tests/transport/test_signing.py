"""Signatures for relays: real ssh through a toy relay, then everything a relay could try."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import asyncssh
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nile.events import Code
from nile.options import Signing
from nile.transport.agentwire import (
    HOSTBOUND,
    PUBLICKEY,
    REFUSAL,
    SERVICE,
    SESSION_BIND,
    SHA2_512,
    USERAUTH_REQUEST,
    SignRequest,
    decode_sign_request,
    decode_sign_response,
    encode_sign_request,
)
from nile.transport.base import PublicKey, ResolvedLogin
from nile.transport.keys import IdentityQuery, KeyRing
from nile.transport.signing import SigningAuthority, SignReply
from nile.transport.wire import string
from tests.transport.servers import (
    DEADLINE_S,
    Sshd,
    keygen,
    public_key,
    public_line,
    running_sshd,
)
from tests.transport.toyrelay import toy_relay


def authority_of(*files: Path, agent: str | None = None) -> SigningAuthority:
    ring = KeyRing()
    ring.identities(IdentityQuery(files=tuple(map(str, files)), named=bool(files), agent=agent))
    return SigningAuthority(ring)


class TestRealSsh:
    """The flow as it is on a host: ssh 9.2 asks, the root's known_hosts decides."""

    def test_a_planned_login_is_signed_and_bound(self, sshd: Sshd, user_key: Path, tmp_path: Path) -> None:
        child = sshd.login(identities=(public_key(user_key),), signing=Signing.STRICT)
        authority = authority_of(user_key)
        with toy_relay(tmp_path / "a", authority, child, budget=0) as relay:
            done = relay.ssh(sshd)
        assert done.stdout == "in\n", done.stderr
        assert [(reply.signed, reply.spent, reply.note) for reply in relay.replies] == [(True, 0, "")]
        assert authority.opened(child) == public_key(user_key).blob
        assert authority.opened(replace(child, host="another")) is None
        binds, _ = relay.asked[0]
        assert len(binds) == 1

    def test_rsa_uses_sha2(self, tmp_path: Path) -> None:
        key = keygen(tmp_path / "id_rsa", "-b", "2048", kind="rsa")
        with running_sshd(tmp_path / "sshd", [key]) as server:
            child = server.login(identities=(public_key(key),), signing=Signing.STRICT)
            with toy_relay(tmp_path / "a", authority_of(key), child) as relay:
                assert relay.ssh(server).stdout == "in\n"
            assert decode_sign_request(relay.asked[0][1]).flags == SHA2_512

    def test_a_host_with_a_certificate(self, user_key: Path, tmp_path: Path) -> None:
        authority_key, host_key = keygen(tmp_path / "ca"), keygen(tmp_path / "host")
        certify(authority_key, host_key, "target")
        ca_line = f"@cert-authority target {public_line(authority_key)}"
        certificate = f"HostCertificate={host_key}-cert.pub"
        with running_sshd(tmp_path / "sshd", [user_key], certificate, host_key=host_key) as server:
            child = server.login(known_hosts=(ca_line,), identities=(public_key(user_key),))
            child = replace(child, signing=Signing.STRICT)
            with toy_relay(tmp_path / "a", authority_of(user_key), child) as relay:
                # The relay's ssh has the same line, so it proves the certificate and not the bare key.
                known = tmp_path / "known"
                known.write_text(ca_line + "\n")
                done = relay.ssh(server, "HostKeyAlias=target", f"UserKnownHostsFile={known}")
                assert done.stdout == "in\n", done.stderr
            other_name = replace(child, host_key_alias="other")
            with toy_relay(tmp_path / "b", authority_of(user_key), other_name) as relay:
                assert relay.ssh(server, "HostKeyAlias=target").stdout == ""
            assert relay.replies[0].code is Code.SIGNING

    def test_another_host_than_the_planned_one(self, sshd: Sshd, user_key: Path, tmp_path: Path) -> None:
        planned = f"target {public_line(keygen(tmp_path / 'planned'))}"
        child = sshd.login(known_hosts=(planned,), identities=(public_key(user_key),))
        with toy_relay(tmp_path / "a", authority_of(user_key), child) as relay:
            assert relay.ssh(sshd).returncode == 255
        assert relay.replies[0].response == REFUSAL
        assert "isn't trusted as target" in relay.replies[0].reason

    def test_another_user_than_the_planned_one(self, sshd: Sshd, user_key: Path, tmp_path: Path) -> None:
        child = sshd.login(identities=(public_key(user_key),), user="operator")
        with toy_relay(tmp_path / "a", authority_of(user_key), child) as relay:
            assert relay.ssh(sshd, user=sshd.login().user).returncode == 255
        assert "planned is 'operator'" in relay.replies[0].reason

    def test_a_key_that_is_not_planned(self, sshd: Sshd, user_key: Path, tmp_path: Path) -> None:
        other = keygen(tmp_path / "other")
        child = sshd.login(identities=(public_key(other),))
        with toy_relay(
            tmp_path / "a", authority_of(user_key, other), child, offered=(public_key(user_key),)
        ) as relay:
            assert relay.ssh(sshd).returncode == 255
        assert "isn't planned" in relay.replies[0].reason

    def test_the_users_own_agent_signs(
        self, sshd: Sshd, user_key: Path, tmp_path: Path, user_agent: str
    ) -> None:
        child = sshd.login(identities=(public_key(user_key),), signing=Signing.STRICT)
        with toy_relay(tmp_path / "a", authority_of(agent=user_agent), child) as relay:
            assert relay.ssh(sshd).stdout == "in\n"

    def test_an_older_ssh_is_counted_and_named_once(self, sshd: Sshd, user_key: Path, tmp_path: Path) -> None:
        """Without session-bind and without the host-bound method, as before 8.9."""
        child = sshd.login(identities=(public_key(user_key),))
        authority = authority_of(user_key)
        with toy_relay(tmp_path / "a", authority, child, knows_bind=False, budget=2) as relay:
            done = [relay.ssh(sshd, "PubkeyAuthentication=unbound").stdout for _ in range(3)]
        assert done == ["in\n", "in\n", ""]
        assert [reply.signed for reply in relay.replies] == [True, True, False]
        assert [bool(reply.note) for reply in relay.replies] == [True, False, False]
        assert "used up" in relay.replies[2].reason

    @pytest.mark.parametrize("policy", [Signing.STRICT, Signing.THROUGH_ROOT])
    def test_an_older_ssh_is_refused_where_policy_says(
        self, sshd: Sshd, user_key: Path, tmp_path: Path, policy: Signing
    ) -> None:
        child = sshd.login(identities=(public_key(user_key),), signing=policy)
        with toy_relay(tmp_path / "a", authority_of(user_key), child, knows_bind=False) as relay:
            assert relay.ssh(sshd, "PubkeyAuthentication=unbound").stdout == ""
        assert f"signing: {policy}" in relay.replies[0].reason

    def test_a_host_bound_request_needs_no_bind(self, sshd: Sshd, user_key: Path, tmp_path: Path) -> None:
        """The server itself compares the host key that is signed over."""
        child = sshd.login(identities=(public_key(user_key),), signing=Signing.STRICT)
        with toy_relay(tmp_path / "a", authority_of(user_key), child, knows_bind=False) as relay:
            done = relay.ssh(sshd, "PubkeyAuthentication=host-bound")
        assert done.stdout == "in\n", done.stderr


@pytest.fixture
def user_agent(user_key: Path, tmp_path: Path) -> Iterator[str]:
    """A real ssh-agent that holds the user's key."""
    path = str(tmp_path / "agent")
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.PIPE, text=True)
    try:
        assert agent.stdout is not None
        agent.stdout.readline()  # it prints its variables once it listens
        subprocess.run(
            ["ssh-add", "-q", str(user_key)],
            env={**os.environ, "SSH_AUTH_SOCK": path},
            check=True,
            stderr=subprocess.DEVNULL,
        )
        yield path
    finally:
        agent.terminate()
        agent.communicate(timeout=DEADLINE_S)


def certify(authority: Path, host_key: Path, principal: str, *more: str) -> None:
    """Make `host_key`-cert.pub."""
    subprocess.run(
        [
            "ssh-keygen",
            "-q",
            "-s",
            str(authority),
            "-h",
            "-I",
            "id",
            "-n",
            principal,
            *more,
            f"{host_key}.pub",
        ],
        check=True,
        stdin=subprocess.DEVNULL,
    )


SESSION = b"\x07" * 32


class Forge:
    """Requests as a relay could make them up, with keys that Python holds."""

    def __init__(self) -> None:
        self.host = asyncssh.generate_private_key("ssh-ed25519")
        self.other = asyncssh.generate_private_key("ssh-ed25519")
        self.user = asyncssh.generate_private_key("ssh-ed25519")
        self.authority = asyncssh.generate_private_key("ssh-ed25519")

    def line(self, key: asyncssh.SSHKey, marker: str = "") -> str:
        return f"{marker} target {key.export_public_key().decode().strip()}".strip()

    def bind(
        self,
        *,
        key: asyncssh.SSHKey | None = None,
        session: bytes = SESSION,
        signed: bytes = SESSION,
        forwarding: bool = False,
        blob: bytes | None = None,
    ) -> bytes:
        key = key or self.host
        signature = key.sign(signed, key.algorithm)
        parts = (SESSION_BIND, blob or key.public_data, session, signature)
        return b"".join(map(string, parts)) + bytes([forwarding])

    def userauth(
        self,
        *,
        session: bytes = SESSION,
        user: bytes = b"tdaq",
        service: bytes = SERVICE,
        method: bytes = PUBLICKEY,
        signs: bool = True,
        kind: bytes = b"ssh-ed25519",
        blob: bytes | None = None,
        host_key: bytes | None = None,
        tail: bytes = b"",
    ) -> bytes:
        body = string(session) + bytes([USERAUTH_REQUEST]) + string(user) + string(service)
        body += string(method) + bytes([signs]) + string(kind) + string(blob or self.user.public_data)
        return body + (string(host_key) if host_key is not None else b"") + tail

    def request(self, data: bytes, blob: bytes | None = None, flags: int = 0) -> bytes:
        return encode_sign_request(SignRequest(blob or self.user.public_data, data, flags))

    def ask(
        self, child: ResolvedLogin, binds: list[bytes], request: bytes, tmp_path: Path, budget: int = 0
    ) -> SignReply:
        file = tmp_path / "id_forged"
        if not file.exists():
            self.user.write_private_key(file)
            file.chmod(0o600)
        return asyncio.run(authority_of(file).sign(child, binds, request, budget))


@pytest.fixture
def forge() -> Forge:
    return Forge()


@pytest.fixture
def child(sshd: Sshd, forge: Forge) -> ResolvedLogin:
    return sshd.login(
        user="tdaq",
        identities=(PublicKey(forge.user.public_data, "forged"),),
        known_hosts=(forge.line(forge.host),),
    )


def test_a_good_forgery_is_signed_so_the_bad_ones_below_fail_for_their_own_reason(
    forge: Forge, child: ResolvedLogin, tmp_path: Path
) -> None:
    data = forge.userauth()
    for request in (forge.request(data), forge.request(data)[1:]):
        for bind in (forge.bind(), b"\x1b" + forge.bind()):
            reply = forge.ask(child, [bind, bind], request, tmp_path)
            assert reply.signed, reply.reason
            assert forge.user.convert_to_public().verify(data, decode_sign_response(reply.response))
    bound = forge.userauth(method=HOSTBOUND, host_key=forge.host.public_data)
    assert forge.ask(child, [], forge.request(bound), tmp_path).signed


def test_strict_signs_only_what_names_the_host_key(
    forge: Forge, child: ResolvedLogin, tmp_path: Path
) -> None:
    """The planned host may have signed the session of a third one: it is in league with the relay."""
    strict = replace(child, signing=Signing.STRICT)
    reply = forge.ask(strict, [forge.bind()], forge.request(forge.userauth()), tmp_path, budget=1)
    assert (reply.response, reply.code, reply.spent) == (REFUSAL, Code.SIGNING, 0)
    assert "doesn't name its host key" in reply.reason
    named = forge.request(forge.userauth(method=HOSTBOUND, host_key=forge.host.public_data))
    assert forge.ask(strict, [forge.bind()], named, tmp_path).signed
    assert forge.ask(strict, [], named, tmp_path).signed


@pytest.mark.parametrize(
    ("bind", "why"),
    [
        ({"forwarding": True}, "hand the signature on"),
        ({"session": b"another"}, "another session"),
        ({"signed": b"another"}, "didn't sign this session"),
    ],
)
def test_bad_binds(
    forge: Forge, child: ResolvedLogin, tmp_path: Path, bind: dict[str, object], why: str
) -> None:
    reply = forge.ask(child, [forge.bind(**bind)], forge.request(forge.userauth()), tmp_path)  # type: ignore[arg-type]
    assert (reply.response, reply.code, reply.spent) == (REFUSAL, Code.SIGNING, 0)
    assert why in reply.reason


def test_binds_to_hosts_that_are_not_the_planned_one(
    forge: Forge, child: ResolvedLogin, tmp_path: Path
) -> None:
    request = forge.request(forge.userauth())
    changed = forge.ask(child, [forge.bind(key=forge.other)], request, tmp_path)
    assert "isn't the one in known_hosts" in changed.reason
    # The other host's key, with the planned host's name on it.
    pretended = forge.bind(key=forge.other, blob=forge.host.public_data)
    assert "didn't sign" in forge.ask(child, [pretended], request, tmp_path).reason
    unknown = forge.ask(replace(child, known_hosts=()), [forge.bind()], request, tmp_path)
    assert "no host key of it" in unknown.reason
    lines = (forge.line(forge.host), forge.line(forge.host, "@revoked"))
    revoked = forge.ask(replace(child, known_hosts=lines), [forge.bind()], request, tmp_path)
    assert "@revoked" in revoked.reason
    both = forge.ask(child, [forge.bind(), forge.bind(key=forge.other)], request, tmp_path)
    assert "several sessions" in both.reason
    bound = forge.userauth(method=HOSTBOUND, host_key=forge.other.public_data)
    assert "another host key" in forge.ask(child, [forge.bind()], forge.request(bound), tmp_path).reason
    assert "isn't the one" in forge.ask(child, [], forge.request(bound), tmp_path).reason


def test_host_certificates(forge: Forge, child: ResolvedLogin, tmp_path: Path) -> None:
    request = forge.request(forge.userauth())
    authority_line = forge.line(forge.authority, "@cert-authority")

    def reason(line: str, **certificate: object) -> str:
        made = forge.authority.generate_host_certificate(forge.host, "id", **certificate)  # type: ignore[arg-type]
        bind = forge.bind(blob=made.public_data)
        lines = tuple(line.splitlines())
        return forge.ask(replace(child, known_hosts=lines), [bind], request, tmp_path).reason

    assert reason(authority_line, principals=["target"]) == ""
    assert "isn't valid for target" in reason(authority_line, principals=["elsewhere"])
    assert "isn't valid for target" in reason(authority_line, principals=["target"], valid_before=1)
    assert "no trusted authority" in reason("", principals=["target"])
    assert "no trusted authority" in reason(forge.line(forge.other, "@cert-authority"), principals=["target"])
    revoked = forge.line(forge.authority, "@revoked")
    assert "@revoked" in reason(f"{authority_line}\n{revoked}", principals=["target"])
    revoked = forge.line(forge.host, "@revoked")
    assert "@revoked" in reason(f"{authority_line}\n{revoked}", principals=["target"])
    # A user's certificate by the same authority makes nobody a host.
    user = forge.authority.generate_user_certificate(forge.host, "id", principals=["target"])
    bind = forge.bind(blob=user.public_data)
    reply = forge.ask(replace(child, known_hosts=(authority_line,)), [bind], request, tmp_path)
    assert "isn't valid for target" in reply.reason


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"user": b"root"}, "log in as 'root'"),
        ({"user": b"\xff\x1b[2J"}, r"'\\xff\x1b[2J'"),
        ({"service": b"ssh-userauth"}, "another service"),
        ({"method": b"hostbased"}, "no login"),
        ({"signs": False}, "no login"),
        ({"kind": b"ssh-rsa"}, "another algorithm"),
        ({"blob": b"\0\0\0\x07ssh-rsa"}, "another key"),
        ({"tail": b"more"}, "no login"),
        ({"method": HOSTBOUND}, "no login"),
    ],
)
def test_what_is_no_planned_login(
    forge: Forge, child: ResolvedLogin, tmp_path: Path, change: dict[str, object], why: str
) -> None:
    request = forge.request(forge.userauth(**change))  # type: ignore[arg-type]
    reply = forge.ask(child, [forge.bind()], request, tmp_path)
    assert not reply.signed
    assert why in reply.reason
    assert reply.reason.isprintable()


def test_rsa_by_sha1_is_refused(sshd: Sshd, tmp_path: Path) -> None:
    key = keygen(tmp_path / "id_rsa", "-b", "2048", kind="rsa")
    identity = public_key(key)
    child = sshd.login(user="tdaq", identities=(identity,))
    forge = Forge()

    def ask(kind: bytes, flags: int) -> SignReply:
        data = forge.userauth(kind=kind, blob=identity.blob)
        request = forge.request(data, identity.blob, flags)
        return asyncio.run(authority_of(key).sign(child, [], request, 1))

    assert ask(b"rsa-sha2-256", 2).signed
    assert ask(b"rsa-sha2-512", 4).signed
    assert "SHA-1" in ask(b"ssh-rsa", 0).reason
    assert "SHA-1" in ask(b"rsa-sha2-512", 0).reason


def test_a_frozen_agent_does_not_hold_the_loop(
    forge: Forge, child: ResolvedLogin, sshd: Sshd, user_key: Path, tmp_path: Path, user_agent: str
) -> None:
    """The caller's deadline ends it."""
    ring = KeyRing()
    identities = ring.identities(IdentityQuery(files=(), agent=user_agent))
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(tmp_path / "deaf"))
        deaf.listen()
        for signer in ring._signers.values():
            assert signer.agent is not None
            signer.agent.path = str(tmp_path / "deaf")

        async def main() -> None:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await ring.sign(identities[0].blob, b"data", 0)

        asyncio.run(main())


@settings(max_examples=150, deadline=None)
@given(bind=st.binary(max_size=80), request=st.binary(max_size=120), flip=st.integers(0, 2000))
def test_garbage_is_refused_and_never_raises(bind: bytes, request: bytes, flip: int) -> None:
    forge = GARBAGE_FORGE
    login = Sshd(22, Path("unused"), []).login(
        user="tdaq",
        identities=(PublicKey(forge.user.public_data, "forged"),),
        known_hosts=(forge.line(forge.host),),
    )
    authority = SigningAuthority(KeyRing())
    good = forge.request(forge.userauth())
    at = flip % len(good)
    flipped = good[:at] + bytes([good[at] ^ 1 + flip % 255]) + good[at + 1 :]
    for binds, message in (([bind], good), ([], request), ([forge.bind()], flipped), ([bind], request)):
        reply = asyncio.run(authority.sign(login, binds, message, 1))
        assert (reply.response, reply.code) == (REFUSAL, Code.SIGNING)
        assert reply.reason.isprintable()


GARBAGE_FORGE = Forge()
