"""Claims and adoption with real agents: who comes second hands over, and the command runs once."""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from nile.agent import wire
from nile.agent.handshake import Bundle
from nile.agent.wire import Frame
from nile.bootstrap import agent_bundle
from tests.agent.parent import (
    DEADLINE_S,
    MEMORY,
    PYTHONS,
    Parent,
    alive,
    claims_of,
    host_environment,
    marked,
    wait_until,
)
from tests.support.local import FAKE_SSH
from tests.support.plans import children

NOTHING = {"stdout": 0, "stderr": 0}
# Runs once for each line in `ran`; prints one, and two once `go` is there.
STEPS = "echo x >> ran; echo one; until [ -e go ]; do sleep 0.02; done; echo two"

Login = Callable[..., Parent]


@pytest.fixture
def run() -> Iterator[str]:
    """A run's name: in the end nothing that bears it is left."""
    name = secrets.token_hex(16)
    yield name
    for pid in marked(name):
        os.kill(pid, signal.SIGKILL)


@pytest.fixture
def logins() -> Iterator[ExitStack]:
    """Logins that are to end with the test, the last first."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def login(tmp_path: Path, run: str, logins: ExitStack) -> Login:
    """Log in to the one host, and send it its plan: `login(epoch, command, ...)`."""

    def make(epoch: int, command: str = STEPS, python: Path | None = None, **how: Any) -> Parent:
        parent = logins.enter_context(Parent(host_environment(tmp_path, python)))
        parent.start(command, run=run, epoch=epoch, **how)
        return parent

    return make


def state(parent: Parent) -> dict[str, Any]:
    fields = parent.wait_for(wire.STATE).fields()
    assert fields.pop("uptime") > 0
    return fields


def pieces(parent: Parent) -> list[tuple[int, int, bytes]]:
    """What it sent of output: stream, offset, bytes."""
    return [wire.unpack_output(frame.body) for frame in _of(parent, wire.OUTPUT)]


def ran(directory: Path) -> int:
    """How often the command was started."""
    return len((directory / "ran").read_text().split())


def holds_one(run: str) -> bool:
    """Is the claim there, and nothing that a newcomer put beside it?"""
    return [path.name.rpartition("-")[2] for path in claims_of(run)] == ["h1"]


@contextlib.contextmanager
def frozen(pid: int) -> Iterator[None]:
    """A process that stands still meanwhile."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def kill_both(parent: Parent) -> None:
    """Agent and warden at once: nobody is left to clean up."""
    agent, warden = parent.agent_pid, parent.warden_pid
    os.kill(agent, signal.SIGSTOP)
    os.kill(warden, signal.SIGKILL)
    os.kill(agent, signal.SIGKILL)
    wait_until(lambda: not alive(agent) and not alive(warden), "their end")


def python(version: str) -> Path:
    found = [path for path in PYTHONS if path.parents[1].name.startswith(version + ".")]
    return found[0] if found else pytest.skip(f"no Python {version} here")


