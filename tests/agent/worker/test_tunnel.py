"""A way to a neighbour through ssh: whoever comes knows the secret, and nothing is left of it afterwards.

What stands for ssh here connects to the port that it is told, on this machine.
"""

from __future__ import annotations

import os
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nile.agent import sshlogin
from nile.agent.signsocket import SIGN_REQUEST, message, string
from nile.agent.worker import tunnel
from nile.agent.worker.lookup import LOOPBACK
from nile.agent.worker.loop import Loop
from nile.agent.worker.meeting import Listener
from nile.agent.worker.tunnel import Tunnel
from tests.agent.worker.chaining import descriptors
from tests.agent.worker.copying import LONGEST_S, SECRET, a_loop
from tests.agent.worker.test_meeting import OTHER, Ends, deadline

LOGIN: dict[str, Any] = {
    "address": "h2",
    "port": 2222,
    "user": "me",
    "alias": "two",
    "options": ["Compression=no"],
    "known_hosts": ["two ssh-ed25519 AAAA"],
    "identities": [[b"blob", "me@here"]],
    "connect": 7.0,
}
REQUEST = bytes([SIGN_REQUEST]) + string(b"blob") + string(b"data") + bytes(4)

HEAD = """#!%s -IS
import os, select, socket, sys
known = [word.partition("=")[2] for word in sys.argv if word.startswith("UserKnownHostsFile=")][0]
here, port = sys.argv[sys.argv.index("-W") + 1].split(":")
agent = socket.socket(socket.AF_UNIX)
agent.connect(os.environ["SSH_AUTH_SOCK"])
def sign():
    agent.sendall(%r)
    return agent.recv(100)
"""
FORWARD = """
assert open(known).read() == "two ssh-ed25519 AAAA\\n"
assert sign() == b"\\0\\0\\0\\6signed"
there = socket.create_connection((here, int(port)))
other = {0: there.fileno(), there.fileno(): 1}
while True:
    for fd in select.select(list(other), [], [])[0]:
        data = os.read(fd, 65536)
        if not data:
            sys.exit(0)
        os.write(other[fd], data)
"""
DEAF = FORWARD.replace("sys.exit(0)", "del other[fd]; break")
REFUSE = """
sys.exit("bad permissions" if sign() == b"\\0\\0\\0\\1\\5" else 1)
"""


@pytest.fixture
def loop() -> Iterator[Loop]:
    with a_loop() as loop:
        yield loop


@pytest.fixture
def scratch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """What the command of a run gets; the first ssh in its PATH is that of a test.

    Its path is short, as it is on hosts: a socket's has 107 bytes.
    """
    with tempfile.TemporaryDirectory(prefix="nile-") as made:
        place = Path(made)
        (place / "scratch").mkdir()
        (place / "bin").mkdir()
        monkeypatch.setenv("NILE_SCRATCH", f"{place}/scratch")
        monkeypatch.setenv("PATH", f"{place}/bin:{os.environ['PATH']}")
        yield place / "scratch"


def ssh(scratch: Path, program: str, head: str = HEAD % (sys.executable, message(REQUEST))) -> None:
    """That is what is found as ssh."""
    path = scratch.parent / "bin/ssh"
    path.write_text(head + program)
    path.chmod(0o755)


class Asked:
    """Requests to the root, which are answered at once."""

    def __init__(self, answer: bytes = b"signed", refused: str = "") -> None:
        self.requests: list[tuple[list[bytes], bytes]] = []
        self.tunnel: Tunnel | None = None
        self._answer = (answer, refused)

    def __call__(self, serial: int, binds: list[bytes], request: bytes) -> None:
        self.requests.append((binds, request))
        assert self.tunnel is not None
        self.tunnel.answer(serial, *self._answer)

    def lead(self, loop: Loop, port: int, met: Callable[..., None], within_s: float = LONGEST_S) -> Tunnel:
        self.tunnel = Tunnel(loop, LOGIN, port, SECRET, deadline(loop, within_s), self, met)
        return self.tunnel


