"""Who copies to whom, and what becomes of every host."""

from __future__ import annotations

import random

import pytest

from nile.cascade.hosts import Contact
from nile.events import Asked, Code, CopyProgress, HostOutput, Notice, Verdict
from nile.sync import Ask, Method, Purpose
from nile.topology.model import ROOT_ID
from tests.simulation.trees import tree
from tests.sync.simulated import Message
from tests.sync.swarmed import Swarmed
from tests.sync.workers import SIZE, Workers

TWO_STAGES = [0, 0, 1, 1, 2, 2]


def verdicts(it: Workers) -> dict[int, Verdict]:
    return {node_id: judgement.verdict for node_id, judgement in it.judged.items()}


def codes(it: Workers) -> dict[int, Code | None]:
    return {node_id: judgement.code for node_id, judgement in it.judged.items()}


def all_ok(it: Workers) -> bool:
    return set(verdicts(it)) == set(it.has) - {ROOT_ID} and set(verdicts(it).values()) == {Verdict.OK}


@pytest.mark.parametrize("seed", range(20))
class TestWhoServesWhom:
    def test_each_host_is_served_by_the_one_above_it(self, seed: int) -> None:
        it = Workers(tree(TWO_STAGES), {}, seed)
        it.run()
        assert all_ok(it)
        assert sorted(it.copies) == [(0, 1), (0, 2), (1, 3), (1, 4), (2, 5), (2, 6)]

    def test_one_that_has_it_all_gets_nothing_and_serves(self, seed: int) -> None:
        it = Workers(tree(TWO_STAGES), {1: "new"}, seed)
        it.run()
        assert all_ok(it)
        assert sorted(it.copies) == [(0, 2), (1, 3), (1, 4), (2, 5), (2, 6)]

    def test_hosts_that_are_not_asked_have_no_copy(self, seed: int) -> None:
        it = Workers(tree(TWO_STAGES, not_asked=frozenset({1})), {}, seed)
        it.run()
        assert all_ok(it)
        assert sorted(it.copies) == [(0, 2), (0, 3), (0, 4), (2, 5), (2, 6)]

    def test_nobody_gets_more_than_a_few_at_one_time(self, seed: int) -> None:
        it = Workers(tree([0] * 20), {}, seed)
        it.run()
        assert all_ok(it)

    def test_one_whose_server_is_lost_is_served_by_another(self, seed: int) -> None:
        it = Workers(tree(TWO_STAGES), {}, seed)
        it.begin()
        while not any(giver == 1 for giver, _ in it.copies):
            it.step()
        it.die(1)
        it.go_on()
        assert {node_id for node_id, verdict in verdicts(it).items() if verdict is not Verdict.OK} == {1}
        assert all(it.has[node_id] == "new" for node_id in (3, 4, 5, 6))


@pytest.mark.parametrize("method", [Method.RSYNC, Method.RSYNC_TCP, Method.STREAM])
def test_whoever_sends_is_told_how_fast_he_may(method: Method) -> None:
    it = Workers(tree(TWO_STAGES), {}, method=method, bwlimit_kib_s=9)
    told: list[Message] = []
    tell = it._tell

    def listen(node_id: int, message: Message) -> None:
        told.append(message)
        tell(node_id, message)

    it._tell = listen  # type: ignore[method-assign]
    it.run()
    assert all_ok(it)
    pushed = [message["copy"]["bwlimit"] for message in told if message["do"] == "push"]
    streamed = [message["limit"] for message in told if message["do"] == "record"]
    assert (pushed, streamed) == (([], [9]) if method is Method.STREAM else ([9] * 6, []))


def test_a_copy_that_broke_is_tried_again_from_elsewhere() -> None:
    it = Workers(tree([0, 1]), {1: "new"})
    it.breaks = {0: ("link", True)}
    it.run()
    assert all_ok(it)
    assert it.copies == [(1, 2), (0, 2)]


def test_one_that_nobody_finds_is_told_that_nobody_comes() -> None:
    it = Workers(tree([0, 1]), {1: "new"})
    it.misses = {0}
    it.run()
    assert all_ok(it)
    assert it.copies == [(1, 2), (0, 2)]


def test_a_way_that_is_never_opened_is_not_waited_for() -> None:
    it = Workers(tree([0, 1]), {1: "new"})
    it.silent = 1
    it.run()
    assert not it.copies
    it.time_out(2)
    assert all_ok(it)
    assert it.copies == [(0, 2)]


