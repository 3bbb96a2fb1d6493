"""From hosts to logins: always compared with what `ssh -G` says of each host."""

from __future__ import annotations

import base64
import getpass
import itertools
import shlex
import subprocess
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nile.errors import CredentialsError, KnownHostsError, SshConfigError
from nile.events import Code
from nile.options import Kex, Signing, SshClient, SshOptions
from nile.topology.model import HostSpec
from nile.transport import hashednames
from nile.transport.base import ResolvedLogin
from nile.transport.keys import KeyRing
from nile.transport.openssh_client import OpensshTransport
from nile.transport.proxy import jump_command
from nile.transport.remedies import remedy_for
from nile.transport.resolve import resolve_logins
from nile.transport.sshconfig import relay_options
from nile.transport.sshquery import Query, SshQuery
from nile.transport.sshscan import scan
from nile.transport.tokens import expand
from tests.transport.servers import keygen, public_line


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return keygen(tmp_path / "id_test")


def spec(name: str = "n1", **changes: Any) -> HostSpec:
    said = {field: changes.pop(field) for field in list(changes) if field in SshOptions.__dataclass_fields__}
    if "options" in said:
        said["options"] = MappingProxyType(said["options"])
    plain = HostSpec(name, name, name, ssh=SshOptions(**said))
    return replace(plain, **changes)


class Config:
    """An ssh_config file, and logins resolved by it."""

    def __init__(self, tmp_path: Path, text: str) -> None:
        self.path = tmp_path / "config"
        self.path.write_text(text)
        self.query = SshQuery(self.path)
        self.notices: list[str] = []

    def resolve(self, *specs: HostSpec) -> dict[str, ResolvedLogin]:
        return resolve_logins(specs, KeyRing(), query=self.query, notices=self.notices)

    def one(self, wanted: HostSpec) -> ResolvedLogin:
        return self.resolve(wanted)[wanted.name]


def ssh_g(config: Path, name: str, *arguments: str) -> dict[str, list[str]]:
    done = subprocess.run(
        ["ssh", "-F", str(config), "-G", *arguments, "--", name],
        capture_output=True,
        text=True,
        check=True,
        stdin=subprocess.DEVNULL,
    )
    values: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        keyword, _, value = line.partition(" ")
        values.setdefault(keyword.lower(), []).append(value)
    return values


HOSTS = ["n1", "n2", "n3", "n10", "web", "web1.x", "db", "no", "a"]
BLOCKS = st.sampled_from(
    [
        "Host n*\n  Port 2201\n",
        "Host n1 n2\n  User alice\n",
        "Host !n1 n*\n  HostName %h.example.org\n",
        "Host web*\n  HostName gate\n",
        "Match host n1,n3\n  User bob\n",
        "Match host *.example.org\n  Port 2203\n",
        "Match host gate\n  Port 2204\n",
        "Match originalhost db\n  Port=2205\n",
        "Match user alice host n*\n  Compression yes\n",
        'Match exec "test %h = n2"\n  Port 2206\n',
        "Match final host n3\n  TCPKeepAlive no\n",
        "Host *\n  UserKnownHostsFile ~/kh_%h /dev/null\n",
        "Host = db\n  HostKeyAlias %n-alias\n",
        "Host *\n  ProxyJump jump-%h\n",
        "CanonicalizeHostname no\n",
        '# Host web\nHost "db" # really\n\tCiphers aes128-ctr\n',
    ]
)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(blocks=st.lists(BLOCKS, max_size=5), user=st.sampled_from([(), ("-o", "User=carol")]))
def test_shared_answers_equal_those_for_each_host(
    tmp_path: Path, blocks: list[str], user: tuple[str, ...]
) -> None:
    config = tmp_path / "config"
    config.write_text("".join(blocks))
    answers = SshQuery(config).ask([Query(name, user) for name in HOSTS])
    for name in HOSTS:
        wanted = ssh_g(config, name, *user)
        effective = answers[name]
        assert effective.hostname == wanted["hostname"][0]
        for keyword, values in wanted.items():
            if keyword not in ("host", "hostname"):
                assert list(effective.many(keyword)) == values, keyword


