"""The command of a real agent: what it is given, and that nothing of it lives on when it must not."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nile.agent import wire
from nile.agent.stopping import KILLED, SURVIVED
from nile.agent.wire import Frame
from tests.agent.parent import (
    BY_AGE,
    MEMORY,
    Parent,
    alive,
    claims_of,
    host_environment,
    marked,
    wait_until,
)
from tests.support.plans import make_plan

DAEMON = "setsid sh -c 'setsid sleep 600 </dev/null >/dev/null 2>&1 &' </dev/null >/dev/null 2>&1"


@pytest.fixture(params=[BY_AGE[0], BY_AGE[-1]], ids=["oldest", "newest"])
def parent(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Parent]:
    """An agent under the oldest or the newest Python, ready for a plan."""
    with Parent(host_environment(tmp_path, request.param)) as ready:
        ready.wait_for(wire.HELLO)
        yield ready


@pytest.fixture
def run() -> Iterator[str]:
    """A run's name; what bears it and its scratch directories must be gone in the end."""
    name = secrets.token_hex(16)
    yield name
    for pid in marked(name):
        os.kill(pid, signal.SIGKILL)


def scratch(run: str) -> list[Path]:
    """What a command could write to: its claim, which stays as a tombstone, has nothing but a FIFO then."""
    found: list[Path] = []
    for claim in claims_of(run):
        with contextlib.suppress(FileNotFoundError):  # it went just now
            found += [path for path in claim.iterdir() if path.name != "wake"]
    return found


def gone(run: str) -> bool:
    return not marked(run) and not scratch(run)


class TestWhatItGets:
    def test_the_environment_of_the_login_and_what_nile_adds(
        self, parent: Parent, run: str, tmp_path: Path
    ) -> None:
        python = Path(f"/proc/{parent.agent_pid}/environ").read_bytes()  # the login's, by the kernel
        assert parent.run("env -0", run=run, host="web-1", stage=2)["rc"] == 0
        pairs = (item.split("=", 1) for item in parent.output().decode().split("\0") if item)
        got = dict(pairs)
        login = dict(item.decode().split("=", 1) for item in python.split(b"\0") if item)
        added = {key for key in got if key not in login} - {"_", "SHLVL", "PWD", "OLDPWD"}
        expected = {"RUN", "HOST", "STAGE", "PARENT", "RANK", "COUNT", "SCRATCH", "PYTHON", "GROUP", "GROUPS"}
        assert added == {f"NILE_{each}" for each in expected}
        assert "LC_CTYPE" not in got
        assert (got["NILE_RUN"], got["NILE_HOST"], got["NILE_STAGE"]) == (run, "web-1", "2")
        assert got["PATH"] == host_environment(tmp_path)["PATH"] or got["PATH"].startswith(str(tmp_path))

    def test_no_lc_ctype_though_python_coerces_the_locale(self, tmp_path: Path) -> None:
        environment = {**host_environment(tmp_path), "LANG": "C"}
        environment.pop("LC_ALL", None)
        with Parent(environment) as parent:
            parent.run("env")
            assert b"LC_CTYPE" not in parent.output()

    def test_words_that_are_no_utf8_survive(self, tmp_path: Path) -> None:
        environment = {**host_environment(tmp_path), "STRANGE": os.fsdecode(b"caf\xe9")}
        with Parent(environment) as parent:
            parent.run("printf %s \"$STRANGE\"; printf '\\377'")
            assert parent.output() == b"caf\xe9\xff"

    def test_directory_umask_session_and_descriptors(self, tmp_path: Path) -> None:
        home = tmp_path / "home"
        home.mkdir()
        with Parent(host_environment(tmp_path), cwd=home, umask=0o27) as parent:
            parent.run("pwd; umask; ps -o sid= -p $$ | tr -d ' '; echo $$; ls -1 /proc/self/fd; cat")
            words = parent.output().split()
            assert words[:2] == [str(home).encode(), b"0027"]
            assert words[2] == words[3]
            # 3 is the listing's own.
            assert words[4:] == [b"0", b"1", b"2", b"3"]

    def test_a_descriptor_that_the_login_left_open_is_closed(self, tmp_path: Path) -> None:
        with Parent(host_environment(tmp_path), prefix="exec 7</etc/passwd; ") as parent:
            parent.run("ls -1 /proc/self/fd")
            assert b"7" not in parent.output().split()
            held = Path(f"/proc/{parent.agent_pid}/fd").iterdir()
            assert Path("/etc/passwd") not in [fd.readlink() for fd in held]

    def test_sigpipe_ends_it_as_in_a_shell(self, parent: Parent) -> None:
        parent.run("bash -c 'yes | head -1; echo ${PIPESTATUS[0]}'")
        assert parent.output() == b"y\n141\n"

    def test_no_signal_is_ignored_or_blocked(self, parent: Parent) -> None:
        parent.run("grep -E '^Sig(Ign|Blk)' /proc/self/status")
        masks = {line.split(b":")[0]: int(line.split()[1], 16) for line in parent.output().splitlines()}
        own = 1 << 31 | 1 << 32  # signals 32 and 33 are the C library's own: its posix_spawn ignores them
        assert {name: mask & ~own for name, mask in masks.items()} == {b"SigBlk": 0, b"SigIgn": 0}

    def test_its_standard_input_is_empty(self, parent: Parent) -> None:
        assert parent.run("cat; readlink /proc/self/fd/0")["rc"] == 0
        assert parent.output() == b"/dev/null\n"

    def test_standard_input_that_is_broadcast(self, parent: Parent) -> None:
        parent.start("cat", stdin=True)
        parent.wait_for(wire.STARTED)
        data = bytes(range(256)) * 1000
        for at in range(0, len(data), wire.CHUNK):
            parent.send(Frame(wire.STDIN, body=data[at : at + wire.CHUNK]))
        parent.send(Frame(wire.STDIN))
        assert parent.result()["rc"] == 0
        assert parent.output() == data
        taken = [frame.value() for frame in parent.frames if frame.type == wire.TAKEN]
        assert taken == sorted(taken)
        assert taken[-1] == 1 << 62

    def test_its_scratch_is_private_and_in_memory(self, parent: Parent, run: str) -> None:
        parent.run('echo "$NILE_SCRATCH"; stat -c %a "$NILE_SCRATCH"; echo x > "$NILE_SCRATCH/file"', run=run)
        name, mode = parent.output().decode().split()
        assert name.startswith(str(MEMORY))
        assert mode == "700"
        assert scratch(run) == [Path(name)]
        parent.send(Frame(wire.END, 0, 1, (), wire.dumps({})))
        parent.wait_closed()
        wait_until(lambda: not scratch(run), "the scratch directory's end")


