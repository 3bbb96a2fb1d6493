"""What the asyncssh client does beyond the contract: proxies, given sockets, host certificates, keys."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import pytest

from nile.events import Code
from nile.topology.model import HostSpec
from nile.transport.asyncssh_client import AsyncsshTransport
from nile.transport.asyncssh_session import MSG_IGNORE, send_no_padding
from nile.transport.base import LoginFailed
from nile.transport.keys import KeyRing
from nile.transport.proxy import jump_command
from nile.transport.resolve import resolve_logins
from nile.transport.sshquery import SshQuery
from nile.transport.wire import string
from tests.transport.running import failure, run, transport_with
from tests.transport.servers import (
    PIPE,
    Sshd,
    keygen,
    public_key,
    public_line,
    running_sshd,
)
from tests.transport.sinks import Sink


def test_a_command_that_was_killed(sshd: Sshd, user_key: Path) -> None:
    async def main() -> None:
        async with transport_with(user_key) as transport:
            sink = Sink()
            await transport.login(sshd.login(identities=(public_key(user_key),)), "kill -9 $$", sink)
            assert await sink.wait_closed() == "it was killed by SIGKILL"

    run(main())


def test_a_command_that_closes_its_output_and_lives_on(user_key: Path, sshd: Sshd) -> None:
    async def lives_on(process: asyncssh.SSHServerProcess[bytes]) -> None:
        process.stdout.write_eof()
        await process.channel.wait_closed()

    async def main() -> None:
        async with await asyncssh.listen(
            "127.0.0.1",
            0,
            server_host_keys=[str(sshd.host_key)],
            authorized_client_keys=f"{user_key}.pub",
            process_factory=lives_on,
            encoding=None,
        ) as server:
            login = sshd.login(port=server.get_port(), identities=(public_key(user_key),))
            async with transport_with(user_key) as transport:
                sink = Sink()
                await transport.login(login, "any", sink)
                assert await sink.wait_closed() == "it closed its output"

    run(main())


def test_a_key_that_cannot_sign_is_named(sshd: Sshd, user_key: Path) -> None:
    async def main() -> None:
        problem = await failure(sshd.login(identities=(public_key(user_key),)))
        assert problem.code is Code.AUTHENTICATION
        assert "isn't one of those in use" in problem.reason

    run(main())


def test_the_key_that_let_us_in_is_offered_first_next_time(
    sshd: Sshd, user_key: Path, tmp_path: Path
) -> None:
    stranger = keygen(tmp_path / "stranger")

    async def main() -> None:
        async with transport_with(stranger, user_key) as transport:
            login = sshd.login(identities=(public_key(stranger), public_key(user_key)))
            for _ in range(2):
                start = len(sshd.log)
                sink = Sink()
                await transport.login(login, "true", sink)
                await sink.wait_closed()
            assert transport._ring.opened(login.host) == public_key(user_key).blob
        failed = [line for line in sshd.log[start:] if "Failed publickey" in line]
        assert not failed

    run(main())


def test_logging_in_over_a_socket_that_leads_there(sshd: Sshd, user_key: Path) -> None:
    """What the root does when a relay only carries its bytes."""

    async def pump(source: socket.socket, target: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while data := await loop.sock_recv(source, 65536):
            await loop.sock_sendall(target, data)
        target.shutdown(socket.SHUT_WR)

    async def main() -> None:
        ours, theirs = socket.socketpair()
        host = socket.create_connection(("127.0.0.1", sshd.port))
        for end in (theirs, host):
            end.setblocking(False)
        with theirs, host:
            # A name that only the relay can resolve does no harm: nothing here looks it up.
            login = sshd.login(hostname_root="inside.invalid", identities=(public_key(user_key),))
            async with transport_with(user_key) as transport, asyncio.TaskGroup() as group:
                group.create_task(pump(theirs, host))
                group.create_task(pump(host, theirs))
                sink = Sink()
                await transport.login_over(login, ours, "echo through", sink)
                await sink.wait_closed()
            assert bytes(sink.out) == b"through\n"

    run(main())


def test_logging_in_over_a_socket_that_ends(sshd: Sshd, user_key: Path) -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair()
        theirs.close()
        async with transport_with(user_key) as transport:
            with pytest.raises(LoginFailed) as caught:
                await transport.login_over(sshd.login(), ours, "true", Sink())
        assert caught.value.code is Code.STARTUPS

    run(main())


def test_values_that_asyncssh_refuses_leave_no_socket(sshd: Sshd, user_key: Path) -> None:
    async def main() -> None:
        problem = await failure(sshd.login(user="bad\x07user"), user_key)
        assert (problem.code, problem.retry) == (Code.DROPPED, False)
        ciphers = await failure(sshd.login(root_options=("Ciphers=rot13",)), user_key)
        assert "knows none of rot13" in ciphers.reason

    run(main())


def test_through_a_proxy_command(sshd: Sshd, user_key: Path) -> None:
    async def main() -> None:
        async with transport_with(user_key) as transport:
            sink = Sink()
            login = sshd.login(identities=(public_key(user_key),), root_options=(PIPE,))
            await transport.login(login, "echo through", sink)
            await sink.wait_closed()
            assert bytes(sink.out) == b"through\n"
            started.extend(proxy._process.pid for proxy in transport._proxies)

    started: list[int] = []
    run(main())
    assert started
    assert not any(Path(f"/proc/{pid}").exists() for pid in started)


def test_through_a_jump_host(sshd: Sshd, user_key: Path, tmp_path: Path) -> None:
    """ProxyJump as ssh_config has it: by ssh to the jump host, which checks its key too."""
    known = tmp_path / "known_hosts"
    known.write_text(f"jump {public_line(sshd.host_key)}\n")
    config = tmp_path / "config"
    config.write_text(
        f"Host jump\n  HostName 127.0.0.1\n  Port {sshd.port}\n  HostKeyAlias jump\n"
        f"  IdentityFile {user_key}\n  UserKnownHostsFile {known}\n"
    )
    command = f"ProxyCommand={jump_command('jump', config)}"

    async def main() -> None:
        login = sshd.login(identities=(public_key(user_key),), root_options=(command,))
        async with transport_with(user_key) as transport:
            sink = Sink()
            await transport.login(login, "echo over", sink)
            await sink.wait_closed()
            assert bytes(sink.out) == b"over\n"
        known.write_text("")
        problem = await failure(login, user_key)
        assert "Host key verification failed" in problem.reason

    run(main())


def test_through_two_jump_hosts(sshd: Sshd, user_key: Path, tmp_path: Path) -> None:
    """Each checks the key of the next; the first one's is the last that is taken away."""
    known, line = tmp_path / "known_hosts", public_line(sshd.host_key)
    known.write_text(f"first {line}\nsecond {line}\n")
    config = tmp_path / "config"
    config.write_text(
        f"StrictHostKeyChecking accept-new\nIdentityFile {user_key}\nUserKnownHostsFile {known}\n"
        f"HostName 127.0.0.1\nPort {sshd.port}\n"
        "Host first\n  HostKeyAlias first\nHost second\n  HostKeyAlias second\n"
    )
    command = f"ProxyCommand={jump_command('first,second', config)}"

    async def main() -> None:
        login = sshd.login(identities=(public_key(user_key),), root_options=(command,))
        async with transport_with(user_key) as transport:
            sink = Sink()
            await transport.login(login, "echo over", sink)
            await sink.wait_closed()
            assert bytes(sink.out) == b"over\n"
        known.write_text(f"second {line}\n")
        await failure(login, user_key)
        assert known.read_text() == f"second {line}\n", "nothing was taken"

    run(main())


