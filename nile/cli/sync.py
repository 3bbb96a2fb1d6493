"""`nile sync`: copy files and directories to hosts."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from nile.cli.common import Seconds, SelectionOptions, long_selection_options
from nile.cli.copying import RsyncLetters, comparing_options, run_all, sudo_options

EXAMPLES = """\b
Examples:
  nile sync --all site/ /srv/site             what is in site/, to /srv/site on all hosts
  nile sync -w 'n[1-40]' tool /opt            the directory itself: /opt/tool
  nile sync --all app.conf /etc/app           a file: /etc/app/app.conf
  nile sync --all --delete site/ /srv/site    and take away what site/ doesn't have
  nile sync --all -n -b site/ /srv/site       only say what would be done
"""


@click.command("sync", cls=RsyncLetters, epilog=EXAMPLES, short_help="Copy files to hosts.")
@long_selection_options
@comparing_options
@sudo_options
@click.option("-n", "--dry-run", is_flag=True, help="Say what would be copied and deleted, and do nothing.")
@click.option("--delete", is_flag=True, help="Delete on the hosts what the source doesn't have.")
@click.option(
    "--max-delete",
    metavar="N",
    type=click.IntRange(min=0),
    help="Refuse hosts on which more would be deleted. Default: ask above 1,000, or a tenth.",
)
@click.option(
    "--method",
    type=click.Choice(["auto", "stream", "rsync", "rsync-tcp"]),
    default="auto",
    show_default=True,
    help="As one stream from host to host; by rsync over ssh; or over connections in the clear.",
)
@click.option("--chown", metavar="USER:GROUP", default="", help="Who is to own the files there.")
@click.option(
    "--delta", is_flag=True, help="Send of changed files only what changed in them: for slow networks."
)
@click.option(
    "--wait", "wait_s", metavar="S", type=Seconds(), default=0.0, help="For another run that writes there."
)
@click.option(
    "--bwlimit", metavar="KIB/S", type=click.IntRange(min=1), help="For each copy between two hosts."
)
def command(selection: SelectionOptions, paths: tuple[str, ...], **given: Any) -> int:
    """Copy SRC to the directory DEST on hosts, over the tree: what differs, and nothing else.

    With a trailing slash SRC stands for what is in it, without for itself, as with rsync. Files keep
    their modes, times, links and, where the user may set them, owners.
    """
    from nile.sync import Ask, Method, Purpose, SyncOptions

    how = SyncOptions(
        purpose=Purpose.DRY_RUN if given["dry_run"] else Purpose.COPY,
        method=Method(given["method"]),
        delete=given["delete"],
        max_delete=given["max_delete"],
        ask=Ask.USER if sys.stdin.isatty() and not given["as_json"] else Ask.REFUSE,
        excludes=tuple(map(os.fsencode, given["excludes"])),
        checksum=given["checksum"],
        numeric_ids=given["numeric_ids"],
        chown=given["chown"],
        whole=not given["delta"],
        wait_s=given["wait_s"],
        bwlimit_kib_s=given["bwlimit"],
    )
    return run_all(selection, paths, how, given)
