"""Workers that say nothing where they have to say something, or too much: nobody waits for them for ever."""

from __future__ import annotations

from typing import Any

import pytest

from nile.cascade import Finish
from nile.cascade.actions import Action
from nile.cascade.hosts import Contact, Host
from nile.cascade.verdicts import Judgement
from nile.cascade.work import Work
from nile.events import Code, Verdict
from nile.sync import Method
from nile.sync.asking import LEAST, STILL_S
from nile.sync.counting import AT_ONE_TIME, SLOW_LINK
from nile.sync.delivery import STUCK_S
from nile.sync.judging import SILENT_S, STALLED_S
from nile.sync.lateness import ANSWER_S, GET_ON_S, MOST_LAST_S
from nile.sync.targets import Step
from nile.topology.model import ROOT_ID
from tests.simulation.trees import tree
from tests.sync.test_streaming import all_ok, notices, workers
from tests.sync.workers import SIZE, Workers


def wait(it: Workers, seconds: float = 1000.0) -> None:
    """Nothing more happens for so long."""
    end = it.t + seconds
    while it.t < end:
        it.tick(it.t + 20.0)


def fails_alone(it: Workers, node: int) -> None:
    """One host has failed, since its worker hangs; the others are ok."""
    assert it.judged[node].code is Code.AGENT
    assert {each for each in it.judged if it.judged[each].verdict is Verdict.OK} == {1, 2, 3, 4, 5} - {node}


@pytest.mark.parametrize("node", [3, 5])
def test_one_that_never_says_where_it_waits(node: int) -> None:
    it = workers()
    join = it.chain.join
    hung = node
    it.chain.join = lambda node, message: None if node == hung else join(node, message)  # type: ignore[method-assign]
    it.run()
    wait(it)
    fails_alone(it, node)


def test_one_that_never_says_that_it_has_left() -> None:
    it, _ = left()
    wait(it)
    fails_alone(it, 3)


def test_one_that_never_waits_to_be_recorded_against() -> None:
    it = workers()
    it.all_is_new = False
    it._receive = lambda node_id, message: None  # type: ignore[method-assign]
    it.run()
    receive = type(it)._receive
    it._receive = lambda node_id, message: receive(it, node_id, message)  # type: ignore[method-assign]
    wait(it)
    fails_alone(it, 1)


def test_one_that_was_recorded_against_and_never_says_that_it_is_over() -> None:
    it = workers()
    it.all_is_new = False
    it._record = lambda node_id, message: it.chain.record(message, lambda: None)  # type: ignore[method-assign]
    it.run()
    it._receiving.clear()
    wait(it)
    fails_alone(it, 1)


def gets_on(it: Workers, node: int, seconds: float, each: int = LEAST) -> None:
    """For so long it says that it is at it, and how far: by so many things each time."""
    end, done = it.t + seconds, 0
    while it.t < end:
        done += each
        it._say(node, 1, alive=True, done=done, more=True)
        wait(it, 20.0)


def left() -> tuple[Workers, int]:
    """A host is left out, and hasn't said yet that it has left; and the number of its place."""
    it = workers()
    it.chain.holds = True
    it.run()
    leave, seat = it.chain.leave, it.chain.of(3)
    assert seat is not None
    it.chain.leave = lambda node, message: it.chain.cut(seat) if node == 3 else leave(node, message)  # type: ignore[method-assign]
    it.t += 3.0
    it.chain.tell(2, it.chain.of(2).number, "held", "successor")  # type: ignore[union-attr]
    it.go_on()
    it.chain.holds = False
    it.chain.flow()
    return it, seat.number


def test_one_that_is_left_out_may_have_much_to_take_away() -> None:
    it, number = left()
    gets_on(it, 3, 10 * ANSWER_S)
    assert 3 not in it.judged
    it._say(3, number, code="stopped", reason="it was told to stop", sent=0)
    it.go_on()
    all_ok(it)


def test_but_it_has_to_get_on() -> None:
    it, _ = left()
    gets_on(it, 3, STILL_S + 2 * ANSWER_S, each=1)
    fails_alone(it, 3)


def test_one_that_is_left_out_and_out_of_reach_has_its_time_when_it_is_back() -> None:
    it, _ = left()
    it.tree[3].contact = Contact.WAITING
    wait(it, 10 * ANSWER_S)
    assert 3 not in it.judged
    it.tree[3].contact = Contact.UP
    wait(it, 2 * ANSWER_S)
    fails_alone(it, 3)


