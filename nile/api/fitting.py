"""What a program gives a command beside its line, made options. UsageErrors name the argument."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import TypeVar

from nile.api.kinds import is_number, is_whole, mapping, said, switch, text
from nile.errors import UsageError
from nile.options import LEAST_SCRATCH, MOST_SCRATCH, ExecOptions, Leftover, Outfit, Sandbox
from nile.topology.outfits import ROOT, check_limit, check_user, check_value, check_variable
from nile.topology.refusal import Refusal

E = TypeVar("E", bound=StrEnum)


def outfit(
    env: Mapping[str, str] | None,
    cwd: str | None,
    rlimits: Mapping[str, int] | None,
    sudo: bool | str,
    sandbox: Sandbox | str | None,
    *,
    clean_env: bool,
    subst: bool,
) -> Outfit:
    """These arguments of `nile.run`, checked."""
    env, rlimits = mapping(env, "env"), mapping(rlimits, "rlimits")
    for name, value in env.items():
        text(value, f"env[{name!r}]")
        check_variable(name, f"env[{name!r}]")
        check_value(name, value, f"env[{name!r}]")
    for name, number in rlimits.items():
        where = f"rlimits[{name!r}]"
        if not is_whole(number):
            raise UsageError(f"{said(number)} is no whole number", where=where, remedy="give one")
        try:
            check_limit(name, number, str(number))
        except Refusal as refusal:
            raise refusal.usage_error(where) from refusal
    if cwd is not None:
        text(cwd, "cwd")
    if cwd is not None and (not cwd or "\0" in cwd):
        raise UsageError("no directory is named", where="cwd", remedy="name one, or leave it out")
    user = ROOT if sudo is True else None if sudo is False or sudo is None else sudo
    if user is not None:
        text(user, "sudo")
        check_user(user, "sudo")
    return Outfit(
        env=MappingProxyType(dict(env)),
        clean_env=switch(clean_env, "clean_env"),
        cwd=cwd,
        rlimits=MappingProxyType(dict(rlimits)),
        subst=switch(subst, "subst"),
        sandbox=None if sandbox is None else one_of(Sandbox, sandbox, "sandbox"),
        sudo=user,
    )


def check_together(options: ExecOptions) -> None:
    """Raise UsageError where options contradict each other."""
    sandbox, leftover = options.outfit.sandbox, options.leftover
    if sandbox and options.outfit.sudo:
        remedy = "what is in a sandbox gains no rights: leave one of the two out"
        raise UsageError("sudo and sandbox can't go together", where="sandbox", remedy=remedy)
    if sandbox is Sandbox.PIDNS and leftover in (Leftover.DETACH, Leftover.FAIL):
        remedy = "whatever it starts ends with it: leave one of the two out"
        what = f"leftover={leftover.value!r} and sandbox='pidns' can't go together"
        raise UsageError(what, where="leftover", remedy=remedy)
    if options.disruptive and options.idempotent:
        remedy = "a host that went away after its start is ok, and never starts again"
        raise UsageError("idempotent and disruptive can't go together", where="idempotent", remedy=remedy)


def one_of(kind: type[E], word: str, where: str) -> E:
    """The word as one of these."""
    try:
        return kind(word)
    except ValueError:
        remedy = f"write one of {', '.join(kind)}"
        raise UsageError(f"{said(word)} is none of its words", where=where, remedy=remedy) from None


def count(number: int | None, where: str, *, least: int = 1) -> int | None:
    """A number of hosts."""
    if number is not None and not (is_whole(number) and number >= least):
        raise UsageError(f"no number of hosts is {said(number)}", where=where, remedy=f"give {least} or more")
    return number


def seconds(number: float | None, where: str) -> float | None:
    """A time to wait."""
    if number is not None and not (is_number(number) and number > 0):
        raise UsageError(f"nobody can wait for {said(number)} s", where=where, remedy="give more than 0")
    return number


def grace(number: float) -> float:
    """From SIGTERM to SIGKILL."""
    if not (is_number(number) and number >= 0):
        remedy = "give 0 or more seconds"
        raise UsageError(f"no grace can take {said(number)} s", where="grace_s", remedy=remedy)
    return number


def scratch(size: int) -> int:
    """What a scratch may take."""
    if not (is_whole(size) and LEAST_SCRATCH <= size <= MOST_SCRATCH):
        remedy = f"give {LEAST_SCRATCH} bytes or more"
        raise UsageError(f"no scratch can have {said(size)} bytes", where="scratch_bytes", remedy=remedy)
    return size
