"""Asking the user for what nobody else may see."""

from __future__ import annotations

import getpass
import os

from nile.errors import CredentialsError


def ask_secret(prompt: str) -> str:
    """Ask on the terminal, without showing what is typed; raises CredentialsError where there is none."""
    try:
        # Without a terminal getpass would read standard input, which may be the data for the hosts.
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
        return getpass.getpass(prompt)
    except (EOFError, OSError) as error:
        remedy = "load the key into an ssh-agent, or run this on a terminal"
        raise CredentialsError("a passphrase is needed and nobody can be asked", remedy=remedy) from error
