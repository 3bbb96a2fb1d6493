"""The line at the root: whatever is in a command, it is one line, and no secret of a run is in it."""

from __future__ import annotations

import hashlib
import os
import pwd
from pathlib import Path

import pytest

from nile.controller import audit
from nile.controller.audit import Audit, real_user
from nile.options import ExecOptions, Outfit, Script

SECRET = "hush-0815"


def text(options: ExecOptions, *, again: bool = False) -> str:
    return Audit.of(options).text("r1", ("n1", "n2"), options, again=again)


def test_it_is_one_line() -> None:
    said = text(ExecOptions("a\nNov 22 00:00:00 host su: lie \x1b[2J \udcff é"))
    assert said.isprintable()
    assert said.isascii()
    assert said.endswith(r'run command="a\nNov 22 00:00:00 host su: lie \u001b[2J \udcff \u00e9"')


def test_a_long_command_is_cut() -> None:
    assert len(text(ExecOptions("x" * 100_000))) < 5000


def test_a_script_is_known_by_its_text() -> None:
    script = Script.of("s", f"echo {SECRET}".encode(), ("a",))
    said = text(ExecOptions("s a", outfit=Outfit(script=script, env={"K": SECRET})), again=True)
    assert f"sha256={hashlib.sha256(script.text).hexdigest()} attach " in said
    assert SECRET not in said


@pytest.mark.parametrize(
    ("login", "said"), [("0", "root"), ("65534", "nobody(root)"), (str((1 << 32) - 1), "root"), ("", "root")]
)
def test_who_logged_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, login: str, said: str) -> None:
    own = pwd.getpwuid(os.getuid()).pw_name
    (tmp_path / "loginuid").write_text(login)
    monkeypatch.setattr(audit, "LOGIN_UID", tmp_path / "loginuid")
    assert real_user() == said.replace("root", own)
    monkeypatch.setattr(audit, "LOGIN_UID", tmp_path / "none")
    assert real_user() == own
