"""Nodes that lie: what they send is dropped and reported, and no other host's verdict changes."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

import pytest

from nile.agent import wire
from nile.agent.wire import Frame
from nile.events import Code, HostOutput, HostStarted, Notice, Verdict
from nile.options import ExecOptions, Timeouts
from nile.simulation.agent import SimAgent
from nile.simulation.cluster import Cluster, Setup
from nile.simulation.commands import Script, Sleep, Write
from nile.simulation.faults import strike_below
from tests.simulation.checks import violations
from tests.simulation.trees import tree

# 1 -> 3, 5, 7; 2 -> 4, 6, 8; 3 -> 9, 10
PARENTS = [0, 0, 1, 2, 1, 2, 1, 2, 3, 3]
LEAF, RELAY, ABOVE, BROTHER, COUSIN = 5, 3, 1, 7, 4
BELOW = 9

Attack = Callable[[SimAgent], None]


def script(name: str, _: random.Random) -> Script:
    yield Write("stdout", f"{name} begins\n".encode())
    yield Sleep(3.0)
    yield Write("stdout", f"{name} ends\n".encode())
    return 0


def say(
    kind: int, origin: int | None = None, body: object = None, epoch: int = 1, raw: bytes = b""
) -> Attack:
    """Send a frame: by default of its own, with a value as its body."""

    def attack(agent: SimAgent) -> None:
        own = agent.core.id
        content = raw or (wire.dumps(body) if body is not None else b"")
        agent.up(Frame(kind, own if origin is None else origin, epoch, (), content))

    return attack


def raw(data: bytes) -> Attack:
    """Send bytes as they are."""
    return lambda agent: agent._connection.up.write(data)


def run_with(node: int, *attacks: Attack, at: float = 1.5, fanout: int | None = None) -> Cluster:
    """A run in which a node attacks; whatever becomes of it and of what is below is its own affair."""
    run = Cluster(Setup(tree(PARENTS), ExecOptions("a command", fanout), script, 3))

    def go() -> None:
        agent = run.hosts[node].agent
        assert agent is not None
        for attack in attacks:
            attack(agent)

    strike_below(run, run.hosts[node])
    run.at(at, go)
    run.run()
    return run


def innocent(run: Cluster) -> None:
    """Every host that isn't the liar, or below it, ran as if nothing were."""
    assert run.root.finished
    for host in run.hosts.values():
        if not host.struck:
            assert run.verdicts()[host.name] is Verdict.OK, host.name
    assert [text for text in violations(run) if not _of_struck(run, text)] == []


def _of_struck(run: Cluster, text: str) -> bool:
    return any(text.startswith(host.name) for host in run.hosts.values() if host.struck)


def notices(run: Cluster) -> list[str]:
    return [event.text for event in run.events if isinstance(event, Notice)]


RESULT: dict[str, object] = {
    "rc": 7,
    "signal": None,
    "cause": None,
    "error": None,
    "left": [],
    "stdout": 0,
    "stderr": 0,
}
UPWARD = [wire.HELLO, wire.STARTED, wire.OUTPUT, wire.RESULT, wire.TAKEN]


