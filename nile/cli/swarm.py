"""`nile swarm`: files to hosts that give them to each other."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nile.cli import swarm_limit, swarm_status, swarm_stop
from nile.cli.common import Seconds, SelectionOptions, long_selection_options
from nile.cli.copying import RsyncLetters, comparing_options
from nile.cli.elevating import sudo_options
from nile.cli.fetch_peers import fetch_peers
from nile.cli.passwording import password_options
from nile.cli.swarmoptions import swarm_options
from nile.cli.writing import PLAIN, copy, writing_options

if TYPE_CHECKING:
    from nile.cli.background import Leaving

EXAMPLES = """\b
Examples:
  nile swarm run --all image/ /srv/image      what is in image/, to /srv/image on all hosts
  nile swarm run --all --web-seed http://mirror/image/ image/ /srv/image
                                              and fetch from there, too
  nile swarm run -w 'n[1-40]' --peer-python /opt/swarm/bin/python3 image/ /srv/image
"""
OTHERWISE = {
    "method": "swarm",
    "chains": 1,
    "delta": False,
    "release": None,
    "quorum": None,
    "keep": None,
}
"""What is of no use in a swarm, or for `nile sync --method swarm` to say."""


@click.group("swarm")
def command() -> None:
    """Copy with a BitTorrent swarm: for networks that nobody knows well, and hosts that come and go."""


command.add_command(fetch_peers)


@command.command(
    "run", cls=RsyncLetters, epilog=EXAMPLES, short_help="Launch a swarm, follow it, and end it."
)
@long_selection_options
@password_options
@comparing_options
@sudo_options
@writing_options
@swarm_options
@PLAIN
def run(selection: SelectionOptions, paths: tuple[str, ...], **given: Any) -> int:
    """Copy SRC to the directory DEST on hosts, which give pieces of it to each other.

    It is what `nile sync --method swarm` does: a peer is launched on every host that differs, a seed
    here, and nothing of either is left in the end. Hosts that have no libtorrent, or that the swarm
    doesn't serve, get their copy by rsync. Each host's copy is held against the source.
    """
    return copy(selection, paths, {**OTHERWISE, **given})


ATTENDED = {"dry_run": False, "repos": None, "gather": False, "quiet": False, "as_json": False}
"""What is of use only where a run is followed to its end, or has several parts."""
STARTS = """\b
Examples:
  nile swarm start --all image/ /srv/image    until `nile swarm stop`
  nile swarm start --for 2h -w 'n[1-40]' image/ /srv/image
"""


@command.command(
    "start", cls=RsyncLetters, epilog=STARTS, short_help="Launch a swarm that goes on by itself."
)
@long_selection_options
@password_options
@comparing_options
@sudo_options
@writing_options
@swarm_options
@PLAIN
@click.option(
    "--for",
    "serve_s",
    metavar="DURATION",
    type=Seconds(),
    default=math.inf,
    help="How long it serves on once all hosts have all. Default: until `nile swarm stop`.",
)
def start(selection: SelectionOptions, paths: tuple[str, ...], **given: Any) -> int:
    """Copy SRC to the directory DEST on hosts as `nile swarm run` does, but return once that is under way.

    The swarm goes on without this terminal, and serves on when all hosts have all: `nile swarm status` says
    how it is, `nile swarm stop` ends it. Hosts that aren't there after 10 s join it later (with --delete all
    are waited for). What keeps it from beginning is said here. If no host lacks anything, it is over at once.
    """
    from nile.cli.background import launch

    def work(leaving: Leaving) -> int:
        return copy(selection, paths, {**OTHERWISE, **ATTENDED, **given, "leaving": leaving})

    return launch(work, _log, _begun)


start.params = [parameter for parameter in start.params if parameter.name not in ATTENDED]
command.add_command(swarm_status.status)
command.add_command(swarm_limit.limit)
command.add_command(swarm_stop.stop)


def _log(run_id: str) -> Path:
    """Where a run that goes on by itself says what it would say on a terminal, until it is over."""
    from nile.topology.places import state_directory

    directory = state_directory() / "background"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return directory / f"{run_id}.txt"


def _begun(run_id: str) -> None:
    short = run_id[:8]
    click.echo(f"the swarm is under way, and goes on by itself: run {short}")
    click.echo(f"  nile swarm status {short}    how each host fares (--watch: look on)")
    click.echo(f"  nile swarm stop {short}      end it")
