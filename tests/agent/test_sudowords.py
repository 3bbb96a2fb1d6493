"""What sudo says, and what it means: sentences of sudo 1.8 and 1.9, of its PAM modules, and of env."""

from __future__ import annotations

import pytest

from nile.agent.sudowords import (
    MORE,
    PROMPT,
    REFUSED,
    argv,
    asked_again,
    environment,
    locale,
    reason,
    wants_terminal,
)

LECTURE = "We trust you have received the usual lecture.\n    #3) With great power comes ...\n"
WRONG = "1 incorrect password attempt\n"
ENV = "env: '/opt/python3': Permission denied\n"


@pytest.mark.parametrize(
    "said",
    [
        f"{PROMPT}Sorry, try again.\n{PROMPT}\nsudo: no password was provided\nsudo: {WRONG}",
        f"{LECTURE}{PROMPT}sudo: {WRONG}",
        f"{PROMPT}sudo: PAM authentication error: System error\n",
        f"{PROMPT}The account is locked due to 3 failed logins.\nSorry, try again.\n",
        PROMPT,
        "",
    ],
)
def test_a_password_that_it_had_counts_as_refused_unless_it_is_known_to_be_taken(said: str) -> None:
    assert reason(said, "root", "/py", given=True).startswith(f"{REFUSED}: ")


@pytest.mark.parametrize(
    "said",
    [
        f"{PROMPT}ada is not in the sudoers file.\nThis incident will be reported.\n",
        f"{PROMPT}ada is not in the sudoers file.  This incident will be reported.\n",
        f"{PROMPT}Sorry, user ada is not allowed to execute '/usr/bin/env x' as root on h1.\n",
        f"{PROMPT}Sorry, user ada may not run sudo on h1.\n",
    ],
)
def test_a_rule_that_forbids_it_says_nothing_against_the_password(said: str) -> None:
    assert reason(said, "root", "/py", given=True).startswith("sudo refuses: ")


@pytest.mark.parametrize("host", ["h1", "h2"])
def test_one_that_forbids_it_says_the_same_on_all_hosts(host: str) -> None:
    said = f"Sorry, user ada is not allowed to execute '/usr/bin/env NILE_HOST={host} x' as root on {host}.\n"
    wanted = "sudo refuses: Sorry, user ada is not allowed to execute"
    assert reason(said, "root", "/py", given=False) == wanted


def test_what_it_says_without_a_password() -> None:
    assert reason("sudo: unknown user x\n", "x", "/py", given=False) == "sudo refuses: sudo: unknown user x"
    assert reason("", "x", "/py", given=False) == "sudo refuses: it says nothing"


@pytest.mark.parametrize("given", [True, False])
def test_a_user_who_cant_run_that_python(given: bool) -> None:
    said = f"sudo: unable to resolve host h1: Name or service not known\n{PROMPT if given else ''}{ENV}"
    assert reason(said, "bob", "/opt/python3", given) == (
        "user bob can't run the Python of the agent, /opt/python3: env: '/opt/python3': Permission denied"
    )


def test_a_second_question_is_a_refusal_whatever_it_says_between() -> None:
    assert asked_again(f"{LECTURE}{PROMPT}Sorry, try again.\n{PROMPT}") == f"{REFUSED}: Sorry, try again."


def test_a_second_question_without_a_word_between_is_for_something_else() -> None:
    """As sudo 1.9.13 has it with a PAM module that asks for a code, before that of passwords or behind it."""
    assert asked_again(f"{PROMPT}{PROMPT}") == MORE
    assert asked_again(f"{LECTURE}{PROMPT}\n{PROMPT}\nsudo: no password was provided\n") == MORE


def test_want_of_a_terminal() -> None:
    assert wants_terminal("sudo: sorry, you must have a tty to run sudo\n")
    assert not wants_terminal("sudo: a password is required\n")


def test_it_speaks_english_and_its_command_does_not() -> None:
    login = {"LANG": "de_DE.UTF-8", "LC_ALL": "fr_FR", "LC_TIME": "C", "PATH": "/bin"}
    assert environment(login) == {**login, "LC_ALL": "C", "LANGUAGE": ""}
    assert locale(login) == {"LANG": "de_DE.UTF-8", "LC_ALL": "fr_FR", "LC_TIME": "C"}


def test_no_ticket_is_used_and_none_stays() -> None:
    words = argv("bob", "r1", "h1", ["/py", "-c", "x"])
    assert words[: words.index("--")] == ["sudo", "-k", "-S", "-p", PROMPT, "-u", "bob"]
