"""What OpenSSH's client at the root does beyond the contract: nothing of it outlives a deadline."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from nile.events import Code
from nile.options import SshClient, SshOptions
from nile.topology.model import HostSpec
from nile.transport.base import LoginFailed, ResolvedLogin
from nile.transport.keys import KeyRing
from nile.transport.openssh_client import OpensshTransport
from nile.transport.resolve import resolve_logins
from nile.transport.sshquery import SshQuery
from tests.transport.running import children, run, running
from tests.transport.servers import Sshd, public_line, running_sshd
from tests.transport.sinks import Sink


def login_to(sshd: Sshd, known: Path, *options: str) -> ResolvedLogin:
    known.write_text(f"{sshd.known}\n")
    files = (f"UserKnownHostsFile={known}", "GlobalKnownHostsFile=/dev/null", "HostKeyAlias=target")
    return sshd.login(client=SshClient.OPENSSH, root_options=(*options, *files))


async def attempt(login: ResolvedLogin, seconds: float) -> None:
    """Log in without success; nothing is left even before the transport is closed."""
    before = children()
    transport = OpensshTransport("none")
    try:
        async with asyncio.timeout(seconds):
            await transport.login(login, "true", Sink())
    finally:
        assert children() <= before
        await transport.close()


def test_an_agent_that_never_answers_ends_with_the_deadline(
    sshd: Sshd, user_key: Path, tmp_path: Path
) -> None:
    """ssh's own time-outs don't cover it."""
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(tmp_path / "agent"))
        deaf.listen()

        async def main() -> None:
            login = login_to(
                sshd, tmp_path / "kh", f"IdentityAgent={tmp_path}/agent", f"IdentityFile={user_key}"
            )
            with pytest.raises(TimeoutError):
                await attempt(login, 1.0)

        run(main())


def test_a_proxy_command_goes_with_it(sshd: Sshd, tmp_path: Path) -> None:
    marker = tmp_path / "pid"

    async def main() -> None:
        login = login_to(sshd, tmp_path / "kh", f"ProxyCommand=sh -c 'echo $$ > {marker}; exec sleep 60'")
        with pytest.raises(TimeoutError):
            await attempt(login, 1.0)

    run(main())
    assert not running(int(marker.read_text()))


def test_a_proxy_command_that_outlives_its_ssh_is_ended(sshd: Sshd, tmp_path: Path) -> None:
    marker = tmp_path / "pid"
    script = f'trap "" HUP; echo $$ > {marker}; printf "SSH-1.5-old\\r\\n"; exec sleep 60'

    async def main() -> None:
        login = login_to(sshd, tmp_path / "kh", f"ProxyCommand=sh -c '{script}'")
        with pytest.raises(LoginFailed) as caught:
            await attempt(login, 20.0)
        assert caught.value.code is Code.DROPPED

    run(main())
    assert not running(int(marker.read_text()))


def test_the_hosts_banner_is_not_the_commands_output(user_key: Path, sshd: Sshd, tmp_path: Path) -> None:
    banner = tmp_path / "banner"
    banner.write_text("Authenticated to nothing, all is logged\n")

    async def main(port: int) -> None:
        sink = Sink()
        transport = OpensshTransport("none")
        options = (f"IdentityFile={user_key}", "IdentityAgent=none")
        login = login_to(sshd, tmp_path / "kh", *options)
        try:
            await transport.login(
                sshd.login(port=port, root_options=login.root_options), "echo out; echo err >&2", sink
            )
            await sink.wait_closed()
        finally:
            await transport.close()
        assert (bytes(sink.out), bytes(sink.err)) == (b"out\n", b"err\n")

    with running_sshd(tmp_path / "d", [user_key], f"Banner={banner}", host_key=sshd.host_key) as server:
        run(main(server.port))


def test_a_jump_host_is_logged_in_to_strictly_and_without_a_prompt(
    sshd: Sshd, user_key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ssh itself would ask whether to go on, by a program where there is no terminal."""
    asked, askpass, known = tmp_path / "asked", tmp_path / "askpass", tmp_path / "known_hosts"
    askpass.write_text(f"#!/bin/sh\ntouch {asked}\necho yes\n")
    askpass.chmod(0o755)
    monkeypatch.setenv("SSH_ASKPASS", str(askpass))
    monkeypatch.setenv("DISPLAY", ":7")
    known.write_text(f"{sshd.known}\n")
    config = tmp_path / "config"
    config.write_text(
        f"UserKnownHostsFile {known}\nGlobalKnownHostsFile /dev/null\nIdentityFile {user_key}\n"
        f"IdentityAgent none\nHost jump\n  HostName 127.0.0.1\n  Port {sshd.port}\n"
    )
    ssh = SshOptions(port=sshd.port, client=SshClient.OPENSSH, options={"ProxyJump": "jump"})
    spec = HostSpec("target", "127.0.0.1", "127.0.0.1", ssh=ssh, host_key_alias="target")
    login = resolve_logins([spec], KeyRing(), query=SshQuery(config))["target"]

    async def main() -> None:
        transport, sink = OpensshTransport(config), Sink()
        try:
            with pytest.raises(LoginFailed) as caught:
                await transport.login(login, "true", Sink())
            assert not asked.exists()
            assert "(proxy command: Host key verification failed.)" in caught.value.reason
            known.write_text(f"{sshd.known}\n[127.0.0.1]:{sshd.port} {public_line(sshd.host_key)}\n")
            await transport.login(login, "echo over", sink)
            await sink.wait_closed()
            assert bytes(sink.out) == b"over\n"
        finally:
            await transport.close()

    run(main())


def test_without_ssh(sshd: Sshd, tmp_path: Path) -> None:
    async def main() -> None:
        transport = OpensshTransport("none", ssh=str(tmp_path / "missing"))
        with pytest.raises(LoginFailed) as caught:
            await transport.login(login_to(sshd, tmp_path / "kh"), "true", Sink())
        await transport.close()
        assert caught.value.code is Code.NO_SSH

    run(main())