@pytest.mark.parametrize(
    "text",
    [
        "Host n*\n  HostName %h.example.org\nMatch host *1.example.org\n  Port 2203\n",
        "Host *\n  User n2x\n",
        'Match exec "test %h = n1"\n  Port 2206\n',
    ],
)
@pytest.mark.parametrize("names", list(itertools.permutations(("n1", "n2", "n3"))))
def test_two_that_are_alike_are_not_all(tmp_path: Path, text: str, names: tuple[str, ...]) -> None:
    """Two of a class are asked; what others get must not be guessed."""
    config = tmp_path / "config"
    config.write_text(text)
    answers = SshQuery(config).ask([Query(name) for name in names])
    for name, effective in answers.items():
        wanted = ssh_g(config, name)
        assert (effective.one("port"), effective.one("user")) == (wanted["port"][0], wanted["user"][0])


def test_few_runs_for_many_hosts(tmp_path: Path) -> None:
    config = Config(tmp_path, "Host n?\n  Port 2222\nHost *\n  HostName %h.example.org\n")
    answers = config.query.ask([Query(f"n{number}") for number in range(500)])
    assert config.query.runs == 5  # two of each kind, and what OpenSSH itself would do
    assert (answers["n7"].one("port"), answers["n77"].one("port")) == ("2222", "22")
    assert answers["n77"].hostname == "n77.example.org"


def test_a_short_name_that_stands_elsewhere_by_chance(tmp_path: Path) -> None:
    config = Config(tmp_path, "Host *\n  User dan0\n  UserKnownHostsFile /srv/n0/%h\n")
    answers = config.query.ask([Query(f"n{number}") for number in range(500)])
    assert config.query.runs == 3
    for name in ("n0", "n1", "n400"):
        assert (answers[name].one("user"), answers[name].many("userknownhostsfile")) == (
            "dan0",
            (f"/srv/n0/{name}",),
        )


def test_includes_are_scanned(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "b").write_text("Host n2\n  Port 2\n")
    (tmp_path / "parts" / "a").write_text(f"Include {tmp_path}/deep\n")
    (tmp_path / "deep").write_text("Host n1\n  Port 1\n")
    config = tmp_path / "config"
    config.write_text(f"Include {tmp_path}/parts/* {tmp_path}/missing\n")
    found = scan([(config, tmp_path)])
    assert [found.answers(name) for name in ("n1", "n2")] == [(True, False), (False, True)]
    config.write_text("Include parts/b\n")
    assert scan([(config, tmp_path)]).answers("n2") == (True,)
    config.write_text(f"Include {config}\n")  # a loop ends, and is asked of ssh
    assert scan([(config, tmp_path)]).inexact


def test_the_route_file_wins_over_ssh_config(tmp_path: Path, key: Path) -> None:
    config = Config(tmp_path, "Host *\n  User config\n  Port 1111\n  Compression no\n  HostName 10.9.9.9\n")
    said = config.one(spec(identity=(str(key),)))
    assert (said.user, said.port, said.hostname_root, said.hostname_inside) == (
        "config",
        1111,
        "10.9.9.9",
        "10.9.9.9",
    )
    route = config.one(
        spec(
            identity=(str(key),),
            user="route",
            port=2222,
            options={"Compression": "yes"},
            address_root="gw.example.org",
            address_inside="10.2.0.1",
        )
    )
    assert (route.user, route.port) == ("route", 2222)
    assert (route.hostname_root, route.hostname_inside) == ("gw.example.org", "10.2.0.1")
    assert "Compression=yes" in route.root_options
    assert "Compression=yes" in route.relay_options


def test_defaults(tmp_path: Path, key: Path) -> None:
    login = Config(tmp_path, "").one(spec("Alpha", identity=(str(key),)))
    assert (login.host, login.hostname_root, login.host_key_alias) == ("Alpha", "alpha", "alpha")
    assert (login.user, login.port) == (getpass.getuser(), 22)
    assert (login.client, login.kex, login.signing) == (SshClient.ASYNCSSH, Kex.FAST, Signing.AUTO)
    assert login.relay_options == ("KexAlgorithms=-sntrup761*",)
    assert login.root_options == ()
    assert [identity.blob for identity in login.identities] == [_blob(key)]


def _blob(key: Path) -> bytes:
    return base64.b64decode(public_line(key).split()[1])


