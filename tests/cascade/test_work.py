"""What is said to workers arrives in order and once, whatever becomes of links; their words are checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from nile.agent import wire
from nile.agent.core import Core
from nile.agent.wire import Frame
from nile.cascade import (
    Cascade,
    CascadeOptions,
    Errand,
    PasswordGiven,
    Publish,
    RootSaid,
    Secret,
    Send,
    Started,
    Tell,
    TellRoot,
    Vouch,
    Vouched,
    Worker,
)
from nile.cascade.actions import Action
from nile.cascade.inputs import Answered, FrameReceived, Interrupted, Recorded, RootWorkerEnded, Slept, Ticked
from nile.cascade.tree import Tree
from nile.cascade.verdicts import Judgement
from nile.cascade.work import WINDOW, Judge, NoJob
from nile.events import Asked, HostResult, Notice, Verdict
from nile.options import ExecOptions, Outfit
from tests.simulation.trees import tree
from tests.support.plans import make_plan

PROGRAM = b"program"


class Job(NoJob):
    """Notes what it is told, and has errands that a test gave it."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.errands: list[Errand] = []

    def _note(self, what: str, *told: Any) -> Iterable[Errand]:
        self.told.append((what, *told))
        errands, self.errands = self.errands, []
        return errands

    def started(self, node_id: int, t: float) -> Iterable[Errand]:  # type: ignore[override]
        return self._note("started", node_id)

    def heard(self, node_id: int, message: dict[str, Any], t: float) -> Iterable[Errand]:  # type: ignore[override]
        if message.get("say") == "nonsense":
            raise ValueError("nonsense")
        return self._note("heard", node_id, message)

    def lied(self, node_id: int, reason: str, t: float) -> Iterable[Errand]:  # type: ignore[override]
        return self._note("lied", node_id, reason)

    def over(self, node_id: int, t: float) -> Iterable[Errand]:  # type: ignore[override]
        return self._note("over", node_id)

    def interrupted(self, t: float) -> Iterable[Errand]:  # type: ignore[override]
        return self._note("interrupted")

    def root_lost(self, reason: str, t: float) -> Iterable[Errand]:  # type: ignore[override]
        return self._note("root lost", reason)

    def answered(self, yes: bool, t: float) -> Iterable[Errand]:  # type: ignore[override]
        return self._note("answered", yes)


class Run:
    """A run of two hosts, the second below the first, whose job does what a test says."""

    def __init__(self, job: Callable[[], Job] = Job, outfit: Outfit = Outfit()) -> None:  # noqa: B008
        self.job = job()
        plan = tree([0, 1])
        names = tuple(node.host for node in plan.nodes)
        options = CascadeOptions(
            "run",
            ExecOptions("copy", outfit=outfit),
            {name: {"host": name} for name in names},
            names,
            0.0,
            worker=Worker("exec python", PROGRAM),
            job=self._make,
        )
        self.cascade = Cascade(plan, options)
        self.cascade.apply(Started(), 0.0)
        self._offset = {1: 0, 2: 0}

    def _make(self, hosts: Tree) -> Job:
        return self.job

    def say(self, kind: int, origin: int, body: Any, epoch: int = 1) -> list[Action]:
        return self.cascade.apply(FrameReceived(Frame(kind, origin, epoch, (), wire.dumps(body))), 1.0)

    def begin(self, node_id: int) -> None:
        self.say(wire.HELLO, node_id, {})
        self.say(wire.STARTED, node_id, {"pid": 7})

    def words(self, node_id: int, data: bytes) -> list[Action]:
        """A worker says so many bytes."""
        body = wire.pack_output(0, self._offset[node_id], data)
        self._offset[node_id] += len(data)
        return self.cascade.apply(FrameReceived(Frame(wire.OUTPUT, node_id, 1, (), body)), 1.0)

    def tell(self, *errands: Errand) -> list[Action]:
        """Have the job do this, on the occasion of something that the root's worker says."""
        self.job.errands = list(errands)
        return self.cascade.apply(RootSaid(message({"x": 1})), 1.0)


def message(value: object) -> bytes:
    body = wire.dumps(value)
    return len(body).to_bytes(4, "big") + body