def test_one_that_joins_may_have_much_to_take_away_first() -> None:
    it = workers()
    join, asked = it.chain.join, []
    it.chain.join = lambda node, message: asked.append(message) if node == 3 else join(node, message)  # type: ignore[method-assign]
    it.run()
    gets_on(it, 3, 5 * ANSWER_S)
    assert {each for each in it.judged if it.judged[each].verdict is Verdict.OK} == {2, 4, 5}
    assert it.has[1] == "new"  # it waits for the one that hangs below it
    join(3, asked[0])
    it.chain.leave(3, {"what": asked[0]["n"]})
    wait(it)
    all_ok(it)
    assert "it still takes away what an earlier copy left" in notices(it)
    assert [taker for _, taker in it.copies] == [3]


def test_so_may_one_that_is_recorded_against() -> None:
    it = workers()
    it.all_is_new = False
    asked: list[dict[str, Any]] = []
    it._receive = lambda node_id, message: asked.append(message)  # type: ignore[method-assign]
    it.run()
    gets_on(it, 1, 5 * ANSWER_S)
    assert not it.judged
    receive = type(it)._receive
    it._receive = lambda node_id, message: receive(it, node_id, message)  # type: ignore[method-assign]
    receive(it, 1, asked[0])
    wait(it)
    all_ok(it)


def test_while_the_root_looks_at_the_source_a_chain_waits() -> None:
    it = workers()
    it.chain.unfinished = True
    it.run()
    gets_on(it, ROOT_ID, 4 * STUCK_S)
    assert not it.chain.forgotten
    assert not it.judged
    gets_on(it, ROOT_ID, STILL_S + STUCK_S + 40.0, each=1)
    assert it.chain.forgotten


@pytest.mark.parametrize("blocked", [True, False])
def test_a_recording_that_nobody_wants_any_more_is_ended(blocked: bool) -> None:
    it = workers()
    it.chain.unfinished = True
    everybody = range(6 if blocked else 0)
    it.chain.blocked = it.chain.locked = {(giver, taker) for giver in everybody for taker in everybody}
    it.run()
    assert it.chain.forgotten == list(it.chain.recordings)[: int(blocked)]
    if blocked:
        all_ok(it)
    else:
        for node in range(1, 6):
            it.die(node)
        assert it.chain.forgotten == list(it.chain.recordings)


def test_a_recording_that_goes_slowly_goes_on() -> None:
    it = workers()
    it.chain.unfinished = True
    it.run()
    (number,) = it.chain.recordings
    for _ in range(20):
        it._say(ROOT_ID, number, written=1000, more=True)
        wait(it, 20.0)
    assert not it.chain.forgotten
    wait(it, STUCK_S)
    assert it.chain.forgotten


def test_hosts_that_rename_and_delete_for_long_are_let_do_it() -> None:
    it = workers()
    it.chain.confirm = lambda *_: None  # type: ignore[method-assign]
    it.run()
    for _ in range(30):
        for seat in it.chain.seats:
            it._say(seat.node, seat.number, alive=True, done=0, more=True)
        wait(it, 20.0)
    assert it.judged == {}
    assert "left out" not in notices(it)
    wait(it)
    assert {judgement.code for judgement in it.judged.values()} == {Code.AGENT}


def never_ends(it: Workers, node: int, seconds: float, step: int = 0, at_it: bool = False) -> None:
    """A host gets all of a stream and never says so, but how far it is, for so long."""
    tell = it.chain.tell

    def say(node_id: int, number: int, kind: str, code: str, **more: Any) -> None:
        if (node_id, kind) != (node, "end"):
            tell(node_id, number, kind, code, **more)

    it.chain.tell = say  # type: ignore[method-assign, assignment]
    if not it.chain.seats:
        it.run()
    end, got = it.t + seconds, 0
    while it.t < end and (seat := it.chain.of(node)) is not None:
        got += step
        progress = {"at": it.t, "received": got, "applier_s": 0.0, "successor_s": 0.0}
        it._say(node, seat.number, progress=progress, more=True)
        if at_it:
            it._say(node, seat.number, alive=True, done=int(it.t) * 100, more=True)
        wait(it, 20.0)


