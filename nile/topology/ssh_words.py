"""ssh options as they are written on a command line: `Keyword=value`."""

from __future__ import annotations

from collections.abc import Sequence

from nile.errors import UsageError
from nile.options import SshOptions
from nile.topology import ssh_keywords
from nile.topology.refusal import Refusal


def parse_ssh_options(texts: Sequence[str]) -> tuple[SshOptions, float | None]:
    """ssh options as -o has them, and the connect time-out in seconds if one of them is that.

    The first of a kind wins, as in ssh.
    """
    said: dict[str, str] = {}
    for text in texts:
        keyword, equals, value = text.partition("=") if "=" in text else text.partition(" ")
        where = f"-o {text}"
        if not equals:
            raise UsageError("an ssh option has no value", where=where, remedy="write -o Keyword=value")
        try:
            keyword = ssh_keywords.canonical(keyword.strip())
            if keyword not in _OWN:
                ssh_keywords.check_option(keyword, value.strip())
        except Refusal as refusal:
            raise refusal.usage_error(where) from refusal
        said.setdefault(keyword, value.strip())
    own = {keyword: said.pop(keyword) for keyword in _OWN if keyword in said}
    number = {word: _number(word, own[word]) for word in ("Port", "ConnectTimeout") if word in own}
    ssh = SshOptions(
        user=own.get("User"),
        port=number.get("Port"),
        identity=(own["IdentityFile"],) if "IdentityFile" in own else None,
        options=said,
    )
    return ssh, number.get("ConnectTimeout")


_OWN = ("User", "Port", "IdentityFile", "ConnectTimeout")
"""ssh keywords that are settings of Nile, and that -o takes all the same, out of habit."""


def _number(keyword: str, text: str) -> int:
    if text.isascii() and text.isdigit() and 0 < int(text) < 65536:
        return int(text)
    raise UsageError(
        f"'{text}' is not a number from 1 to 65535", where=f"-o {keyword}={text}", remedy="write one"
    )
