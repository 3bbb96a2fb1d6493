"""What an ssh client's last words mean, tried with real ssh as a relay calls it."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from nile.agent import sshlogin
from nile.agent.sshlogin import binds, passes_by, ssh_argv
from nile.cascade import lastwords
from nile.cascade.lastwords import Failure, classify
from nile.events import Code
from tests.transport.servers import Sshd, keygen, public_line, refusing_port, running_sshd, stub_server

Ask = Callable[..., Failure]


@pytest.fixture
def ask(sshd: Sshd, user_key: Path, tmp_path: Path) -> Ask:
    """Log in by the relay's command line; give the classification of a failure."""

    def run(
        *lines: str,
        port: int = sshd.port,
        address: str = "127.0.0.1",
        key: Path = user_key,
        option: str = "",
        limit_s: int = 5,
    ) -> Failure:
        known = tmp_path / "known_hosts"
        known.write_text("".join(f"{line}\n" for line in lines))
        login = {
            "port": port,
            "user": sshd.login().user,
            "alias": "target",
            "address": address,
            "options": ["KexAlgorithms=-sntrup761*", *([option] if option else [])],
        }
        argv = [
            word.replace("IdentityFile=none", f"IdentityFile={key}")
            for word in ssh_argv("ssh", login, str(known), limit_s)
        ]
        done = subprocess.run(
            [*argv, "true"], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
        )
        assert done.returncode == 255
        return classify(done.stderr, done.returncode)

    return run


def test_host_keys(ask: Ask, sshd: Sshd, tmp_path: Path) -> None:
    unknown, changed = ask(), ask(f"target {public_line(keygen(tmp_path / 'other'))}")
    revoked = ask(sshd.known, f"@revoked {sshd.known}")
    assert [failure.code for failure in (unknown, changed, revoked)] == [
        Code.HOST_KEY_UNKNOWN,
        Code.HOST_KEY_CHANGED,
        Code.HOST_KEY_REVOKED,
    ]
    assert changed.reason == "its host key isn't the one in known_hosts"
    assert not any(failure.retry for failure in (unknown, changed, revoked))


def test_places(ask: Ask, sshd: Sshd) -> None:
    with refusing_port() as port:
        assert ask(sshd.known, port=port).code == Code.REFUSED
    nowhere = ask(sshd.known, address="no-such-host.invalid")
    assert nowhere.code == Code.NAME
    assert "no-such-host.invalid" in nowhere.reason


def test_a_server_that_never_speaks(ask: Ask, sshd: Sshd) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        failure = ask(sshd.known, port=silent.getsockname()[1], limit_s=1)
    assert failure.code in (Code.CONNECT_TIMEOUT, Code.STARTUPS), failure.reason


def test_keys(ask: Ask, sshd: Sshd, user_key: Path, tmp_path: Path) -> None:
    stranger = keygen(tmp_path / "stranger")
    refused = ask(sshd.known, key=stranger)
    assert (refused.code, refused.retry) == (Code.AUTHENTICATION, False)
    with running_sshd(tmp_path / "strict", [user_key], "MaxAuthTries=1", host_key=sshd.host_key) as server:
        many = ask(sshd.known, port=server.port, key=stranger, option=f"IdentityFile={user_key}")
    assert many.code == Code.AUTHENTICATION
    assert "Too many authentication failures" in many.reason


@pytest.mark.parametrize("farewell", [b"", b"Exceeded MaxStartups\r\n", b"Not allowed at this time\r\n"])
def test_dropped_before_the_key_exchange(ask: Ask, sshd: Sshd, farewell: bytes) -> None:
    with stub_server(lambda connection: connection.sendall(farewell)) as port:
        failure = ask(sshd.known, port=port)
    assert (failure.code, failure.retry) == (Code.STARTUPS, True)


def test_an_option_that_this_ssh_does_not_know(ask: Ask, sshd: Sshd) -> None:
    failure = ask(sshd.known, option="Nonsense=yes")
    assert (failure.code, failure.retry) == (Code.DROPPED, False)
    assert "Bad configuration option: nonsense" in failure.reason


def test_an_agent_that_refuses(sshd: Sshd) -> None:
    """The words of ssh 9.2; a real one says them in tests of the signing socket."""
    said = 'sign_and_send_pubkey: signing failed for ED25519 "k" from agent: agent refused operation\n'
    said += "root@127.0.0.1: Permission denied (publickey).\n"
    assert classify(said, 255).code == Code.SIGNING


def test_what_the_host_prints_is_not_taken_for_ssh() -> None:
    failure = classify("bash: line 1: /bin/python3: Permission denied\n", 126)
    assert (failure.code, failure.retry) == (Code.LOGIN_SHELL, False)
    assert failure.reason.startswith(
        "the login shell ended with status 126 and ran nothing: bash: line 1: /bin"
    )
    assert classify("", 1).reason == "the login shell ended with status 1 and ran nothing"
    first_stage = classify("nile agent: MemoryError()", 0)
    assert (first_stage.code, first_stage.reason) == (Code.AGENT, "nile agent: MemoryError()")
    assert classify("", 255).code == Code.DROPPED


ROWS = [(words, retry) for words, _, retry, _ in lastwords._TABLE]


def test_a_relay_has_the_roots_rows_up_to_the_last_that_is_tried_again() -> None:
    last = max(at for at, (_, retry) in enumerate(ROWS) if retry)
    first = min(at for at, (_, retry) in enumerate(ROWS) if retry)
    assert [words for words, retry in ROWS[:first]] == list(sshlogin._FINAL)
    assert [words for words, retry in ROWS[first : last + 1]] == list(sshlogin._PASSING)
    assert all(retry for _, retry in ROWS[first : last + 1])


@pytest.mark.parametrize(("words", "retry"), ROWS)
def test_a_relay_tries_again_what_the_table_says(words: str, retry: bool) -> None:
    """What it tries again must be what says nothing about the host."""
    assert passes_by(f"banner\n{words} by 10.0.0.1 port 22\n") is retry
    assert classify(words, 255).retry is retry
    for other, _ in ROWS:
        both = f"{words}\n{other} by 10.0.0.1 port 22\n"
        assert passes_by(both) is classify(both, 255).retry


@pytest.mark.parametrize(
    "banner",
    [
        "Unauthorised access is denied and will be prosecuted.",
        "Access refused to strangers; sessions that are idle will be timed out.",
        "Permission denied? Too many auth questions? HOST KEYS are on the web, in the Host key list",
    ],
)
def test_a_banner_is_not_taken_for_ssh(banner: str) -> None:
    said = f"{banner}\nConnection closed by 10.0.0.1 port 22\n"
    assert (classify(said, 255).code, classify(said, 255).retry, passes_by(said)) == (
        Code.STARTUPS,
        True,
        True,
    )


@pytest.mark.parametrize(
    ("version", "can"),
    [
        ("OpenSSH_8.9p1 Ubuntu-3, OpenSSL 3.0.2", True),
        ("OpenSSH_10.0p2", True),
        ("OpenSSH_8.8p1", False),
        ("OpenSSH_7.4p1, OpenSSL 1.0.2k", False),
        ("Dropbear v2022", False),
        ("", False),
    ],
)
def test_which_clients_bind_signatures_to_a_host(tmp_path: Path, version: str, can: bool) -> None:
    ssh = tmp_path / "ssh"
    ssh.write_text(f"#!/bin/sh\necho '{version}' >&2\n")
    ssh.chmod(0o755)
    assert binds(str(ssh), {}) is can
