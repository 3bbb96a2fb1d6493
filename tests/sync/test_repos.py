"""Several repositories in one run: turns, verdicts, and who says what for which of them."""

from __future__ import annotations

from typing import Any

import pytest

from nile.cascade import Vouch
from nile.cascade.hosts import Contact
from nile.cascade.tree import Tree
from nile.cascade.verdicts import Judgement
from nile.cascade.work import Neighbours, Reach
from nile.events import Asked, Code, HostOutput, Notice, Verdict
from nile.sync import Ask, Method, Paths, Purpose, Repos
from nile.sync.repos import _all_of
from nile.topology.model import ROOT_ID
from tests.simulation.trees import tree
from tests.sync.simulated import Message, Simulated
from tests.sync.workers import Workers

TWO_STAGES = [0, 0, 1, 1, 2, 2]
NEIGHBOURS = Neighbours(lambda _, taker: f"h{taker}", lambda _, taker: {"to": taker})


class Several(Simulated):
    """Workers of several repositories (of tests.sync.workers, one for each), behind one job."""

    TICKS = 30

    def __init__(self, plan: Any, repositories: list[dict[str, Any]], seed: int = 0) -> None:
        super().__init__(Tree(plan, {}), seed)
        self.parts: list[Workers] = []
        shares = []
        for number, each in enumerate(repositories):
            options = {"dest": f"/dst{number}".encode(), "method": Method.RSYNC, **each}
            names = options.pop("names", frozenset(host.name for host in self.tree.hosts.values()))
            part = Workers(plan, options.pop("had", {}), seed, **options)
            part.tree = self.tree
            self.parts.append(part)
            shares.append((part.options, names))
        self.job = Repos(shares, "run", self.tree, Paths(NEIGHBOURS), lambda: b"s" * 32, lambda: b"PEM")
        for part, turn in zip(self.parts, self.job._turns, strict=True):
            part.sync = turn.sync
        self.dropped: list[tuple[int, int]] = []

    def step(self) -> bool:
        full = [(n, node) for n, part in enumerate(self.parts) for node, q in part._queues.items() if q]
        if not full:
            return False
        number, node = self._random.choice(full)
        message = self.parts[number]._queues[node].popleft()
        if "agent" not in message:
            message["repo"] = number
        message.pop("agent", None)
        self.t += 0.01
        self._carry_out(self.job.heard(node, message, self.t))
        return True

    def _reach(self, errand: Reach) -> None:
        part = self.parts[errand.number % len(self.parts)]
        part._say(errand.giver, errand.number, port=errand.port + 1000, agent=True)

    def _vouch(self, errand: Vouch) -> None:
        part = self.parts[errand.number % len(self.parts)]
        part.vouched.append(errand)
        part._say(ROOT_ID, errand.number, answer=b"signed", refused="", spent=0, agent=True)

    def _tell(self, node: int, message: Message) -> None:
        repo = message["repo"]
        part = self.parts[repo]
        if message["do"] == "drop":
            self.dropped.append((repo, node))
            part._queues[node].clear()
            part._dead.add(node)
        elif node not in part._dead:
            assert not any(part.wrote for part in self.parts[repo + 1 :]), "it isn't its turn"
            part._tell(node, {key: value for key, value in message.items() if key != "repo"})

    def _end(self, node: int) -> None:
        for part in self.parts:
            part._dead.add(node)
            part._queues[node].clear()
        super()._end(node)

    def lose(self, node: int) -> None:
        self.judged[node] = Judgement(Verdict.LOST)
        self.tree[node].contact = Contact.NONE
        for child in list(self.tree[node].children):  # the tree heals
            self.tree.move(self.tree[child], ROOT_ID)
        self._end(node)


def texts(it: Several, kind: type[Notice] | type[Asked]) -> list[str]:
    return [event.text for event in it.published if isinstance(event, kind)]


