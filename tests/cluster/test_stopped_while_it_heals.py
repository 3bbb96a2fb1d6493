"""However a run ends, and whatever befell its tree a moment before: soon nothing of it runs on any host.

The command is as bad as can be: it ignores every polite signal, and so do its
children, of which some have daemonised, some have left the session, some have
cast off the mark of the run, and some fork without end.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable

import pytest

from tests.cluster.conftest import check_nothing_is_left
from tests.cluster.faults import (
    Deed,
    Witness,
    crash,
    cut,
    freeze,
    kill_agent,
    kill_its_ssh,
    kill_warden,
    thaw,
)
from tests.cluster.hosts import busy, cut_root, mend_root, patiently
from tests.cluster.pool import Pool
from tests.cluster.running import Nile, Running
from tests.cluster.striking import DETECTION_S, GRACE_S, QUIET_S, await_start, three_stages

pytestmark = [pytest.mark.cluster, pytest.mark.alone]

LEASE_S, COMMAND_S, LONG_GRACE_S = 6, 15, 8
RAGE = (
    "echo x >> /run/lab/ran; storm() { sleep 0.05; storm & }; "
    "case $NILE_HOST in h001|h002|h033|h050) (trap '' TERM; storm; storm);; esac; "
    """trap '' TERM HUP INT; (setsid sh -c 'trap "" TERM; sleep 999; :' &); setsid sleep 999 & """
    """env -i sh -c 'trap "" TERM; sleep 999; :' & sleep 999 & wait; sleep 999"""
)
DEEDS: dict[str, Deed] = {
    "h001": freeze,
    "h022": kill_warden,
    "h027": cut,
    "h032": kill_its_ssh,
    "h042": kill_agent,
    "h052": crash,
}
UNTOUCHED = {"h021", "h037", "h038", "h039", "h040", "h041", "h047", "h057", "h058", "h059", "h060"}
"""Nothing befell these, nor anybody above them."""


def by(number: int) -> Callable[[Nile, Running], None]:
    return lambda _, run: run.signal(number)


def by_ctrl_c_twice(_: Nile, run: Running) -> None:
    run.signal(signal.SIGINT)
    run.said(b"ending all commands")
    run.signal(signal.SIGINT)


def by_cutting_the_roots_cable(nile: Nile, _: Running) -> None:
    cut_root(nile.lab)


def by_time_out(_: Nile, __: Running) -> None:
    time.sleep(COMMAND_S)


ENDS: dict[str, tuple[Callable[[Nile, Running], None], tuple[str, ...], set[str]]] = {
    "Ctrl-C": (by(signal.SIGINT), (), {"cancelled"}),
    "Ctrl-C twice": (by_ctrl_c_twice, ("--grace", f"{LONG_GRACE_S}s"), {"cancelled"}),
    "SIGTERM": (by(signal.SIGTERM), (), {"cancelled"}),
    "SIGHUP": (by(signal.SIGHUP), (), {"cancelled"}),
    "kill -9": (by(signal.SIGKILL), (), set()),
    "the root's cable is cut": (by_cutting_the_roots_cable, (), {"lost"}),
    "time-out": (by_time_out, ("-u", f"{COMMAND_S}s"), {"timeout"}),
}
"""How it ends -> what is done, with which options, and what becomes of hosts to which all links held."""


def ended(nile: Nile, pool: Pool, how: str) -> tuple[float, float]:
    """Grow the tree, have the faults happen, end the run: how long growing and ending took, in seconds."""
    end, options, verdicts = ENDS[how]
    words = ("--json", "-a", "--grace", f"{GRACE_S}s", *options, "--", RAGE)
    lab = nile.lab
    with contextlib.ExitStack() as stack:
        stack.callback(mend_root, lab)
        witness = stack.enter_context(Witness(lab))
        with pool.turn:
            began = time.monotonic()
            run = stack.enter_context(three_stages(nile, lease=f"{LEASE_S * pool.pace:.1f}s").started(*words))
            await_start(run, witness, lab.names)
        grown_s = time.monotonic() - began
        for host, deed in DEEDS.items():
            deed(lab, host)
        end(nile, run)
        began = time.monotonic()
        slow = max(1.0, grown_s / QUIET_S)
        grace_s = LONG_GRACE_S if "--grace" in options else GRACE_S
        most_s = (DETECTION_S + LEASE_S * pool.pace + grace_s + 2.0) * slow
        patiently(lambda: busy(lab) <= {"h001"}, "nothing of the run is left but on the frozen host", most_s)
        gone_s = time.monotonic() - began
        thaw(lab, "h001")
        # Perhaps within its lease, and then it waits for that like any orphan.
        left_s = max(0.0, most_s - gone_s) + (grace_s + 2.0) * slow
        patiently(lambda: not busy(lab), "nothing is left on the host that thawed", left_s)
        if verdicts:
            told = run.wait().verdicts
            assert {told[host] for host in UNTOUCHED} == verdicts
            assert set(told.values()) <= {*verdicts, "cancelled", "lost"}
    check_nothing_is_left(nile, struck=lab.names)
    return grown_s, gone_s


@pytest.mark.timeout(300)
def test_nothing_survives(pool: Pool) -> None:
    for how, (grown_s, gone_s) in pool.each(lambda nile, how: ended(nile, pool, how), ENDS).items():
        print(f"{how}: grown in {grown_s:.1f} s, gone in {gone_s:.1f} s")
