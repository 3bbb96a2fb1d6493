"""What keeps a login from succeeding is told apart, in the same words whoever logs in."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from nile.events import Code
from tests.transport.contract.clients import Client
from tests.transport.running import run
from tests.transport.servers import Sshd, keygen, public_key, public_line, refusing_port, stub_server
from tests.transport.sinks import Sink


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
