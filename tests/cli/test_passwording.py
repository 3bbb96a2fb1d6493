"""`--ask-pass` and `--pass-fd`: where the password comes from, and where there is none."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import click
import pytest

from nile.cascade.secret import LONGEST
from nile.cli.passwording import login_password
from nile.errors import CredentialsError, UsageError
from nile.transport.base import ResolvedLogin
from tests.controller.test_signatures import login


def pipe_with(data: bytes, *, ends: bool = True) -> int:
    reading, writing = os.pipe()
    os.write(writing, data)
    if ends:
        os.close(writing)
    return reading


def read(data: bytes, *, ends: bool = True) -> str:
    with click.Context(click.Command("x")):
        password = login_password({"ask_pass": False, "pass_fd": pipe_with(data, ends=ends)})
        assert password is not None
        passwords = password([("h1", "ada")])
        assert password([("h2", "ada")]) is passwords, "it is read once, and then known"
        return passwords.reveal()


def test_it_is_the_first_line_of_the_descriptor_whatever_is_behind() -> None:
    assert read("s3cret ü \n".encode()) == "s3cret ü "
    assert read(b"no end") == "no end"
    assert read(b"one\ntwo", ends=False) == "one", "nobody waits for its end"


@pytest.mark.parametrize("data", [b"", b"\nsecond", b"\xff\n", b"a\0b\n", b"x" * (LONGEST + 1)])
def test_what_can_be_no_password(data: bytes) -> None:
    with pytest.raises(CredentialsError) as caught:
        read(data)
    assert caught.value.where == "--pass-fd"
    assert caught.value.remedy


def test_a_descriptor_that_isnt_open() -> None:
    fd = pipe_with(b"")
    os.close(fd)
    with click.Context(click.Command("x")):
        password = login_password({"ask_pass": False, "pass_fd": fd})
        assert password is not None
        with pytest.raises(CredentialsError, match="Bad file descriptor"):
            password([("h1", "ada")])


def login_of(host: str, user: str) -> ResolvedLogin:
    return replace(login(host), user=user)


def test_who_may_have_it_is_said_anew_for_each_tree_and_may_be_nobody_but_at_first() -> None:
    """As `nile doctor` tries one tree after another. A user for whom nobody was asked gets none."""
    with click.Context(click.Command("x")):
        password = login_password({"ask_pass": False, "pass_fd": pipe_with(b"s3cret")})
        assert password is not None
        with pytest.raises(UsageError, match="no host that the root logs in to can be given a password"):
            password([])
        passwords = password([("h1", "ada"), ("h2", "ada")])
        hosts = [login_of("h1", "ada"), login_of("h2", "ada"), login_of("h2", "bob")]
        assert [passwords.ticket(host) is not None for host in hosts] == [True, True, False]
        password([("h2", "ada"), ("h2", "bob")])
        assert [passwords.ticket(host) is not None for host in hosts] == [False, True, False]
        password([])
        assert [passwords.ticket(host) for host in hosts] == [None, None, None]


def test_users_for_whom_nobody_was_asked_are_named_once(capsys: pytest.CaptureFixture[str]) -> None:
    """As `nile hostkeys` goes from the gateways of one level to those of the next."""
    with click.Context(click.Command("x")):
        password = login_password({"ask_pass": False, "pass_fd": pipe_with(b"s3cret")})
        assert password is not None
        password([("gw1", "ada"), ("gw2", "eve")])
        password([("gw2", "eve")])
        assert capsys.readouterr().err == ""
        for _ in range(2):
            password([("gw1", "ada"), ("inner2", "bob"), ("inner1", "bob")])
        password([("inner1", "bob"), ("inner3", "bob")])
    assert capsys.readouterr().err.splitlines() == [
        f"nile: no password is given to {hosts}: the login there is bob's, and the password "
        "that of ada, eve; run it for these hosts by themselves"
        for hosts in ("inner[1-2] (2)", "inner3 (1)")
    ]


def test_a_line_of_commands_asks_once_and_one_without_options_never() -> None:
    with click.Context(click.Command("x")) as context:
        given = {"ask_pass": True, "pass_fd": None}
        first = login_password(given)
        with click.Context(click.Command("y"), parent=context):
            assert login_password(dict(given)) is first
        assert login_password({"ask_pass": False, "pass_fd": None}) is None
        assert login_password({}) is None


@pytest.mark.parametrize("number", ["2", "99999999999", "2147483648"])
def test_a_number_that_is_no_descriptors(tmp_path: Path, number: str) -> None:
    done = nile(tmp_path, "--pass-fd", number, "-w", "127.0.0.1")
    assert done.returncode == 2, done.stderr
    assert "--pass-fd" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_descriptor_that_nobody_handed_over_is_refused_before_nile_has_opened_one_of_that_number(
    tmp_path: Path,
) -> None:
    """Its own store, event loop and known_hosts have such low numbers."""
    for number in range(3, 12):
        done = nile(tmp_path, "--pass-fd", str(number), "-w", "127.0.0.1")
        assert (done.returncode, f"descriptor {number} isn't open" in done.stderr) == (2, True), done.stderr


def test_both_at_a_time_are_refused() -> None:
    with pytest.raises(UsageError, match="can't go together"):
        login_password({"ask_pass": True, "pass_fd": 3})


def nile(directory: Path, *words: str) -> subprocess.CompletedProcess[str]:
    known = directory / "known_hosts"
    known.touch()
    return subprocess.run(
        [sys.executable, "-m", "nile", "exec", "-o", f"UserKnownHostsFile={known}", *words, "--", "true"],
        env={
            **{name: value for name, value in os.environ.items() if name != "SSH_AUTH_SOCK"},
            "XDG_STATE_HOME": str(directory),
            "HOME": str(directory),
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        start_new_session=True,
    )


def test_without_a_terminal_it_is_refused_with_what_to_do(tmp_path: Path) -> None:
    done = nile(tmp_path, "--ask-pass", "-w", "127.0.0.1")
    assert (done.returncode, done.stdout) == (2, "")
    assert "a password is wanted and nobody can be asked" in done.stderr
    assert "--pass-fd 3" in done.stderr


@pytest.mark.parametrize("hosts", ["127.0.0.1", "127.0.0.[1-2]"])
def test_hosts_that_can_be_given_none_are_named_before_anybody_is_asked(tmp_path: Path, hosts: str) -> None:
    routes = tmp_path / "routes.yaml"
    routes.write_text("version: 1\ntree: flat\nssh: {client: openssh}\n")
    done = nile(tmp_path, "--ask-pass", "-r", str(routes), "-w", hosts)
    assert done.returncode == 2
    assert "no host that the root logs in to can be given a password" in done.stderr
    assert "client: asyncssh" in done.stderr


def test_one_that_ssh_config_keeps_from_it_is_told_apart(tmp_path: Path) -> None:
    routes = tmp_path / "routes.yaml"
    routes.write_text(
        "version: 1\ntree: flat\nhosts:\n  127.0.0.1: {ssh: {options: {PasswordAuthentication: no,"
        " KbdInteractiveAuthentication: no}}}\n  127.0.0.2: {ssh: {client: openssh}}\n"
    )
    done = nile(tmp_path, "--ask-pass", "-r", str(routes), "-w", "127.0.0.[1-2]")
    assert "no host that the root logs in to can be given a password" in done.stderr
