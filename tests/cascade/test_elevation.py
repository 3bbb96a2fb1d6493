"""The password of sudo: asked for once, tried on one host first, and on no other where it is refused."""

from __future__ import annotations

import pytest

from nile.agent import wire
from nile.cascade import PasswordGiven, Secret, Waits
from nile.cascade.actions import Action, Publish, Send
from nile.cascade.ends import SUDO_S
from nile.events import Code, SecretAsked, Verdict
from nile.options import Outfit, Timeouts
from tests.cascade.driven import Driven, placed, results
from tests.simulation.trees import tree

RIGHT = "s3cret ü"
HOSTS = 6


class Asking(Driven):
    """Six hosts below the root, all up, on which a command runs by sudo."""

    def __init__(self, **options: object) -> None:
        plan = tree([0] * HOSTS, timeouts=Timeouts(lease_s=15.0))
        super().__init__(plan, outfit=Outfit(sudo="root"), **options)
        for number in range(1, HOSTS + 1):
            self.up(number)

    def asks(self, *numbers: int, epoch: int = 1) -> list[Action]:
        found = []
        for number in numbers:
            found += self.say(wire.STARTED, number, epoch, {"pid": 0, "asks": True})
        return found

    def types(self, text: str | None, why: str = "") -> list[Action]:
        given = PasswordGiven(None if text is None else Secret(text), why)
        actions = self.cascade.apply(given, self.now)
        self.actions += actions
        return actions

    def ran(self, number: int) -> list[Action]:
        return self.say(wire.STARTED, number, 1, {"pid": 77})

    def fails(self, number: int, error: str | None, **fields: object) -> list[Action]:
        outcome: dict[str, object] = {"rc": None, "signal": None, "cause": None, "left": []}
        return self.say(
            wire.RESULT, number, 1, {**outcome, "stdout": 0, "stderr": 0, "error": error, **fields}
        )


def told(actions: list[Action]) -> dict[int, bytes]:
    """What hosts were told alone, by id."""
    frames = [action.frame for action in actions if isinstance(action, Send)]
    found = [frame for frame in frames if frame.type == wire.TELL]
    assert all(frame.body[:8] == bytes(8) for frame in found)
    return {frame.path[-1]: frame.body[8:] for frame in found}


def questions(actions: list[Action]) -> list[SecretAsked]:
    events = [action.event for action in actions if isinstance(action, Publish)]
    return [event for event in events if isinstance(event, SecretAsked)]


REFUSED = "--sudo: the password was refused: Sorry, try again."
PASSED = b"+" + RIGHT.encode()


def test_nobody_is_asked_where_no_host_asks() -> None:
    run = Asking()
    for number in range(1, HOSTS + 1):
        run.say(wire.STARTED, number, 1, {"pid": 0})
        run.ran(number)
    assert not questions(run.actions)
    assert not told(run.actions)


@pytest.mark.parametrize("first", [1, 2])
def test_where_more_than_a_password_is_asked_for_no_other_host_gets_it(first: int) -> None:
    """Whether that one was right nobody knows."""
    run = Asking()
    run.asks(1, 2, 3)
    run.types(RIGHT)
    if first == 2:
        run.ran(1)
    run.fails(first, "--sudo: sudo asks for more than a password")
    where = f"on h000{first}, so it was tried on no other host"
    assert told(run.asks(4))[4] == f"-sudo asks for more than a password {where}".encode()
    result = results(run.actions)[f"h000{first}"]
    assert (result.verdict, result.code) == (Verdict.FAILED, Code.SUDO)
    assert result.reason == "sudo asks for more than a password"
    assert "no second factor" in result.remedy


def test_the_user_is_asked_once_and_one_host_gets_it_first() -> None:
    run = Asking()
    assert questions(run.asks(2, 3, 4)) == [SecretAsked("h0002", "root")]
    assert told(run.types(RIGHT)) == {2: PASSED}
    assert told(run.asks(5)) == {}
    assert told(run.ran(2)) == {3: PASSED, 4: PASSED}
    assert told(run.asks(6)) == {}
    assert told(run.ran(3)) == {5: PASSED, 6: PASSED}
    assert len(questions(run.actions)) == 1


def test_a_refusal_stops_all_further_tries() -> None:
    run = Asking()
    run.asks(1, 2, 3)
    run.types("wrong")
    said = told(run.fails(1, "--sudo: the password was refused: Sorry, try again."))
    assert set(said) == {2, 3}
    assert all(each.startswith(b"-the password was refused on h0001") for each in said.values())
    assert told(run.asks(4))[4].startswith(b"-")
    result = results(run.actions)["h0001"]
    assert (result.verdict, result.code) == (Verdict.FAILED, Code.SUDO)
    assert result.reason == "the password was refused: Sorry, try again."
    tries = [body for action in run.actions for body in told([action]).values() if body[:1] == b"+"]
    assert tries == [b"+wrong"]


def test_a_refusal_after_others_took_it_stops_it_too() -> None:
    run = Asking()
    run.asks(1, 2)
    run.types(RIGHT)
    run.ran(1)
    run.fails(2, "--sudo: the password was refused: Sorry, try again.")
    assert told(run.asks(3))[3].startswith(b"-the password was refused on h0002")


@pytest.mark.parametrize("ends", ["lost", "killed"])
def test_where_nobody_knows_what_became_of_it_it_is_tried_no_more(ends: str) -> None:
    run = Asking()
    run.asks(1, 2)
    run.types(RIGHT)
    before = len(run.actions)
    if ends == "killed":
        run.fails(1, None, cause="timeout")
    else:
        run.pass_time(SUDO_S + 2)
        assert results(run.actions)["h0001"].verdict is Verdict.LOST
    assert told(run.actions[before:])[2].startswith(b"-nobody knows whether the password was taken on h0001")