class TestHandOver:
    @pytest.mark.parametrize("version", ["3.6", "3.8", "3.12", "3.13"])
    @pytest.mark.parametrize("hangs_up", [True, False], ids=["its link ended", "its link is silent"])
    def test_the_first_goes_on_over_the_second_login(
        self, login: Login, tmp_path: Path, run: str, version: str, hangs_up: bool
    ) -> None:
        first = login(1, python=python(version))
        first.wait(lambda: first.output() == b"one\n")
        agent = first.agent_pid
        if hangs_up:
            first.hang_up()
        second = login(2, python=python(version))
        assert state(second) == {"trace": "alive", "held": False, "ask": 0, "children": []}
        assert {(frame.origin, frame.epoch) for frame in second.frames[1:]} <= {(1, 2)}
        (tmp_path / "go").touch()
        result = second.result()
        assert (result["rc"], result["stdout"]) == (0, 8)
        assert second.output() == b"one\ntwo\n"
        assert second.agent_pid != agent
        assert alive(agent)
        assert ran(tmp_path) == 1
        second.end()
        second.wait_closed()
        wait_until(lambda: not alive(agent) and claims_of(run) == [], "the end without a trace")

    def test_a_lease_that_is_longer_than_any_poll_hinders_nothing(self, login: Login, tmp_path: Path) -> None:
        first = login(1, lease=1e8)
        first.wait(lambda: first.output() == b"one\n")
        second = login(2, lease=1e8)
        assert state(second)["trace"] == "alive"
        (tmp_path / "go").touch()
        assert second.result()["rc"] == 0

    def test_only_what_the_root_lacks_comes_again(self, login: Login, tmp_path: Path) -> None:
        first = login(1)
        first.wait(lambda: first.output() == b"one\n")
        second = login(2, have={"stdout": 3, "stderr": 0})
        state(second)
        (tmp_path / "go").touch()
        second.wait_for(wire.RESULT)
        assert pieces(second) == [(0, 3, b"\n"), (0, 4, b"two\n")]

    def test_what_was_printed_meanwhile_is_kept_up_to_the_window(self, login: Login, tmp_path: Path) -> None:
        command = "until [ -e go ]; do sleep 0.02; done; seq 100000; touch printed"
        first = login(1, command, window=50_000)
        first.wait_for(wire.STARTED)
        first.hang_up()
        wait_until(lambda: not _sees_end(first), "its being alone")
        (tmp_path / "go").touch()
        second = login(2, command, window=50_000)
        state(second)
        printed = b"".join(b"%d\n" % number for number in range(1, 100001))
        until = time.monotonic() + DEADLINE_S
        while len(second.output()) < len(printed) and time.monotonic() < until:
            second.send(Frame(wire.ACK, 0, 2, (), wire.dumps({"stdout": len(second.output()), "stderr": 0})))
            second.read(0.05)
        assert second.output() == printed
        assert second.result()["rc"] == 0

    def test_a_result_that_nobody_heard_comes_again(self, login: Login, tmp_path: Path) -> None:
        (tmp_path / "go").touch()
        first = login(1)
        first.result()
        first.hang_up()
        second = login(2)
        assert state(second)["trace"] == "alive"
        assert second.result()["rc"] == 0
        assert second.output() == b"one\ntwo\n"
        assert ran(tmp_path) == 1

    @pytest.mark.parametrize("epoch", [1, 2])
    def test_a_lower_epoch_or_the_same_is_refused(
        self, login: Login, tmp_path: Path, run: str, epoch: int
    ) -> None:
        first = login(2)
        first.wait(lambda: first.output() == b"one\n")
        second = login(epoch)
        second.wait_closed()
        assert {frame.type for frame in second.frames} == {wire.HELLO}
        (tmp_path / "go").touch()
        assert first.result()["rc"] == 0
        assert first.output() == b"one\ntwo\n"
        assert holds_one(run)

    def test_again_and_again(self, login: Login, tmp_path: Path, run: str) -> None:
        parents = [login(1)]
        parents[0].wait(lambda: parents[0].output() == b"one\n")
        for epoch in range(2, 6):
            parents[-1].hang_up()
            parents.append(login(epoch))
            assert state(parents[-1])["trace"] == "alive"
        (tmp_path / "go").touch()
        assert parents[-1].result()["rc"] == 0
        assert parents[-1].output() == b"one\ntwo\n"
        assert ran(tmp_path) == 1
        for parent in parents[1:-1]:  # the first shell waits for the agent that goes on
            parent.wait_closed()
        wait_until(lambda: len(claims_of(run)) == 2, "only the last newcomer's directory beside the claim")

    def test_a_command_that_starts_afterwards_gets_none_of_it(self, login: Login) -> None:
        command = "ls -1 /proc/self/fd; readlink /proc/self/fd/0"
        first = login(1, command, hold=True)
        first.wait_for(wire.HELLO)
        second = login(2, command, hold=True)
        assert state(second)["held"]
        second.send(Frame(wire.START, 0, 2, (), wire.dumps({})))
        assert second.result()["rc"] == 0
        assert second.output() == b"0\n1\n2\n3\n/dev/null\n"  # 3 is the listing's own


