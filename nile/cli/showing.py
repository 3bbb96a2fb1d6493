"""How a run of a command is shown: the options, and the renderers of output that they come to."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from nile.errors import UsageError

if TYPE_CHECKING:
    from nile.report import Renderer, Screen
    from nile.report.gathered import ReadChunks

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "-b", "--gather", is_flag=True, help="Gather equal output under the folded set of its hosts."
    ),
    click.option(
        "-L",
        "--lines",
        is_flag=True,
        help="Gather output, and show it in the order of hosts, each line behind its host (-b: hosts).",
    ),
    click.option("-N", "--no-label", is_flag=True, help="Leave the names of hosts out of output."),
    click.option(
        "--diff", is_flag=True, help="Gather output, and show how it differs from what most hosts wrote."
    ),
    click.option("--live", is_flag=True, help="With -b, -L, --diff: show each line as it comes, too."),
    click.option(
        "-q", "--quiet", is_flag=True, help="No progress; of the summary only hosts that aren't ok."
    ),
    click.option("-S", "--largest-rc", is_flag=True, help="Exit with the largest status of all hosts."),
    click.option("--json", "as_json", is_flag=True, help="JSON Lines (docs/reference/json.md)."),
)
_OF_PEOPLE = {"gather": "-b", "lines": "-L", "no_label": "-N", "diff": "--diff", "live": "--live"}


def showing_options(function: F) -> F:
    """How output and verdicts of a command are shown."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def check_showing(given: dict[str, Any]) -> None:
    """Raises UsageError where they contradict each other."""
    for name, option in _OF_PEOPLE.items():
        if given["as_json"] and given[name]:
            raise UsageError(f"--json and {option} can't go together", remedy="leave one of the two out")
    if given["live"] and not is_gathered(given):
        remedy = "it is for output that is gathered otherwise; without -b, -L and --diff all is live"
        raise UsageError("--live goes with -b, -L or --diff", remedy=remedy)
    if given["diff"] and (given["lines"] or given["no_label"]):
        raise UsageError("--diff can't go with -L or -N", remedy="leave these out")


def is_gathered(given: dict[str, Any]) -> bool:
    """Is output read back from a store, to be shown at the end? Not all commands have all these options."""
    return bool(given["gather"] or given.get("lines") or given.get("diff"))


def bodies(screen: Screen, read_chunks: ReadChunks, given: dict[str, Any]) -> list[Renderer]:
    """What shows the output of hosts. Commands that have fewer options lack some values."""
    from nile.report import Diff, Fold, Live, Style

    gather, lines, label = given["gather"], given.get("lines", False), not given.get("no_label", False)
    gathered = is_gathered(given)
    shown: list[Renderer] = []
    if given.get("live", False) or not gathered:
        shown.append(Live(screen, label=label))
    if given.get("diff", False):
        shown.append(Diff(screen, read_chunks, quiet=given["quiet"]))
    elif gathered:
        shown.append(Fold(screen, read_chunks, Style(equal=gather, lines=lines, label=label)))
    return shown