def test_a_host_whose_rules_forbid_it_took_the_password() -> None:
    run = Asking()
    run.asks(1, 2)
    run.types(RIGHT)
    assert told(run.fails(1, "--sudo: sudo refuses: Sorry, user ada may not run sudo on h1.")) == {2: PASSED}
    result = results(run.actions)["h0001"]
    assert (result.code, "sudoers" in result.remedy) == (Code.SUDO, True)


def test_where_none_is_given_hosts_that_ask_fail_and_say_why() -> None:
    run = Asking()
    run.asks(1, 2)
    assert told(run.types(None, "there is no terminal")) == dict.fromkeys(
        (1, 2), b"-sudo asks for a password, and none was given: there is no terminal"
    )
    assert told(run.asks(3))[3].startswith(b"-")


@pytest.mark.parametrize(
    ("why", "remedy"),
    [
        ("sudo asks for a password, and none was given: there is no terminal", "NOPASSWD"),
        ("user bob can't run the Python of the agent, /opt/python3: no", "python3 in /usr/bin"),
    ],
)
def test_what_can_be_done_about_it_is_said(why: str, remedy: str) -> None:
    run = Asking()
    run.fails(1, f"--sudo: {why}")
    result = results(run.actions)["h0001"]
    assert (result.code, result.reason) == (Code.SUDO, why)
    assert remedy in result.remedy


def test_one_that_ends_before_anybody_answered_leaves_its_turn_to_others() -> None:
    run = Asking()
    run.asks(1, 2)
    run.fails(1, "--sudo: sudo refuses: sudo: timed out reading password")
    assert told(run.types(RIGHT)) == {2: PASSED}
    run = Asking()
    run.asks(1)
    run.fails(1, "--sudo: sudo refuses: sudo: timed out reading password")
    assert told(run.types(RIGHT)) == {}
    assert told(run.asks(2)) == {2: PASSED}


def test_one_that_asks_again_didnt_get_it_and_gets_it_again() -> None:
    """Its link broke in between."""
    run = Asking()
    run.asks(1, 2)
    run.types(RIGHT)
    assert told(run.asks(1)) == {1: PASSED}
    assert told(run.asks(2)) == {}


def test_where_it_is_shared_by_all_but_the_first_host_few_are_told_a_wrong_one() -> None:
    run = Asking()
    run.asks(1, 2, 3, 4, 5, 6)
    assert set(told(run.types("of the first alone"))) == {1}
    assert set(told(run.ran(1))) == {2, 3}
    assert all(word[:1] == b"-" for word in told(run.fails(2, REFUSED)).values())
    run.fails(3, REFUSED)
    tries = [body for action in run.actions for body in told([action]).values() if body[:1] == b"+"]
    assert len(tries) == 3


def test_one_that_is_lost_holds_up_no_others() -> None:
    run = Asking()
    run.asks(1, 2, 3, 4, 5)
    run.types(RIGHT)
    assert set(told(run.ran(1))) == {2, 3}
    run.fails(2, None, cause="timeout")
    assert PASSED in told(run.actions)[4]


def test_an_agent_that_follows_one_that_had_it_isnt_told_again() -> None:
    run = Asking(idempotent=True)
    run.asks(1, 2, 3)
    run.types(RIGHT)
    run.broke(0, 1)
    run.pass_time(10)
    ((_, _, epoch),) = [each for each in placed(run.actions) if each[1] == 1][1:]
    run.up(1, epoch)
    run.say(wire.STATE, 1, epoch, {"trace": "dead", "held": True, "children": []})
    said = told(run.asks(1, epoch=epoch))
    assert set(said) == {1, 2, 3}
    assert all(word.startswith(b"-nobody knows") for word in said.values())


def test_its_time_begins_with_the_command_and_not_with_the_question() -> None:
    run = Asking()
    run.asks(1)
    run.pass_time(600.0)
    run.types(RIGHT)
    run.pass_time(3.0)
    run.ran(1)
    (waiting,) = [each for each in run.cascade.outstanding() if each.host == "h0001"]
    assert (waiting.waits, waiting.since_s) == (Waits.COMMAND, 603.0)


def test_who_waits_for_it_isnt_late_however_long_the_user_takes() -> None:
    run = Asking()
    run.asks(1)
    run.pass_time(600.0)
    assert results(run.actions).keys() == {f"h{number:04}" for number in range(2, HOSTS + 1)}
    waiting = [each for each in run.cascade.outstanding() if each.host == "h0001"]
    assert [each.waits for each in waiting] == [Waits.PASSWORD]
    run.types(RIGHT)
    run.pass_time(SUDO_S - 5)
    assert "h0001" not in results(run.actions)
    run.pass_time(10.0)
    assert results(run.actions)["h0001"].code is Code.SUDO


def test_what_was_typed_is_in_no_text_of_an_input_or_a_decision() -> None:
    run = Asking()
    given = PasswordGiven(Secret(RIGHT))
    assert RIGHT not in repr(given) + str(given)
    run.asks(1)
    run.types(RIGHT)
    events = [action.event for action in run.actions if isinstance(action, Publish)]
    assert RIGHT not in repr(events)


def test_a_host_that_lies_about_sudo_in_a_run_without_it_is_told_nothing() -> None:
    run = Driven(tree([0]))
    run.up(1)
    actions = run.say(wire.STARTED, 1, 1, {"pid": 0, "asks": True})
    assert not questions(actions)
    assert not told(actions)
