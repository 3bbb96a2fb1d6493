"""What the commands about releases have in common."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from nile.cli import copying
from nile.cli.common import SelectionOptions, select
from nile.cli.elevating import sudo_options
from nile.cli.passwording import password_options
from nile.errors import UsageError

if TYPE_CHECKING:
    from nile.controller import MakeJob
    from nile.sync import ReleasesOptions

    _PercentType = click.ParamType[int]
    _NameType = click.ParamType[str]
else:
    _PercentType = _NameType = click.ParamType  # which older clicks don't let one subscribe

F = TypeVar("F", bound=Callable[..., Any])

ANY = 1
"""The least share that `Percent` has: every host that is ready may flip, however few they are."""
_PERCENT = re.compile(r"(\d{1,3})(?:\.(\d{1,2}))?%")


class Percent(_PercentType):
    """Above 0%, up to 100%: hundredths of a percent."""

    name = "percent"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """95% is 9500."""
        if isinstance(value, int):
            return value
        found = _PERCENT.fullmatch(str(value))
        share = int(found[1]) * 100 + int((found[2] or "").ljust(2, "0")) if found else 0
        if not 0 < share <= 10000:
            self.fail(f"'{value}' is not a percentage; write one as in 95%", param, ctx)
        return share


class Name(_NameType):
    """What a release is called."""

    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name itself."""
        from nile.agent.worker.naming import is_name

        if not is_name(value):
            self.fail(
                f"'{value}' can't be the name of a release; letters, digits and . _ + - can, a sign not "
                "as the first of them, and 100 of them at most",
                param,
                ctx,
            )
        return str(value)


KEEP = click.option(
    "--keep",
    metavar="N",
    type=click.IntRange(min=0),
    help="Remove all but the N latest; never the current one, the one before, nor one in use.",
)


def showing_options(function: F) -> F:
    """What they take beside hosts: the place, as whom it is written to, and how it is shown."""
    for option in reversed(
        (
            click.option("-q", "--quiet", is_flag=True, help="Of the summary only hosts that aren't ok."),
            click.option("--json", "as_json", is_flag=True, help="JSON Lines (docs/reference/json.md)."),
            click.argument("dest", metavar="DEST", type=click.Path()),
        )
    ):
        function = option(function)
    return password_options(sudo_options(function))


def place(dest: str) -> bytes:
    """The directory that has `current` and the releases, on all hosts; raises UsageError."""
    if not dest.startswith("/"):
        remedy = "it is the same on all hosts, and that which `nile sync --release` was given"
        raise UsageError(f"{dest}: it must be an absolute path", where="DEST", remedy=remedy)
    return os.path.normpath(os.fsencode(dest))


def run(selection: SelectionOptions, what: ReleasesOptions, given: dict[str, Any]) -> int:
    """Carry it out; the exit code."""
    from nile.sync import Releases

    def job(run_id: str) -> MakeJob:
        return lambda _, tree: Releases(what, run_id, tree)

    return copying.run(select(selection), job, {**given, "gather": not given["as_json"]})
