"""`nile sync`: copy files and directories to hosts."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from nile.cli.common import Seconds, SelectionOptions, long_selection_options
from nile.cli.copying import RsyncLetters, comparing_options, run_all, sudo_options
from nile.cli.rates import Rate
from nile.cli.releasing import KEEP, Name, Percent
from nile.errors import UsageError

EXAMPLES = """\b
Examples:
  nile sync --all site/ /srv/site             what is in site/, to /srv/site on all hosts
  nile sync -w 'n[1-40]' tool /opt            the directory itself: /opt/tool
  nile sync --all app.conf /etc/app           a file: /etc/app/app.conf
  nile sync --all --delete site/ /srv/site    and take away what site/ doesn't have
  nile sync --all --release 2.4 --quorum 95% app/ /srv/app
                                              to /srv/app/releases/2.4, then flip /srv/app/current
  nile sync --all -n -b site/ /srv/site       only say what would be done
  nile sync --catch-up last                   once more, to the hosts that weren't ok
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
@click.option(
    "--chains",
    metavar="N",
    type=click.IntRange(min=1),
    default=1,
    help="Begin a stream with N hosts at one time: where this machine's port is N times as fast as theirs.",
)
@click.option("--plain", is_flag=True, help="Don't encrypt streams: faster, for networks that are trusted.")
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
@click.option(
    "--rate", metavar="R", type=Rate(), help="What a port moves, as 1gbit: to tell how near it came."
)
@click.option(
    "--release",
    metavar="NAME",
    type=Name(),
    help="Deliver to DEST/releases/NAME, and then flip DEST/current, on all hosts together.",
)
@click.option(
    "--quorum", metavar="P%", type=Percent(), help="Flip if so many of the hosts are ready. Default: 100%."
)
@KEEP
@click.option(
    "--catch-up", metavar="RUN", help="Copy as that run did, to the hosts that weren't ok; takes no SRC."
)
@click.option("--changed-too", is_flag=True, help="With --catch-up: also where the source changed since.")
def command(selection: SelectionOptions, paths: tuple[str, ...], **given: Any) -> int:
    """Copy SRC to the directory DEST on hosts, over the tree: what differs, and nothing else.

    With a trailing slash SRC stands for what is in it, without for itself, as with rsync. Files keep
    their modes, times, links and, where the user may set them, owners.
    """
    from nile.sync import Ask, Method, Purpose, SyncOptions

    catch_up, changed_too = given.pop("catch_up"), given.pop("changed_too")
    if catch_up is not None:
        from nile.cli.catching_up import catch_up as again

        return again(catch_up, changed_too)
    if changed_too:
        raise UsageError("--changed-too is for --catch-up", remedy="without, a source is taken as it is")
    released = _release(given)
    how = SyncOptions(
        purpose=Purpose.DRY_RUN if given["dry_run"] else Purpose.COPY,
        method=Method(given["method"]),
        ask=Ask.USER if sys.stdin.isatty() and not given["as_json"] else Ask.REFUSE,
        excludes=tuple(map(os.fsencode, given["excludes"])),
        checksum=given["checksum"],
        numeric_ids=given["numeric_ids"],
        chown=given["chown"],
        whole=not given["delta"],
        plain=given["plain"],
        chains=given["chains"],
        wait_s=given["wait_s"],
        bwlimit_kib_s=given["bwlimit"],
        rate=given["rate"],
        **released,
    )
    # What would be otherwise than now, where a release is current.
    below = b"/current" if given["release"] and given["dry_run"] else b""
    return run_all(selection, paths, how, given, below)


def _release(given: dict[str, Any]) -> dict[str, Any]:
    """What may be deleted, and what is made current then; raises UsageError."""
    from nile.sync import Quorum

    deleting = {"delete": given["delete"], "max_delete": given["max_delete"]}
    if not given["release"]:
        for name in ("quorum", "keep"):
            if given[name] is not None:
                raise UsageError(f"--{name} is for releases", remedy="give --release NAME too")
        return deleting
    if given["delete"] or given["max_delete"] is not None:
        remedy = "a release never has more than SRC, and the others stay as they are: leave it out"
        raise UsageError("--delete and --max-delete can't go with --release", remedy=remedy)
    if given["repos"]:
        raise UsageError("--release is for one SRC and DEST", remedy="leave --repos out")
    if given["dry_run"]:
        return {"delete": True}
    quorum = Quorum() if given["quorum"] is None else Quorum(given["quorum"])
    whole = {"delete": True, "max_delete": sys.maxsize}  # of what an earlier try left, nobody minds how much
    return {"release": given["release"], "quorum": quorum, "keep": given["keep"], **whole}
