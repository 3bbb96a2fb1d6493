"""Forecasts: times that can be computed by hand, and what is said of hosts that die."""

from __future__ import annotations

import math
import random
import statistics

import pytest

from nile.events import Verdict
from nile.simulation.forecast import Dying, Forecast, Question, undisturbed, with_deaths
from nile.simulation.pipes import RETRANSMIT_S, Wire
from nile.topology.model import Plan
from tests.simulation.runs import CHAIN, TWO_RELAYS
from tests.simulation.trees import TIMES, square, tree, with_gateways

SOON_S = 0.05
"""What frames and the store take beside logins and commands."""


def ask(plan: Plan, login_s: float = 1.0, command_s: float = 2.0, loss: float = 0.0) -> Question:
    """All logins take the same time."""
    return Question(plan, login_s, 0.0, command_s, loss)


def one(forecast: Forecast, host: str) -> dict[str, object]:
    """What is said of one death."""
    death = next(death for death in forecast.deaths if death.host == host)
    return {name: getattr(death, name) for name in death.__slots__}


class TestTimes:
    @pytest.mark.parametrize(
        ("parents", "stages"),
        [([0, 0, 0], 1), (TWO_RELAYS, 2), (CHAIN, 4)],
    )
    def test_a_stage_takes_a_login(self, parents: list[int], stages: int) -> None:
        seen = undisturbed(ask(tree(parents)), 1)
        assert [stage.stage for stage in seen.stages] == list(range(1, stages + 1))
        assert [stage.last_s for stage in seen.stages] == pytest.approx(range(1, stages + 1), abs=SOON_S)
        assert (seen.up_s, seen.wall_s) == pytest.approx((stages, stages + 2), abs=SOON_S)
        assert seen.counts == {Verdict.OK: len(parents)}

    def test_more_hosts_than_logins_at_one_time_take_rounds(self) -> None:
        seen = undisturbed(ask(tree([0] * 40)), 1)  # 16 at one time
        assert seen.up_s == pytest.approx(3, abs=SOON_S)

    def test_logins_vary_around_their_median(self) -> None:
        seen = undisturbed(Question(tree([0] * 16), 1.0, 0.5), 1)
        first, half, last = (getattr(seen.stages[0], name) for name in ("first_s", "half_s", "last_s"))
        assert first < 0.7 < half < 1.4 < last

    def test_where_cores_are_shared_many_logins_take_longer(self) -> None:
        plan = tree([0] * 16)
        assert undisturbed(Question(plan, 1.0, 0.0, cores=2, cpu_s=0.5), 1).up_s == pytest.approx(
            0.5 + 16 * 0.5 / 2, abs=SOON_S
        )
        assert undisturbed(Question(plan, 1.0, 0.0, cores=16, cpu_s=0.5), 1).up_s == pytest.approx(
            1.0, abs=SOON_S
        )

    def test_loss_takes_time_and_no_host(self) -> None:
        walls = [
            statistics.median(undisturbed(ask(square(60), 0.2, 0.0, loss), seed).wall_s for seed in range(5))
            for loss in (0.0, 0.01, 0.05)
        ]
        assert walls == sorted(walls)
        assert walls[2] > walls[0] + RETRANSMIT_S
        assert undisturbed(ask(square(60), 0.2, 0.0, 0.05), 1).counts == {Verdict.OK: 60}

    def test_a_packet_waits_for_each_time_out(self) -> None:
        rng, wire = random.Random(1), Wire(loss=0.2)
        mean_s = statistics.fmean(wire.resent_s(rng) for _ in range(20_000))
        expected_s = sum(0.2**times * RETRANSMIT_S * 2 ** (times - 1) for times in range(1, 20))
        assert mean_s == pytest.approx(expected_s, rel=0.1)
        assert Wire().resent_s(rng, 100) == 0.0

    def test_the_same_seed_says_the_same(self) -> None:
        question = Question(square(60), 0.3, loss=0.01)
        assert undisturbed(question, 3) == undisturbed(question, 3) != undisturbed(question, 4)
        deaths = [with_deaths(question, Dying(5), 3, 2.0) for _ in range(2)]
        assert deaths[0] == deaths[1] != with_deaths(question, Dying(5), 4, 2.0)