def settle(loop: Loop) -> None:
    """Until every child of ours is over, and what it said is read."""

    def look() -> None:
        if loop._children or len(loop._ready) > 1:  # the loop's own pipe
            loop.at(loop.now() + 0.005, look)
        else:
            loop.stop()

    loop._stopped = False
    look()
    loop.run()


def test_two_meet_through_ssh(loop: Loop, scratch: Path) -> None:
    ssh(scratch, FORWARD)
    before, ends, asked = descriptors(), Ends(loop, 2), Asked()
    listener = Listener(loop, LOOPBACK, SECRET, deadline(loop), ends("listener"))
    asked.lead(loop, listener.port, ends("dialler"))
    loop.run()
    assert asked.requests == [([], REQUEST)]
    assert list(scratch.iterdir()) == [], "no socket is left"
    near, far = ends.connection("dialler"), ends.connection("listener")
    assert not near.getblocking()
    far.setblocking(True)
    near.send(b"one way")
    assert far.recv(100) == b"one way"
    near.close()
    assert far.recv(100) == b"", "ssh ends with the connection"
    far.close()
    settle(loop)
    assert descriptors() == before


def test_an_ssh_that_doesnt_end_by_itself_is_ended(loop: Loop, scratch: Path) -> None:
    ssh(scratch, DEAF)
    ends, asked = Ends(loop, 2), Asked()
    listener = Listener(loop, LOOPBACK, SECRET, deadline(loop), ends("listener"))
    asked.lead(loop, listener.port, ends("dialler"))
    loop.run()
    ends.connection("dialler").close()
    settle(loop)
    ends.close()


def test_its_command_line() -> None:
    argv = tunnel.tunnel_argv("/usr/bin/ssh", LOGIN, "/known", 4000)
    assert (argv[0], argv[-2:]) == ("/usr/bin/ssh", ["--", "h2"])
    assert argv[argv.index("-W") + 1] == "127.0.0.1:4000"
    options = dict(word.split("=") for word in argv if "=" in word)
    assert options["ServerAliveInterval"] == "30", "a host that is gone is noticed as by TCP"
    assert options["ServerAliveCountMax"] == "4"
    assert (options["BatchMode"], options["StrictHostKeyChecking"]) == ("yes", "yes")
    assert (options["UserKnownHostsFile"], options["ConnectTimeout"]) == ("/known", "7")


def test_whoever_listens_and_doesnt_know_the_secret_is_nobody(loop: Loop, scratch: Path) -> None:
    ssh(scratch, FORWARD)
    ends = Ends(loop, 1)
    listener = Listener(loop, LOOPBACK, OTHER, deadline(loop), ends("listener"))
    Asked().lead(loop, listener.port, ends("dialler"))
    loop.run()
    assert ends.code("dialler") == "secret"
    listener.close()
    settle(loop)


@pytest.mark.parametrize(
    ("program", "code", "reason"),
    [
        ("print('Permission denied (publickey).', file=sys.stderr); sys.exit(255)", "ssh", "Permission"),
        ("sys.exit(255)", "ssh", "without a word"),
        ("os.close(0); os.close(1); os.write(2, b'bye'); select.select([agent], [], [])", "ssh", "bye"),
        ("select.select([agent], [], [])", "timeout", "in time"),
    ],
)
def test_it_says_why_there_is_no_way(
    loop: Loop, scratch: Path, program: str, code: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tunnel, "PARTING_S", 0.2)
    ssh(scratch, program)
    before, ends = descriptors(), Ends(loop)
    Asked().lead(loop, 1, ends("dialler"), 2.0 if code == "timeout" else LONGEST_S)
    loop.run()
    assert ends.code("dialler") == code
    assert not loop._children, "ssh is over"
    settle(loop)
    assert reason in ends.said["dialler"][2]
    assert (list(scratch.iterdir()), descriptors()) == ([], before)