class TestHowItEnds:
    @pytest.mark.parametrize(
        ("command", "rc", "signum"),
        [("true", 0, None), ("exit 200", 200, None), ("kill -9 $$", None, 9), ("nosuchcommand", 127, None)],
    )
    def test_status_or_signal(self, parent: Parent, command: str, rc: int | None, signum: int | None) -> None:
        result = parent.run(command)
        assert (result["rc"], result["signal"], result["cause"]) == (rc, signum, None)

    def test_a_shell_that_is_not_there(self, tmp_path: Path) -> None:
        with Parent({**host_environment(tmp_path), "SHELL": "/no/such/shell"}) as parent:
            result = parent.run("true")
            assert result["error"] == "/no/such/shell: No such file or directory"
            assert not any(frame.type == wire.STARTED for frame in parent.frames)

    def test_more_output_than_its_window_waits(self, parent: Parent, run: str) -> None:
        parent.start("head -c 1000000 /dev/zero; echo done >&2", window=100_000, run=run)
        parent.wait(lambda: len(parent.output()) == 100_000)
        parent.read(0.3)
        assert len(parent.output()) == 100_000
        while not any(frame.type == wire.RESULT for frame in parent.frames):
            parent.acknowledge()
            parent.read(0.2)
        parent.wait(lambda: len(parent.output()) == parent.result()["stdout"] == 1_000_000)
        assert parent.output("stderr") == b"done\n"

    def test_output_that_a_leftover_holds_open_is_not_waited_for(self, parent: Parent, run: str) -> None:
        result = parent.run("sleep 600 & echo said", run=run)
        assert parent.output() == b"said\n"
        ((_, name, killed),) = result["left"]
        assert name in ("sh", "sleep")  # seen before its exec, or after
        assert not killed

    def test_a_time_out_kills_all_of_it(self, parent: Parent, run: str) -> None:
        result = parent.run(f"trap '' TERM; {DAEMON}; sleep 600", timeout=0.3, grace=0.3, run=run)
        assert result["cause"] == "timeout"
        wait_until(lambda: set(marked(run)) <= {parent.agent_pid}, "their death")

    def test_cancel_with_grace_lets_it_clean_up(self, parent: Parent, run: str) -> None:
        command = "trap 'echo cleaned; exit 5' TERM; echo ready; while :; do sleep 0.05; done"
        parent.start(command, grace=10.0, run=run)
        parent.wait(lambda: parent.output() == b"ready\n")
        parent.send(Frame(wire.CANCEL, body=wire.dumps({"grace": 10.0})))
        result = parent.result()
        assert (result["rc"], result["cause"]) == (5, "cancelled")
        assert parent.output() == b"ready\ncleaned\n"

    def test_a_stopped_command_is_ended_too(self, parent: Parent, run: str) -> None:
        parent.start("kill -STOP $$", grace=10.0, run=run)
        parent.wait_for(wire.STARTED)
        parent.send(Frame(wire.CANCEL, body=wire.dumps({"grace": 10.0})))
        assert parent.result()["signal"] == signal.SIGTERM


