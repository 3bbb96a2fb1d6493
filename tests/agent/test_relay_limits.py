"""A relay at its limits: few descriptors, many children that all fail, ports that never answer."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nile.agent import wire
from nile.agent.wire import Frame
from nile.bootstrap import carrier_code
from tests.agent.parent import Parent, host_environment, wait_until
from tests.support.plans import children, make_plan, plan_body


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A host whose `ssh` connects to nowhere, and for ever."""
    ssh = tmp_path / "bin" / "ssh"
    ssh.parent.mkdir()
    ssh.write_text("#!/bin/sh\nexec sleep 1000\n")
    ssh.chmod(0o755)
    environment = host_environment(tmp_path)
    return {**environment, "PATH": f"{ssh.parent}:{environment['PATH']}"}


def said(parent: Parent, kind: int) -> list[Frame]:
    return [frame for frame in parent.frames if frame.type == kind]


def test_a_relay_out_of_descriptors_fails_logins_and_lives(environment: dict[str, str]) -> None:
    with Parent(environment, relay=True, prefix="ulimit -n 64; ") as parent:
        parent.wait_for(wire.HELLO)
        parent.send(make_plan(asked=False, parallel=40, children=children(40, connect=1.0)))
        parent.wait(lambda: len(said(parent, wire.FAILED)) == 40, "the end of all logins")
        failed = [frame.fields() for frame in said(parent, wire.FAILED)]
        without = [body for body in failed if "ulimit -n" in body["reason"]]
        assert {body["code"] for body in without} == {"open-files"}
        assert {body["code"] for body in failed if body not in without} == {"connect-timeout"}
        assert all(body["attempts"] > 1 for body in without), "descriptors may come free again"


def test_a_thousand_logins_may_fail_in_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stack of Python holds a thousand calls."""
    from nile.agent import logins, sshlogin

    monkeypatch.setattr(sshlogin, "find_ssh", lambda env: None)
    relay = Stub()
    try:
        branches = logins.Branches(relay, plan_body(asked=False))  # type: ignore[arg-type]
        branches.adopt(children(1000))
        branches.leave()
        assert [frame.type for frame in relay.frames].count(wire.FAILED) == 1000
    finally:
        for directory in relay.owned:
            for path in Path(directory).iterdir():
                path.unlink()
            Path(directory).rmdir()


def test_the_end_of_a_login_that_was_killed_is_not_that_of_the_next(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same child may be logged in to again before the old ssh is reaped."""
    from nile.agent import logins

    class Ssh:
        stdout, ended = -1, 0

        def __init__(self, *_: object) -> None:
            Ssh.pid = self.pid = getattr(Ssh, "pid", 70_000_000) + 1  # higher than any process has

        def kill(self) -> None:
            """It is reaped later."""

        def reaped(self, rc: int | None, signum: int | None) -> None:
            self.ended += 1

    monkeypatch.setattr(logins, "Login", Ssh)
    relay = Stub()
    relay.env = environment
    branches = logins.Branches(relay, plan_body(asked=False))  # type: ignore[arg-type]
    try:
        branches.adopt(children(1))
        (first,) = branches._logins.values()
        (child_id,) = branches._logins
        branches._do_hangup(child_id)
        branches._start(child_id, [], {})
        second = branches._logins[child_id]
        branches.reaped(first.pid, None, 9)
        assert (first.ended, second.ended) == (0, 0)  # type: ignore[attr-defined]
        branches.reaped(second.pid, 0, None)
        assert second.ended == 1  # type: ignore[attr-defined]
    finally:
        branches.leave()
        for directory in relay.owned:
            Path(directory).rmdir()


def test_a_relay_tells_its_ssh_clients_from_what_its_command_left(environment: dict[str, str]) -> None:
    """Its ssh, which never ends, is no leftover; another child of its agent's is one."""
    with Parent(environment, relay=True) as parent:
        result = parent.run("echo", parallel=4, children=children(4, connect=60.0))
        assert (result["rc"], result["left"]) == (0, [])
    with Parent(environment, relay=True) as parent:
        daemon = "sh -c 'setsid sleep 600 <&- >&- 2>&- & exit 0'"
        result = parent.run(daemon, parallel=4, children=children(4, connect=60.0), leftover="kill")
        assert [killed for _pid, _name, killed in result["left"]] == [True]


def test_strangers_are_those_that_no_login_began(monkeypatch: pytest.MonkeyPatch) -> None:
    from nile.agent import logins

    relay = Stub()
    branches = logins.Branches(relay, plan_body(asked=False))  # type: ignore[arg-type]
    others = {int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()}
    monkeypatch.setattr(branches, "pids", lambda: others)
    try:
        assert not branches.has_strangers()
        with subprocess.Popen(["sleep", "600"]) as child:
            assert branches.has_strangers()
            others.add(child.pid)
            assert not branches.has_strangers()
            monkeypatch.setattr(os, "getpid", lambda: 0)  # no such list of children
            assert branches.has_strangers()
            child.kill()
    finally:
        branches.leave()
        for directory in relay.owned:
            Path(directory).rmdir()


