"""Commands that are held in a sandbox: by a real agent, as root and as somebody else, by every way."""

from __future__ import annotations

import functools
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nile.agent import landlock, sandbox, spaces, wire
from nile.agent.wire import Frame
from nile.bootstrap.bundle import command_code
from nile.cascade.orders import outfit_body
from nile.options import Outfit, Sandbox, Script
from tests.agent.parent import BY_AGE, MEMORY, Parent, alive, host_environment, marked, wait_until

NOBODY = 65534
NO_SPACES = (
    "unshare", "--user", "--map-root-user", "--", "sh", "-c",
    'echo 0 >/proc/sys/user/max_user_namespaces && exec setpriv --bounding-set=-all /bin/sh -c "$0"',
)  # fmt: skip
"""Who logs in there has no capabilities, and no user namespace can be had."""
PIDNS, STRICT = Outfit(sandbox=Sandbox.PIDNS), Outfit(sandbox=Sandbox.STRICT)
DAEMON = "setsid setsid sleep 600 </dev/null >/dev/null 2>&1 &"


ROOT = os.getuid() == 0
only_root = pytest.mark.skipif(not ROOT, reason="only root is root")


def become(user: int) -> tuple[str, ...]:
    """Words before a command that run it as that user."""
    switch = ("setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups")
    return switch if user != os.getuid() else ()


