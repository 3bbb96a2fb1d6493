"""`nile swarm limit`: other rates for a swarm under way."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from nile.cli import recorded, swarming, underway
from nile.errors import NotOverError, UsageError
from nile.options import MOST_RATE

if TYPE_CHECKING:
    from nile.control import Remote

    _RateType = click.ParamType[int]
else:
    _RateType = click.ParamType  # which older clicks don't let one subscribe

WITHIN_S = 15.0
"""For all peers to say that they keep to it."""
NONE = "none"


class _Rate(_RateType):
    """KiB a second, as with --bwlimit; or `none`, for as much as can."""

    name = "rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number; 0 for none."""
        if isinstance(value, int):
            return value
        if value == NONE:
            return 0
        if not (value.isascii() and value.isdecimal() and 0 < int(value) <= MOST_RATE):
            self.fail(f"{value!r} is no number from 1 to {MOST_RATE}; write 500, say, or {NONE}", param, ctx)
        return int(value)


@click.command("limit", short_help="Have its peers send less, or more, from now on.")
@click.argument("run", default="")
@click.option("--seed", metavar="KIB/S", type=_Rate(), help="What this machine sends at most.")
@click.option("--host", metavar="KIB/S", type=_Rate(), help="What each host sends at most.")
@click.option(
    "--rack", metavar="KIB/S", type=_Rate(), help="What comes to each rack over its uplink at most."
)
def limit(run: str, seed: int | None, host: int | None, rack: int | None) -> int:
    """Have peers of a swarm under way keep to other rates: all of them at once, and those that come later.

    What isn't given stays as it is; `none` takes a limit away. They begin with --seed-limit, --bwlimit
    and --rack-limit. RUN is a run's id, a beginning of one, or `last`; it may be left out where one swarm is
    under way. `nile swarm status` shows what holds.

    \b
    Examples:
      nile swarm limit --rack 20000               at most 20 MB/s over each rack's uplink
      nile swarm limit 7d6e --seed 500 --host none

    Exit code: 0 once all peers have said that they keep to it; 1 where some haven't within 15 s.
    """
    from nile.options import RateLimits

    wanted = {
        name: rate for name, rate in (("seed", seed), ("host", host), ("rack", rack)) if rate is not None
    }
    if not wanted:
        raise UsageError("no rate is given", remedy="give --seed, --host or --rack, and KiB/s or `none`")
    with underway.root_of(swarming.meant(run).run) as remote:
        _refuse(remote, wanted)
        remote.limit(RateLimits(seed, host, rack))
        told = _until_kept(remote, wanted)
    screen = recorded.screen()
    screen.out.write(f"{told['keeping']} of {told['peers']} peers keep to it\n")
    screen.flush()
    return 0


def _refuse(remote: Remote, wanted: Mapping[str, int]) -> None:
    """UsageError where nobody could keep to it."""
    where, swarm = f"run {remote.run}", remote.status()["swarm"]
    if swarm is None:
        remedy = "`nile swarm status` says when it has"
        raise UsageError("its swarm hasn't begun", where=where, remedy=remedy)
    if not swarm["limits"]["peers"] and not swarm["seeding"]:
        raise UsageError("its peers have ended, and so has its seed", where=where)
    if wanted.get("rack") and not swarm["limits"]["racks"]:
        remedy = "say in the route file on which `switch` hosts hang, and begin anew; or give --host"
        raise UsageError("nobody said which racks there are", where=where, remedy=remedy)


def _until_kept(remote: Remote, wanted: Mapping[str, int]) -> Mapping[str, Any]:
    """Wait until all say so; NotOverError where some don't."""
    until = time.monotonic() + WITHIN_S
    while True:
        told: Mapping[str, Any] = remote.status()["swarm"]["limits"]
        known = all(told[f"{what}_bytes_per_s"] == (1024 * rate or None) for what, rate in wanted.items())
        if known and told["keeping"] == told["peers"]:
            return told
        if time.monotonic() > until:
            break
        time.sleep(underway.LOOK_S)
    keeping = (
        f"{told['keeping']} of {told['peers']} peers keep to it" if known else "nobody has said that it does"
    )
    raise NotOverError(
        f"after {WITHIN_S:.0f} s {keeping}",
        where=f"run {remote.run}",
        remedy="it was told to all of them, and holds where they answer: `nile swarm status` counts them",
    )
