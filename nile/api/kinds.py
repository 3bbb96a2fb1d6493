"""Of what type an argument of `nile.run` must be. UsageErrors name the argument, and no text of it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from nile.errors import UsageError
from nile.options import Script, Task

V = TypeVar("V")
MOST = 1 << 62
"""Less than that is every number that hosts are told."""


def is_whole(number: object) -> bool:
    """A whole number that hosts can be told."""
    return isinstance(number, int) and not isinstance(number, bool) and -MOST < number < MOST


def is_number(number: object) -> bool:
    """Any number that hosts can be told."""
    return is_whole(number) or (isinstance(number, float) and -MOST < number < MOST)


def said(value: object) -> str:
    """As a message has it: no number of thousands of digits, which `repr` may refuse."""
    large = isinstance(value, int) and not -MOST < value < MOST
    return "so large a number" if large else repr(value)


def text(value: object, where: str) -> str:
    """A text that hosts could be told."""
    if not isinstance(value, str):
        raise _other(value, where, "a text is wanted", "give a str")
    try:
        os.fsencode(value)
    except UnicodeEncodeError as error:
        remedy = "take the surrogates out"
        raise UsageError("no host could be told this text", where=where, remedy=remedy) from error
    return value


def texts(values: object, where: str) -> tuple[str, ...]:
    """Several of them; a single str is one by mistake."""
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise _other(values, where, "several texts are wanted", "give a list of str")
    return tuple(text(value, where) for value in values)


def host_sets(values: object, where: str) -> tuple[str, ...]:
    """One, or several."""
    return (text(values, where),) if isinstance(values, str) else texts(values, where)


def path(value: object, where: str) -> str:
    """A file's."""
    return text(str(value) if isinstance(value, Path) else value, where)


def paths(values: object, where: str) -> tuple[str, ...]:
    """Several files'."""
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise _other(values, where, "several paths are wanted", "give a list of str or Path")
    return tuple(path(value, where) for value in values)


def switch(value: object, where: str) -> bool:
    """Yes or no."""
    if not isinstance(value, bool):
        raise _other(value, where, "yes or no is wanted", "give True or False")
    return value


def mapping(value: Mapping[str, V] | None, where: str) -> Mapping[str, V]:
    """Values by names, whatever these values are; none for None."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise _other(value, where, "values by names are wanted", "give a dict")
    for name in value:
        text(name, where)
    return value


def script(value: object) -> Script | str | None:
    """What `script` takes."""
    return value if value is None or isinstance(value, Script) else path(value, "script")


def per_host(value: Mapping[str, Task] | str | Path | None) -> Mapping[str, Task] | str | None:
    """What `per_host` takes."""
    if value is None or isinstance(value, str | Path):
        return None if value is None else path(value, "per_host")
    for name, task in mapping(value, "per_host").items():
        if not isinstance(task, Script):
            text(task, f"per_host[{name!r}]")
    return value


def port(number: object) -> int | None:
    """One that TCP has."""
    if number is None:
        return None
    if not (isinstance(number, int) and is_whole(number) and 0 < number < 65536):
        remedy = "give a number from 1 to 65535"
        raise UsageError(f"no port is {said(number)}", where="port", remedy=remedy)
    return number


def _other(value: object, where: str, wanted: str, remedy: str) -> UsageError:
    return UsageError(f"{wanted}, and this is of type {type(value).__name__}", where=where, remedy=remedy)
