"""Collecting host keys from a real sshd, and writing them so that ssh and ssh-keygen read them."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from nile.errors import KnownHostsError
from nile.events import Code
from nile.transport.asyncssh_client import AsyncsshTransport
from nile.transport.base import LoginFailed, ResolvedLogin
from nile.transport.hostkeys import HostKey, append, collect, collect_all
from nile.transport.hosttrust import HostKeys, Trust
from nile.transport.keys import KeyRing
from tests.transport.servers import Sshd, keygen, public_line, refusing_port


def collected(login: ResolvedLogin, stream: socket.socket | None = None) -> HostKey:
    async def main() -> HostKey:
        transport = AsyncsshTransport(KeyRing())

        async def via(_: ResolvedLogin) -> socket.socket:
            assert stream is not None
            return stream

        try:
            return await collect(transport, login, via if stream is not None else None)
        finally:
            await transport.close()

    return asyncio.run(main())


def made_up(login: ResolvedLogin, key: Path) -> HostKey:
    blob = next(iter(HostKeys.parse((f"x {public_line(key)}",)).plain))
    return HostKey(login, blob, HostKeys.parse(login.known_hosts).judge_key(blob))


def test_what_a_host_shows_and_what_is_known_of_it(sshd: Sshd, tmp_path: Path) -> None:
    new = collected(sshd.login(known_hosts=()))
    assert new.judgement.trust is Trust.UNKNOWN
    wanted = subprocess.run(
        ["ssh-keygen", "-lf", f"{sshd.host_key}.pub"], capture_output=True, text=True, check=True
    )
    assert new.fingerprint == wanted.stdout.split()[1]
    assert new.line() == f"[target]:{sshd.port} {public_line(sshd.host_key)}"
    assert collected(sshd.login()).judgement.trust is Trust.TRUSTED
    other = f"target {public_line(keygen(tmp_path / 'other'))}"
    assert collected(sshd.login(known_hosts=(other,))).judgement.trust is Trust.CHANGED
    revoked = f"@revoked {sshd.known}"
    assert collected(sshd.login(known_hosts=(revoked,))).judgement.trust is Trust.REVOKED


def test_by_a_way_that_somebody_else_opened(sshd: Sshd) -> None:
    """The seam for hosts behind gateways."""
    stream = socket.create_connection(("127.0.0.1", sshd.port))
    login = sshd.login(hostname_root="inside.invalid", port=22, known_hosts=())
    assert collected(login, stream).line() == f"target {public_line(sshd.host_key)}"


def test_many_at_once_and_each_has_an_answer(sshd: Sshd) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, refusing_port() as port:

        async def main() -> dict[str, HostKey | LoginFailed]:
            good = [replace(sshd.login(known_hosts=()), host=f"n{number}") for number in range(8)]
            refused = replace(sshd.login(), host="refused", port=port)
            frozen = replace(sshd.login(), host="frozen", port=silent.getsockname()[1])
            transport = AsyncsshTransport(KeyRing())
            try:
                return await collect_all(
                    transport, [*good, refused, frozen], parallel=4, connect_s=2.0, via={}
                )
            finally:
                await transport.close()

        found = asyncio.run(main())
    codes = {host: found.code for host, found in found.items() if isinstance(found, LoginFailed)}
    assert codes == {"refused": Code.REFUSED, "frozen": Code.CONNECT_TIMEOUT}
    assert len(found) == 10


class TestAppend:
    def found_by_ssh_keygen(self, file: Path, name: str) -> str:
        done = subprocess.run(
            ["ssh-keygen", "-F", name, "-f", str(file)], capture_output=True, text=True, check=True
        )
        return " ".join(done.stdout.splitlines()[1].split()[1:])

    @pytest.mark.parametrize("hashed", [False, True])
    def test_what_ssh_keygen_finds(self, sshd: Sshd, tmp_path: Path, hashed: bool) -> None:
        file = tmp_path / "dir" / "known_hosts"
        key = collected(sshd.login(known_hosts=()))
        assert append(file, [key], hashed=hashed) == 1
        assert self.found_by_ssh_keygen(file, f"[target]:{sshd.port}") == public_line(sshd.host_key)
        assert file.read_text().startswith("|1|" if hashed else "[target]:")
        assert file.stat().st_mode & 0o777 == 0o600
        assert file.parent.stat().st_mode & 0o777 == 0o700
        before = file.read_bytes()
        assert append(file, [key], hashed=hashed) == 0
        assert file.read_bytes() == before

    def test_what_is_there_stays_also_without_a_last_newline(self, sshd: Sshd, tmp_path: Path) -> None:
        file = tmp_path / "known_hosts"
        file.write_bytes(b"# mine\xff\nother ssh-ed25519 AAAA")
        append(file, [collected(sshd.login(known_hosts=(), port=sshd.port))], hashed=False)
        wanted = f"\n[target]:{sshd.port} {public_line(sshd.host_key)}\n".encode()
        assert file.read_bytes() == b"# mine\xff\nother ssh-ed25519 AAAA" + wanted

    def test_another_key_that_turned_up_meanwhile_refuses_all(self, sshd: Sshd, tmp_path: Path) -> None:
        file = tmp_path / "known_hosts"
        first, second, third = (keygen(tmp_path / name) for name in ("one", "two", "three"))
        login = sshd.login(known_hosts=(), known_hosts_name="h")
        for marker in ("", "@revoked "):
            shown = second if not marker else first
            file.write_text(f"{marker}h {public_line(first)}\n")
            before = file.read_bytes()
            unrelated = made_up(sshd.login(known_hosts=(), known_hosts_name="g"), third)
            with pytest.raises(KnownHostsError, match="h has another key there"):
                append(file, [unrelated, made_up(login, shown)], hashed=False)
            assert file.read_bytes() == before

    def test_a_place_that_cannot_be_written(self, sshd: Sshd, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        key = made_up(sshd.login(), keygen(tmp_path / "key"))
        with pytest.raises(KnownHostsError, match="can't be written"):
            append(tmp_path / "file" / "known_hosts", [key], hashed=False)


class TestCommand:
    """`nile hostkeys` as a user has it."""

    def nile(
        self, sshd: Sshd, known: Path, *words: str, answer: str = ""
    ) -> subprocess.CompletedProcess[str]:
        routes = known.with_name("nile.yaml")
        routes.write_text(
            "version: 1\n"
            f"ssh: {{port: {sshd.port}, options: {{UserKnownHostsFile: {known}, HashKnownHosts: no}}}}\n"
            "hosts:\n"
            "  target: {address: {root: 127.0.0.1, inside: 127.0.0.1}, host_key_alias: target}\n"
        )
        return subprocess.run(
            [sys.executable, "-m", "nile", "hostkeys", "-r", str(routes), *words],
            input=answer,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def test_writes_after_a_yes_and_not_without(self, sshd: Sshd, tmp_path: Path) -> None:
        known = tmp_path / "known_hosts"
        for answer in ("", "n\n"):
            declined = self.nile(sshd, known, "-w", "target", answer=answer)
            assert declined.returncode == 1, declined.stderr
            assert not known.exists()
        assert " new\n" in declined.stdout
        assert collected(sshd.login()).fingerprint in declined.stdout
        agreed = self.nile(sshd, known, "-w", "target", answer="y\n")
        assert agreed.returncode == 0, agreed.stderr
        assert known.read_text() == f"target {public_line(sshd.host_key)}\n"
        again = self.nile(sshd, known, "-w", "target")
        assert (again.returncode, " known\n" in again.stdout) == (0, True)

    def test_a_changed_key_is_refused_loudly_whatever_is_said(self, sshd: Sshd, tmp_path: Path) -> None:
        known = tmp_path / "known_hosts"
        text = f"target {public_line(keygen(tmp_path / 'old'))}\n"
        known.write_text(text)
        done = self.nile(sshd, known, "-w", "target", "--yes")
        assert (done.returncode, known.read_text()) == (1, text)
        assert "CHANGED" in done.stdout
        assert "WARNING: target: its host key isn't the one in known_hosts" in done.stderr
        assert f"ssh-keygen -R target -f {known}" in done.stderr

    def test_a_host_that_shows_no_key(self, sshd: Sshd, tmp_path: Path) -> None:
        done = self.nile(sshd, tmp_path / "known_hosts", "-w", "target,nosuch.invalid", "--yes")
        assert done.returncode == 4
        assert "nosuch.invalid: no key: " in done.stderr
        assert (tmp_path / "known_hosts").exists()  # what could be had was written
