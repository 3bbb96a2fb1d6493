"""What hosts ask in a keyboard-interactive login (RFC 4256), and what of it is a password. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from nile.transport.text import printable

Prompts = Sequence[tuple[str, bool]]
"""Questions, each with whether what is typed is to be shown."""

LONGEST = 200
MOST_SHOWN = 80
_WORDS = (
    "password|passwort|kennwort|mot de passe|contraseña|senha|palavra-passe|wachtwoord|hasło|heslo|lösenord"
    "|adgangskode|passord|salasana|jelszó|parola|пароль|密码|密碼|パスワード|암호"
)
_BEFORE = (
    r"(?:\([^()]*\)\s*)?(?:(?:[\w.@-]+'s|unix|ldap|ad|sss|kerberos|domain|login|account|your|enter)\s+)*"
)
_PASSWORD = re.compile(rf"{_BEFORE}(?:{_WORDS})(?:\s+(?:for|of)\s+[\w.@-]+)?\s*:?\s*")


def is_for_password(prompts: Prompts) -> bool:
    """One question, the answer to which isn't shown, for the password that there is and nothing else.

    Not for a one-time password, a new one, or a code: a wrong answer to these may lock an account, too.
    """
    if len(prompts) != 1:
        return False
    text, shown = prompts[0]
    return not shown and _PASSWORD.fullmatch(text[:LONGEST].strip().casefold()) is not None


def described(prompts: Prompts) -> str:
    """The questions, for people."""
    return " and ".join(repr(printable(text.strip())[:MOST_SHOWN]) for text, _ in prompts)
