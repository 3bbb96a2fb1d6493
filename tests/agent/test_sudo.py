"""A command by sudo, by a real agent.

sudo is a program that speaks as it does, and really changes the user: so that it can be made to ask, to
refuse, to die. The real one is the matter of tests/cluster/test_elevated.py.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nile.agent import inside, wire
from nile.agent.inside import STUB
from nile.agent.sudowords import PROMPT
from nile.agent.wire import Frame
from nile.bootstrap.bundle import command_code, second_warden
from nile.cascade.orders import outfit_body
from nile.options import Outfit, Script
from tests.agent.parent import MEMORY, Parent, alive, host_environment, parent_of, wait_until

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root becomes another user")

USER = "nobody"
LEAVES = "setsid sleep 600 >/dev/null 2>&1 & until grep -q sleep /proc/$!/comm; do sleep 0.01; done"
"""Once it is what it is to be."""
FAKE = """#!/bin/sh
[ "$1 $2 $3 $4 $5 $6 $7" = "-k -S -p {prompt} -u {user} --" ] || {{ echo "sudo: called as $*" >&2; exit 1; }}
[ -e "{place}/tty" ] && {{ sh -c ': </dev/tty' 2>/dev/null || {{
    echo "sudo: sorry, you must have a tty to run sudo" >&2; exit 1; }}; }}
shift 7
[ -e "{place}/forbids" ] && {{ echo "Sorry, user ada may not run sudo on here." >&2; exit 1; }}
if [ -e "{place}/asks" ]; then
    echo x >> "{place}/prompts"
    printf '%s' "{prompt}" >&2
    read -r word || word=
    echo "$word" >> "{place}/tries"
    if [ "$word" != right ]; then
        printf '%s\\n%s' "Sorry, try again." "{prompt}" >&2
        read -r word && echo "$word" >> "{place}/tries"
        echo "sudo: 1 incorrect password attempt" >&2
        exit 1
    fi
fi
SUDO_USER=root; SUDO_COMMAND=$*; USER={user}; export SUDO_USER SUDO_COMMAND USER
setpriv --reuid {uid} --regid {gid} --clear-groups "$@"
exit $?
"""


class Place:
    """Where the sudo of a test lies, what it is to do, and what it was told."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def set(self, *words: str) -> None:
        for word in words:
            (self.path / word).touch()

    def tries(self) -> list[str]:
        file = self.path / "tries"
        return file.read_text().splitlines() if file.exists() else []


@pytest.fixture
def place(tmp_path: Path) -> Place:
    entry = pwd.getpwnam(USER)
    where = tmp_path / "sudo"
    where.mkdir()
    text = FAKE.format(prompt=PROMPT, user=USER, place=where, uid=entry.pw_uid, gid=entry.pw_gid)
    (where / "sudo").write_text(text)
    (where / "sudo").chmod(0o755)
    return Place(where)


@pytest.fixture
def parent(place: Place, tmp_path: Path) -> Iterator[Parent]:
    """Its Python is one that anybody may run."""
    assert shutil.which("python3", path="/usr/bin"), "install /usr/bin/python3, which the tests want"
    env, before = host_environment(tmp_path), scratches()
    with Parent({**env, "PATH": f"{place.path}:{env['PATH']}", "LANG": "C.UTF-8"}, cwd=Path("/")) as ready:
        ready.wait_for(wire.HELLO)
        yield ready
    wait_until(lambda: not scratches() - before, "its scratch is gone")


def plan(what: Outfit = Outfit(), **how: Any) -> dict[str, Any]:  # noqa: B008
    body = outfit_body(what, second_warden())
    sudo = {"user": USER, "program": second_warden()}
    return {"code": command_code(outfit=True, sudo=True), "outfit": {**body, "sudo": sudo}, **how}


def tell(parent: Parent, text: bytes, offset: int = 0) -> None:
    parent.send(Frame(wire.TELL, 0, 1, (), offset.to_bytes(8, "big") + text))


def started(parent: Parent, **fields: object) -> bool:
    found = [frame.fields() for frame in parent.frames if frame.type == wire.STARTED]
    return any(fields.items() <= each.items() for each in found)


