"""Before the blast: options that hold a run back, and what is asked and shown before anything is started."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import click

from nile.errors import UsageError

if TYPE_CHECKING:
    from nile.cli.common import Selection
    from nile.options import ExecOptions

    _FailuresType = click.ParamType[tuple[float, bool]]
else:
    _FailuresType = click.ParamType  # which older clicks don't let one subscribe

F = TypeVar("F", bound=Callable[..., Any])

MANY_HOSTS = 50
"""Who means more than these by "all", or has sudo run there, is asked, at a terminal."""
PERCENT = 100
LOOK_S = 0.1
"""So often it is looked for an answer."""


class Failures(_FailuresType):
    """How many hosts may fail: a number, or a percentage of all that are asked (`True` goes with it)."""

    name = "failures"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, bool]:
        """The number, and whether it is a percentage."""
        if isinstance(value, tuple):
            return value
        digits, percent = str(value).removesuffix("%"), str(value).endswith("%")
        if not (digits.isascii() and digits.isdecimal()) or (percent and int(digits) > PERCENT):
            self.fail(f"{value!r} is neither a number nor a percentage; write 5, or 10%", param, ctx)
        return float(digits), percent


_COUNT = click.IntRange(min=1)

_OPTIONS = (
    click.option(
        "--batch",
        metavar="N",
        type=_COUNT,
        help="In waves: start on N hosts, and on the next N once all of these are done. (With -f N a host "
        "starts whenever another one is done.)",
    ),
    click.option(
        "--canary",
        metavar="N",
        type=_COUNT,
        help="Start on the first N hosts, in the order in which they were given; once they are done ask "
        "whether to go on.",
    ),
    click.option(
        "--max-failures",
        metavar="N|P%",
        type=Failures(),
        help="Once more hosts than that aren't ok, start on no further one: the rest is cancelled.",
    ),
    click.option(
        "-k", "--fail-fast", is_flag=True, help="The first host that isn't ok ends the run, on all hosts."
    ),
    click.option("--dry-run", is_flag=True, help="Show tree, hosts and command, and do nothing."),
    click.option(
        "--confirm",
        is_flag=True,
        help="Ask first. At a terminal that is so for -a and --sudo on more than 50 hosts.",
    ),
    click.option(
        "-y",
        "--yes",
        is_flag=True,
        help="Ask nothing. Behind --canary: go on only if all canaries are ok.",
    ),
)


def cautious_options(function: F) -> F:
    """What holds a run of a command back."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def exec_values(given: dict[str, Any], hosts: int) -> dict[str, Any]:
    """The fields of `ExecOptions` that they come to, for so many hosts; raises UsageError."""
    for name in ("batch", "canary"):
        if given["stdin"] and given[name]:
            remedy = "all hosts read it at one time; leave one of the two out"
            raise UsageError(f"--stdin and --{name} can't go together", remedy=remedy)
    failures = given["max_failures"]
    if failures is not None:
        number, percent = failures
        failures = int(number * hosts // PERCENT if percent else number)
    return {
        "batch": given["batch"],
        "canary": given["canary"],
        "yes": given["yes"],
        "max_failures": failures,
        "fail_fast": given["fail_fast"],
    }


def is_at_terminal(*, stdin: bool) -> bool:
    """Can somebody be asked? Not where standard input is the hosts' (`stdin`)."""
    if stdin or sys.stdin is None or sys.stderr is None:
        return False
    return sys.stdin.isatty() and sys.stderr.isatty()


def check_canaries(options: ExecOptions, going_first: tuple[str, ...]) -> None:
    """Raises UsageError where nobody could be asked, or nobody can go first."""
    if options.canary is None:
        return
    if not options.yes and not is_at_terminal(stdin=options.stdin):
        raise UsageError(
            "nobody can be asked whether to go on after the canaries",
            where="--canary",
            remedy="run it at a terminal, or with --yes: then it goes on only if all canaries are ok",
        )
    if not going_first:
        raise UsageError(
            "the command may cut hosts off, and each of these leads to others: none can go first",
            where="--canary",
            remedy="leave it out: what hangs below a host goes before that host anyway",
        )


def begin(chosen: Selection, options: ExecOptions, given: dict[str, Any], *, everything: bool) -> int | None:
    """Show, or ask, before it begins; the exit code where it isn't to begin. Raises UsageError."""
    from nile.cascade.caution import canaries

    going_first = canaries(chosen.plan, chosen.hosts, options)
    if given["dry_run"]:
        _show(chosen, options, going_first, as_json=given["as_json"])
        return 0
    check_canaries(options, going_first)
    broad = everything or options.outfit.sudo is not None
    many = broad and len(chosen.hosts) > MANY_HOSTS and not given["as_json"]
    terminal = is_at_terminal(stdin=options.stdin)
    if options.yes or not (given["confirm"] or (many and terminal)):
        return None
    if not terminal:
        remedy = "run it at a terminal, or with --yes"
        raise UsageError("nobody can be asked", where="--confirm", remedy=remedy)
    if _confirmed(chosen, options):
        return None
    click.echo("nile: nothing was started", err=True)
    return 1


def _confirmed(chosen: Selection, options: ExecOptions) -> bool:
    from nile.cli.ending import visible
    from nile.cli.question import Question
    from nile.report import heading

    if options.per_host:
        for line in _what(options):
            click.echo(visible(line), err=True)
    user = options.outfit.sudo
    by_sudo = f", by sudo as {user}" if user else ""
    text = f"{options.command}: on {heading(chosen.hosts)}{by_sudo}"
    question = Question(text, 0, lambda words: click.echo(words, nl=False, err=True))
    while (said := question.answer()) is None:
        time.sleep(LOOK_S)  # what is typed isn't waited for, since that may be meant for another process
    return said


def _show(chosen: Selection, options: ExecOptions, going_first: tuple[str, ...], *, as_json: bool) -> None:
    from nile.cli import planned
    from nile.cli.ending import visible
    from nile.options import Script
    from nile.report import heading
    from nile.topology.predict import predict

    prediction = predict(chosen.plan, planned.T_SSH_S, planned.T_NILE_S)
    if as_json:
        shown = {"dry_run": True, "command": options.command, "asked": list(chosen.hosts)}
        more: dict[str, Any] = {"canaries": list(going_first), "max_failures": options.max_failures}
        if options.per_host:
            more["commands"] = [
                {"hosts": hosts, "command": task.called if isinstance(task, Script) else task}
                | ({"script": task.told()} if isinstance(task, Script) else {})
                for task, hosts in options.tasks().items()
            ]
        click.echo(json.dumps(planned.as_dict(chosen, prediction) | shown | more))
        return
    click.echo(chosen.routes.describe(), err=True)
    planned.show(chosen, prediction)
    click.echo()
    for line in _how(options, going_first):
        click.echo(line)
    click.echo(f"on: {heading(chosen.hosts)}")
    for line in _what(options):
        click.echo(visible(line))


def _what(options: ExecOptions) -> Iterator[str]:
    """What is run: where hosts don't all run the same, each command behind the set of those that run it."""
    from nile.options import Script
    from nile.report import heading
    from nile.topology.amounts import size

    if not options.per_host:
        yield f"command: {options.command}"
        return
    yield f"{options.command}:"
    for task, hosts in options.tasks().items():
        if isinstance(task, Script):
            yield f"{heading(hosts)}: {task.called} (script, {size(task.size)}, sha256 {task.sha256})"
            continue
        first, *more = task.strip("\n").splitlines()
        yield f"{heading(hosts)}: {first}"
        yield from (f"    {line}" for line in more)


def _how(options: ExecOptions, going_first: tuple[str, ...]) -> list[str]:
    """What holds it back, a line each."""
    from nile.report import heading

    said = [f"by sudo, as {options.outfit.sudo}"] if options.outfit.sudo else []
    if going_first:
        then = "then by itself if all are ok" if options.yes else "then you are asked"
        said.append(f"first: {heading(going_first)}, {then}")
    if options.batch is not None:
        said.append(f"in waves of {options.batch}")
    if options.fanout is not None:
        said.append(f"at most {options.fanout} at one time")
    if options.max_failures is not None:
        said.append(f"no further starts once more than {options.max_failures} aren't ok")
    if options.fail_fast:
        said.append("the first that isn't ok ends the run")
    return said
