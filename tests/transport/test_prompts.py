"""Which question of a host is for the password that there is, and for nothing else."""

from __future__ import annotations

import pytest

from nile.transport.prompts import LONGEST, described, is_for_password


@pytest.mark.parametrize(
    "text",
    [
        "Password: ",
        "password:",
        "Password",
        "(ada@n1.example.org) Password: ",
        "ada@n1's password: ",
        "Password for ada@token-server.example.org:",
        "Enter your password:",
        "UNIX password: ",
        "LDAP Password:",
        "Passwort: ",
        "Mot de passe :",
        "Пароль:",
        "密码:",
    ],
)
def test_a_hidden_question_for_a_password(text: str) -> None:
    assert is_for_password([(text, False)])
    assert not is_for_password([(text, True)]), "what is typed would be shown"
    assert not is_for_password([(text, False), ("Password: ", False)])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Verification code: ",
        "One-time password: ",
        "One-time password (OATH) for `ada': ",
        "New password: ",
        "Retype new password: ",
        "Current password: ",
        "Password + token: ",
        "Passcode: ",
        "PIN: ",
        "Password (again): ",
        "s/key 97 fw13894\nPassword: ",
        "Your password expires in 3 days.\nPassword: ",
        "Duo two-factor login\nPasscode or option (1-3): ",
        "Is your password secret?",
        "x" * (LONGEST + 1) + " password:",
        "ada's " * 5000 + "x",
    ],
)
def test_any_other_question(text: str) -> None:
    assert not is_for_password([(text, False)])


def test_no_question_is_none_for_a_password() -> None:
    assert not is_for_password([])


def test_a_question_is_told_to_people_without_what_a_terminal_would_obey() -> None:
    said = described([("Code\x1b[2J:\n", False), ("y" * 400, True)])
    assert said.startswith("'Code?[2J:' and 'yyy")
    assert len(said) < 120