class TestForeignOrigins:
    @pytest.mark.parametrize("liar", [LEAF, RELAY])
    @pytest.mark.parametrize("kind", UPWARD)
    @pytest.mark.parametrize("origin", [ABOVE, BROTHER, COUSIN, 2**32 - 1])
    def test_frames_for_others(self, liar: int, kind: int, origin: int) -> None:
        body = wire.pack_output(0, 0, b"forged") if kind == wire.OUTPUT else wire.dumps(RESULT)
        run = run_with(liar, say(kind, origin, raw=body))
        innocent(run)
        assert run.verdicts()[f"h{liar:04}"] is Verdict.OK
        assert any("may not speak for node" in text for text in notices(run))

    @pytest.mark.parametrize("kind", [wire.LOGIN, wire.FAILED, wire.LOST, wire.SIGN])
    @pytest.mark.parametrize("child", [ABOVE, RELAY, BROTHER, COUSIN, 99, "x", None, [], 1.5])
    def test_talk_about_hosts_that_are_no_children(self, kind: int, child: object) -> None:
        body = {
            "child": child,
            "epoch": 1,
            "code": "refused",
            "reason": "forged",
            "binds": [],
            "request": b"",
        }
        run = run_with(RELAY, say(kind, body=body))
        innocent(run)
        assert run.verdicts()[f"h{RELAY:04}"] is Verdict.OK
        assert any("a frame was dropped" in text for text in notices(run))

    def test_a_link_that_a_relay_says_is_lost_is_made_anew(self) -> None:
        body = {"child": BELOW, "epoch": 1, "code": "link", "reason": "gone\x1b[2J"}
        run = run_with(RELAY, say(wire.LOST, body=body))
        innocent(run)
        assert run.verdicts()[f"h{BELOW:04}"] is Verdict.OK
        assert run.hosts[BELOW].claims.starts == 1
        assert run.hosts[BELOW].claims.agents == 2

    def test_a_relay_may_only_harm_what_is_below_it(self) -> None:
        def attack(agent: SimAgent) -> None:
            for epoch in range(1, 60):
                body = {"child": BELOW, "epoch": epoch, "code": "host-key-changed", "reason": "a lie"}
                agent.clock.after(0.1 * epoch, say(wire.LOST, body=body), agent)
                agent.clock.after(0.1 * epoch, say(wire.FAILED, body=body), agent)

        run = run_with(RELAY, attack)
        innocent(run)

    @pytest.mark.parametrize("kind", sorted(wire.DOWN_TYPES - wire.UP_TYPES))
    def test_what_goes_downward_never_comes_from_below(self, kind: int) -> None:
        attacks = [
            say(kind, origin, body={"grace": 0.0, "child": BROTHER, "epoch": 1}) for origin in (0, LEAF)
        ]
        innocent(run_with(LEAF, *attacks))

    def test_a_path_is_never_followed_from_below(self) -> None:
        def attack(agent: SimAgent) -> None:
            agent.up(Frame(wire.CANCEL, LEAF, 1, (BROTHER,), wire.dumps({"grace": 0.0})))
            agent.up(Frame(wire.RESULT, LEAF, 1, (BROTHER,), wire.dumps(RESULT)))

        run = run_with(LEAF, attack)
        innocent(run)
        assert run.verdicts()["h0005"] is Verdict.OK