class TestKnownHosts:
    def test_lines_of_the_users_and_the_systems_files(self, tmp_path: Path, key: Path) -> None:
        line, ca = public_line(key), public_line(keygen(tmp_path / "ca"))
        (tmp_path / "user").write_text(f"[n1.example.org]:2222 {line}\nother {line}\nbroken\n")
        (tmp_path / "system").write_text(f"@cert-authority *.example.org {ca}\n")
        config = Config(
            tmp_path,
            f"HostName %h.example.org\nUserKnownHostsFile {tmp_path}/user {tmp_path}/missing\n"
            f"GlobalKnownHostsFile {tmp_path}/system\n",
        )
        login = config.one(spec(port=2222, identity=(str(key),)))
        name = "n1.example.org"
        assert login.host_key_alias == name
        assert login.known_hosts == (f"{name} {line}",)
        assert login.known_hosts_name == "[n1.example.org]:2222"
        assert login.known_hosts_file == str(tmp_path / "user")
        assert any("user:3" in notice for notice in config.notices)
        only_ca = config.one(spec("n2", identity=(str(key),)))
        assert only_ca.known_hosts == (f"@cert-authority n2.example.org {ca}",)

    def test_aliases(self, tmp_path: Path, key: Path) -> None:
        line = public_line(key)
        (tmp_path / "kh").write_text(f"gw1 {line}\ngw2 {line}\n")
        config = Config(tmp_path, f"UserKnownHostsFile {tmp_path}/kh\nHost n2\n  HostKeyAlias gw2\n")
        one = config.one(spec("n1", host_key_alias="gw1", port=2222, identity=(str(key),)))
        two = config.one(spec("n2", port=2222, identity=(str(key),)))
        assert (one.known_hosts, one.host_key_alias) == ((f"gw1 {line}",), "gw1")
        assert (two.known_hosts, two.host_key_alias) == ((f"gw2 {line}",), "gw2")

    def test_revoked_keys_travel_with_each_host(self, tmp_path: Path, key: Path) -> None:
        config = Config(tmp_path, f"RevokedHostKeys {key}.pub\n")
        assert f"@revoked n1 {public_line(key)}" in config.one(spec(identity=(str(key),))).known_hosts
        with pytest.raises(KnownHostsError, match="missing"):
            Config(tmp_path, f"RevokedHostKeys {tmp_path}/missing\n").one(spec(identity=(str(key),)))


@pytest.mark.parametrize(
    "line",
    [
        "StrictHostKeyChecking no",
        "StrictHostKeyChecking off",
        "UserKnownHostsFile none",
        "NoHostAuthenticationForLocalhost yes",
    ],
)
@pytest.mark.parametrize("client", list(SshClient))
def test_nothing_switches_host_key_checks_off(
    tmp_path: Path, key: Path, line: str, client: SshClient
) -> None:
    with pytest.raises(SshConfigError, match="always checks host keys") as caught:
        Config(tmp_path, f"{line}\n").one(spec(identity=(str(key),), client=client))
    assert caught.value.where == "ssh configuration of n1"


@pytest.mark.parametrize(
    "line", ["KnownHostsCommand /bin/true", "PKCS11Provider /x.so", "BindInterface lo", "ProxyUseFdpass yes"]
)
def test_what_asyncssh_cannot_do_is_an_error_and_openssh_does_it(
    tmp_path: Path, key: Path, line: str
) -> None:
    config = Config(tmp_path, f"{line}\n")
    with pytest.raises(SshConfigError, match=line.split()[0]):
        config.one(spec(identity=(str(key),)))
    assert config.one(spec(identity=(str(key),), client=SshClient.OPENSSH)).client is SshClient.OPENSSH


def test_route_options_that_asyncssh_cannot_honour(tmp_path: Path, key: Path) -> None:
    config = Config(tmp_path, "")
    with pytest.raises(SshConfigError, match="IPQoS") as caught:
        config.one(spec(identity=(str(key),), options={"IPQoS": "none"}))
    assert "client: openssh" in str(caught.value)
    login = config.one(spec(identity=(str(key),), options={"IPQoS": "none"}, client=SshClient.OPENSSH))
    assert "IPQoS=none" in login.root_options
    assert "IPQoS=none none" in login.relay_options


def test_what_debians_ssh_config_says_does_no_harm(tmp_path: Path, key: Path) -> None:
    text = "Host *\n  SendEnv LANG LC_*\n  HashKnownHosts yes\n  GSSAPIAuthentication yes\n"
    text += "  ForwardAgent yes\n  ControlMaster auto\n  ControlPath ~/.ssh/%C\n  LocalForward 1 a:2\n"
    assert Config(tmp_path, text).one(spec(identity=(str(key),))).root_options == ()


