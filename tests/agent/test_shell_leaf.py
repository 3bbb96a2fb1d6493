"""A host without Python: the parent's part of its agent, and a real shell that does what is to be done."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import subprocess
import time
import zlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nile.agent import leafcommand, leafprogram, wire
from nile.agent.child import GONE, LOGIN
from nile.agent.handshake import Bundle, HandshakeError
from nile.agent.link import LATE_S
from nile.agent.relay import Relay
from nile.agent.shellleaf import HOLD, MOST_NOISE, MOST_WAITING, ShellLeaf, begin
from nile.agent.wire import Frame
from tests.lab.helpers import eventually
from tests.support.deadmount import dead_directory
from tests.support.plans import children, plan_body

SHELLS = [shell for shell in ("dash", "bash", "busybox", "mksh", "ksh93") if shutil.which(shell)]
PATIENCE_S = 120.0  # a busybox looks through the processes of a machine on which all tests run
ALONE = "busybox alone"  # all tools of the host are busybox's
NONCE = "nile0011223344"
BUSYBOX = ""
EVERY = bytes(set(range(1, 256)) - {10}).decode("latin-1")
JOB = {"leftover": "kill", "stdin": False, "program": b"", "code": {}, "outfit": None, "audit": None}


class Leaf:
    """A shell on this machine, and its agent here."""

    def __init__(
        self, command: str, shell: str = "sh", run: str = "", path: str = "", **changes: Any
    ) -> None:
        self.run = run or os.urandom(16).hex()
        have = {"stdout": 0, "stderr": 0}
        self.node: dict[str, Any] = {
            "id": 7, "epoch": 1, "host": "h7", "stage": 1, "parent": "root", "rank": 0, "group": "",
            "groups": "", "asked": True, "line": "", "script": None, "hold": False,
            "again": bool(run), "have": have,
        }  # fmt: skip
        timeout = changes.pop("timeout", None)
        self.shared: dict[str, Any] = {
            "run": self.run, "count": 1, "lease": 30.0, "grace": 0.5, "silence": 5.0, "deaf": 5.0,
            "orphan": "adopt", "window": 1 << 18, "job": {**JOB, "command": command, "timeout": timeout},
        }  # fmt: skip
        self.shared.update(changes)
        self.nonce = "nile" + os.urandom(12).hex()
        self.link = ShellLeaf(self.node, self.shared, self.nonce, time.monotonic())
        words = leafprogram.command_line(self.nonce).replace("exec sh", f"exec {argv_of(shell)}")
        path = path or (BUSYBOX if shell == ALONE else os.environ["PATH"])
        env = {"PATH": path, "SHELL": "/bin/sh", "HOME": "/", "USER": "somebody"}
        self.process = subprocess.Popen(
            ["/bin/sh", "-c", words], stdin=-1, stdout=-1, stderr=subprocess.DEVNULL, bufsize=0, env=env
        )
        self.frames: list[Frame] = []
        self.printed = [b"", b""]
        self.takes = True

    @property
    def directory(self) -> Path:
        return Path(f"/dev/shm/nile-{os.getuid()}-{self.run}-h7")

    def turn(self) -> None:
        """Hear what there is, and say what there is to say."""
        assert self.process.stdout is not None
        if select.select([self.process.stdout], [], [], 0.05)[0]:
            data = os.read(self.process.stdout.fileno(), 1 << 16)
            for frame in self.link.receive(data, time.monotonic()) if data else ():
                self._frame(frame)
        self.link.tick(time.monotonic())
        self._flush()

    def _frame(self, frame: Frame) -> None:
        if frame.type == wire.HELLO:
            self.say(wire.PLAN, {"shared": self.shared, "node": self.node})
        if frame.type != wire.OUTPUT:
            self.frames.append(frame)
            return
        stream, offset, data = wire.unpack_output(frame.body)
        assert offset == len(self.printed[stream])
        self.printed[stream] += data
        if self.takes:
            self.link.take(len(frame.body))
            self.say(wire.ACK, dict(zip(("stdout", "stderr"), map(len, self.printed), strict=True)))

    def say(self, kind: int, value: Any) -> None:
        self.link.send(Frame(kind, 0, 1, (), wire.dumps(value)))

    def _flush(self) -> None:
        assert self.process.stdin is not None
        while self.link.pending():
            self.process.stdin.write(self.link.pull(time.monotonic()))

    def until(self, condition: Callable[[], object], what: str) -> None:
        def holds() -> object:
            self.turn()
            return condition()

        eventually(holds, what, within_s=PATIENCE_S, most_s=0.0)

    def heard(self, kind: int) -> list[Any]:
        return [frame.value() for frame in self.frames if frame.type == kind]

    def result(self) -> dict[str, Any]:
        self.until(lambda: self.heard(wire.RESULT), "the command is over")
        (result,) = self.heard(wire.RESULT)
        return dict(result)

    def hang_up(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()

    def alive(self) -> list[str]:
        """Processes of this run: its command's, and those named like its sleepers."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                argv = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if argv[:2] == [b"sleep", self.naming.encode()]:
                found.append(entry.name)
        return found

    def own(self, file: str = "cmdline") -> list[str]:
        """The shells of this leaf itself, and what they run: what proc(5) has of each in this file."""
        found: dict[int, str] = {}
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                if self.nonce.encode() in (entry / "cmdline").read_bytes() or parent in found:
                    found[int(entry.name)] = (entry / file).read_text()
        return list(found.values())

    @property
    def naming(self) -> str:
        """A time to sleep that no other run has."""
        return f"{900 + int(self.run[:6], 16)}"

    def close(self) -> None:
        self.hang_up()
        self.process.wait(30)
        shutil.rmtree(self.directory, ignore_errors=True)


