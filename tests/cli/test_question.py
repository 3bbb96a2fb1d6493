"""An answer counts for the question that was there when it was typed."""

from __future__ import annotations

import os
import pty
import sys
import time
from collections.abc import Iterator

import pytest

from nile.cli.question import Question


class Keys:
    """A terminal that is this process's standard input; `said` is what it was shown."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._master, slave = pty.openpty()
        self.stdin = os.fdopen(slave)
        self.said: list[str] = []
        monkeypatch.setattr(sys, "stdin", self.stdin)

    def type(self, keys: bytes) -> None:
        os.write(self._master, keys)
        shown = b""
        while shown.count(b"\n") < keys.count(b"\n"):  # its echo: the keys have arrived
            shown += os.read(self._master, 1024)

    def ask(self, text: str = "delete all") -> Question:
        return Question(text, 1, self.said.append)

    def close(self) -> None:
        os.close(self._master)
        self.stdin.close()


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> Iterator[Keys]:
    made = Keys(monkeypatch)
    yield made
    made.close()


def answer(question: Question) -> bool | None:
    latest = time.monotonic() + 10.0
    while (said := question.answer()) is None and time.monotonic() < latest:
        time.sleep(0.005)
    return said


@pytest.mark.parametrize(
    ("typed", "said"), [(b"y\n", True), (b"Yes\n", True), (b"\n", False), (b"no\n", False)]
)
def test_a_word_is_an_answer(keys: Keys, typed: bytes, said: bool) -> None:
    question = keys.ask()
    assert question.answer() is None
    assert keys.said == ["nile: delete all; go on? [y/N] "]
    keys.type(typed)
    assert answer(question) is said


def test_what_was_typed_before_is_none(keys: Keys) -> None:
    keys.type(b"y\n")
    question = keys.ask()
    assert question.answer() is None
    keys.type(b"n\n")
    assert answer(question) is False


def test_what_is_typed_at_once_is_no_answer_to_the_next_question(keys: Keys) -> None:
    question = keys.ask()
    keys.type(b"y\ny\n")
    assert answer(question) is True
    following = keys.ask("delete more")
    assert following.answer() is None
    keys.type(b"n\n")
    assert answer(following) is False


def test_another_word_is_asked_about_again(keys: Keys) -> None:
    question = keys.ask()
    keys.type(b"what?\n")
    latest = time.monotonic() + 10.0
    while len(keys.said) < 2 and time.monotonic() < latest:
        assert question.answer() is None
    assert len(keys.said) == 2
    keys.type(b"yes\n")
    assert answer(question) is True
