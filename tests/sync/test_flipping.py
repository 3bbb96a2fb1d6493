"""A release is current on all hosts that are ready, or on none."""

from __future__ import annotations

import random
from typing import Any

import pytest

from nile.agent.worker.naming import LATEST_S
from nile.cascade.hosts import Contact
from nile.events import Code, Notice, Verdict
from nile.sync import Method, Quorum
from nile.sync.flipping import LATE, MOST_S, STORE
from nile.topology.model import ROOT_ID
from tests.simulation.trees import tree
from tests.sync.simulated import Message
from tests.sync.workers import SIZE, Workers

MOST = 10**9


class Hosts(Workers):
    """A run that delivers release 7 to hosts that have 6, or nothing at all.

    `cant` (host -> what it is asked, and can't do) goes wrong; `whole` are hosts that have release 7 already.
    """

    def __init__(self, parents: list[int], had: dict[int, str], seed: int = 0, **options: Any) -> None:
        how = {"delete": True, "max_delete": MOST, "release": "7", **options}
        super().__init__(tree(parents), had, seed, **how)
        self.cant: dict[int, str] = {}
        self.whole: set[int] = set()
        self.current: dict[int, str] = dict.fromkeys(self.has, "6")
        self.did: dict[int, list[str]] = {node_id: [] for node_id in self.has}
        self.linked: dict[int, bytes] = {}

    def _open(self, node_id: int, message: Message) -> None:
        assert (message["release"], message["delete"]) == ("7", False)
        own = {"release": {"current": self.current[node_id], "whole": node_id in self.whole}}
        self.refuses[node_id] = {**own, **self.refuses.get(node_id, {})}
        super()._open(node_id, message)

    def _push(self, node_id: int, message: Message) -> None:
        assert message["dest"] == b"/dst/releases/.nile-making-7"
        self.linked[message["to"]] = message["copy"]["link_dest"]
        super()._push(node_id, message)

    def _seal(self, node_id: int, message: Message) -> None:
        assert self.has[node_id] == "new"
        assert not any(target.wanting for target in self.sync._targets.values()), "somebody may be served yet"
        self._act(node_id, message, "seal")

    def _stage(self, node_id: int, message: Message) -> None:
        assert (message["to"], message["run"]) == ("7", "run")
        self._act(node_id, message, "stage", after="seal")

    def _unstage(self, node_id: int, message: Message) -> None:
        self._act(node_id, message, "unstage", after="stage")

    def _flip(self, node_id: int, message: Message) -> None:
        staged = sum("stage" in did for did in self.did.values())
        assert staged >= self.options.quorum.needed(len(self.has) - 1)
        if self._act(node_id, message, "flip", after="stage"):
            self.current[node_id] = "7"

    def _confirm(self, node_id: int, message: Message) -> None:
        assert message["keep"] == self.options.keep
        self._act(node_id, message, "confirm", after="flip")

    def _act(self, node_id: int, message: Message, what: str, after: str = "") -> bool:
        assert self.did[node_id][-1:] == ([after] if after else [])
        if self.cant.get(node_id) == what:
            self._say(node_id, message["n"], code="release", reason=f"no {what}", remedy="look")
            return False
        self.did[node_id].append(what)
        self._say(node_id, message["n"])
        return True

    def recorded(self) -> None:
        """What was decided is in the store by now."""
        number = self.sync._asking._last
        self.stores = {}
        self._say(ROOT_ID, number)
        self.go_on()

    @property
    def flipped(self) -> set[int]:
        return {node_id for node_id, current in self.current.items() if current == "7"}

    @property
    def codes(self) -> dict[int, Code | None]:
        return {node_id: judgement.code for node_id, judgement in self.judged.items()}

    @property
    def notices(self) -> list[str]:
        return [event.text for event in self.published if isinstance(event, Notice)]


def test_all_that_have_it_are_flipped_and_then_told_that_it_is_over() -> None:
    it = Hosts([0, 0, 1, 1], {})
    it.run()
    assert set(it.codes.values()) == {None}
    assert it.flipped == {1, 2, 3, 4}
    assert all(it.did[node_id] == ["seal", "stage", "flip", "confirm"] for node_id in it.flipped)
    assert "7 is current on 4 of 4 hosts" in it.notices


