"""`--sudo` and `--sudo-user`: as whom it is done on the hosts, whatever the command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from nile.cli import commands
from nile.cli.gather import command as gather
from nile.errors import UsageError

COPIES = [
    ("sync", "{}/", "/srv/app"),
    ("sync", "--release", "2", "{}/", "/srv/app"),
    ("sync", "--repos", "{}/repos"),
    ("verify", "{}/", "/srv/app"),
    ("gather", "/srv/app", "{}/got"),
    ("releases", "/srv/app"),
    ("rollback", "/srv/app"),
    ("swarm", "run", "{}/", "/srv/app"),
]


@pytest.mark.parametrize("name", ["", "a b", "x;y", "$(id)", "a'b"])
def test_what_is_no_user_is_refused(name: str) -> None:
    result = CliRunner().invoke(gather, ["-w", "h1", "--sudo-user", name, "/x", "y"])
    assert isinstance(result.exception, UsageError)
    assert result.exception.where == "--sudo-user"


@pytest.mark.parametrize("words", COPIES, ids=" ".join)
def test_a_copy_runs_by_sudo_as_a_command_does(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[Any] = []

    def carry_out(_chosen: object, options: Any, _given: object, **_: Any) -> int:
        found.append(options.outfit.sudo)
        return 0

    monkeypatch.setattr("nile.cli.carrying_out.carry_out", carry_out)
    (tmp_path / "repos").write_text(f"- source: {tmp_path}/\n  dest: /srv/app\n")
    depth = 2 if words[0] == "swarm" else 1
    given = [word.format(tmp_path) for word in words]
    for more in ((), ("--sudo",), ("--sudo-user", "ada"), ("--sudo", "--sudo-user", "ada")):
        argv = [*given[:depth], "-w", "127.0.0.1", *more, *given[depth:]]
        CliRunner().invoke(commands, argv, catch_exceptions=False, standalone_mode=False)
    assert found == [None, "root", "ada", "ada"]


@pytest.mark.parametrize("words", [("exec",), *COPIES, ("swarm", "start", "")], ids=" ".join)
def test_its_help_says_who_is_asked_for_a_password(words: tuple[str, ...]) -> None:
    depth = 2 if words[0] == "swarm" else 1
    said = CliRunner().invoke(commands, [*words[:depth], "--help"]).output
    assert "Where it asks for a password you are asked, once" in " ".join(said.split())