@pytest.mark.parametrize("seed", range(20))
def test_each_has_its_turn_and_every_host_gets_all(seed: int) -> None:
    it = Several(tree(TWO_STAGES), [{}, {"had": {1: "new"}}, {}], seed)
    it.run()
    assert {node: judged.verdict for node, judged in it.judged.items()} == dict.fromkeys(
        range(1, 7), Verdict.OK
    )
    assert [sorted(part.copies) for part in it.parts] == [
        [(0, 1), (0, 2), (1, 3), (1, 4), (2, 5), (2, 6)],
        [(0, 2), (1, 3), (1, 4), (2, 5), (2, 6)],
        [(0, 1), (0, 2), (1, 3), (1, 4), (2, 5), (2, 6)],
    ]
    assert [repo for repo, node in it.dropped if node == ROOT_ID] == [0, 1, 2]
    assert [text.split(":")[0] for text in texts(it, Notice)] == ["/dst0", "/dst1", "/dst2"]


def test_what_is_known_of_the_ways_holds_for_all_of_them() -> None:
    """Where hosts reach each other through ssh only, the root signs for each, and ports are tried once."""
    it = Several(tree([0] * 4), [{"method": Method.STREAM}] * 3)
    for part in it.parts:
        part.chain.blocked = {(giver, taker) for giver in range(5) for taker in range(5)}
    it.run()
    assert {judged.verdict for judged in it.judged.values()} == {Verdict.OK}
    for part in it.parts:
        assert sorted(part.chain.by_ssh) == [(0, 1), (1, 2), (2, 3), (3, 4)]
        assert sorted(each.taker for each in part.vouched) == [2, 3, 4]
        tried = [by_ssh for _, _, by_ssh in part.chain.tried]
        assert tried.count(False) == (4 if part is it.parts[0] else 0)


def test_a_host_gets_only_what_is_for_it() -> None:
    plan = tree([0, 0, 0])
    names = {host.id: host.name for host in Tree(plan, {}).hosts.values()}
    it = Several(plan, [{"names": {names[1], names[2]}}, {"names": {names[2], names[3]}}])
    it.run()
    assert {judged.verdict for judged in it.judged.values()} == {Verdict.OK}
    assert len(it.judged) == 3
    assert [sorted(part.copies) for part in it.parts] == [[(0, 1), (0, 2)], [(0, 2), (0, 3)]]


def test_a_host_is_ok_only_if_all_of_its_repositories_are() -> None:
    it = Several(tree([0, 0]), [{}, {}, {}])
    it.parts[0].refuses = {1: {"code": "not-writable", "reason": "no right"}}
    it.parts[2].refuses = {1: {"code": "destination", "reason": "a file"}}
    it.run()
    assert it.judged[2].verdict is Verdict.OK
    assert (it.judged[1].verdict, it.judged[1].code) == (Verdict.FAILED, Code.NOT_WRITABLE)
    assert it.judged[1].reason == "/dst0: no right (and 1 more of 3 repositories)"
    assert it.parts[1].has[1] == "new"


@pytest.mark.parametrize("seed", range(10))
def test_a_host_that_is_lost_costs_nobody_else_in_any_of_them(seed: int) -> None:
    it = Several(tree(TWO_STAGES), [{}, {}], seed)
    it.begin()
    while not it.parts[0].copies:
        it.step()
    it.lose(1)
    it.go_on()
    assert {node for node, judged in it.judged.items() if judged.verdict is not Verdict.OK} == {1}
    for part in it.parts:
        assert {part.has[node] for node in range(2, 7)} == {"new"}
    assert not any(taker == 1 for _, taker in it.parts[1].copies)


def test_one_that_comes_late_gets_all_of_them() -> None:
    it = Several(tree([0, 0]), [{}, {}])
    it._carry_out(it.job.begin(0.0))
    it._carry_out(it.job.started(1, 0.0))
    it.go_on()
    assert not it.parts[0].copies
    it._carry_out(it.job.started(2, it.t))
    it.go_on()
    assert {judged.verdict for judged in it.judged.values()} == {Verdict.OK}


def test_a_source_that_can_not_be_read_is_the_failure_of_its_repository_alone() -> None:
    it = Several(tree([0, 0]), [{}, {}])
    it.parts[0].source = {"code": "source", "reason": "gone", "remedy": ""}
    it.run()
    assert {judged.reason for judged in it.judged.values()} == {"/dst0: gone"}
    assert {part.has[1] for part in it.parts[1:]} == {"new"}


