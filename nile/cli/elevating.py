"""`--sudo` and `--sudo-user`: as whom something is done on the hosts."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from nile.errors import UsageError

F = TypeVar("F", bound=Callable[..., Any])

ROOT = "root"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,100}")
NO_PASSWORD = "On the hosts by sudo, as root: it must ask for no password."
WITH_PASSWORD = (
    "On the hosts by sudo, as root. Where it asks for a password you are asked, once; one host gets it "
    "first, the others once that one took it."
)


def sudo_options(function: F, text: str = NO_PASSWORD) -> F:
    """As whom files are read and written on the hosts; `text` is the help of the first."""
    for option in (
        click.option("--sudo-user", metavar="USER", callback=_user, help="By sudo, as this user."),
        click.option("--sudo", is_flag=True, help=text),
    ):
        function = option(function)
    return function


def sudo_user(given: Mapping[str, Any]) -> str | None:
    """Whom the options name; None where they weren't given."""
    return given.get("sudo_user") or (ROOT if given.get("sudo") else None)


def _user(_context: click.Context, _parameter: click.Parameter, name: str | None) -> str | None:
    if name is not None and not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} is no user name", where="--sudo-user", remedy="give the name of a user")
    return name
