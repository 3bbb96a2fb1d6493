"""Three hundred hosts, one of ten dead from the start: nobody else waits long for them, and each is named."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from nile.lab import BackendName, Lab, LabSpec
from tests.cluster.running import Done, Nile

pytestmark = [pytest.mark.cluster, pytest.mark.alone]

HOSTS, SWITCHES = 300, 6
CONNECT_S = 10
LIMITS = {"parallel": 4, "branches": 20, "stages": 3}
"""Few logins at a time: a node's two cores are those of all three hundred here."""
CODES = {"crashed": {"connect-timeout", "no-route"}, "refused": {"refused"}, "key": {"host-key-changed"}}
KINDS = ("crashed", "crashed", "crashed", "refused", "key", "crashed")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Three hundred hosts on six switches."""
    spec = LabSpec(hosts=HOSTS, backend=BackendName.NETNS, switches=SWITCHES)
    with Lab.up(spec, tmp_path_factory.mktemp("labs") / "many", tied=True) as made:
        yield made


def dead_hosts(lab: Lab) -> dict[str, str]:
    """Host -> what is wrong with it; the first of each rack is a relay, and among them."""
    return {host: KINDS[number % len(KINDS)] for number, host in enumerate(lab.names[::10])}


def wall_s(done: Done) -> float:
    """What a run took, in seconds."""
    return float(done.events[-1]["wall_s"])


@pytest.mark.timeout(300)
def test_one_of_ten_is_dead(lab: Lab, tmp_path: Path) -> None:
    nile = Nile(lab, tmp_path).with_routes(limits=LIMITS, timeouts={"connect": f"{CONNECT_S}s"})
    before_s = wall_s(nile.json("-a", "--", "true", timeout_s=120).all_ok())
    dead = dead_hosts(lab)
    for host, what in dead.items():
        if what == "crashed":
            lab.crash(host)
    refused: dict[str, dict[str, object]] = {
        host: {"port": 2999} for host, what in dead.items() if what == "refused"
    }
    other: dict[str, dict[str, object]] = {
        host: {"host_key_alias": "h002"} for host, what in dead.items() if what == "key"
    }
    hosts = {host: {"address": lab.addresses[host], **what} for host, what in {**refused, **other}.items()}
    done = nile.with_routes("dead", hosts=hosts).json("-a", "--", "true", timeout_s=120)
    after_s = wall_s(nile.json("-a", "-x", ",".join(dead), "--", "true", timeout_s=120).all_ok())
    print(f"quiet {before_s:.1f} and {after_s:.1f} s; with {len(dead)} dead {wall_s(done):.1f} s")
    assert done.verdicts == {host: "unreachable" if host in dead else "ok" for host in lab.names}
    for host, what in dead.items():
        assert done.results[host]["code"] in CODES[what], done.results[host]
        assert done.results[host]["reason"]
    assert "Traceback" not in done.err
    assert wall_s(done) < 1.3 * max(before_s, after_s) + 2 * CONNECT_S  # others may use the machine, too