class TestDeaths:
    def test_a_relay_is_missed_and_others_take_over(self) -> None:
        plan = tree(TWO_RELAYS)  # 1 -> 3, 5, 7; 2 -> 4, 6, 8
        seen = with_deaths(ask(plan, command_s=60.0), Dying(hosts=("h0001",)), 1, 30.0)
        death = one(seen, "h0001")
        assert 2.0 < seen.deaths[0].at_s < 30.0  # all are up by then
        assert death["reached"] is True
        assert death["below"] == 3
        assert death["verdict"] is Verdict.LOST
        noticed_s, again_s = seen.deaths[0].noticed_s, seen.deaths[0].again_s
        assert noticed_s is not None
        assert again_s is not None
        assert TIMES.silence_s - 1.1 < noticed_s < TIMES.silence_s + 1.1
        assert noticed_s + 0.9 < again_s < noticed_s + 6.0
        assert sum(seen.deaths[0].taken_over.values()) == 3
        assert "h0001" not in seen.deaths[0].taken_over
        assert seen.counts == {Verdict.OK: 7, Verdict.LOST: 1}
        assert seen.not_ok == ()
        assert seen.slowest is not None
        assert seen.slowest.t_end_s is not None
        assert 62.0 <= seen.slowest.t_end_s <= 62.0 + 8.0

    def test_a_leaf_is_missed_by_nobody_else(self) -> None:
        seen = with_deaths(ask(tree(TWO_RELAYS), command_s=60.0), Dying(hosts=("h0005",)), 1, 30.0)
        assert one(seen, "h0005") | {"at_s": 0, "noticed_s": 0} == {
            "host": "h0005",
            "at_s": 0,
            "verdict": Verdict.LOST,
            "reached": True,
            "below": 0,
            "noticed_s": 0,
            "taken_over": {},
            "again_s": None,
        }

    def test_one_that_dies_before_it_is_reached_is_unreachable(self) -> None:
        seen = with_deaths(ask(tree(TWO_RELAYS), login_s=3.0), Dying(hosts=("h0005",)), 1, 1.0)
        assert (seen.deaths[0].reached, seen.deaths[0].verdict) == (False, Verdict.UNREACHABLE)

    def test_one_that_is_done_is_missed_no_more(self) -> None:
        plan = tree(TWO_RELAYS)
        question = Question(plan, 0.1, 0.0, 0.0)
        found = [with_deaths(question, Dying(1), seed, 30.0).deaths[0] for seed in range(10)]
        late = [death for death in found if death.at_s > 1.0]
        assert late
        assert {(death.verdict, death.below, death.noticed_s) for death in late} == {(Verdict.OK, 0, None)}

    def test_who_is_spared_behind_dead_gateways_is_named(self) -> None:
        plan = with_gateways(tree(TWO_RELAYS), {3: (1,), 5: (1,), 7: (1,)})
        seen = with_deaths(ask(plan, login_s=3.0), Dying(hosts=("h0001",)), 1, 1.0)
        assert {result.host for result in seen.not_ok} == {"h0003", "h0005", "h0007"}
        assert {result.verdict for result in seen.not_ok} == {Verdict.UNREACHABLE}

    def test_as_many_die_as_were_asked_for(self) -> None:
        seen = with_deaths(ask(square(60), command_s=20.0), Dying(12), 1, 20.0)
        assert len({death.host for death in seen.deaths}) == 12
        assert [death.at_s for death in seen.deaths] == sorted(death.at_s for death in seen.deaths)
        assert sum(seen.counts.values()) == 60
        assert seen.not_ok == ()
        assert not math.isclose(seen.deaths[0].at_s, seen.deaths[-1].at_s)
