"""What a swarm takes on the command line, beside what every copy does."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import SplitResult, unquote, urlsplit

import click

from nile.cli.common import expand
from nile.errors import UsageError
from nile.options import MOST_RATE

F = TypeVar("F", bound=Callable[..., Any])
if TYPE_CHECKING:
    from nile.cli.common import Selection

    _PortsType = click.ParamType[tuple[int, int]]
    _PlaceType = click.ParamType[tuple[str, int]]
else:
    _PortsType = _PlaceType = click.ParamType  # which older clicks don't let one subscribe
_NAME = re.compile(r"[A-Za-z0-9 !$%&'()+,;=@^_`{}~.-]{1,200}\Z")
_PLACE = re.compile(r"(?:([A-Za-z0-9._-]{1,253})|\[([0-9a-fA-F:.]{2,45})\])(?::([0-9]{1,5}))?\Z")
MOST = 20
"""Trackers, or other sources, of one swarm."""


class Ports(_PortsType):
    """Ports from the first to the last one: `6881-6889`, or one alone."""

    name = "ports"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        """The first one, and the last."""
        if isinstance(value, tuple):
            return value
        found = re.fullmatch(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", str(value))
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
        if not 0 < first <= last < 1 << 16:
            self.fail(f"{value!r} are no ports; write 6881-6889, say", param, ctx)
        return first, last


class Place(_PlaceType):
    """An address or a name, and a port: `10.0.0.1`, `10.0.0.1:6969`, `[fd00::1]:6969`, `root.example`."""

    name = "place"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int]:
        """The address, without brackets, and the port: 0 where none is given."""
        if isinstance(value, tuple):
            return value
        found = _PLACE.match(str(value))
        if not found or not (found[3] is None or 0 < int(found[3]) < 1 << 16):
            self.fail(f"{value!r} is no address; write 10.0.0.1 or [fd00::1]:6969, say", param, ctx)
        return found[1] or found[2], int(found[3] or 0)


def swarm_options(function: F) -> F:
    """What is for swarms alone."""
    for option in reversed(
        (
            click.option(
                "--peer-ports", metavar="A-B", type=Ports(), help="For a swarm: where its peers listen."
            ),
            click.option(
                "--seed-limit",
                metavar="KIB/S",
                type=click.IntRange(min=1, max=MOST_RATE),
                help="For a swarm: what this machine sends at most. Default: as --bwlimit.",
            ),
            click.option(
                "--seeders",
                metavar="HOSTS",
                multiple=True,
                help="For a swarm: hosts to serve first, and to serve from where they have it already.",
            ),
            click.option(
                "--rack-limit",
                metavar="KIB/S",
                type=click.IntRange(min=1, max=MOST_RATE),
                help="For a swarm: what comes to each rack over its uplink at most.",
            ),
            click.option(
                "--tracker-at",
                metavar="ADDRESS[:PORT]",
                type=Place(),
                help="For a swarm: have a tracker here, for others, at this address as they see it.",
            ),
            click.option(
                "--tracker", "trackers", metavar="URL", multiple=True, help="For a swarm: announce it there."
            ),
            click.option(
                "--web-seed",
                "web_seeds",
                metavar="URL",
                multiple=True,
                help="For a swarm: a directory by HTTP that has what DEST is to have.",
            ),
        )
    ):
        function = option(function)
    return function


def can_seed() -> bool:
    """Is there a libtorrent for this Python?"""
    return find_spec("libtorrent") is not None


def swarm_values(given: dict[str, Any]) -> dict[str, Any]:
    """Of `SyncOptions`. Raises UsageError."""
    trackers = tuple(given["trackers"])
    for url in trackers:
        _checked(url, "--tracker", ("http", "https", "udp"), given["plain"])
    return {
        "peer_ports": given["peer_ports"],
        "seed_limit_kib_s": given["seed_limit"],
        "rack_limit_kib_s": given["rack_limit"],
        "tracker_at": given["tracker_at"],
        "trackers": _few(trackers, "--tracker"),
        **_web_seeds(_few(given["web_seeds"], "--web-seed"), given["plain"]),
    }


def among(texts: Sequence[str], chosen: Selection) -> frozenset[str]:
    """The hosts of these sets, all of whom are to be among those that were chosen. Raises UsageError."""
    found: set[str] = set()
    for text in texts:
        where = f"--seeders {text}"
        names = expand(chosen.routes, text, where)
        if strangers := [name for name in names if name not in set(chosen.hosts)]:
            reason = f"{strangers[0]} isn't among the hosts that were asked for"
            raise UsageError(reason, where=where, remedy="choose it with -w, --group or --all, too")
        found.update(names)
    return frozenset(found)


def _few(urls: Sequence[str], where: str) -> tuple[str, ...]:
    if len(urls) > MOST:
        raise UsageError(f"more than {MOST} of them", where=where, remedy="give fewer")
    return tuple(urls)


def _web_seeds(urls: Sequence[str], plain: bool) -> dict[str, Any]:
    """A torrent's files are below its name: so that is how the directories are called."""
    found = [_checked(url, "--web-seed", ("http", "https"), plain) for url in urls]
    names = {unquote(url.path.rstrip("/").rpartition("/")[2]) for url in found}
    if not names:
        return {}
    if len(names) > 1 or not _NAME.match(min(names)) or min(names) in (".", ".."):
        remedy = "as in http://mirror/images/ and http://other/images/"
        reason = "all web seeds are directories of one name, of plain characters"
        raise UsageError(reason, where="--web-seed", remedy=remedy)
    above = [url._replace(path=url.path.rstrip("/").rpartition("/")[0] + "/").geturl() for url in found]
    return {"web_seeds": tuple(above), "torrent_name": min(names)}


def _checked(url: str, where: str, schemes: Sequence[str], plain: bool) -> SplitResult:
    try:
        found = urlsplit(url)
        wrong = found.scheme not in schemes or not found.hostname or found.port == 0
    except ValueError:
        wrong = True
    if wrong or not url.isascii() or not url.isprintable() or len(url) > 2000:
        remedy = f"write {' or '.join(scheme + '://HOST/...' for scheme in schemes)}"
        raise UsageError(f"{url!r} is no URL for that", where=where, remedy=remedy)
    if found.scheme == "https" and not plain:
        reason = "a swarm that is encrypted trusts the certificates of its run, and no other"
        raise UsageError(reason, where=where, remedy="give an http:// URL, or --plain")
    return found
