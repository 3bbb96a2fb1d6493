"""The tutorial works: its commands are run, in order, as a new user would."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TUTORIAL = Path(__file__).parent.parent / "docs/tutorial.md"
_BLOCK = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
_STATUS = "echo $?"


def steps(text: str) -> list[tuple[str, list[str]]]:
    """(command, lines that the tutorial shows as its output); `> ` continues a command."""
    found: list[tuple[str, list[str]]] = []
    for line in "".join(_BLOCK.findall(text)).splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        elif line.startswith("> "):
            command, shown = found[-1]
            found[-1] = (f"{command}\n{line[2:]}", shown)
        else:
            found[-1][1].append(line)
    return found


def script(commands: list[str]) -> str:
    """A shell script that runs them one after another and marks where each begins and how it ended."""
    parts = ["status=0"]
    for number, command in enumerate(commands):
        parts += [f"echo '@@ {number}'; (exit $status)", command, "status=$?", 'echo "@@ ended $status"']
    return "\n".join(parts)


def run(commands: list[str], home: Path) -> list[tuple[str, int]]:
    """(output, exit code) of each."""
    programs = Path(sys.executable).parent
    env = {"HOME": str(home), "PATH": f"{programs}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        ["bash", "-c", script(commands)],
        cwd=home,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=100,
        check=True,
    )
    parts = re.findall(r"^@@ \d+\n(.*?)^@@ ended (\d+)$", done.stdout, re.MULTILINE | re.DOTALL)
    return [(output, int(code)) for output, code in parts]


@pytest.mark.lab
def test_the_tutorial_works(tmp_path: Path) -> None:
    told = steps(TUTORIAL.read_text())
    commands = [command for command, _ in told]
    try:
        happened = run(commands, tmp_path)
    finally:
        run(["nile lab down"], tmp_path)
    assert len(happened) == len(commands)
    for index, ((command, shown), (output, code)) in enumerate(zip(told, happened, strict=True)):
        followed_by_status = commands[index + 1 : index + 2] == [_STATUS]
        assert code == 0 or followed_by_status, f"{command}: {output}"
        assert command != _STATUS or output.split() == shown, f"{commands[index - 1]}: exit {output}"
        # Trees don't depend on the moment, so they must look exactly as the tutorial has them.
        tree = [line for line in shown if line.lstrip().startswith(("root", "├", "│", "└"))]
        assert "\n".join(tree) in output
        assert tree or not command.startswith("nile plan")


def test_steps_are_read() -> None:
    text = "x\n```console\n$ cat <<E\n> a\n> E\na\n$ echo $?\n0\n```\n```\n$ not this\n```\n"
    assert steps(text) == [("cat <<E\na\nE", ["a"]), ("echo $?", ["0"])]


def test_runs_tell_output_and_status(tmp_path: Path) -> None:
    assert run(["echo a; false", "echo $?", "true"], tmp_path) == [("a\n", 1), ("1\n", 0), ("", 0)]
