"""What `nile exec` can give a command beside its line: the options, and what they come to."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from nile.cli.elevating import sudo_user
from nile.errors import UsageError
from nile.options import LEAST_SCRATCH, LONGEST_LINE, MOST_SCRATCH, Outfit, Sandbox
from nile.topology.refusal import Refusal

if TYPE_CHECKING:
    from nile.topology.model import Plan

F = TypeVar("F", bound=Callable[..., Any])

LETTERS = {"h": "host", "g": "its smallest group", "u": "user there", "r": "rank", "s": "stage", "%": "%"}
"""What may stand behind a % with --subst (see nile.agent.outfit)."""
_PLAIN = re.compile(r"[\w.+@:,/-]+", re.ASCII)
_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_FEWEST_FILES = 16
_LEAST_BYTES = 4 << 20
_MOST = 1 << 62

_OPTIONS = (
    click.option(
        "--env",
        "env",
        metavar="K=V",
        multiple=True,
        help="A variable for the command; --env K takes its value from here. Never recorded but by name.",
    ),
    click.option(
        "--clean-env",
        is_flag=True,
        help="Of the login's variables only HOME, USER, LOGNAME, SHELL, and a plain PATH.",
    ),
    click.option("--cwd", metavar="DIR", help="Where the command begins, seen from the login's directory."),
    click.option(
        "--rlimit",
        "rlimits",
        metavar="K=V,...",
        multiple=True,
        help="Limits of each process: cpu=30s, mem=2G (address space), nofile=1024.",
    ),
    click.option(
        "--subst",
        is_flag=True,
        help="In COMMAND %h is the host, %g its smallest group, %u the user, %r the rank, %s the stage.",
    ),
    click.option(
        "--scratch",
        "scratch",
        metavar="SIZE",
        default="1G",
        show_default=True,
        help="What $NILE_SCRATCH may take on each host.",
    ),
    click.option(
        "--sandbox",
        type=click.Choice(["pidns", "strict"]),
        help="pidns: nothing that the command starts outlives it. strict: it writes to $NILE_SCRATCH alone, "
        "and gains no rights. Where a host can't do that, nothing is started.",
    ),
)


def outfit_options(function: F) -> F:
    """Give a command these options."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def outfit(given: Mapping[str, Any]) -> Outfit:
    """What the options come to; raises UsageError."""
    cwd = given["cwd"]
    if cwd is not None and not cwd:
        raise UsageError("no directory is named", where="--cwd", remedy="write --cwd DIR")
    return Outfit(
        env=variables(given["env"]),
        clean_env=given["clean_env"],
        cwd=cwd,
        rlimits=_rlimits(given["rlimits"]),
        subst=given["subst"],
        script=given["script"],
        sandbox=given["sandbox"] and Sandbox(given["sandbox"]),
        sudo=sudo_user(given),
    )


def variables(texts: Iterable[str]) -> dict[str, str]:
    """Of `K=V` and `K` each; the last of one name wins. No message has a value in it."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        where = f"--env {name}"
        if not _NAME.fullmatch(name):
            remedy = "letters, digits and _, as in --env MODE=fast"
            raise UsageError("that is no name of a variable", where=where, remedy=remedy)
        if name.startswith("NILE_"):
            raise UsageError("Nile sets those itself", where=where, remedy="choose another name")
        if not equals:
            if name not in os.environ:
                remedy = f"write --env {name}=VALUE, or export it here"
                raise UsageError("there is no such variable here", where=where, remedy=remedy)
            value = os.environ[name]
        if len(os.fsencode(f"{name}={value}")) >= LONGEST_LINE:
            remedy = "send it by --stdin"
            raise UsageError("the value is longer than hosts can take (128 KiB)", where=where, remedy=remedy)
        found[name] = value
    return found


def redacted(argv: Sequence[str], words: Sequence[str]) -> tuple[str, ...]:
    """The command line without values of --env: what may be recorded. `words` are those of the command."""
    head = len(argv) - len(words)
    if tuple(argv[head:]) != tuple(words):  # they are those of a run that is tried again
        head = len(argv)
    kept, after = list[str](), False
    for word in argv[:head]:
        name, equals, value = word.partition("=")
        if after:
            kept.append(name)
        elif name == "--env" and equals:
            kept.append(f"--env={value.partition('=')[0]}")
        else:
            kept.append(word)
        after = word == "--env" and not after
    return (*kept, *argv[head:])


def _rlimits(texts: Iterable[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for item in ",".join(texts).split(",") if texts else ():
        name, _, value = item.partition("=")
        where = f"--rlimit {item}"
        if name not in _LIMITS:
            remedy = f"there are {', '.join(_LIMITS)}, as in cpu=30s,mem=2G,nofile=1024"
            raise UsageError(f"there is no limit '{name}'", where=where, remedy=remedy)
        try:
            found[name] = _LIMITS[name](value)
        except Refusal as refusal:
            raise refusal.usage_error(where) from refusal
    return found


def scratch_bytes(text: str) -> int:
    """What the scratch may take; raises UsageError."""
    from nile.topology.amounts import amount

    where = f"--scratch {text}"
    try:
        value = amount(text)
    except Refusal as refusal:
        raise refusal.usage_error(where) from refusal
    if not LEAST_SCRATCH <= value <= MOST_SCRATCH:
        remedy = "write 64K or more, as in --scratch 500M"
        raise UsageError(f"no scratch can have {text}", where=where, remedy=remedy)
    return value


def _cpu(text: str) -> int:
    from nile.topology.durations import seconds

    value = seconds(f"{text}s" if text.isdigit() else text)
    if value != int(value):
        raise Refusal(f"'{text}' is no whole number of seconds", "write 1s or more, as in cpu=30s")
    return int(value)


def _mem(text: str) -> int:
    from nile.topology.amounts import amount

    value = amount(text)
    if not _LEAST_BYTES <= value < _MOST:
        raise Refusal(f"no program could start with {text}", "write 4M or more")
    return value


def _nofile(text: str) -> int:
    if text.isascii() and text.isdigit() and _FEWEST_FILES <= int(text) < _MOST:
        return int(text)
    raise Refusal(f"'{text}' is no number from {_FEWEST_FILES} on", "write one, as in nofile=1024")


_LIMITS: Mapping[str, Callable[[str], int]] = {"cpu": _cpu, "mem": _mem, "nofile": _nofile}


def check_substitution(lines: Iterable[str], plan: Plan, *, plain: bool = True) -> None:
    """Every % means something, and (`plain`) nothing that stands for it could be read as more by a shell."""
    used = {letter for line in lines for letter in _letters(line)}
    for node in plan.asked() if plain else ():
        names = {"h": node.host, "g": " ".join(plan.specs[node.host].groups[:1])}
        for letter, name in names.items():
            if letter in used and not _PLAIN.fullmatch(name):
                why = "a shell could read more than a name in it" if name else "there is none"
                variable = "$NILE_HOST" if letter == "h" else "$NILE_GROUP"
                raise UsageError(
                    f"%{letter} of {node.host} can't stand in a line, '{name}': {why}",
                    where="--subst",
                    remedy=f'write "{variable}" in its place',
                )


def _letters(line: str) -> Iterable[str]:
    rest = line
    while "%" in rest:
        rest = rest.partition("%")[2]
        letter, rest = rest[:1], rest[1:]
        if letter not in LETTERS or not letter:
            known = ", ".join(f"%{one} ({what})" for one, what in LETTERS.items())
            raise UsageError(
                f"%{letter} stands for nothing",
                where="--subst",
                remedy=f"there are {known}; write %% for a %",
            )
        yield letter