def test_a_broken_configuration_is_quoted(tmp_path: Path, key: Path) -> None:
    with pytest.raises(SshConfigError, match=r"config: line 2: Bad configuration option: nonsense"):
        Config(tmp_path, "Port 22\nNonsense yes\n").one(spec(identity=(str(key),)))


class TestKex:
    def said(self, tmp_path: Path, line: str, kex: Kex = Kex.FAST) -> str:
        config = tmp_path / "config"
        config.write_text(line)
        query = SshQuery(config)
        options = relay_options(query.ask([Query("n1")])["n1"].values, query.defaults, kex)
        found = [option for option in options if option.startswith("KexAlgorithms=")]
        return found[0].partition("=")[2] if found else ""

    def effect(self, value: str) -> list[str]:
        """What a relay's ssh makes of the option."""
        arguments = ["-o", f"KexAlgorithms={value}"] if value else []
        return ssh_g(Path("/dev/null"), "x", *arguments)["kexalgorithms"][0].split(",")

    @pytest.mark.parametrize(
        "line",
        [
            "",
            "KexAlgorithms -diffie*",
            "KexAlgorithms ^ecdh-sha2-nistp256",
            "KexAlgorithms curve25519-sha256,sntrup761x25519-sha512@openssh.com",
            "KexAlgorithms +diffie-hellman-group14-sha1",
        ],
    )
    def test_fast_takes_sntrup761_out_of_the_list_in_force(self, tmp_path: Path, line: str) -> None:
        value = self.said(tmp_path, line)
        in_force = ssh_g(tmp_path / "config", "n1")["kexalgorithms"][0].split(",")
        assert self.effect(value) == [name for name in in_force if "sntrup761" not in name]
        assert self.effect(self.said(tmp_path, line, Kex.SYSTEM)) == in_force

    def test_opensshs_own_list_is_left_to_the_relay(self, tmp_path: Path) -> None:
        """A relay of another version keeps its own, but for sntrup761; a site's list stays as it is."""
        assert self.said(tmp_path, "") == "-sntrup761*"
        assert self.said(tmp_path, "", Kex.SYSTEM) == ""
        assert self.said(tmp_path, "KexAlgorithms curve25519-sha256") == "curve25519-sha256"

    def test_a_site_that_wants_nothing_else_keeps_it(self, tmp_path: Path) -> None:
        only = "sntrup761x25519-sha512@openssh.com"
        assert self.said(tmp_path, f"KexAlgorithms {only}") == only


def test_lists_travel_in_a_way_that_older_relays_understand(tmp_path: Path, key: Path) -> None:
    config = Config(
        tmp_path, "Ciphers aes128-ctr,aes256-ctr\nPubkeyAcceptedAlgorithms ssh-ed25519\nMACs hmac-sha2-256\n"
    )
    options = config.one(spec(identity=(str(key),))).relay_options
    assert "Ciphers=aes128-ctr,aes256-ctr" in options
    assert "PubkeyAcceptedKeyTypes=ssh-ed25519" in options
    assert "MACs=hmac-sha2-256" in options
    for option in options:
        subprocess.run(["ssh", "-F", "none", "-G", "-o", option, "x"], check=True, stdout=subprocess.DEVNULL)