def test_through_a_jump_host_behind_another(sshd: Sshd, user_key: Path, tmp_path: Path) -> None:
    """As ssh_config has it, which would have the first one's key taken unseen."""
    known, line = tmp_path / "known_hosts", public_line(sshd.host_key)
    known.write_text(f"first {line}\nsecond {line}\ntarget {line}\n")
    config = tmp_path / "config"
    config.write_text(
        f"StrictHostKeyChecking accept-new\nUserKnownHostsFile {known}\nHostName 127.0.0.1\n"
        f"Port {sshd.port}\nHost target\n  HostKeyAlias target\n  ProxyJump second\n"
        f"Host second\n  HostKeyAlias second\n  ProxyJump first\nHost first\n  HostKeyAlias first\n"
        f"Host *\n  IdentityFile {user_key}\n"
    )
    ring = KeyRing()
    login = resolve_logins([HostSpec("target", "target", "target")], ring, query=SshQuery(config))["target"]

    async def main() -> None:
        transport = AsyncsshTransport(ring)
        try:
            sink = Sink()
            await transport.login(login, "echo over", sink)
            await sink.wait_closed()
            assert bytes(sink.out) == b"over\n"
            known.write_text(f"second {line}\ntarget {line}\n")
            with pytest.raises(LoginFailed):
                await transport.login(login, "true", Sink())
        finally:
            await transport.close()
        assert known.read_text() == f"second {line}\ntarget {line}\n", "nothing was taken"

    run(main())


