"""Where Nile keeps what it writes and looks for route files, by the XDG base directory rules."""

from __future__ import annotations

import os
import re
from pathlib import Path

from nile.errors import UsageError

SYSTEM_ROUTES = Path("/etc/nile/routes.yaml")
LAB = "lab"
"""`-r lab` names the route file of the lab of this name, `-r lab:NAME` that of another."""

_LAB_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")


def _xdg(variable: str, default: str) -> Path:
    """A base directory; a relative one in the environment is ignored, as the rules have it."""
    base = Path(os.environ.get(variable, ""))
    return (base if base.is_absolute() else Path.home() / default) / "nile"


def state_directory() -> Path:
    """`$XDG_STATE_HOME/nile`, by default ~/.local/state/nile."""
    return _xdg("XDG_STATE_HOME", ".local/state")


def config_directory() -> Path:
    """`$XDG_CONFIG_HOME/nile`, by default ~/.config/nile."""
    return _xdg("XDG_CONFIG_HOME", ".config")


def cache_directory() -> Path:
    """`$XDG_CACHE_HOME/nile`, by default ~/.cache/nile."""
    return _xdg("XDG_CACHE_HOME", ".cache")


def lab_directory(name: str) -> Path:
    """Where the lab of a name lies; raises `UsageError` for a name that can't be a directory's."""
    if not _LAB_NAME.fullmatch(name):
        raise UsageError(f"{name!a} can't be a lab's name", remedy="use letters, digits, - and _")
    return state_directory() / "lab" / name


def find_route_file(option: str | None) -> Path | None:
    """The route file to use, or None where there is none.

    `option` (the value of -r) comes first, then $NILE_ROUTES, ./nile.yaml, the user's configuration
    directory, /etc/nile. What is named by the first two must exist, else `UsageError`; they may say
    `lab` or `lab:NAME`.
    """
    if option is not None:
        return _named(option, f"-r {option}")
    if named := os.environ.get("NILE_ROUTES"):
        return _named(named, f"$NILE_ROUTES={named}")
    places = (Path("nile.yaml"), config_directory() / "routes.yaml", SYSTEM_ROUTES)
    return next((place for place in places if place.is_file()), None)


def _named(text: str, where: str) -> Path:
    lab, colon, name = text.partition(":")
    if lab == LAB and (name or not colon):
        path = lab_directory(name or LAB) / "routes.yaml"
        if not path.is_file():
            option = f" --name {name}" if name else ""
            raise UsageError(
                f"there is no lab {name or LAB} ({path} is missing)",
                where=where,
                remedy=f"bring it up with `nile lab up{option}`, or write ./{text} for a file of that name",
            )
        return path
    path = Path(text)
    if not path.exists():
        raise UsageError("the route file is missing", where=where, remedy="check the name")
    return path
