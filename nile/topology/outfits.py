"""What a command may be given beside its line: what can't be meant is refused before any host is touched."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from nile.errors import UsageError
from nile.options import LONGEST_LINE
from nile.topology.refusal import Refusal

if TYPE_CHECKING:
    from nile.options import ExecOptions
    from nile.topology.model import Plan

LETTERS = {"h": "host", "g": "its smallest group", "u": "user there", "r": "rank", "s": "stage", "%": "%"}
"""What may stand behind a % with --subst (see nile.agent.outfit)."""
LIMITS: Mapping[str, tuple[int, str, str]] = {
    "cpu": (1, "'{}' is no whole number of seconds", "write 1s or more, as in cpu=30s"),
    "mem": (4 << 20, "no program could start with {}", "write 4M or more"),
    "nofile": (16, "'{}' is no number from 16 on", "write one, as in nofile=1024"),
}
"""Of each limit the least that makes sense, and what is said of less."""
ROOT = "root"
_MOST = 1 << 62
_PLAIN = re.compile(r"[\w.+@:,/-]+", re.ASCII)
_VARIABLE = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,100}")


def check_variable(name: str, where: str) -> None:
    """Raise UsageError where a command can't have a variable of that name."""
    if not _VARIABLE.fullmatch(name):
        remedy = "letters, digits and _, as in --env MODE=fast"
        raise UsageError("that is no name of a variable", where=where, remedy=remedy)
    if name.startswith("NILE_"):
        raise UsageError("Nile sets those itself", where=where, remedy="choose another name")


def check_value(name: str, value: str, where: str) -> None:
    """Raise UsageError where a variable can't have that value; no message has it."""
    if "\0" in value:
        raise UsageError("no value can have a NUL in it", where=where, remedy="take it out")
    if len(os.fsencode(f"{name}={value}")) >= LONGEST_LINE:
        remedy = "send it by --stdin"
        raise UsageError("the value is longer than hosts can take (128 KiB)", where=where, remedy=remedy)


def check_limit(name: str, value: int, said: str) -> None:
    """Raise Refusal where that can't be a limit; `said` is how it was written."""
    if name not in LIMITS:
        remedy = f"there are {', '.join(LIMITS)}, as in cpu=30s,mem=2G,nofile=1024"
        raise Refusal(f"there is no limit '{name}'", remedy)
    least, what, remedy = LIMITS[name]
    if not least <= value < _MOST:
        raise Refusal(what.format(said), remedy)


def check_user(name: str, where: str) -> None:
    """Raise UsageError where no user has such a name."""
    if not _USER.fullmatch(name):
        raise UsageError(f"{name!r} is no user name", where=where, remedy="give the name of a user")


def check_words(options: ExecOptions, plan: Plan, where: str) -> None:
    """Raise UsageError where what is to be substituted in what hosts run can't be."""
    if not options.outfit.subst:
        return
    for script in options.all_scripts():
        check_substitution(script.args, plan, plain=False, where=where)
    own = {line for host, line in options.per_host.items() if host not in options.scripts}
    alone = {options.command} if not (options.per_host or options.outfit.script) else set()
    check_substitution(own | alone, plan, where=where)


def check_substitution(
    lines: Iterable[str], plan: Plan, *, plain: bool = True, where: str = "--subst"
) -> None:
    """Every % means something, and (`plain`) nothing that stands for it could be read as more by a shell."""
    used = {letter for line in lines for letter in _letters(line, where)}
    for node in plan.asked() if plain else ():
        names = {"h": node.host, "g": " ".join(plan.specs[node.host].groups[:1])}
        for letter, name in names.items():
            if letter in used and not _PLAIN.fullmatch(name):
                why = "a shell could read more than a name in it" if name else "there is none"
                variable = "$NILE_HOST" if letter == "h" else "$NILE_GROUP"
                raise UsageError(
                    f"%{letter} of {node.host} can't stand in a line, '{name}': {why}",
                    where=where,
                    remedy=f'write "{variable}" in its place',
                )


def _letters(line: str, where: str) -> Iterable[str]:
    rest = line
    while "%" in rest:
        rest = rest.partition("%")[2]
        letter, rest = rest[:1], rest[1:]
        if letter not in LETTERS or not letter:
            known = ", ".join(f"%{one} ({what})" for one, what in LETTERS.items())
            remedy = f"there are {known}; write %% for a %"
            raise UsageError(f"%{letter} stands for nothing", where=where, remedy=remedy)
        yield letter
