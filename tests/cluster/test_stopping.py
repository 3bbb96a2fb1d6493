"""However a run ends, no process of it is left on any host, and every host has its verdict."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nile.lab import Lab
from tests.cluster.hosts import (
    Seen,
    agents,
    commands,
    cut_root,
    mend_root,
    names_of,
    pids,
    processes,
    root_of,
    ssh_clients,
)
from tests.cluster.running import Nile, Running
from tests.lab.helpers import eventually

pytestmark = pytest.mark.cluster

HOSTS = [f"h{number:03}" for number in range(1, 22)]
SET = "h[001-021]"
TREE = {
    "h001": {f"h{n:03}": f"h[{n + 4:03},{n + 8:03},{n + 12:03}]" for n in (2, 3, 4, 5)},
    "h018": "h[019-020]",
    "h021": [],
}
BELOW_H002 = {"h006", "h010", "h014"}
DESCENDANTS = 4
# Children that daemonised, that left the session, and that ignore every polite signal.
STUBBORN = (
    """echo begun; trap '' TERM HUP INT; (setsid sh -c 'trap "" TERM; sleep 999; :' &) ; """
    """setsid sleep 999 & sleep 999 & wait; sleep 999"""
)
UNTIL_TOLD = "echo begun; while [ ! -e ~/stop ]; do sleep 0.1; done; echo over"
LEASE_S, GRACE_S = 3, 1


@contextmanager
def running(nile: Nile, command: str, *options: str) -> Iterator[Running]:
    """A run in three stages whose command runs on every host."""
    tree = nile.with_routes("stopping", tree=TREE, timeouts={"lease": f"{LEASE_S}s"})
    words = ("--json", "-w", SET, "--grace", f"{GRACE_S}s", *options, "--", command)
    with tree.started(*words) as run:
        eventually(lambda: names_of(commands(nile.lab)) == set(HOSTS), "the command runs everywhere")
        yield run


def gone(lab: Lab, within_s: float, hosts: set[str] | None = None) -> None:
    """Nothing runs any more, commands and agents, and soon."""
    eventually(lambda: not processes(lab, hosts or ()), "all processes of the run are gone", within_s)


def tell_to_stop(lab: Lab) -> None:
    for host in HOSTS:
        (root_of(lab, host) / "root/stop").touch()


@pytest.fixture(autouse=True)
def _no_stop_files(fleet: Lab) -> Iterator[None]:
    yield
    for pid in pids(fleet).values():
        Path(f"/proc/{pid}/root/root/stop").unlink(missing_ok=True)


def test_a_time_out_kills_all_descendants(nile: Nile, fleet: Lab) -> None:
    done = nile.json("-w", "h[001-012]", "-u", "1", "--grace", "0.5", "--", STUBBORN)
    assert commands(fleet) == []
    assert done.code == 4
    assert set(done.verdicts.values()) == {"timeout"}
    for result in done.results.values():
        assert (result["code"], result["rc"], result["stdout"]) == ("command-timeout", None, "begun\n")
        assert 1.4 <= result["t_end_s"] - result["t_ready_s"] < 6


def test_a_command_that_heeds_sigterm_may_clean_up(nile: Nile) -> None:
    command = "trap 'echo cleaned; exit 3' TERM; echo begun; while :; do sleep 0.1; done"
    done = nile.json("-w", "h001", "-u", "0.5", "--grace", "30", "--", command)
    assert (done.verdicts, done.stdout_of("h001")) == ({"h001": "timeout"}, "begun\ncleaned\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_all_commands(nile: Nile, fleet: Lab, number: int) -> None:
    with running(nile, STUBBORN) as run:
        assert min(len(commands(fleet, [host])) for host in ("h001", "h002", "h017")) >= DESCENDANTS
        run.signal(number)
        done = run.wait()
        assert commands(fleet) == []
    assert done.code == 130
    assert set(done.verdicts.values()) == {"cancelled"}
    assert {done.stdout_of(host) for host in HOSTS} == {"begun\n"}


def test_a_second_ctrl_c_skips_the_grace(nile: Nile, fleet: Lab) -> None:
    with running(nile, STUBBORN, "--grace", "300s") as run:
        run.signal(signal.SIGINT)
        run.said(b"ending all commands")
        began = time.monotonic()
        run.signal(signal.SIGINT)
        done = run.wait()
        assert time.monotonic() - began < 20
        assert commands(fleet) == []
    assert (done.code, set(done.verdicts.values())) == (130, {"cancelled"})


def test_kill_9_of_nile(nile: Nile, fleet: Lab) -> None:
    with running(nile, STUBBORN) as run:
        run.signal(signal.SIGKILL)
        gone(fleet, GRACE_S + 2 + LEASE_S)
    shown = nile.command("show", "last", "--json")
    assert '"unfinished"' in shown.out


Find = Callable[[Lab], list[Seen]]


def agent_of_h002(lab: Lab) -> list[Seen]:
    """Of agent and warden, the one that has the other as its parent."""
    both = agents(lab, ["h002"])
    return [process for process in both if parent_of(process.pid) in {other.pid for other in both}]


def warden_of_h002(lab: Lab) -> list[Seen]:
    below = agent_of_h002(lab)
    return [process for process in agents(lab, ["h002"]) if process not in below]


def parent_of(pid: int) -> int:
    with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123
        return int(file.read().rpartition(b")")[2].split()[1])


@pytest.mark.parametrize("victim", [agent_of_h002, warden_of_h002])
def test_a_relay_that_dies_takes_its_branch_along(nile: Nile, fleet: Lab, victim: Find) -> None:
    branch = BELOW_H002 | {"h002"}
    with running(nile, UNTIL_TOLD) as run:
        (process,) = victim(fleet)
        os.kill(process.pid, signal.SIGKILL)
        gone(fleet, LEASE_S + GRACE_S + 2, branch)
        assert names_of(commands(fleet)) == set(HOSTS) - branch
        tell_to_stop(fleet)
        done = run.wait()
    assert done.code == 4
    assert done.verdicts == {host: "lost" if host in branch else "ok" for host in HOSTS}
    assert {done.stdout_of(host) for host in BELOW_H002} == {"begun\n"}


def test_a_link_that_dies_takes_its_branch_along(nile: Nile, fleet: Lab) -> None:
    with running(nile, UNTIL_TOLD) as run:
        for client in ssh_clients(fleet, ["h002"]):
            os.kill(client.pid, signal.SIGKILL)
        gone(fleet, LEASE_S + GRACE_S + 2, BELOW_H002)
        assert names_of(commands(fleet)) == set(HOSTS) - BELOW_H002
        tell_to_stop(fleet)
        done = run.wait()
    assert done.verdicts == {host: "lost" if host in BELOW_H002 else "ok" for host in HOSTS}
    assert {done.results[host]["code"] for host in BELOW_H002} == {"link"}


def test_a_host_that_crashes(nile: Nile, fleet: Lab) -> None:
    branch = BELOW_H002 | {"h002"}
    with running(nile, UNTIL_TOLD) as run:
        fleet.crash("h002")
        gone(fleet, LEASE_S + GRACE_S + 2, BELOW_H002)
        tell_to_stop_all_but(fleet, branch)
        done = run.wait()
    assert done.verdicts == {host: "lost" if host in branch else "ok" for host in HOSTS}


def tell_to_stop_all_but(lab: Lab, hosts: set[str]) -> None:
    for host in set(HOSTS) - hosts:
        (root_of(lab, host) / "root/stop").touch()


@pytest.mark.parametrize("fault", ["freeze", "cut"])
def test_a_relay_that_falls_silent(nile: Nile, fleet: Lab, fault: str) -> None:
    """Those below end with their lease; the relay is found out, and does nothing when it comes back."""
    branch = BELOW_H002 | {"h002"}
    with running(nile, UNTIL_TOLD) as run:
        getattr(fleet, fault)("h002")
        gone(fleet, 1 + LEASE_S + GRACE_S + 2, BELOW_H002 if fault == "freeze" else branch)
        tell_to_stop_all_but(fleet, branch)
        done = run.wait()
        fleet.heal()
        gone(fleet, 2, branch)
    assert done.verdicts == {host: "lost" if host in branch else "ok" for host in HOSTS}
    assert done.code == 4


def test_a_start_that_waited_in_a_frozen_host_is_void(nile: Nile, fleet: Lab) -> None:
    """The turn comes to a host that is frozen: when it thaws, long after its lease, it runs nothing."""
    flat = nile.with_routes("flat", timeouts={"lease": f"{LEASE_S}s"})
    command = "echo x >> /srv/ran; while [ ! -e ~/stop ]; do sleep 0.05; done"
    words = ("--json", "-w", "h[001-002]", "--tree", "flat", "-f", "1", "--grace", "1s", "--", command)
    with flat.started(*words) as run:
        eventually(lambda: len(agents(fleet)) == 4 and commands(fleet), "one runs, and the other one waits")
        (first,) = names_of(commands(fleet))
        second = "h002" if first == "h001" else "h001"
        fleet.freeze(second)
        (root_of(fleet, first) / "root/stop").touch()
        done = run.wait()
        fleet.thaw(second)
        gone(fleet, 2)
    assert done.verdicts == {first: "ok", second: "lost"}
    assert not (root_of(fleet, second) / "srv/ran").exists()
    (root_of(fleet, first) / "srv/ran").unlink()


def test_a_root_that_is_frozen(nile: Nile, fleet: Lab) -> None:
    with running(nile, STUBBORN) as run:
        run.signal(signal.SIGSTOP)
        gone(fleet, 1 + LEASE_S + GRACE_S + 2)
        run.signal(signal.SIGCONT)
        done = run.wait()
    assert done.code == 4
    assert set(done.verdicts.values()) == {"lost"}
    assert {done.stdout_of(host) for host in HOSTS} == {"begun\n"}


def test_a_root_whose_cable_is_cut(nile: Nile, fleet: Lab) -> None:
    with running(nile, STUBBORN) as run:
        cut_root(fleet)
        try:
            gone(fleet, 1 + LEASE_S + GRACE_S + 2)
            done = run.wait()
        finally:
            mend_root(fleet)
    assert set(done.verdicts.values()) == {"lost"}
