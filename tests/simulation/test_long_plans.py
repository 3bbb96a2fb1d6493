"""Plans that are long under way, as those are that bring a script, or long lines, over a slow link."""

from __future__ import annotations

import pytest

from nile.agent import wire
from nile.agent.wire import Frame
from nile.events import Verdict
from nile.options import ExecOptions
from nile.simulation.agent import SimAgent
from nile.simulation.cluster import Cluster, Setup
from nile.simulation.faults import strike
from nile.simulation.pipes import Wire
from tests.simulation.checks import violations
from tests.simulation.runs import all_ok, quiet
from tests.simulation.trees import tree


class Dying(SimAgent):
    """Never gets its plan, and is gone when any other link would count as one that holds."""

    def _frame(self, frame: Frame) -> None:
        if frame.type == wire.PLAN:
            self.clock.after(6.0, self.die)


@pytest.mark.parametrize(("parents", "size"), [([0, 0], 1 << 20), ([0, 1, 1, 1], 1 << 18)])
def test_that_take_longer_than_the_lease_before_a_plan(parents: list[int], size: int) -> None:
    hosts = [f"h{number:04}" for number in range(1, len(parents) + 1)]
    options = ExecOptions("a command", per_host=dict.fromkeys(hosts, "x" * size))
    run = Cluster(Setup(tree(parents), options, quiet, 1, Wire(0.001, 1.5e5)))
    run.run(300.0)
    all_ok(run)
    assert {host.claims.agents for host in run.hosts.values()} == {1}


@pytest.mark.parametrize("fanout", [None, 1])
def test_that_never_come_are_waited_for_as_long_as_any_host(fanout: int | None) -> None:
    """Its agent says hello each time, and dies before it has its plan."""
    options = ExecOptions("a command", fanout)
    run = Cluster(Setup(tree([0, 0]), options, quiet, 1, agents={"h0001": Dying}))
    run.disturbed = True
    strike(run, run.host("h0001"))
    run.run(600.0)
    assert violations(run) == []
    assert run.verdicts()["h0001"] in (Verdict.LOST, Verdict.UNREACHABLE)
    assert run.verdicts()["h0002"] is Verdict.OK