@pytest.mark.parametrize("node", [1, 3, 5])
def test_one_that_never_gets_to_the_end_is_left_out(node: int) -> None:
    it = workers()
    never_ends(it, node, 2 * GET_ON_S)
    all_ok(it)
    assert [taker for _, taker in it.copies] == [node]
    assert "it doesn't get to the end" in notices(it)


@pytest.mark.parametrize(("step", "at_it"), [(1, False), (0, True)])
def test_who_gets_on_or_is_at_it_has_its_time(step: int, at_it: bool) -> None:
    it = workers()
    never_ends(it, 3, 4 * GET_ON_S, step, at_it)
    assert "left out" not in notices(it)
    assert 3 not in it.judged


def test_but_who_only_says_that_it_is_at_it_not_for_ever() -> None:
    it = workers()
    never_ends(it, 3, 2 * MOST_LAST_S, at_it=True)
    assert MOST_LAST_S < it.t < MOST_LAST_S + 200.0
    all_ok(it)


def test_who_is_out_of_reach_has_its_time_when_it_is_back() -> None:
    it = workers()
    never_ends(it, 3, GET_ON_S - 40.0)
    it.tree[3].contact = Contact.WAITING
    wait(it, STUCK_S - 40.0)
    it.tree[3].contact = Contact.UP
    assert "left out" not in notices(it)
    never_ends(it, 3, GET_ON_S - 60.0)
    assert "left out" not in notices(it)
    wait(it)
    all_ok(it)


def test_a_stream_that_begins_late_has_its_time() -> None:
    it = workers(tree([0] * 6), {1: "a", 2: "a", 3: "b", 4: "b", 5: "c", 6: "c"})
    it.chain.holds = True
    it.run()
    for _ in range(20):
        for seat in [each for each in it.chain.seats if not each.over]:
            progress = {"at": it.t, "received": int(it.t), "applier_s": 0.0, "successor_s": 0.0}
            it._say(seat.node, seat.number, progress=progress, more=True)
        wait(it, 20.0)
    it.chain.holds = False
    it.chain.flow()
    it.go_on()
    assert "nobody said anything" not in notices(it)
    assert it.copies == []


def test_one_that_says_its_port_again_and_again_is_served_once() -> None:
    it = workers()
    it.chain.holds = True
    it.run()
    seat = it.chain.of(1)
    assert seat is not None
    for _ in range(100):
        it._say(1, seat.number, port=4444, more=True)
    it.go_on()
    assert len(it.chain.serves) == 1


@pytest.mark.parametrize("method", [Method.STREAM, Method.RSYNC])
def test_one_that_waits_for_a_copy_says_its_port_once(method: Method) -> None:
    it = workers(method=method)
    it.all_is_new = False
    receive = it._receive

    def again(node_id: int, message: dict[str, Any]) -> None:
        receive(node_id, message)
        it._say(node_id, message["n"], port=4000 + node_id, more=True)

    it._receive = again  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="port again"):
        it.run()


@pytest.mark.parametrize("port", [0, 70000])
def test_a_port_that_is_none_is_a_lie(port: int) -> None:
    it = workers()
    it.chain.join = lambda node, message: it._say(node, message["n"], port=port, more=True)  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="port"):
        it.run()


def test_a_root_that_cant_serve_one_tries_again() -> None:
    it = workers()
    serve, asked = it.chain.serve, []

    def refuse_once(message: dict[str, Any]) -> None:
        asked.append(message["n"])
        if len(asked) == 1:
            it._say(ROOT_ID, message["n"], code="copy", reason="Too many open files", sent=0)
        else:
            serve(message)

    it.chain.serve = refuse_once  # type: ignore[method-assign]
    it.run()
    all_ok(it)
    assert len(asked) == 2
    assert it.copies == []


def test_an_answer_to_what_nobody_was_asked_is_a_lie() -> None:
    it = workers()
    it.chain.holds = True
    it.run()
    it._say(3, 10**6)
    with pytest.raises(ValueError, match="nobody was asked"):
        it.go_on()