def test_nobody_is_flipped_before_all_have_staged_it_nor_told_before_all_have_flipped() -> None:
    it = Hosts([0] * 6, {})
    order: list[str] = []
    act = it._act

    def noted(node_id: int, message: Message, what: str, after: str = "") -> bool:
        order.append(what)
        return act(node_id, message, what, after)

    it._act = noted  # type: ignore[method-assign]
    it.run()
    assert order == [what for what in ("seal", "stage", "flip", "confirm") for _ in range(6)]


def test_copies_are_linked_to_each_hosts_own_current_release() -> None:
    it = Hosts([0, 0], {})
    it.current[2] = ""
    it.run()
    assert it.linked == {1: b"/dst/releases/6", 2: b""}
    assert it.flipped == {1, 2}


def test_those_that_have_nothing_to_link_to_are_served_by_a_stream() -> None:
    it = Hosts([0] * 5, {}, method=Method.AUTO)
    it.current |= dict.fromkeys((1, 2, 3), "")
    it.run()
    assert {taker for _, taker in it.copies} == {4, 5}
    assert it.wrote == {1, 2, 3, 4, 5} == it.flipped


def test_the_second_try_is_made_without_links() -> None:
    it = Hosts([0], {})
    it.garbles = {0}
    it.run()
    assert len(it.copies) == 2
    assert it.linked == {1: b""}
    assert it.flipped == {1}


def test_how_much_is_to_come_depends_on_the_current_release() -> None:
    """Both have nothing of the new one; but one has nothing to link to either."""
    it = Hosts([0, 0], {})
    it.current[2] = ""
    it.free = {1: 1, 2: 1}
    compare = it._compare

    def compared(node_id: int, message: Message) -> None:
        compare(node_id, message)
        it._queues[node_id][-1]["move"] = 1 if it.current[node_id] else SIZE

    it._compare = compared  # type: ignore[method-assign]
    it.run()
    assert it.codes == {1: Code.QUORUM, 2: Code.DISK_FULL}


class TestDeciding:
    def test_it_is_in_the_store_before_anybody_is_told(self) -> None:
        it = Hosts([0] * 4, {})
        it.stores = None
        it.run()
        assert it.flipped == set()
        assert all(did == ["seal", "stage"] for node, did in it.did.items() if node)
        (text,) = it.decided
        assert text.startswith("decided: 7 is to be current in /dst on 4 of 4 hosts")
        assert text.endswith("(4)")
        it.recorded()
        assert it.flipped == {1, 2, 3, 4}
        assert set(it.codes.values()) == {None}

    def test_what_cannot_be_recorded_is_not_done(self) -> None:
        it = Hosts([0] * 3, {})
        it.stores = {"code": "store", "reason": "no record"}
        it.run()
        assert it.flipped == set()
        assert all(did == ["seal", "stage", "unstage"] for node, did in it.did.items() if node)
        assert set(it.codes.values()) == {Code.QUORUM}
        assert it.judged[1].reason == "the release is there, and not current: no record"
        assert it.judged[1].remedy == STORE
        assert not [text for text in it.notices if "isn't over" in text]

    @pytest.mark.parametrize(("waits_s", "flips"), [(LATEST_S - 35, True), (LATEST_S - 25, False)])
    def test_nor_where_hosts_might_take_the_word_for_too_old(self, waits_s: float, flips: bool) -> None:
        """Some would flip, and others refuse."""
        it = Hosts([0] * 3, {})
        it.stores = None
        it.run()
        it.t = it.sync._flipping._since_s + waits_s
        it.recorded()
        assert it.flipped == ({1, 2, 3} if flips else set())
        if not flips:
            assert all(did == ["seal", "stage", "unstage"] for node, did in it.did.items() if node)
            assert "95 s after hosts were asked to be ready" in it.judged[1].reason
            assert it.judged[1].remedy == LATE

    def test_nor_where_the_root_was_kept_from_its_work_meanwhile(self) -> None:
        """Its own clock left that out; those of the hosts go on."""
        it = Hosts([0] * 3, {})
        it.stores = None
        it.run()
        it.sync.missed(LATEST_S)
        it.recorded()
        assert it.flipped == set()
        assert "it was decided: too late" in it.judged[1].reason

    def test_what_the_store_says_is_passed_on(self) -> None:
        it = Hosts([0] * 3, {})
        it.stores = {"code": "store", "reason": "/s/runs.db: disk is full", "remedy": "free some"}
        it.run()
        assert it.judged[1].reason == "the release is there, and not current: /s/runs.db: disk is full"
        assert it.judged[1].remedy == "free some"

    def test_nor_where_too_few_are_there_by_then(self) -> None:
        it = Hosts([0] * 3, {}, quorum=Quorum(6600))
        it.stores = None
        it.run()
        it.die(1)
        it.die(2)
        it.recorded()
        assert it.flipped == set()
        assert it.did[3] == ["seal", "stage", "unstage"]


