"""A session carries bytes, says how it ended, and leaves nothing."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from tests.transport.contract.clients import Client, Logins
from tests.transport.running import run
from tests.transport.servers import Sshd, public_key
from tests.transport.sinks import Sink

KILL_SSHD = (
    "read -r name < /proc/$PPID/comm; case $name in sshd*) kill -KILL $PPID; sleep 60;; *) exit 3;; esac"
)
"""Its own process there, and no other, whoever runs this."""


def test_carries_bytes_both_ways_and_keeps_the_streams_apart(
    any_client: Client, sshd: Sshd, user_key: Path
) -> None:
    async def main() -> None:
        async with any_client.transport(user_key) as transport:
            sink = Sink()
            login = sshd.login(identities=(public_key(user_key),))
            session = await any_client.login(transport, login, "echo oops >&2; head -c 6 | tr a-z A-Z", sink)
            session.write(b"\x00ab")
            session.write(b"\xffcd")
            await sink.wait_closed()
            assert (bytes(sink.out), bytes(sink.err)) == (b"\x00AB\xffCD", b"oops\n")
            assert sink.closed == ["it ended with status 0"]

    run(main())


def test_end_of_session_says_how(any_client: Client, sshd: Sshd, user_key: Path) -> None:
    async def end(command: str) -> tuple[str, int | None]:
        async with any_client.transport(user_key) as transport:
            sink = Sink()
            await any_client.login(transport, sshd.login(identities=(public_key(user_key),)), command, sink)
            reason = await sink.wait_closed()
            return reason, sink.status

    async def main() -> None:
        assert await end("exit 7") == ("it ended with status 7", 7)
        assert await end("exit 0") == ("it ended with status 0", 0)

    run(main())


def test_a_lost_connection_has_no_status(client: Client, sshd: Sshd, user_key: Path) -> None:
    async def main() -> None:
        async with client.transport(user_key) as transport:
            sink = Sink()
            login = sshd.login(identities=(public_key(user_key),))
            session = await client.login(transport, login, f"echo up; read -r go; {KILL_SSHD}", sink)
            await sink.wait_for(lambda: bool(sink.out))
            session.write(b"go\n")
            await sink.wait_closed()
            assert sink.status is None

    run(main())


def test_closing_ends_the_command_and_tells_the_sink_once(
    any_client: Client, sshd: Sshd, user_key: Path
) -> None:
    async def main() -> None:
        async with any_client.transport(user_key) as transport:
            sink = Sink()
            session = await any_client.login(
                transport, sshd.login(identities=(public_key(user_key),)), "echo up; exec cat", sink
            )
            await sink.wait_for(lambda: bool(sink.out))
            session.close()
            session.close()
            session.write(b"too late")
            await sink.wait_closed()
        assert len(sink.closed) == 1

    run(main())


def test_closing_the_transport_closes_its_sessions(any_client: Client, sshd: Sshd, user_key: Path) -> None:
    async def main() -> None:
        sink = Sink()
        async with any_client.transport(user_key) as transport:
            await any_client.login(transport, sshd.login(identities=(public_key(user_key),)), "cat", sink)
        await sink.wait_closed()
        assert len(sink.closed) == 1

    run(main())


def test_twenty_five_at_once(any_client: Client, sshd: Sshd, user_key: Path) -> None:
    async def one(transport: Logins, number: int) -> bytes:
        sink = Sink()
        await any_client.login(
            transport, sshd.login(identities=(public_key(user_key),)), f"echo {number}", sink
        )
        await sink.wait_closed()
        return bytes(sink.out)

    async def main() -> None:
        async with any_client.transport(user_key) as transport, asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(transport, number)) for number in range(25)]
        assert [task.result() for task in tasks] == [b"%d\n" % number for number in range(25)]

    run(main())


def test_a_megabyte_each_way(any_client: Client, sshd: Sshd, user_key: Path) -> None:
    blob = os.urandom(1 << 20)

    async def main() -> None:
        async with any_client.transport(user_key) as transport:
            sink = Sink()
            session = await any_client.login(
                transport, sshd.login(identities=(public_key(user_key),)), f"head -c {len(blob)}", sink
            )
            for start in range(0, len(blob), 65536):
                session.write(blob[start : start + 65536])
            await sink.wait_closed()
            assert bytes(sink.out) == blob

    run(main())


def test_cancelling_at_any_moment_leaves_nothing(any_client: Client, sshd: Sshd, user_key: Path) -> None:
    async def main() -> None:
        async with any_client.transport(user_key) as transport:
            login = sshd.login(identities=(public_key(user_key),))
            for tenth in range(12):
                sink = Sink()
                try:
                    async with asyncio.timeout(0.015 * tenth):
                        await any_client.login(transport, login, "cat", sink)
                except TimeoutError:
                    assert sink.closed == []

    run(main())


def test_what_comes_is_read_while_what_goes_waits(any_client: Client, sshd: Sshd, user_key: Path) -> None:
    """A link is always drained, or both sides would wait for each other."""
    size = 4 << 20

    async def main() -> None:
        async with any_client.transport(user_key) as transport:
            sink = Sink()
            login = sshd.login(identities=(public_key(user_key),))
            command = f"head -c {size} /dev/zero; head -c {size} | cksum"
            session = await any_client.login(transport, login, command, sink)
            session.write(bytes(size))
            await sink.wait_closed()
            assert sink.out[:size] == bytes(size)
            assert sink.out[size:].split()[1] == b"%d" % size

    run(main())