def test_a_root_that_is_lost_ends_all() -> None:
    it = Several(tree([0, 0]), [{}, {}])
    it._carry_out(it.job.begin(0.0))
    it._carry_out(it.job.started(1, 0.0))
    it._carry_out(it.job.root_lost("killed", 0.0))
    it._carry_out(it.job.started(2, 0.0))
    assert {judged.code for judged in it.judged.values()} == {Code.SOURCE}
    assert len(it.judged) == 2


def test_what_differs_is_shown_under_the_name_of_its_repository() -> None:
    it = Several(tree([0]), [{"purpose": Purpose.VERIFY}, {"purpose": Purpose.VERIFY}])
    it.run()
    shown = [event for event in it.published if isinstance(event, HostOutput)]
    assert [event.data.splitlines()[0] for event in shown] == [b"/dst0:", b"/dst1:"]
    assert [event.offset for event in shown] == [0, len(shown[0].data)]
    assert it.judged[1].reason == ("/dst0: its copy differs from the source (and 1 more of 2 repositories)")


def test_the_user_is_asked_for_each() -> None:
    it = Several(tree([0]), [{"delete": True, "ask": Ask.USER}, {"delete": True, "ask": Ask.USER}])
    for part in it.parts:
        part.extra[1] = 5000
    it.run()
    assert [text.split(":")[0] for text in texts(it, Asked)] == ["/dst0"]
    it._carry_out(it.job.answered(False, it.t))
    it.go_on()
    assert [text.split(":")[0] for text in texts(it, Asked)] == ["/dst0", "/dst1"]
    it._carry_out(it.job.answered(True, it.t))
    it.go_on()
    assert it.judged[1].verdict is Verdict.CANCELLED
    assert (it.parts[0].has[1], it.parts[1].has[1]) == ("old", "new")


@pytest.mark.parametrize("seed", range(5))
def test_a_yes_to_one_begins_nothing_in_the_next(seed: int) -> None:
    """The host that was asked about is gone when the answer comes, and the next one has its turn."""
    plan = tree([0, 0])
    names = {host.id: host.name for host in Tree(plan, {}).hosts.values()}
    asks = {"delete": True, "ask": Ask.USER}
    it = Several(plan, [{"names": {names[1]}, **asks}, {"names": {names[2]}, **asks}], seed)
    for part in it.parts:
        part.extra.update({1: 5000, 2: 5000})
    it.run()
    it.lose(1)
    while not texts(it, Asked)[1:]:
        it._carry_out(it.job.answered(True, it.t))
        assert it.step(), "it isn't asked about the next one"
    it.go_on()
    assert [text.split(":")[0] for text in texts(it, Asked)] == ["/dst0", "/dst1"]
    assert not it.parts[1].copies
    it._carry_out(it.job.answered(True, it.t))
    it._carry_out(it.job.answered(False, it.t))
    it.go_on()
    assert it.parts[1].has[2] == "new"


def test_a_worker_that_breaks_the_rules_is_of_no_use_for_any() -> None:
    it = Several(tree([0, 0]), [{}, {}])
    it._carry_out(it.job.begin(0.0))
    for node in (1, 2):
        it._carry_out(it.job.started(node, 0.0))
    with pytest.raises((TypeError, ValueError)):
        it._carry_out(it.job.heard(1, {"n": 1, "repo": "x"}, 0.0))
    it._carry_out(it.job.lied(1, "nonsense", 0.0))
    it.go_on()
    assert (it.judged[1].code, it.judged[2].verdict) == (Code.AGENT, Verdict.OK)


def test_by_what_a_host_got_its_files_is_told_of_all_of_them() -> None:
    judged = [("a", "libtorrent 2.1.1"), ("b", ""), ("c", "rsync"), ("d", "libtorrent 2.1.1")]
    found = _all_of([(name, Judgement(Verdict.OK, peer=peer)) for name, peer in judged])
    assert found == Judgement(Verdict.OK, peer="libtorrent 2.1.1; rsync")
