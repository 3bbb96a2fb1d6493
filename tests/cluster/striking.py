"""Runs over three stages of sixty hosts during which faults happen, and what must hold for their hosts.

Every host that was spared runs the command once, and all it printed comes once.
A struck one's verdict is ok if only its link was hit, else lost; it never runs
the command twice. Times are bounded by what the design promises, with a margin
that is scaled by how long this very run took to reach everybody.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from nile.lab.links import ROOT_ADDRESS
from nile.topology.hostsets import HostSets
from tests.cluster.faults import Deed, Witness
from tests.cluster.hosts import patiently
from tests.cluster.running import Done, Nile, Running

LEASE_S, GRACE_S, CONNECT_S, DETECTION_S = 12, 1, 5, 2.8
SLEEP_S, STEPS = 8, 16
COMMAND = (
    "echo x >> /run/lab/ran; read go < /run/lab/go; echo begin; "
    f"for i in $(seq {STEPS}); do sleep {SLEEP_S / STEPS}; echo $i; done; echo end"
)
PRINTED = "".join(f"{line}\n" for line in ("begin", *range(1, STEPS + 1), "end"))
TREE = {
    "h001": {"h002": "h[003-006]", "h007": "h[008-011]", "h012": "h[013-016]", "h017": "h[018-020]"},
    "h021": {"h022": "h[023-026]", "h027": "h[028-031]", "h032": "h[033-036]", "h037": "h[038-040]"},
    "h041": {"h042": "h[043-046]", "h047": "h[048-051]", "h052": "h[053-056]", "h057": "h[058-060]"},
}
RELAYS = tuple(TREE) + tuple(relay for below in TREE.values() for relay in below)
QUIET_S = 2.0
"""How long it takes until the command runs on all sixty where nothing else goes on."""
MARGIN_S = 3.0
GROWN_S = 60.0

Fault = tuple[float, Deed, str]
"""When (in seconds after all commands were let go on), what, to which host."""


def three_stages(nile: Nile, name: str = "three", pace: float = 1.0, **timeouts: str) -> Nile:
    """Three stages, drawn, so that each fault strikes a subtree of its own; `pace` scales its times."""
    times = {"lease": f"{LEASE_S * pace:.1f}s", "connect": f"{CONNECT_S * pace:.1f}s", **timeouts}
    return nile.with_routes(name, tree=TREE, limits={"branches": 4, "stages": 3}, timeouts=times)


def above(host: str) -> list[str]:
    """The relays above a host as the tree is drawn, from the root down."""
    for top, relays in TREE.items():
        for relay, leaves in relays.items():
            if host == relay:
                return [top]
            if host in HostSets(hosts=()).expand(leaves):
                return [top, relay]
    return []


@dataclass(frozen=True)
class Struck:
    """A run during which faults happened. Times are seconds since it was started."""

    done: Done
    ran: dict[str, int]
    """Host -> how often its command began, by its own file."""
    let_in: dict[str, list[str]]
    """Host -> the addresses that its sshd let in, in order."""
    addresses: dict[str, str]
    grown_s: float
    """When the command had begun everywhere, and was let go on."""
    hit_s: dict[str, float]
    """Struck host -> when its fault happened (the first half of it, where it was mended again)."""
    pace: float
    """How many times longer than usual lease and connect time-out were."""

    @property
    def margin_s(self) -> float:
        """What a healing may take beyond what the design adds up, on a machine as busy as this one was."""
        return MARGIN_S * max(1.0, self.grown_s / QUIET_S)

    def told(self, host: str) -> tuple[Any, ...]:
        """Its verdict, what is known of its output, how often its command began."""
        result = self.done.results[host]
        return result["verdict"], result["stdout"], self.ran[host]

    @property
    def spared(self) -> list[str]:
        """Hosts that nothing befell."""
        return [host for host in self.ran if host not in self.hit_s]

    def check(self, *lost: str, ok: Iterable[str] = ()) -> None:
        """All that must hold; of struck hosts those named are lost, the others are what they may be."""
        self.check_spared()
        for host in self.hit_s:
            verdict, printed, ran = self.told(host)
            assert (verdict, ran) in {("ok", 1), ("lost", 1)}, self.done.results[host]
            assert printed == PRINTED if verdict == "ok" else PRINTED.startswith(printed)
            assert verdict == "ok" or self.done.results[host]["reason"]
        assert {host: self.told(host)[0] for host in lost} == dict.fromkeys(lost, "lost")
        assert {host: self.told(host)[0] for host in ok} == dict.fromkeys(ok, "ok")
        self.check_times()

    def check_spared(self) -> None:
        """All that weren't struck ran once, said all once, and hang where they are said to hang."""
        told = {host: self.told(host) for host in self.spared}
        bad = {host: (self.done.results[host], self.ran[host]) for host in told if told[host] != ALL_WELL}
        assert bad == {}
        for host in self.spared:
            path = self.done.results[host]["path"]
            parent = {"root": ROOT_ADDRESS, **self.addresses}[path[-2]]
            assert parent in self.let_in[host], (host, path)
            assert path == ["root", *path[1:-1], host]

    def check_times(self) -> None:
        """Spared hosts end soon after their command or the last fault, lost ones when their lease is over."""
        took_s, most_s = self.took_s(), max(SLEEP_S, max(self.hit_s.values()) - self.grown_s)
        assert took_s < most_s + DETECTION_S + self.margin_s, self.grown_s
        for host, after_s in self.lost_after_s().items():
            # A login to it that is under way when its lease ends is waited for.
            most_s = (LEASE_S + CONNECT_S) * self.pace + GRACE_S
            assert after_s < DETECTION_S + most_s + self.margin_s, host

    def took_s(self) -> float:
        """From the moment at which all commands were let go on to the last verdict of a spared host."""
        return max(float(self.done.results[host]["t_end_s"]) for host in self.spared) - self.grown_s

    def lost_after_s(self) -> dict[str, float]:
        """Lost host -> from its fault to its verdict; or from one that kept the news of it from the root."""
        lost = [host for host in self.hit_s if self.told(host)[0] == "lost"]
        known_s = {host: max(self.hit_s.get(each, 0.0) for each in (host, *above(host))) for host in lost}
        return {host: float(self.done.results[host]["t_end_s"]) - known_s[host] for host in lost}

    def __str__(self) -> str:
        late = ", ".join(f"{host} {after_s:.1f}" for host, after_s in sorted(self.lost_after_s().items()))
        wall_s = self.done.events[-1]["wall_s"]
        spared = f"grown in {self.grown_s:.1f} s; spared hosts took {self.took_s():.1f} s"
        return f"{spared}; lost (s after the fault): {late or 'none'}; in all {wall_s:.1f} s"


