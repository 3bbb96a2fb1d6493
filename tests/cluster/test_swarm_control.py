"""A swarm that goes on by itself: seen and ended from any terminal, and gone where its root dies."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from nile.lab.netns import port_of
from tests.bench.wires import Counts
from tests.cluster.hosts import patiently, processes
from tests.cluster.running import Json, Nile
from tests.cluster.terminal import Terminal, command_on_terminal
from tests.cluster.test_swarm import HOSTS, WITHOUT, arrived, nile, nothing_unfinished, peers, source, wires
from tests.cluster.test_sync import copied

pytestmark = pytest.mark.cluster
__all__ = ["nile", "peers", "source", "wires"]  # fixtures

LEASE_S = 4.0
"""Of the hosts, see `nile`."""
LATE = "h005"
ABOVE = "h004"
"""By way of whom rsync serves the one without libtorrent."""
BESIDE = 1.3
"""What else goes over a port: headers, and what Nile says; and a second is no longer than it is."""
SLOW = ("--bwlimit", "500")
"""KiB/s: it takes long enough to be looked at."""


def start(nile: Nile, source: Path, peers: Path, *words: str) -> tuple[str, ...]:
    chosen = ("--routes", str(nile.routes), "--all", "--peer-python", str(peers))
    return ("swarm", "start", *chosen, *words, f"{source}/", "/srv/copy")


def status(nile: Nile) -> Json:
    done = nile.command("swarm", "status", "--json")
    return json.loads(done.out) if done.code == 0 else {}


def stands(nile: Nile) -> dict[str, str]:
    """State by host."""
    return {host["host"]: host["state"] for host in swarm(nile)["hosts"]}


def swarm(nile: Nile) -> Json:
    return status(nile).get("swarm") or {"hosts": [], "serving_on": False}


def test_it_outlives_its_terminal_and_is_seen_and_ended_from_another_one(
    nile: Nile, source: Path, peers: Path
) -> None:
    """It serves on when all have all; hosts without libtorrent are done by then, and a late one joins."""
    terminal = Terminal()
    try:
        nile.lab.freeze(LATE)
        words = start(nile, source, peers, "--connect-timeout", "60s")
        started = command_on_terminal(nile, terminal, *words)
        assert started.process.wait(60) == 0, terminal.shown
    finally:
        terminal.close()  # whose session gets SIGHUP
    assert b"the swarm is under way, and goes on by itself: run " in terminal.shown
    patiently(lambda: swarm(nile)["serving_on"], "all others have all", 60.0)
    assert LATE not in {host["host"] for host in swarm(nile)["hosts"]}
    nile.lab.thaw(LATE)
    patiently(lambda: stands(nile).get(LATE) == "complete", "the late one has all, too", 60.0)
    patiently(lambda: status(nile)["phases"]["done"] == 1, "the other one is done", 30.0)
    it = status(nile)
    assert it["verdicts"] == {"ok": 1}
    assert stands(nile) == {**dict.fromkeys(HOSTS, "complete"), WITHOUT: "left-out"}
    for origin in ("seed", "rack", "others"):
        assert sum(host[f"bytes_from_{origin}"] for host in it["swarm"]["hosts"]) > 0
    seen = " ".join(nile.command("swarm", "status").out.split())  # its lines may be broken anywhere
    assert "6 hosts: 5 have all, 1 left out" in seen
    assert "h[001-005] (5)" in seen
    assert "left out: it has no libtorrent, and none is here that fits" in seen

    stopped = nile.command("swarm", "stop")
    assert (stopped.code, "6 of 6 hosts ok" in stopped.out) == (0, True), stopped.err
    copied(nile, source, "/srv/copy", HOSTS)
    nothing_unfinished(nile)
    assert list((nile.state / "nile/background").iterdir()) == []
    assert "6 of 6 hosts ok" in nile.command("swarm", "status", "last").out


def test_one_that_freezes_as_it_ends_keeps_nobody_else_from_a_verdict(
    nile: Nile, source: Path, peers: Path
) -> None:
    nile = nile.with_routes(timeouts={"lease": "15s"})
    begun = nile.command(*start(nile, source, peers))
    assert begun.code == 0, begun.err
    patiently(lambda: swarm(nile)["serving_on"], "they have all", 60.0)
    patiently(lambda: status(nile)["phases"]["done"] == 1, "the one without libtorrent is done", 30.0)
    nile.lab.freeze(LATE)
    stop = subprocess.Popen(
        nile.argv("swarm", "stop", "--within", "90s"), env=nile.environment(), stdout=subprocess.PIPE
    )
    patiently(lambda: status(nile)["verdicts"] == {"ok": 5}, "all others are ok meanwhile", 13.0)
    out, _ = stop.communicate(timeout=90)
    nile.lab.heal()
    assert b"5 of 6 hosts ok" in out
    said = nile.command("swarm", "status", "last").out
    assert "5 of 6 hosts ok, 1 lost" in said
    assert LATE in said
    copied(nile, source, "/srv/copy", HOSTS)
    nothing_unfinished(nile)


class Sent:
    """What each host's port has sent since then."""

    def __init__(self, nile: Nile) -> None:
        self._nile = nile
        self._ports = {host: port_of(host) for host in HOSTS if host not in (WITHOUT, ABOVE)}
        self._began_s, self._before = time.monotonic(), Counts.of(nile.lab)

    def most(self) -> tuple[float, float]:
        """By any of them: KiB, and KiB a second."""
        now, took_s = Counts.of(self._nile.lab), time.monotonic() - self._began_s
        kib = max(now.entered[port] - self._before.entered[port] for port in self._ports.values()) / 1024
        return kib, kib / took_s


