"""From what an agent or a relay says to a verdict: one table, and nothing in it believed unseen."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nile.agent import wire
from nile.cascade.hosts import Host
from nile.cascade.verdicts import (
    MOST_LEFTOVER,
    MOST_TEXT,
    code_of,
    judge_failed,
    judge_lost,
    judge_outcome,
    told,
    unseen_end,
)
from nile.events import Code, Verdict
from nile.options import ExecOptions, Leftover, OnOrphan
from nile.topology.model import PlanNode

LEFT = [[7, "sleep", False]]
PLAIN: dict[str, Any] = {"rc": 0, "signal": None, "cause": None, "error": None, "left": []}


def host(**state: Any) -> Host:
    return Host(PlanNode(1, "h1", 0, 1, True), 0, 0, [], **state)


@pytest.mark.parametrize(
    ("said", "verdict", "code"),
    [
        ({}, Verdict.OK, None),
        ({"left": LEFT}, Verdict.OK, None),
        ({"rc": 3}, Verdict.FAILED, Code.EXIT),
        ({"rc": None, "signal": 9}, Verdict.FAILED, Code.SIGNAL),
        ({"rc": None, "error": "no such shell"}, Verdict.FAILED, Code.SPAWN),
        ({"rc": None, "signal": 15, "cause": "timeout"}, Verdict.TIMEOUT, Code.COMMAND_TIMEOUT),
        ({"rc": 0, "cause": "timeout"}, Verdict.TIMEOUT, Code.COMMAND_TIMEOUT),
        ({"rc": None, "signal": 15, "cause": "cancelled"}, Verdict.CANCELLED, Code.CANCELLED),
        ({"rc": None, "cause": "orphaned"}, Verdict.LOST, Code.LINK),
        ({"rc": None}, Verdict.FAILED, Code.EXIT),
    ],
)
def test_of_a_result(said: dict[str, Any], verdict: Verdict, code: Code | None) -> None:
    judgement = judge_outcome({**PLAIN, **said}, Leftover.KEEP)
    assert (judgement.verdict, judgement.code) == (verdict, code)


def test_what_a_host_refuses_is_no_matter_of_its_login_shell() -> None:
    for error, shell in (("/bin/fish: No such file or directory", True), ("--cwd /x: No such file", False)):
        judgement = judge_outcome({**PLAIN, "rc": None, "error": error}, Leftover.KEEP)
        assert (judgement.reason, "login shell" in judgement.remedy) == (error, shell)


KILLED = [[7, "sh", 1], [8, "sleep", 1]]
SURVIVED = [[9, "sudo", 2], *KILLED]


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"cause": "timeout", "left": KILLED}, "it ran longer than allowed and was killed (seen dead)"),
        (
            {"cause": "scratch", "left": KILLED},
            "it put more into its scratch than that may take, and was killed (seen dead)",
        ),
        ({"cause": "timeout", "left": []}, "it ran longer than allowed and was killed"),
        (
            {"cause": "timeout", "left": SURVIVED},
            "it ran longer than allowed and was killed, but not all of it died",
        ),
        ({"cause": "cancelled", "left": KILLED}, "cancelled, and killed (seen dead)"),
        ({"cause": "cancelled", "left": SURVIVED}, "cancelled, and killed, but not all of it died"),
        ({"cause": "cancelled", "left": []}, "cancelled"),
    ],
)
def test_it_is_said_whether_the_death_of_what_was_killed_was_seen(said: dict[str, Any], reason: str) -> None:
    """Without names and numbers: hosts fold."""
    judgement = judge_outcome({**PLAIN, "rc": None, "signal": 15, **said}, Leftover.KEEP)
    assert judgement.reason == reason
    assert [(left.pid, left.killed, left.survived) for left in judgement.leftover] == [
        (pid, became == 1, became == 2) for pid, _, became in said["left"]
    ]


@pytest.mark.parametrize("became", [None, "1", 3, -1, [], 1.5])
def test_of_a_process_of_which_rubbish_is_said(became: object) -> None:
    (left,) = judge_outcome({**PLAIN, "left": [[7, "x", became]]}, Leftover.KEEP).leftover
    assert (left.killed, left.survived) == (False, False)


def test_of_an_end_that_nobody_saw() -> None:
    adopts, finishes = ExecOptions("x", grace_s=5.0), ExecOptions("x", on_orphan=OnOrphan.FINISH)
    assert unseen_end(adopts, 30.0).endswith(
        "its agent ends what runs there within 37 s of the root's last word"
    )
    assert unseen_end(finishes, 30.0).endswith("what runs there goes on")
    assert judge_lost(Code.LINK, "it broke", "nobody saw").reason == "it broke; nobody saw"


@pytest.mark.parametrize(
    ("word", "said", "code", "reason"),
    [
        ("255", "warning\nssh: connect to h: Connection refused\n", Code.REFUSED, "Connection refused"),
        ("255", "", Code.DROPPED, "the connection ended before the agent spoke"),
        ("0", "killed", Code.AGENT, "killed"),
        ("1", "This account is closed.\n", Code.LOGIN_SHELL, "This account is closed."),
        ("link", "** WARNING: connection is not using\nClosed by peer\n", Code.LINK, "Closed by peer"),
        ("link", "", Code.LINK, "the connection ended"),
        ("connect-timeout", "no answer within 3 s", Code.CONNECT_TIMEOUT, "no answer within 3 s"),
        ("9" * 400, "x", Code.LOGIN_SHELL, "x"),
        ("\u0662\u0665\u0665", "x", Code.AGENT, "x"),
        (255, "x", Code.AGENT, "x"),
        ("255", None, Code.DROPPED, "None"),
        ("255", "y" * 100_000, Code.DROPPED, "y" * MOST_TEXT),
    ],
)
def test_of_a_login_that_a_relay_tells_of(word: object, said: object, code: Code, reason: str) -> None:
    found, text = told(word, said)
    assert found is code
    assert text.endswith(reason)
    assert len(text) <= MOST_TEXT


def test_leftovers_fail_where_they_must_not_be() -> None:
    judgement = judge_outcome({**PLAIN, "left": LEFT}, Leftover.FAIL)
    assert (judgement.verdict, judgement.code, judgement.rc) == (Verdict.FAILED, Code.LEFTOVER, 0)
    assert judge_outcome(PLAIN, Leftover.FAIL).verdict is Verdict.OK


def test_what_was_started_to_stay_is_not_named() -> None:
    """Of a command that failed it was killed, and is."""
    judgement = judge_outcome({**PLAIN, "left": LEFT}, Leftover.DETACH)
    assert (judgement.verdict, judgement.leftover) == (Verdict.OK, ())
    failed = judge_outcome({**PLAIN, "rc": 1, "left": KILLED}, Leftover.DETACH)
    assert (failed.verdict, {left.killed for left in failed.leftover}) == (Verdict.FAILED, {True})


def test_of_a_broken_link() -> None:
    judgement = judge_lost(Code.LINK, "it broke")
    assert (judgement.verdict, judgement.code, judgement.reason) == (Verdict.LOST, Code.LINK, "it broke")


@pytest.mark.parametrize("code", list(Code))
def test_of_a_login_that_failed(code: Code) -> None:
    verdict = Verdict.CANCELLED if code is Code.CANCELLED else Verdict.UNREACHABLE
    assert judge_failed(code, "why", "what to do").verdict is verdict
    assert code_of(code.value) is code


@pytest.mark.parametrize("word", ["", "no such code", None, 7, [], b"refused"])
def test_unknown_codes(word: object) -> None:
    assert code_of(word) is Code.AGENT


def test_output_is_complete_when_all_that_was_announced_is_there() -> None:
    waiting = host(received={"stdout": 10, "stderr": 0})
    assert not waiting.output_complete()
    waiting.outcome = {**PLAIN, "stdout": 12, "stderr": 1}
    assert not waiting.output_complete()
    assert waiting.output_missing() == 3
    waiting.received.update(stdout=12, stderr=1)
    assert waiting.output_complete()


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-5, 2**63 - 1)
    | st.floats()
    | st.binary(max_size=5)
    | st.text(max_size=5)
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner)
)


@settings(suppress_health_check=[HealthCheck.too_slow])  # which would time the machine
@given(
    st.dictionaries(st.sampled_from([*PLAIN, "stdout", "stderr"]), values), st.sampled_from(list(Leftover))
)
def test_any_mapping_gives_a_judgement(said: dict[str, Any], policy: Leftover) -> None:
    judgement = judge_outcome(wire.loads(wire.dumps(said)), policy)
    assert judgement.rc is None or isinstance(judgement.rc, int)
    assert len(judgement.reason) <= MOST_TEXT + 50
    result = judgement.result(host(), ("root", "h1"), 1.0)
    assert result.verdict in Verdict
    assert isinstance(host(outcome=said).output_missing(), int)


def test_what_a_node_says_is_bounded() -> None:
    judgement = judge_outcome({**PLAIN, "rc": 1, "error": "x" * 10**6, "left": LEFT * 5000}, Leftover.KEEP)
    assert len(judgement.reason) == MOST_TEXT
    assert len(judgement.leftover) == MOST_LEFTOVER