def _sees_end(parent: Parent) -> bool:
    """Does the agent still watch the login that it had?"""
    return Path(f"/proc/{parent.agent_pid}/fd/0").readlink() != Path("/dev/null")


class TestTheHolderIsDead:
    def test_what_it_left_is_killed_and_nothing_started(self, login: Login, tmp_path: Path, run: str) -> None:
        command = "echo x >> ran; mkdir $NILE_SCRATCH/d; echo begun; setsid sleep 600 & sleep 600"
        first = login(1, command)
        first.wait(lambda: first.output() == b"begun\n")
        wait_until(lambda: len(marked(run)) == 3, "its processes")
        kill_both(first)
        assert len(marked(run)) == 3
        second = login(2, command)
        assert state(second) == {"trace": "dead", "held": True, "ask": 0, "children": []}
        assert marked(run) == []
        second.read(0.2)
        assert ran(tmp_path) == 1
        second.send(Frame(wire.START, 0, 2, (), wire.dumps({})))  # only the root may
        second.wait(lambda: second.output() == b"begun\n")
        assert ran(tmp_path) == 2
        third = login(3, command)  # the claim is the second's now
        assert state(third)["trace"] == "alive"
        assert ran(tmp_path) == 2

    def test_what_one_left_that_was_to_stay_stays(self, login: Login, run: str) -> None:
        """Its lease ended once its command had succeeded; the next login comes an hour later."""
        first = login(1, "setsid sleep 600 >/dev/null 2>&1 & echo up", lease=1.0)
        assert first.result()["rc"] == 0
        agent, warden = first.agent_pid, first.warden_pid
        kept = marked(run)
        first.hang_up()
        wait_until(lambda: not (alive(agent) or alive(warden)), "the end of both")
        assert (len(kept), marked(run)) == (1, kept)
        second = login(2)
        assert state(second)["trace"] == "dead"
        assert marked(run) == kept

    def test_of_two_that_come_one_has_the_claim(self, login: Login, run: str, tmp_path: Path) -> None:
        kill_both_of = login(1)
        kill_both_of.wait(lambda: kill_both_of.output() == b"one\n")
        kill_both(kill_both_of)
        with ExitStack() as stack:
            two = [stack.enter_context(Parent(host_environment(tmp_path))) for _ in range(2)]
            for parent in two:
                parent.wait_for(wire.HELLO)
            for epoch, parent in zip((3, 2), two, strict=True):
                parent.start(STEPS, run=run, epoch=epoch)
            until = time.monotonic() + 10
            while time.monotonic() < until and not any(frame.type == wire.STATE for frame in two[0].frames):
                for parent in two:
                    parent.read(0.01)
            assert state(two[0])["trace"] in ("dead", "alive")
            assert sum(frame.type == wire.STATE for parent in two for frame in parent.frames) <= 2
            assert ran(tmp_path) == 1
            two[0].end()
            two[0].wait_closed()

    def test_a_tombstone_stays_until_the_root_says_end(self, login: Login, run: str) -> None:
        first = login(1)
        first.wait(lambda: first.output() == b"one\n")
        os.kill(first.agent_pid, signal.SIGKILL)
        first.wait_closed()
        wait_until(lambda: not marked(run), "its command's end")
        (claim,) = claims_of(run)
        wait_until(lambda: [path.name for path in claim.iterdir()] == ["wake"], "the scratch directory's end")
        second = login(2)
        assert state(second)["trace"] == "dead"
        second.end()
        second.wait_closed()
        wait_until(lambda: not claims_of(run), "the tombstone's end")


