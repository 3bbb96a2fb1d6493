"""However a run ends, no process of it is left on any host, and every host has its verdict."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nile.lab import Lab
from tests.cluster.faults import Deed, kill_agent, kill_both, kill_warden
from tests.cluster.hosts import (
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
from tests.cluster.running import Done, Json, Nile, Running
from tests.lab.helpers import eventually

pytestmark = pytest.mark.cluster

HOSTS = [f"h{number:03}" for number in range(1, 31)]
SET = "h[001-030]"
TREE = {
    "h001": {f"h{n:03}": f"h[{n + 4:03},{n + 8:03},{n + 12:03}]" for n in (2, 3, 4, 5)},
    "h018": "h[019-020]",
    "h021": [],
    "h022": {"h023": "h[024-026]", "h027": "h[028-030]"},
}
BELOW_H002 = {"h006", "h010", "h014"}
DESCENDANTS = 4
# Children that daemonised, that left the session, and that ignore every polite signal; and on some hosts
# two that fork, and die, without end.
STUBBORN = (
    """echo begun; storm() { sleep 0.03; storm & }; """
    """case $NILE_HOST in h001|h002|h017|h025|h030) (trap '' TERM; storm; storm);; esac; """
    """trap '' TERM HUP INT; (setsid sh -c 'trap "" TERM; sleep 999; :' &) ; """
    """setsid sleep 999 & sleep 999 & wait; sleep 999"""
)
UNTIL_TOLD = "echo begun; while [ ! -e ~/stop ]; do sleep 0.1; done; echo over"
LEASE_S, GRACE_S = 5, 1
LONG_S = 14
"""A lease that is long enough to be adopted, also where other tests run."""


@pytest.fixture
def nile(sixty: Nile) -> Nile:
    """On thirty of sixty hosts."""
    return sixty


@pytest.fixture
def fleet(sixty: Nile) -> Lab:
    """Sixty hosts."""
    return sixty.lab


@contextmanager
def running(nile: Nile, command: str, *options: str, lease_s: int = LEASE_S) -> Iterator[Running]:
    """A run in three stages whose command runs on every host."""
    limits = {"branches": 20, "stages": 3}
    times = {"lease": f"{lease_s}s", "connect": "5s"}
    tree = nile.with_routes("stopping", tree=TREE, limits=limits, timeouts=times)
    words = ("--json", "-w", SET, "--grace", f"{GRACE_S}s", *options, "--", command)
    with tree.started(*words) as run:
        eventually(lambda: names_of(commands(nile.lab)) == set(HOSTS), "the command runs everywhere")
        yield run


def gone(lab: Lab, within_s: float, hosts: set[str] | None = None) -> None:
    """Nothing runs any more, commands and agents, and soon."""
    eventually(lambda: not processes(lab, hosts or ()), "all processes of the run are gone", within_s)


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
        assert result["reason"] == "it ran longer than allowed and was killed (seen dead)"
        all_seen_dead(result)
        assert 1.4 <= result["t_end_s"] - result["t_ready_s"] < 6


def all_seen_dead(result: Json) -> None:
    """The verdict names what was there, daemons too, and says that all of it is gone."""
    assert {(left["killed"], left["survived"]) for left in result["leftover"]} == {(True, False)}
    assert DESCENDANTS <= len(result["leftover"]) <= 100
    assert [left["name"] for left in result["leftover"]].count("sleep") >= 3
    assert all(left["pid"] > 1 for left in result["leftover"])


def test_people_are_told_in_one_line_what_was_killed(nile: Nile) -> None:
    words = ("-w", "h[001-012]", "-u", "1", "--grace", "0.5")
    done = nile.command("exec", *words, "--", "(setsid sleep 999 &); exec sleep 999")
    assert [line for line in done.err.splitlines() if "timed out:" in line] == [
        "nile: timed out: h[001-012] (12): it ran longer than allowed and was killed (seen dead): sleep"
    ]


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
    assert {result["reason"] for result in done.results.values()} == {"cancelled, and killed (seen dead)"}
    for result in done.results.values():
        all_seen_dead(result)


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


def ends_well(nile: Nile, run: Running, lost: set[str]) -> Done:
    """All others go on, wherever they hang, and end when they are told to."""
    alive = set(HOSTS) & set(pids(nile.lab)) - lost
    eventually(lambda: names_of(commands(nile.lab)) >= alive, "they go on")
    for host in alive:
        (root_of(nile.lab, host) / "root/stop").touch()
    done = run.wait()
    assert done.verdicts == {host: "lost" if host in lost else "ok" for host in HOSTS}
    assert {done.stdout_of(host) for host in alive} == {"begun\nover\n"}
    return done


@pytest.mark.parametrize("victim", [kill_agent, kill_warden, kill_both])
def test_a_relay_that_dies_is_alone_in_it(nile: Nile, fleet: Lab, victim: Deed) -> None:
    """Its own command ends, and those below it go on."""
    with running(nile, UNTIL_TOLD, lease_s=LONG_S) as run:
        victim(fleet, "h002")
        eventually(lambda: not commands(fleet, ["h002"]), "its command is gone", LONG_S + GRACE_S + 2)
        done = ends_well(nile, run, {"h002"})
    assert done.code == 4
    assert done.results["h002"]["code"] == "agent"


def test_a_link_that_dies_costs_nothing(nile: Nile, fleet: Lab) -> None:
    with running(nile, UNTIL_TOLD, lease_s=LONG_S) as run:
        for client in ssh_clients(fleet, ["h002"]):
            os.kill(client.pid, signal.SIGKILL)
        done = ends_well(nile, run, set())
    assert done.code == 0


def test_a_host_that_crashes(nile: Nile, fleet: Lab) -> None:
    with running(nile, UNTIL_TOLD, lease_s=LONG_S) as run:
        fleet.crash("h002")
        ends_well(nile, run, {"h002"})


@pytest.mark.parametrize("fault", ["freeze", "cut"])
def test_a_relay_that_falls_silent(nile: Nile, fleet: Lab, fault: str) -> None:
    """Those below go on; it is found out, and does nothing when it comes back after its lease."""
    with running(nile, UNTIL_TOLD, lease_s=LONG_S) as run:
        getattr(fleet, fault)("h002")
        done = ends_well(nile, run, {"h002"})
        if fault == "cut":
            gone(fleet, 2, {"h002"})
        fleet.heal()
        gone(fleet, 2, {"h002", *BELOW_H002})
    assert done.code == 4
    assert done.stdout_of("h002") == "begun\n"


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
    for result in done.results.values():
        assert "its end was not seen" in result["reason"]
        assert result["leftover"] == []


def test_a_lost_host_whose_command_is_to_finish_is_said_to_go_on(nile: Nile, fleet: Lab) -> None:
    with running(nile, UNTIL_TOLD, "--on-orphan", "finish") as run:
        fleet.cut("h030")
        try:
            for host in set(HOSTS) - {"h030"}:
                (root_of(fleet, host) / "root/stop").touch()
            done = run.wait()
            assert done.verdicts == {host: "lost" if host == "h030" else "ok" for host in HOSTS}
            assert done.results["h030"]["reason"].endswith("its end was not seen: what runs there goes on")
            assert commands(fleet, ["h030"]) != []
        finally:
            (root_of(fleet, "h030") / "root/stop").touch()
            fleet.heal()
        gone(fleet, LEASE_S + GRACE_S + 2, {"h030"})


def test_a_root_whose_cable_is_cut(nile: Nile, fleet: Lab) -> None:
    with running(nile, STUBBORN) as run:
        cut_root(fleet)
        try:
            gone(fleet, 1 + LEASE_S + GRACE_S + 2)
            done = run.wait()
        finally:
            mend_root(fleet)
    assert set(done.verdicts.values()) == {"lost"}
    promise = f"its agent ends what runs there within {LEASE_S + GRACE_S + 2} s of the root's last word"
    assert all(promise in result["reason"] for result in done.results.values())