class TestOwnLies:
    @pytest.mark.parametrize("epoch", [0, 2, 2**32 - 1])
    @pytest.mark.parametrize("kind", UPWARD)
    def test_another_epoch(self, kind: int, epoch: int) -> None:
        body = wire.pack_output(0, 0, b"forged") if kind == wire.OUTPUT else wire.dumps(RESULT)
        run = run_with(LEAF, say(kind, epoch=epoch, raw=body))
        innocent(run)
        assert run.verdicts()["h0005"] is Verdict.OK

    def test_a_result_before_the_start(self) -> None:
        run = run_with(LEAF, say(wire.RESULT, body=RESULT), at=1.0, fanout=1)
        innocent(run)
        assert run.verdicts()["h0005"] is not Verdict.FAILED
        assert any("a frame was dropped" in text for text in notices(run))

    @pytest.mark.parametrize("offset", [0, 5, 10**6, 2**64 - 1])
    def test_output_at_a_wrong_offset(self, offset: int) -> None:
        run = run_with(LEAF, say(wire.OUTPUT, raw=wire.pack_output(0, offset, b"again")))
        innocent(run)
        assert run.verdicts()["h0005"] is Verdict.OK
        assert b"again" not in _published(run, "h0005")

    @pytest.mark.parametrize("body", [b"", b"\0", b"\2" + bytes(8) + b"x"])
    def test_output_that_is_none(self, body: bytes) -> None:
        run = run_with(LEAF, say(wire.OUTPUT, raw=body))
        innocent(run)
        assert run.verdicts()["h0005"] is Verdict.OK

    def test_output_beyond_its_window(self) -> None:
        def flood(agent: SimAgent) -> None:
            for serial in range(20):
                body = wire.pack_output(1, serial * 30_000, b"." * 30_000)
                agent.link._bulk.setdefault(LEAF, []).append((Frame(wire.OUTPUT, LEAF, 1, (), body), None))
                agent.link.granted += 1 << 20
                agent.link._turns.append(LEAF) if LEAF not in agent.link._turns else None
            agent.flush()

        run = run_with(LEAF, flood)
        innocent(run)
        assert len(_published(run, "h0005", "stderr")) <= 256 * 1024 + 40_000

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"rc": "0", "signal": {}, "cause": 5, "error": None, "left": "x", "stdout": "y", "stderr": -1},
            {**RESULT, "rc": 2**62, "left": [[1, 2], [{}, [], 3], "x", None] * 500},
            {**RESULT, "error": "\x1b]0;owned\x07" * 10_000},
            {**RESULT, "rc": True, "stdout": float("nan"), "stderr": float("inf")},
        ],
    )
    def test_a_result_of_any_kind_is_its_own_affair(self, body: dict[str, object]) -> None:
        run = run_with(LEAF, say(wire.RESULT, body=body))
        innocent(run)
        assert len(run.results()["h0005"].reason) <= 500

    @pytest.mark.parametrize("value", [float("inf"), float("nan"), -1, 2**63 - 1, "9" * 100, "x", None, [1]])
    def test_input_taken_of_any_kind(self, value: object) -> None:
        run = run_with(LEAF, say(wire.TAKEN, body=value, raw=wire.dumps(value)))
        innocent(run)
        assert run.verdicts()["h0005"] is Verdict.OK

    @pytest.mark.parametrize("serial", [float("inf"), "9" * 100, -1, None])
    def test_a_request_to_sign_of_any_kind(self, serial: object) -> None:
        run = Cluster(Setup(tree(PARENTS), ExecOptions("a command"), script, 3))
        run.hosts[BELOW].login.silent = True
        strike_below(run, run.hosts[RELAY])
        body = {"child": BELOW, "epoch": 1, "serial": serial, "binds": [b"x"], "request": b"y"}
        run.at(1.5, lambda: say(wire.SIGN, body=body)(_agent(run, RELAY)))
        run.run()
        innocent(run)
        assert run.verdicts()[f"h{RELAY:04}"] is Verdict.OK

    def test_a_relay_that_was_not_asked_prints_nothing(self) -> None:
        run = Cluster(Setup(tree(PARENTS, frozenset([RELAY])), ExecOptions("a command"), script, 3))
        strike_below(run, run.hosts[RELAY])

        def attack() -> None:
            say(wire.STARTED, body={"pid": 1})(_agent(run, RELAY))
            say(wire.OUTPUT, raw=wire.pack_output(0, 0, b"forged"))(_agent(run, RELAY))
            say(wire.RESULT, body=RESULT)(_agent(run, RELAY))

        run.at(1.5, attack)
        run.run()
        innocent(run)
        about = [e for e in run.events if isinstance(e, HostOutput | HostStarted) and e.host == "h0003"]
        assert about == []

    def test_reports_without_end_are_published_once_a_child(self) -> None:
        attacks = [
            say(wire.REPORT, body={"child": BELOW, "type": serial, "origin": 1}) for serial in range(500)
        ]
        run = run_with(RELAY, *attacks)
        innocent(run)
        assert len(notices(run)) <= 5


class TestRubbish:
    @pytest.mark.parametrize("liar", [LEAF, RELAY])
    @pytest.mark.parametrize(
        "data",
        [
            b"\xff\xff\xff\xff",
            struct.pack("!IBBII", (1 << 20) + 1, wire.OUTPUT, 0, 5, 1),
            struct.pack("!I", 3),
            struct.pack("!IBBII", 10, wire.RESULT, 255, 5, 1),
            b"segmentation fault (core dumped)\n" * 10,
            random.Random(4).randbytes(5000),
        ],
    )
    def test_bytes_that_are_no_frames_end_the_link(self, liar: int, data: bytes) -> None:
        run = run_with(liar, raw(data))
        innocent(run)
        result = run.results()[f"h{liar:04}"]
        assert (result.verdict, result.code) == (Verdict.LOST, Code.AGENT)
        assert "frame" in result.reason or "path" in result.reason

    @pytest.mark.parametrize(
        "body",
        [
            b"l" + struct.pack("!I", 1) + b"l\0\0\0\1" * 100_000,
            b"l\xff\xff\xff\xff",
            b"d\0\0\0\1n",
            b"s\0\0\0\4\xff\xfe\xfd\xfc",
            b"i\0",
            b"?",
            b"",
            b"nn",
        ],
    )
    @pytest.mark.parametrize("kind", [wire.RESULT, wire.TAKEN, wire.LOST, wire.REPORT, wire.SIGN])
    def test_values_that_are_none_are_dropped(self, kind: int, body: bytes) -> None:
        frame = Frame(kind, LEAF, 1, (), body)
        run = run_with(LEAF, lambda agent: agent.up(frame))
        innocent(run)
        assert run.verdicts()["h0005"] is Verdict.OK
        assert len(notices(run)) == 1

    def test_any_frames_from_any_node(self) -> None:
        for seed in range(150):
            rng = random.Random(seed)
            liar = rng.choice([1, 2, 3, 5, 9])
            run = run_with(liar, *(_random_attack(rng) for _ in range(20)), at=1.2 + 3 * rng.random())
            innocent(run)


