"""`nile rollback`: make the release before current again, on all hosts together."""

from __future__ import annotations

from typing import Any

import click

from nile.cli.common import SelectionOptions, selection_options
from nile.cli.releasing import Name, Percent, place, run, showing_options

EXAMPLES = """\b
Examples:
  nile rollback --all /srv/app              to the release before
  nile rollback --all --to 2.3 /srv/app     to another one that hosts have; forward again, too
"""


@click.command("rollback", epilog=EXAMPLES, short_help="Make the release before current again.")
@selection_options
@click.option("--to", metavar="NAME", type=Name(), help="This release. Default: the one before.")
@click.option(
    "--quorum",
    metavar="P%",
    type=Percent(),
    help="Flip only if so many of all hosts can. Default: all those that answer.",
)
@showing_options
def command(selection: SelectionOptions, dest: str, **given: Any) -> int:
    """Make the release that was current before current again, below DEST on hosts.

    It is the same one for all. All hosts are asked first whether they can; then all flip together,
    or none does. Once more is for those that didn't: nobody goes forward again by it.
    """
    from nile.sync import Deed, Quorum, ReleasesOptions

    quorum = Quorum(given["quorum"]) if given["quorum"] is not None else None
    return run(selection, ReleasesOptions(place(dest), Deed.FLIP, given["to"] or "", quorum), given)
