"""A real aria2 as the peer of a host, among real libtorrents, over loopback."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nile.agent.worker import announcing, aria, ariac, ariapeer, ports
from nile.agent.worker.landing import OWN
from tests.agent.worker.copying import LONGEST_S, NAME, a_loop
from tests.agent.worker.test_aria import torrent
from tests.agent.worker.test_swarming import SEED, Swarm, nobody_is_known, same, top
from tests.support import wheels

__all__ = ["nobody_is_known", "top"]
LIMIT = 400_000
"""Bytes a second, where something is to happen amid it."""


@pytest.fixture
def swarm(top: Path, tmp_path: Path) -> Iterator[Swarm]:
    """A program is in it, beside all else."""
    assert shutil.which("aria2c"), "the tests of swarms need aria2 (package aria2)"
    shutil.copy2("/bin/true", top / "program")
    (tmp_path / "hosts").mkdir()
    with a_loop() as loop:
        made = Swarm(loop, top, tmp_path / "hosts")
        yield made
        made.end()
        assert not loop._children
        assert not list(made.place.glob("*/.nile-sync-*"))
        assert arias() == []


def arias() -> list[int]:
    """aria2 processes below this one."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [int(pid) for pid in children if Path(f"/proc/{pid}/comm").read_text() == "aria2c\n"]


def bare(swarm: Swarm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: int = 1, **how: Any) -> None:
    """Begin a host that has no libtorrent."""
    python = wheels.bare_python(tmp_path)
    monkeypatch.setattr("nile.agent.worker.peering.pythons", lambda given: [str(python)])
    swarm.begin(host, **how)
    monkeypatch.undo()
    swarm.until(lambda: swarm.has(10 + host, "lacks"))


def have_aria(swarm: Swarm, host: int, *ports: int) -> int:
    swarm.hosts[host].aria({"n": 6, "what": 10 + host})
    port = swarm.port(10 + host)
    swarm.connect(10 + host, *ports)
    return port


