"""An answer counts for the question that was there when it was typed."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from nile.cli.question import Question
from tests.cli.keys import Keys
from tests.cluster.terminal import Terminal
from tests.lab.helpers import eventually


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


SHELL = """
import os, signal, time
from nile.cli.question import Question
job = os.fork()
if not job:
    os.setpgid(0, 0)
    question = Question("delete all", 1, lambda text: os.write(1, text.encode()))
    if question.answer() is None:
        os.kill(os.getpid(), signal.SIGSTOP)
    while (said := question.answer()) is None:
        time.sleep(0.01)
    os._exit(0 if said else 3)
stopped = os.waitpid(job, os.WUNTRACED)[1]
if not os.WIFSTOPPED(stopped) or os.WSTOPSIG(stopped) != signal.SIGSTOP:
    os.killpg(job, signal.SIGKILL)
    os._exit(4)
os.tcsetpgrp(0, job)
os.kill(job, signal.SIGCONT)
os._exit(os.waitstatus_to_exitcode(os.waitpid(job, 0)[1]))
"""


def test_in_the_background_nobody_is_stopped_for_asking_and_it_is_asked_anew_in_the_foreground() -> None:
    terminal = Terminal()
    try:
        words = ["setsid", "--ctty", sys.executable, "-c", SHELL]
        shell = subprocess.Popen(words, stdin=terminal.fd, stdout=terminal.fd, stderr=terminal.fd)
        eventually(lambda: terminal.shown.count(b"go on? [y/N] ") == 2 or shell.poll(), "it asks anew")
        terminal.type(b"y\n")
        assert shell.wait(30) == 0
    finally:
        terminal.close()
