"""Whatever befalls a relay, every host that was spared runs the command once, and all it printed comes once.

Sixty hosts in three stages. A struck host's verdict is ok if only its link was
hit, else lost; it never runs the command twice. Times are printed (`-s`), and
judged by what a quiet run takes on this machine.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from nile.lab import Lab
from nile.lab.links import ROOT_ADDRESS
from tests.cluster.faults import (
    Deed,
    Witness,
    crash,
    cut,
    freeze,
    kill_agent,
    kill_both,
    kill_its_ssh,
    kill_warden,
    mend,
    thaw,
)
from tests.cluster.running import Done, Nile
from tests.lab.helpers import eventually

pytestmark = pytest.mark.cluster

LEASE_S, GRACE_S, CONNECT_S, DETECTION_S = 12, 1, 5, 2.8
SLEEP_S, STEPS = 8, 16
COMMAND = (
    "echo x >> /run/lab/ran; echo begin; "
    f"for i in $(seq {STEPS}); do sleep {SLEEP_S / STEPS}; echo $i; done; echo end"
)
PRINTED = "".join(f"{line}\n" for line in ("begin", *range(1, STEPS + 1), "end"))
TREE = {
    "h001": {"h002": "h[003-006]", "h007": "h[008-011]", "h012": "h[013-016]", "h017": "h[018-020]"},
    "h021": {"h022": "h[023-026]", "h027": "h[028-031]", "h032": "h[033-036]", "h037": "h[038-040]"},
    "h041": {"h042": "h[043-046]", "h047": "h[048-051]", "h052": "h[053-056]", "h057": "h[058-060]"},
}
RELAYS = tuple(TREE) + tuple(relay for below in TREE.values() for relay in below)
SEEDS = range(int(os.environ.get("SOAK", "2")))
QUIET_S = 1.7
"""What a run of `true` over this tree takes where nothing else goes on; bounds are scaled by it."""

Fault = tuple[float, Deed, str]
"""When (in seconds after the command began everywhere), what, to which host."""


def tree(nile: Nile, name: str = "three", **timeouts: str) -> Nile:
    """Three stages, drawn, so that each fault strikes a subtree of its own."""
    times = {"lease": f"{LEASE_S}s", "connect": f"{CONNECT_S}s", **timeouts}
    return nile.with_routes(name, tree=TREE, limits={"branches": 4, "stages": 3}, timeouts=times)


@pytest.fixture
def quiet_s(sixty: Nile) -> float:
    """How long a run takes in which nothing happens."""
    done = tree(sixty).json("-a", "--", "true").all_ok()
    wall_s: float = done.events[-1]["wall_s"]
    return wall_s


@dataclass(frozen=True)
class Struck:
    """A run during which faults happened."""

    done: Done
    ran: dict[str, int]
    """Host -> how often its command began, by its own file."""
    let_in: dict[str, list[str]]
    """Host -> the addresses that its sshd let in, in order."""
    faults_s: tuple[float, float]
    """When the first and the last of the faults happened, in seconds since the run began."""

    def told(self, host: str) -> tuple[Any, ...]:
        result = self.done.results[host]
        return result["verdict"], result["stdout"], self.ran[host]

    def check_spared(self, lab: Lab, struck: Iterable[str]) -> None:
        """All that weren't struck ran once, said all once, and hang where they are said to hang."""
        spared = set(lab.names) - set(struck)
        assert {host: self.told(host) for host in spared} == dict.fromkeys(spared, ("ok", PRINTED, 1))
        for host in spared:
            self.check_path(lab, host)

    def check_path(self, lab: Lab, host: str) -> None:
        """The parent told of has logged in there."""
        path = self.done.results[host]["path"]
        parent = {"root": ROOT_ADDRESS, **lab.addresses}[path[-2]]
        assert parent in self.let_in[host], (host, path)
        assert path == ["root", *path[1:-1], host]

    def check_lost(self, hosts: Iterable[str]) -> None:
        """What they said until then is there, and nothing else."""
        for host in hosts:
            verdict, printed, ran = self.told(host)
            assert (verdict, ran) == ("lost", 1), self.done.results[host]
            assert PRINTED.startswith(printed)
            assert self.done.results[host]["reason"]

    def took(self, lab: Lab, struck: Iterable[str]) -> float:
        """The longest time from a spared host's first contact to its verdict, in seconds."""
        results = [self.done.results[host] for host in set(lab.names) - set(struck)]
        return max(float(result["t_end_s"] - result["t_ready_s"]) for result in results)

    def ended(self, hosts: Iterable[str]) -> float:
        """When the last of them got its verdict, in seconds after the last fault."""
        return max(float(self.done.results[host]["t_end_s"]) for host in hosts) - self.faults_s[1]