def test_a_host_with_aria2_alone_gets_all_and_hands_it_on(
    swarm: Swarm, top: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = swarm.seed()
    bare(swarm, tmp_path, monkeypatch)
    lacks = next(each for each in swarm.said[11] if "lacks" in each)
    version = lacks["aria2"]
    own = have_aria(swarm, 1, port)
    assert next(each for each in swarm.said[11] if "port" in each)["peer"] == f"aria2 {version}"
    assert swarm.trouble(11) == ""
    same(top, swarm.dest(1))
    assert swarm.source.manifest.entries == swarm.found(1).entries
    swarm.root.unpeer({"n": 7, "what": SEED})
    swarm.last(SEED)
    subprocess.run([swarm.dest(1) / "program"], check=True)  # not "text file busy", though it is served
    bare(swarm, tmp_path, monkeypatch, 2)
    have_aria(swarm, 2, own)
    assert swarm.trouble(12) == ""
    same(top, swarm.dest(2))
    swarm.join(3, own)
    swarm.until(lambda: swarm.has(13, "complete"))
    same(top, swarm.dest(3))
    assert swarm.progress(11)["sent"] > 3_000_000
    for host in (1, 2):
        swarm.hosts[host].unpeer({"n": 7, "what": 10 + host})
        assert "code" not in swarm.last(10 + host)
    assert arias() == []


def test_it_gets_what_a_host_lacks_and_serves_that_alone(
    swarm: Swarm, top: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dest = swarm.dest(1)
    dest.mkdir()
    subprocess.run(["cp", "-p", str(top / "big"), str(dest)], check=True)
    port = swarm.seed()
    bare(swarm, tmp_path, monkeypatch, found=swarm.found(1))
    own = have_aria(swarm, 1, port)
    assert swarm.trouble(11) == ""
    assert swarm.progress(11)["whole"] < 2_000_000
    same(top, dest)
    subprocess.run([dest / "program"], check=True)
    swarm.join(2, own)
    swarm.connect(12, port)
    swarm.until(lambda: swarm.has(12, "complete"))
    same(top, swarm.dest(2))
    assert swarm.progress(12)["failed"] == 0


def test_what_aria2_alone_takes_for_right_is_put_nowhere(
    swarm: Swarm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says that it has all, and one byte isn't as it should be."""
    port = swarm.seed()
    bare(swarm, tmp_path, monkeypatch)
    look = ariapeer.Aria._look

    def damaged(self: ariapeer.Aria) -> None:
        big = swarm.dest(1) / os.fsdecode(NAME + OWN) / "0"
        with big.open("r+b") as file:
            file.seek(1_000_000)
            byte = file.read(1)
            file.seek(1_000_000)
            file.write(bytes([byte[0] ^ 1]))
        look(self)

    monkeypatch.setattr(ariapeer.Aria, "_look", damaged)
    have_aria(swarm, 1, port)
    last = swarm.last(11)
    assert last["reason"] == "what aria2 brought isn't what the torrent says (file 0)"
    assert not swarm.has(11, "complete")
    assert not list(swarm.dest(1).iterdir())


def test_one_that_is_killed_is_said_to_have_been(
    swarm: Swarm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = swarm.seed(limit=LIMIT)
    bare(swarm, tmp_path, monkeypatch)
    have_aria(swarm, 1, port)
    swarm.until(lambda: swarm.progress(11)["got"] > 0)
    os.kill(arias()[0], signal.SIGKILL)
    assert swarm.last(11)["reason"] == "its aria2 was killed by signal 9"
    assert not list(swarm.dest(1).iterdir())


def test_it_goes_on_with_what_it_has_at_another_rate(
    swarm: Swarm, top: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = swarm.seed(limit=LIMIT)
    bare(swarm, tmp_path, monkeypatch, limit=10_000)
    have_aria(swarm, 1, port)
    swarm.until(lambda: swarm.progress(11)["got"] > 0)
    (before,) = arias()
    told: dict[str, Any] = {"n": 5, "what": 11, "limit": 20_000, "uplink": 30_000, "near": ["127.0.0.1"]}
    swarm.hosts[1].limit(told)
    assert not swarm.said[5], "it doesn't keep to it yet"
    swarm.until(lambda: swarm.said[5])
    swarm.until(lambda: arias() not in ([], [before]))
    words = Path(f"/proc/{arias()[0]}/cmdline").read_bytes().split(b"\0")
    assert {b"--max-overall-upload-limit=20000", b"--max-overall-download-limit=30000"} <= set(words)
    swarm.hosts[1].limit({**told, "n": 6})
    swarm.until(lambda: swarm.said[6])
    swarm.hosts[1].limit({"n": 7, "what": 11, "limit": 0})
    swarm.root.limit({"n": 8, "what": SEED, "limit": 0})
    assert swarm.trouble(11) == ""
    same(top, swarm.dest(1))


def test_it_listens_where_it_may(swarm: Swarm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    swarm.seed()
    with socket.socket() as taken, socket.socket() as free:
        taken.bind(("", 0))
        taken.listen()
        free.bind(("", 0))
        ports = [taken.getsockname()[1], free.getsockname()[1]]
    bare(swarm, tmp_path, monkeypatch, ports=[ports[1], ports[1]])
    assert have_aria(swarm, 1) == ports[1]


def test_no_port_where_it_may_listen_is_free(
    swarm: Swarm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    swarm.seed()
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = taken.getsockname()[1]
        bare(swarm, tmp_path, monkeypatch, ports=[port, port])
        swarm.hosts[1].aria({"n": 6, "what": 11})
        assert swarm.last(11)["reason"] == f"no port of {port} to {port} is free"


def test_it_takes_part_in_no_swarm_that_is_encrypted(
    swarm: Swarm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    swarm.seed()
    bare(swarm, tmp_path, monkeypatch, tls=["certificate", "key", "parameters"])
    swarm.hosts[1].aria({"n": 6, "what": 11})
    assert swarm.last(11)["reason"] == "aria2 takes part in no swarm that is encrypted"
    assert arias() == []


def test_others_on_the_host_learn_nothing_of_the_swarm(
    swarm: Swarm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    swarm.seed()
    bare(swarm, tmp_path, monkeypatch)
    have_aria(swarm, 1, swarm.port(SEED))
    said = Path(f"/proc/{arias()[0]}/cmdline").read_bytes()
    assert swarm.hash not in said
    assert swarm.hash.hex().encode() not in said.lower()
    guide = ariapeer.Guide(lambda port: None)
    guide.add(swarm.hash, b"")
    guide.introduce(swarm.hash, "10.0.0.1", 1234, False)
    asked = b"GET /announce?info_hash=%b&peer_id=%b&port=1 HTTP/1.1" % (b"x" * 20, b"y" * 20)
    for head in (b"GET /scrape HTTP/1.1", asked):
        answer = announcing.answer(guide, head, "127.0.0.1", 0.0)
        assert answer.status == 404 or b"isn't registered" in answer.body


def test_a_host_without_aria2_says_so(swarm: Swarm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    swarm.seed()
    monkeypatch.setattr("nile.agent.worker.ariac.program", lambda: "")
    python = wheels.bare_python(tmp_path)
    monkeypatch.setattr("nile.agent.worker.peering.pythons", lambda given: [str(python)])
    swarm.begin(1)
    swarm.until(lambda: swarm.has(11, "lacks"))
    assert next(each for each in swarm.said[11] if "lacks" in each)["aria2"] == ""


def test_one_that_is_to_serve_its_own_copy_has_none_of_use(
    swarm: Swarm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    swarm.seed()
    shutil.copytree(swarm.top, swarm.dest(1), symlinks=True)
    bare(swarm, tmp_path, monkeypatch, keep=True)
    assert next(each for each in swarm.said[11] if "lacks" in each)["aria2"] == ""
    swarm.hosts[1].aria({"n": 6, "what": 11})
    swarm.hosts[1].unpeer({"n": 7, "what": 11})
    assert "peer" not in swarm.last(11)
    assert arias() == []


def test_it_ends_with_a_worker_that_is_killed(tmp_path: Path) -> None:
    """By itself: nobody is left that tells it to."""
    found = torrent()
    (tmp_path / "torrent").write_bytes(found.torrent)
    listed = aria.listed(str(tmp_path / "torrent"), aria.names(found), b"\1\1\1\1")
    (tmp_path / "listed").write_bytes(listed)
    told = {"directory": str(tmp_path), "listed": str(tmp_path / "listed"), "tracker": 9, "word": ""}
    port = ports.free_port([], 0)
    with subprocess.Popen(["/bin/sleep", "60"]) as worker:
        own = {"port": port, "limit": 0, "most": 0, "pid": worker.pid, "serves": False}
        argv = aria.words(ariac.program(), **told, **own)  # type: ignore[arg-type]
        with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            while aria.heard(process.stdout.readline()) is None:
                assert process.poll() is None
            worker.kill()
            worker.wait()
            process.stdout.read()
            assert process.wait(LONGEST_S) is not None