def test_a_copy_of_which_nothing_is_heard_fails_its_host_alone() -> None:
    it = Workers(tree([0, 0]), {})
    it.silent = 1
    it.run()
    (stuck,) = it._receiving
    it.tick(200.0)
    assert stuck not in it.judged
    it.tick(250.0)
    assert codes(it)[stuck] is Code.AGENT
    assert codes(it)[3 - stuck] is None


def test_a_host_that_hangs_fails_alone() -> None:
    it = Workers(tree([0, 0]), {})
    scan = it._scan

    def all_but_one(node_id: int, message: dict[str, object]) -> None:
        if node_id != 2:
            scan(node_id, message)

    it._scan = all_but_one  # type: ignore[method-assign]
    it.run()
    assert not it.copies
    it.tick(70.0)
    assert codes(it) == {1: None, 2: Code.AGENT}


def test_those_that_serve_others_come_first() -> None:
    it = Workers(tree([0] * 9 + [9, 10]), {})
    it.run()
    assert all_ok(it)
    assert [taker for _, taker in it.copies].index(9) < 4


def test_a_host_out_of_reach_is_served_once_it_is_back() -> None:
    it = Workers(tree([0, 0]), {})
    it.tree[2].contact = Contact.NONE
    it.run()
    assert it.copies == [(0, 1)]
    it.tree[2].contact = Contact.UP
    it.tick(5.0)
    assert all_ok(it)


def test_nobody_answers_for_another() -> None:
    it = Workers(tree([0, 0]), {})
    it.refuses = {1: {"code": "busy", "reason": "first"}}
    it._carry_out(it.sync.begin(0.0))
    it.start(1)
    number = it._queues[1][0]["n"]
    with pytest.raises(ValueError, match="another"):
        list(it.sync.heard(2, {"n": number}, 0.0))


def test_over_tcp_the_next_one_above_takes_over() -> None:
    it = Workers(tree([0, 1, 2]), {1: "new", 2: "new"}, method=Method.RSYNC_TCP)
    it.breaks = {0: ("refused", True)}
    it.run()
    assert all_ok(it)
    assert it.copies == [(2, 3), (1, 3)]


def test_what_no_try_mends_is_not_tried_again() -> None:
    it = Workers(tree([0]), {})
    it.breaks = {0: ("disk-full", False)}
    it.run()
    assert codes(it) == {1: Code.DISK_FULL}
    assert len(it.copies) == 1


@pytest.mark.parametrize("seed", range(10))
def test_what_a_host_knows_of_its_own_counts_more_than_a_status_of_rsync(seed: int) -> None:
    it = Workers(tree([0]), {}, seed)
    it.breaks, it.taker_says = {0: ("files", False)}, ("disk-full", False)
    it.run()
    assert codes(it) == {1: Code.DISK_FULL}


def test_tries_end() -> None:
    it = Workers(tree([0]), {})
    it.breaks = dict.fromkeys(range(100), ("link", True))
    it.run()
    assert verdicts(it) == {1: Verdict.FAILED}
    assert len(it.copies) == 4


@pytest.mark.parametrize("release", ["", "r1"])
def test_what_came_by_a_copy_that_broke_is_used_by_the_next_one(release: str) -> None:
    told: dict[str, list[bool]] = {"keep": [], "whole": []}

    class Told(Workers):
        def _receive(self, node_id: int, message: Message) -> None:
            told["keep"].append(message["keep"])
            super()._receive(node_id, message)

        def _push(self, node_id: int, message: Message) -> None:
            told["whole"].append(message["copy"]["whole"])
            super()._push(node_id, message)

        def _seal(self, node_id: int, message: Message) -> None:
            """All copies are made."""

    it = Told(tree([0]), {}, release=release, delete=True, max_delete=10**6)
    it.refuses = {1: {"release": {"current": "", "whole": False}}}
    it.breaks = dict.fromkeys(range(3), ("link", True))
    it.run()
    assert told["whole"] == [True, False, False, False]  # as it is for rsync to use it
    kept = not release  # there every copy begins anew
    assert told["keep"] == [kept, kept, False, False]  # the last one has all the room there is


def test_a_copy_that_is_not_equal_is_made_once_more_by_contents() -> None:
    it = Workers(tree([0]), {})
    it.garbles = {0}
    it.run()
    assert all_ok(it)
    assert len(it.copies) == 2


def test_and_fails_where_that_does_not_help() -> None:
    it = Workers(tree([0, 1]), {})
    it.garbles = {0, 1}
    it.run()
    assert codes(it) == {1: Code.DIFFERS, 2: None}
    assert it.copies[-1] == (ROOT_ID, 2)


