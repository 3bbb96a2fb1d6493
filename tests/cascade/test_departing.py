"""Commands that cut hosts off: who may start, and what is said of a host that went away."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from nile.cascade.departing import Departures, judge_absent, judge_away, judge_back
from nile.cascade.hosts import AGAIN_S, Absence, Contact, Host
from nile.cascade.tree import Tree
from nile.events import Code, Verdict
from nile.options import ExecOptions
from nile.topology.model import Plan
from tests.simulation.runs import CHAIN, TWO_RELAYS
from tests.simulation.trees import tree, with_gateways

PLAIN = ExecOptions("reboot", disruptive=True)
WAITING = replace(PLAIN, wait_back_s=60.0)
BEGAN = {"started": True}
ABSENT = {"absence": Absence(1.0, 61.0)}
DONE: dict[str, Any] = {"rc": 0, "signal": None, "cause": None, "error": None, "left": []}


def standing(plan: Plan) -> Tree:
    """A tree in which every host is up."""
    found = Tree(plan, {node.host: node.id for node in plan.asked()})
    for host in found.hosts.values():
        host.contact = Contact.UP
        host.committed = host.over
    return found


def offered(plan: Plan, limit: int | None = None) -> tuple[Departures, Tree]:
    """All hosts would like to start."""
    found = standing(plan)
    departures = Departures(limit, plan, found)
    for host in found.hosts.values():
        if host.node.asked:
            departures.offer(host.id, host)
    return departures, found


def granted(departures: Departures) -> list[int]:
    return sorted(host.id for host in departures.grant())


def ends(departures: Departures, found: Tree, *ids: int) -> None:
    for node in ids:
        host = found[node]
        host.verdict, host.committed = Verdict.OK, True
        departures.give_back(host)
        found.through(host)


class TestWhoMayStart:
    def test_who_has_nobody_below(self) -> None:
        departures, found = offered(tree(CHAIN))
        assert granted(departures) == [4, 5, 6, 7, 8]
        ends(departures, found, 4, 6, 7, 8)
        assert granted(departures) == []
        ends(departures, found, 5)
        assert granted(departures) == [3]
        ends(departures, found, 3)
        assert granted(departures) == [2]
        ends(departures, found, 2)
        assert granted(departures) == [1]

    def test_a_verdict_that_is_not_in_the_store_yet_is_not_enough(self) -> None:
        departures, found = offered(tree([0, 1]))
        assert granted(departures) == [2]
        found[2].verdict = Verdict.OK
        departures.give_back(found[2])
        assert granted(departures) == []

    def test_as_many_as_allowed(self) -> None:
        departures, found = offered(tree(TWO_RELAYS), limit=2)
        assert granted(departures) == [3, 4]
        ends(departures, found, 3, 4)
        assert granted(departures) == [5, 6]
        ends(departures, found, 5, 6)
        assert granted(departures) == [7, 8]

    def test_nobody_waits_for_one_that_hangs_elsewhere_now(self) -> None:
        departures, found = offered(tree([0, 1, 0]))
        assert granted(departures) == [2, 3]
        found.move(found[2], 0)
        assert granted(departures) == [1]

    def test_one_that_got_a_host_below_it_since_it_asked_waits(self) -> None:
        departures, found = offered(tree([0, 0, 0]), limit=1)
        assert granted(departures) == [1]
        found.move(found[3], 2)
        ends(departures, found, 1)
        assert granted(departures) == [3]
        ends(departures, found, 3)
        assert granted(departures) == [2]

    def test_one_that_is_out_of_contact_is_offered_anew(self) -> None:
        departures, found = offered(tree([0, 0]))
        found[1].contact = Contact.NONE
        assert granted(departures) == [2]
        found[1].contact = Contact.UP
        assert granted(departures) == []
        departures.offer(1, found[1])
        assert granted(departures) == [1]

    def test_one_that_was_attached_anew_says_first_where_it_stands(self) -> None:
        """It may have hosts below it that hang elsewhere by now, and has to let go of them."""
        departures, found = offered(tree([0, 0]))
        found[1].answer_due = True
        assert granted(departures) == [2]
        found[1].answer_due = False
        departures.offer(1, found[1])
        assert granted(departures) == [1]

    def test_asking_twice_gives_one_start(self) -> None:
        departures, found = offered(tree([0]))
        departures.offer(1, found[1])
        assert granted(departures) == [1]
        departures.offer(1, found[1])
        assert granted(departures) == []

    def test_one_that_a_former_root_told_is_not_told_again(self) -> None:
        found = standing(tree([0, 0]))
        departures = Departures(None, tree([0, 0]), found)
        found[1].started, found[1].t_ready_s = True, 2.0
        for host in found.hosts.values():
            departures.occupy(host)
        assert (found[1].leaving, found[2].leaving) == (True, False)
        departures.give_back(found[2])
        departures.offer(2, found[2])
        assert granted(departures) == [2]


class TestGateways:
    def test_one_that_only_relays_and_hangs_below_a_host_behind_it_holds_nobody_up(self) -> None:
        plan = with_gateways(tree([0, 0, 1], frozenset([1, 2])), {3: (1, 2)})
        found = standing(plan)
        found.move(found[2], 3)
        departures = Departures(None, plan, found)
        departures.offer(1, found[3])
        assert granted(departures) == [3]

    def test_it_waits_for_those_behind_it_that_hang_below_another(self) -> None:
        plan = with_gateways(tree(TWO_RELAYS), dict.fromkeys(range(3, 9), (1, 2)))
        departures, found = offered(plan)
        assert granted(departures) == [3, 4, 5, 6, 7, 8]
        ends(departures, found, 3, 5, 7)
        assert granted(departures) == []
        ends(departures, found, 4, 6, 8)
        assert granted(departures) == [1, 2]

    def test_of_two_that_would_wait_for_each_other_one_goes(self) -> None:
        """1 and 2 are gateways of 5, 3 and 4 of 6; healing hung 3 below 5, and 1 below 6."""
        plan = with_gateways(tree([0, 0, 0, 0, 2, 4]), {5: (1, 2), 6: (3, 4)})
        found = standing(plan)
        found.move(found[3], 5)
        found.move(found[1], 6)
        departures = Departures(None, plan, found)
        for host in found.hosts.values():
            departures.offer(host.id, host)
        told: list[int] = []
        while now := granted(departures):
            told += now
            ends(departures, found, *now)
        assert sorted(told) == [1, 2, 3, 4, 5, 6]


def away(**state: Any) -> Host:
    """A host that was told to start."""
    return Host(tree([0]).node(1), 0, 0, [], leaving=True, may_have_started=True, start_s=1.0, **state)


class TestVerdicts:
    @pytest.mark.parametrize(
        ("options", "state", "code", "expected"),
        [
            (PLAIN, BEGAN, Code.LINK, (Verdict.OK, Code.GONE_AWAY)),
            (PLAIN, {}, Code.LINK, None),
            (PLAIN, {**BEGAN, "outcome": DONE}, Code.LINK, None),
            (PLAIN, BEGAN, Code.CANCELLED, None),
            (WAITING, {**BEGAN, **ABSENT}, Code.REFUSED, (Verdict.TIMEOUT, Code.NOT_BACK)),
            (WAITING, ABSENT, Code.REFUSED, None),
            (WAITING, {**BEGAN, **ABSENT}, Code.CANCELLED, (Verdict.CANCELLED, Code.CANCELLED)),
            (WAITING, {**BEGAN, **ABSENT, "outcome": {**DONE, "rc": 3}}, Code.LINK, None),
        ],
    )
    def test_of_one_that_is_not_heard_of(
        self,
        options: ExecOptions,
        state: dict[str, Any],
        code: Code,
        expected: tuple[Verdict, Code] | None,
    ) -> None:
        judgement = judge_away(away(**state), options, code, "why")
        assert (judgement and (judgement.verdict, judgement.code)) == expected

    def test_of_any_other_run_there_is_nothing_to_say(self) -> None:
        other = Host(tree([0]).node(1), 0, 0, [], started=True, may_have_started=True)
        assert judge_away(other, ExecOptions("x"), Code.LINK, "why") is None

    def test_of_one_that_is_there_and_was_not_booted(self) -> None:
        host = away(started=True, outcome=DONE, absence=Absence(1.0, 61.0))
        assert judge_absent(host, WAITING, 60.9) is None
        judgement = judge_absent(host, WAITING, 61.0)
        assert judgement is not None
        assert (judgement.verdict, judgement.code, judgement.rc) == (Verdict.FAILED, Code.NOT_REBOOTED, 0)

    def test_of_one_that_is_back(self) -> None:
        host = away(started=True, outcome=DONE, absence=Absence(1.0, 61.0, gone_s=4.0))
        judgement = judge_back(host, 45.2)
        assert (judgement.verdict, judgement.code, judgement.rc) == (Verdict.OK, Code.REBOOTED, 0)
        assert judgement.reason == "booted anew, back after 41 s"


class TestBoots:
    @pytest.mark.parametrize(
        ("uptime_s", "t", "booted"),
        [
            (3600.0 + 30, 30.0, False),  # up all the time
            (20.0, 30.0, True),
            (28.9, 30.0, True),  # it was booted right after its start
            (3605.0, 30.0, False),  # the hello was under way for 25 s
            (700.0, 30.0, True),  # shorter than before: the root's clock stood still
        ],
    )
    def test_by_the_uptime(self, uptime_s: float, t: float, booted: bool) -> None:
        host = away(uptime_s=3600.0)
        host.met(uptime_s, t)
        assert host.booted_anew is booted

    def test_a_container_by_its_first_process(self) -> None:
        """The kernel goes on, and so does its clock."""
        host = away(uptime_s=3600.0)
        host.met(3630.0, 30.0)
        host.dated(600.0, 30.0)  # younger than the kernel, and there before the start
        assert not host.booted_anew
        host.met(3650.0, 50.0)
        host.dated(12.0, 50.0)
        assert host.booted_anew

    def test_one_that_was_not_told_to_start_may_boot_as_it_likes(self) -> None:
        host = Host(tree([0]).node(1), 0, 0, [], uptime_s=3600.0)
        host.met(5.0, 30.0)
        assert not host.booted_anew
        assert host.booted_s == 25.0


def test_pauses_grow_and_stay_bounded() -> None:
    absence, t = Absence(0.0, 600.0), 0.0
    pauses = []
    for _ in range(6):
        pauses.append(absence.next_s(t) - t)
        t += pauses[-1]
    assert pauses == [*AGAIN_S, AGAIN_S[-1], AGAIN_S[-1]]