class TestNoSurvivors:
    """By every way in which an agent can end, all descendants and the scratch directory go with it."""

    FORKS = (
        f"for i in 1 2 3 4 5; do {DAEMON}; done; "
        "trap '' TERM HUP; python3 -c '"
        "import os, time\n"
        "for _ in range(5):\n"
        "    if os.fork() == 0:\n"
        "        os.setsid()\n"
        "        if os.fork(): os._exit(0)\n"
        "        time.sleep(600)\n"
        "print(1, flush=True)\n"
        "time.sleep(600)'"
    )

    def begin(self, parent: Parent, run: str, orphan: str = "adopt") -> None:
        parent.start(self.FORKS, run=run, grace=0.2, orphan=orphan)
        parent.wait(lambda: parent.output() == b"1\n", "its processes")
        wait_until(lambda: len(marked(run)) >= 10, "its daemons")
        assert scratch(run)

    def test_the_parent_hangs_up(self, parent: Parent, run: str) -> None:
        self.begin(parent, run, orphan="kill")
        parent.hang_up()
        wait_until(lambda: gone(run), "the end of all processes")

    def test_the_root_says_end(self, parent: Parent, run: str) -> None:
        self.begin(parent, run)
        parent.send(Frame(wire.END, 0, 1, (), wire.dumps({})))
        wait_until(lambda: gone(run), "the end of all processes")

    def test_no_heartbeat_comes(self, parent: Parent, run: str) -> None:
        parent.start(self.FORKS, run=run, grace=0.2, lease=1.0)
        wait_until(lambda: len(marked(run)) >= 10, "its processes")
        wait_until(lambda: gone(run), "the end of all processes")

    def test_heartbeats_keep_it_alive(self, parent: Parent, run: str) -> None:
        parent.start("sleep 600", run=run, grace=0.2, lease=1.0)
        until = time.monotonic() + 3.0
        for number in range(1, 1000):
            parent.send(Frame(wire.BEAT, body=wire.dumps(number)))
            parent.read(0.1)
            if time.monotonic() > until:
                break
        assert any("sleep" in Path(f"/proc/{pid}/comm").read_text() for pid in marked(run))

    def test_the_agent_is_killed(self, parent: Parent, run: str) -> None:
        self.begin(parent, run)
        os.kill(parent.agent_pid, signal.SIGKILL)
        wait_until(lambda: gone(run), "the end of all processes")
        parent.wait_closed()

    def test_the_warden_is_killed(self, parent: Parent, run: str) -> None:
        self.begin(parent, run)
        os.kill(parent.warden_pid, signal.SIGKILL)
        wait_until(lambda: gone(run), "the end of all processes")
        parent.wait_closed()

    @pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
    def test_the_agent_gets_a_signal(self, parent: Parent, run: str, signum: signal.Signals) -> None:
        self.begin(parent, run)
        os.kill(parent.agent_pid, signum)
        wait_until(lambda: gone(run), "the end of all processes")

    def test_the_warden_gets_sigterm(self, parent: Parent, run: str) -> None:
        self.begin(parent, run)
        os.kill(parent.warden_pid, signal.SIGTERM)
        wait_until(lambda: gone(run), "the end of all processes")

    def test_the_parent_sends_rubbish(self, parent: Parent, run: str) -> None:
        self.begin(parent, run)
        assert parent.process.stdin is not None
        parent.process.stdin.write(b"\xff" * 100)
        parent.process.stdin.flush()
        wait_until(lambda: gone(run), "the end of all processes")

    def test_a_fork_storm(self, parent: Parent, run: str) -> None:
        """Every process starts another one and ends; forty of them at any time, at most 20,000 in all."""
        storm = (
            "python3 -c '"
            "import os, time\n"
            "for _ in range(40):\n"
            "    if os.fork() == 0:\n"
            "        for _ in range(500):\n"
            "            if os.fork(): os._exit(0)\n"
            "            os.setsid()\n"
            "            time.sleep(0.01)\n"
            "        os._exit(0)\n"
            "print(1, flush=True)\n"
            "time.sleep(600)'"
        )
        parent.start(storm, run=run, grace=0.1)
        parent.wait(lambda: parent.output() == b"1\n", "the storm")
        os.kill(parent.agent_pid, signal.SIGKILL)
        wait_until(lambda: gone(run), "the end of all processes")

    def test_the_warden_is_asked_to_end_while_it_cleans_up(self, parent: Parent, run: str) -> None:
        """As at a shutdown, where everybody is told to end, and told again."""
        self.begin(parent, run)
        warden = parent.warden_pid
        os.kill(parent.agent_pid, signal.SIGKILL)
        while alive(warden):
            with contextlib.suppress(ProcessLookupError):
                os.kill(warden, signal.SIGTERM)
        wait_until(lambda: gone(run), "the end of all processes")

    def test_what_fails_leaves_nothing(self, parent: Parent, run: str) -> None:
        result = parent.run(f"{DAEMON}; sleep 0.1; exit 3", run=run, grace=0.2)
        assert result["rc"] == 3
        assert [left[1:] for left in result["left"]] == [["sleep", True]]
        assert set(marked(run)) == set()


