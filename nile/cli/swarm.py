"""`nile swarm`: files to hosts that give them to each other."""

from __future__ import annotations

from typing import Any

import click

from nile.cli.common import SelectionOptions, long_selection_options
from nile.cli.copying import RsyncLetters, comparing_options, sudo_options
from nile.cli.writing import PLAIN, copy, writing_options

EXAMPLES = """\b
Examples:
  nile swarm run --all image/ /srv/image      what is in image/, to /srv/image on all hosts
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


@command.command(
    "run", cls=RsyncLetters, epilog=EXAMPLES, short_help="Launch a swarm, follow it, and end it."
)
@long_selection_options
@comparing_options
@sudo_options
@writing_options
@PLAIN
def run(selection: SelectionOptions, paths: tuple[str, ...], **given: Any) -> int:
    """Copy SRC to the directory DEST on hosts, which give pieces of it to each other.

    It is what `nile sync --method swarm` does: a peer is launched on every host that differs, a seed
    here, and nothing of either is left in the end. Hosts that have no libtorrent, or that the swarm
    doesn't serve, get their copy by rsync. Each host's copy is held against the source.
    """
    return copy(selection, paths, {**OTHERWISE, **given})
