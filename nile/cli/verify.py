"""`nile verify`: say how what hosts have differs from a source."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from nile.cli.common import SelectionOptions, long_selection_options
from nile.cli.copying import RsyncLetters, comparing_options, run_all
from nile.cli.elevating import sudo_options
from nile.cli.passwording import password_options
from nile.errors import UsageError

EXAMPLES = """\b
Examples:
  nile verify --all --gather site/ /srv/site
                                            differences, under the hosts that have the same
  nile verify --all --checksum site/ /srv/site
  nile verify --all --repair site/ /srv/site
                                            and mend what differs
"""


@click.command("verify", cls=RsyncLetters, epilog=EXAMPLES, short_help="Compare hosts with a source.")
@long_selection_options
@password_options
@comparing_options
@sudo_options
@click.option("--repair", is_flag=True, help="Mend what differs, and compare again.")
@click.option("--delete", is_flag=True, help="With --repair: delete what the source doesn't have.")
@click.option(
    "--max-delete",
    metavar="N",
    type=click.IntRange(min=0),
    help="With --delete: refuse hosts on which more would be. Default: ask above 1,000, or a tenth.",
)
def command(selection: SelectionOptions, paths: tuple[str, ...], **given: Any) -> int:
    """Compare DEST on hosts with SRC: every path, its type, size, mode, owner, time and link target.

    What differs is a host's output, and in the end only a host that is equal is ok. With --repair, hosts
    that differ get what they lack; what they have beside it goes only with --delete.
    """
    from nile.sync import Ask, Purpose, SyncOptions

    repair, delete, max_delete = given["repair"], given["delete"], given["max_delete"]
    if (delete or max_delete is not None) and not repair:
        which = "--delete" if delete else "--max-delete"
        raise UsageError(f"{which} without --repair", remedy="to compare changes nothing: add --repair")
    how = SyncOptions(
        purpose=Purpose.REPAIR if repair else Purpose.VERIFY,
        delete=delete or not repair,  # to compare, it is all one
        max_delete=max_delete,
        ask=Ask.USER if sys.stdin.isatty() and not given["as_json"] else Ask.REFUSE,
        excludes=tuple(map(os.fsencode, given["excludes"])),
        checksum=given["checksum"],
        numeric_ids=given["numeric_ids"],
    )
    return run_all(selection, paths, how, given)
