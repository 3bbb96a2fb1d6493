"""What every transport does, against a real sshd: the same tests for each of them."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from nile.events import Code
from nile.options import SshClient
from nile.transport.base import LoginFailed, ResolvedLogin, Session, SessionSink, Transport
from nile.transport.root import RootTransport
from tests.transport.running import children, ring_of, run
from tests.transport.servers import Sshd, keygen, public_key, public_line, refusing_port, stub_server
from tests.transport.sinks import Sink


class Client:
    """A kind of transport, and what the values of a login mean to it."""

    def __init__(self, directory: Path, kind: SshClient) -> None:
        self._directory = directory
        self._kind = kind
        self._count = 0

    @asynccontextmanager
    async def transport(self, key: Path) -> AsyncIterator[Transport]:
        """One that can use `key`; afterwards no child process may be left."""
        before = children()
        transport: Transport = RootTransport(ring_of(key), "none")
        try:
            yield transport
        finally:
            await transport.close()
        assert children() <= before

    async def login(
        self, transport: Transport, login: ResolvedLogin, command: str, sink: SessionSink
    ) -> Session:
        """Log in; for ssh, which reads files, the values are written to one."""
        if self._kind == SshClient.OPENSSH:
            login = self._for_openssh(login)
        return await transport.login(login, command, sink)

    async def failure(self, login: ResolvedLogin, key: Path) -> LoginFailed:
        """What a login fails with."""
        async with self.transport(key) as transport:
            with pytest.raises(LoginFailed) as caught:
                async with asyncio.timeout(20):
                    await self.login(transport, login, "true", Sink())
        return caught.value

    def _for_openssh(self, login: ResolvedLogin) -> ResolvedLogin:
        self._count += 1
        known = self._directory / f"known_hosts.{self._count}"
        known.write_text("".join(f"{line}\n" for line in login.known_hosts))
        files = [key.comment.removesuffix(".pub") for key in login.identities] or ["none"]
        options = [f"UserKnownHostsFile={known}", "GlobalKnownHostsFile=/dev/null", "IdentityAgent=none"]
        options += [*(f"IdentityFile={file}" for file in files), "HostKeyAlias=target"]
        login = replace(login, client=SshClient.OPENSSH)
        return replace(login, root_options=(*options, "KexAlgorithms=-sntrup761*"))


@pytest.fixture(params=list(SshClient))
def client(request: pytest.FixtureRequest, tmp_path: Path) -> Client:
    return Client(tmp_path, request.param)


def test_carries_bytes_both_ways_and_keeps_the_streams_apart(
    client: Client, sshd: Sshd, user_key: Path
) -> None:
    async def main() -> None:
        async with client.transport(user_key) as transport:
            sink = Sink()
            login = sshd.login(identities=(public_key(user_key),))
            session = await client.login(transport, login, "echo oops >&2; head -c 6 | tr a-z A-Z", sink)
            session.write(b"\x00ab")
            session.write(b"\xffcd")
            await sink.wait_closed()
            assert (bytes(sink.out), bytes(sink.err)) == (b"\x00AB\xffCD", b"oops\n")
            assert sink.closed == ["it ended with status 0"]

    run(main())


def test_end_of_session_says_how(client: Client, sshd: Sshd, user_key: Path) -> None:
    async def end(command: str) -> tuple[str, int | None]:
        async with client.transport(user_key) as transport:
            sink = Sink()
            await client.login(transport, sshd.login(identities=(public_key(user_key),)), command, sink)
            reason = await sink.wait_closed()
            return reason, sink.status

    async def main() -> None:
        assert await end("exit 7") == ("it ended with status 7", 7)
        assert await end("exit 0") == ("it ended with status 0", 0)
        _, status = await end("kill -KILL $PPID; sleep 60")  # sshd's own process: the connection is lost
        assert status is None

    run(main())


def test_closing_ends_the_command_and_tells_the_sink_once(client: Client, sshd: Sshd, user_key: Path) -> None:
    async def main() -> None:
        async with client.transport(user_key) as transport:
            sink = Sink()
            session = await client.login(
                transport, sshd.login(identities=(public_key(user_key),)), "echo up; exec cat", sink
            )
            await sink.wait_for(lambda: bool(sink.out))
            session.close()
            session.close()
            session.write(b"too late")
            await sink.wait_closed()
        assert len(sink.closed) == 1

    run(main())


def test_closing_the_transport_closes_its_sessions(client: Client, sshd: Sshd, user_key: Path) -> None:
    async def main() -> None:
        sink = Sink()
        async with client.transport(user_key) as transport:
            await client.login(transport, sshd.login(identities=(public_key(user_key),)), "cat", sink)
        await sink.wait_closed()
        assert len(sink.closed) == 1

    run(main())


def test_twenty_five_at_once(client: Client, sshd: Sshd, user_key: Path) -> None:
    async def one(transport: Transport, number: int) -> bytes:
        sink = Sink()
        await client.login(transport, sshd.login(identities=(public_key(user_key),)), f"echo {number}", sink)
        await sink.wait_closed()
        return bytes(sink.out)

    async def main() -> None:
        async with client.transport(user_key) as transport, asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(transport, number)) for number in range(25)]
        assert [task.result() for task in tasks] == [b"%d\n" % number for number in range(25)]

    run(main())


def test_a_megabyte_each_way(client: Client, sshd: Sshd, user_key: Path) -> None:
    blob = os.urandom(1 << 20)

    async def main() -> None:
        async with client.transport(user_key) as transport:
            sink = Sink()
            session = await client.login(
                transport, sshd.login(identities=(public_key(user_key),)), f"head -c {len(blob)}", sink
            )
            for start in range(0, len(blob), 65536):
                session.write(blob[start : start + 65536])
            await sink.wait_closed()
            assert bytes(sink.out) == blob

    run(main())


def test_cancelling_at_any_moment_leaves_nothing(client: Client, sshd: Sshd, user_key: Path) -> None:
    async def main() -> None:
        async with client.transport(user_key) as transport:
            login = sshd.login(identities=(public_key(user_key),))
            for tenth in range(12):
                sink = Sink()
                try:
                    async with asyncio.timeout(0.015 * tenth):
                        await client.login(transport, login, "cat", sink)
                except TimeoutError:
                    assert sink.closed == []

    run(main())


def test_a_silent_server_is_left_at_the_deadline(client: Client, user_key: Path, sshd: Sshd) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:

        async def main() -> None:
            async with client.transport(user_key) as transport:
                login = sshd.login(port=silent.getsockname()[1], identities=(public_key(user_key),))
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.2):
                        await client.login(transport, login, "true", Sink())

        run(main())


def test_wrong_places_are_told_apart(client: Client, sshd: Sshd, user_key: Path) -> None:
    async def main() -> None:
        identities = (public_key(user_key),)
        with refusing_port() as port:
            refused = await client.failure(sshd.login(port=port, identities=identities), user_key)
        assert (refused.code, refused.retry) == (Code.REFUSED, False)
        name = await client.failure(
            sshd.login(hostname_root="no-such-host.invalid", identities=identities), user_key
        )
        assert name.code is Code.NAME
        assert "no-such-host.invalid" in name.reason

    run(main())


def test_host_keys_unknown_changed_and_revoked(
    client: Client, sshd: Sshd, user_key: Path, tmp_path: Path
) -> None:
    other = public_line(keygen(tmp_path / "other"))
    identities = (public_key(user_key),)

    async def main() -> None:
        unknown = await client.failure(sshd.login(known_hosts=(), identities=identities), user_key)
        assert unknown.code is Code.HOST_KEY_UNKNOWN
        assert unknown.reason == "no host key of it is in known_hosts"  # equal for all hosts: it is folded
        assert "nile hostkeys -w target" in unknown.remedy
        changed = await client.failure(
            sshd.login(
                known_hosts=(f"target {other}",),
                known_hosts_file="/etc/fleet/known hosts",
                identities=identities,
            ),
            user_key,
        )
        assert changed.code is Code.HOST_KEY_CHANGED
        assert f"ssh-keygen -R '[target]:{sshd.port}' -f '/etc/fleet/known hosts'" in changed.remedy
        assert "nile hostkeys -w target" in changed.remedy
        revoked = await client.failure(
            sshd.login(known_hosts=(sshd.known, f"@revoked {sshd.known}"), identities=identities), user_key
        )
        assert revoked.code is Code.HOST_KEY_REVOKED

    run(main())


def test_authentication_refused(client: Client, sshd: Sshd, tmp_path: Path) -> None:
    stranger = keygen(tmp_path / "stranger")

    async def main() -> None:
        problem = await client.failure(sshd.login(identities=(public_key(stranger),)), stranger)
        assert (problem.code, problem.retry) == (Code.AUTHENTICATION, False)
        assert "stranger" in problem.remedy
        unsigned = await client.failure(sshd.login(identities=()), stranger)
        assert unsigned.code is Code.AUTHENTICATION

    run(main())


@pytest.mark.parametrize("farewell", [b"", b"Exceeded MaxStartups\r\n", b"SSH-2.0-Busy\r\n"])
def test_a_connection_dropped_before_the_key_exchange_may_be_retried(
    client: Client, sshd: Sshd, user_key: Path, farewell: bytes
) -> None:
    with stub_server(lambda connection: connection.sendall(farewell)) as port:

        async def main() -> None:
            problem = await client.failure(
                sshd.login(port=port, identities=(public_key(user_key),)), user_key
            )
            assert (problem.code, problem.retry) == (Code.STARTUPS, True)
            assert "MaxStartups" in problem.remedy

        run(main())


def test_something_that_is_not_ssh(client: Client, sshd: Sshd, user_key: Path) -> None:
    with stub_server(lambda connection: connection.sendall(b"SSH-1.5-old\r\n")) as port:

        async def main() -> None:
            problem = await client.failure(sshd.login(port=port), user_key)
            assert (problem.code, problem.retry) == (Code.DROPPED, False)

        run(main())
