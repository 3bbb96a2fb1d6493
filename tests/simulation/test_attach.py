"""A root dies, and another one takes the run over from the record."""

from __future__ import annotations

import functools
import random

import pytest

from nile.cascade import Heritage, heritage
from nile.cascade.heritage import Known
from nile.cascade.hosts import Host
from nile.cascade.slots import Slots
from nile.events import Verdict
from nile.options import Limits
from nile.simulation.cluster import Cluster
from nile.simulation.faults import strike
from nile.simulation.pipes import Wire
from nile.simulation.root import RootTimes
from tests.simulation.checks import violations
from tests.simulation.runs import CHAIN, TWO_RELAYS, all_ok, chatty, cluster, quiet, sleeper
from tests.simulation.scenario import any_run
from tests.simulation.trees import tree, with_gateways, with_spare

Patch = pytest.MonkeyPatch


def disturbed(run: Cluster, *times: tuple[float, float]) -> Cluster:
    """A run whose root dies at each first time, and is replaced so many seconds later."""
    run.disturbed = True
    for at, after_s in times:
        run.at(at, run.replace_root, after_s)
        run.calm_at = max(run.calm_at, at + after_s)
    return run


class TestTheLivingTree:
    def test_is_taken_over_by_its_tops(self) -> None:
        """Only those that the root itself had logged in to are logged in to again."""
        run = disturbed(cluster(tree(CHAIN), sleeper(60.0)), (30.0, 2.0))
        run.run()
        all_ok(run)
        assert {host.name: host.claims.attempts for host in run.hosts.values()} == {
            f"h000{number}": 2 if number in (1, 6) else 1 for number in range(1, 9)
        }
        assert run.results()["h0005"].path == ("root", "h0001", "h0002", "h0003", "h0005")

    def test_again_and_again(self) -> None:
        run = disturbed(cluster(tree(TWO_RELAYS), sleeper(60.0)), (10.0, 2.0), (25.0, 3.0), (40.0, 0.1))
        run.run()
        all_ok(run)

    def test_with_output_that_nobody_read_meanwhile(self) -> None:
        run = disturbed(cluster(tree(CHAIN), chatty), (0.5, 5.0))
        run.run()
        all_ok(run)

    def test_also_where_it_had_healed_before(self) -> None:
        run = disturbed(cluster(tree(TWO_RELAYS), sleeper(60.0)), (30.0, 2.0))
        strike(run, run.hosts[1])
        run.at(5.0, run.hosts[1].crash)
        run.run()
        assert violations(run) == []
        taken = run.results()["h0003"]
        assert (taken.verdict, taken.path[-1]) == (Verdict.OK, "h0003")
        assert "h0001" not in taken.path
        assert run.hosts[3].claims.attempts <= 2 + (taken.path[-2] == "root")

    def test_below_a_gateway_that_was_called_up(self) -> None:
        plan = with_spare(with_gateways(tree([0, 0, 1, 1], frozenset([1])), {3: (1,), 4: (1,)}), (3, 4))
        run = disturbed(cluster(plan, sleeper(60.0)), (30.0, 2.0))
        strike(run, run.hosts[1])
        run.at(5.0, run.hosts[1].crash)
        run.run()
        assert violations(run) == []
        assert run.results()["h0003"].path == ("root", "spare", "h0003")
        assert run.hosts[3].claims.attempts == 2

    def test_what_ended_meanwhile_is_told_once(self) -> None:
        run = disturbed(cluster(tree(CHAIN), sleeper(6.0)), (4.0, 8.0))
        run.run()
        all_ok(run)


class TestWhatHadNotBegun:
    @pytest.mark.parametrize("at", [0.0, 0.03, 0.1, 0.2, 0.4])
    def test_is_begun_by_the_next_root(self, at: float) -> None:
        run = disturbed(cluster(tree(CHAIN), sleeper(3.0)), (at, 1.0))
        run.run()
        all_ok(run)

    def test_waits_for_its_turn(self) -> None:
        run = disturbed(cluster(tree(TWO_RELAYS), sleeper(2.0), fanout=2), (5.0, 1.0))
        run.run()
        all_ok(run)
        assert run.most_running == 2

    def test_waits_for_its_turn_to_be_logged_in_to(self) -> None:
        run = disturbed(cluster(tree(TWO_RELAYS, limits=Limits(logins=1)), quiet), (0.3, 1.0))
        run.run()
        all_ok(run)
        assert run.dialer.most_logins == 1


def test_an_interrupt_that_was_recorded_goes_on() -> None:
    run = disturbed(cluster(tree(CHAIN), sleeper(60.0)), (10.5, 1.0))
    run.interrupt_at(10.0, 1.0)
    run.run()
    assert violations(run) == []
    assert set(run.verdicts().values()) == {Verdict.CANCELLED}


