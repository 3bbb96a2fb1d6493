"""What `nile sync` takes for paths, before anything is done."""

from __future__ import annotations

import os
from pathlib import Path

import click
import pytest

from nile.cli import gather, swarm, sync, verify
from nile.cli.copying import HINTS, places, refuse_to_delete_for_files
from nile.errors import UsageError

COMMANDS = [sync.command, verify.command, swarm.run, swarm.start, gather.command]
RSYNCS = {"-n": "--dry-run", "-q": "--quiet"}
"""Short options that mean here what they mean to rsync."""
NOT_RSYNCS = {"-w"}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    (tmp_path / "site").mkdir()
    (tmp_path / "app.conf").touch()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "dangling").symlink_to("nowhere")
    monkeypatch.chdir(tmp_path)
    return os.fsencode(tmp_path)


def test_files_and_directories_are_taken(here: bytes) -> None:
    sources, dest = places(("app.conf", "site", "site/", "/etc//app/"))
    assert sources == (here + b"/app.conf", here + b"/site", here + b"/site/")
    assert dest == b"/etc/app"


@pytest.mark.parametrize(
    ("words", "reason", "remedy"),
    [
        (("fifo", "/srv"), "fifo is neither a file nor a directory", "leave it out"),
        (("dangling", "/srv"), "dangling is neither a file nor a directory", "leave it out"),
        (("app.conf/", "/srv"), "there is no such file", "look at its name"),
        (("app.conf", "/etc/app.conf"), "DEST is the directory that gets app.conf", "write /etc"),
    ],
)
def test_what_can_not_be_is_refused(here: bytes, words: tuple[str, ...], reason: str, remedy: str) -> None:
    with pytest.raises(UsageError) as caught:
        places(words)
    assert reason in str(caught.value)
    assert remedy in (caught.value.remedy or "")


def test_from_files_nothing_can_be_deleted(here: bytes) -> None:
    with pytest.raises(UsageError, match="SRC are files only"):
        refuse_to_delete_for_files((here + b"/app.conf",))
    refuse_to_delete_for_files((here + b"/app.conf", here + b"/site"))


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.callback.__module__)
def test_no_short_letter_means_something_else_than_to_rsync(command: click.Command) -> None:
    for option in command.params:
        for short in [word for word in option.opts if not word.startswith("--") and word[0] == "-"]:
            assert short in NOT_RSYNCS or RSYNCS.get(short) in option.opts, short


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.callback.__module__)
@pytest.mark.parametrize("words", [*(f"-{letter}" for letter in HINTS), "-avn", "-na", "-nb"])
def test_letters_of_rsync_are_refused_with_a_hint(command: click.Command, words: str) -> None:
    with pytest.raises(UsageError) as refused:
        command.make_context("nile", [words, "site/", "/srv/site"])
    letter = next(letter for letter in words if letter in HINTS)
    assert refused.value.message == f"no option -{letter}"
    assert refused.value.remedy == HINTS[letter].format(letter)


def test_only_what_is_given_as_options_is_taken_for_letters() -> None:
    given = sync.command.make_context("nile", ["-w", "n1", "-n", "--", "-avz", "/srv/site"]).params
    assert (given["dry_run"], given["paths"]) == (True, ("-avz", "/srv/site"))