def told(actions: list[Action]) -> list[tuple[tuple[int, ...], int, bytes]]:
    """What is on its way to workers: (path, offset, bytes)."""
    frames = [
        action.frame for action in actions if isinstance(action, Send) and action.frame.type == wire.TELL
    ]
    return [(frame.path, int.from_bytes(frame.body[:8], "big"), frame.body[8:]) for frame in frames]


def test_a_message_takes_the_way_to_its_host() -> None:
    run = Run()
    run.begin(1)
    run.begin(2)
    assert told(run.tell(Tell(2, {"do": "it"}))) == [((1, 2), 0, message({"do": "it"}))]


def test_one_for_the_root_goes_to_the_roots_own() -> None:
    assert TellRoot(message({"do": "it"})) in Run().tell(Tell(0, {"do": "it"}))


def test_what_a_worker_says_is_put_together_and_acknowledged() -> None:
    run = Run()
    run.begin(1)
    data = message({"a": 1}) + message({"b": 2})
    actions = [action for at in range(0, len(data), 3) for action in run.words(1, data[at : at + 3])]
    assert run.job.told == [("started", 1), ("heard", 1, {"a": 1}), ("heard", 1, {"b": 2})]
    acked = [
        action.frame.fields()
        for action in actions
        if isinstance(action, Send) and action.frame.type == wire.ACK
    ]
    assert acked[-1]["stdout"] == len(data)


@pytest.mark.parametrize(
    "data", [message([1]), message({"say": "nonsense"}), b"\xff\xff\xff\xff", b"\0\0\0\1?"], ids=repr
)
def test_one_that_talks_nonsense_is_told_of(data: bytes) -> None:
    run = Run()
    run.begin(1)
    run.words(1, data)
    assert run.job.told[-1][:2] == ("lied", 1)


def test_the_end_of_the_roots_worker_is_told_of() -> None:
    run = Run()
    run.cascade.apply(RootWorkerEnded("killed"), 1.0)
    assert run.job.told == [("root lost", "killed")]


def test_it_hears_that_the_run_is_to_end_before_the_hosts_do() -> None:
    run = Run()
    run.begin(1)
    run.job.errands = [Tell(1, {"do": "it"})]
    actions = run.cascade.apply(Interrupted(5.0), 1.0)
    kinds = [action.frame.type for action in actions if isinstance(action, Send)]
    assert run.job.told[-1] == ("interrupted",)
    assert kinds == [wire.TELL, wire.CANCEL]


def test_it_hears_of_its_decision_from_the_store() -> None:
    run = Run()
    run.cascade.apply(Recorded(7), 1.0)
    run.cascade.apply(Recorded(8, kept=False), 1.0)
    (first, second) = [message for what, node_id, message in run.job.told if what == "heard"]
    assert first == {"number": 7, "n": 7}
    assert (second["n"], second["code"]) == (8, "store")


def test_a_signature_is_decided_on_by_the_root_and_told_as_by_its_worker() -> None:
    run = Run()
    asked = Vouch(7, 2, (b"bind",), b"request", 1)
    assert asked in run.tell(asked)
    noted = run.cascade.apply(Vouched(7, b"signed", "an old ssh", "", 1), 1.0)
    run.cascade.apply(Vouched(8, b"refusal", refused="no"), 1.0)
    assert [action.event for action in noted if isinstance(action, Publish)] == [Notice("an old ssh")]
    first, second = [told[1:] for told in run.job.told if "answer" in told[2]]
    assert first == (0, {"n": 7, "number": 7, "answer": b"signed", "refused": "", "spent": 1})
    assert second == (0, {"n": 8, "number": 8, "answer": b"refusal", "refused": "no", "spent": 0})


def test_an_answer_counts_once_and_for_the_last_question_only() -> None:
    run = Run()
    asked = [event for number in range(2) for event in run.tell(Publish(Asked(f"shall I, {number}")))]
    assert [action.event for action in asked if isinstance(action, Publish)] == [
        Asked("shall I, 0", 1),
        Asked("shall I, 1", 2),
    ]
    for number, yes in ((1, True), (0, True), (3, True), (2, False), (2, True)):
        run.cascade.apply(Answered(number, yes), 1.0)
    assert [told for told in run.job.told if told[0] == "answered"] == [("answered", False)]