def argv_of(shell: str) -> str:
    """The words that run this shell."""
    return {ALONE: f"{BUSYBOX}/sh", "busybox": "busybox sh"}.get(shell, shell)


@pytest.fixture(params=[*SHELLS, ALONE])
def shell(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module", autouse=True)
def busybox(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A directory with all that busybox is, and nothing else."""
    global BUSYBOX
    path = shutil.which("busybox")
    assert path, "install busybox, which the tests want"
    BUSYBOX = str(tmp_path_factory.mktemp("busybox"))
    subprocess.run([path, "--install", "-s", BUSYBOX], check=True)
    return BUSYBOX


def sleepers(run: str) -> str:
    """A line whose processes leave the session, and forget what was in their environment."""
    s = f"sleep {900 + int(run[:6], 16)}"
    return f"setsid {s} & env -i setsid {s} & (trap '' TERM; {s}) & {s}"


def test_what_it_prints_and_how_it_ends(shell: str) -> None:
    line = f"printf '%s' '{EVERY.replace(chr(39), '')}'; echo \"$NILE_HOST\n$NILE_SCRATCH\" >&2; exit 7"
    with closing(Leaf(line, shell)) as leaf:
        result = leaf.result()
        assert (result["rc"], result["cause"], result["left"]) == (7, None, [])
        assert leaf.printed[0].decode() == EVERY.replace("'", "")
        assert leaf.printed[1].decode() == f"h7\n{leaf.directory}/scratch\n"
        leaf.say(wire.END, {})
        leaf.until(lambda: leaf.process.poll() is not None, "it left")
        assert not leaf.directory.exists()


def test_a_time_out_ends_all_that_descends(shell: str) -> None:
    run = os.urandom(16).hex()
    with closing(Leaf(sleepers(run), shell, run, timeout=0.5)) as leaf:
        leaf.node["again"] = False
        leaf.until(lambda: len(leaf.alive()) == 4, "it runs")
        result = leaf.result()
        assert result["cause"] == "timeout"
        assert {what for _, _, what in result["left"]} == {1}
        assert not leaf.alive()


def test_who_left_its_session_and_its_parent_is_known_by_the_mark(shell: str) -> None:
    """The grep of busybox reads no further than a zero byte."""
    run = os.urandom(16).hex()
    seconds = 900 + int(run[:6], 16)
    line = f"(setsid sleep {seconds} &); sleep {seconds}"
    with closing(Leaf(line, shell, run, timeout=0.5)) as leaf:
        leaf.node["again"] = False
        assert leaf.result()["cause"] == "timeout"
        assert not leaf.alive()


@pytest.mark.parametrize("silent", [False, True])
def test_nobody_above_it(shell: str, silent: bool) -> None:
    """Whether its parent's end is seen, or no heartbeat comes."""
    run = os.urandom(16).hex()
    with closing(Leaf(sleepers(run), shell, run, lease=2.0 if silent else 60.0)) as leaf:
        leaf.node["again"] = False
        leaf.until(lambda: len(leaf.alive()) == 4, "it runs")
        if not silent:
            leaf.hang_up()
        eventually(lambda: not leaf.alive(), "nothing of it lives", within_s=PATIENCE_S)
        leaf.process.wait(PATIENCE_S)
        eventually(lambda: not list(leaf.directory.iterdir()), "that it began is known, and nothing else")


def test_nobody_above_it_who_takes_what_it_says(shell: str) -> None:
    """A network that was cut: what the host says is stuck, and it hears nothing."""
    run = os.urandom(16).hex()
    with closing(Leaf(f"{sleepers(run)} & yes; yes", shell, run, lease=2.0)) as leaf:
        leaf.node["again"] = False
        leaf.until(lambda: leaf.heard(wire.STARTED) and leaf.printed[0], "it prints")
        eventually(lambda: not leaf.alive(), "nothing of the command lives", within_s=PATIENCE_S)
        eventually(lambda: not leaf.own(), "nor what passed on its output", within_s=PATIENCE_S)
        assert [path.name for path in leaf.directory.iterdir()] == []


@pytest.mark.parametrize("end", ["bye", "hang up", "kill"])
def test_a_command_that_is_about_to_be_is_ended_too(shell: str, end: str, tmp_path: Path) -> None:
    """It has been forked, and bears no mark yet: at its second try it waits in what is to be prepared."""
    fifo, ran = tmp_path / "fifo", tmp_path / "ran"
    os.mkfifo(fifo)
    leaf = Leaf("true", shell, lease=2.0)
    leaf.node["hold"] = True
    with closing(leaf):
        leaf.until(leaf.directory.exists, "it is claimed")
        assert leaf.process.stdin is not None
        prepare = f"[ ! -e {tmp_path}/once ] || read x <{fifo}; : >{tmp_path}/once"
        leaf.process.stdin.write(f"try '{prepare}' touch {ran}\n".encode())
        writer = os.open(fifo, os.O_WRONLY)  # once it reads
        if end == "kill":
            leaf.process.kill()
        elif end == "hang up":
            leaf.hang_up()
        else:
            leaf.process.stdin.write(b"bye 0 1\n")
        leaf.process.wait(PATIENCE_S)
        eventually(lambda: not leaf.own(), "nothing lives", within_s=PATIENCE_S)
        with pytest.raises(BrokenPipeError):
            os.write(writer, b"\n")
        os.close(writer)
        assert not ran.exists()


@pytest.mark.skipif(os.getuid() != 0, reason="only root mounts")
@pytest.mark.parametrize("lost", [False, True])
def test_a_directory_whose_server_is_gone_hangs_the_command_and_not_the_leaf(
    shell: str, lost: bool, tmp_path: Path
) -> None:
    with dead_directory(str(tmp_path / "dead")) as dead:
        leaf = Leaf(f"touch {tmp_path}/ran", shell, timeout=1.0)
        leaf.shared["job"]["outfit"] = {**leafcommand.PLAIN, "cwd": dead}
        with closing(leaf):
            leaf.until(leaf.directory.exists, "it is claimed")
            if lost:
                leaf.until(lambda: waits_in_the_kernel(leaf), "it went there")
                leaf.hang_up()
            else:
                result = leaf.result()
                assert (result["cause"], result["error"], leaf.printed) == ("timeout", None, [b"", b""])
                leaf.say(wire.END, {})
                leaf.until(lambda: leaf.process.poll() is not None, "it left")
            leaf.process.wait(PATIENCE_S)
            eventually(lambda: not leaf.own(), "nothing lives", within_s=PATIENCE_S)
            assert not leaf.directory.exists(), "nothing began"
    assert not (tmp_path / "ran").exists()


def waits_in_the_kernel(leaf: Leaf) -> bool:
    """One of the leaf's processes can't go on, and takes no signal but SIGKILL."""
    return any(" (disk sleep)" in status for status in leaf.own("status"))


@pytest.mark.parametrize("orphan", ["adopt", "finish"])
def test_who_comes_second_finds_a_trace_and_ends_what_is_left(orphan: str) -> None:
    """Unless it is to go on to its end."""
    run = os.urandom(16).hex()
    with closing(Leaf(sleepers(run), run=run, orphan="finish")) as first:
        first.node["again"] = False
        first.until(lambda: len(first.alive()) == 4, "it runs")
        first.hang_up()
        first.process.wait(PATIENCE_S)
        assert len(first.alive()) == 4, "it is to go on to its end"
        with closing(Leaf("echo twice", run=run, orphan=orphan)) as second:
            second.until(lambda: second.heard(wire.STATE), "it says where it stands")
            (state,) = second.heard(wire.STATE)
            assert (state["trace"], state["held"], state["children"]) == ("dead", True, [])
            if orphan == "finish":
                second.say(wire.END, {})
                second.until(lambda: second.process.poll() is not None, "it left")
                assert len(first.alive()) == 4
                for pid in first.alive():
                    os.kill(int(pid), 9)
            eventually(lambda: not first.alive(), "what was left is ended")
            assert second.printed[0] == b""


def test_who_comes_second_ends_the_first_though_it_is_stuck(shell: str) -> None:
    """Nobody reads what it says, and there is no end of file; but the ssh to it may be on this machine."""
    run = os.urandom(16).hex()
    with closing(Leaf("yes", shell, run, lease=60.0)) as first:
        first.node["again"] = False
        first.until(lambda: first.printed[0], "it prints")
        ssh = ["sh", "-c", "read -r end", leafprogram.command_line(first.nonce)]
        with subprocess.Popen(ssh, stdin=-1) as other, closing(Leaf("true", shell, run)) as second:
            second.until(lambda: second.heard(wire.STATE), "it says where it stands")
            eventually(lambda: len(first.own()) == 1, "only that ssh is left", within_s=PATIENCE_S)
            assert other.poll() is None
            assert second.process.poll() is None


def test_one_that_is_to_finish_waits_for_nobody(shell: str, tmp_path: Path) -> None:
    """Whoever passed on its output had been told to wait as its parent was lost."""
    line = f"yes | head -c 4000000; touch {tmp_path}/done"
    with closing(Leaf(line, shell, orphan="finish")) as leaf:
        leaf.takes = False
        leaf.until(lambda: leaf.link._streams["stdout"].held, "it was told to wait")
        leaf.hang_up()
        eventually((tmp_path / "done").exists, "it went on to its end", within_s=PATIENCE_S)
        eventually(lambda: not readers(leaf.directory), "nobody reads on", within_s=PATIENCE_S)


def readers(directory: Path) -> list[str]:
    """Who holds one of its FIFOs."""
    found = []
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            held = [str(fd.readlink()) for fd in (process / "fd").iterdir()]
            found += [process.name for path in held if path.startswith(f"{directory}/")]
    return found


def test_syslog_is_told_where_there_is_a_logger(tmp_path: Path) -> None:
    logger = tmp_path / "logger"
    logger.write_text(f'#!/bin/sh\necho "$*" >>{tmp_path}/log\n')
    logger.chmod(0o755)
    leaf = Leaf("exit 3", path=f"{tmp_path}:{os.environ['PATH']}")
    leaf.shared["job"]["audit"] = {"by": "me@root", "sha256": "abc"}
    with closing(leaf):
        leaf.result()
        log = tmp_path / "log"
        leaf.until(lambda: log.exists() and len(log.read_text().splitlines()) == 2, "it is told twice")
        (pid,) = {value["pid"] for value in leaf.heard(wire.STARTED)}
        said = f"run={leaf.run} host=h7 by=me@root uid={os.getuid()} pid={pid} sha256=abc"
        assert {line.partition("-- ")[2] for line in log.read_text().splitlines()} == {
            f"{said} start",
            f"{said} end rc=3",
        }


def test_where_nothing_began_there_is_no_trace() -> None:
    leaf = Leaf("true")
    leaf.node["hold"] = True
    leaf.until(leaf.directory.exists, "it is claimed")
    leaf.hang_up()
    leaf.process.wait(PATIENCE_S)
    assert not leaf.directory.exists()


def test_a_parent_that_takes_nothing_makes_it_wait() -> None:
    with closing(Leaf("yes | head -c 8000000; echo over >&2")) as leaf:
        leaf.takes = False
        waits: list[int] = []

        def stands() -> bool:
            waits.append(sum(len(stream.waits) for stream in leaf.link._streams.values()))
            return len(waits) > 100 and waits[-1] == waits[-60] > HOLD

        leaf.until(stands, "no more comes")
        assert len(leaf.printed[0]) <= 1 << 18
        assert waits[-1] < 1 << 20
        leaf.takes = True
        leaf.link.take(1 << 20)
        leaf.say(wire.ACK, {"stdout": len(leaf.printed[0]), "stderr": 0})
        assert leaf.result()["rc"] == 0
        assert len(leaf.printed[0]) == 8_000_000


def test_output_that_was_held_for_long_is_not_cut_as_it_goes_on() -> None:
    """The command is over, and a host far away takes its time to pass the rest on."""
    node = {"id": 7, "epoch": 1, "host": "h7", "stage": 1, "parent": "root", "rank": 0, "group": "",
            "groups": "", "asked": True, "line": "", "script": None, "hold": False,
            "again": False, "have": {"stdout": 0, "stderr": 0}}  # fmt: skip
    shared = {"run": "r", "count": 1, "lease": 30.0, "grace": 0.5, "silence": 5.0, "deaf": 5.0,
              "orphan": "adopt", "window": 1 << 16,
              "job": {**JOB, "command": "x", "timeout": None}}  # fmt: skip
    link = ShellLeaf(node, shared, NONCE, 0.0)
    got = 0

    def hear(data: bytes, now: float) -> bytes:
        """What is told then."""
        nonlocal got
        frames = link.receive(data, now)
        got += sum(len(wire.unpack_output(frame.body)[2]) for frame in frames if frame.type == wire.OUTPUT)
        told = b""
        while link.pending():
            told += link.pull(now)
        return told

    def say(kind: int, value: Any) -> None:
        link.send(Frame(kind, 0, 1, (), wire.dumps(value)))

    hear(b"\n%b sh\nh 1 0 100.0 1 u\n" % NONCE.encode(), 0.0)
    say(wire.PLAN, {"shared": shared, "node": node})
    for line in (b"", b"a none /dev/shm/x\n", b"s 5\n"):
        hear(line, 0.0)
    assert b"kill -s STOP $po" in hear((b"o" + b"41" * 1900 + b"\n") * 75, 0.0)
    hear(b"x 0\nc \ne.\n", 0.0)
    for second in range(1, 41):
        say(wire.BEAT, second)
        link.tick(float(second))
        assert b"cut o" not in hear(b"p\n", float(second))
    say(wire.ACK, {"stdout": got, "stderr": 0})
    assert b"kill -s CONT $po" in hear(b"", 40.0)
    link.tick(40.1)
    assert b"cut o" not in hear(b"", 40.1)
    for second in range(41, 80):
        say(wire.BEAT, second)
        link.tick(float(second))
        if b"cut o" in hear(b"p\n", float(second)):
            break
    else:
        pytest.fail("it is never cut")


def test_what_was_left_behind_holds_no_verdict_up() -> None:
    run = os.urandom(16).hex()
    seconds = f"{900 + int(run[:6], 16)}"
    runs = "until grep -q sleep /proc/$!/comm; do :; done"
    leaf = Leaf(f"sleep {seconds} & {runs}; echo x", run=run)
    leaf.shared["job"]["leftover"] = "keep"
    leaf.node["again"] = False
    with closing(leaf):
        result = leaf.result()
        assert (result["rc"], [name for _, name, _ in result["left"]]) == (0, ["sleep"])
        leaf.say(wire.END, {})
        leaf.until(lambda: leaf.process.poll() is not None, "it left")
        (pid,) = leaf.alive()
        os.kill(int(pid), 9)


def test_a_host_that_is_slow_loses_nothing_where_somebody_holds_its_output(
    shell: str, tmp_path: Path
) -> None:
    """However long it takes to pass on what was written before the command ended."""
    od, real = tmp_path / "od", shutil.which("od")
    od.write_text(f'#!/bin/sh\n[ -e {tmp_path}/slow ] && sleep 1.5\nexec {real} "$@"\n')
    od.chmod(0o755)
    run = os.urandom(16).hex()
    line = f"sleep {900 + int(run[:6], 16)} & touch {tmp_path}/slow; head -c 70000 /dev/zero | tr '\\0' x"
    rest = BUSYBOX if shell == ALONE else os.environ["PATH"]
    leaf = Leaf(line, shell, run, path=f"{tmp_path}:{rest}")
    leaf.shared["job"]["leftover"] = "keep"
    leaf.node["again"] = False
    with closing(leaf):
        result = leaf.result()
        assert (result["rc"], result["stdout"], leaf.printed[0]) == (0, 70_000, b"x" * 70_000)
        leaf.say(wire.END, {})
        leaf.until(lambda: leaf.process.poll() is not None, "it left")
        (pid,) = leaf.alive()
        os.kill(int(pid), 9)


def test_a_command_may_be_interrupted(shell: str) -> None:
    """What a shell runs in the background ignores SIGINT and SIGQUIT: busybox alone can't take that back."""
    with closing(Leaf("grep SigIgn /proc/self/status", shell)) as leaf:
        assert leaf.result()["rc"] == 0
        ignored = int(leaf.printed[0].split()[1], 16) & 0xFFF
        assert ignored == (0b110 if shell == ALONE else 0)


def test_what_a_shell_needs_isnt_there(tmp_path: Path) -> None:
    (tmp_path / "sh").symlink_to("/bin/sh")
    leaf = Leaf("true", path=str(tmp_path))
    with pytest.raises(HandshakeError, match="nor what a shell would need: awk cat dd") as caught:
        leaf.until(lambda: False, "it says so")
    assert caught.value.code == "no-python"
    leaf.close()


def link() -> ShellLeaf:
    return ShellLeaf({"id": 7, "again": False}, {"run": "r"}, NONCE, 0.0)


@pytest.mark.parametrize(
    "said", [b"x\n", b"?\n", b"o5\n", b"h 1\n", b"c x\n", b"p" * 9000, b"s x\n", b"s 99999999999\n"]
)
def test_lines_that_break_the_rules(said: bytes) -> None:
    leaf = link()
    leaf.receive(b"Welcome\r\n\n" + NONCE.encode() + b" sh\n", 0.0)
    with pytest.raises(wire.WireError):
        leaf.receive(said, 0.0)


def planned() -> ShellLeaf:
    """A link whose host has its plan, and was asked for its claim."""
    shared = {
        "run": "r", "count": 1, "lease": 30.0, "grace": 0.5, "silence": 5.0, "deaf": 5.0, "orphan": "adopt",
        "window": 1 << 18,
        "job": {**JOB, "command": "true", "timeout": None, "audit": {"by": "me", "sha256": "0"}},
    }  # fmt: skip
    node = {
        "id": 7, "epoch": 1, "host": "h7", "stage": 1, "parent": "root", "rank": 0, "group": "", "groups": "",
        "asked": True, "line": "", "script": None, "hold": True, "again": False,
        "have": {"stdout": 0, "stderr": 0},
    }  # fmt: skip
    leaf = ShellLeaf(node, shared, NONCE, 0.0)
    leaf.receive(b"\n" + NONCE.encode() + b" sh\nh 1 0 9.5 24 root\n", 0.0)
    leaf.send(Frame(wire.PLAN, 0, 1, (), wire.dumps({"shared": shared, "node": node})))
    leaf.pull(0.0)
    return leaf


@pytest.mark.parametrize("said", [b"a none /dev/shm/d\n", b"s 5\n", b"x 0\n", b"f no\n"])
def test_lines_before_the_plan(said: bytes) -> None:
    leaf = link()
    leaf.receive(b"\n" + NONCE.encode() + b" sh\nh 1 0 9.5 24 root\n", 0.0)
    with pytest.raises(wire.WireError):
        leaf.receive(said, 0.0)


def test_lines_that_come_once() -> None:
    leaf = planned()
    for due in (b"a none /dev/shm/d\n", b"s 5\n", b"x 0\n"):
        with pytest.raises(wire.WireError):
            leaf.receive(b"h 1 0 9.5 24 root\n", 0.0)
        leaf.receive(due, 0.0)
        leaf.send(Frame(wire.START, 0, 1, (), b""))
        leaf.pull(0.0)
        with pytest.raises(wire.WireError):
            leaf.receive(due, 0.0)


WHOLE = [b"a none /d", b"a dead", b"s 5", b"x 0", b"x 9", b"c ", b"c 5:sh 6:x", b"o61", b"o.", b"e.", b"p"]
BEGUN = [b"h ", b"m", b"a ", b"s ", b"f ", b"x ", b"c ", b"o", b"e"]
LINES = st.one_of(
    st.sampled_from(WHOLE),
    st.builds(bytes.__add__, st.sampled_from(BEGUN), st.binary()),
    st.builds(b"h 1 0 %s 24 x".__mod__, st.sampled_from([b"1", b"nan", b"-inf", b"1e999"])),
    st.binary(),
)
SAID = st.sampled_from(
    [
        (wire.START, {}),
        (wire.CANCEL, {"grace": 0.1}),
        (wire.END, {}),
        (wire.RESUME, {"stdout": 0, "stderr": 0}),
    ]
)


@settings(max_examples=200, deadline=None)
@given(st.booleans(), st.lists(LINES | SAID | st.floats(0, 99), max_size=12))
def test_no_line_in_any_state_harms_the_parent(has_plan: bool, events: list[Any]) -> None:
    leaf, now = planned() if has_plan else link(), 0.0
    if not has_plan:
        leaf.receive(b"\n" + NONCE.encode() + b" sh\n", 0.0)
    for event in events:
        if isinstance(event, float):
            now += event
            leaf.tick(now)
        elif isinstance(event, tuple):
            leaf.send(Frame(event[0], 0, 1, (), wire.dumps(event[1])))
        else:
            try:
                leaf.receive(event + b"\n", now)
            except (wire.WireError, HandshakeError):
                return  # it is hung up
        leaf.pull(now)


def test_one_that_prints_on_though_it_was_stopped_is_hung_up() -> None:
    leaf = link()
    leaf.receive(b"\n" + NONCE.encode() + b" sh\n", 0.0)
    with pytest.raises(wire.WireError, match="more output"):
        leaf.receive((b"o" + b"78" * 4000 + b"\n") * (MOST_WAITING // 4000 + 2), 0.0)


def test_a_login_that_took_long_is_no_silence_of_the_root() -> None:
    leaf = link()
    leaf.receive(b"\n" + NONCE.encode() + b" sh\n", 9.0)
    (hello,) = leaf.receive(b"h 1 0 86400.5 24 root\n", 12.0)
    assert (hello.type, hello.fields()["uptime"]) == (wire.HELLO, 86400.5)
    node = {"id": 7, "epoch": 1, "host": "h7"}
    shared = {"run": "r", "lease": 5.0, "grace": 1.0, "orphan": "adopt", "window": 9}
    leaf._shared, leaf._entry = shared, {**node, "again": False}
    leaf.send(Frame(wire.PLAN, 0, 1, (), wire.dumps({"shared": shared, "node": node})))
    assert "claim 'r.7.' 'r-h7'" in leaf.pull(12.0).decode()


def test_endless_noise_before_it() -> None:
    leaf = link()
    for _ in range(MOST_NOISE // 65536):
        leaf.receive(b"." * 65536, 0.0)
    with pytest.raises(HandshakeError, match="without end"):
        leaf.receive(b"." * 65536, 0.0)


def test_who_is_of_the_command_isnt_for_others_to_say(shell: str) -> None:
    """A process of somebody else may have lines in its name."""
    rest = " 0 -1" + " 0" * 44
    said = ["/proc/5/environ"]
    for pid, name, parent in (
        (1, "init", 0),
        (5, "its own", 1),
        (6, "a) b", 5),
        (7, "x\n/proc/9/", 1),
        (8, "x\n9 (y) R 5 5", 1),
        (9, "innocent", 1),
        (10, "", 6),
    ):
        said.append(f"{pid} ({name}) S {parent} {pid} {pid}{rest}")
    (kin,) = (line for line in leafprogram.PROGRAM if line.startswith("kin()"))
    words = [*argv_of(shell).split(), "-c", f'{kin}\nkin 0 0 ""']
    found = subprocess.run(
        words, input="\n".join(said) + "\n", capture_output=True, check=True, text=True
    ).stdout
    assert set(found.split()) == {"5", "6", "10"}


def test_a_link_is_nobodys_claim(tmp_path: Path) -> None:
    (tmp_path / "kept").touch()
    leaf = Leaf("echo done")
    leaf.directory.symlink_to(tmp_path)
    try:
        leaf.until(lambda: leaf.heard(wire.RESULT), "it found another place, or none")
        assert (tmp_path / "kept").exists()
    finally:
        leaf.directory.unlink()
        leaf.close()


@pytest.mark.parametrize("told", [False, True])
def test_one_that_was_succeeded_ends_nothing(told: bool) -> None:
    run = os.urandom(16).hex()
    with closing(Leaf(sleepers(run), run=run)) as leaf:
        leaf.node["again"] = False
        leaf.until(lambda: len(leaf.alive()) == 4, "it runs")
        mine = (leaf.directory / "m").read_text()
        (leaf.directory / "m").write_text("1\n")
        if told:
            assert leaf.process.stdin is not None
            leaf.process.stdin.write(b"bye 0 1\n")
        else:
            leaf.hang_up()
        leaf.process.wait(PATIENCE_S)
        assert mine.split() == [leaf.nonce]
        assert len(leaf.alive()) == 4
        assert (leaf.directory / "m").exists()
        for pid in leaf.alive():
            os.kill(int(pid), 9)


def test_an_od_that_cant_do_it_is_none(tmp_path: Path) -> None:
    od = tmp_path / "od"
    od.write_text("#!/bin/sh\nexit 1\n")
    od.chmod(0o755)
    leaf = Leaf("true", path=f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(HandshakeError, match="what a shell would need: od -An -v -tx1"):
        leaf.until(lambda: leaf.heard(wire.RESULT), "it says so")
    leaf.close()


def test_a_script_that_found_no_room_is_not_run(shell: str) -> None:
    leaf = Leaf("", shell)
    text = b"#!/bin/sh\necho " + b"x" * 5000 + b"\n"
    leaf.node["script"] = {"name": "s.sh", "data": zlib.compress(text), "args": []}
    leaf.node["hold"] = True
    with closing(leaf):
        leaf.until(leaf.directory.exists, "it is claimed")
        (leaf.directory / "script").symlink_to("/dev/full")
        leaf.say(wire.START, {})
        assert leaf.result()["error"] == f"--script: {leaf.directory} has no room for it"
        assert leaf.printed == [b"", b""]


@pytest.mark.parametrize("word", ["", "it's", "a\nb\n", '$x `y` \\ " !', "ä"])
def test_a_quoted_word_is_on_one_line_and_the_same(shell: str, word: str) -> None:
    line = leafprogram.quoted(word)
    assert "\n" not in line
    program = "\n".join([leafprogram.PROGRAM[0], f"printf %s {line}"])
    words = argv_of(shell).split()
    assert subprocess.run([*words, "-c", program], capture_output=True, check=True).stdout.decode() == word


def relay_above() -> Relay:
    """A parent that is to log in to such a host by itself."""
    shared = plan_body()["shared"]
    it = Relay((1, 1), shared, Bundle([("nile", b"pass\n")], [], "00"), lambda: 0.5, lambda: NONCE)
    it.shell = begin
    (entry,) = children(1, connect=9.0)
    it.adopt([{**entry, "shell": {"x": b""}}], 0.0)
    assert it.children[2].state == LOGIN
    return it


def test_a_login_that_a_busy_host_turned_away_is_tried_again() -> None:
    it = relay_above()
    assert it.closed(2, "255", "Connection reset", True, 0.1) == []
    assert [effect[0] for effect in it.tick(1.1)] == ["up", "login"]
    it.data(2, b"\n" + NONCE.encode() + b" sh\n", 1.2)  # now it is in
    assert [effect[0] for effect in it.closed(2, "255", "Connection reset", True, 1.3)] == ["up"]
    assert it.children[2].state == GONE


def test_what_its_parent_slept_through_is_no_silence_of_the_host() -> None:
    leaf = link()
    leaf.receive(b"\n" + NONCE.encode() + b" sh\n", 1.0)
    leaf.tick(1.0)
    leaf.pull(21.0)  # a heartbeat is passed on before the tick that is due
    leaf.tick(21.0)
    assert 21.0 - leaf.last_in <= LATE_S


def test_it_is_asked_for_one_word_however_often_is_pulled() -> None:
    leaf = link()
    leaf.receive(b"\n" + NONCE.encode() + b" sh\nh 1 0 86400.5 24 root\n", 0.0)
    node = {"id": 7, "epoch": 1, "host": "h7", "again": False, "asked": True, "hold": True}
    shared = {"run": "r", "lease": 5.0, "grace": 1.0, "orphan": "adopt", "window": 9}
    leaf._shared, leaf._entry = shared, node
    leaf.send(Frame(wire.PLAN, 0, 1, (), wire.dumps({"shared": shared, "node": node})))
    leaf.pull(0.0)
    leaf.receive(b"a none /dev/shm/r\n", 0.0)
    leaf.send(Frame(wire.CANCEL, 0, 1, (), wire.dumps({"grace": 1.0})))
    assert [leaf.pull(0.0) for _ in range(3)] == [b"echo p\n", b"", b""]
    assert [frame.type for frame in leaf.receive(b"p\n", 0.0)] == [wire.RESULT]
