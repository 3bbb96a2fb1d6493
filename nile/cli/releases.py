"""`nile releases`: say which releases hosts have, end a flip that was interrupted, remove old ones."""

from __future__ import annotations

from typing import Any

import click

from nile.cli.common import SelectionOptions, selection_options
from nile.cli.releasing import KEEP, place, run, showing_options
from nile.errors import UsageError

EXAMPLES = """\b
Examples:
  nile releases --all /srv/app              what hosts have, folded where it is the same
  nile releases --all --finish /srv/app     a flip that was interrupted: have all hosts flip
  nile releases --all --rollback /srv/app   or take it back on all of them
  nile releases --all --as-is /srv/app      or leave `current` as somebody has made it meanwhile
  nile releases --all --keep 5 /srv/app     remove all but the five latest
"""


@click.command("releases", epilog=EXAMPLES, short_help="Say which releases hosts have.")
@selection_options
@click.option("--finish", is_flag=True, help="End a flip that was interrupted: flip the hosts that didn't.")
@click.option("--rollback", is_flag=True, help="End it the other way: take it back where it was done.")
@click.option("--as-is", is_flag=True, help="End it and change nothing: where `current` was turned by hand.")
@KEEP
@showing_options
def command(selection: SelectionOptions, dest: str, **given: Any) -> int:
    """List the releases below DEST on hosts: the current one, the one before, and the others.

    A host on which a flip was interrupted is failed, and the reason says whether it flipped.
    """
    from nile.sync import Deed, ReleasesOptions

    deeds = {
        Deed.FINISH: given["finish"],
        Deed.UNDO: given["rollback"],
        Deed.LEAVE: given["as_is"],
        Deed.PRUNE: given["keep"] is not None,
    }
    chosen = [deed for deed, wanted in deeds.items() if wanted] or [Deed.LIST]
    if len(chosen) > 1:
        raise UsageError(
            "--finish, --rollback, --as-is and --keep can't go together",
            remedy="leave all but one of them out",
        )
    return run(selection, ReleasesOptions(place(dest), chosen[0], keep=given["keep"]), given)
