"""The command line's frame: what it loads, what it says, and how it ends."""

from __future__ import annotations

import os
import resource
import stat
import subprocess
import sys
from pathlib import Path

import click
import pytest

from nile import __version__
from nile.cli import COMMANDS, ending
from nile.errors import BugError, LabError, NileError, RouteFileError, UsageError

NILE = [sys.executable, "-m", "nile"]
HEAVY = ["asyncio", "asyncssh", "rich", "yaml", "ClusterShell", "sqlite3", "difflib"]
HELP_CPU_S = 0.25


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The state directory of this test alone."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "nile"


def _nile(*words: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # type: ignore[call-overload, no-any-return]
        [*NILE, *words], capture_output=True, text=True, timeout=30, check=False, **options
    )


# Help


def test_help_has_examples_and_every_command() -> None:
    done = _nile("--help")
    assert done.returncode == 0
    assert "nile exec -w 'n[1-40]' -- uptime" in done.stdout
    for name, entry in COMMANDS.items():
        assert f"  {name} " in done.stdout
        assert entry.summary in " ".join(done.stdout.split())


def test_help_loads_nothing_heavy() -> None:
    program = (
        "import sys\nfrom nile.cli import main\ntry:\n    main(['--help'])\nfinally:\n    print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert "click" in loaded
    assert loaded.isdisjoint(HEAVY)


def test_a_run_of_a_command_loads_nothing_that_serves_others_alone(tmp_path: Path) -> None:
    """A root's start counts before the first login: it ends here for want of a key, when all is loaded."""
    routes = tmp_path / "routes.yaml"
    routes.write_text(f"version: 1\nssh: {{identity: {tmp_path}/none}}\n")
    words = ["exec", "-r", str(routes), "-w", "192.0.2.1", "--no-store", "--", "true"]
    program = (
        f"import sys\nfrom nile.cli import main\ntry:\n    main({words})\nfinally:\n    print(*sys.modules)"
    )
    env = {**os.environ, "XDG_STATE_HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, env=env
    )
    loaded = set(done.stdout.splitlines()[-1].split())
    assert f"{tmp_path}/none" in done.stderr
    assert {"nile.controller.engine", "asyncssh"} <= loaded
    assert loaded.isdisjoint({"nile.agent.worker.signatures", "nile.agent.worker.rsync"})
    assert loaded.isdisjoint({"nile.topology.inventory", "nile.sync", "nile.swarm"})


def test_help_is_cheap() -> None:
    """CPU seconds, not wall, and the least of three: other tests run beside this one."""
    costs = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert _nile("--help").returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        costs.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(costs) < HELP_CPU_S


def test_version() -> None:
    assert _nile("--version").stdout == f"nile {__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str) -> None:
    done = _nile(name, "--help")
    assert done.returncode == 0, done.stderr
    assert f"Usage: nile {name}" in done.stdout


def test_without_arguments_it_shows_help_and_fails() -> None:
    done = _nile()
    assert done.returncode == 2
    assert "Usage: nile" in done.stderr


# Usage


def test_mistyped_command_is_named_with_the_nearest() -> None:
    done = _nile("hots")
    assert done.returncode == 2
    assert done.stderr == "nile: there is no command 'hots'; did you mean 'hosts'?\n  see `nile --help`\n"


def test_unknown_option() -> None:
    done = _nile("--colour")
    assert done.returncode == 2
    assert done.stderr.startswith("nile: No such option '--colour'.")


# Endings


def _group(error: BaseException | None = None, result: object = None) -> click.Group:
    @click.group()
    def group() -> None: ...

    @group.command()
    def go() -> object:
        if error is not None:
            raise error
        return result

    return group


@pytest.mark.parametrize(("result", "code"), [(None, 0), (0, 0), (4, 4)])
def test_a_command_returns_its_exit_code(result: object, code: int) -> None:
    assert ending.run(_group(result=result), ["go"]) == code


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UsageError("no hosts given", remedy="say -w HOSTS"), 2, "nile: no hosts given\n  say -w HOSTS\n"),
        (RouteFileError("bad", where="a.yaml:3:1"), 2, "nile: a.yaml:3:1: bad\n"),
        (LabError("no lab"), 1, "nile: no lab\n"),
        (ExceptionGroup("", [NileError("inside")]), 1, "nile: inside\n"),
        (ExceptionGroup("", [LabError("one"), UsageError("two")]), 2, "nile: one\nnile: two\n"),
        (NileError("evil \x1b[2J\x07 text"), 1, "nile: evil \\x1b[2J\\x07 text\n"),
        (click.UsageError("wrong"), 2, "nile: wrong\n  see `nile go --help`\n"),
        (click.FileError("f", "gone"), 2, "nile: Could not open file 'f': gone\n"),
        (OSError(28, "No space left on device"), 1, "nile: this machine: No space left on device\n"),
        (KeyboardInterrupt(), 130, ""),
        (BaseExceptionGroup("", [KeyboardInterrupt(), ValueError()]), 130, ""),
        (click.exceptions.Exit(7), 7, ""),
    ],
    ids=repr,
)
def test_errors_become_text_and_exit_code(
    error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str], state: Path
) -> None:
    assert ending.run(_group(error), ["go"]) == code
    out, err = capsys.readouterr()
    assert (out, err) == ("", said)
    assert not state.exists()


