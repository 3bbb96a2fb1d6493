"""What befalls a relay, deed by deed; see `striking` for what must hold of every run."""

from __future__ import annotations

import pytest

from tests.cluster.faults import crash, cut, freeze, kill_agent, kill_both, kill_its_ssh, kill_warden, thaw
from tests.cluster.running import Nile
from tests.cluster.striking import CONNECT_S, LEASE_S, PRINTED, strike, three_stages

pytestmark = pytest.mark.cluster


def test_processes_that_are_killed(sixty: Nile) -> None:
    """An agent and a warden with all below them, both of them, and a link."""
    deeds = {"h001": kill_agent, "h022": kill_warden, "h027": kill_both, "h042": kill_its_ssh}
    run = strike(three_stages(sixty), [(0.5, deed, host) for host, deed in deeds.items()])
    print(run)
    run.check("h001", "h022", "h027", ok=["h042"])
    assert len(run.let_in["h042"]) == 2


def test_hosts_that_die(sixty: Nile) -> None:
    """A crash in stage 1, with all below it; a cable that is cut and a frozen host in stage 2."""
    lost = ("h001", "h022", "h042")
    run = strike(three_stages(sixty), [(0.5, crash, "h001"), (0.5, cut, "h022"), (0.5, freeze, "h042")])
    print(run)
    run.check(*lost)
    moved = [f"h{n:03}" for n in (2, 7, 12, 17, *range(23, 27), *range(43, 47))]
    assert not {name for host in moved for name in run.done.results[host]["path"]} & set(lost)


def test_hosts_that_thaw(sixty: Nile) -> None:
    """Before its lease is over a host goes on, wherever it hangs then; after it, its command is dead."""
    faults = [(0.5, freeze, "h001"), (5.0, thaw, "h001"), (0.5, freeze, "h022"), (17.0, thaw, "h022")]
    run = strike(three_stages(sixty), faults)
    print(run)
    run.check("h022", ok=["h001"])


ASKED = [f"h{number:03}" for number in range(23, 41)]


def test_a_gateway_that_dies_is_replaced_by_the_other(sixty: Nile) -> None:
    behind = {"behind": {"hosts": "h[023-040]", "via": "h[021-022]"}}
    times = {"lease": f"{LEASE_S}s", "connect": f"{CONNECT_S}s"}
    gated = sixty.with_routes("gated", groups=behind, limits={"branches": 18}, timeouts=times)
    run = strike(gated, [(0.5, crash, "h021")], "-g", "behind", asked=ASKED)
    assert {host: run.told(host) for host in ASKED} == dict.fromkeys(ASKED, ("ok", PRINTED, 1))
    assert {run.done.results[host]["path"][1] for host in ASKED} == {"h022"}
    run.check_spared()
