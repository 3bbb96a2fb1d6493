"""One stream for many: who is recorded against, who passes it on to whom, and who is left out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from nile.cascade import Errand
from nile.cascade.hosts import Contact
from nile.events import Code, HostOutput, Verdict
from nile.sync import Method
from nile.sync.asking import Asking
from nile.sync.chain import MOST_APART, ORPHAN_S
from nile.sync.delivery import STUCK_S
from nile.sync.holdups import CALM_S, HELD_S, REPORT_S
from nile.topology.model import ROOT_ID, Plan
from tests.simulation.trees import tree
from tests.sync.seats import DIGEST
from tests.sync.test_course import codes
from tests.sync.workers import Workers

FIVE = tree([0, 1, 1, 0, 4])
"""h1 with h2 and h3 below it, h4 with h5."""


def workers(plan: object = FIVE, had: dict[int, str] | None = None, **options: object) -> Workers:
    """By streams alone."""
    return Workers(plan, had or {}, **{"method": Method.STREAM, **options})  # type: ignore[arg-type]


def all_ok(it: Workers) -> None:
    """Every host has what the source has."""
    assert {node: each.verdict for node, each in it.judged.items()} == dict.fromkeys(
        range(1, len(it.has)), Verdict.OK
    )
    assert set(it.has.values()) == {"new"}


def notices(it: Workers) -> str:
    return " ".join(getattr(event, "text", "") for event in it.published)


class TestWhoGetsIt:
    def test_each_host_gets_it_once_from_the_one_before_it(self) -> None:
        it = workers()
        it.run()
        all_ok(it)
        assert it.copies == []
        assert sorted(it.chain.served) == [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]
        assert it.chain.forgotten == list(it.chain.recordings)

    @pytest.mark.parametrize("plan", [tree([0] * 5), tree([0, 1, 2, 3, 4])], ids=["flat", "drawn"])
    def test_each_rack_is_entered_once_though_the_tree_goes_to_and_fro(self, plan: Plan) -> None:
        it = workers(plan, rack=lambda node_id: "ab"[node_id % 2])
        it.run()
        all_ok(it)
        assert sorted(it.chain.served) == [(0, 1), (1, 3), (2, 4), (3, 5), (5, 2)]

    def test_several_chains_begin_at_the_root(self) -> None:
        it = workers(chains=2)
        it.run()
        all_ok(it)
        assert sorted(it.chain.served) == [(0, 1), (0, 3), (1, 2), (3, 4), (4, 5)]
        assert len(it.chain.recordings) == 1

    def test_more_chains_than_hosts(self) -> None:
        it = workers(chains=9)
        it.run()
        all_ok(it)
        assert sorted(it.chain.served) == [(0, node) for node in range(1, 6)]

    def test_what_differs_is_recorded_against_one_that_is_the_last(self) -> None:
        it = workers()
        it.all_is_new = False
        it.run()
        all_ok(it)
        assert len(it.chain.recordings) == 1
        assert it.chain.seats[-1].node == 1
        assert (
            sorted(it.chain.served) == [(0, 2), (2, 3), (3, 4), (4, 1), (4, 5)] or len(it.chain.served) == 5
        )

    def test_what_differs_is_named_where_all_of_it_is_known(self) -> None:
        it = workers(delete=True)
        it.all_is_new, it.paths = False, b"a\0b"
        it.run()
        all_ok(it)
        recorded = it.chain.recorded[0]
        assert recorded["only"] == b"a\0b"
        assert recorded["copy"]["listed"] is True
        assert recorded["copy"]["delete"] is False
        assert {message["copy"]["listed"] for message in it.chain.joined} == {True}

    @pytest.mark.parametrize(
        ("why", "options"),
        [
            ("something is to go", {"delete": True, "max_delete": 5}),
            ("owners aren't compared, but given", {"chown": "me:us"}),
            ("the source is in several places", {}),
        ],
    )
    def test_what_differs_isnt_named_where_that_isnt_all(self, why: str, options: dict[str, Any]) -> None:
        it = workers(**options)
        it.all_is_new, it.paths = False, b"a\0b"
        it.based = "source" not in why
        if "go" in why:
            it.extra = dict.fromkeys(it.has, 1)
        it.run()
        recorded = it.chain.recorded[0]
        assert recorded["only"] == b""
        assert "listed" not in recorded["copy"]

    @pytest.mark.parametrize(
        "what", ["nothing else", "touched", "pieces", "attributed", "families", "no bytes"]
    )
    def test_nobody_is_needed_to_record_files_that_are_simply_sent(self, what: str) -> None:
        it = workers(whole=what != "pieces")
        it.all_is_new, it.paths = False, b"a"
        it.touched = int(what == "touched")
        it.attributed = int(what == "attributed")
        if what == "families":
            it.source = {"rsync": {"version": [3, 2, 7], "has": ["xattrs", "ACLs"]}}
        if what == "no bytes":
            it.move = 0
        it.run()
        all_ok(it)
        assert (it.chain.recorded[0]["address"] == "") is (what == "nothing else")

    def test_what_one_lacks_is_recorded_while_others_say_what_they_have(self) -> None:
        it = workers()
        it.all_is_new, it.paths = False, b"a"
        it.begin(late={5})
        while it.step():
            pass
        assert ([each["only"] for each in it.chain.recorded], it.chain.joined) == ([b"a"], [])
        it.start(5)
        it.go_on()
        all_ok(it)
        assert len(it.chain.served) == 5
        assert it.chain.forgotten == list(it.chain.recordings)
        assert len(it.chain.recordings) == 1

    @pytest.mark.parametrize("why", ["another", "failed", "alone"])
    def test_what_was_recorded_for_nobody_is_forgotten(self, why: str) -> None:
        it = workers(had={1: "older"} | ({} if why != "alone" else dict.fromkeys(range(2, 6), "new")))
        it.all_is_new, it.paths = False, b"a"
        if why == "failed":
            it.chain.spoils = {0: "copy"}
        it.begin(late={2, 3, 4, 5})
        while it.step():
            pass
        assert len(it.chain.recorded) == 1
        it.paths = b"a" if why == "failed" else b"b"
        for late in (2, 3, 4, 5):
            it.start(late)
        it.go_on()
        all_ok(it)
        assert [each["only"] for each in it.chain.recorded[1:]] == ([] if why == "alone" else [it.paths])
        assert sorted(it.chain.forgotten) == sorted(it.chain.recordings)

    @pytest.mark.parametrize(
        "options", [{"bwlimit_kib_s": 5}, {"whole": False}, {"chown": "me"}, {"excludes": (b"two\nlines",)}]
    )
    def test_nothing_is_recorded_before_where_it_couldnt_be_for_all(self, options: dict[str, Any]) -> None:
        it = workers(**options)
        it.all_is_new, it.paths = False, b"a"
        it.begin(late={5})
        while it.step():
            pass
        assert it.chain.recorded == []

    def test_nothing_is_recorded_before_for_those_that_may_get_an_archive(self) -> None:
        it = workers()
        it.all_is_new, it.paths = False, b"a"
        it.entries = dict.fromkeys(it.has, 0)
        it.begin(late={5})
        while it.step():
            pass
        assert it.chain.recorded == []
        it.start(5)
        it.go_on()
        all_ok(it)
        assert [each["archive"] for each in it.chain.recorded] == [True]

    def test_hosts_that_have_the_same_share_a_recording(self) -> None:
        it = workers(had={1: "old", 2: "older", 3: "old", 4: "older", 5: "new"})
        it.run()
        all_ok(it)
        assert len(it.chain.recordings) == 2
        assert sorted(it.chain.served) == [(0, 1), (0, 2), (1, 3), (2, 4)]
        assert notices(it).startswith("2 streams for 2 and 2 hosts that have the same ")

    def test_one_alone_is_copied_to(self) -> None:
        it = workers(had={1: "old", 2: "new", 3: "older", 4: "older", 5: "new"})
        it.run()
        all_ok(it)
        assert it.copies == [(0, 1)]
        assert "rsync for 1 that has what no other has" in notices(it)

    def test_patterns_that_no_recording_can_have(self) -> None:
        it = workers(excludes=(b"a\nb",))
        it.run()
        assert it.chain.recordings == {}
        all_ok(it)

    def test_a_root_without_rsync_streams_nothing(self) -> None:
        it = workers()
        it.source = {"rsync": None}
        it.run()
        assert it.chain.recordings == {}

    def test_the_oldest_rsync_is_recorded_against(self) -> None:
        it = workers()
        it.refuses = {4: {"rsync": {"version": [3, 1, 0], "has": ["xattrs"]}}}
        it.run()
        all_ok(it)
        assert it.chain.seats[-1].node == 4

    def test_what_rsync_cant_do_for_all_of_them_it_does_for_each_kind(self) -> None:
        it = workers()
        plain = {"rsync": {"version": [3, 2, 7], "has": []}}
        it.refuses = {2: plain, 5: plain}
        it.run()
        all_ok(it)
        assert len(it.chain.recordings) == 2


class TestWhatComesToNothing:
    def test_a_host_that_cant_join_is_copied_to(self) -> None:
        it = workers()
        it.chain.refuses_stream = {3}
        it.run()
        all_ok(it)
        assert [taker for _, taker in it.copies] == [3]

    def test_a_copy_that_isnt_what_it_was_is_copied_to(self) -> None:
        it = workers()
        it.chain.diverges = {2, 5}
        it.run()
        all_ok(it)
        assert sorted(taker for _, taker in it.copies) == [2, 5]

    @pytest.mark.parametrize(
        ("code", "plain", "by_contents"),
        [
            ("diverged", False, True),
            ("corrupt", False, True),
            ("old-rsync", False, False),
            ("diverged", True, False),
        ],
    )
    def test_what_may_be_forged_is_compared_by_contents(
        self, code: str, plain: bool, by_contents: bool
    ) -> None:
        it = workers(plain=plain)
        it.chain.diverges, it.chain.diverged = {3}, code
        told, push = [], it._push
        it._push = lambda node_id, message: (told.append(message["copy"]), push(node_id, message))[1]  # type: ignore[method-assign,func-returns-value]
        it.run()
        all_ok(it)
        assert [how["checksum"] for how in told] == [by_contents]

    @pytest.mark.parametrize("code", ["corrupt", "diverged", "aborted", "old-rsync"])
    @pytest.mark.parametrize(
        ("before", "after", "plain"), [(0, 1, False), (2, 2, False), (2, 3, False), (0, 1, True)]
    )
    def test_files_that_only_a_forged_stream_can_have_brought_are_named(
        self, code: str, before: int, after: int, plain: bool
    ) -> None:
        """Nothing is deleted, so who had some before has them still."""
        it = workers(plain=plain)
        it.chain.diverges, it.chain.diverged = {3, 4}, code
        it.keeps = {3, 4, 5}
        it.extra = dict.fromkeys(it.has, before)
        became = it.chain.became

        def came(node: int) -> None:
            it.extra[node] = after
            became(node)

        it.chain.became = came
        push = it._push

        def pushed(node_id: int, message: dict[str, Any]) -> None:
            it.extra[message["to"]] = after
            push(node_id, message)

        it._push = pushed  # type: ignore[method-assign]
        it.run()
        forged = after > before and code != "old-rsync" and not plain
        assert codes(it)[5] is None, "what came there was the root's: whoever else writes there may"
        assert [codes(it)[node] for node in (3, 4)] == [Code.DIFFERS if forged else None] * 2
        if forged:
            assert (
                f"{after} files are there that the source doesn't have, and {before} were"
                in it.judged[3].reason
            )
            assert b"extra x" in b"".join(
                event.data for event in it.published if isinstance(event, HostOutput)
            )

    def test_a_source_that_changes_fails_all(self) -> None:
        it = workers()
        it.chain.spoils = {0: "source-changed"}
        it.run()
        assert set(codes(it).values()) == {Code.SOURCE_CHANGED}
        assert it.wrote == set()

    def test_a_recording_that_fails_is_made_once_more(self) -> None:
        it = workers()
        it.chain.spoils = {0: "broken"}
        it.run()
        all_ok(it)
        assert len(it.chain.recordings) == 2

    def test_and_then_they_are_copied_to(self) -> None:
        it = workers()
        it.chain.spoils = {0: "broken", 1: "broken"}
        it.run()
        all_ok(it)
        assert len(it.chain.recordings) == 2
        assert sorted(taker for _, taker in it.copies) == [1, 2, 3, 4, 5]

    def test_what_the_root_has_no_room_for_is_copied(self) -> None:
        it = workers()
        it.chain.spoils = {0: "spool-full"}
        it.run()
        all_ok(it)
        assert len(it.chain.recordings) == 1
        assert len(it.copies) == 5

    def test_where_hosts_cant_reach_each_other_they_are_copied_to(self) -> None:
        it = workers()
        it.chain.blocked = it.chain.locked = set(EVERYBODY)
        it.run()
        all_ok(it)
        assert len(it.copies) == 5
        assert "(Permission denied (publickey).)" in notices(it)

    def test_where_the_root_cant_reach_them_they_are_copied_to(self) -> None:
        it = workers()
        it.chain.blocked = it.chain.locked = {(ROOT_ID, taker) for taker in range(6)}
        it.run()
        all_ok(it)

    def test_one_that_cant_be_reached_is_left_out(self) -> None:
        it = workers()
        it.chain.blocked = it.chain.locked = {(giver, 3) for giver in range(6)}
        it.run()
        all_ok(it)
        assert [taker for _, taker in it.copies] == [3]

    def test_one_that_reaches_nobody_is_left_out(self) -> None:
        it = workers(tree([0, 0, 0, 0, 0, 0, 0]))
        it.chain.blocked = it.chain.locked = {(2, taker) for taker in range(8)}
        it.run()
        all_ok(it)
        assert 2 in {taker for _, taker in it.copies}
        assert len(it.copies) <= 2

    def test_a_chain_of_which_nothing_is_heard_is_given_up(self) -> None:
        it = workers()
        it.chain.holds = True
        it.run()
        assert it.judged == {}
        it.tick(it.t + STUCK_S)
        it.chain.holds = False
        all_ok(it)
        assert len(it.copies) == 5


EVERYBODY = {(giver, taker) for giver in range(6) for taker in range(6)}


class TestThroughSsh:
    """Where a host reaches no port of another one but ssh's."""

    def behind_a_firewall(self, **options: Any) -> Workers:
        it = workers(**options)
        it.chain.blocked = set(EVERYBODY)
        return it

    def test_each_host_gets_it_once_from_the_one_before_it(self) -> None:
        it = self.behind_a_firewall()
        it.run()
        all_ok(it)
        assert it.copies == []
        assert sorted(it.chain.served) == [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]
        assert sorted(it.chain.by_ssh) == sorted(it.chain.served)
        assert "left out" not in notices(it)
        assert "5 of 5 hosts got the stream through ssh: " in notices(it)
        assert "(refused)" in notices(it)

    def test_the_root_signs_for_each_login_once(self) -> None:
        it = self.behind_a_firewall()
        it.run()
        assert sorted(each.taker for each in it.vouched) == [2, 3, 4, 5]
        assert {(each.binds, each.request, each.budget_left) for each in it.vouched} == {
            ((b"bound",), b"sign", 1)
        }

    def test_only_those_go_through_it_that_need_it(self) -> None:
        it = workers()
        it.chain.blocked = {(2, 3)}
        it.run()
        all_ok(it)
        assert it.chain.by_ssh == [(2, 3)]
        told = "1 of 5 hosts got the stream through ssh: h0002 reaches no other port of h0003 (refused)"
        assert told in notices(it)

    def test_what_is_known_of_the_ways_holds_for_the_next_stream(self) -> None:
        it = self.behind_a_firewall()
        it.has |= {1: "old", 2: "old", 3: "older", 4: "older", 5: "oldest"}
        it.run()
        tries = [(giver, by_ssh) for giver, _, by_ssh in it.chain.tried]
        assert tries.count((ROOT_ID, False)) <= 2
        assert it.chain.tried[-1][2]

    def test_who_dies_is_skipped(self) -> None:
        it = self.behind_a_firewall()
        it.chain.holds = True
        it.run()
        it.die(3)
        it.go_on()
        assert it.chain.served[-1] == it.chain.by_ssh[-1] == (2, 4)
        assert it.chain.tried[-1] == (2, 4, True), "nobody tries again what is known to lead nowhere"
        it.chain.holds = False
        it.chain.flow()
        it.go_on()
        assert it.copies == []

    def test_who_lets_nobody_in_is_left_out(self) -> None:
        it = self.behind_a_firewall()
        it.chain.locked = {(giver, 3) for giver in range(6)}
        it.run()
        all_ok(it)
        assert [taker for _, taker in it.copies] == [3]
        assert (2, 4) in it.chain.served

    def test_where_nobody_lets_anybody_in_they_are_copied_to(self) -> None:
        it = self.behind_a_firewall()
        it.chain.locked = set(EVERYBODY)
        it.run()
        all_ok(it)
        assert len(it.copies) == 5
        assert "through ssh" not in notices(it)

    def test_where_hosts_let_in_nobody_but_the_root_they_are_copied_to(self) -> None:
        """That it reaches one of them says nothing of the others."""
        it = self.behind_a_firewall()
        it.chain.locked = {(giver, taker) for giver, taker in EVERYBODY if giver != ROOT_ID}
        it.chain.holds = True
        it.run()
        all_ok(it)
        assert it.chain.served == [(ROOT_ID, 1)]
        assert len(it.copies) == 5

    def test_where_only_the_root_reaches_hosts_they_are_copied_to(self) -> None:
        """A stream that the root feeds to each of them by itself is no stream."""
        it = workers(tree([0] * 14))
        it.chain.blocked = {(giver, taker) for giver in range(15) for taker in range(15)}
        it.logins = set()
        it.chain.holds = True
        it.run()
        all_ok(it)
        assert {giver for giver, _ in it.chain.served} <= {ROOT_ID}
        assert len(it.chain.served) <= 1 + MOST_APART
        assert len([way for way in it.chain.tried if not way[2]]) <= 14 + 4, "nobody tries for long"
        assert len(it.copies) == 14

    def test_behind_each_gateway_it_begins_at_the_root(self) -> None:
        it = self.behind_a_firewall()
        near, far = {1, 2, 3}, {4, 5}
        it.logins = {way for way in EVERYBODY if set(way) <= near or set(way) <= far}
        it.run()
        all_ok(it)
        assert it.copies == []
        assert sorted(it.chain.served) == [(0, 1), (0, 4), (1, 2), (2, 3), (4, 5)]
        assert "left out" not in notices(it)

    def test_a_way_that_was_found_is_found_again_as_it_was(self) -> None:
        it = workers()
        it.chain.holds = True
        it.run()
        seat, feeder = it.chain.of(3), it.chain.of(2)
        assert seat is not None
        assert feeder is not None
        it.chain.tell(2, feeder.number, "successor", "timeout", link=feeder.link)
        it.go_on()
        assert it.chain.tried[-1] == (2, 3, False)

    def test_the_root_feeds_only_a_few_that_are_kept_apart(self) -> None:
        it = workers(tree([0] * 14))
        it.chain.blocked = {(giver, taker) for giver in range(15) for taker in range(15)}
        it.logins = {(giver, giver + 1) for giver in range(1, 15, 2)}
        it.run()
        all_ok(it)
        fed = [taker for giver, taker in it.chain.served if giver == ROOT_ID]
        assert len(fed) == 1 + MOST_APART

    def test_a_root_without_a_way_over_its_links_serves_nobody(self) -> None:
        it = self.behind_a_firewall()
        it._reach = lambda errand: it._say(errand.giver, errand.number, code="dropped", reason="so")  # type: ignore[method-assign]
        it.run()
        assert [way for way in it.chain.served if ROOT_ID in way] == []
        assert "(so)" in notices(it)

    @pytest.mark.parametrize(
        "lie",
        [
            {"binds": "no list"},
            {"binds": ["no bytes"]},
            {"request": "no bytes"},
            {"serial": -1},
            {"link": "none"},
        ],
    )
    def test_a_request_that_is_none_is_a_lie(self, lie: dict[str, Any]) -> None:
        it = self.behind_a_firewall()
        it.chain.holds = True
        it._vouch = lambda errand: None  # type: ignore[method-assign]
        it.run()
        seat = it.chain.of(2)
        assert seat is not None
        words: dict[str, Any] = {"link": seat.link, "serial": 1, "binds": [], "request": b"sign"}
        it._say(2, seat.number, more=True, **{**words, **lie})
        with pytest.raises((TypeError, ValueError)):
            it.step()

    def test_nothing_is_signed_for_one_who_was_let_in(self) -> None:
        it = self.behind_a_firewall()
        it.chain.holds = True
        it.run()
        seat = it.chain.of(2)
        assert seat is not None
        words: dict[str, Any] = {"link": seat.link, "serial": 1, "binds": [], "request": b"sign"}
        it._say(2, seat.number, more=True, **words)
        with pytest.raises(ValueError, match="no login"):
            it.step()
        assert len([each for each in it.vouched if each.taker == 3]) == 1

    def test_nothing_is_signed_for_one_who_is_led_nowhere(self) -> None:
        """By a port of its own, or for a way that is given up."""
        it = workers()
        it.chain.holds = True
        it.run()
        seat = it.chain.of(2)
        assert seat is not None
        words: dict[str, Any] = {"serial": 1, "binds": [], "request": b"sign", "more": True}
        it._say(2, seat.number, link=seat.link + 1000, **words)
        it.go_on()
        assert (it.vouched, it.judged) == ([], {})
        it._say(2, seat.number, link=seat.link, **words)
        with pytest.raises(ValueError, match="no login"):
            it.step()
        assert it.vouched == []

    def test_signatures_that_arent_bound_are_counted(self) -> None:
        it = self.behind_a_firewall()
        it.chain.holds = True
        asked: list[Any] = []
        it._vouch = asked.append  # type: ignore[method-assign,assignment]
        it.run()
        seat = it.chain.of(2)
        assert seat is not None
        (first,) = [each for each in asked if each.taker == 3]
        it.chain.signed = lambda *_: None  # type: ignore[method-assign]
        it._say(ROOT_ID, first.number, answer=b"signed", refused="", spent=1)
        while it.step():
            pass
        it._say(2, seat.number, more=True, link=seat.link, serial=8, binds=[], request=b"sign")
        while it.step():
            pass
        assert [each.budget_left for each in asked if each.taker == 3] == [1, 0]