class TestInterrupted:
    WAYS = "`nile releases --finish /dst` flips all"

    def test_before_it_is_decided_nobody_flips(self) -> None:
        it = Hosts([0] * 3, {})
        it.stores = None
        it.run()
        it.interrupt()
        it.recorded()
        for node in (1, 2, 3):
            it.die(node)
        assert it.flipped == set()
        assert it.notices[-3:] == [
            "the flip to 7 isn't over on h[0001-0003] (3)",
            "not flipped: h[0001-0003] (3)",
            "`nile releases --rollback /dst` ends it: nobody was told to flip",
        ]

    def test_nor_where_all_that_are_left_are_ready(self) -> None:
        """Those that were told to end first aren't there any more, and no quorum does without them."""
        it = Hosts([0] * 3, {}, quorum=Quorum(3000))
        stage = it._stage
        it._stage = lambda node_id, message: None if node_id == 2 else stage(node_id, message)  # type: ignore[method-assign]
        it.run()
        it.interrupt()
        it.die(2)
        it.go_on()
        assert (it.flipped, it.decided) == (set(), [])

    def test_amid_flips_it_is_said_who_has_flipped_and_what_ends_it(self) -> None:
        it = Hosts([0] * 5, {}, quorum=Quorum(6000))
        flip = it._flip
        it._flip = lambda node_id, message: None if node_id in (2, 3) else flip(node_id, message)  # type: ignore[method-assign]
        it.cant = {4: "stage"}
        it.run()
        it.interrupt()
        for node in (1, 2, 3, 5):
            it.die(node)
        assert it.flipped == {1, 5}
        at = it.notices.index("the flip to 7 isn't over on h[0001-0003,0005] (4)")
        assert it.notices[at + 1 : -1] == [
            "flipped: h[0001,0005] (2)",
            "it isn't known whether they flipped: h[0002-0003] (2)",
        ]
        assert it.notices[-1].startswith(self.WAYS)

    def test_before_it_began_nothing_is_said(self) -> None:
        it = Hosts([0] * 3, {})
        it._seal = lambda node_id, message: None  # type: ignore[method-assign]
        it.run()
        it.interrupt()
        for node in (1, 2, 3):
            it.die(node)
        assert not [text for text in it.notices if "flip" in text]


def test_where_all_went_well_nothing_more_is_said() -> None:
    it = Hosts([0] * 3, {})
    it.run()
    assert it.notices[-1] == "7 is current on 3 of 3 hosts"


def test_one_that_is_lost_amid_it_is_named_with_what_ends_it() -> None:
    it = Hosts([0] * 3, {})
    flip = it._flip
    it._flip = lambda node_id, message: None if node_id == 2 else flip(node_id, message)  # type: ignore[method-assign]
    it.run()
    it.die(2)
    it.go_on()
    assert "it isn't known whether they flipped: h0002 (1)" in it.notices
    assert it.codes == {1: None, 2: None, 3: None}
    assert it.judged[2].verdict == "lost"