def test_the_reason_of_the_root_counts_for_more_than_what_ssh_makes_of_it(loop: Loop, scratch: Path) -> None:
    ssh(scratch, REFUSE)
    ends = Ends(loop)
    Asked(b"\5", "no signature for h2: so").lead(loop, 1, ends("dialler"))
    loop.run()
    assert ends.said["dialler"][1:] == ("signing", "no signature for h2: so")
    settle(loop)


def test_without_an_ssh_there_is_no_way(loop: Loop, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sshlogin, "find_ssh", lambda env: None)
    ends = Ends(loop)
    Asked().lead(loop, 1, ends("dialler"))
    assert ends.said == {}, "not from within"
    loop.run()
    assert ends.code("dialler") == "no-ssh"


def test_without_a_place_for_the_socket_there_is_no_way(
    loop: Loop, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ssh(scratch, FORWARD)
    monkeypatch.setenv("NILE_SCRATCH", str(scratch / "nowhere"))
    monkeypatch.setattr(tunnel, "_MEMORY", (str(scratch / "neither"),))
    before, ends = descriptors(), Ends(loop)
    Asked().lead(loop, 1, ends("dialler"))
    loop.run()
    assert ends.code("dialler") == "agent"
    assert descriptors() == before


def test_a_path_that_is_too_long_is_left_for_another(
    loop: Loop, scratch: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ssh(scratch, FORWARD)
    long = scratch / ("x" * 100)
    long.mkdir()
    monkeypatch.setenv("NILE_SCRATCH", str(long))
    monkeypatch.setattr(tunnel, "_MEMORY", (str(scratch),))
    ends = Ends(loop, 2)
    listener = Listener(loop, LOOPBACK, SECRET, deadline(loop), ends("listener"))
    Asked().lead(loop, listener.port, ends("dialler"))
    loop.run()
    assert (ends.code("listener"), ends.code("dialler")) == ("", "")
    ends.close()
    settle(loop)
    assert list(scratch.iterdir()) == [long]
    assert list(long.iterdir()) == []


def test_what_is_given_up_leaves_nothing(loop: Loop, scratch: Path) -> None:
    ssh(scratch, "select.select([agent], [], [])")
    before, ends, asked = descriptors(), Ends(loop), Asked()
    led = asked.lead(loop, 1, ends("dialler"))
    led.close()
    settle(loop)
    assert ends.said == {}
    assert (list(scratch.iterdir()), descriptors()) == ([], before)


def test_nothing_is_there_to_be_left_by_one_that_is_killed(loop: Loop, scratch: Path) -> None:
    ssh(scratch, "select.select([agent], [], [])")
    led = Asked().lead(loop, 1, Ends(loop)("dialler"))
    assert list(scratch.iterdir()) == []
    assert led._papers is not None
    assert Path(led._papers.path).stat().st_nlink == 0, "its only name is that of our descriptor"
    led.close()
    settle(loop)


def test_only_that_ssh_may_ask_for_a_signature(loop: Loop, scratch: Path) -> None:
    ssh(scratch, "select.select([agent], [], [])")
    asked = Asked()
    led = asked.lead(loop, 1, Ends(loop)("dialler"))
    assert led._papers is not None
    stranger = socket.socket(socket.AF_UNIX)
    stranger.connect(led._papers.path)
    stranger.sendall(message(REQUEST))
    stranger.setblocking(False)

    def hung_up() -> bool:
        try:
            return stranger.recv(100) == b""
        except BlockingIOError:
            return False
        except ConnectionResetError:
            return True

    def look() -> None:
        if hung_up():
            loop.stop()
        else:
            loop.at(loop.now() + 0.005, look)

    look()
    loop.run()
    assert asked.requests == []
    stranger.close()
    led.close()
    settle(loop)


def test_the_directory_in_memory_is_of_this_user() -> None:
    assert f"/run/user/{os.getuid()}" in tunnel._MEMORY