class TestIdentities:
    def test_the_route_files_key_alone(self, tmp_path: Path, key: Path) -> None:
        config = Config(tmp_path, f"IdentityFile {keygen(tmp_path / 'other')}\n")
        assert [identity.blob for identity in config.one(spec(identity=(str(key),))).identities] == [
            _blob(key)
        ]

    def test_those_of_ssh_config_by_host(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
        one, two = keygen(tmp_path / "id_n1"), keygen(tmp_path / "id_n2")
        config = Config(tmp_path, f"IdentityFile {tmp_path}/id_%h\nIdentityFile {tmp_path}/missing\n")
        logins = config.resolve(spec("n1"), spec("n2"))
        assert [login.identities[0].blob for login in logins.values()] == [_blob(one), _blob(two)]

    def test_a_missing_key_of_the_route_file(self, tmp_path: Path) -> None:
        with pytest.raises(CredentialsError, match="missing"):
            Config(tmp_path, "").one(spec(identity=(f"{tmp_path}/missing",)))

    def test_no_key_at_all(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
        config = Config(tmp_path, "IdentityFile none\n")
        with pytest.raises(CredentialsError, match="no key to log in with"):
            config.one(spec())
        assert config.one(spec(client=SshClient.OPENSSH)).identities == ()


def test_jumps_become_a_proxy_command(tmp_path: Path, key: Path) -> None:
    config = Config(tmp_path, "ProxyJump first,me@last:2222\n")
    (command,) = config.one(spec(identity=(str(key),))).root_options
    asked = spec(identity=(str(key),), client=SshClient.OPENSSH, options={"ProxyJump": "first,me@last:2222"})
    by_ssh = [option for option in config.one(asked).root_options if "Proxy" in option]
    assert by_ssh == [command]  # what ssh would make of it itself may ask things
    assert command.startswith("ProxyCommand=ssh ")
    assert f"-F {config.path}" in command
    assert "-l me -p 2222 " in command
    assert command.endswith("-W '[%h]:%p' -- last")
    assert not any("Proxy" in option for option in config.one(spec(identity=(str(key),))).relay_options)


def hops(command: str) -> list[dict[str, list[str]]]:
    """What ssh makes of the login to each hop of a ProxyCommand, the last hop first."""
    words = shlex.split(expand(command.removeprefix("ProxyCommand="), {"h": "n1", "p": "22", "r": "me"}))
    assert words[0] == "ssh"
    assert "-J" not in words, "ssh would make a command without these options"
    asked = subprocess.run(["ssh", "-G", *words[1:]], capture_output=True, text=True, check=True)
    said: dict[str, list[str]] = {}
    for line in asked.stdout.splitlines():
        keyword, _, value = line.partition(" ")
        said.setdefault(keyword, []).append(value)
    said["-W"] = [words[words.index("-W") + 1]]
    inner = [word for word in words if word.startswith("ProxyCommand=")]
    return [said, *(hops(inner[0]) if inner else [])]


def test_every_hop_is_strict_without_a_prompt_and_given_no_ticket(tmp_path: Path) -> None:
    (tmp_path / "100%").mkdir()
    says = "StrictHostKeyChecking accept-new\nVerifyHostKeyDNS yes\nControlMaster auto\nControlPath /x\n"
    says += "GSSAPIDelegateCredentials yes\n"
    config = Config(tmp_path / "100%", f"Host a b c\n{says}Host *\n  ProxyJump a,me@b:2222,c\n")
    command = next(
        option for option in config.one(spec(client=SshClient.OPENSSH)).root_options if "Proxy" in option
    )
    last, middle, first = hops(command)
    assert [hop["host"] for hop in (last, middle, first)] == [["c"], ["b"], ["a"]]
    assert (middle["user"], middle["port"]) == (["me"], ["2222"])
    assert (last["-W"], middle["-W"], first["-W"]) == (["[n1]:22"], ["[n1]:22"], ["[n1]:22"])
    for hop in (last, middle, first):
        assert hop["batchmode"] == ["yes"]
        assert hop["stricthostkeychecking"] == ["true"]
        assert hop["verifyhostkeydns"] == ["false"]
        assert hop["controlmaster"] == ["false"]
        assert "controlpath" not in hop
        assert hop["gssapidelegatecredentials"] == ["no"]


@pytest.mark.parametrize("client", list(SshClient))
def test_hops_that_jump_hosts_have_before_them_are_logged_in_to_alike(
    tmp_path: Path, key: Path, client: SshClient
) -> None:
    """ssh would make a command for these by itself, in which no option of Nile's stands."""
    config = Config(
        tmp_path,
        "StrictHostKeyChecking accept-new\nHost n1 n2\n  ProxyJump near\n"
        "Host near\n  ProxyJump me@gw-%h:2222\n"
        "Host gw-near\n  ProxyJump far,between\nHost far\n  ProxyJump none\n",
    )
    found = config.resolve(*(spec(name, client=client, identity=(str(key),)) for name in ("n1", "n2")))
    commands = {
        option for login in found.values() for option in login.root_options if option.startswith("Proxy")
    }
    (command,) = commands
    chain = hops(command)
    assert [hop["host"] for hop in chain] == [["near"], ["gw-near"], ["between"], ["far"]]
    assert (chain[1]["user"], chain[1]["port"]) == (["me"], ["2222"])
    assert {tuple(hop["stricthostkeychecking"]) for hop in chain} == {("true",)}
    assert {tuple(hop.get("proxyjump", ["none"])) for hop in chain} == {("none",)}


def test_the_name_of_a_host_in_its_proxyjump_is_the_one_it_was_called_by(tmp_path: Path, key: Path) -> None:
    """%n, where HostName is another one: else what ssh_config has of that jump host isn't seen."""
    config = Config(
        tmp_path,
        "Host n1\n  HostName 192.0.2.1\n  ProxyJump gw-%n\n"
        "Host gw-n1\n  HostName 192.0.2.2\n  ProxyJump far-%n\n",
    )
    options = config.one(spec(identity=(str(key),))).root_options
    command = next(option for option in options if option.startswith("Proxy")).replace("%n", "n1")
    assert [hop["host"] for hop in hops(command)] == [["gw-n1"], ["far-gw-n1"]]


def test_a_jump_host_that_is_to_be_reached_through_itself(tmp_path: Path, key: Path) -> None:
    """Where ssh doesn't see it, it would start itself without end."""
    config = Config(tmp_path, "Host n1\n  ProxyJump a\nHost a\n  ProxyJump b\nHost b\n  ProxyJump a\n")
    for client in SshClient:
        options = config.one(spec(client=client, identity=(str(key),))).root_options
        chain = hops(next(option for option in options if option.startswith("Proxy")))
        assert [hop["host"] for hop in chain] == [["a"], ["b"]]
        assert chain[-1].get("proxyjump", ["none"]) == ["none"]
    by_itself = Config(tmp_path, "Host *\n  ProxyJump gate\n")
    with pytest.raises(SshConfigError, match="jumphost loop via gate"):
        by_itself.one(spec(identity=(str(key),)))


def test_more_jump_hosts_than_anybody_has(tmp_path: Path, key: Path) -> None:
    """One without end."""
    config = Config(tmp_path, "ProxyJump jump-%h\n")
    with pytest.raises(SshConfigError, match="more than 16 jump hosts on the way to jump-n1"):
        config.one(spec(identity=(str(key),)))


def test_a_key_exchange_by_gssapi_is_off_at_jump_hosts_where_ssh_knows_it() -> None:
    assert jump_command("a,b", key_exchange=True).count("GSSAPIKeyExchange=no") == 2
    assert "GSSAPIKeyExchange" not in jump_command("a,b")


def test_each_host_may_have_a_jump_host_of_its_own(tmp_path: Path, key: Path) -> None:
    config = Config(tmp_path, "Host n*\n  ProxyJump %r@jump-%h\n")
    (command,) = config.one(spec(identity=(str(key),))).root_options
    assert expand(command, {"r": "me", "h": "n1", "p": "22"}).endswith("-l me -W '[n1]:22' -- jump-n1")


class TestTickets:
    """Kerberos, as far as it is decided here; with a real KDC in test_kerberos."""

    BY_TICKET: ClassVar = {"GSSAPIAuthentication": "yes"}

    def test_relays_use_them_where_the_route_file_says_so(self, tmp_path: Path) -> None:
        config = Config(tmp_path, "GSSAPIAuthentication yes\nGSSAPIDelegateCredentials yes\n")
        told = config.one(spec(client=SshClient.OPENSSH, options=self.BY_TICKET)).relay_options
        methods = "PreferredAuthentications=publickey,gssapi-with-mic"
        assert told[-2:] == ("GSSAPIAuthentication=yes", methods)
        given = config.one(spec(client=SshClient.OPENSSH, options=self.BY_TICKET, delegate=True))
        assert given.relay_options == (*told, "GSSAPIDelegateCredentials=yes")
        only_here = config.one(spec("n2", client=SshClient.OPENSSH))
        assert not any("GSSAPI" in option for option in only_here.relay_options)

    @pytest.mark.parametrize("delegate", [None, False, True])
    def test_ssh_delegates_as_the_route_file_says(self, tmp_path: Path, delegate: bool | None) -> None:
        config = Config(tmp_path, "GSSAPIAuthentication yes\nGSSAPIDelegateCredentials yes\n")
        login = config.one(spec(client=SshClient.OPENSSH, delegate=delegate))
        argv = OpensshTransport(config.path).argv(login, "true", "/dev/null")
        said = ssh_g(config.path, "n1", *argv[argv.index("-o") : argv.index("--")])
        assert said["gssapidelegatecredentials"] == ["yes" if delegate else "no"]

    def test_ssh_trusts_no_key_for_what_dns_says(self, tmp_path: Path) -> None:
        config = Config(tmp_path, "VerifyHostKeyDNS yes\n")
        login = config.one(spec(client=SshClient.OPENSSH))
        argv = OpensshTransport(config.path).argv(login, "true", "/dev/null")
        said = ssh_g(config.path, "n1", *argv[argv.index("-o") : argv.index("--")])
        assert said["verifyhostkeydns"] == ["false"]

    def test_what_cannot_delegate_says_so(self, tmp_path: Path, key: Path) -> None:
        config = Config(tmp_path, "")
        with pytest.raises(SshConfigError, match="asyncssh client can't delegate"):
            config.one(spec(identity=(str(key),), delegate=True))
        with pytest.raises(SshConfigError, match="GSSAPI are off") as caught:
            config.one(spec(client=SshClient.OPENSSH, delegate=True))
        assert "GSSAPIAuthentication: yes" in str(caught.value)

    def test_a_host_key_is_never_replaced_by_one(self, tmp_path: Path) -> None:
        login = Config(tmp_path, "GSSAPIKeyExchange yes\n").one(spec(client=SshClient.OPENSSH))
        assert "GSSAPIKeyExchange=no" in login.root_options
        without = Config(tmp_path, "").one(spec(client=SshClient.OPENSSH))
        assert not any("GSSAPI" in option for option in without.root_options)  # not every ssh knows it

    def test_one_who_has_neither_key_nor_ticket_is_told_of_both(self, tmp_path: Path, key: Path) -> None:
        config = Config(tmp_path, "IdentityFile none\n")
        nothing = config.one(spec(client=SshClient.OPENSSH))
        assert "kinit" in remedy_for(Code.AUTHENTICATION, nothing)
        some = config.one(spec(client=SshClient.OPENSSH, identity=(str(key),)))
        assert "authorized_keys" in remedy_for(Code.AUTHENTICATION, some)


class TestWithoutSsh:
    def test_a_configuration_that_nobody_could_read_is_an_error(self, tmp_path: Path) -> None:
        (tmp_path / "config").write_text("# nothing\nHost x\n")
        with pytest.raises(SshConfigError, match="no ssh that could read it"):
            SshQuery(tmp_path / "config", ssh=None)._without_ssh([Query("n1")])

    def test_else_defaults_and_the_route_file_count(
        self, tmp_path: Path, key: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        (tmp_path / "config").write_text("# nothing\n")
        query = SshQuery(tmp_path / "config")
        login = resolve_logins([spec(port=2222, identity=(str(key),))], KeyRing(), query=query)["n1"]
        assert (login.user, login.port, login.hostname_root) == (getpass.getuser(), 2222, "n1")
        assert login.relay_options == ("KexAlgorithms=-sntrup761*",)


def test_thousands_of_hosts(tmp_path: Path, key: Path) -> None:
    line = public_line(key)
    names = [f"n{number}" for number in range(5000)]
    (tmp_path / "kh").write_text("".join(f"{name} {line}\n" for name in names))
    config = Config(tmp_path, f"UserKnownHostsFile {tmp_path}/kh\n")
    logins = config.resolve(*(spec(name, identity=(str(key),)) for name in names))
    assert all(login.known_hosts == (f"{name} {line}",) for name, login in logins.items())
    assert config.query.runs <= 3


def test_hashed_names_are_compared_for_all_hosts_in_one_go(
    tmp_path: Path, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line, calls = public_line(key), []

    def find(entries: list[hashednames.Hashed], names: Iterable[bytes]) -> dict[int, bytes]:
        calls.append(sorted(names))
        return hashednames.find(entries, calls[-1])

    monkeypatch.setattr("nile.transport.knownhosts.find", find)
    (tmp_path / "kh").write_text(f"[n1]:2222 {line}\nn2 {line}\nn3 {line}\n")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(tmp_path / "kh")], check=True, capture_output=True)
    config = Config(tmp_path, f"UserKnownHostsFile {tmp_path}/kh\n")
    logins = config.resolve(
        *(spec(name, port=2222, identity=(str(key),)) for name in ("n1", "n2")),
        spec("n4", host_key_alias="N3", identity=(str(key),)),
    )
    assert [login.known_hosts for login in logins.values()] == [
        (f"{name} {line}",) for name in ("n1", "n2", "N3")
    ]
    assert calls == [[b"[n1]:2222", b"[n2]:2222", b"n3"], [b"n2"]]  # the bare name only where it counts