@functools.cache
def spaces_can_be_had(user: int) -> bool:
    """May that user make a user namespace, and others in it? Some systems let nobody but root do so."""
    words = (*become(user), "unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "true")
    return subprocess.run(words, capture_output=True, check=False, cwd="/").returncode == 0


@pytest.fixture
def home() -> Iterator[Path]:
    """Whoever isn't root gets into it, too: it lies below no directory of root's own."""
    with tempfile.TemporaryDirectory(prefix="nile-test-") as name:
        yield Path(name)


@pytest.fixture(
    params=[
        pytest.param((0, BY_AGE[0]), marks=only_root),
        pytest.param((0, BY_AGE[-1]), marks=only_root),
        # Whoever isn't root can't look into its home, where the other Pythons are.
        (NOBODY if ROOT else os.getuid(), None),
    ],
    ids=["root-oldest", "root-newest", "nobody"],
)
def parent(request: pytest.FixtureRequest, home: Path) -> Iterator[Parent]:
    user, python = request.param
    if ROOT:
        shutil.chown(home, user, user)
    with Parent(host_environment(home, python), (*become(user), "/bin/sh", "-c")) as ready:
        ready.wait_for(wire.HELLO)
        if not spaces_can_be_had(user):
            refused = run(ready, "echo never", PIDNS)
            assert refused["error"].startswith("--sandbox pidns can't be had here (")
            assert (refused["rc"], ready.output()) == (None, b"")
            pytest.skip("no user namespaces here: it said so")
        yield ready


@pytest.fixture
def mark() -> Iterator[str]:
    """A run's name."""
    name = secrets.token_hex(16)
    yield name
    for pid in marked(name):
        os.kill(pid, signal.SIGKILL)


def begin(parent: Parent, command: str, what: Outfit, **how: Any) -> None:
    parent.start(command, code=command_code(outfit=True, sandbox=True), outfit=outfit_body(what), **how)


def run(parent: Parent, command: str, what: Outfit, **how: Any) -> dict[str, Any]:
    begin(parent, command, what, **how)
    return parent.result()


class TestPidns:
    def test_nothing_survives_a_command_that_succeeded(self, parent: Parent, mark: str) -> None:
        command = f"{DAEMON} echo $$ $(ls /proc | grep -c '^[0-9]') $NILE_SANDBOX; sleep 600 & exit 0"
        result = run(parent, command, PIDNS, run=mark)
        shell, processes, said = parent.output().split()
        assert (result["rc"], result["left"], said) == (0, [], b"pidns")
        assert int(shell) < 5, "it counts from 1"
        assert int(processes) < 10, "it sees its own"
        assert marked(mark) == []

    @pytest.mark.parametrize(
        ("end", "rc", "signum"),
        [("exit 7", 7, None), ("kill -TERM $$", None, 15), ("kill -KILL $$", None, 9)],
    )
    def test_its_end_is_told_as_it_was(
        self, parent: Parent, mark: str, end: str, rc: int | None, signum: int | None
    ) -> None:
        result = run(parent, f"{DAEMON} {end}", PIDNS, run=mark)
        assert (result["rc"], result["signal"], result["cause"]) == (rc, signum, None)
        assert marked(mark) == []

    def test_it_hears_that_it_is_to_end_and_may_say_something(self, parent: Parent, mark: str) -> None:
        begin(parent, f"trap 'echo bye; exit 3' TERM; {DAEMON} echo up; sleep 600 & wait", PIDNS, run=mark)
        parent.wait(lambda: parent.output() == b"up\n")
        parent.send(Frame(wire.CANCEL, body=wire.dumps({"grace": 5.0})))
        result = parent.result()
        assert (parent.output(), result["cause"], result["rc"]) == (b"up\nbye\n", "cancelled", 3)
        assert marked(mark) == []

    def test_what_ignores_everything_is_killed(self, parent: Parent, mark: str) -> None:
        command = f"trap '' TERM HUP INT; {DAEMON} echo up; while :; do sleep 600; done"
        begin(parent, command, PIDNS, run=mark)
        parent.wait(lambda: parent.output() == b"up\n")
        parent.send(Frame(wire.CANCEL, body=wire.dumps({"grace": 0.1})))
        result = parent.result()
        assert (result["cause"], result["signal"]) == ("cancelled", 9)
        assert marked(mark) == []

    def test_agent_and_warden_killed_at_one_time(self, parent: Parent, mark: str) -> None:
        """Nobody is left who could clean up: the kernel does."""
        begin(parent, f"{DAEMON} echo up; sleep 600", PIDNS, run=mark)
        parent.wait(lambda: parent.output() == b"up\n")
        agent, warden = parent.agent_pid, parent.warden_pid
        for pid in (warden, agent):
            os.kill(pid, signal.SIGSTOP)
        for pid in (warden, agent):
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not marked(mark), "the end of all that it started")

    def test_agent_and_warden_killed_before_there_is_a_sandbox(
        self, parent: Parent, mark: str, home: Path
    ) -> None:
        """The kernel knows of nothing yet that it could end."""
        go = home / "go"
        code = command_code(outfit=True, sandbox=True)
        wait = f"import os, time\nwhile not os.path.exists({str(go)!r}): time.sleep(0.01)\n"
        slow = {**code, "nile.agent.spaces": wait.encode() + code["nile.agent.spaces"]}
        agent, warden = parent.agent_pid, parent.warden_pid
        parent.start("sleep 600", code=slow, outfit=outfit_body(PIDNS), run=mark)
        wait_until(lambda: children_of(agent), "a child of the agent's")
        (child,) = children_of(agent)
        for pid in (warden, agent):
            os.kill(pid, signal.SIGSTOP)
        for pid in (warden, agent):
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not (alive(agent) or alive(warden)), "the end of both")
        go.touch()
        wait_until(lambda: not alive(child), "the end of what was to be the sandbox")
        wait_until(lambda: not marked(mark), "the end of all that it started")

    def test_a_scratch_that_is_full_is_full(self, parent: Parent, mark: str) -> None:
        command = "head -c 3000000 /dev/zero >$NILE_SCRATCH/x; stat -c '%a %s' $NILE_SCRATCH $NILE_SCRATCH/x"
        result = run(parent, command, PIDNS, run=mark, scratch=1 << 20)
        assert b"No space left on device" in parent.output("stderr")
        said = parent.output().decode().split()
        assert (result["rc"], said[0], int(said[3])) == (0, "700", 1 << 20)

    def test_a_scratch_takes_no_more_than_the_host_has_left(self, parent: Parent) -> None:
        space = os.statvfs(MEMORY)
        command = "stat -f -c '%b %S' $NILE_SCRATCH"
        assert run(parent, command, PIDNS, scratch=1 << 50)["rc"] == 0
        blocks, size = map(int, parent.output().split())
        assert 0 < blocks * size <= space.f_blocks * space.f_frsize

    def test_a_script_and_its_input(self, parent: Parent) -> None:
        what = Outfit(script=Script.of("s", b'read word; echo "$word $1"', ("x",)), sandbox=Sandbox.PIDNS)
        begin(parent, "", what, stdin=True)
        parent.send(Frame(wire.STDIN, body=b"in\n"))
        parent.send(Frame(wire.STDIN))
        assert parent.result()["rc"] == 0
        assert parent.output() == b"in x\n"

    def test_what_else_it_is_given(self, parent: Parent) -> None:
        what = Outfit(cwd="/tmp", rlimits={"nofile": 64}, env={"A": "b"}, sandbox=Sandbox.PIDNS)
        run(parent, "pwd; ulimit -n; echo $A", what)
        assert parent.output() == b"/tmp\n64\nb\n"

    def test_a_directory_that_isnt_there(self, parent: Parent) -> None:
        result = run(parent, "echo never", Outfit(cwd="/no where", sandbox=Sandbox.PIDNS))
        assert (result["rc"], result["error"]) == (None, "--cwd /no where: No such file or directory")