def strike(nile: Nile, faults: Sequence[Fault], *words: str) -> Struck:
    """Run the command, and have the faults happen to it."""
    lab, out = nile.lab, nile.state / "out"
    hosts = words or ("-a",)
    with Witness(lab) as witness, out.open("wb") as stdout:
        began = time.monotonic()
        with nile.started(
            "--json", *hosts, "--grace", f"{GRACE_S}s", "--", COMMAND, stdout=stdout
        ) as running:
            asked = [host for host in lab.names if not words or host in ASKED]
            eventually(lambda: witness.began(asked), "the command runs everywhere")
            runs = time.monotonic()
            times = []
            for at_s, deed, host in sorted(faults, key=lambda fault: fault[0]):
                time.sleep(max(0.0, runs + at_s - time.monotonic()))
                deed(lab, host)
                times.append(time.monotonic() - began)
            code = running.process.wait(timeout=90)
            assert running.process.stderr is not None
            done = Done(code, out.read_bytes(), running.process.stderr.read())
        ran = {host: witness.ran(host) for host in asked}
        return Struck(done, ran, {host: witness.let_in(host) for host in asked}, (min(times), max(times)))


def check_times(run: Struck, lab: Lab, struck: Sequence[str], lost: Sequence[str], quiet_s: float) -> None:
    """Bounds are generous: they tell a tree that heals from one that waits for a time-out."""
    spare_s = 3 * max(1.0, quiet_s / QUIET_S)
    took_s = run.took(lab, struck)
    after_s = run.ended(lost)
    print(f"quiet {quiet_s:.2f} s; spared hosts took {took_s:.2f} s; lost {after_s:.2f} s after the fault")
    assert took_s < SLEEP_S + DETECTION_S + 1 + spare_s
    assert after_s < DETECTION_S + 1 + max(LEASE_S + GRACE_S, CONNECT_S) + spare_s


def test_processes_that_are_killed(sixty: Nile, quiet_s: float) -> None:
    """An agent and a warden with all below them, both of them, and a link."""
    deeds = {"h001": kill_agent, "h022": kill_warden, "h027": kill_both, "h042": kill_its_ssh}
    run = strike(tree(sixty), [(0.5, deed, host) for host, deed in deeds.items()])
    lost = ("h001", "h022", "h027")
    run.check_spared(sixty.lab, lost)
    run.check_lost(lost)
    assert len(run.let_in["h042"]) == 2
    check_times(run, sixty.lab, lost, lost, quiet_s)


def test_hosts_that_die(sixty: Nile, quiet_s: float) -> None:
    """A crash in stage 1, with all below it; a cable that is cut and a frozen host in stage 2."""
    run = strike(tree(sixty), [(0.5, crash, "h001"), (0.5, cut, "h022"), (0.5, freeze, "h042")])
    lost = ("h001", "h022", "h042")
    run.check_spared(sixty.lab, lost)
    run.check_lost(lost)
    moved = [f"h{n:03}" for n in (2, 7, 12, 17, *range(23, 27), *range(43, 47))]
    assert not {name for host in moved for name in run.done.results[host]["path"]} & set(lost)
    check_times(run, sixty.lab, lost, lost, quiet_s)


