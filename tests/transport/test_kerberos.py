"""Logins by Kerberos, with a real KDC: the ticket stays here unless `delegate: yes` says otherwise."""

from __future__ import annotations

import asyncio
import getpass
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest

from nile.events import Code
from nile.options import SshClient, SshOptions
from nile.topology.model import HostSpec
from nile.transport.base import LoginFailed, ResolvedLogin
from nile.transport.keys import KeyRing
from nile.transport.openssh_client import OpensshTransport
from nile.transport.resolve import resolve_logins
from nile.transport.sshquery import SshQuery
from tests.cluster.running import LONGEST_S, Done
from tests.lab.helpers import eventually
from tests.transport.kerberos import ON_HOST, Realm, running_realm
from tests.transport.running import children, run
from tests.transport.servers import Sshd, running_sshd
from tests.transport.sinks import Sink

pytestmark = pytest.mark.cluster

TICKET = 'klist -s -c "${KRB5CCNAME:-/nowhere}" && echo ticket || echo none'
SERVER = ("GSSAPIAuthentication=yes", "GSSAPIStrictAcceptorCheck=no", "PubkeyAuthentication=no")
BY_TICKET = MappingProxyType({"GSSAPIAuthentication": "yes"})


@pytest.fixture(scope="module")
def realm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Realm]:
    """A realm in which this process and all that it starts are; its user has a ticket."""
    with (
        running_realm(tmp_path_factory.mktemp("realm") / "files", getpass.getuser()) as realm,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name, value in realm.environment.items():
            patch.setenv(name, value)
        patch.delenv("SSH_AUTH_SOCK", raising=False)
        realm.kinit("-f")
        yield realm


def kerberized(directory: Path, realm: Realm, *more: str) -> tuple[str, ...]:
    """What sshd is told; a session's programs find the realm, too."""
    return (*SERVER, *more, f"SetEnv=KRB5_CONFIG={realm.environment['KRB5_CONFIG']}")


@pytest.fixture(scope="module")
def server(realm: Realm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """An sshd that lets nobody in but by a ticket."""
    directory = tmp_path_factory.mktemp("kerberized")
    with running_sshd(directory, [], *kerberized(directory, realm, "GSSAPIKeyExchange=yes")) as sshd:
        yield sshd


def spec(server: Sshd, **ssh: object) -> HostSpec:
    settings = SshOptions(port=server.port, client=SshClient.OPENSSH, options=BY_TICKET)
    return HostSpec("target", ON_HOST, ON_HOST, ssh=replace(settings, **ssh), host_key_alias="target")  # type: ignore[arg-type]


def resolved(server: Sshd, tmp_path: Path, said: str = "", **ssh: object) -> tuple[ResolvedLogin, Path]:
    """The login that a route file and an ssh_config with `said` in it stand for; and that ssh_config."""
    known, config = tmp_path / "known_hosts", tmp_path / "config"
    known.touch()
    config.write_text(f"UserKnownHostsFile {known}\nGlobalKnownHostsFile /dev/null\n{said}\n")
    found = resolve_logins([spec(server, **ssh)], KeyRing(), query=SshQuery(config))
    return found["target"], config


async def said_by(login: ResolvedLogin, config: Path, command: str) -> str:
    before = children()
    transport, sink = OpensshTransport(config), Sink()
    try:
        async with asyncio.timeout(20):
            await transport.login(login, command, sink)
            await sink.wait_closed()
    finally:
        await transport.close()
    assert children() <= before
    return sink.out.decode().strip()


def test_the_ticket_lets_in_and_stays_here_whatever_ssh_config_says(server: Sshd, tmp_path: Path) -> None:
    (tmp_path / "known_hosts").write_text(f"{server.known}\n")
    login, config = resolved(server, tmp_path, "GSSAPIDelegateCredentials yes")

    async def main() -> None:
        assert await said_by(login, config, TICKET) == "none"

    run(main())


def test_delegate_gives_it_to_the_host_for_as_long_as_the_session(server: Sshd, tmp_path: Path) -> None:
    (tmp_path / "known_hosts").write_text(f"{server.known}\n")
    login, config = resolved(server, tmp_path, delegate=True)

    async def main() -> None:
        ticket, place = (await said_by(login, config, f'{TICKET}; echo "$KRB5CCNAME"')).split()
        assert ticket == "ticket"
        cache = Path(place.removeprefix("FILE:"))
        eventually(lambda: not cache.exists(), "sshd has taken the ticket away")

    run(main())


def test_without_a_ticket_nobody_is_let_in(
    server: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "known_hosts").write_text(f"{server.known}\n")
    monkeypatch.setenv("KRB5CCNAME", f"FILE:{tmp_path}/none")
    login, config = resolved(server, tmp_path, "IdentityFile none")

    async def main() -> None:
        with pytest.raises(LoginFailed) as caught:
            await said_by(login, config, "true")
        assert caught.value.code is Code.AUTHENTICATION
        assert "kinit" in caught.value.remedy

    run(main())


def test_a_key_exchange_by_ticket_replaces_no_host_key(server: Sshd, tmp_path: Path) -> None:
    """ssh itself takes a server for proven that way, and looks for no key in known_hosts."""
    login, config = resolved(server, tmp_path, "GSSAPIKeyExchange yes")
    plain = ["ssh", "-F", str(config), "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"]
    plain += ["-o", "GSSAPIAuthentication=yes", "-p", str(server.port), ON_HOST, "true"]
    assert subprocess.run(plain, stdin=subprocess.DEVNULL, check=False, timeout=20).returncode == 0

    async def main() -> None:
        with pytest.raises(LoginFailed) as caught:
            await said_by(login, config, "true")
        assert caught.value.code is Code.HOST_KEY_UNKNOWN

    run(main())


ROUTES = """\
version: 1
ssh:
  client: openssh
  options: {{GSSAPIAuthentication: yes, UserKnownHostsFile: {known}}}
hosts:
  gate: {{address: {name}, host_key_alias: gate, ssh: {{port: {gate}, delegate: {delegate}}}}}
  leaf: {{address: {name}, host_key_alias: leaf, via: gate, ssh: {{port: {leaf}}}}}
"""


def exec_through(realm: Realm, server: Sshd, tmp_path: Path, delegate: str) -> Done:
    """`nile exec` on a gateway and on a host behind it, both of which take tickets alone."""
    with running_sshd(
        tmp_path / "leaf", [], *kerberized(tmp_path, realm), host_key=server.host_key
    ) as behind:
        key = server.known.partition(" ")[2]
        known, routes = tmp_path / "known_hosts", tmp_path / "routes.yaml"
        known.write_text(f"gate {key}\nleaf {key}\n")
        words = {"known": known, "name": ON_HOST, "gate": server.port, "leaf": behind.port}
        routes.write_text(ROUTES.format(**words, delegate=delegate))
        argv = [sys.executable, "-m", "nile", "exec", "-r", str(routes), "-w", "gate,leaf", "--json"]
        done = subprocess.run(
            [*argv, "--", TICKET],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=LONGEST_S,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No run of the user's own is met."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.mark.usefixtures("at_home")
def test_a_gateway_that_was_given_the_ticket_logs_in_with_it(
    realm: Realm, server: Sshd, tmp_path: Path
) -> None:
    done = exec_through(realm, server, tmp_path, "yes").all_ok()
    assert done.results["leaf"]["path"] == ["root", "gate", "leaf"]
    # It is passed on to nobody for whom the route file doesn't say so.
    assert (done.stdout_of("gate"), done.stdout_of("leaf")) == ("ticket\n", "none\n")


@pytest.mark.usefixtures("at_home")
def test_a_gateway_that_was_not_given_it_has_none(realm: Realm, server: Sshd, tmp_path: Path) -> None:
    done = exec_through(realm, server, tmp_path, "no")
    assert done.verdicts == {"gate": "ok", "leaf": "unreachable"}
    assert (done.stdout_of("gate"), done.results["leaf"]["code"]) == ("none\n", "authentication")
