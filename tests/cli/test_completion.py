"""`nile completion`, in a real bash, zsh and fish; what is offered; and `nile man`."""

from __future__ import annotations

import os
import pty
import select
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from nile.cli import COMMANDS, commands, man
from nile.cli.completion import SHELLS
from nile.cli.completion import command as completion
from nile.errors import UsageError
from tests.cli.conftest import Record
from tests.store import sample

ROUTES = 'version: 1\ngroups: {web: "w[1-2]", worn: "w9"}\nhosts: {db: {}}\n'


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a route file, and a `nile` in the PATH."""
    (tmp_path / "nile.yaml").write_text(ROUTES)
    program = tmp_path / "bin" / "nile"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m nile "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.delenv("NILE_ROUTES", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def offered(*words: str, shell: str = "bash") -> list[str]:
    """What a shell is offered for the last of these words."""
    line = shlex.join(["nile", *words[:-1]]) + (f" {words[-1]}" if words[-1] else " ")
    environment = {"_NILE_COMPLETE": f"{shell}_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(words))}
    done = subprocess.run(
        ["nile"], capture_output=True, text=True, check=False, env={**os.environ, **environment}, timeout=60
    )
    assert done.stderr == ""
    return [text.split(",", 1)[1] for text in done.stdout.splitlines() if text]


def test_a_real_bash_completes(here: Path) -> None:
    """It sources the script, and asks as readline would."""
    script = """
        source <(nile completion bash)
        complete -p nile
        COMP_LINE='nile exec -g w' COMP_POINT=14 COMP_CWORD=3
        _nile_completion nile
        printf '%s\\n' "${COMPREPLY[@]}"
    """
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, timeout=60)
    first, *rest = done.stdout.splitlines()
    assert (first.split()[-1], rest, done.stderr) == ("nile", ["web", "worn"], "")


def typed_over(shown: bytes) -> str:
    """What a terminal shows where the cursor went back."""
    text, at = "", 0
    for char in shown.decode():
        if char == "\b":
            at -= 1
        else:
            text, at = text[:at] + char, at + 1
    return text


def completes(shell: list[str], set_up: str, typed: str, line: str) -> None:
    """A shell at a terminal, with `ready> ` for its prompt, makes that line of what is typed and Tab."""
    terminal, end = pty.openpty()
    environment = {**os.environ, "TERM": "dumb"}
    with subprocess.Popen(
        shell, stdin=end, stdout=end, stderr=end, start_new_session=True, env=environment
    ) as process:
        os.close(end)
        shown = b""
        try:
            os.write(terminal, f"{set_up}; PS1='ready> '\n{typed}\t".encode())
            while f"ready> {line}" not in typed_over(shown):
                assert select.select([terminal], [], [], 30)[0], shown
                shown += os.read(terminal, 4096)
        finally:
            process.kill()
            os.close(terminal)


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ("nile exec -w @wo", "nile exec -w @worn "),
        ("nile exec -w db,@wo", "nile exec -w db,@worn "),
        ("nile exec --group=wo", "nile exec --group=worn "),
        ("nile exec -w 'db' -w @we", "nile exec -w 'db' -w @web "),
    ],
)
def test_at_a_real_prompt(here: Path, typed: str, line: str) -> None:
    """Where readline breaks words at @ and =, and replaces only what stands behind these."""
    set_up = "source <(nile completion bash); bind 'set enable-bracketed-paste off'"
    completes(["bash", "--norc", "--noprofile", "-i"], set_up, typed, line)


def test_a_real_zsh_completes(here: Path) -> None:
    set_up = "unset zle_bracketed_paste; autoload -U compinit; compinit -D -u; source <(nile completion zsh)"
    completes(["zsh", "-f", "-i"], set_up, "nile exec -g wo", "nile exec -g worn ")


def test_a_real_fish_completes(here: Path) -> None:
    """It asks what it would offer behind these words."""
    script = "nile completion fish | source; complete -C 'nile exec -g w'; complete -C 'nile exec --retry'"
    words = ["fish", "--no-config", "-c", script]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60)
    first, second, option = done.stdout.splitlines()
    assert (first, second, option.split("\t")[0], done.stderr) == ("web", "worn", "--retry-failed", "")


def test_what_is_offered(here: Path, record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    record(sample.whole_run())
    assert offered("pl") == ["plan"]
    assert "--retry-failed" in offered("exec", "--re")
    assert offered("exec", "--retry-failed", "") == ["last", sample.started().run]
    assert offered("logs", "5") == [sample.started().run]
    assert offered("exec", "-w", "db,@we") == ["db,@web"]
    assert offered("exec", "-w", "d") == ["db"]
    assert offered("exec", "-g", "x") == []
    monkeypatch.setenv("CLUSTERSHELL_CFGDIR", str(here))
    (here / "groups.conf").write_text(f"[Main]\ndefault: x\n[x]\nmap: touch {here}/asked; echo x1\n")
    (here / "nile.yaml").write_text('version: 1\ngroups: {far: "@x:some", near: n1}\n')
    assert offered("exec", "-w", "") == ["@far", "@near", "n1"]
    assert not (here / "asked").exists(), "a key that is hit runs no program"
    (here / "nile.yaml").write_text("version: 2\n")
    assert offered("exec", "-g", "") == [], "an error is none of a completion's business"


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_for_each_shell(shell: str) -> None:
    result = CliRunner().invoke(completion, [shell])
    assert result.exit_code == 0
    assert f"_NILE_COMPLETE={shell}_complete" in result.stdout


def test_the_users_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELL", "/usr/bin/zsh")
    assert CliRunner().invoke(completion).stdout.startswith("#compdef nile")
    monkeypatch.setenv("SHELL", "/bin/csh")
    with pytest.raises(UsageError, match="'csh', is none"):
        CliRunner().invoke(completion, catch_exceptions=False)


def test_the_manual_page_has_every_command_and_option() -> None:
    text = "\n".join(man.page(commands))
    context = click.Context(commands, info_name="nile")
    for name in COMMANDS:
        assert f".SS nile {name}\n" in text
        found = commands.get_command(context, name)
        assert found is not None
        for parameter in found.params:
            if isinstance(parameter, click.Option) and not parameter.hidden:
                assert man.escaped(max(parameter.opts, key=len)) in text


def test_the_manual_page_is_troff() -> None:
    """Its requests are those that it means, and nothing else begins with a control character."""
    requests = {line.split()[0] for line in man.page(commands) if line.startswith((".", "'"))}
    assert requests == {".TH", ".SH", ".SS", ".PP", ".TP", ".B", ".nf", ".fi"}
    assert man.escaped(".x") == r"\&.x"
    assert man.escaped(r"-a \d") == r"\-a \ed"
    lines = list(man.page(commands))
    assert not [line for line in lines if "\n" in line or "\b" in line]
    assert lines.count(".nf") == lines.count(".fi")