@pytest.mark.skipif(os.getuid() != 0, reason="only root mounts")
def test_a_relay_that_had_no_room_for_known_hosts_logs_in_once_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before Python 3.8 they lie in a memory file system; half a line was written there."""
    from nile.agent import claims, logins

    began: list[list[str]] = []
    monkeypatch.delattr(os, "memfd_create", raising=False)
    monkeypatch.setattr(claims, "MEMORY_DIRECTORIES", (str(tmp_path),))
    monkeypatch.setattr(logins.Branches, "_start", lambda self, child_id, argv, env: began.append(argv))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", tmp_path], check=True, timeout=20)
    relay = Stub()
    relay.env = dict(os.environ)
    try:
        branches = logins.Branches(relay, plan_body(asked=False))  # type: ignore[arg-type]
        fill = tmp_path / "fill"
        fill.write_bytes(bytes(60 << 10))  # a page is left
        entries = children(3)
        for number, entry in enumerate(entries):
            entry["login"]["known_hosts"] = [f"h{number} ssh-ed25519 {'A' * 3000}"]
        branches.adopt(entries[:2])
        failed = [frame.fields() for frame in relay.frames if frame.type == wire.FAILED]
        assert [body["code"] for body in failed] == ["no-ssh"] * 2
        assert all("(/dev/shm) is full" in body["reason"] for body in failed)
        assert began == []
        fill.unlink()
        branches.adopt(entries[2:])
        assert len(began) == 1
        lines = os.pread(branches._known_hosts, 1 << 20, 0).decode().splitlines()
        assert lines == [line for entry in entries for line in entry["login"]["known_hosts"]]
        branches.leave()
        os.close(branches._known_hosts)
    finally:
        subprocess.run(["umount", "-l", tmp_path], check=True, timeout=20)


@pytest.mark.parametrize("pipes", range(4))
def test_a_login_that_cant_be_started_leaves_no_descriptor(
    pipes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So many pipes are to be had; with three of them, it is the program that isn't there."""
    from nile.agent import sshlogin

    left = [os.pipe] * pipes

    def pipe() -> tuple[int, int]:
        if not left:
            raise OSError(errno.EMFILE, "Too many open files")
        return left.pop()()

    before = sorted(Path("/proc/self/fd").iterdir())
    with monkeypatch.context() as patch:
        patch.setattr(os, "pipe", pipe)
        with pytest.raises(OSError, match="Too many open files" if pipes < 3 else "No such file"):
            sshlogin.Login(Stub(), [str(tmp_path / "nothing")], {}, None, None)  # type: ignore[arg-type]
    assert sorted(Path("/proc/self/fd").iterdir()) == before


class Stub:
    """An agent that only listens."""

    def __init__(self) -> None:
        self.bundle: tuple[Any, ...] = (b"", [], [], [], {})
        self.env: dict[str, str] = {}
        self.frames: list[Frame] = []
        self.owned: list[str] = []
        self.carrier = None

    def now(self) -> float:
        return 0.0

    def own(self, directory: str) -> None:
        self.owned.append(directory)

    def up(self, frame: Frame, sent: object = None) -> None:
        self.frames.append(frame)

    def watch(self, fd: int, mask: int, handler: object) -> None:
        """Nothing comes."""

    def unwatch(self, fd: int) -> None:
        """Nothing came."""


FLOOD = """#!%s
import os, struct, sys, threading

def frame(kind, origin, body):
    return struct.pack("!IBBII", 10 + len(body), kind, 0, origin, 1) + body

def listen():
    while os.read(0, 65536):
        pass

os.write(1, bytes([10]) + ("%%s py 00000000 3.11.2" %% sys.argv[-1].split()[-1]).encode() + bytes([10]))
os.write(1, frame(%d, 0, b"d" + bytes(4)))
threading.Thread(target=listen, daemon=True).start()
flood = frame(%d, 2, b"b" + struct.pack("!I", 60000) + bytes(60000))
while True:
    os.write(1, flood)
"""


def test_a_child_that_floods_its_relay_is_hung_up(environment: dict[str, str]) -> None:
    """While nothing can be passed on: what frames of no window take must have a bound too."""
    ssh = Path(environment["PATH"].partition(":")[0]) / "ssh"
    ssh.write_text(FLOOD % (sys.executable, wire.HELLO, wire.TAKEN))
    with Parent(environment, relay=True, prefix="ulimit -v 600000; ") as parent:
        parent.wait_for(wire.HELLO)
        agent = parent.agent_pid
        parent.send(make_plan(asked=False, children=children(1)))
        children_of = Path(f"/proc/{agent}/task/{agent}/children")
        wait_until(lambda: children_of.read_text(), "the login")
        wait_until(lambda: not children_of.read_text(), "the end of the flood")  # nothing is read meanwhile
        lost = parent.wait_for(wire.LOST).fields()
        assert lost["code"] == "agent"
        assert "more than its relay can pass on" in lost["reason"]


@pytest.fixture
def deaf() -> Iterator[int]:
    """A port whose backlog is full: connecting to it takes minutes."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]
        for each in waiting:
            each.close()


def test_what_still_connects_for_the_root_ends_with_the_relay(environment: dict[str, str], deaf: int) -> None:
    """Also where the relay's own command succeeded, so that what is left behind may stay."""
    with Parent(environment, relay=True) as parent:
        parent.run("true", children=children(1))
        open_it = {"channel": 1, "address": "localhost", "port": deaf, "code": carrier_code()}
        parent.send(Frame(wire.OPEN, 0, 1, (), wire.dumps(open_it)))
        agent = parent.agent_pid
        wait_until(lambda: dialling(agent), "a process that connects")
        (pid,) = dialling(agent)
        parent.send(Frame(wire.END, 0, 1, (), b""))
        parent.wait_closed()
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), "the end of what connects", 5.0)


def dialling(agent: int) -> list[int]:
    """Children of the agent that run the agent's own program."""
    pids = Path(f"/proc/{agent}/task/{agent}/children").read_text().split()
    own = os.path.realpath(f"/proc/{agent}/exe")
    return [int(pid) for pid in pids if os.path.realpath(f"/proc/{pid}/exe") == own]