class TestNewcomers:
    def test_one_that_dies_in_the_middle_changes_nothing(
        self, login: Login, tmp_path: Path, run: str
    ) -> None:
        first = login(1)
        first.wait(lambda: first.output() == b"one\n")
        with frozen(first.agent_pid):
            second = login(2)
            wait_until(lambda: len(claims_of(run)) == 2, "its FIFOs")
            os.kill(second.agent_pid, signal.SIGKILL)
            second.wait_closed()
            wait_until(lambda: holds_one(run), "the end of its FIFOs")
        (tmp_path / "go").touch()
        assert first.result()["rc"] == 0
        assert first.output() == b"one\ntwo\n"
        third = login(3)
        assert state(third)["trace"] == "alive"
        assert third.result()["rc"] == 0

    @pytest.mark.parametrize("epochs", [(2, 3), (3, 2)])
    def test_of_two_the_higher_epoch_wins(
        self, login: Login, tmp_path: Path, epochs: tuple[int, int]
    ) -> None:
        first = login(1)
        first.wait(lambda: first.output() == b"one\n")
        with frozen(first.agent_pid):
            two = {epoch: login(epoch) for epoch in epochs}
            for parent in two.values():
                wait_until(lambda parent=parent: _carries(parent.agent_pid), "its waiting")  # type: ignore[misc]
        assert state(two[3])["trace"] == "alive"
        two[2].wait_closed()
        (tmp_path / "go").touch()
        assert two[3].result()["rc"] == 0
        assert two[3].output() == b"one\ntwo\n"

    @pytest.mark.parametrize("width", [0, 2000])
    def test_a_holder_that_stands_still_holds_no_newcomer(self, login: Login, run: str, width: int) -> None:
        """Whatever waits for the holder, also more than a FIFO takes: who lost its login leaves."""
        first = login(1)
        first.wait(lambda: first.output() == b"one\n")
        with frozen(first.agent_pid):
            second = login(2, children=children(width))
            wait_until(lambda: _carries(second.agent_pid), "its waiting")
            agent, warden = second.agent_pid, second.warden_pid
            second.hang_up()
            wait_until(lambda: not alive(agent) and not alive(warden), "its leaving")
            assert holds_one(run)

    def test_one_whose_parent_reads_nothing_ends_with_the_lease(self, login: Login, tmp_path: Path) -> None:
        """Its link stays open and full, and the holder is gone."""
        command = "until [ -e go ]; do sleep 0.02; done; head -c 1000000 /dev/zero; sleep 600"
        first = login(1, command, lease=2.0)
        first.wait_for(wire.STARTED)
        second = login(2, command, lease=2.0)
        state(second)
        (tmp_path / "go").touch()
        newcomer, warden = second.agent_pid, second.warden_pid
        wait_until(lambda: _cannot_write(newcomer), "its standing still")
        kill_both(first)
        wait_until(lambda: not alive(newcomer) and not alive(warden), "its end", 10)

    @pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP])
    def test_one_that_is_told_to_end_ends(self, login: Login, run: str, signum: signal.Signals) -> None:
        first = login(1)
        first.wait(lambda: first.output() == b"one\n")
        second = login(2)
        state(second)
        os.kill(second.agent_pid, signum)
        second.wait_closed()
        assert state(login(3))["trace"] == "alive"
        wait_until(lambda: len(claims_of(run)) == 2, "the second's FIFOs' end")