def test_what_hosts_have_beside_the_source_stays_and_is_no_difference() -> None:
    it = Workers(tree([0, 1]), {})
    it.keeps = {1, 2}
    it.run()
    assert all_ok(it)
    assert {taker for _, taker in it.copies} == {1, 2}


def test_what_it_had_before_is_not_taken_for_what_it_has_since() -> None:
    """One was asked for all that have the same: what it said then is no reason for another copy."""
    it = Workers(tree([0, 0]), {})
    it.keeps = {1, 2}
    it.run()
    assert all_ok(it)
    assert sorted(it.copies) == [(0, 1), (0, 2)]


def test_nobody_waits_for_what_would_be_copied_to_one_that_is_gone() -> None:
    it = Workers(tree([0, 0]), {1: "new"})
    it._pack = lambda node_id, message: None  # type: ignore[method-assign]
    it.run()
    assert not it.judged
    it.die(2)
    it.go_on()
    assert codes(it)[1] is None


def test_who_has_more_serves_nobody() -> None:
    """It is served, for only rsync can say that nothing is to be done; and doesn't serve what is its own."""
    it = Workers(tree([0, 1]), {1: "new and more", 2: "new and more"})
    it.keeps = {1, 2}
    it.run()
    assert all_ok(it)
    assert it.copies == [(0, 1), (0, 2)]


def test_with_delete_more_is_a_difference() -> None:
    it = Workers(tree([0]), {1: "new and more"}, delete=True)
    it.keeps = {1}
    it.run()
    assert all_ok(it)
    assert len(it.copies) == 1


class TestBeforeAnythingIsWritten:
    def test_all_hosts_are_asked_first(self) -> None:
        it = Workers(tree([0, 0, 0]), {})
        it.run(late=[3])
        assert not it.copies
        it.start(3)
        it.go_on()
        assert all_ok(it)

    def test_one_that_never_comes_holds_nobody_up(self) -> None:
        it = Workers(tree([0, 0]), {})
        it.run(late=[2])
        it.die(2)
        it.go_on()
        assert verdicts(it)[1] is Verdict.OK

    def test_a_host_that_refuses_is_named_and_the_others_go_on(self) -> None:
        it = Workers(tree([0, 0]), {})
        it.refuses = {2: {"code": "busy", "reason": "another run writes there", "remedy": "wait"}}
        it.run()
        assert codes(it) == {1: None, 2: Code.BUSY}
        assert it.judged[2].remedy == "wait"

    def test_a_host_that_is_busy_may_be_waited_for(self) -> None:
        it = Workers(tree([0, 0]), {}, wait_s=60.0)
        it.refuses = {2: {"code": "busy", "reason": "another run writes there"}}
        it.run()
        it.tick(40.0)
        assert not it.copies
        it.refuses.clear()
        it.tick(50.0)
        assert all_ok(it)

    def test_but_not_for_ever(self) -> None:
        it = Workers(tree([0, 0]), {}, wait_s=60.0)
        it.refuses = {2: {"code": "busy", "reason": "another run writes there"}}
        it.run()
        it.tick(61.0)
        assert codes(it) == {1: None, 2: Code.BUSY}

    def test_a_full_disk_is_seen_before(self) -> None:
        it = Workers(tree([0, 0]), {})
        it.free[2] = SIZE - 1
        it.run()
        assert codes(it) == {1: None, 2: Code.DISK_FULL}
        assert it.wrote == {1}

    def test_a_host_without_rsync_is_named(self) -> None:
        it = Workers(tree([0, 0]), {2: "new"})
        it.refuses = {1: {"rsync": None}, 2: {"rsync": None}}
        it.run()
        assert codes(it) == {1: Code.NO_RSYNC, 2: None}

    def test_who_needs_nothing_needs_no_rsync(self) -> None:
        it = Workers(tree([0]), {1: "new"})
        it.refuses = {1: {"rsync": None}}
        it.run()
        assert all_ok(it)

    def test_a_source_that_cannot_be_read_fails_all(self) -> None:
        it = Workers(tree([0, 0]), {})
        it.source = {"code": "source", "reason": "2 files can't be read"}
        it.run(late=[2])
        assert codes(it) == {1: Code.SOURCE}
        it.start(2)
        assert codes(it) == {1: Code.SOURCE, 2: Code.SOURCE}

    def test_a_source_that_changes_ends_it(self) -> None:
        it = Workers(tree([0, 0, 0]), {3: "new"})
        it.breaks = {0: ("source-changed", False)}
        it.run()
        done = {node_id for node_id in (1, 2, 3) if it.has[node_id] == "new"}
        assert 3 in {node_id for node_id, code in codes(it).items() if code is None} <= done
        assert set(codes(it).values()) == {None, Code.SOURCE_CHANGED}


