"""Going on with a run whose root died: what its record says, and whether anything is left to go on with."""

from __future__ import annotations

from nile.cascade import BEATS_TO_NOTE, Heritage, Known
from nile.controller.engine import BEAT_S
from nile.errors import UsageError
from nile.options import OnOrphan
from nile.store import Handover, RunRecord, RunState, Store
from nile.store.records import is_elsewhere

SEEN_EVERY_S = BEAT_S * BEATS_TO_NOTE
MISSED = 3
"""So many notes of a root's life have to fail until one that can't be seen from here is taken for dead."""


def check_attachable(store: Store, run: RunRecord, now: float) -> Handover:
    """What another root needs to go on with a run at `now`, in seconds since the epoch.

    Raises UsageError where its root lives, or where nothing can be waiting for a root any more.
    """
    handover = store.handover(run)
    _refuse(run, handover, now)
    assert handover is not None
    return handover


def heritage(store: Store, run: RunRecord, now: float, *, paused: bool = False) -> Heritage:
    """What the record says of its hosts, once nobody else writes it (see `Recorder.take_over`)."""
    received = store.received(run)
    known = {
        host.host: Known(
            parent=host.parent,
            t_connect_s=host.t_connect_s,
            t_ready_s=host.t_ready_s,
            started=host.t_start_s is not None,
            verdict=host.result.verdict if host.result else None,
            received=received.get(host.host, (0, 0)),
        )
        for host in store.hosts(run)
    }
    return Heritage(run.roots, max(0.0, now - run.started_at), known, paused)


def _refuse(run: RunRecord, handover: Handover | None, now: float) -> None:
    name = f"run {run.run}"
    if run.ended_at is not None:
        raise UsageError("it has ended", where=name, remedy=f"`nile show {run.run}` shows how")
    if run.state is RunState.RUNNING:
        pid = run.context.process.split()[2]
        remedy = f"look on at its own terminal, or end it there with Ctrl-C; if it hangs, kill -9 {pid}"
        raise UsageError("its root is alive", where=name, remedy=remedy)
    seen_at = run.started_at if run.seen_at is None else run.seen_at
    silent_s = now - seen_at
    if is_elsewhere(run.context.process) and silent_s < SEEN_EVERY_S * MISSED:
        raise UsageError(
            f"its root gave a sign of life {max(0.0, silent_s):.0f} s ago, elsewhere or before a boot",
            where=name,
            remedy=f"try again when there was none for {SEEN_EVERY_S * MISSED:g} s",
        )
    if handover is None:
        remedy = "run it again: a run that copies goes on where this one ended"
        raise UsageError("only runs of commands can be taken over", where=name, remedy=remedy)
    if handover.exec.stdin:
        remedy = f"`nile show {run.run}` names the hosts without a verdict"
        why = "its hosts missed a part of the standard input"
        raise UsageError(f"it can't be taken over: {why}", where=name, remedy=remedy)
    lease_s = handover.plan.timeouts.lease_s
    if handover.exec.on_orphan is OnOrphan.ADOPT and silent_s > lease_s + SEEN_EVERY_S:
        raise UsageError(
            f"its root was seen last {silent_s:.0f} s ago; commands live on for {lease_s:g} s without one",
            where=name,
            remedy=f"they were ended; `nile show {run.run}` names the hosts without a verdict",
        )
    if handover.exec.on_orphan is OnOrphan.KILL:
        remedy = f"they end with their root (--on-orphan kill); `nile show {run.run}` has what is known"
        raise UsageError("its commands were ended", where=name, remedy=remedy)
