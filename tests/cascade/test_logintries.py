"""The password of the user's logins: one gets it first, and nobody after a refusal."""

from __future__ import annotations

import pytest

from nile.cascade.logintries import REFUSED, LoginTries, Turn

ALL = range(1, 41)


def granted(turns: list[Turn]) -> list[int]:
    assert not [turn.why for turn in turns if turn.why]
    return [turn.number for turn in turns]


def refusals(turns: list[Turn]) -> set[str]:
    assert turns
    assert all(turn.why for turn in turns)
    return {turn.why for turn in turns}


def asking(tries: LoginTries, numbers: range = ALL, user: str = "ada") -> list[Turn]:
    """Hosts ask, each at a login of its own."""
    return [turn for number in numbers for turn in tries.asks(number, f"h{number}", user)]


def test_one_gets_it_first_and_then_more_and_more_at_a_time() -> None:
    tries, sizes = LoginTries(), []
    wave = granted(asking(tries))
    seen = set(wave)
    while wave:
        sizes.append(len(wave))
        wave = [number for each in wave for number in granted(tries.took(each))]
        assert seen.isdisjoint(wave)
        seen |= set(wave)
    assert sizes == [1, 2, 4, 8, 16, 9]
    assert seen == set(ALL)


def test_a_refusal_stops_all_further_tries() -> None:
    tries = LoginTries()
    assert granted(asking(tries, range(1, 9))) == [1]
    said = tries.refused(1)
    assert [turn.number for turn in said] == list(range(2, 9))
    assert refusals(said) == {"the password was refused on h1, so it was tried on no other host"}
    assert refusals(tries.asks(20, "h20", "ada")) == refusals(said)
    assert refusals(tries.asks(21, "h1", "ada")) == {REFUSED}, "nor there once more"


def test_a_refusal_after_others_took_it_stops_it_too_but_not_for_them() -> None:
    """A link of theirs may break, and a command run there."""
    tries = LoginTries()
    asking(tries, range(1, 9))
    assert granted(tries.took(1)) == [2, 3]
    assert len(refusals(tries.refused(2))) == 1
    assert tries.over(3, sent=True) == []
    assert granted(tries.asks(30, "h1", "ada")) == [30]
    assert refusals(tries.asks(31, "h1", "bob"))
    assert refusals(tries.asks(32, "h9", "ada"))


def test_that_one_account_takes_it_says_nothing_of_another() -> None:
    tries = LoginTries()
    assert granted(asking(tries, range(1, 20))) == [1]
    assert granted(asking(tries, range(101, 120), "bob")) == [101]
    for number in (1, 2, 3):
        tries.took(number)
    assert tries.over(101, sent=False)[0].number == 102, "one alone, though others were right by now"
    assert len(tries.refused(102)) == 17 + 19 - 7, "a refusal is one for all"


@pytest.mark.parametrize("sent", [True, False])
def test_where_nobody_knows_what_became_of_the_first_it_is_tried_no_more(sent: bool) -> None:
    tries = LoginTries()
    asking(tries, range(1, 4))
    said = tries.over(1, sent=sent)
    if sent:
        assert refusals(said) == {
            "nobody knows whether the password was taken on h1, so it was tried on no other host"
        }
    else:
        assert granted(said) == [2], "it was this one's turn, and it never went out"
        assert tries.asks(9, "h1", "ada") == []


def test_one_that_is_lost_later_holds_up_no_others_and_isnt_tried_again() -> None:
    tries = LoginTries()
    asking(tries, range(1, 6))
    tries.took(1)
    assert granted(tries.over(2, sent=True)) == [4]
    assert refusals(tries.asks(9, "h2", "ada")) == {"nobody knows whether the password was taken on h2"}


def test_one_that_ends_as_it_waits_leaves_its_place() -> None:
    tries = LoginTries()
    asking(tries, range(1, 5))
    assert tries.over(2, sent=False) == []
    assert granted(tries.took(1)) == [3, 4]
    assert tries.over(2, sent=False) == []


def test_a_login_that_nobody_knows_is_no_matter() -> None:
    assert LoginTries().over(7, sent=False) == []
