"""`nile sync`: copy files and directories to hosts."""

from __future__ import annotations

from typing import Any

import click

from nile.cli.common import SelectionOptions, long_selection_options
from nile.cli.copying import RsyncLetters, comparing_options
from nile.cli.elevating import sudo_options
from nile.cli.passwording import password_options
from nile.cli.releasing import KEEP, Name, Percent
from nile.cli.swarmoptions import swarm_options
from nile.cli.writing import PLAIN, copy, writing_options
from nile.errors import UsageError

EXAMPLES = """\b
Examples:
  nile sync --all site/ /srv/site             what is in site/, to /srv/site on all hosts
  nile sync -w 'n[1-40]' tool /opt            the directory itself: /opt/tool
  nile sync --all app.conf /etc/app           a file: /etc/app/app.conf
  nile sync --all --delete site/ /srv/site    and take away what site/ doesn't have
  nile sync --all --release 2.4 --quorum 95% app/ /srv/app
                                              to /srv/app/releases/2.4, then flip /srv/app/current
  nile sync --all -n --gather site/ /srv/site
                                              only say what would be done
  nile sync --catch-up last                   once more, to the hosts that weren't ok
"""


@click.command("sync", cls=RsyncLetters, epilog=EXAMPLES, short_help="Copy files to hosts.")
@long_selection_options
@password_options
@comparing_options
@sudo_options
@writing_options
@swarm_options
@click.option(
    "--method",
    type=click.Choice(["auto", "stream", "rsync", "rsync-tcp", "swarm"]),
    default="auto",
    show_default=True,
    help="As one stream from host to host; by rsync over ssh; or over connections in the clear; in a swarm.",
)
@click.option(
    "--chains",
    metavar="N",
    type=click.IntRange(min=1),
    default=1,
    help="Begin a stream with N hosts at one time: where this machine's port is N times as fast as theirs.",
)
@PLAIN
@click.option(
    "--delta", is_flag=True, help="Send of changed files only what changed in them: for slow networks."
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
    catch_up, changed_too = given.pop("catch_up"), given.pop("changed_too")
    if catch_up is not None:
        from nile.cli.catching_up import catch_up as again

        return again(catch_up, changed_too)
    if changed_too:
        raise UsageError("--changed-too is for --catch-up", remedy="without, a source is taken as it is")
    return copy(selection, paths, given)
