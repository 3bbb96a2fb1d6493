"""Commands that cut hosts off: bottom-up, each once, and a verdict that says what became of the host."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from nile.cascade import ends, mending
from nile.cascade.actions import Action
from nile.cascade.departing import Departures, judge_away
from nile.cascade.hosts import Host
from nile.cascade.placing import Places
from nile.cascade.verdicts import Judgement
from nile.events import Code, Verdict
from nile.options import ExecOptions, OnOrphan
from nile.simulation.faults import strike
from nile.simulation.hosts import SILENT
from tests.simulation.departures import (
    Departing,
    any_departure,
    any_succession,
    any_trouble,
    departing,
    failures,
    hang_up,
    kill_agent,
    nothing,
    reboot,
    unplug,
)
from tests.simulation.runs import CHAIN, TWO_RELAYS
from tests.simulation.trees import square, tree, with_gateways

ORPHANS = ("h0004", "h0006", "h0008")


def codes(run: Departing) -> set[tuple[Verdict, Code | None]]:
    return {(result.verdict, result.code) for result in run.results().values()}


def succeeds(run: Departing) -> Departing:
    """Run it; whatever is left to chance, no command fails by itself."""
    for host in run.hosts.values():
        host.login.seconds = 0.1
    run.run()
    assert run.violations() == []
    assert {host.claims.starts for host in run.hosts.values() if host.node.asked} == {1}
    return run


def departs(run: Departing) -> Departing:
    """A run in which every host goes away."""
    succeeds(run)
    assert codes(run) == {(Verdict.OK, Code.GONE_AWAY)}
    return run


class TestOrder:
    def test_a_chain_from_its_end(self) -> None:
        run = departs(departing(tree(CHAIN), reboot(None)))
        at = run.started_at
        assert at["h0004"] < at["h0003"] < at["h0002"] < at["h0001"]
        assert max(at["h0008"], at["h0003"]) < at["h0002"]

    def test_leaves_at_one_time(self) -> None:
        run = departs(departing(tree([0] * 20), reboot(None)))
        assert max(run.started_at.values()) - min(run.started_at.values()) < 1.0

    def test_as_many_at_a_time_as_allowed_and_each_until_it_is_back(self) -> None:
        run = succeeds(departing(tree(TWO_RELAYS), reboot(2.0), wait_back_s=60.0, fanout=1))
        assert codes(run) == {(Verdict.OK, Code.REBOOTED)}
        ends = sorted(result.t_end_s or 0.0 for result in run.results().values())
        assert all(start > end for start, end in zip(sorted(run.started_at.values())[1:], ends, strict=False))

    def test_through_a_relay_that_was_not_asked(self) -> None:
        run = departs(departing(tree(CHAIN, frozenset([2])), reboot(None)))
        assert run.started_at["h0003"] < run.started_at["h0001"]

    def test_a_host_that_can_not_be_reached_holds_nobody_up(self) -> None:
        run = departing(tree(TWO_RELAYS), reboot(None))
        run.hosts[3].login.code = "refused"
        strike(run, run.hosts[3])
        run.run()
        assert run.violations() == []
        assert run.verdicts().pop("h0003") is Verdict.UNREACHABLE
        assert "h0001" in run.started_at

    def test_a_host_that_dies_before_its_start_is_healed_around(self) -> None:
        run = departing(tree(TWO_RELAYS), reboot(None))
        run.disturbed = True
        for child in (4, 6, 8):
            run.hosts[child].login.seconds = 2.0
        strike(run, run.hosts[2])
        run.at(1.0, run.hosts[2].crash)
        run.run()
        assert run.violations() == []
        assert {run.verdicts()[name] for name in ORPHANS} == {Verdict.OK}

    def test_one_that_has_started_takes_nobody_over(self) -> None:
        run = late_orphans()
        run.run()
        assert run.violations() == []

    def test_a_gateway_stays_as_long_as_another_may_need_it(self) -> None:
        run = twin_gateways()
        run.run()
        assert run.violations() == []
        assert {run.verdicts()[name] for name in ORPHANS} == {Verdict.OK}


def late_orphans() -> Departing:
    """Relay 1 has started, and runs for a while, when relay 2 dies, whose hosts run too."""
    run = departing(tree(TWO_RELAYS), nothing)
    run.disturbed = True
    run.lasts_s = {"h0003": 0.0, "h0005": 0.0, "h0007": 0.0, **dict.fromkeys(("h0001", *ORPHANS), 15.0)}
    strike(run, run.hosts[2])

    def crash() -> None:
        assert {"h0001", *ORPHANS} <= run.started_at.keys()
        run.hosts[2].crash()

    run.at(3.0, crash)
    return run


def twin_gateways() -> Departing:
    """Both relays are the gateways of all leaves; one is through with its own when the other dies."""
    plan = with_gateways(tree(TWO_RELAYS), dict.fromkeys(range(3, 9), (1, 2)))
    run = departing(plan, kill_agent)
    run.disturbed = True
    for host in run.hosts.values():
        host.login.seconds = 0.1
    for child in (4, 6, 8):
        run.hosts[child].login.seconds = 3.5
    strike(run, run.hosts[2])
    run.at(3.4, run.hosts[2].crash)
    run.calm_at = 3.4
    return run


class TestGoneAway:
    @pytest.mark.parametrize("deed", [reboot(None), reboot(2.0), kill_agent, unplug(60.0)])
    def test_however_the_link_is_lost(self, deed: Callable[..., None]) -> None:
        departs(departing(tree(TWO_RELAYS), deed))

    def test_a_network_that_stands_still_for_a_moment_is_no_verdict(self) -> None:
        run = departing(tree([0] * 6), unplug(4.0))
        run.disturbed = run.harmless = True
        run.lasts_s = {host.name: 30.0 for host in run.hosts.values()}
        run.run()
        assert run.violations() == []
        assert codes(run) <= {(Verdict.OK, None), (Verdict.FAILED, Code.EXIT)}

    def test_one_that_is_looked_for_is_logged_in_to_once(self) -> None:
        run = departs(departing(tree(TWO_RELAYS), reboot(None)))
        assert {host.claims.attempts for host in run.hosts.values()} <= {1, 2}

    def test_a_gateway_that_dies_says_nothing_of_the_commands_behind_it(self) -> None:
        run = departing(with_gateways(tree([0, 1, 1]), {2: (1,), 3: (1,)}), nothing)
        run.disturbed = run.harmless = True
        run.lasts_s = dict.fromkeys(("h0002", "h0003"), 25.0)
        strike(run, run.hosts[1])
        run.at(4.0, run.hosts[1].crash)
        run.run()
        assert run.violations() == []
        assert {run.verdicts()[name] for name in ("h0002", "h0003")} == {Verdict.LOST}

    def test_the_command_goes_on_without_a_link(self) -> None:
        run = departs(departing(tree(TWO_RELAYS), hang_up))
        assert {host.command.status for host in run.hosts.values() if host.command} <= {(0, None), (1, None)}

    def test_what_it_said_before_counts(self) -> None:
        run = departing(tree([0] * 30), nothing)
        run.run()
        assert run.violations() == []
        statuses = {host.name: host.command.status for host in run.hosts.values() if host.command}
        assert set(statuses.values()) == {(0, None), (1, None)}
        for name, verdict in run.verdicts().items():
            assert verdict is (Verdict.OK if statuses[name] == (0, None) else Verdict.FAILED)

    def test_cancelled_one_that_went_away_is_ok_and_one_that_waits_cancelled(self) -> None:
        run = departing(tree(TWO_RELAYS), reboot(None))
        for host in run.hosts.values():
            host.login.seconds = 0.1
        run.interrupt_at(1.5, 1.0)
        run.run()
        assert run.violations() == []
        assert run.verdicts()["h0001"] is Verdict.CANCELLED
        assert "h0001" not in run.started_at


class TestWaitingForThemToBeBack:
    def test_booted_anew(self) -> None:
        run = succeeds(departing(tree(CHAIN), reboot(3.0), wait_back_s=60.0))
        assert codes(run) == {(Verdict.OK, Code.REBOOTED)}
        assert all("booted anew, back after" in result.reason for result in run.results().values())
        for host in run.hosts.values():  # its parent was back, or hadn't begun
            below = [run.hosts[child].name for child in host.node.children]
            assert all(run.started_at[host.name] > (run.results()[name].t_end_s or 0.0) for name in below)

    def test_logged_in_to_politely(self) -> None:
        run = departing(tree([0]), reboot(30.0), wait_back_s=120.0)
        host = run.hosts[1]
        run.at(2.0, setattr, host.login, "code", "refused")
        run.at(33.0, setattr, host.login, "code", None)
        run.run()
        assert run.violations() == []
        assert codes(run) == {(Verdict.OK, Code.REBOOTED)}
        assert 4 <= host.claims.attempts <= 12

    @pytest.mark.parametrize("code", ["authentication", "host-key-changed", "no-python", SILENT])
    def test_what_it_says_while_it_boots_is_no_verdict(self, code: str) -> None:
        run = departing(tree([0, 1]), reboot(1.0), wait_back_s=60.0)
        host = run.hosts[2]
        run.at(1.3, setattr, host.login, "code", code)
        run.at(20.0, setattr, host.login, "code", None)
        run.run()
        assert run.violations() == []
        assert codes(run) == {(Verdict.OK, Code.REBOOTED)}

    def test_a_pause_of_the_network_while_the_command_runs(self) -> None:
        """Only once the command is over the time begins."""
        run = departing(tree([0] * 3), nothing, wait_back_s=8.0)
        run.disturbed = run.harmless = True
        run.lasts_s = {host.name: 40.0 for host in run.hosts.values()}
        for host in run.hosts.values():
            run.at(5.0, unplug(4.0), run, host)
        run.run()
        assert run.violations() == []
        assert codes(run) <= {(Verdict.FAILED, Code.NOT_REBOOTED), (Verdict.FAILED, Code.EXIT)}
        assert min(result.t_end_s or 0.0 for result in run.results().values()) > 40.0

    def test_never_back(self) -> None:
        run = succeeds(departing(tree([0, 1, 1]), reboot(None), wait_back_s=20.0))
        assert codes(run) == {(Verdict.TIMEOUT, Code.NOT_BACK)}
        assert all("did not come back within 20 s" in result.reason for result in run.results().values())

    @pytest.mark.parametrize("deed", [nothing, hang_up, kill_agent])
    def test_back_without_a_boot(self, deed: Callable[..., None]) -> None:
        run = departing(tree([0] * 12), deed, wait_back_s=20.0)
        run.run()
        assert run.violations() == []
        told = {(Verdict.FAILED, Code.NOT_REBOOTED), (Verdict.FAILED, Code.EXIT)}
        assert codes(run) <= told
        assert (Verdict.FAILED, Code.NOT_REBOOTED) in codes(run)
        assert {host.claims.starts for host in run.hosts.values()} == {1}

    def test_its_relay_dies_meanwhile(self) -> None:
        run = departing(tree([0, 1, 0]), reboot(12.0), wait_back_s=60.0)
        run.disturbed = True
        strike(run, run.hosts[1])
        run.at(3.0, run.hosts[1].crash)
        run.run()
        assert run.violations() == []
        assert run.results()["h0002"].code is Code.REBOOTED

    def test_cancelled_while_it_is_waited_for(self) -> None:
        run = departing(tree(TWO_RELAYS), reboot(None), wait_back_s=600.0)
        run.interrupt_at(10.0, 1.0)
        run.run()
        assert run.violations() == []
        assert set(run.verdicts().values()) == {Verdict.CANCELLED}
        assert max(result.t_end_s or 0.0 for result in run.results().values()) < 12.0
        assert "while it was waited for" in run.results()["h0003"].reason

    def test_its_clock_may_stand_still_meanwhile(self) -> None:
        """A root that sleeps takes a boot for longer ago than it is; that the uptime is shorter tells."""
        host = Host(tree([0]).node(1), 0, 0, [], leaving=True, start_s=5.0, uptime_s=86_400.0)
        host.met(500.0, 10.0)
        assert host.booted_anew


@pytest.mark.parametrize("first", range(0, 160, 40))
@pytest.mark.parametrize("faults", [0, 6])
def test_any_departures(first: int, faults: int) -> None:
    assert list(failures(any_departure, range(first, first + 40), 16, faults)) == []


@pytest.mark.parametrize("first", range(0, 80, 40))
def test_any_departures_that_another_root_sees_to_the_end(first: int) -> None:
    assert list(failures(any_succession, range(first, first + 40), 16)) == []


@pytest.mark.parametrize("first", range(0, 80, 40))
def test_any_trouble_around_long_commands(first: int) -> None:
    assert list(failures(any_trouble, range(first, first + 40), 16)) == []


def test_many_hosts() -> None:
    run = departing(square(900), reboot(3.0), wait_back_s=120.0)
    run.run()
    assert run.violations() == []
    assert codes(run) <= {(Verdict.OK, Code.REBOOTED), (Verdict.FAILED, Code.EXIT)}


def test_the_users_word_on_orphans_is_kept() -> None:
    departs(departing(tree(TWO_RELAYS), hang_up, on_orphan=OnOrphan.KILL))


class TestPlanted:
    """Rules broken on purpose: they have to be found."""

    def test_starts_that_wait_for_nobody(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Departures, "_waits_for", lambda *_: None)
        assert list(failures(any_departure, range(3), 16, 0))

    def test_one_that_has_started_takes_others_over(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def able(self: Places, host: Host) -> bool:
            leaving, host.leaving = host.leaving, False
            try:
                return able_as_it_is(self, host)
            finally:
                host.leaving = leaving

        able_as_it_is = Places._able
        monkeypatch.setattr(Places, "_able", able)
        run = late_orphans()
        run.run()
        assert any("comes up below h0001, which had started" in each for each in run.violations())

    def test_a_gateway_that_waits_for_nobody(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Departures, "_stands_first", lambda *_: False)
        run = twin_gateways()
        run.run()
        assert any("unreachable" in each for each in run.violations())

    def test_silence_as_a_verdict(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(mending, "UNHEARD_OF", "what no relay says")
        assert any("gone away, but it was there" in each for each in failures(any_trouble, range(3, 5), 16))

    def test_a_dead_gateway_as_a_verdict(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def judge(host: Host, options: ExecOptions, code: Code, reason: str) -> Judgement | None:
            return judge_away(host, options, Code.REFUSED if code is Code.PARENT else code, reason)

        monkeypatch.setattr(ends, "judge_away", judge)
        assert any("gone away, but it was there" in each for each in failures(any_trouble, range(2), 16))

    def test_waiting_for_one_whose_command_runs(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def claimed(self: mending.Mender, host: Host, trace: str, held: bool, t: float) -> list[Action]:
            absence = host.absence
            actions = claimed_as_it_is(self, host, trace, held, t)
            host.absence = absence or host.absence
            return actions

        claimed_as_it_is = mending.Mender.claimed
        monkeypatch.setattr(mending.Mender, "claimed", claimed)
        assert any("didn't run to its end" in each for each in failures(any_trouble, range(5, 6), 16))

    def test_a_second_start_after_the_boot(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(
            mending.Mender, "_returned", lambda self, host, trace, t: [self._orders.start(host, t)]
        )
        run = departing(tree([0]), reboot(2.0), wait_back_s=30.0)
        run.run()
        assert any("was started" in each for each in run.violations())

    def test_every_host_booted_anew(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def met(self: Host, uptime_s: float, t: float) -> None:
            met_as_it_is(self, uptime_s, t)
            self.booted_anew = self.leaving

        met_as_it_is = Host.met
        monkeypatch.setattr(Host, "met", met)
        run = departing(tree([0]), kill_agent, wait_back_s=30.0)
        run.run()
        assert any("booted anew, but it wasn't" in each for each in run.violations())