class TestDeleting:
    @pytest.mark.parametrize(
        ("extra", "entries", "asks"),
        [(1000, 10_000, False), (1001, 100_000, True), (10, 100, False), (11, 100, True)],
    )
    def test_above_a_thousand_or_a_tenth_somebody_is_asked(
        self, extra: int, entries: int, asks: bool
    ) -> None:
        it = Workers(tree([0, 0]), {2: "older"}, delete=True, ask=Ask.USER)
        it.extra[2], it.entries[2] = extra, entries
        it.run()
        assert any(isinstance(event, Asked) for event in it.published) is asks
        assert bool(it.copies) is not asks

    def test_who_says_yes_has_it_done(self) -> None:
        it = Workers(tree([0]), {}, delete=True, ask=Ask.USER)
        it.extra[1] = 50
        it.run()
        assert not it.copies
        it.answer(True)
        assert all_ok(it)

    def test_who_says_no_has_nothing_done(self) -> None:
        it = Workers(tree([0]), {}, delete=True, ask=Ask.USER)
        it.extra[1] = 50
        it.run()
        it.answer(False)
        assert verdicts(it) == {1: Verdict.CANCELLED}
        assert not it.wrote

    def test_without_a_terminal_it_is_refused(self) -> None:
        it = Workers(tree([0]), {}, delete=True)
        it.extra[1] = 50
        it.run()
        assert codes(it) == {1: Code.MAX_DELETE}
        assert "50 of 100" in it.judged[1].reason

    def test_a_limit_is_each_hosts_own(self) -> None:
        it = Workers(tree([0, 0]), {2: "older"}, delete=True, max_delete=20)
        it.extra[2] = 21
        it.run()
        assert codes(it) == {1: None, 2: Code.MAX_DELETE}

    def test_an_empty_source_is_refused(self) -> None:
        it = Workers(tree([0]), {}, delete=True)
        it.source = {"empty": True}
        it.run()
        assert codes(it) == {1: Code.SOURCE}

    def test_without_delete_nothing_is_asked(self) -> None:
        it = Workers(tree([0]), {})
        it.extra[1] = 5000
        it.run()
        assert all_ok(it)


class TestOnlyLooking:
    def test_verify_names_what_differs(self) -> None:
        it = Workers(tree([0, 0]), {1: "new"}, purpose=Purpose.VERIFY)
        it.run()
        assert codes(it) == {1: None, 2: Code.DIFFERS}
        shown = {event.host: event.data for event in it.published if isinstance(event, HostOutput)}
        assert shown == {"h0002": b"changed old\nextra x\n"}

    def test_a_dry_run_changes_nothing(self) -> None:
        it = Workers(tree([0, 0]), {}, purpose=Purpose.DRY_RUN)
        it.run()
        assert all_ok(it)
        assert not it.wrote
        shown = [event.data for event in it.published if isinstance(event, HostOutput)]
        assert shown == [b"changed old\n"] * 2

    def test_one_host_of_those_that_have_the_same_is_asked(self) -> None:
        it = Workers(tree([0] * 10), {2: "older", 5: "older"}, purpose=Purpose.VERIFY)
        compared: list[int] = []
        before = it._compare
        it._compare = lambda node_id, message: (compared.append(node_id), before(node_id, message))  # type: ignore[method-assign, func-returns-value, assignment]
        it.run()
        assert len(compared) == 2
        assert {it.has[node_id] for node_id in compared} == {"old", "older"}

    def test_where_the_one_that_was_asked_is_lost_another_is(self) -> None:
        it = Workers(tree([0, 0]), {}, purpose=Purpose.VERIFY)
        asked: list[int] = []
        before = it._compare

        def first_dies(node_id: int, message: dict[str, object]) -> None:
            asked.append(node_id)
            if len(asked) > 1:
                before(node_id, message)

        it._compare = first_dies  # type: ignore[method-assign]
        it.run()
        it.die(asked[0])
        it.go_on()
        assert codes(it)[3 - asked[0]] is Code.DIFFERS


