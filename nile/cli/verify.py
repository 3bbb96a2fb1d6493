"""`nile verify`: say how what hosts have differs from a source."""

from __future__ import annotations

import os
from typing import Any

import click

from nile.cli.common import SelectionOptions, long_selection_options
from nile.cli.copying import RsyncLetters, comparing_options, run_all, sudo_options

EXAMPLES = """\b
Examples:
  nile verify --all -b site/ /srv/site      differences, under the hosts that have the same
  nile verify --all --checksum site/ /srv/site
"""


@click.command("verify", cls=RsyncLetters, epilog=EXAMPLES, short_help="Compare hosts with a source.")
@long_selection_options
@comparing_options
@sudo_options
def command(selection: SelectionOptions, paths: tuple[str, ...], **given: Any) -> int:
    """Compare DEST on hosts with SRC: every path, its type, size, mode, owner, time and link target.

    A host that differs is failed, and what differs there is its output.
    """
    from nile.sync import Purpose, SyncOptions

    how = SyncOptions(
        purpose=Purpose.VERIFY,
        delete=True,
        excludes=tuple(map(os.fsencode, given["excludes"])),
        checksum=given["checksum"],
        numeric_ids=given["numeric_ids"],
    )
    return run_all(selection, paths, how, given)
