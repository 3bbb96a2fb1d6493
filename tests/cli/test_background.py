"""Runs that go on without their terminal: with a program in a run's place."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from nile.cli.background import Departure, Leaving
from nile.events import Notice, SwarmProgress
from nile.report.screen import ERASE
from tests.lab.helpers import eventually
from tests.report.screens import Caught

PROGRAM = """
import os, sys
from pathlib import Path
from nile.cli.background import launch

def work(leaving):
    print("asked", flush=True)
{work}

sys.exit(launch(work, lambda run: Path(sys.argv[1]), lambda run: print("begun", run)))
"""
LEAVES = """
    leaving.leave("ab12")
    print(os.getpid(), os.getsid(0), os.isatty(0), flush=True)
    print("said to nobody", file=sys.stderr, flush=True)
    return 7
"""
FULL = """
    from nile.cli.background import Departure
    from nile.events import SwarmProgress
    from nile.report import Screen, Sink
    screen = Screen(Sink(sys.stdout), Sink(sys.stderr))
    Departure(screen, "ab12", leaving, bool).handle(SwarmProgress((), True, 0, 0, 0, 0))
    screen.err.write("said to nobody" * 10000)
    screen.flush()
    Path(sys.argv[2]).write_text("it went on")
    os._exit(0)
"""
STANDS = """
    def ignores(pid):
        (ignored,) = [line for line in open(f"/proc/{pid}/status") if line.startswith("SigIgn")]
        return bool(int(ignored.split()[1], 16) & 1 << signal.SIGTSTP - 1)

    import signal
    print(ignores(os.getpid()), ignores(os.getppid()))
    return 0
"""
WAITS = """
    import signal
    signal.pthread_sigmask(signal.SIG_BLOCK, {15})
    print("ready", flush=True)
    signal.sigwait({15})
    return 143
"""


def _started(work: str, *files: Path) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-c", PROGRAM.format(work=work), *map(str, files)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)


def test_it_goes_on_by_itself(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with _started(LEAVES, log) as process:
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, b"asked\nbegun ab12\n", b"")
    eventually(lambda: "nobody" in log.read_text(), "it goes on")
    pid, session, terminal = log.read_text().split()[:3]
    assert pid == session != str(process.pid)
    assert terminal == "False"
    assert log.stat().st_mode & 0o077 == 0


def test_one_that_fails_before_it_has_begun_says_so_here(tmp_path: Path) -> None:
    with _started("    print('no such host', file=sys.stderr)\n    return 2", tmp_path / "log") as process:
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (2, b"asked\n", b"no such host\n")
    assert not (tmp_path / "log").exists()


def test_one_that_has_nothing_to_do_is_over_at_once(tmp_path: Path) -> None:
    with _started("    return 0", tmp_path / "log") as process:
        process.communicate(timeout=20)
    assert process.returncode == 0


def test_a_full_disk_ends_nothing_that_goes_on_by_itself(tmp_path: Path) -> None:
    with _started(FULL, Path("/dev/full"), tmp_path / "on") as process:
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, b"asked\nbegun ab12\n", b"")
    eventually((tmp_path / "on").exists, "it goes on")


def test_neither_stands_still_by_a_key_before_it_has_left(tmp_path: Path) -> None:
    with _started(STANDS, tmp_path / "log") as process:
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, b"asked\nTrue True\n", b"")


def test_one_that_is_killed_before_it_has_begun(tmp_path: Path) -> None:
    with _started("    os.kill(os.getpid(), 9)", tmp_path / "log") as process:
        process.communicate(timeout=20)
    assert process.returncode == 128 + signal.SIGKILL


def test_a_signal_is_the_runs(tmp_path: Path) -> None:
    with _started(WAITS, tmp_path / "log") as process:
        assert process.stdout is not None
        while b"ready" not in process.stdout.readline():
            pass
        os.kill(process.pid, signal.SIGTERM)
        process.communicate(timeout=20)
    assert process.returncode == 143


class Noted(Leaving):
    """Only notes that it is to leave."""

    def __init__(self) -> None:
        super().__init__(-1, lambda _: Path())
        self.left: list[str] = []

    def leave(self, run_id: str) -> None:
        self.left.append(run_id)


def test_a_swarm_leaves_once_its_seed_runs_and_shows_no_status_from_then_on() -> None:
    caught, noted = Caught(terminal=True, colour=True), Noted()
    departure = Departure(caught.screen, "ab12", noted, bool)
    departure.handle(Notice("a swarm of 3 hosts"))
    caught.screen.show_status("0 of 3")
    assert (noted.left, caught.screen.has_status) == ([], True)
    for _ in range(2):
        departure.handle(SwarmProgress((), True, 0, 0, 0, 0))
    assert (noted.left, caught.screen.has_status) == (["ab12"], False)
    assert caught.err.endswith(ERASE.encode())
    assert caught.screen.out.styled("text", "host") == "text"


def test_it_stays_at_its_terminal_while_a_password_is_typed_there() -> None:
    """Hosts that ask for one come late to a swarm that has begun with the others."""
    noted, asked = Noted(), [True]
    departure = Departure(Caught(terminal=True).screen, "ab12", noted, lambda: asked[0])
    departure.handle(SwarmProgress((), True, 0, 0, 0, 0))
    assert noted.left == []
    asked[0] = False
    departure.handle(SwarmProgress((), True, 0, 0, 0, 0))
    assert noted.left == ["ab12"]