@pytest.mark.parametrize("store_s", [0.005, 0.1])
@pytest.mark.parametrize("latency_s", [0.0, 0.05])
def test_nothing_starts_after_an_interrupt_that_was_recorded(store_s: float, latency_s: float) -> None:
    """The root dies so soon after it that hosts haven't heard of it; others were never logged in to."""
    plan = tree([0, 0, *[1, 2] * 6], limits=Limits(parallel=2))
    run = cluster(plan, sleeper(0.3), wire=Wire(latency_s), times=RootTimes(store_s, 0.0))
    late: list[str] = []
    for host in run.hosts.values():
        host.login.seconds = 0.3
        host.on_start = functools.partial(_late, run, 0.5 + 2 * latency_s + 0.05, host.name, late)
    run.interrupt_at(0.5, 5.0)
    disturbed(run, (0.5 + store_s + 0.05, 1.0)).run()
    assert late == []
    assert len(run.verdicts()) == 14


def test_nothing_starts_after_an_interrupt_of_the_next_root() -> None:
    run = cluster(tree(CHAIN), sleeper(1.0))
    late: list[str] = []
    for host in run.hosts.values():
        host.login.seconds = 0.3
        host.on_start = functools.partial(_late, run, 1.25, host.name, late)
    disturbed(run, (0.1, 1.0))
    run.interrupt_at(1.2, 1.0)
    run.run()
    assert late == []
    assert len(run.verdicts()) == 8


def _late(run: Cluster, after_s: float, name: str, late: list[str]) -> None:
    if run.clock.now > after_s:
        late.append(name)


def test_a_dead_host_that_was_never_up_is_lost_for_nobody_knows_better() -> None:
    run = cluster(tree(TWO_RELAYS), sleeper(20.0))
    strike(run, run.hosts[3])
    run.hosts[3].login.silent = True
    disturbed(run, (1.0, 1.0)).run()
    assert violations(run) == []
    assert run.verdicts()["h0003"] is Verdict.LOST


def test_a_record_that_breaks_off_leaves_no_circle() -> None:
    """Who hung below whom may have been recorded at different times."""
    plan = tree([0, 1, 2])
    run = cluster(plan, quiet)
    records = {"h0001": Known("h0002", 0.1, 0.2), "h0002": Known("h0001", 0.1, 0.2)}
    hosts = run.root._cascade._tree
    heritage.inherit(hosts, Heritage(1, 5.0, records), Slots(None))
    assert [hosts.stage(node) for node in (1, 2, 3)] == [1, 2, 3]


# Rules broken on purpose.


def forgets_who_may_have_started(host: Host, known: Known) -> None:
    host.may_have_started = False


def forgets_what_was_received(host: Host, known: Known) -> None:
    host.received, host.acked = {"stdout": 0, "stderr": 0}, (0, 0)


def forgets_who_was_judged(host: Host, known: Known) -> None:
    host.verdict = None


@pytest.mark.parametrize(
    "forget",
    [
        forgets_who_may_have_started,
        forgets_what_was_received,
        forgets_who_was_judged,
    ],
    ids=lambda forget: forget.__name__,
)
def test_a_root_that_forgets_is_found(forget: object, monkeypatch: Patch) -> None:
    recall = heritage._recall

    def forgetful(host: Host, known: Known) -> None:
        recall(host, known)
        forget(host, known)  # type: ignore[operator]

    monkeypatch.setattr(heritage, "_recall", forgetful)
    assert any(violations(_replaced(seed, 5)) for seed in range(40))


@pytest.mark.parametrize("name", ["first_epoch", "first_beat"])
def test_a_root_that_counts_from_the_start_is_found(name: str, monkeypatch: Patch) -> None:
    monkeypatch.setattr(Heritage, name, property(lambda _: 0))
    run = disturbed(cluster(tree(CHAIN), sleeper(60.0)), (30.0, 2.0))
    run.run(300.0)
    assert violations(run) != []


def test_runs_of_chance_whose_roots_die() -> None:
    for seed in range(40):
        assert violations(_replaced(seed, 0)) == [], f"seed {seed}"


def _replaced(seed: int, faults: int) -> Cluster:
    """A run of chance, with up to three roots after its first one where nothing else befalls it."""
    run, rng = any_run(seed, 16, faults), random.Random(seed)
    at = 0.0
    for _ in range(1 if faults else rng.randrange(1, 4)):
        at += 6.0 * rng.random()
        disturbed(run, (at, after_s := rng.choice((0.05, 0.3, 2.0, 4.0))))
        at += after_s
    run.run(600.0)
    return run