ALL_WELL = ("ok", PRINTED, 1)


def await_start(running: Running, witness: Witness, hosts: Sequence[str]) -> None:
    """Wait until the command runs on all these hosts."""
    ended = running.process.poll
    patiently(lambda: witness.began(hosts) or ended() is not None, "the command runs everywhere", GROWN_S)
    assert ended() is None, running.wait().err


def strike(
    nile: Nile,
    faults: Sequence[Fault],
    *words: str,
    asked: Sequence[str] = (),
    turn: AbstractContextManager[object] | None = None,
    pace: float = 1.0,
) -> Struck:
    """Run the command on the `asked` hosts (all, or those in `words`), and have the faults happen to it.

    Whoever has `turn` grows its tree alone. `pace` is the one of the tree's times.
    """
    lab, out = nile.lab, nile.state / "out"
    options = ("--json", *(words or ("-a",)), "--grace", f"{GRACE_S}s")
    with contextlib.ExitStack() as stack:
        witness = stack.enter_context(Witness(lab))
        stdout = stack.enter_context(out.open("wb"))
        with turn or contextlib.nullcontext():
            began = time.monotonic()
            running = stack.enter_context(nile.started(*options, "--", COMMAND, stdout=stdout))
            await_start(running, witness, asked or lab.names)
            witness.let_go()
        grown_s = time.monotonic() - began
        hit_s: dict[str, float] = {}
        for at_s, deed, host in sorted(faults, key=lambda fault: fault[0]):
            time.sleep(max(0.0, began + grown_s + at_s - time.monotonic()))
            deed(lab, host)
            hit_s.setdefault(host, time.monotonic() - began)
        code = running.process.wait(timeout=90)
        assert running.process.stderr is not None
        done = Done(code, out.read_bytes(), running.process.stderr.read())
        ran = {host: witness.ran(host) for host in asked or lab.names}
        let_in = {host: witness.let_in(host) for host in ran}
        return Struck(done, ran, let_in, dict(lab.addresses), grown_s, hit_s, pace)
