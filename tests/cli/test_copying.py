"""What `nile sync` takes for paths, before anything is done."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from nile.cli import commands, copying, gather, swarm, sync, verify
from nile.cli.copying import HINTS, places, refuse_to_delete_for_files
from nile.errors import UsageError
from nile.sync import Method, Purpose, SyncOptions

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


def meant(monkeypatch: pytest.MonkeyPatch, *words: str) -> SyncOptions:
    """What such a `nile` would carry out."""
    found: list[SyncOptions] = []

    def run(_selection: object, what: SyncOptions, *_: object) -> int:
        found.append(what)
        return 0

    monkeypatch.setattr(copying, "run_one", run)
    name, *more = words
    argv = [name, "-w", "n[1-3]", *more, "site/", "/srv/site"]
    done = CliRunner().invoke(commands, argv, catch_exceptions=False, standalone_mode=False)
    assert done.return_value == 0
    (what,) = found
    return what


@pytest.mark.parametrize(
    ("words", "fields"),
    [
        (("--method", "rsync"), {"method": Method.RSYNC, "can_seed": False}),
        (("--method", "rsync-tcp"), {"method": Method.RSYNC_TCP, "can_seed": False}),
        (("--method", "stream"), {"method": Method.STREAM, "can_seed": False}),
        (("-n",), {"purpose": Purpose.DRY_RUN}),
        (("--dry-run",), {"purpose": Purpose.DRY_RUN}),
        (("--delete", "--max-delete", "7"), {"delete": True, "max_delete": 7}),
        (("--exclude", "*.o", "--exclude", "/b"), {"excludes": (b"*.o", b"/b")}),
        (("--checksum",), {"checksum": True}),
        (("--numeric-ids",), {"numeric_ids": True}),
        (("--chown", "www:adm"), {"chown": "www:adm"}),
        (("--delta",), {"whole": False}),
        (("--plain",), {"plain": True}),
        (("--chains", "3"), {"chains": 3}),
        (("--bwlimit", "100"), {"bwlimit_kib_s": 100}),
        (("--wait", "5"), {"wait_s": 5.0}),
        (("--rate", "80mbit"), {"rate": 1e7}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_each_option_means_one_thing(
    here: bytes, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], fields: dict[str, Any]
) -> None:
    monkeypatch.setattr("nile.cli.writing._wheels", lambda _: ())
    bare = meant(monkeypatch, "sync")
    assert (bare.method, bare.purpose, bare.whole, bare.plain) == (Method.AUTO, Purpose.COPY, True, False)
    assert meant(monkeypatch, "sync", *words) == replace(bare, **fields)


def test_verify_compares_and_mends_where_that_is_asked_for(
    here: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = meant(monkeypatch, "verify")
    assert (bare.purpose, bare.copies) == (Purpose.VERIFY, False)
    repair = meant(monkeypatch, "verify", "--repair", "--delete", "--max-delete", "1", "--checksum")
    assert (repair.purpose, repair.copies) == (Purpose.REPAIR, True)
    assert (repair.delete, repair.max_delete, repair.checksum) == (True, 1, True)
