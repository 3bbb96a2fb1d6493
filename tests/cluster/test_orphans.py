"""What hosts do that lose their parent (--on-orphan, --idempotent), and turns (-f) while relays die."""

from __future__ import annotations

import contextlib
import itertools
import signal
import time
from collections.abc import Callable

import pytest

from tests.cluster.conftest import check_nothing_is_left
from tests.cluster.faults import Witness, crash, freeze, kill_agent, kill_both, kill_its_ssh, mend
from tests.cluster.hosts import busy, commands, names_of, patiently
from tests.cluster.pool import Pool
from tests.cluster.running import Nile
from tests.cluster.striking import (
    COMMAND,
    GRACE_S,
    GROWN_S,
    QUIET_S,
    SLEEP_S,
    await_start,
    strike,
    three_stages,
)

pytestmark = [pytest.mark.cluster, pytest.mark.alone]

BELOW_H022 = {"h023", "h024", "h025", "h026"}
BELOW_H032 = {"h033", "h034", "h035", "h036"}
BEGIN_AND_WAIT = "echo begin; echo x >> /run/lab/ran; sleep 60"
FANOUT, TURN_S = 20, 2
TURNS = f"date +'begin %s.%N' >> /run/lab/ran; sleep {TURN_S}; date +'end %s.%N' >> /run/lab/ran"


def kill_ends_them_at_once(nile: Nile, pool: Pool) -> None:
    """Below a relay that died, and where a link broke, and below: nobody waits for the lease."""
    lab, below = nile.lab, BELOW_H022 | BELOW_H032 | {"h032"}
    words = ("--json", "-a", "--on-orphan", "kill", "--grace", f"{GRACE_S}s", "--")
    with contextlib.ExitStack() as stack:
        witness = stack.enter_context(Witness(lab))
        with pool.turn:
            began = time.monotonic()
            run = stack.enter_context(three_stages(nile, lease="30s").started(*words, BEGIN_AND_WAIT))
            await_start(run, witness, lab.names)
        slow = max(1.0, (time.monotonic() - began) / QUIET_S)
        kill_agent(lab, "h022")
        kill_its_ssh(lab, "h032")
        patiently(lambda: not names_of(commands(lab)) & below, "theirs are over", (GRACE_S + 2) * slow)
        assert names_of(commands(lab)) >= set(lab.names) - below - {"h022"}
        run.signal(signal.SIGINT)
        told = run.wait().results
    verdicts = {host: "lost" if host in below | {"h022"} else "cancelled" for host in lab.names}
    assert {host: told[host]["verdict"] for host in lab.names} == verdicts
    assert {told[host]["stdout"] for host in lab.names} == {"begin\n"}
    check_nothing_is_left(nile, struck={"h022", *below})


def finish_outlives_the_root(nile: Nile, pool: Pool) -> None:
    """Root and a relay are killed; every command runs to its end all the same, and then nothing is left."""
    lab = nile.lab
    words = (
        "-a",
        "--on-orphan",
        "finish",
        "--grace",
        f"{GRACE_S}s",
        "--",
        f"{COMMAND}; echo x >> /run/lab/ran",
    )
    with Witness(lab) as witness:
        with pool.turn:
            began = time.monotonic()
            with three_stages(nile, lease="3s").started(*words) as run:
                await_start(run, witness, lab.names)
                witness.let_go()
                grown_s = time.monotonic() - began
                kill_its_ssh(lab, "h022")
                run.signal(signal.SIGKILL)
        slow = max(1.0, grown_s / QUIET_S)
        patiently(lambda: not busy(lab), "all have ended", SLEEP_S + 4.0 * slow)
        assert {witness.ran(host) for host in lab.names} == {2}
    check_nothing_is_left(nile, struck=lab.names)


def finish_is_adopted(nile: Nile, pool: Pool) -> None:
    """With the root alive, who lost a relay is adopted as ever."""
    faults = [(0.5, kill_agent, "h022"), (0.5, kill_its_ssh, "h042"), (0.5, crash, "h001")]
    run = strike(
        three_stages(nile, pace=pool.pace),
        faults,
        "-a",
        "--on-orphan",
        "finish",
        turn=pool.turn,
        pace=pool.pace,
    )
    run.check("h001", "h022", ok=["h042"])
    check_nothing_is_left(nile, struck=run.hit_s)


def idempotent_runs_again(nile: Nile, pool: Pool) -> None:
    """Where agent and warden died, and on a host that was booted anew; nowhere else."""
    faults = [
        (0.5, kill_both, "h022"),
        (0.5, crash, "h027"),
        (3.0, mend, "h027"),
        (0.5, kill_its_ssh, "h042"),
    ]
    run = strike(
        three_stages(nile, pace=pool.pace), faults, "-a", "--idempotent", turn=pool.turn, pace=pool.pace
    )
    again = {"h022", "h027"}
    run.check_spared()
    assert {host: (run.told(host)[0], run.ran[host]) for host in run.hit_s} == {
        **dict.fromkeys(again, ("ok", 2)),
        "h042": ("ok", 1),
    }
    for host in again:
        assert run.done.results[host]["stdout"].endswith("\nend\n")
    check_nothing_is_left(nile)


def turns_are_kept(nile: Nile, pool: Pool) -> None:
    """Twenty at a time, while relays die: all others have their turn, once, and never more at a time."""
    lab = nile.lab
    words = ("--json", "-a", "-f", str(FANOUT), "--grace", f"{GRACE_S}s", "--", TURNS)
    deeds = {"h001": kill_agent, "h022": freeze, "h042": kill_its_ssh}
    with Witness(lab) as witness:
        with pool.turn, three_stages(nile, pace=pool.pace).started(*words) as run:
            patiently(lambda: sum(witness.began([host]) for host in lab.names) >= FANOUT, "some run", GROWN_S)
            for host, deed in deeds.items():
                deed(lab, host)
            done = run.wait()
        times = {host: witness.times(host) for host in lab.names}
    for host in lab.names:
        words_said = [word for word, _ in times[host]]
        assert words_said == ["begin", "end"] if host not in deeds else words_said.count("begin") <= 1
        assert done.verdicts[host] == "ok" or host in ("h001", "h022"), done.results[host]
    steps = sorted((at, 1 if word == "begin" else -1) for host in lab.names for word, at in times[host])
    running = list(itertools.accumulate(step for _, step in steps))
    unseen = sum(len(times[host]) == 1 for host in deeds)  # begun, and nobody knows when it ended
    assert max(running) <= FANOUT + unseen
    assert max(running) >= FANOUT - len(deeds)
    check_nothing_is_left(nile, struck=deeds)


CASES: dict[str, Callable[[Nile, Pool], None]] = {
    case.__name__: case
    for case in (
        kill_ends_them_at_once,
        finish_outlives_the_root,
        finish_is_adopted,
        idempotent_runs_again,
        turns_are_kept,
    )
}


@pytest.mark.timeout(300)
def test_orphans(pool: Pool) -> None:
    pool.each(lambda nile, case: CASES[case](nile, pool), CASES)
