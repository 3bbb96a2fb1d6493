"""A new run, from what was chosen to its exit code: recorded, shown, and ended as its user wants it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from nile.cli.common import allow_descriptors
from nile.cli.passwording import login_password

if TYPE_CHECKING:
    from nile.cli.common import Selection
    from nile.controller import MakeJob
    from nile.options import ExecOptions


def carry_out(
    chosen: Selection,
    options: ExecOptions,
    given: dict[str, Any],
    *,
    said: str = "",
    handover: str = "",
    job: Callable[[str], MakeJob] | None = None,
    swarms: bool = False,
) -> int:
    """Carry it out; the exit code. `given` are the values of the options that say how it is shown, and
    `argv`, where another command line is to be recorded than the process has.

    `said` is told to the user first, `handover` is what another root needs to go on with it (a
    `nile.store.Handover`), and `job(run id)` what the run does on its hosts beside a command; `swarms`
    says that this is by a swarm.
    """
    from nile.cli.following import Show, finish
    from nile.cli.keeping import keep_to_cap, keeping
    from nile.cli.recorded import control_of, screen
    from nile.cli.secrets import ask_secret
    from nile.controller import new_run_id, prepare
    from nile.report.text import visible
    from nile.store import RunContext, plan_text

    password = login_password(given)
    allow_descriptors()
    out = screen()
    out.err.write(f"{chosen.routes.describe()}\n{said}")
    out.flush()
    run_id = new_run_id()
    context = RunContext.here(given.get("argv") or tuple(sys.argv), plan_text(chosen.plan))
    with keeping(given, context, handover) as kept:
        notices: list[str] = []
        control = control_of(run_id, chosen.plan, options)
        engine = prepare(
            run_id,
            chosen.plan,
            chosen.hosts,
            options,
            kept.record,
            ask_secret,
            notices=notices,
            check_ours=kept.recorder.check_ours,
            observe=control.observe,
            job=None if job is None else job(run_id),
            swarms=swarms,
            password=password,
        )
        for notice in notices:
            out.err.write(f"nile: {visible(notice)}\n")
        show = Show(out, kept.store, run_id, given)
        unrecorded = show.follow(engine, control, options.grace_s)
    keep_to_cap(out, given, run_id)
    return finish(out, show, unrecorded, given)