class TestQuorum:
    @pytest.mark.parametrize(
        ("share", "asked", "needed"),
        [
            (10000, 7, 7),
            (9500, 600, 570),
            (9500, 10, 10),
            (9500, 20, 19),
            (5000, 3, 2),
            (1, 100, 1),
            (3333, 3, 1),
        ],
    )
    def test_how_many_that_is(self, share: int, asked: int, needed: int) -> None:
        assert Quorum(share).needed(asked) == needed

    def test_where_one_is_down_nothing_flips(self) -> None:
        it = Hosts([0] * 4, {})
        it.run(late=[4])
        it.die(4)
        it.go_on()
        assert it.flipped == set()
        assert {it.codes[node_id] for node_id in (1, 2, 3)} == {Code.QUORUM}
        assert "3 of 4 hosts are ready, and 4 have to be" in it.judged[1].reason
        assert [it.did[node_id] for node_id in (1, 2, 3)] == [["seal"]] * 3  # and stays for the next try

    def test_unless_that_is_allowed(self) -> None:
        it = Hosts([0] * 4, {}, quorum=Quorum(7500))
        it.run(late=[4])
        it.die(4)
        it.go_on()
        assert it.flipped == {1, 2, 3}
        assert "7 is current on 3 of 4 hosts" in it.notices

    @pytest.mark.parametrize("what", ["seal", "stage"])
    def test_one_that_cannot_is_one_that_is_not_ready(self, what: str) -> None:
        it = Hosts([0] * 3, {})
        it.cant = {2: what}
        it.run()
        assert it.flipped == set()
        assert it.codes == {1: Code.QUORUM, 2: Code.RELEASE, 3: Code.QUORUM}
        assert it.did[1] == {"seal": ["seal"], "stage": ["seal", "stage", "unstage"]}[what]

    def test_one_that_cannot_flip_when_told_does_not_hold_up_the_others(self) -> None:
        it = Hosts([0] * 3, {})
        it.cant = {2: "flip"}
        it.run()
        assert it.flipped == {1, 3}
        assert it.codes == {1: None, 2: Code.RELEASE, 3: None}
        assert "7 is current on 2 of 3 hosts" in it.notices


class TestWhole:
    def test_one_that_has_it_gets_nothing_and_is_flipped(self) -> None:
        it = Hosts([0, 0], {1: "new"}, chown="www:www")
        it.whole = {1}
        it.run()
        assert it.copies == [(ROOT_ID, 2)]
        assert it.flipped == {1, 2}

    def test_one_whose_release_of_that_name_is_another_is_named(self) -> None:
        it = Hosts([0, 0], {1: "older"})
        it.whole = {1}
        it.run()
        assert it.codes == {1: Code.RELEASE, 2: Code.QUORUM}
        assert "isn't as the source is" in it.judged[1].reason
        assert it.copies == [(ROOT_ID, 2)]


def test_a_source_that_changes_flips_nobody() -> None:
    it = Hosts([0, 0, 0], {3: "new"}, quorum=Quorum(3000))
    it.breaks = {0: ("source-changed", False)}
    it.run()
    assert it.flipped == set()
    assert set(it.codes.values()) == {Code.SOURCE_CHANGED}


def test_once_all_have_it_the_root_need_not_read_any_more() -> None:
    it = Hosts([0, 0], {1: "new", 2: "new"})
    it._carry_out(it.sync.begin(0.0))
    for node_id in (1, 2):
        it.start(node_id)
    while not it.did[1]:
        it.step()
    it._carry_out(it.sync.root_lost("killed", 1.0))
    it.go_on()
    assert it.flipped == {1, 2}
    assert set(it.codes.values()) == {None}


def test_one_that_cannot_remove_old_ones_has_flipped_all_the_same() -> None:
    it = Hosts([0, 0], {})

    def confirm(node_id: int, message: Message) -> None:
        left = {"left": "/x: no\x1b"} if node_id == 2 else {}
        it._say(node_id, message["n"], **left)

    it._confirm = confirm  # type: ignore[method-assign]
    it.run()
    assert it.codes == {1: None, 2: None}
    (notice,) = [event for event in it.published if isinstance(event, Notice) and event.host]
    assert (notice.host, "still there: /x: no" in notice.text) == (it.tree.name(2), True)


def test_one_that_cannot_write_down_that_it_is_over_is_said_to_have_flipped() -> None:
    it = Hosts([0, 0], {})
    it.cant = {2: "confirm"}
    it.run()
    assert it.flipped == {1, 2}
    assert it.codes == {1: None, 2: Code.RELEASE}
    assert it.judged[2].reason.startswith("it has flipped")


def test_one_that_hangs_while_it_flips_is_waited_for_a_minute() -> None:
    it = Hosts([0, 0], {})
    it._flip = lambda node_id, message: None if node_id == 2 else Hosts._flip(it, node_id, message)  # type: ignore[method-assign]
    it.run()
    assert it.did[1][-1] == "flip"
    assert not it.judged
    it.tick(80.0)
    assert it.codes == {1: None, 2: Code.AGENT}
    assert it.did[1][-1] == "confirm"


