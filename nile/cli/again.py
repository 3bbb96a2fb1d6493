"""What `nile exec --retry-failed` and `nile sync --catch-up` share: a recorded command line, once more.

It is read in the directory where it was given, of a run that is over, and for other hosts.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from nile.errors import UsageError

if TYPE_CHECKING:
    from nile.store import RunRecord


def enter(run: RunRecord, option: str, remedy: str) -> None:
    """Go where its command line was given: paths mean something only there."""
    try:
        os.chdir(run.context.directory)
    except OSError as error:
        reason = f"{run.context.directory}, where run {run.run} was begun: {error.strerror}"
        raise UsageError(reason, where=option, remedy=remedy) from None


def check_over(run: RunRecord, option: str) -> None:
    """Refuse one that goes on."""
    if run.state == "running":
        remedy = f"wait for its end; `nile show {run.run}` says how it stands"
        raise UsageError(f"run {run.run} goes on", where=option, remedy=remedy)


def choice(params: dict[str, Any], run: RunRecord, hosts: list[str]) -> dict[str, Any]:
    """These hosts instead of all that were chosen; the same routes, whatever is found by now."""
    from nile.report import folded

    return {
        "hosts": (folded(hosts),),
        "exclude": (),
        "groups": (),
        "everything": False,
        "hostfiles": (),
        "routes": params["routes"] or run.routes,
    }