def test_who_waits_for_its_turn_to_compare_isnt_silent() -> None:
    it = Workers(tree([0] * 20), {}, method=Method.STREAM)
    it.keeps = set(range(1, 21))
    compare, asked = it._compare, []

    def slowly(node_id: int, message: dict[str, Any]) -> None:
        if any(target.step is Step.COMPARING for target in it.sync._targets.values()):
            asked.append((node_id, message["n"]))
        else:
            compare(node_id, message)

    it._compare = slowly  # type: ignore[method-assign]
    it.run()
    for second in range(int(SILENT_S) + 10):
        for node, number in asked:
            it._say(node, number, alive=True, done=second * LEAST, more=True)
        while any(it._queues.values()):
            it.step()
        it.t += 1.0
        it._carry_out(it.sync.tick(it.t))
    assert len(asked) == 8
    assert it.judged == {}


class Looking(Workers):
    """A host that looks at its files, and says that it does, but never what it found."""

    def __init__(self, step: Step) -> None:
        super().__init__(tree([0, 0]), {}, method=Method.RSYNC)
        self.step_held = step
        self.held: list[int] = []

    def _scan(self, node_id: int, message: dict[str, Any]) -> None:
        if node_id == 1 and self.sync._targets[1].step is self.step_held:
            self.held.append(message["n"])
        else:
            super()._scan(node_id, message)

    def say(self, seconds: float, each: int, **fields: Any) -> None:
        """For so long it says something every five seconds; its count grows by `each`."""
        end, done = self.t + seconds, 0
        while self.t < end and 1 not in self.judged:
            done += each
            self._say(1, self.held[0], **{"done": done, "alive": True, "more": True, **fields})
            while any(self._queues.values()):
                self.step()
            self.t += 5.0
            self._carry_out(self.sync.tick(self.t))


@pytest.mark.parametrize("step", [Step.SCANNING, Step.CHECKING])
def test_one_that_only_says_that_it_is_at_it_is_given_up(step: Step) -> None:
    it = Looking(step)
    it.run()
    it.say(STILL_S + 60.0, 0)
    it.go_on()
    assert (it.judged[1].code, it.judged[2].verdict) == (Code.AGENT, Verdict.OK)
    assert "doesn't get on" in it.judged[1].reason


def test_one_that_gets_on_slowly_has_as_long_as_it_takes() -> None:
    it = Looking(Step.SCANNING)
    it.run()
    it.say(10 * STILL_S, 2)
    assert not it.judged
    it.say(2 * STILL_S, 0)
    assert it.judged[1].code is Code.AGENT


def test_what_has_been_looked_at_may_take_a_while_to_be_computed() -> None:
    it = Looking(Step.SCANNING)
    it.run()
    it.say(1.0, 10**7)
    it.say(STILL_S + 900.0, 0)
    assert not it.judged
    it.say(STILL_S, 0)
    assert it.judged[1].code is Code.AGENT


def test_an_answer_that_has_no_parts_is_not_given_in_parts_for_ever() -> None:
    it = Looking(Step.SCANNING)
    it.run()
    fields = {"fingerprint": b"x" * 32, "like": b"x" * 32, "entries": 1, "alive": False}
    with pytest.raises(ValueError, match="has none"):
        it.say(10.0, 0, **fields)


def test_words_on_what_is_over_are_no_sign_that_it_gets_on() -> None:
    it = Looking(Step.SCANNING)
    it.run()
    it.held = [2]
    it.say(STILL_S + 60.0, 0, alive=False)
    assert it.judged[1].code is Code.AGENT


def test_but_not_for_ever() -> None:
    """Hosts that have everything, and say that they rename and delete."""
    it = workers()
    it.chain.confirm = lambda *_: None  # type: ignore[method-assign]
    it.run()
    done, began_s = 0, it.t
    while not it.judged and it.t < began_s + 2 * MOST_LAST_S:
        done += 1000
        for seat in it.chain.seats:
            it._say(seat.node, seat.number, alive=True, done=done, more=True)
            it._say(
                seat.node,
                seat.number,
                event={"kind": "end", "code": "", "reason": "", "offset": 1},
                more=True,
            )
        wait(it, 20.0)
    assert abs(it.t - began_s - MOST_LAST_S) < 100.0
    assert {judgement.code for judgement in it.judged.values()} == {Code.AGENT}