def test_a_proxy_command_that_fails_is_quoted(sshd: Sshd, user_key: Path) -> None:
    async def main() -> None:
        command = "ProxyCommand=echo 'no way \033[2J to %h' >&2; exit 1"
        problem = await failure(sshd.login(root_options=(command,)), user_key)
        assert "proxy command: no way ?[2J to 127.0.0.1" in problem.reason
        unknown = await failure(sshd.login(root_options=("ProxyCommand=%Z",)), user_key)
        assert "%Z isn't supported" in unknown.reason

    run(main())


class TestHostCertificates:
    @pytest.fixture
    def certified(self, tmp_path: Path, user_key: Path) -> Iterator[tuple[Sshd, Path]]:
        directory = tmp_path
        authority, host_key = keygen(directory / "ca"), keygen(directory / "host")
        subprocess.run(
            ["ssh-keygen", "-q", "-s", str(authority), "-h", "-I", "id", "-n", "target", f"{host_key}.pub"],
            check=True,
        )
        certificate = f"HostCertificate={host_key}-cert.pub"
        with running_sshd(directory / "sshd", [user_key], certificate, host_key=host_key) as server:
            yield server, authority

    def outcome(self, server: Sshd, user_key: Path, *lines: str, alias: str = "target") -> Code | None:
        found: list[Code | None] = []

        async def main() -> None:
            login = server.login(known_hosts=lines, host_key_alias=alias, identities=(public_key(user_key),))
            async with transport_with(user_key) as transport:
                sink = Sink()
                try:
                    await transport.login(login, "true", sink)
                except LoginFailed as exc:
                    found.append(exc.code)
                else:
                    found.append(None)
                    await sink.wait_closed()

        run(main())
        return found[0]

    def test_they_are_judged_as_openssh_does(self, certified: tuple[Sshd, Path], user_key: Path) -> None:
        server, authority = certified
        trusted = f"@cert-authority target {public_line(authority)}"
        stranger = f"@cert-authority target {public_line(user_key)}"
        revoked = f"@revoked target {public_line(authority)}"
        key_revoked = f"@revoked {server.known}"
        other_key = f"target {public_line(user_key)}"
        assert self.outcome(server, user_key, trusted) is None
        assert self.outcome(server, user_key, trusted, other_key) is None
        assert self.outcome(server, user_key, stranger) is Code.HOST_KEY_UNKNOWN
        assert self.outcome(server, user_key, trusted, alias="other") is Code.HOST_KEY_UNKNOWN
        assert self.outcome(server, user_key, trusted, revoked) is Code.HOST_KEY_REVOKED
        assert self.outcome(server, user_key, trusted, key_revoked) is Code.HOST_KEY_REVOKED
        # The bare key is known: OpenSSH falls back to it where the certificate says nothing.
        assert self.outcome(server, user_key, stranger, server.known) is None
        assert self.outcome(server, user_key, server.known) is None
        assert self.outcome(server, user_key, stranger, other_key) is Code.HOST_KEY_CHANGED


def test_no_empty_packet_goes_ahead_of_each_one(
    sshd: Sshd, user_key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They cost as much as any, and are of use with CBC ciphers alone."""

    async def main() -> None:
        async with transport_with(user_key) as transport:
            sink = Sink()
            session = await transport.login(sshd.login(identities=(public_key(user_key),)), "cat", sink)
            connection = session._connection
            kinds: list[int] = []
            monkeypatch.setattr(connection, "log_sent_packet", lambda kind, *_: kinds.append(kind))
            connection.send_packet(MSG_IGNORE, bytes(4))
            connection.send_packet(80, string(b"none@nile"), b"\0")  # a global request that nobody knows
            assert kinds == [80]

    run(main())


def test_with_cbc_they_are_sent_as_before() -> None:
    class Connection:
        sent: list[int] = []

        def get_extra_info(self, _: str, __: str) -> str:
            return "aes256-cbc"

        def send_packet(self, kind: int) -> None:
            self.sent.append(kind)

    connection = Connection()
    send_no_padding(connection)  # type: ignore[arg-type]
    connection.send_packet(MSG_IGNORE)
    assert connection.sent == [MSG_IGNORE]
