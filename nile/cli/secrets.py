"""Asking the user for what nobody else may see."""

from __future__ import annotations

import getpass

from nile.errors import CredentialsError


def ask_secret(prompt: str) -> str:
    """Ask on the terminal, without showing what is typed; raises CredentialsError where there is none."""
    try:
        return getpass.getpass(prompt)
    except (EOFError, OSError) as error:
        remedy = "load the key into an ssh-agent, or run this on a terminal"
        raise CredentialsError("a passphrase is needed and nobody can be asked", remedy=remedy) from error