class TestWhoIsLost:
    def held_up(self) -> Workers:
        it = workers()
        it.chain.holds = True
        it.run()
        assert len(it.chain.served) == 5
        return it

    def go_on(self, it: Workers) -> None:
        it.chain.holds = False
        it.chain.flow()
        it.go_on()

    @pytest.mark.parametrize("node", [1, 2, 3, 4, 5])
    def test_whoever_dies_is_skipped(self, node: int) -> None:
        it = self.held_up()
        before = len(it.chain.served)
        it.die(node)
        it.go_on()
        assert len(it.chain.served) == before + (node != 5)
        if node != 5:
            assert it.chain.served[-1] == (node - 1, node + 1)
        self.go_on(it)
        assert {each for each in it.judged if it.judged[each].verdict is Verdict.OK} == {1, 2, 3, 4, 5} - {
            node
        }
        assert it.copies == []

    def test_the_one_that_is_recorded_against_dies_before_it_is(self) -> None:
        it = workers()
        it.all_is_new = False
        it._carry_out(it.sync.begin(0.0))
        for node in range(1, 6):
            it.start(node)
        while not it._receiving:
            it.step()
        it.die(1)
        it.go_on()
        assert {node: it.has[node] for node in range(2, 6)} == dict.fromkeys(range(2, 6), "new")
        assert it.copies == [], "another one is recorded against"

    @pytest.mark.parametrize("node", [1, 3])
    def test_a_recording_that_goes_on_while_one_dies(self, node: int) -> None:
        it = workers()
        it.all_is_new = False
        it.chain.unfinished = True
        it.run()
        it.die(node)
        it.go_on()
        (number,) = it.chain.recordings
        it.chain.recordings[number] = "done"
        it._say(ROOT_ID, number, total=1, sent=1, digest=DIGEST)
        if node != 1:
            it._say(1, it._recorded[1])
        self.go_on(it)
        assert {each for each in it.judged if it.judged[each].verdict is Verdict.OK} == {1, 2, 3, 4, 5} - {
            node
        }
        assert it.copies == []

    @pytest.mark.parametrize("written", [1, 30 << 20])
    def test_the_last_one_waits_for_the_one_that_is_recorded_against_while_it_can(self, written: int) -> None:
        it = workers()
        it.all_is_new = False
        it.chain.unfinished, it.chain.written = True, written
        it.run()
        last = it.chain.of(5)
        assert last is not None
        assert last.last is (written > 1)

    def test_two_that_die_at_once(self) -> None:
        it = self.held_up()
        it.die(3)
        it.die(2)
        it.go_on()
        assert it.chain.served[-1] == (1, 4)
        assert it.chain.refused == []
        self.go_on(it)
        assert it.copies == []

    def test_the_root_serves_nobody_who_is_gone(self) -> None:
        it = self.held_up()
        it.die(1)
        it.go_on()
        assert it.chain.left == it.chain.serves[:1]
        assert len(it.chain.serves) == 2

    def test_a_word_about_an_older_way_is_nobodys_fault(self) -> None:
        it = self.held_up()
        older = it.chain.serves[0]
        for _ in range(4):
            it.chain.tell(ROOT_ID, older, "successor", "broken", link=older)
            it.go_on()
        assert len(it.chain.serves) == 2
        assert "left out" not in notices(it)
        self.go_on(it)
        assert it.copies == []

    def test_ways_that_break_now_and_then_are_found_again(self) -> None:
        it = self.held_up()
        for _ in range(5):
            seat, feeder = it.chain.of(3), it.chain.of(2)
            assert seat is not None
            assert feeder is not None
            it.chain.tell(2, feeder.number, "successor", "broken", link=feeder.link)
            it.go_on()
        assert "left out" not in notices(it)
        assert it.chain.served.count((2, 3)) == 6

    def test_what_the_one_before_has_no_more_comes_from_the_root(self) -> None:
        it = self.held_up()
        it.chain.forgets = {2}
        it.die(3)
        it.go_on()
        assert it.chain.served[-1] == (ROOT_ID, 4)
        self.go_on(it)
        assert it.copies == []

    def test_an_orphan_whose_feeder_is_out_of_reach_has_another_one(self) -> None:
        it = self.held_up()
        it.tree[2].contact = Contact.NONE
        it.chain.tell(3, it.chain.of(3).number, "predecessor", "broken")  # type: ignore[union-attr]
        it.step()
        it.go_on()
        assert it.chain.served[-1] == (1, 3)

    def test_an_orphan_whose_feeder_says_nothing_is_fed_anew(self) -> None:
        it = self.held_up()
        it.chain.tell(3, it.chain.of(3).number, "predecessor", "broken")  # type: ignore[union-attr]
        it.step()
        count = len(it.chain.served)
        it.tick(it.t + ORPHAN_S / 2)
        it.tick(it.t + ORPHAN_S)
        assert it.chain.served[count:] == [(2, 3)]