def test_the_jobs_word_is_the_verdict_and_ends_the_agent_once_it_is_recorded() -> None:
    run = Run()
    run.begin(1)
    actions = run.tell(Judge(1, Judgement(Verdict.FAILED, reason="so")))
    (result,) = [action.event for action in actions if isinstance(action, Publish)]
    assert isinstance(result, HostResult)
    assert (result.host, result.verdict, result.reason) == ("h0001", Verdict.FAILED, "so")
    assert ("over", 1) in run.job.told


def test_no_more_is_on_its_way_than_the_window_holds() -> None:
    run = Run()
    run.begin(1)
    sent = told(run.tell(Tell(1, {"x": b"y" * (2 * WINDOW)})))
    assert sum(len(data) for _, _, data in sent) <= WINDOW
    taken = sent[0][1] + len(sent[0][2])
    (more,) = told(run.say(wire.TAKEN, 1, taken + len(PROGRAM)))
    assert more[1] == sent[-1][1] + len(sent[-1][2])


def test_what_an_agent_did_not_get_is_said_again_once_it_is_back() -> None:
    """The agent itself, and links that lose what is on them: all arrives, once and in order."""
    run = Run()
    agent = Core(0.0, 30.0)
    agent.frame(make_plan(id=1, epoch=1), 0.0)
    agent.claimed("none", 0.0)
    agent.spawned(7)
    run.begin(1)
    values = [{"n": n, "fill": bytes(5000)} for n in range(40)]
    got = b""

    def deliver(actions: list[Action], epoch: int, keep: int) -> bytes:
        data = b""
        for path, offset, chunk in told(actions)[:keep]:
            assert path == (1,)
            effects = agent.frame(Frame(wire.TELL, 0, epoch, (), offset.to_bytes(8, "big") + chunk), 0.0)
            data += b"".join(effect[1] for effect in effects if effect[0] == "input")
        return data

    got += deliver(run.tell(*(Tell(1, value) for value in values)), 1, keep=7)
    run.cascade.apply(
        FrameReceived(
            Frame(wire.LOST, 0, 0, (), wire.dumps({"child": 1, "epoch": 1, "code": "link", "reason": "cut"}))
        ),
        2.0,
    )
    agent.input_taken(len(got) + len(PROGRAM))  # and the word of that got lost as well
    agent.epoch = 2
    run.say(wire.HELLO, 1, {}, epoch=2)
    state = {"trace": "alive", "held": False, "children": [], "ask": 0}
    actions = run.say(wire.STATE, 1, state, epoch=2)
    got += deliver(actions, 2, keep=100)
    while len(got) < sum(len(message(value)) for value in values):
        before = len(got)
        (_, frame) = agent.input_taken(len(got) + len(PROGRAM))[0]
        got += deliver(run.say(wire.TAKEN, 1, frame.value(), epoch=2), 2, keep=100)
        assert len(got) > before
    assert got == b"".join(message(value) for value in values)


BY_SUDO = Outfit(sudo="root")
ASKS = {"pid": 0, "asks": True}


def test_where_sudo_asks_a_worker_is_told_nothing_before_it_runs() -> None:
    """sudo reads what its agent is told until then."""
    run = Run(outfit=BY_SUDO)
    run.say(wire.HELLO, 1, {})
    run.say(wire.STARTED, 1, {"pid": 0})
    assert told(run.tell(Tell(1, {"do": "it"}))) == []
    run.say(wire.STARTED, 1, ASKS)
    run.job.errands = [Tell(1, {"do": "that"})]
    assert told(run.cascade.apply(PasswordGiven(Secret("wor")), 1.0)) == [((1,), 0, b"+wor")]
    assert told(run.tell(Tell(1, {"do": "that"}))) == []
    begun = told(run.say(wire.STARTED, 1, {"pid": 7}))
    assert b"".join(data for _, _, data in begun) == message({"do": "it"}) + message({"do": "that"})
    assert begun[0][1] == len(b"+wor")