def test_hosts_that_thaw(sixty: Nile, quiet_s: float) -> None:
    """Before its lease is over a host goes on, wherever it hangs then; after it, its command is dead."""
    faults = [(0.5, freeze, "h001"), (5.0, thaw, "h001"), (0.5, freeze, "h022"), (17.0, thaw, "h022")]
    run = strike(tree(sixty), faults)
    run.check_spared(sixty.lab, ["h001", "h022"])
    assert run.told("h001") == ("ok", PRINTED, 1)
    run.check_lost(["h022"])
    check_times(run, sixty.lab, ["h001", "h022"], ["h022"], quiet_s)


DEEDS: tuple[tuple[Deed, ...], ...] = (
    (kill_agent,),
    (kill_warden,),
    (kill_both,),
    (kill_its_ssh,),
    (crash,),
    (cut,),
    (cut, mend),
    (freeze,),
    (freeze, thaw),
)
PAUSE_S = 5.0
"""From the first half of a deed to its other half."""


def any_faults(seed: int) -> tuple[list[Fault], set[str]]:
    """Five faults of five hosts, relays mostly; and these hosts."""
    chance = random.Random(seed)
    hosts = [*chance.sample(RELAYS, 4), f"h{chance.choice((3, 8, 13, 23, 28, 43, 58)):03}"]
    faults: list[Fault] = []
    for host in hosts:
        at_s = chance.uniform(0.0, 6.0)
        deeds = [deed for deed in DEEDS if host not in TREE or deed != (kill_its_ssh,)]  # the root has none
        for half, deed in enumerate(chance.choice(deeds)):
            faults.append((at_s + half * PAUSE_S, deed, host))
    return faults, set(hosts)


@pytest.mark.parametrize("seed", SEEDS)
def test_any_five_faults(sixty: Nile, seed: int) -> None:
    faults, struck = any_faults(seed)
    print(seed, [(round(at_s, 1), deed.__name__, host) for at_s, deed, host in sorted(faults, key=str)])
    run = strike(tree(sixty), faults)
    print({host: run.told(host)[0] for host in sorted(struck)}, f"{run.done.events[-1]['wall_s']:.1f} s")
    run.check_spared(sixty.lab, struck)
    for host in struck:
        verdict, printed, ran = run.told(host)
        assert (verdict, ran) in {("ok", 1), ("lost", 1)}, run.done.results[host]
        assert PRINTED.startswith(printed)
        assert verdict == "lost" or printed == PRINTED


# Dead from the start, and gateways.


def test_hosts_that_are_dead_from_the_start(sixty: Nile, quiet_s: float) -> None:
    """One of ten, relays among them: nobody else waits long for them, and each is named."""
    which = tree(sixty, connect="3s")
    dead = ("h002", "h010", "h021", "h035", "h052", "h060")
    for host in dead:
        sixty.lab.crash(host)
    done = which.json("-a", "--", "true")
    assert done.verdicts == {host: "unreachable" if host in dead else "ok" for host in sixty.lab.names}
    for host in dead:
        assert done.results[host]["code"] in ("connect-timeout", "no-route")
        assert done.results[host]["reason"]
    wall_s = done.events[-1]["wall_s"]
    print(f"quiet {quiet_s:.2f} s; with {len(dead)} dead {wall_s:.2f} s")
    assert wall_s < 1.3 * quiet_s + 2 * 3 + 1
    assert "Traceback" not in done.err


ASKED = [f"h{number:03}" for number in range(23, 41)]


def test_a_gateway_that_dies_is_replaced_by_the_other(sixty: Nile) -> None:
    behind = {"behind": {"hosts": "h[023-040]", "via": "h[021-022]"}}
    times = {"lease": f"{LEASE_S}s", "connect": f"{CONNECT_S}s"}
    gated = sixty.with_routes("gated", groups=behind, limits={"branches": 18}, timeouts=times)
    run = strike(gated, [(0.5, crash, "h021")], "-g", "behind")
    assert {host: run.told(host) for host in ASKED} == dict.fromkeys(ASKED, ("ok", PRINTED, 1))
    assert {run.done.results[host]["path"][1] for host in ASKED} == {"h022"}
    for host in ASKED:
        run.check_path(sixty.lab, host)