class Copying(Workers):
    """A host whose giver says how far it is, and never that it is through."""

    def _push(self, node_id: int, message: dict[str, Any]) -> None:
        if message["to"] == 1:
            self.number = message["n"]
        else:
            super()._push(node_id, message)

    def _abandon(self, node_id: int, message: dict[str, Any]) -> None:
        if message["what"] == self.number:
            self._say(node_id, self.number, code="stopped", reason="it was told to stop", sent=0)
        else:
            super()._abandon(node_id, message)

    def send(self, seconds: float, each: int) -> float:
        """For so long, or until somebody is judged, so much comes every five seconds; how long that took."""
        began_s, so_far = self.t, 0
        while self.t < began_s + seconds and not self.judged:
            so_far += each
            self._say(ROOT_ID, self.number, sent_so_far=so_far, more=True)
            self._say(1, self._receiving[1], alive=True, done=so_far, more=True)
            while self.step():
                pass
            self.t += 5.0
            self._carry_out(self.sync.tick(self.t))
            while self.step():  # who is told to stop does
                pass
        return self.t - began_s


def copying(size: int, entries: int = 10) -> Copying:
    it = Copying(tree([0, 1]), {}, method=Method.RSYNC)
    it.source = {"size": size, "entries": entries}
    it.run()
    return it


def test_a_copy_that_only_keeps_up_the_talk_is_given_up() -> None:
    it = copying(10**6)
    assert it.send(4000.0, 50) < STALLED_S + 20.0
    assert it.judged[1].code is Code.AGENT
    it.go_on()
    assert it.judged[2].verdict is Verdict.OK


def test_one_that_sends_more_and_more_than_there_is_is_none() -> None:
    it = copying(10**6)
    assert it.send(10**6, 10**5) < STALLED_S + 200.0
    assert it.judged[1].code is Code.AGENT


def test_a_slow_copy_has_its_time() -> None:
    it = copying(10**8)
    assert it.send(3000.0, 400) >= 3000.0


def test_where_there_is_much_to_rename_or_to_compare_nothing_may_pass_for_long() -> None:
    it = copying(10**10, 10**5)
    assert it.send(4000.0, 0) > STALLED_S + 1900.0
    assert it.judged[1].code is Code.AGENT


def test_while_the_source_is_read_nobody_else_has_to_speak() -> None:
    it = Workers(tree([0, 0]), {}, method=Method.RSYNC)
    read, asked = it._read, []
    it._read = lambda node_id, message: asked.append(message)  # type: ignore[method-assign]
    it.run()
    for second in range(0, int(2 * STILL_S), 5):
        it._say(ROOT_ID, asked[0]["n"], alive=True, done=second * LEAST, more=True)
        while it.step():
            pass
        it.t += 5.0
        it._carry_out(it.sync.tick(it.t))
    assert not it.judged
    read(ROOT_ID, asked[0])
    it.go_on()
    all_ok(it)


class Slow(Workers):
    """One host, which is asked something only long after its last word, and never answers that."""

    def __init__(self) -> None:
        super().__init__(tree([0]), {}, method=Method.RSYNC)
        self.kept: list[tuple[str, int, dict[str, Any]]] = []

    def _tell(self, node_id: int, message: dict[str, Any]) -> None:
        if message["do"] in ("read", "scan"):
            self.kept.append((message["do"], node_id, message))
        else:
            super()._tell(node_id, message)

    def _push(self, node_id: int, message: dict[str, Any]) -> None:
        """The taker is through, and who gives hasn't said that it is."""
        self.has[1] = "new"
        self._say(1, self._receiving.pop(1))
        self.pushed = message["n"]

    def let(self, do: str) -> None:
        """What is kept back is done."""
        kind, node_id, message = self.kept.pop()
        assert kind == do
        super()._tell(node_id, message)
        self.listen()

    def listen(self) -> None:
        """To all that is said; nobody looks at who is silent."""
        while self.step():
            pass

    def scanning(self) -> None:
        """The source takes long to be read."""
        self.run()
        wait(self, SILENT_S + 10.0)
        self.let("read")

    def checking(self) -> None:
        """The giver takes long to say that it is through."""
        self.run()
        self.let("read")
        self.let("scan")
        wait(self, SILENT_S + 10.0)
        self._say(ROOT_ID, self.pushed, sent=SIZE)
        self.listen()