@pytest.mark.parametrize(
    "error",
    [
        KeyError("x"),
        BugError("impossible"),
        RecursionError(),
        FileNotFoundError(2, "gone"),
        BrokenPipeError(32, "a pipe that isn't our output"),
        ExceptionGroup("", [NileError("inside"), ZeroDivisionError("inner")]),
    ],
    ids=repr,
)
def test_a_bug_is_written_down(error: Exception, capsys: pytest.CaptureFixture[str], state: Path) -> None:
    assert ending.run(_group(error), ["go"]) == 70
    err = capsys.readouterr().err
    (report,) = state.iterdir()
    assert "Traceback" not in err
    assert "nile: a bug in Nile: " in err
    assert str(report) in err
    assert stat.S_IMODE(report.stat().st_mode) == 0o600
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    text = report.read_text()
    assert "Traceback" in text
    assert "arguments: ['go']" in text


def test_a_bug_where_the_state_directory_cannot_be_made(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert ending.run(_group(KeyError("x")), ["go"]) == 70
    (report,) = tmp_path.glob("nile-crash-*.txt")
    assert str(report) in capsys.readouterr().err


def test_a_bug_that_cannot_be_written_down(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    assert ending.run(_group(KeyError("x")), ["go"]) == 70
    assert "KeyError: 'x'\n  its traceback could not be written: " in capsys.readouterr().err


# Output that can't be written

WRITER = """
import click
from nile.cli import ending
@click.group()
def group(): ...
@group.command()
def go():
    for _ in range(100_000):
        print("0123456789")
raise SystemExit(ending.run(group, ["go"]))
"""


def test_a_reader_that_goes_away_is_silence() -> None:
    writer = subprocess.Popen([sys.executable, "-c", WRITER], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert writer.stdout is not None
    assert writer.stdout.readline() == b"0123456789\n"
    writer.stdout.close()
    assert writer.wait(timeout=30) == 141
    assert writer.stderr is not None
    assert writer.stderr.read() == b""
    writer.stderr.close()


def test_nobody_reads_anything() -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([*NILE, "--help"], stdout=write, stderr=write, timeout=30, check=False)
    os.close(write)
    assert done.returncode == 141


def test_full_disk_is_no_bug(state: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([*NILE, "--help"], stdout=full, stderr=subprocess.PIPE, timeout=30, check=False)
    assert done.returncode == 1
    assert done.stderr == b"nile: this machine: No space left on device\n"
    assert not state.exists()


def test_closed_output_is_fine() -> None:
    done = subprocess.run(
        ["sh", "-c", '"$@" >&- 2>&-', "sh", *NILE, "--help"], stderr=subprocess.PIPE, timeout=30, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_letter_that_the_terminal_lacks_is_written_out() -> None:
    program = WRITER.replace("range(100_000)", "range(1)").replace("0123456789", "h\\u00e9 \\u20ac")
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONIOENCODING": "latin-1"},
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, b"h\xe9 \\u20ac\n")


def test_completion_knows_the_commands() -> None:
    env = {**os.environ, "_NILE_COMPLETE": "bash_complete", "COMP_WORDS": "nile ", "COMP_CWORD": "1"}
    done = _nile(env=env)
    assert {f"plain,{name}" for name in COMMANDS} <= set(done.stdout.splitlines())
