"""`--sudo` and `--sudo-user`: as whom something is done on the hosts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from nile.topology.outfits import ROOT, check_user

F = TypeVar("F", bound=Callable[..., Any])

_TEXT = (
    "On the hosts by sudo, as root. Where it asks for a password you are asked, once; one host gets it "
    "first, the others once that one took it."
)


def sudo_options(function: F) -> F:
    """As whom commands run on the hosts, and files are read and written there."""
    for option in (
        click.option("--sudo-user", metavar="USER", callback=_user, help="By sudo, as this user."),
        click.option("--sudo", is_flag=True, help=_TEXT),
    ):
        function = option(function)
    return function


def sudo_user(given: Mapping[str, Any]) -> str | None:
    """Whom the options name; None where they weren't given."""
    return given.get("sudo_user") or (ROOT if given.get("sudo") else None)


def _user(_context: click.Context, _parameter: click.Parameter, name: str | None) -> str | None:
    if name is not None:
        check_user(name, "--sudo-user")
    return name
