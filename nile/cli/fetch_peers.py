"""`nile swarm fetch-peers`: have libtorrent ready for hosts that have none."""

from __future__ import annotations

import os
import re
from itertools import product

import click

from nile.errors import NileError, UsageError

EXAMPLES = """\b
Examples:
  nile swarm fetch-peers                        for Python 3.9 to 3.13, on machines like this one
  nile swarm fetch-peers --python 3.9 --python 3.11 --machine x86_64 --machine aarch64
  nile swarm fetch-peers --list                 what is there
"""
PYTHONS = ("3.9", "3.10", "3.11", "3.12", "3.13")


def _versions(
    _context: click.Context, _parameter: click.Parameter, given: tuple[str, ...]
) -> list[tuple[int, int]]:
    for text in given:
        if not re.fullmatch(r"3\.\d{1,2}", text):
            remedy = "write major and minor number, as in 3.11"
            raise UsageError(f"{text!r} is no version of Python", where="--python", remedy=remedy)
    return [(3, int(text.partition(".")[2])) for text in given]


def _machines(
    _context: click.Context, _parameter: click.Parameter, given: tuple[str, ...]
) -> tuple[str, ...]:
    for text in given:
        if not re.fullmatch(r"[A-Za-z0-9_]{1,20}", text):
            remedy = "write what `uname -m` says there, as x86_64"
            raise UsageError(f"{text!r} is no machine", where="--machine", remedy=remedy)
    return given or (os.uname().machine,)


@click.command("fetch-peers", epilog=EXAMPLES, short_help="Have libtorrent ready for hosts without it.")
@click.option(
    "--python",
    "pythons",
    metavar="X.Y",
    multiple=True,
    default=PYTHONS,
    callback=_versions,
    help=f"A version of Python on hosts; several. Default: {PYTHONS[0]} to {PYTHONS[-1]}.",
)
@click.option(
    "--machine",
    "machines",
    metavar="NAME",
    multiple=True,
    callback=_machines,
    help="What `uname -m` says there; several. Default: as here.",
)
@click.option(
    "--libc",
    "libcs",
    type=click.Choice(["glibc", "musl"]),
    multiple=True,
    default=("glibc",),
    show_default=True,
    help="musl: Alpine and its like.",
)
@click.option("--list", "lists", is_flag=True, help="Fetch nothing; say what is there.")
def fetch_peers(
    pythons: list[tuple[int, int]], machines: tuple[str, ...], libcs: tuple[str, ...], lists: bool
) -> int:
    """Fetch wheels of libtorrent with pip, into ~/.cache/nile/peers.

    From there `nile swarm run` brings one to each host that has none, into its memory. Nothing is ever
    fetched but by this command.
    """
    from nile.controller import peerwheels

    if lists:
        _list()
        return 0
    failed: list[NileError] = []
    for libc, machine, version in product(libcs, machines, pythons):
        try:
            path, known = peerwheels.fetch(peerwheels.asked(version, machine, libc))
        except NileError as error:
            failed.append(error)
        else:
            click.echo(f"{path}{' (was there)' * known}")
    for each in failed[:-1]:
        click.echo(f"nile: {each}", err=True)
    if failed:
        raise failed[-1]
    return 0


def _list() -> None:
    from nile.controller import peerwheels
    from nile.topology.amounts import size

    wheels = peerwheels.cached()
    for wheel in wheels:
        click.echo(f"{wheel.digest.hex()}  {size(wheel.size):>9}  {wheel.file}")
    if not wheels:
        click.echo(f"nile: nothing is in {peerwheels.directory()}", err=True)