def _random_attack(rng: random.Random) -> Attack:
    def value(depth: int = 0) -> object:
        kind = rng.randrange(9 if depth < 2 else 7)
        if kind == 7:
            return [value(depth + 1) for _ in range(rng.randrange(4))]
        if kind == 8:
            return {rng.choice(words): value(depth + 1) for _ in range(rng.randrange(6))}
        return (None, True, rng.randrange(-3, 12), 2**60, rng.choice((1.5, float("inf"), float("nan"))),
                rng.randbytes(4), rng.choice(words))[kind]  # fmt: skip

    words = ("child", "epoch", "code", "reason", "rc", "signal", "left", "stdout", "stderr", "cause", "error",
             "serial", "binds", "request", "text", "\udcff", "refused", "cancelled")  # fmt: skip
    body: object = {word: value() for word in rng.sample(words, 8)}
    if rng.random() < 0.5:
        body = {**dict.fromkeys(words, None), **RESULT, "child": rng.randrange(12), "epoch": 1, "serial": 1}
        body = {**body, rng.choice(words): value()}
    encoded = wire.pack_output(rng.randrange(3), rng.randrange(40), b"?") if rng.random() < 0.2 else b""
    kind = rng.choice(
        [*UPWARD, wire.LOGIN, wire.FAILED, wire.LOST, wire.SIGN, wire.REPORT, rng.randrange(256)]
    )
    return say(kind, rng.choice([None, None, rng.randrange(12)]), body, rng.choice([1, 1, 0, 2]), encoded)


def _agent(run: Cluster, node: int) -> SimAgent:
    agent = run.hosts[node].agent
    assert agent is not None
    return agent


def _published(run: Cluster, name: str, stream: str = "stdout") -> bytes:
    pieces = [e for e in run.events if isinstance(e, HostOutput) and e.host == name and e.stream == stream]
    return b"".join(event.data for event in pieces)


class Mute(SimAgent):
    """Starts its command, and says no more of it."""

    def up(self, frame: Frame, left: Callable[[], None] | None = None) -> None:
        if frame.type not in (wire.OUTPUT, wire.RESULT):
            super().up(frame, left)


class Boaster(SimAgent):
    """Claims to have printed more than it ever sends."""

    def up(self, frame: Frame, left: Callable[[], None] | None = None) -> None:
        if frame.type == wire.RESULT:
            body = wire.dumps({**frame.fields(), "stdout": 1 << 60})
            frame = Frame(frame.type, frame.origin, frame.epoch, (), body)
        super().up(frame, left)


class TestAgentsThatKeepARunWaiting:
    """They live, they ping, and they don't say what they have to: the root doesn't wait for ever."""

    def run(self, kind: type[SimAgent]) -> Cluster:
        timeouts = Timeouts(connect_s=5.0, lease_s=6.0, command_s=10.0)
        plan = tree(PARENTS, timeouts=timeouts)
        run = Cluster(Setup(plan, ExecOptions("a command"), script, 3, agents={"h0005": kind}))
        strike_below(run, run.hosts[5])
        run.run(120.0)
        innocent(run)
        return run

    def test_one_that_never_tells_the_end(self) -> None:
        result = self.run(Mute).results()["h0005"]
        assert (result.verdict, result.code) == (Verdict.LOST, Code.AGENT)
        assert "should have been killed" in result.reason

    def test_one_that_claims_more_than_it_printed(self) -> None:
        run = self.run(Boaster)
        assert run.results()["h0005"].verdict is Verdict.OK
        assert any("were lost" in text for text in notices(run))
