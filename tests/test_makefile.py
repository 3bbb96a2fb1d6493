"""The commands that README.md gives a newcomer: what they need, and what they show and leave."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.lab.helpers import eventually

ROOT = Path(__file__).parents[1]


def make(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("make")
    assert program is not None
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(
        [program, "-C", str(ROOT), *words],
        env={**kept, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_what_is_missing_is_named_with_the_command_that_brings_it(tmp_path: Path) -> None:
    done = make("needs", PATH=str(tmp_path))
    assert done.returncode != 0
    assert "Missing: Python 3.11 or later" in done.stderr
    assert "Missing: the ssh client" in done.stderr
    assert "sudo apt-get install python3 python3-venv openssh-client\n" in done.stderr


def test_an_old_python_is_not_taken(tmp_path: Path) -> None:
    old = tmp_path / "python3"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] || exit 1\necho Python 3.9.2\n')
    old.chmod(0o755)
    (tmp_path / "ssh").symlink_to("/bin/true")
    done = make("needs", PATH=str(tmp_path))
    assert "Missing: Python 3.11 or later (here: Python 3.9.2)" in done.stderr
    assert "Missing: the ssh client" not in done.stderr


@pytest.mark.parametrize(
    ("target", "needs"), [("check", ".[test]"), ("bench", ".[test,bench]"), ("soak", ".[test,fuzz]")]
)
def test_what_is_installed_is_named_whole(target: str, needs: str) -> None:
    """A comma in what `$(call)` is given would end it."""
    assert f"install --editable '{needs}'" in make("-n", target).stdout


@pytest.fixture
def environment(tmp_path: Path) -> str:
    """This Python's environment, as one that `make` has filled; its name as make wants it."""
    directory = tmp_path / "venv"
    directory.mkdir()
    (directory / "bin").symlink_to(Path(sys.executable).parent)
    (directory / ".place").write_text(f"{ROOT}\n")
    (directory / ".installed").touch()
    return os.path.relpath(directory, ROOT)


def test_the_demo_shows_a_tree_and_leaves_nothing(tmp_path: Path, environment: str) -> None:
    state = tmp_path / "tmp"
    state.mkdir()
    done = make("demo", f"VENV={environment}", "DEMO_HOSTS=6", TMPDIR=str(state))
    assert done.returncode == 0, done.stderr
    stages = dict(re.findall(r"^(h00\d): h00\d, stage (\d), below", done.stdout, re.MULTILINE))
    assert sorted(stages) == [f"h00{number}" for number in range(1, 7)]
    assert set(stages.values()) == {"1", "2"}
    assert done.stderr.count("nile: 6 of 6 hosts ok") == 2
    assert list(state.iterdir()) == []


def test_ci_runs_what_a_newcomer_runs() -> None:
    """`make check`, which has every kind of check in it."""
    script = (ROOT / ".ci" / "run").read_text()
    assert script.splitlines()[-1] == "make check"
    recipe = make("--dry-run", "check").stdout
    for step in ("ruff format --check", "ruff check", "mypy", "lint-imports", "-m pytest"):
        assert step in recipe


PRETENDED = """#!/bin/sh
case "$*" in
    *tests.support.scratch) mktemp -d {place}/XXX ;;
    *pytest*)
        echo "$TMPDIR $*" >> {said}
        mkdir -p "$TMPDIR/closed" && touch "$TMPDIR/closed/file" && chmod 0500 "$TMPDIR/closed"
        {then}
        ;;
    *) exec {python} "$@" ;;
esac
"""
"""A Python that runs no tests, but says where they would have had their files."""


class Checked:
    """`make check`, without its checks."""

    def __init__(self, tmp_path: Path, then: str) -> None:
        self.place, self._said, programs = tmp_path / "memory", tmp_path / "said", tmp_path / "venv/bin"
        programs.mkdir(parents=True)
        self.place.mkdir()
        (tmp_path / "venv/.place").write_text(f"{ROOT}\n")
        (tmp_path / "venv/.installed-test").touch()
        for name in ("ruff", "mypy", "lint-imports"):
            (programs / name).symlink_to("/bin/true")
        text = PRETENDED.format(place=self.place, said=self._said, then=then, python=sys.executable)
        (programs / "python").write_text(text)
        (programs / "python").chmod(0o755)
        own = (f"VENV={os.path.relpath(programs.parent, ROOT)}", f"CACHE={tmp_path}")
        argv = ["make", "-C", str(ROOT), "check", *own]
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(argv, env=kept, stdout=pipe, stderr=pipe, text=True, process_group=0)

    def said(self) -> list[str]:
        """A line for each time that tests would have been run."""
        return self._said.read_text().splitlines() if self._said.exists() else []


def test_files_of_tests_lie_where_there_is_room_for_them_and_are_gone_when_they_failed(
    tmp_path: Path,
) -> None:
    checked = Checked(tmp_path, "exit 3")
    _, err = checked.process.communicate(timeout=60)
    assert checked.process.returncode != 0
    assert "Not all tests passed" in err or os.geteuid()
    for line in checked.said():
        scratch, _, words = line.partition(" ")
        assert Path(scratch).parent == checked.place
        assert f"--basetemp {scratch}/" in words
    assert len(checked.said()) == (1 if os.geteuid() else 3)
    assert list(checked.place.iterdir()) == []


def test_and_are_gone_when_they_were_interrupted(tmp_path: Path) -> None:
    checked = Checked(tmp_path, "exec sleep 1000")
    running = 1 if os.geteuid() else 2
    try:
        eventually(lambda: len(checked.said()) == running, "tests run")
        os.killpg(checked.process.pid, signal.SIGINT)
        checked.process.communicate(timeout=60)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(checked.process.pid, signal.SIGKILL)
        checked.process.communicate()
    assert checked.process.returncode != 0
    assert list(checked.place.iterdir()) == []