def shown(it: Workers, node_id: int) -> bytes:
    """What a host's output is, put together as the store does it."""
    data = b""
    for event in it.published:
        if isinstance(event, HostOutput) and event.host == it.tree.name(node_id):
            assert event.offset == len(data)
            data += event.data
    return data


@pytest.mark.parametrize("method", [Method.RSYNC, Method.STREAM])
class TestRepairing:
    def test_what_differs_is_shown_and_mended(self, method: Method) -> None:
        it = Workers(tree([0, 0, 1, 1]), {1: "new", 3: "older"}, purpose=Purpose.REPAIR, method=method)
        it.run()
        assert all_ok(it)
        assert it.wrote == {2, 3, 4}
        assert shown(it, 1) == b""
        assert shown(it, 2) == b"changed old\nextra x\n"
        assert shown(it, 3) == b"changed older\nextra x\n"

    def test_what_hosts_have_beside_it_is_no_repair_and_not_equal(self, method: Method) -> None:
        it = Workers(tree([0, 0, 0]), {1: "new and more"}, purpose=Purpose.REPAIR, method=method)
        it.keeps = {2}
        it.run()
        assert codes(it) == {1: Code.DIFFERS, 2: Code.DIFFERS, 3: None}
        assert it.wrote == {2, 3}
        assert it.judged[1].remedy == it.judged[2].remedy == "--delete takes them away"

    def test_with_delete_it_goes(self, method: Method) -> None:
        it = Workers(tree([0, 0, 0]), {1: "new and more"}, purpose=Purpose.REPAIR, delete=True, method=method)
        it.keeps = {2}
        it.run()
        assert all_ok(it)

    def test_much_isnt_deleted_by_the_way(self, method: Method) -> None:
        it = Workers(tree([0, 0]), {}, purpose=Purpose.REPAIR, delete=True, method=method)
        it.extra[1] = it.extra[2] = 50
        it.run()
        assert codes(it) == {1: Code.MAX_DELETE, 2: Code.MAX_DELETE}
        assert not it.wrote


def test_what_a_repair_leaves_is_told_after_what_there_was() -> None:
    it = Workers(tree([0]), {}, purpose=Purpose.REPAIR)
    it.garbles = {0, 1}
    it.run()
    assert codes(it) == {1: Code.DIFFERS}
    assert shown(it, 1) == b"changed old\nextra x\nand now:\nchanged garbled\nextra x\n"


def test_what_was_sent_is_summed_up() -> None:
    it = Workers(tree([0, 1]), {})
    it.run()
    (notice,) = notices(it)
    assert "1000 bytes by the root, 1000 bytes by relays" in notice


def test_the_slowest_way_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nile.sync.wording.LEAST_RATED", 1)
    it = Workers(tree([0, 1]), {1: "new"}, rate=100.0)
    it.run()
    _, slowest, against = notices(it)
    assert slowest.startswith("slowest way: h0001 to h0002, ")
    assert against.startswith("F/R, 1000 bytes at 100 bytes/s, is 10.00 s: it took 0.0")


def test_the_slowest_way_of_a_stream_is_named() -> None:
    it = Workers(tree([0, 0, 0]), {}, method=Method.STREAM)
    it.run()
    assert all_ok(it)
    (slowest,) = [text for text in notices(it) if text.startswith("slowest way: ")]
    assert "; 1.0 MiB take " in slowest


def notices(it: Workers) -> list[str]:
    return [event.text for event in it.published if isinstance(event, Notice)]


@pytest.mark.parametrize("method", [Method.RSYNC, Method.STREAM])
def test_what_was_sent_is_summed_up_also_where_the_last_host_is_lost(method: Method) -> None:
    it = Workers(tree([0, 0, 0]), {}, method=method)
    scan = it._scan
    it._scan = lambda node_id, message: (  # type: ignore[method-assign]
        None if node_id == 2 and it.has[2] == "new" else scan(node_id, message)
    )
    it.run()
    assert " sent in " not in " ".join(notices(it))
    it.die(2)
    it.go_on()
    assert len([text for text in notices(it) if " sent in " in text]) == 1


@pytest.mark.parametrize("method", [Method.RSYNC, Method.STREAM])
def test_it_says_how_far_it_is_and_in_the_end_that_all_have_it(method: Method) -> None:
    it = Workers(tree([0, 0, 1]), {2: "new"}, method=method)
    it.run()
    assert all_ok(it)
    said = [event for event in it.published if isinstance(event, CopyProgress)]
    assert said
    assert {each.hosts for each in said} == {2}
    assert sorted(each.part for each in said) == [each.part for each in said]
    assert (said[-1].part, said[-1].complete) == (1.0, 2)
    stands = {copy.host: copy for event in said for copy in event.each}
    assert {host: (copy.got == copy.whole > 0, copy.over) for host, copy in stands.items()} == {
        it.tree.name(number): (True, True) for number in (1, 3)
    }


