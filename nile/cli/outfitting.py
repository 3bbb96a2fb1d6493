"""What `nile exec` can give a command beside its line: the options, and what they come to."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import click

from nile.cli.elevating import sudo_user
from nile.errors import UsageError
from nile.options import LEAST_SCRATCH, MOST_SCRATCH, Outfit, Sandbox
from nile.topology.outfits import check_limit, check_value, check_variable
from nile.topology.refusal import Refusal

F = TypeVar("F", bound=Callable[..., Any])

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
        check_variable(name, where)
        if not equals:
            if name not in os.environ:
                remedy = f"write --env {name}=VALUE, or export it here"
                raise UsageError("there is no such variable here", where=where, remedy=remedy)
            value = os.environ[name]
        check_value(name, value, where)
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
        try:
            found[name] = _amount_of(name, value)
            check_limit(name, found[name], value)
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


def _amount_of(name: str, text: str) -> int:
    """The number that it comes to, 0 where it is none; raises Refusal."""
    from nile.topology.amounts import amount
    from nile.topology.durations import seconds

    if name == "cpu":
        value = seconds(f"{text}s" if text.isdigit() else text)
        return int(value) if value == int(value) else 0
    if name == "mem":
        return amount(text)
    return int(text) if text.isascii() and text.isdigit() else 0