@pytest.mark.parametrize("asks", [True, False])
def test_an_agent_takes_all_that_its_worker_is_told_behind_an_answer_for_sudo(asks: bool) -> None:
    """The answer is said twice, since its link broke in between, and counts once."""
    run, agent, got = Run(outfit=BY_SUDO), Core(0.0, 30.0), b""
    agent.frame(make_plan(id=1, epoch=1), 0.0)
    agent.claimed("none", 0.0)
    agent.spawned(7)
    run.say(wire.HELLO, 1, {})
    run.say(wire.STARTED, 1, ASKS if asks else {"pid": 0})
    actions = [*run.cascade.apply(PasswordGiven(Secret("wor")), 1.0)]
    if asks:
        actions += run.say(wire.STARTED, 1, ASKS)
        assert [data for _, _, data in told(actions)] == [b"+wor"] * 2
    actions += run.say(wire.STARTED, 1, {"pid": 7}) + run.tell(Tell(1, {"n": 1}), Tell(1, {"n": 2}))
    for _, offset, data in told(actions):
        frame = Frame(wire.TELL, 0, 1, (), offset.to_bytes(8, "big") + data)
        got += b"".join(effect[1] for effect in agent.frame(frame, 0.0))
    assert got == b"+wor" * asks + message({"n": 1}) + message({"n": 2})


def test_an_agent_says_anew_how_much_its_command_read() -> None:
    agent = Core(0.0, 30.0)
    agent.frame(make_plan(id=1, epoch=1), 0.0)
    agent.claimed("none", 0.0)
    agent.spawned(7)
    agent.input_taken(123)
    effects = agent.frame(Frame(wire.RESUME, 0, 1, (), wire.dumps({"stdout": 0, "stderr": 0, "ask": 3})), 0.0)
    said = [effect[1] for effect in effects if effect[0] == "up" and effect[1].type == wire.TAKEN]
    assert [frame.value() for frame in said] == [123]


class Timed(Job):
    """Notes when it hears anything, and what it missed."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []
        self.missed_s: list[float] = []

    def heard(self, node_id: int, message: dict[str, Any], t: float) -> Iterable[Errand]:  # type: ignore[override]
        self.times.append(t)
        return super().heard(node_id, message, t)

    def tick(self, t: float) -> Iterable[Errand]:  # type: ignore[override]
        self.times.append(t)
        return ()

    def missed(self, seconds: float) -> None:
        self.missed_s.append(seconds)


def test_a_jobs_time_leaves_out_what_the_root_was_kept_from() -> None:
    """Whatever comes first afterwards: nobody could be heard meanwhile."""
    run = Run(Timed)
    job = run.job
    assert isinstance(job, Timed)
    for second in (1.0, 2.0, 3.0):
        run.cascade.apply(Ticked(True), second)
    run.cascade.apply(RootSaid(message({"x": 1})), 1003.5)
    for second in (1004.0, 1005.0, 2005.0):
        run.cascade.apply(Ticked(True), second)
    assert job.times == [1.0, 2.0, 3.0, 3.0, 3.5, 4.5, 4.5]
    assert job.missed_s == [1000.5, 1000.0]


def test_a_job_hears_that_the_machine_was_suspended() -> None:
    """Its clock stood still then, and those of hosts didn't."""
    run = Run(Timed)
    job = run.job
    assert isinstance(job, Timed)
    run.cascade.apply(Ticked(True), 1.0)
    assert run.cascade.apply(Slept(90.0), 1.5) == []
    run.cascade.apply(Ticked(True), 2.0)
    assert (job.times, job.missed_s) == ([1.0, 2.0], [90.0])


def test_but_verdicts_have_the_time_of_the_run() -> None:
    run = Run(Timed)
    run.begin(1)
    run.cascade.apply(Ticked(True), 500.0)
    run.job.errands = [Judge(1, Judgement(Verdict.OK))]
    actions = run.cascade.apply(RootSaid(message({"x": 1})), 501.0)
    (result,) = [
        action.event
        for action in actions
        if isinstance(action, Publish) and isinstance(action.event, HostResult)
    ]
    assert result.t_end_s == 501.0
