"""`nile exec --per-host FILE`: which hosts, and what each of them runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nile.cli.common import load_selected, select
from nile.errors import UsageError

if TYPE_CHECKING:
    from nile.cli.common import Selection, SelectionOptions
    from nile.options import Task

OPTION = "--per-host"


def refuse_others(given: Mapping[str, Any], words: tuple[str, ...]) -> None:
    """The commands are those of the file alone; raises UsageError."""
    for what, there in (("a command", words), ("--script", given["script"])):
        if there:
            remedy = f"what hosts run is in the file; {'default: COMMAND' if words else 'leave it out'}"
            raise UsageError(f"{what} and {OPTION} can't go together", where=OPTION, remedy=remedy)


def choose(
    selection: SelectionOptions, source: str | Mapping[str, Task]
) -> tuple[Selection, dict[str, Task]]:
    """The hosts of a run, and what each runs. Without options that choose, they are those of the file.

    `source` is the file's path, or the tasks themselves, of a run that is tried again.
    """
    from nile.topology.perhost import read_per_host, read_tasks

    if not isinstance(source, str):
        chosen = select(selection)
        return chosen, {host: source[host] for host in chosen.hosts}
    file = read_per_host(Path(source))
    named = file.named(load_selected(selection).host_sets().expand)
    if not (selection.everything or selection.groups or selection.hosts or selection.hostfiles):
        selection = replace(selection, hosts=tuple(named))
    chosen = select(selection)
    return chosen, read_tasks(file.of(chosen.hosts, named), Path(source).parent)