class TestLeftovers:
    @pytest.mark.parametrize("ending", ["end", "hang up", "kill the agent"])
    def test_what_success_left_stays(self, parent: Parent, run: str, ending: str) -> None:
        result = parent.run(f"{DAEMON}; sleep 0.1", run=run, orphan="kill")
        (pid, name, killed) = result["left"][0]
        assert (name, killed) == ("sleep", False)
        warden = parent.warden_pid
        if ending == "end":
            parent.send(Frame(wire.END, 0, 1, (), wire.dumps({})))
        elif ending == "hang up":
            parent.hang_up()
        else:
            os.kill(parent.agent_pid, signal.SIGKILL)
        wait_until(lambda: not alive(warden), "the warden's end")
        assert alive(pid) == (ending != "kill the agent")
        assert not scratch(run)

    def test_unless_it_may_not(self, parent: Parent, run: str) -> None:
        result = parent.run(f"{DAEMON}; sleep 0.1", run=run, leftover="kill", grace=0.2)
        assert result["rc"] == 0
        assert [left[1:] for left in result["left"]] == [["sleep", True]]
        assert marked(run) == []


def test_what_outlives_sigkill_is_named(run: str) -> None:
    """The agent is nobody's, and its command became root's by a program that may do that."""
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "/bin/sh", "-c")
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        Path(name).chmod(0o755)
        become = Path(shutil.copy("/usr/bin/setpriv", name))
        become.chmod(0o4755)
        root = f"{become} --reuid=0 --regid=0 --clear-groups sh -c 'echo up; exec sleep 600'"
        parent = stack.enter_context(Parent(host_environment(Path(name)), nobody))
        parent.start(f"{root} & sleep 601", run=run)
        parent.wait(lambda: parent.output() == b"up\n")
        parent.send(Frame(wire.CANCEL, body=wire.dumps({"grace": 0.2})))
        outlived, *killed = parent.result()["left"]
        stack.callback(os.kill, outlived[0], signal.SIGKILL)
        assert (outlived[1:], alive(outlived[0])) == (["sleep", SURVIVED], True)
        assert {became for _, _, became in killed} == {KILLED}
        assert [name for _, name, _ in killed] == ["sh", "sleep"]
        assert not any(alive(pid) for pid, _, _ in killed)


def test_a_plan_is_obeyed_once(tmp_path: Path) -> None:
    with Parent(host_environment(tmp_path)) as parent:
        parent.start("echo first; sleep 0.2")
        parent.send(make_plan("echo second"))
        parent.send(Frame(wire.START, 0, 1, (), wire.dumps({})))
        parent.result()
        assert parent.output() == b"first\n"
