"""Rates as options of the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    _RateType = click.ParamType[float]
else:
    _RateType = click.ParamType  # which older clicks don't let one subscribe


class Rate(_RateType):
    """What a port moves: a number with a unit, as `1gbit`, `200mbit`, `100MiB`."""

    name = "rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Bytes a second, above 0."""
        from nile.topology.amounts import rate
        from nile.topology.refusal import Refusal

        if isinstance(value, float):
            return value
        try:
            return rate(str(value))
        except Refusal as refusal:
            self.fail(f"{refusal.message}; {refusal.remedy}", param, ctx)
