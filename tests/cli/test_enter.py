"""Enter is seen as often as it is pressed, and nothing is taken that is meant for another program."""

from __future__ import annotations

import os
import termios
from collections.abc import Iterator

import pytest

from nile.cli.enter import LOCAL_FLAGS, Enter
from tests.cli.keys import Keys


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> Iterator[Keys]:
    monkeypatch.setattr("nile.cli.enter.LOOK_S", 0.0)
    made = Keys(monkeypatch)
    yield made
    made.close()


def left(keys: Keys) -> bytes:
    """What the next program can read."""
    os.set_blocking(keys.stdin.fileno(), False)
    try:
        return os.read(keys.stdin.fileno(), 100)
    except BlockingIOError:
        return b""


def test_an_empty_line_is_taken(keys: Keys) -> None:
    enter = Enter(wanted=True)
    assert not enter.pressed()
    for _ in range(2):
        keys.type(b"\n")
        assert enter.pressed()
        assert not enter.pressed()
    assert left(keys) == b""


def test_two_of_them_at_once_are_seen_and_so_is_the_next(keys: Keys) -> None:
    enter = Enter(wanted=True)
    keys.type(b"\n\n")
    assert enter.pressed()
    assert not enter.pressed()
    keys.type(b"\n")
    assert enter.pressed()


def test_another_line_is_left_to_the_shell_and_hides_none_behind_it(keys: Keys) -> None:
    enter = Enter(wanted=True)
    keys.type(b"ls\n")
    enter.pressed()
    assert not enter.pressed()
    keys.type(b"\n")
    assert enter.pressed()
    assert left(keys) == b"ls\n"


def test_keys_that_another_program_reads_one_by_one_are_its_own(keys: Keys) -> None:
    settings = termios.tcgetattr(keys.stdin)
    settings[LOCAL_FLAGS] &= ~termios.ICANON
    termios.tcsetattr(keys.stdin, termios.TCSANOW, settings)
    enter = Enter(wanted=True)
    keys.press(b"\n")
    assert not enter.pressed()
    assert left(keys) == b"\n"
