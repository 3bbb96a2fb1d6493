"""Work that moves: spare gateways, hosts that an idle node takes, dead ones, a cancelled run."""

from __future__ import annotations

import random

import pytest

from nile.events import Code, Verdict
from nile.options import Limits, Timeouts
from nile.simulation.cluster import Cluster
from nile.simulation.faults import strike
from tests.simulation.checks import violations
from tests.simulation.runs import all_ok, cluster, quiet, sleeper
from tests.simulation.trees import square, tree, with_gateways, with_spare


class TestSpareGateways:
    """1 is the gateway of 3, 4, 5 and 6; another one has no place in the tree."""

    def zone(self) -> Cluster:
        plan = tree([0, 0, 1, 1, 1, 3], frozenset([1]))
        behind = (3, 4, 5, 6)
        plan = with_spare(with_gateways(plan, dict.fromkeys(behind, (1,))), behind)
        return cluster(plan, sleeper(6.0))

    def test_nobody_calls_for_it_while_the_other_serves(self) -> None:
        run = self.zone()
        run.run()
        all_ok(run)
        assert run.host("spare").claims.attempts == 0

    def test_it_takes_over_from_one_that_is_dead_from_the_start(self) -> None:
        run = self.zone()
        run.hosts[1].login.code = "refused"
        strike(run, run.hosts[1])
        run.run()
        all_ok(run)
        assert run.results()["h0004"].path == ("root", "spare", "h0004")
        assert run.host("spare").claims.starts == 0

    def test_it_takes_over_from_one_that_dies(self) -> None:
        run = self.zone()
        strike(run, run.hosts[1])
        run.at(3.0, run.hosts[1].crash)
        run.run()
        all_ok(run)
        assert run.results()["h0003"].path == ("root", "spare", "h0003")

    def test_without_any_gateway_they_are_given_up(self) -> None:
        run = self.zone()
        for host in (run.hosts[1], run.host("spare")):
            host.login.code = "refused"
        for host in run.hosts.values():
            strike(run, host)
        run.run()
        assert violations(run) == []
        assert {run.verdicts()[f"h000{each}"] for each in (3, 4, 5, 6)} == {Verdict.UNREACHABLE}
        assert run.verdicts()["h0002"] is Verdict.OK


class TestWorkMoves:
    """1 has forty hosts below it, of which two can be logged in to at a time; 2 has two."""

    PARENTS = (0, 0, *[1] * 40, *[2] * 2)

    def test_idle_relays_take_hosts_that_nobody_began_with(self) -> None:
        run = cluster(tree(list(self.PARENTS), limits=Limits(branches=50, parallel=2)), sleeper(30.0))
        for host in run.hosts.values():
            host.login.seconds = 1.0
        run.run()
        all_ok(run)
        paths = [result.path[1] for result in run.results().values() if len(result.path) == 3]
        assert paths.count("h0002") >= 8
        ready = [result.t_ready_s or 0.0 for result in run.results().values()]
        assert max(ready) < 14.0  # alone, the first relay takes twenty rounds
        assert sum(host.claims.attempts for host in run.hosts.values()) <= 44 + 4  # hardly any begins in vain

    def test_who_cannot_log_in_to_what_it_took_gives_it_back(self) -> None:
        run = cluster(tree(list(self.PARENTS), limits=Limits(branches=50, parallel=2)), sleeper(30.0))
        for host in run.hosts.values():
            host.login.seconds = 1.0
            if host.node.parent == 1:
                host.login.barred = {0: "refused", 2: "refused"}
        run.run()
        all_ok(run)
        assert {result.path[:2] for result in run.results().values() if result.host > "h0002"} == {
            ("root", "h0001"),
            ("root", "h0002"),
        }

    def test_nobody_takes_what_waits_for_a_permit(self) -> None:
        limits = Limits(branches=50, parallel=16, logins=2)
        run = cluster(tree(list(self.PARENTS), limits=limits), quiet)
        for host in run.hosts.values():
            host.login.seconds = 1.0
        run.run()
        all_ok(run)
        assert all(
            result.path[1] == "h0001"
            for result in run.results().values()
            if result.host in ("h0010", "h0040")
        )


class TestDeadHosts:
    """A tenth of all hosts is dead from the start, silently: nobody waits for them for long."""

    @staticmethod
    def wall_s(run: Cluster) -> float:
        run.run()
        return max(result.t_end_s or 0.0 for result in run.results().values())

    @pytest.mark.parametrize("seed", [1, 2])
    def test_they_cost_no_more_than_two_connect_time_outs(self, seed: int) -> None:
        plan = square(300, timeouts=Timeouts(connect_s=10.0, lease_s=30.0))
        without = self.wall_s(cluster(plan, sleeper(0.5)))
        run = cluster(plan, sleeper(0.5))
        for number in random.Random(seed).sample(sorted(run.hosts), 30):
            run.hosts[number].login.silent = True
            strike(run, run.hosts[number])
        assert self.wall_s(run) <= 1.3 * without + 2 * 10.0
        assert violations(run) == []
        verdicts = list(run.verdicts().values())
        assert (verdicts.count(Verdict.OK), verdicts.count(Verdict.UNREACHABLE)) == (270, 30)
        assert {
            result.code for result in run.results().values() if result.verdict is Verdict.UNREACHABLE
        } == {Code.CONNECT_TIMEOUT}


def test_cancelled_while_a_branch_heals_they_are_told_all_the_same() -> None:
    run = cluster(tree([0, 0, 1, 1, 1, 2]), sleeper(60.0))
    run.at(6.0, run.hang_up, run.hosts[1])
    run.interrupt_at(6.01, 1.0)
    run.run()
    assert violations(run) == []
    assert set(run.verdicts().values()) == {Verdict.CANCELLED}
    assert max(result.t_end_s or 0.0 for result in run.results().values()) < 6.01 + 1.0 + 2.0