def children_of(pid: int) -> list[int]:
    return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


WRITES = """
for way in 'echo x >f' 'mkdir d' 'rm there' 'mv there here' 'ln -s a b' ': >>there' 'mkfifo p'; do
    sh -c "$way" 2>/dev/null && echo "could: $way"
done
cat there; echo fine >/dev/null; f=$(mktemp) && echo ok >"$f" && cat "$f" && rm "$f"
s=$NILE_SCRATCH; mkdir $s/d && echo more >$s/d/x && mv $s/d/x $s/y && cat $s/y
grep NoNewPrivs /proc/self/status; echo $NILE_SANDBOX; chmod 600 there 2>/dev/null && echo mode
"""


def writes(parent: Parent, place: Path) -> list[str]:
    """What comes of all sorts of writing below a directory of this user, and to the scratch."""
    (place / "there").write_text("as before\n")
    shutil.chown(place / "there", place.stat().st_uid)
    result = run(parent, WRITES, STRICT)
    said = parent.output().decode().splitlines()
    assert result["error"] is None, result["error"]
    assert (place / "there").read_text() == "as before\n"
    assert sorted(path.name for path in place.iterdir() if path.name != "python") == ["there"]
    return said


HELD = ["as before", "ok", "more", "NoNewPrivs:\t1"]


class TestStrict:
    def test_it_writes_to_its_scratch_alone(self, parent: Parent, home: Path) -> None:
        assert writes(parent, home) == [*HELD, "strict/namespaces"]

    def test_a_scratch_that_is_full_is_full(self, parent: Parent) -> None:
        run(
            parent,
            "head -c 3000000 /dev/zero >$NILE_SCRATCH/x; stat -c %s $NILE_SCRATCH/x",
            STRICT,
            scratch=1 << 20,
        )
        assert int(parent.output()) == 1 << 20

    def test_what_it_leaves_running_is_named_as_ever(self, parent: Parent, mark: str) -> None:
        result = run(parent, f"{DAEMON} until [ $(pgrep -c -x sleep) -gt 0 ]; do :; done", STRICT, run=mark)
        assert (result["rc"], [name for _, name, _ in result["left"]]) == (0, ["sleep"])