def _cannot_write(pid: int) -> bool:
    """Is its standard output a pipe that is full?"""
    with contextlib.ExitStack() as stack:
        try:
            fd = os.open(f"/proc/{pid}/fd/1", os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            return False
        stack.callback(os.close, fd)
        return not select.select([], [fd], [], 0)[1]


def _carries(pid: int) -> bool:
    """Has this newcomer opened its FIFOs?"""
    links = [fd.readlink() for fd in Path(f"/proc/{pid}/fd").iterdir()]
    return any(link.name == "up" for link in links)


def test_memory_can_tell_of_a_start_for_as_long_as_process_1_runs(login: Login) -> None:
    """A container that is started anew on a kernel that goes on has forgotten what it ran."""
    first = login(1)
    first.wait(lambda: first.output() == b"one\n")
    second = login(2)
    said = second.wait_for(wire.STATE).fields()["uptime"]
    ticks = int(Path("/proc/1/stat").read_text().rpartition(")")[2].split()[19])
    age_s = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    assert age_s - DEADLINE_S < said <= age_s


class TestOrphans:
    def test_the_command_has_its_lease_then_term_then_kill(
        self, login: Login, tmp_path: Path, run: str
    ) -> None:
        command = (
            "trap 'date +%s.%N > term' TERM; setsid sh -c 'trap \"\" TERM; sleep 600' & echo up; "
            "while :; do sleep 0.05; done"
        )
        parent = login(1, command, lease=1.5, grace=0.5)
        parent.wait(lambda: parent.output() == b"up\n")
        agent, warden = parent.agent_pid, parent.warden_pid
        parent.send(Frame(wire.BEAT, body=wire.dumps(1)))
        hung_up = time.time()
        parent.hang_up()
        wait_until(lambda: not marked(run), "the end of its processes")
        ended = time.time()
        term = float((tmp_path / "term").read_text())
        assert term - hung_up > 1.3
        assert ended - term > 0.4
        wait_until(lambda: not alive(agent) and not alive(warden), "the end of all")
        (claim,) = claims_of(run)
        assert [path.name for path in claim.iterdir()] == ["wake"]

    def test_who_is_to_be_killed_waits_for_no_lease(self, login: Login, run: str) -> None:
        parent = login(1, "echo up; sleep 600", lease=600.0, grace=0.2, orphan="kill")
        parent.wait(lambda: parent.output() == b"up\n")
        parent.hang_up()
        wait_until(lambda: not marked(run), "the end of its processes")

    def test_who_is_to_finish_finishes(self, login: Login, tmp_path: Path) -> None:
        parent = login(1, "sleep 1.5; echo done > done", lease=0.5, grace=0.2, orphan="finish")
        parent.wait_for(wire.STARTED)
        agent = parent.agent_pid
        parent.hang_up()
        wait_until(lambda: not alive(agent), "its end")
        assert (tmp_path / "done").read_text() == "done\n"


class TestWhoseClaim:
    @pytest.fixture
    def place(self, run: str) -> Iterator[Path]:
        """Where the claim has to be."""
        path = MEMORY / f"nile-{os.getuid()}-{run}-h1"
        yield path
        if path.is_symlink():
            path.unlink()

    def refused(self, parent: Parent) -> bytes:
        parent.wait_closed()
        assert not any(frame.type == wire.STARTED for frame in parent.frames)
        return parent.errors()

    def test_that_of_another_user_is_not_used(self, login: Login, tmp_path: Path, place: Path) -> None:
        place.mkdir()
        os.mkfifo(place / "wake")
        os.chown(place, 12345, 12345)
        assert b"the claim is not ours" in self.refused(login(1))
        assert not (tmp_path / "ran").exists()
        assert [path.name for path in place.iterdir()] == ["wake"]

    def test_nor_a_link_to_one(self, login: Login, tmp_path: Path, place: Path) -> None:
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        place.symlink_to(elsewhere)
        assert b"the claim is not ours" in self.refused(login(1))
        assert not (tmp_path / "ran").exists()
        assert list(elsewhere.iterdir()) == []

    @pytest.mark.parametrize("host", ["h" * 253, "a/b", "../x"])
    def test_names_that_no_file_may_have(self, login: Login, run: str, host: str) -> None:
        parent = login(1, "echo $NILE_HOST; echo $NILE_SCRATCH", host=host)
        parent.result()
        said = parent.output().decode().split()
        assert said == [host, f"{MEMORY}/nile-{os.getuid()}-{run}-=1/scratch"]
        assert state(login(2, host=host))["trace"] == "alive"

    @pytest.mark.parametrize("again", [False, True])
    def test_without_a_memory_file_system(self, tmp_path: Path, again: bool) -> None:
        """Nobody knows there what was before: one that may have been started isn't."""
        whole = agent_bundle()
        sources = [
            (name, text.replace(b'"/dev/shm"', b'"/no/shm"').replace(b'"/run/user/', b'"/no/user/'))
            for name, text in whole.sources
        ]
        bundle = Bundle(sources, whole.relay_only, whole.magic, None, whole.late)
        with Parent(host_environment(tmp_path), bundle=bundle) as parent:
            parent.start('echo "${NILE_SCRATCH-none}"', again=again, have=NOTHING)
            if again:
                assert state(parent)["trace"] == "dead"
                assert not any(frame.type == wire.STARTED for frame in parent.frames)
            else:
                parent.result()
                assert parent.output() == b"none\n"


class TestALeafBecomesARelay:
    @pytest.fixture
    def environment(self, tmp_path: Path, request: pytest.FixtureRequest) -> dict[str, str]:
        """A host whose ssh leads to another one on the same machine."""
        environment = host_environment(tmp_path, python(request.param))
        ssh = tmp_path / "bin" / "ssh"
        ssh.parent.mkdir()
        ssh.write_text(FAKE_SSH)
        ssh.chmod(0o755)
        return {**environment, "PATH": f"{ssh.parent}:{environment['PATH']}"}

    @pytest.mark.parametrize("environment", ["3.6", "3.11", "3.13"], indirect=True)
    def test_by_what_its_parent_sends_with_its_first_child(
        self, environment: dict[str, str], tmp_path: Path, run: str
    ) -> None:
        with Parent(environment) as parent:
            parent.start("echo x >> ran; echo $NILE_HOST", run=run)
            parent.result()
            bundle = agent_bundle().packed(True, "").partition(b"\n")[2]
            body = {"entries": children(2), "code": True, "bundle": bundle}
            parent.send(Frame(wire.ADOPT, 0, 1, (), wire.dumps(body)))
            parent.wait(lambda: len(_of(parent, wire.RESULT)) == 3, "the results of all")
            assert {frame.origin for frame in _of(parent, wire.RESULT)} == {1, 2, 3}
            assert {frame.origin for frame in _of(parent, wire.HELLO)} == {0, 2, 3}
            assert ran(tmp_path) == 3
            for child in (2, 3):
                parent.send(Frame(wire.END, 0, 1, (child,), wire.dumps({})))
            wait_until(lambda: len(claims_of(run)) == 1, "its children's end")

    @pytest.mark.parametrize("environment", ["3.11"], indirect=True)
    def test_it_says_whom_it_has_when_it_is_attached_anew(
        self, environment: dict[str, str], login: Login, run: str
    ) -> None:
        with Parent(environment) as parent:
            parent.start("sleep 600", run=run)
            bundle = agent_bundle().packed(True, "").partition(b"\n")[2]
            body = {"entries": children(1), "code": True, "bundle": bundle}
            parent.send(Frame(wire.ADOPT, 0, 1, (), wire.dumps(body)))
            parent.wait(lambda: bool(_of(parent, wire.STARTED, 2)), "its child's start")
            parent.hang_up()
            second = login(2)
            assert state(second)["children"] == [[2, 1, "up"]]
            second.send(Frame(wire.END, 0, 1, (2,), wire.dumps({})))
            wait_until(lambda: not [path for path in claims_of(run) if "-h2" in path.name], "its end")
            second.end()
            second.wait_closed()


def _of(parent: Parent, kind: int, origin: int | None = None) -> list[Frame]:
    return [each for each in parent.frames if each.type == kind and origin in (None, each.origin)]
