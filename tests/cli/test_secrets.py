"""Passphrases are asked for on a terminal, or not at all."""

from __future__ import annotations

import subprocess
import sys

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
