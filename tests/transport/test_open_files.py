"""A root that may open no more files says so, and that it may: it isn't the network, nor the host."""

from __future__ import annotations

import asyncio
import gc
import getpass
import itertools
import os
import resource
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nile.events import Code
from nile.options import SshClient
from nile.transport.base import LoginFailed, ResolvedLogin
from nile.transport.keys import IdentityQuery, KeyRing
from nile.transport.root import RootTransport
from tests.transport.running import ring_of, run
from tests.transport.servers import Sshd, public_key
from tests.transport.sinks import Sink


@contextmanager
def files_left(count: int) -> Iterator[None]:
    """This process may open that many files more."""
    gc.collect()  # what others left open must not be closed in the midst of it
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = (number for number in itertools.count() if not is_open(number))
    limit = next(itertools.islice(free, count, None))
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


async def outcome(login: ResolvedLogin, ring: KeyRing, left: int) -> LoginFailed | None:
    """How a login fails with so many files left; None: it doesn't."""
    transport = RootTransport(ring, "none")
    try:
        with files_left(left):
            async with asyncio.timeout(20):
                await transport.login(login, "true", Sink())
    except LoginFailed as problem:
        return problem
    finally:
        await transport.close()
    return None


async def failure(login: ResolvedLogin, ring: KeyRing, left: int) -> LoginFailed:
    problem = await outcome(login, ring, left)
    assert problem is not None
    return problem


def check(problem: LoginFailed) -> None:
    assert (problem.code, problem.retry) == (Code.OPEN_FILES, True), problem.reason
    assert "Too many open files" in problem.reason
    assert "ulimit -n" in problem.remedy


@pytest.mark.parametrize(
    ("client", "address", "left"),
    [
        (SshClient.ASYNCSSH, "127.0.0.1", 0),
        (SshClient.ASYNCSSH, "localhost", 0),  # not even its name can be looked up
        (SshClient.OPENSSH, "127.0.0.1", 0),
        (SshClient.OPENSSH, "127.0.0.1", 2),  # the log has its pipe, ssh has none
    ],
)
def test_a_login(sshd: Sshd, user_key: Path, client: SshClient, address: str, left: int) -> None:
    login = sshd.login(identities=(public_key(user_key),), hostname_root=address, client=client)

    async def main() -> None:
        check(await failure(login, ring_of(user_key), left))

    run(main())


@pytest.mark.parametrize(("left", "code"), [(0, Code.OPEN_FILES), (50, Code.NAME)])
def test_a_resolver_that_can_not_read_what_it_goes_by(
    sshd: Sshd, user_key: Path, monkeypatch: pytest.MonkeyPatch, left: int, code: Code
) -> None:
    """The first time in a process it doesn't say that, but knows no name."""

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    login = sshd.login(identities=(public_key(user_key),), hostname_root="localhost")

    async def main() -> None:
        assert (await failure(login, ring_of(user_key), left)).code is code

    run(main())


def test_whatever_it_lacks_a_file_for(sshd: Sshd, user_key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By asyncssh, which doesn't say why where the local user can't be looked up any more."""
    login = sshd.login(identities=(public_key(user_key),))
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)

    async def main() -> None:
        left = 0
        while (problem := await outcome(login, ring_of(user_key), left)) is not None:
            check(problem)
            left += 1
        assert 0 < left < 10

    run(main())


def test_a_proxy_command(sshd: Sshd, user_key: Path) -> None:
    login = sshd.login(identities=(public_key(user_key),), root_options=("ProxyCommand=nc %h %p",))

    async def main() -> None:
        for left in range(3):  # its standard error, and a pair of sockets
            check(await failure(login, ring_of(user_key), left))

    run(main())


@pytest.fixture
def agent(tmp_path: Path, user_key: Path) -> Iterator[str]:
    """The socket of an ssh-agent that holds the user's key."""
    path = str(tmp_path / "agent")
    program = shutil.which("ssh-agent")
    assert program is not None
    with subprocess.Popen([program, "-D", "-a", path], stdout=subprocess.DEVNULL) as process:
        try:
            subprocess.run(
                ["sh", "-c", f'until ssh-add -q "{user_key}"; do sleep 0.02; done'],
                env={**os.environ, "SSH_AUTH_SOCK": path},
                stderr=subprocess.DEVNULL,
                check=True,
                timeout=10,
            )
            yield path
        finally:
            process.terminate()


def test_an_ssh_agent_that_cannot_be_asked_any_more(
    sshd: Sshd, agent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The socket to the host was the last one: authorized_keys there is not to blame."""
    monkeypatch.setenv("LOGNAME", getpass.getuser())  # asyncssh looks it up in a file otherwise
    ring = KeyRing()
    identities = ring.identities(IdentityQuery(files=(), named=False, agent=agent))
    assert identities

    async def main() -> None:
        check(await failure(sshd.login(identities=identities), ring, 1))

    run(main())