@pytest.fixture
def without_spaces(tmp_path: Path) -> Iterator[Parent]:
    if not spaces_can_be_had(os.getuid()):
        pytest.skip("no user namespaces here: none can be made in which there are none")
    with Parent(host_environment(tmp_path, BY_AGE[0]), NO_SPACES) as ready:
        ready.wait_for(wire.HELLO)
        yield ready


def test_landlock_where_no_namespace_can_be_had(without_spaces: Parent, tmp_path: Path) -> None:
    """It has nothing to do with the mode of a file."""
    assert writes(without_spaces, tmp_path) == [*HELD, "strict/landlock", "mode"]


def test_no_pid_namespace_can_be_had(without_spaces: Parent) -> None:
    result = run(without_spaces, "echo never", PIDNS)
    said = (
        "--sandbox pidns can't be had here (user namespaces: none may be made here): Operation not supported"
    )
    assert (result["rc"], result["error"]) == (None, said)
    assert without_spaces.output() == b""


@pytest.fixture
def outside_dev() -> Iterator[Path]:
    """Bubblewrap makes a /dev of its own: what lies in /dev/shm can't be seen there."""
    with tempfile.TemporaryDirectory(prefix="nile-test-", dir="/var/tmp") as name:
        yield Path(name)


def test_bubblewrap_where_the_kernel_cant_make_all_mounts_read_only(outside_dev: Path) -> None:
    """Before Linux 5.12; the real one."""
    assert shutil.which("bwrap"), "install bubblewrap, which the tests want"
    if not spaces_can_be_had(os.getuid()):
        pytest.skip("no user namespaces here: bubblewrap needs one")
    code = command_code(outfit=True, sandbox=True)
    old = code["nile.agent.spaces"].replace(b"442", b"1442")
    assert old != code["nile.agent.spaces"]
    with Parent(host_environment(outside_dev, BY_AGE[0])) as parent:
        parent.wait_for(wire.HELLO)
        (outside_dev / "there").write_text("as before\n")
        body = outfit_body(Outfit(sandbox=Sandbox.STRICT, cwd=str(outside_dev)))
        code = {**code, "nile.agent.spaces": old}
        result = parent.run(WRITES + "echo größe; exit 7", code=code, outfit=body)
        said = parent.output().decode().splitlines()
    assert (result["rc"], result["error"], said) == (7, None, [*HELD, "strict/bubblewrap", "größe"])


def test_where_nothing_works_every_reason_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(what: str, *_: object) -> int:
        raise OSError(38, "", what)

    monkeypatch.setattr(spaces, "call", refuse)
    held = sandbox.Sandbox({"sandbox": "strict", "env": {}}, {"PATH": "/nowhere"}, 1 << 20, os.getpid())
    with pytest.raises(OSError, match="not supported") as caught:
        raise_as_told(held.enter)
    assert caught.value.filename == (
        "--sandbox strict can't be had here (namespaces: unshare: Function not implemented; "
        "bubblewrap: not installed; Landlock: the kernel: Function not implemented)"
    )


def raise_as_told(enter: Callable[[], object]) -> None:
    """With the words for its number, as the agent tells them."""
    try:
        enter()
    except OSError as error:
        raise OSError(error.errno, os.strerror(error.errno or 0), error.filename) from None


@pytest.mark.parametrize(("blocks", "free", "most"), [(0, 0, 1000), (9, 5, 1000), (9, 2, 800), (9, 0, 1)])
def test_room_for_a_scratch(blocks: int, free: int, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    space = SimpleNamespace(f_blocks=blocks, f_bavail=free, f_frsize=400)
    monkeypatch.setattr(os, "statvfs", lambda _: space)
    assert spaces.room("/somewhere", 1000) == most


@pytest.mark.parametrize(("version", "bits"), [(1, 11 - 1), (2, 11), (3, 12), (7, 12)])
def test_rights_of_a_version(version: int, bits: int) -> None:
    """One that the kernel doesn't know would have it refuse them all."""
    assert landlock.rights(version).bit_count() == bits