def runs(parent: Parent) -> int:
    def pids() -> list[int]:
        return [f.fields()["pid"] for f in parent.frames if f.type == wire.STARTED and f.fields()["pid"]]

    parent.wait(lambda: bool(pids()), "the command runs")
    return int(pids()[0])


def uid(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


def test_it_runs_as_that_user_with_its_own_streams_and_status(parent: Parent) -> None:
    line = 'id -un; echo "$NILE_HOST $LANG ${LC_ALL-no} ${SUDO_COMMAND-no} $SUDO_USER" >&2; exit 7'
    result = parent.run(line, **plan())
    assert (result["rc"], result["error"], result["left"]) == (7, None, [])
    assert parent.output() == b"nobody\n"
    assert parent.output("stderr") == b"h1 C.UTF-8 no no root\n"


def test_that_user_reads_standard_input_and_none_of_it_is_sudos(parent: Parent) -> None:
    parent.start("cat; echo over", stdin=True, **plan())
    runs(parent)
    for data in (b"one\n", b"two\n", b""):
        parent.send(Frame(wire.STDIN, body=data))
    assert parent.result()["rc"] == 0
    assert parent.output() == b"one\ntwo\nover\n"


def test_a_worker_reads_its_program_first_and_what_it_is_told_behind_the_password(
    parent: Parent, place: Place
) -> None:
    """More of a program than a pipe takes before anybody reads from it; and the answer comes twice."""
    program = b"program " * 20_000
    place.set("asks")
    parent.start("cat", stdin=True, program=program, **plan())
    parent.wait(lambda: started(parent, asks=True), "it asks")
    assert not parent.output()
    for _ in range(2):
        tell(parent, b"+right")
    runs(parent)
    tell(parent, b"an order", len(b"+right"))
    parent.wait(lambda: len(parent.output()) >= len(program) + 8, "it was told all")
    assert parent.output() == program + b"an order"
    assert place.tries() == ["right"]


def test_what_is_no_answer_is_no_password(parent: Parent, place: Place) -> None:
    place.set("asks")
    parent.start("id -un", **plan())
    parent.wait(lambda: started(parent, asks=True), "it asks")
    tell(parent, b"an order")
    tell(parent, b"+right", len(b"an order"))
    assert parent.result()["rc"] == 0
    assert place.tries() == ["right"]


def test_a_password_is_asked_for_and_handed_on_and_is_in_no_argument_and_no_environment(
    parent: Parent, place: Place
) -> None:
    place.set("asks")
    parent.start("sleep 600 & tr '\\0' ' ' </proc/self/environ; wait", timeout=600.0, **plan())
    parent.wait(lambda: started(parent, pid=0, asks=True), "it asks")
    tell(parent, b"+right")
    pid = runs(parent)
    assert place.tries() == ["right"]
    for entry in (f"/proc/{pid}", f"/proc/{parent.agent_pid}"):
        assert b"right" not in Path(entry, "cmdline").read_bytes() + Path(entry, "environ").read_bytes()
    parent.send(Frame(wire.CANCEL, body=wire.dumps({"grace": 0.5})))
    assert parent.result()["cause"] == "cancelled"
    assert b"right" not in parent.output()


def test_one_that_is_refused_is_tried_once(parent: Parent, place: Place) -> None:
    place.set("asks")
    parent.start("echo never", **plan())
    parent.wait(lambda: started(parent, asks=True), "it asks")
    tell(parent, b"+wrong")
    assert parent.result()["error"] == "--sudo: the password was refused: Sorry, try again."
    tell(parent, b"+right")
    wait_until(lambda: not alive_below(parent), "sudo is gone")
    assert place.tries() == ["wrong"]
    assert parent.output() == b""


def test_who_gets_none_says_why(parent: Parent, place: Place) -> None:
    place.set("asks")
    parent.start("echo never", **plan())
    parent.wait(lambda: started(parent, asks=True), "it asks")
    tell(parent, "-none was given: ü".encode())
    assert parent.result()["error"] == "--sudo: none was given: ü"
    wait_until(lambda: not alive_below(parent), "sudo is gone")
    assert place.tries() == [""]  # the end of what it reads


def test_time_that_it_waits_for_a_password_isnt_the_commands(parent: Parent, place: Place) -> None:
    place.set("asks")
    parent.start("sleep 600", timeout=0.5, **plan())
    parent.wait(lambda: started(parent, asks=True), "it asks")
    for _ in range(12):
        parent.read(0.1)
    assert not any(frame.type == wire.RESULT for frame in parent.frames)
    tell(parent, b"+right")
    assert parent.result()["cause"] == "timeout"


def test_a_stranger_who_comes_to_the_socket_gets_nothing(parent: Parent, place: Place) -> None:
    """This test is root, and not that user."""
    place.set("asks")
    parent.start("id -un", **plan())
    parent.wait(lambda: started(parent, asks=True), "it asks")
    (sudo,) = alive_below(parent)
    name = Path(f"/proc/{sudo}/cmdline").read_bytes().split(b"\0")[-2]
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.settimeout(20)
        stranger.connect(b"\0" + name)
        turned_away = []
        reader = threading.Thread(target=lambda: turned_away.append(stranger.recv(10)))
        reader.start()
        parent.wait(lambda: bool(turned_away), "the stranger is turned away")
        reader.join()
    assert turned_away == [b""]
    tell(parent, b"+right")
    assert parent.result()["rc"] == 0
    assert parent.output() == b"nobody\n"


IMPOSTOR = """
import socket, sys
c = socket.socket(socket.AF_UNIX)
c.connect(chr(0) + sys.argv[1])
f = c.makefile("rb")
f.read(int(f.readline()))
c.sendall({said})
f.read()
"""


@pytest.mark.parametrize(
    "said",
    [
        [(inside.READY, None), (inside.RUNS, 77), (inside.EXITED, 5)],
        [(inside.READY, None), (inside.RUNS, "x")],
        [(inside.READY, None), (inside.RUNS, 77), (inside.ALIVE, [5])],
        [(inside.READY, None), (inside.EXITED, [0, None])],
        [(inside.RUNS, 77)],
    ],
)
def test_whoever_says_nonsense_as_that_user_fails_the_command_alone(
    parent: Parent, place: Place, said: list[tuple[int, object]]
) -> None:
    place.set("asks")
    parent.start("echo never", **plan())
    parent.wait(lambda: started(parent, pid=0, asks=True), "it asks")
    (sudo,) = alive_below(parent)
    name = Path(f"/proc/{sudo}/cmdline").read_bytes().split(b"\0")[-2]
    frames = [Frame(kind, body=wire.dumps(body)).encode() for kind, body in said]
    text = IMPOSTOR.format(said=b"".join(frames))
    entry = pwd.getpwnam(USER)
    words = ["setpriv", "--reuid", str(entry.pw_uid), "--regid", str(entry.pw_gid), "--clear-groups"]
    with subprocess.Popen([*words, "/usr/bin/python3", "-c", text, os.fsdecode(name)]):
        if said[0][0] == inside.READY:
            result = parent.result()
            assert result["rc"] is None
            assert result["error"] or result["signal"]
        else:
            tell(parent, b"-no more")
            assert parent.result()["error"] == "--sudo: no more"
    assert alive(parent.agent_pid)


def test_cancelled_while_it_waits_it_never_runs(parent: Parent, place: Place) -> None:
    place.set("asks")
    parent.start("echo never", **plan())
    parent.wait(lambda: started(parent, asks=True), "it asks")
    parent.send(Frame(wire.CANCEL, body=wire.dumps({"grace": 0.5})))
    assert parent.result()["cause"] == "cancelled"
    tell(parent, b"+right")
    wait_until(lambda: not alive_below(parent), "sudo is gone")
    assert not started(parent, pid=1)
    assert parent.output() == b""


def test_what_sudo_refuses_is_in_its_words(parent: Parent, place: Place) -> None:
    place.set("forbids")
    error = parent.run("echo never", **plan())["error"]
    assert error == "--sudo: sudo refuses: Sorry, user ada may not run sudo"


def test_where_sudo_wants_a_terminal_it_gets_one(parent: Parent, place: Place) -> None:
    place.set("tty", "asks")
    parent.start("id -un; sh -c ': </dev/tty' 2>/dev/null || echo none", **plan())
    parent.wait(lambda: started(parent, asks=True), "it asks")
    tell(parent, b"+right")
    assert parent.result()["rc"] == 0
    assert parent.output() == b"nobody\nnone\n"  # no prompt of the command's can hang the run


def test_a_time_out_ends_what_daemonised(parent: Parent) -> None:
    line = "setsid sh -c 'sleep 600 & sleep 600' & sleep 600"
    parent.start(line, timeout=1.0, **plan())
    pid = runs(parent)
    assert uid(pid) == pwd.getpwnam(USER).pw_uid
    result = parent.result()
    assert result["cause"] == "timeout"
    assert {state for _, _, state in result["left"]} == {1}  # all were seen dead
    assert [name for _, name, _ in result["left"]].count("sleep") == 3


def test_what_it_leaves_is_named_and_stays_or_goes(parent: Parent) -> None:
    result = parent.run(f"{LEAVES}; exit 3", **plan())
    assert [(name, state) for _, name, state in result["left"]] == [("sleep", 1)]


def test_after_a_success_it_stays(parent: Parent) -> None:
    result = parent.run(LEAVES, **plan())
    ((pid, name, state),) = result["left"]
    assert (name, state) == ("sleep", 0)
    parent.end()
    parent.wait_closed()
    wait_until(lambda: not alive(pid) or not below_second_warden(pid), "the second warden is gone")
    try:
        assert alive(pid)
        assert uid(pid) == pwd.getpwnam(USER).pw_uid
    finally:
        os.kill(pid, 9)


@pytest.mark.parametrize("whom", ["agent", "agent and warden"])
def test_where_the_agent_is_killed_the_second_warden_ends_it(parent: Parent, whom: str) -> None:
    parent.start("setsid sleep 600 & sleep 600", orphan="adopt", **plan())
    pid = runs(parent)
    victims = [parent.agent_pid] + [parent.warden_pid] * (whom != "agent")
    for victim in victims[::-1]:
        os.kill(victim, 9)
    wait_until(lambda: not alive(pid), "the command is gone")


def test_a_script_variables_a_directory_and_limits(parent: Parent) -> None:
    lines = b'id -un; pwd; ulimit -n; echo "$MODE $1 $NILE_SCRIPT"; touch $NILE_SCRATCH/mine && echo wrote'
    text = b"#!/bin/sh\n" + lines
    what = Outfit(
        env={"MODE": "fast"}, cwd="/usr", rlimits={"nofile": 100}, script=Script.of("look", text, ("a b",))
    )
    assert parent.run("", **plan(what))["rc"] == 0
    assert parent.output() == b"nobody\n/usr\n100\nfast a b look\nwrote\n"


def test_its_scratch_has_a_size(parent: Parent) -> None:
    line = "head -c 3000000 /dev/zero > $NILE_SCRATCH/big; sleep 600"
    assert parent.run(line, scratch=1_000_000, **plan())["cause"] == "scratch"


def test_what_that_user_may_not_is_named_by_its_option(parent: Parent, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    error = parent.run("echo never", **plan(Outfit(cwd=str(closed))))["error"]
    assert error == f"--cwd {closed}: Permission denied"


def test_a_user_that_isnt_there_and_one_that_it_is_already(parent: Parent) -> None:
    body = plan()
    body["outfit"]["sudo"]["user"] = "nemo"
    assert parent.run("true", **body)["error"] == "--sudo: nemo: there is no such user"


def test_who_logs_in_as_that_user_needs_no_sudo(parent: Parent, place: Place) -> None:
    place.set("forbids")
    body = plan()
    body["outfit"]["sudo"]["user"] = "root"
    assert parent.run("id -un", **body)["rc"] == 0
    assert parent.output() == b"root\n"


def below_second_warden(pid: int) -> bool:
    return STUB.encode() in Path(f"/proc/{parent_of(pid)}/cmdline").read_bytes()


def scratches() -> set[Path]:
    """Directories in memory that are that user's, and no claims."""
    mine = f"nile-{pwd.getpwnam(USER).pw_uid}-"
    return {path for path in MEMORY.glob(f"{mine}*") if path.name.count("-") == mine.count("-")}


def alive_below(parent: Parent) -> list[str]:
    """Programs that the agent started, and that run yet."""
    children = Path(f"/proc/{parent.agent_pid}/task/{parent.agent_pid}/children").read_text().split()
    return [pid for pid in children if alive(int(pid))]