def quicker_than(rate: float, nile: Nile, seen: list[float]) -> bool:
    """Does any host send more KiB a second for a while? What was `seen` of that is added."""
    since = Sent(nile)
    patiently(lambda: since.most()[0] > 1200, "somebody sends", 60.0)
    seen.append(since.most()[1])
    return seen[-1] > rate


def test_hosts_keep_to_another_rate_from_one_moment_to_the_next(
    nile: Nile, source: Path, peers: Path
) -> None:
    begun = nile.command(*start(nile, source, peers, "--bwlimit", "200", "--seed-limit", "1500"))
    assert begun.code == 0, begun.err
    patiently(lambda: all(arrived(nile, host) for host in HOSTS if host != WITHOUT), "all get it", 30.0)
    slow = Sent(nile)
    patiently(lambda: slow.most()[0] > 600, "somebody sends for a while", 60.0)
    _, slowly = slow.most()
    changed = nile.command("swarm", "limit", "--host", "800")
    fast: list[float] = []
    patiently(
        lambda: quicker_than(200 * BESIDE, nile, fast), "somebody sends more than it might before", 60.0
    )
    seen = " ".join(nile.command("swarm", "status").out.split())
    stopped = nile.command("swarm", "stop")
    assert re.fullmatch(r"(\d+) of \1 peers keep to it\n", changed.out), changed.err + seen
    assert slowly < 200 * BESIDE
    assert max(fast) < 800 * BESIDE
    assert "at most: the seed sends 1.5 MiB/s, each host 800.0 KiB/s; all keep to it" in seen
    assert stopped.code == 0, stopped.err


def test_hosts_end_by_themselves_within_their_lease_where_the_root_dies(
    nile: Nile, source: Path, peers: Path
) -> None:
    begun = nile.command(*start(nile, source, peers, *SLOW))
    assert begun.code == 0, begun.err
    patiently(lambda: arrived(nile, "h001") > 0, "something is there", 30.0)
    (run,) = (json.loads(line) for line in nile.command("runs", "--json").lines())
    os.kill(supervisor(run["run"], nile), signal.SIGKILL)
    patiently(lambda: not processes(nile.lab), "no process is left", 3 * LEASE_S + 10.0)
    nothing_unfinished(nile)
    assert "its root is dead" in nile.command("swarm", "status", "last").out


def supervisor(run: str, nile: Nile) -> int:
    """The process that goes on with a run: its log is what it has for standard error."""
    log = str(nile.state / "nile/background" / f"{run}.txt")
    for place in Path("/proc").iterdir():
        if place.name.isdecimal():
            try:
                if os.readlink(place / "fd/2") == log:  # noqa: PTH115
                    return int(place.name)
            except OSError:
                continue
    raise AssertionError(f"nobody writes to {log}")
