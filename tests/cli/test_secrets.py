"""Passphrases are asked for on a terminal, or not at all."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from tests.cluster.terminal import Terminal
from tests.lab.helpers import eventually

ASK = """
from nile.cli.secrets import ask_secret
from nile.errors import CredentialsError
try:
    print("took", ask_secret("Passphrase: "))
except CredentialsError as error:
    print("refused:", error)
"""


def test_standard_input_is_never_taken_for_a_passphrase() -> None:
    """A job without a terminal, as cron starts it, that pipes data to its hosts."""
    ended = subprocess.run(
        [sys.executable, "-c", ASK],
        input="data for the hosts\n",
        capture_output=True,
        text=True,
        start_new_session=True,
        timeout=30,
        check=True,
    )
    assert ended.stdout.startswith("refused: ")
    assert "ssh-agent" in ended.stdout
    assert ended.stderr == ""


def test_a_job_whose_input_never_ends_isnt_held_up() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", ASK],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        assert process.wait(30) == 0


TYPED = """
import os, sys, termios, time
from nile.cli.secrets import Password
password = Password("sudo's password?\\n", lambda text: os.write(2, text.encode()))
while (typed := password.typed()) is None:
    time.sleep(0.005)
hidden = not termios.tcgetattr(0)[3] & termios.ECHO
password.close()
os.write(1, repr((typed, hidden, bool(termios.tcgetattr(0)[3] & termios.ECHO))).encode())
"""


@pytest.mark.parametrize(
    ("keys", "typed"), [("ü a'b\n".encode(), "ü a'b"), (b"\n", ""), (b"\x04", ""), (b"ab\x7fc\n", "ac")]
)
def test_a_password_is_read_without_being_shown_and_the_terminal_is_as_it_was(
    keys: bytes, typed: str
) -> None:
    terminal = Terminal()
    try:
        words = ["setsid", "--ctty", sys.executable, "-c", TYPED]
        asked = subprocess.Popen(words, stdin=terminal.fd, stdout=subprocess.PIPE, stderr=terminal.fd)
        eventually(lambda: b"sudo's password?" in terminal.shown or asked.poll(), "it asks")
        terminal.type(keys)
        said, _ = asked.communicate(timeout=30)
    finally:
        terminal.close()
    assert ast.literal_eval(said.decode()) == (typed, True, True)
    assert terminal.shown == b"sudo's password?\r\n"


def test_without_a_terminal_nobody_is_asked_for_a_password() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", TYPED], capture_output=True, text=True, start_new_session=True, timeout=30
    )
    assert "No such device or address" in ended.stderr