@pytest.mark.parametrize("step", [Step.SCANNING, Step.CHECKING])
def test_with_a_question_a_silence_begins(step: Step) -> None:
    it = Slow()
    it.scanning() if step is Step.SCANNING else it.checking()
    assert it.sync._targets[1].step is step
    for _ in range(int(SILENT_S) - 2):
        it.t += 1.0
        it._carry_out(it.sync.tick(it.t))
    assert not it.judged
    wait(it, SILENT_S)
    assert "has said nothing" in it.judged[1].reason


def comparing() -> tuple[Workers, int, list[int]]:
    """Of three hosts that have the same one is asked what differs, and doesn't say; and what it was asked."""
    it = Workers(tree([0, 0, 0]), {}, method=Method.RSYNC)
    compare, asked = it._compare, list[tuple[int, int]]()
    it._compare = lambda node_id, message: (  # type: ignore[method-assign]
        compare(node_id, message)
        if asked and asked[0][0] != node_id
        else asked.append((node_id, message["n"]))
    )
    it.run()
    assert not it.judged
    return it, asked[0][0], [number for _, number in asked]


def well_but(it: Workers, node: int) -> None:
    """All others are."""
    assert {other for other, judged in it.judged.items() if judged.verdict is Verdict.OK} == {1, 2, 3} - {
        node
    }


def test_one_that_never_says_what_differs_is_given_up_and_another_one_asked() -> None:
    it, node, asked = comparing()
    assert len(asked) == 1
    wait(it, SILENT_S + 40.0)
    assert "has said nothing" in it.judged[node].reason
    well_but(it, node)


def test_those_that_wait_for_it_have_nothing_to_say() -> None:
    it, node, (number,) = comparing()
    while not it.judged:
        it._say(node, number, alive=True, done=7, more=True)
        wait(it, 20.0)
    assert "doesn't get on" in it.judged[node].reason
    well_but(it, node)


def test_one_is_asked_what_differs_while_others_still_look() -> None:
    it = Workers(tree([0, 0, 0]), {}, method=Method.RSYNC)
    scan, compare, asked = it._scan, it._compare, list[int]()
    it._scan = lambda node_id, message: None if node_id == 3 else scan(node_id, message)  # type: ignore[method-assign]

    def comparing(node_id: int, message: dict[str, Any]) -> None:
        asked.append(node_id)
        compare(node_id, message)

    it._compare = comparing  # type: ignore[method-assign]
    it.run()
    assert len(asked) == 1  # the other that has the same needn't say it as well
    assert [target.step for target in it.sync._targets.values()] == [
        Step.DIFFERS,
        Step.DIFFERS,
        Step.SCANNING,
    ]


def test_a_long_manifest_has_its_time_to_come() -> None:
    it = Workers(tree([0]), {}, method=Method.RSYNC)
    chunk = bytes(SLOW_LINK * 100 // AT_ONE_TIME)
    it._pack = lambda node_id, message: it._say(node_id, message["n"], chunk=chunk)  # type: ignore[method-assign]
    it._source = it._compare = lambda *_: None  # type: ignore[method-assign]
    it.run()
    wait(it, SILENT_S + 80.0)
    assert not it.judged
    wait(it, 60.0)
    assert "has said nothing" in it.judged[1].reason


def test_who_is_out_of_reach_can_say_nothing_and_is_judged_once_it_is_back() -> None:
    it = Looking(Step.SCANNING)
    it.run()
    it.tree[1].contact = Contact.WAITING
    wait(it, 2 * STILL_S)
    assert not it.judged
    it.tree[1].contact = Contact.UP
    wait(it, SILENT_S - 20.0)
    assert not it.judged
    wait(it, 40.0)
    assert "has said nothing" in it.judged[1].reason


def test_a_root_that_was_kept_from_its_work_judges_nobody_for_that() -> None:
    it = Looking(Step.SCANNING)
    it.run()
    judged: list[str] = []

    def judge(host: Host, judgement: Judgement, t: float) -> list[Action]:
        judged.append(judgement.reason)
        return []

    work = Work(lambda _: it.sync, None, it.tree, lambda *_: Finish(), judge)
    t = 0.0
    for _ in range(int(it.t) + 20):
        work.tick(t := t + 1.0)
    work.tick(t := t + 10 * STILL_S)
    assert judged == []
    for _ in range(int(SILENT_S)):
        work.tick(t := t + 1.0)
    assert "has said nothing" in judged[0]