def test_what_workers_say_of_their_progress_is_no_number_of_anything() -> None:
    it = Workers(tree([0, 0]), {}, method=Method.STREAM)
    it.chain.holds = True
    it.run()
    (member, *_) = it.chain.seats
    progress = {"received": -1, "successor_s": 0.0}
    with pytest.raises(ValueError, match="below zero"):
        list(
            it.sync.heard(
                member.node,
                {"n": member.number, "from": member.node, "progress": progress, "more": True},
                1.0,
            )
        )


def test_a_worker_that_breaks_the_rules_fails_alone() -> None:
    it = Workers(tree([0, 0]), {})
    it.run(late=[2])
    it._carry_out(it.sync.lied(2, "nonsense", 1.0))
    it.go_on()
    assert codes(it) == {1: None, 2: Code.AGENT}


def test_without_a_worker_at_the_root_nobody_is_served() -> None:
    it = Workers(tree([0, 0]), {2: "new"})
    it.run(late=[1])
    it.start(1)
    it._carry_out(it.sync.root_lost("killed", 1.0))
    assert codes(it)[1] is Code.SOURCE


@pytest.mark.parametrize("seed", range(300))
def test_whatever_happens_every_host_has_one_verdict_and_ok_means_equal(seed: int) -> None:
    chance = random.Random(seed)
    size = chance.randint(1, 25)
    parents = [chance.randint(0, node) for node in range(size)]
    not_asked = frozenset(node for node in range(1, size) if chance.random() < 0.1)
    had = {node: chance.choice(["new", "old", "older"]) for node in range(1, size + 1)}
    method = chance.choice(list(Method))
    it = Swarmed(tree(parents, not_asked), had, seed=seed, method=method, chains=chance.choice([1, 1, 3]))
    it.breaks = {
        n: chance.choice([("link", True), ("disk-full", False)]) for n in range(60) if chance.random() < 0.2
    }
    it.garbles = {number for number in range(60) if chance.random() < 0.1}
    it.all_is_new = chance.random() < 0.5
    it.paths, it.touched = chance.choice([b"", b"a"]), chance.choice([0, 1])
    it.chain.blocked = {
        (chance.randint(0, size), chance.randint(1, size)) for _ in range(chance.randint(0, 9))
    }
    it.chain.locked = {way for way in it.chain.blocked if chance.random() < 0.5}
    ways = [(giver, taker) for giver in range(1, size + 1) for taker in range(1, size + 1)]
    it.logins = {way for way in ways if chance.random() < 0.7}
    for some in (it.chain.diverges, it.chain.refuses_stream, it.chain.forgets):
        some |= {node for node in it.has if chance.random() < 0.05}
    it.chain.spoils = {0: "spool-full"} if chance.random() < 0.1 else {}
    it.chain.written = chance.choice([1, 30 << 20])
    for some in (it.lacks, it.still, it.mute, it.away):
        some |= {node for node in it.has if chance.random() < 0.05}
    it.unlike = chance.random() < 0.5
    it.slow = {node: chance.randint(2, 15) for node in it.has if chance.random() < 0.2}
    it.seed_ends = {"code": "copy", "reason": "killed"} if chance.random() < 0.1 else None
    late = [node for node in it.has if node and chance.random() < 0.1]
    doomed = [node for node in it.has if node and chance.random() < 0.15]
    it._carry_out(it.sync.begin(0.0))
    for node in it.has:
        if node and node not in late:
            it.start(node)
    quiet = 0
    while quiet < 70 and (any(it._queues.values()) or doomed or late or len(it.judged) + 1 < len(it.has)):
        if doomed and chance.random() < 0.1:
            it.die(doomed.pop())
        elif late and chance.random() < 0.1:
            node = late.pop()
            if node not in it.judged:
                it.start(node)
        elif any(it._queues.values()):
            quiet = 0
            it.step()
        else:
            quiet += not (doomed or late)
            it.t += 1.0
            it.advance()
            it._carry_out(it.sync.tick(it.t))
    assert set(it.judged) == set(it.has) - {ROOT_ID}
    for node, judgement in it.judged.items():
        if judgement.verdict is Verdict.OK:
            assert it.has[node] == "new"
