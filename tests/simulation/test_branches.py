"""Branches that break, each in a tree made for it: what is below goes on."""

from __future__ import annotations

import random

import pytest

from nile.events import Code, HostOutput, Notice, Verdict
from nile.options import Limits
from nile.simulation.commands import Script, Write
from nile.simulation.faults import strike
from nile.simulation.pipes import Wire
from tests.simulation.checks import violations
from tests.simulation.runs import (
    CHAIN,
    FAULTS,
    TWO_RELAYS,
    all_ok,
    cluster,
    sleeper,
)
from tests.simulation.trees import TIMES, tree, with_gateways


class TestBrokenBranches:
    @pytest.mark.parametrize("fault", list(FAULTS))
    @pytest.mark.parametrize("fanout", [None, 2])
    def test_a_relay_dies_at_any_moment(self, fault: str, fanout: int | None) -> None:
        for step in range(30):
            run = cluster(tree(CHAIN), sleeper(1.0), fanout=fanout)
            struck = run.hosts[2]
            strike(run, struck)
            run.at(step * 0.1, FAULTS[fault], run, struck)
            run.run()
            assert violations(run) == [], f"{fault} at {step * 0.1}"

    @pytest.mark.parametrize("fault", list(FAULTS))
    def test_what_is_below_a_relay_that_dies_is_adopted_and_ends_well(self, fault: str) -> None:
        run = cluster(tree(CHAIN), sleeper(5.0))
        strike(run, run.hosts[2])
        run.at(2.0, FAULTS[fault], run, run.hosts[2])
        run.run()
        assert violations(run) == []
        for name in ("h0003", "h0004", "h0005", "h0008"):
            result = run.results()[name]
            assert result.verdict is Verdict.OK
            assert (result.t_end_s or 0.0) < 2.0 + 5.0 + 3.0  # it went on meanwhile
        assert run.hosts[4].claims.agents == 1  # it hangs below a relay that was adopted with it
        link_only = fault == "cut"  # then it is adopted itself, and keeps what is below it
        assert run.hosts[3].claims.agents == (1 if link_only else 2)
        assert run.verdicts()["h0002"] is (Verdict.OK if link_only else Verdict.LOST)

    @pytest.mark.parametrize("after_s", [0.1, 0.5, 1.0])
    def test_what_makes_a_leaf_a_relay_may_be_lost_on_its_way(self, after_s: float) -> None:
        """The root has leaves take others over, and doesn't know yet that their own link is dead."""
        run = cluster(tree(TWO_RELAYS, limits=Limits(branches=3)), sleeper(12.0))
        strike(run, run.hosts[1])
        run.at(3.0, run.cut, run.hosts[2])
        run.at(3.0 + after_s, run.hosts[1].kill_agent)
        run.run()
        assert violations(run) == []
        lost = [name for name, verdict in run.verdicts().items() if verdict is not Verdict.OK]
        assert lost == ["h0001"]
        assert any(len(result.path) == 4 for result in run.results().values())

    def test_behind_the_only_gateway_nobody_is_reached_once_it_is_gone(self) -> None:
        plan = with_gateways(tree(CHAIN), {3: (2,), 4: (2,), 5: (2,)})
        run = cluster(plan, sleeper(30.0))
        for host in (2, 3, 4, 5):
            strike(run, run.hosts[host])
        run.hosts[5].login.seconds = 4.0
        run.at(2.0, run.hosts[2].crash)
        run.run()
        assert violations(run) == []
        results = run.results()
        told = {name: (results[name].verdict, results[name].code) for name in ("h0003", "h0004", "h0005")}
        assert told["h0003"] == told["h0004"] == (Verdict.LOST, Code.PARENT)
        assert "h0002" in results["h0003"].reason
        assert "h0002" in results["h0004"].reason
        assert told["h0005"][0] is Verdict.UNREACHABLE
        assert run.verdicts()["h0008"] is Verdict.OK  # it was below it, but needs no gateway

    def test_output_that_was_lost_though_the_end_is_known_is_named(self) -> None:
        def script(name: str, _: random.Random) -> Script:
            yield Write("stdout", b"." * (0 if name == "h0001" else 200_000))
            return 0

        run = cluster(tree([0, 1, 1, 1, 1]), script, wire=Wire(0.001, 100_000.0))
        strike(run, run.hosts[2])
        run.at(3.0, run.hosts[2].kill_agent)
        run.run()
        assert violations(run) == []
        assert run.verdicts()["h0002"] is Verdict.OK
        published = sum(
            len(event.data) for event in run.events if isinstance(event, HostOutput) and event.host == "h0002"
        )
        assert 0 < published < 200_000
        (notice,) = [event for event in run.events if isinstance(event, Notice)]
        assert notice.host == "h0002"
        assert f"the last {200_000 - published} bytes" in notice.text

    def test_below_a_relay_that_was_never_up_everybody_is_reached_by_another_way(self) -> None:
        run = cluster(tree(CHAIN), sleeper(5.0))
        run.hosts[2].login.code = "refused"
        strike(run, run.hosts[2])
        run.run()
        assert violations(run) == []
        verdicts = run.verdicts()
        assert verdicts.pop("h0002") is Verdict.UNREACHABLE
        assert set(verdicts.values()) == {Verdict.OK}
        assert all("h0002" not in result.path for result in run.results().values() if result.host in verdicts)

    def test_silence_ends_in_a_verdict_and_the_lease_ends_the_command(self) -> None:
        run = cluster(tree(TWO_RELAYS), sleeper(300.0))
        struck = run.hosts[3]
        strike(run, struck)
        run.at(2.0, run.network.isolate, struck.id)
        run.root.begin()
        run.clock.pass_until(2.0 + TIMES.lease_s - 1.0)
        assert struck.alive()
        given_up_at = 2.0 + TIMES.silence_s + TIMES.lease_s + run.setup.exec.grace_s + 2.0
        run.clock.pass_until(2.0 + TIMES.lease_s + run.setup.exec.grace_s + 1.0)
        assert not struck.alive()
        assert "h0003" not in run.results()  # as long as it may live, it may come back
        run.clock.pass_until(given_up_at)
        result = run.results()["h0003"]
        assert (result.verdict, result.code) == (Verdict.LOST, Code.CONNECT_TIMEOUT)
        assert result.t_end_s is not None
        assert 2.0 + TIMES.lease_s + run.setup.exec.grace_s < result.t_end_s < given_up_at

    def test_who_thaws_too_late_starts_nothing(self) -> None:
        run = cluster(tree([0, 0]), sleeper(2.0), fanout=1)
        late = run.hosts[2]
        late.login.seconds = 0.5
        strike(run, late)
        run.at(1.0, late.freeze)  # its start is queued while it is frozen
        run.at(40.0, late.thaw)
        run.run()
        run.clock.pass_until(60.0)
        assert run.verdicts()["h0002"] is Verdict.LOST
        assert late.claims.starts == 0
        assert violations(run) == []

    def test_who_thaws_in_time_goes_on(self) -> None:
        run = cluster(tree(TWO_RELAYS), sleeper(6.0))
        run.at(2.0, run.hosts[1].freeze)
        run.at(5.0, run.hosts[1].thaw)
        run.run()
        all_ok(run)