class TestOutOfReach:
    """A host whose link is lost, and mended, while it has to do something."""

    def held(self, held: str, **options: Any) -> tuple[Hosts, list[int]]:
        """What host 2 was asked, and doesn't do yet."""
        it, asked = Hosts([0] * 4, {}, **options), list[int]()
        act = it._act

        def slowly(node_id: int, message: Message, what: str, after: str = "") -> bool:
            if (node_id, what) == (2, held):
                asked.append(message["n"])
                return False
            return act(node_id, message, what, after)

        it._act = slowly  # type: ignore[method-assign]
        it.run()
        it.tree[2].contact = Contact.WAITING
        return it, asked

    def wait(self, it: Hosts, seconds: float) -> None:
        end = it.t + seconds
        while it.t < end:
            it.tick(it.t + 5.0)

    @pytest.mark.parametrize("what", ["flip", "seal", "confirm"])
    def test_it_is_waited_for_until_it_is_back_or_lost(self, what: str) -> None:
        it, (number,) = self.held(what)
        self.wait(it, 5 * MOST_S)
        assert 2 not in it.judged
        it.tree[2].contact = Contact.UP
        self.wait(it, 10.0)
        assert 2 not in it.judged
        it.did[2].append(what)
        it._say(2, number)
        it.go_on()
        assert set(it.codes.values()) == {None}

    def test_but_not_while_others_are_staged(self) -> None:
        it, _ = self.held("stage", quorum=Quorum(7500))
        self.wait(it, MOST_S + 10.0)
        assert "it is out of reach" in it.judged[2].reason
        assert it.flipped == {1, 3, 4}

    def test_once_it_is_back_it_has_to_do_it(self) -> None:
        it, _ = self.held("flip")
        self.wait(it, 5 * MOST_S)
        it.tree[2].contact = Contact.UP
        self.wait(it, MOST_S + 30.0)
        assert it.judged[2].code is Code.AGENT
        assert it.codes == {1: None, 2: Code.AGENT, 3: None, 4: None}


@pytest.mark.parametrize("seed", range(200))
def test_whatever_happens_nothing_flips_without_a_quorum(seed: int) -> None:
    chance = random.Random(seed)
    size = chance.randint(1, 15)
    parents = [chance.randint(0, node) for node in range(size)]
    had = {node: chance.choice(["new", "old"]) for node in range(1, size + 1)}
    it = Hosts(parents, had, seed, quorum=Quorum(chance.choice([10000, 8000, 5000, 100])))
    hosts = [node for node in it.has if node]
    it.cant = {
        node: chance.choice(["seal", "stage", "flip", "confirm"]) for node in hosts if chance.random() < 0.1
    }
    it.breaks = {number: ("disk-full", False) for number in range(20) if chance.random() < 0.1}
    doomed = [node for node in hosts if chance.random() < 0.15]
    it.begin()
    for _ in range(3000):
        if doomed and chance.random() < 0.02:
            it.die(doomed.pop())
        elif any(it._queues.values()):
            it.step()
        else:
            it.t += 1.0
            it._carry_out(it.sync.tick(it.t))
        if len(it.judged) == len(hosts) and not doomed:
            break
    assert set(it.judged) == set(hosts)
    for node, judgement in it.judged.items():
        if judgement.verdict is Verdict.OK:
            assert it.did[node] == ["seal", "stage", "flip", "confirm"]
        if judgement.code is Code.QUORUM:
            assert it.did[node] in (["seal"], ["seal", "stage", "unstage"])
    if Code.QUORUM in it.codes.values():
        assert it.flipped == set()


def test_one_that_never_gets_there_is_left_behind_before_the_others_take_the_word_for_too_old() -> None:
    it = Hosts([0] * 4, {}, quorum=Quorum(7500))
    stage, asked = it._stage, []

    def slowly(node_id: int, message: Message) -> None:
        if node_id == 2:
            asked.append(message["n"])
        else:
            stage(node_id, message)

    it._stage = slowly  # type: ignore[method-assign]
    it.run()
    began_s = it.t
    while it.t < began_s + LATEST_S - 20 and 2 not in it.judged:
        it._say(2, asked[0], alive=True, done=0, more=True)
        it.tick(it.t + 5)
    it.go_on()
    assert it.judged[2].code is Code.AGENT
    assert it.flipped == {1, 3, 4}