def test_an_answer_counts_once() -> None:
    asking, heard = Asking(), []

    def answer(message: dict[str, Any], _: float) -> Iterator[Errand]:
        heard.append(message)
        return iter(())

    asking.ask(7, "look", {}, answer)
    for _ in range(2):
        assert list(asking.heard(7, {"n": 1}, 0.0)) == []
    assert len(heard) == 1
    asking.ask(8, "look", {}, answer)
    with pytest.raises(ValueError, match="another"):
        list(asking.heard(7, {"n": 2}, 0.0))


class TestWhoIsSlow:
    def held_up(self, nodes: int = 5) -> Workers:
        it = workers(tree([0] * nodes))
        it.chain.holds = True
        it.run()
        it.t += CALM_S
        return it

    def says(self, it: Workers, node: int, whom: str) -> None:
        seat = it.chain.of(node)
        assert seat is not None
        it.chain.tell(node, seat.number, "held", whom)
        while any(it._queues.values()):
            it.step()

    def test_it_is_left_out_and_served_afterwards(self) -> None:
        it = self.held_up()
        self.says(it, 2, "successor")
        assert it.chain.served[-1] == (2, 4)
        assert it.copies == []
        it.chain.holds = False
        it.chain.flow()
        it.go_on()
        all_ok(it)
        assert [taker for _, taker in it.copies] == [3]
        assert "slow" in notices(it)

    def test_one_whose_disk_is_slow_and_remains_so(self) -> None:
        it = self.held_up()
        count = len(it.chain.served)
        self.says(it, 3, "applier")
        assert it.chain.served[count:] == []
        it.t += 2.0
        self.says(it, 3, "applier")
        assert it.chain.served[count:] == [(2, 4)]

    def test_where_all_disks_are_slow_at_one_time_none_is_to_blame(self) -> None:
        it = self.held_up()
        count = len(it.chain.served)
        for _ in range(5):
            for node in (5, 4, 3, 2, 1):
                self.says(it, node, "applier")
            it.t += 2.0
        assert it.chain.served[count:] == []

    def test_the_last_one_that_is_held_up_names_the_cause(self) -> None:
        it = self.held_up()
        it.t += 1.0
        self.says(it, 3, "successor")
        count = len(it.chain.served)
        it.t += CALM_S
        self.says(it, 1, "successor")
        assert it.chain.served[count:] == []
        it.t += HELD_S
        self.says(it, 1, "successor")
        assert it.chain.served[count:] == [(1, 3)]

    def fares(
        self, it: Workers, node: int, at: float, applier_s: float, successor_s: float, received: int = 0
    ) -> None:
        seat = it.chain.of(node)
        assert seat is not None
        progress = {"at": at, "received": received, "applier_s": applier_s, "successor_s": successor_s}
        it._say(node, seat.number, progress=progress, more=True)
        while any(it._queues.values()):
            it.step()

    def test_who_stands_still_because_of_the_next_one_isnt_the_cause(self) -> None:
        it = self.held_up()
        for node in (3, 4):
            self.fares(it, node, 1.0, 0.0, 0.0)
            self.fares(it, node, 2.0, 0.0, 0.9 if node == 3 else 0.1)
        self.says(it, 2, "successor")
        assert it.chain.served[-1] == (3, 5)

    def test_a_report_of_long_ago_says_nothing(self) -> None:
        it = self.held_up()
        self.fares(it, 3, 1.0, 0.0, 0.0)
        self.fares(it, 3, 2.0, 0.0, 0.9)
        it.t += REPORT_S
        self.says(it, 2, "successor")
        assert it.chain.served[-1] == (2, 4)

    def test_nonsense_about_it_fails_a_host_alone(self) -> None:
        it = self.held_up()
        it._say(3, it.chain.of(3).number, progress={"at": "soon"}, more=True)  # type: ignore[union-attr]
        with pytest.raises((KeyError, TypeError, ValueError)):
            it.step()

    def test_where_the_next_one_is_as_slow_it_is_the_way(self) -> None:
        it = self.held_up()
        self.says(it, 2, "successor")
        it.t += HELD_S
        count = len(it.chain.served)
        self.says(it, 2, "successor")
        assert it.chain.served[count:] == []

    @pytest.mark.parametrize(("then", "leaves"), [(1_500_000, False), (6_000_000, True)])
    def test_one_that_was_faster_by_the_same_way_has_become_slow_itself(
        self, then: int, leaves: bool
    ) -> None:
        it = self.held_up()
        for at, received in (1.0, 8_000_000), (2.0, 9_000_000):
            self.fares(it, 3, at, 0.0, 0.0, received)
        self.fares(it, 4, 2.0, 0.0, 0.0, 9_000_000)  # by the one before it: that doesn't count
        self.says(it, 2, "successor")
        count = len(it.chain.served)
        self.fares(it, 4, 3.0, 0.0, 0.0, 9_000_000 + then)
        it.t += HELD_S
        self.fares(it, 4, 7.0, 0.0, 0.0, 9_000_000 + then)
        self.says(it, 2, "successor")
        assert it.chain.served[count:] == [(2, 5)] * leaves

    @pytest.mark.parametrize(("then", "leaves"), [(1_500_000, False), (6_000_000, True)])
    def test_that_one_got_nothing_at_the_last_moment_says_little(self, then: int, leaves: bool) -> None:
        it = self.held_up()
        for at, received in (1.0, 0), (9.0, 80_000_000), (12.0, 84_000_000), (13.0, 84_000_000):
            self.fares(it, 3, at, 0.0, 0.0, received)
        self.says(it, 2, "successor")
        count = len(it.chain.served)
        self.fares(it, 4, 3.0, 0.0, 0.0)
        self.fares(it, 4, 4.0, 0.0, 0.0, then)
        it.t += HELD_S
        self.says(it, 2, "successor")
        assert it.chain.served[count:] == [(2, 5)] * leaves

    def test_one_feeder_costs_few_hosts_that(self) -> None:
        it = self.held_up(8)
        count = len(it.chain.served)
        for node in (3, 4, 5, 6):
            self.fares(it, node, 1.0, 0.0, 0.0)
            self.fares(it, node, 2.0, 0.0, 0.0, 1_000_000)
            self.fares(it, node, 9.0, 0.0, 0.0, 1_000_000)
            self.fares(it, node, 19.0, 0.0, 0.0, 1_000_000)
            self.says(it, 2, "successor")
            it.t += HELD_S
        assert it.chain.served[count:] == [(2, 4), (2, 5), (2, 6)]

    def test_a_chain_has_time_to_find_its_pace(self) -> None:
        it = self.held_up()
        self.says(it, 4, "successor")
        count = len(it.chain.served)
        it.t += CALM_S / 2
        self.says(it, 1, "successor")
        assert it.chain.served[count:] == []

    def test_one_that_is_alone_is_never_too_slow(self) -> None:
        it = self.held_up(2)
        it.die(1)
        it.go_on()
        it.t += CALM_S
        count = len(it.chain.served)
        for _ in range(2):
            self.says(it, 2, "applier")
            it.t += 2.0
        assert len(it.chain.served) == count
        assert it.chain.of(2) is not None
