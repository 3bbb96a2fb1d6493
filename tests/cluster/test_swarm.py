"""A swarm over shaped wires, of real peers: who has no libtorrent, or dies, costs nobody else anything."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nile.lab import BackendName, Lab, LabSpec
from nile.lab.guest import OWN
from tests.cluster.conftest import check_nothing_is_left
from tests.cluster.faults import crash
from tests.cluster.hosts import clear, patiently, processes
from tests.cluster.peers import python_with_libtorrent
from tests.cluster.running import Nile
from tests.cluster.test_sync import Started, copied, on
from tests.support import wheels
from tests.transport.servers import keygen

pytestmark = pytest.mark.cluster

HOSTS = [f"h{number:03}" for number in range(1, 7)]
TREE = {"h001": "h[002-003]", "h004": "h[005-006]"}
RATE = "80mbit"
SIZE = 12_000_000
"""Bytes: more than one second at that rate."""
WITHOUT = "h006"
KNOWING, ESTRANGED = "h001", "h002"
"""Whose home lists the key that logs in, as sshd has it elsewhere; and one that binds it to a command."""
HOME = (
    "mount -t tmpfs none /mnt && mkdir -p -m 700 /mnt/home/.ssh /mnt/work && "
    "{} > /mnt/home/.ssh/authorized_keys && "
    "mount -t overlay none -o lowerdir=/root,upperdir=/mnt/home,workdir=/mnt/work /root"
)


@pytest.fixture(scope="module")
def peers() -> Iterator[Path]:
    """A Python with libtorrent, for hosts."""
    with python_with_libtorrent() as python:
        yield python


@pytest.fixture(scope="module")
def wires(tmp_path_factory: pytest.TempPathFactory, peers: Path) -> Iterator[Lab]:
    """Six hosts on two switches, each port and uplink with a rate.

    The last one sees no libtorrent, and only that one has an rsync.
    """
    python = dict.fromkeys(HOSTS, sys.executable)
    spec = LabSpec(hosts=6, backend=BackendName.NETNS, switches=2, rate=RATE, uplink=RATE, python=python)
    with Lab.up(spec, tmp_path_factory.mktemp("labs") / "swarm", tied=True) as lab:
        hide = ["mount", "-t", "tmpfs", "none", str(peers.parent)]
        assert lab.run_on(WITHOUT, hide).returncode == 0
        rsync = shutil.which("rsync")
        assert rsync is not None
        for host in HOSTS[:-1]:
            assert lab.run_on(host, ["mount", "--bind", "/dev/null", rsync]).returncode == 0
        yield lab


@pytest.fixture
def homes(wires: Lab, tmp_path: Path) -> Iterator[None]:
    """Two hosts have lists of who may log in there."""
    stranger = keygen(tmp_path / "stranger").with_suffix(".pub").read_text().strip()
    bound = f"{{ echo '{stranger}'; sed 's/^/command=\"x\" /' {OWN}/authorized_keys; }}"
    lists = {KNOWING: f"cat {OWN}/authorized_keys", ESTRANGED: bound}
    for host, shown in lists.items():
        made = wires.run_on(host, ["sh", "-c", HOME.format(shown)])
        assert made.returncode == 0, made.stderr
    yield
    for host in lists:
        assert wires.run_on(host, ["umount", "-l", "/root", "/mnt"]).returncode == 0


@pytest.fixture
def nile(wires: Lab, tmp_path: Path) -> Iterator[Nile]:
    """On all of them, in two stages; all up again afterwards, and nothing left on them."""
    made = Nile(wires, tmp_path).with_routes(tree=TREE, timeouts={"lease": "6s", "connect": "2s"})
    yield made
    check_nothing_is_left(made)
    clear(wires, HOSTS)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Large files and small ones, and all that a torrent doesn't carry."""
    top = tmp_path / "source"
    (top / "deep").mkdir(parents=True)
    for number in range(3):
        (top / f"big{number}").write_bytes(os.urandom(SIZE // 3))
        (top / f"deep/f{number}").write_text("x" * number)
    (top / "deep/link").symlink_to("f1")
    (top / "deep/hard").hardlink_to(top / "big1")
    os.chown(top / "big2", 1234, 4321)
    (top / "big2").chmod(0o4755)
    os.setxattr(top / "big0", "user.color", b"red")
    (top / "empty").mkdir(0o711)
    os.mkfifo(top / "fifo", 0o620)
    (top / os.fsdecode(b"odd \xff\n")).write_bytes(b"odd")
    os.chown(top / "deep", 77, 88)
    os.utime(top, ns=(1, 1_234_567_890_123_456_789))
    return top


def nothing_unfinished(nile: Nile) -> None:
    """No temporary file is left on any host, nor a process."""
    patiently(lambda: not processes(nile.lab), "no process is left", 10.0)
    for host in HOSTS:
        assert list(on(nile, host, "/srv").rglob(".nile-sync-*")) == []


def arrived(nile: Nile, host: str) -> int:
    """Bytes of a host's disk that its peer has filled."""
    files = on(nile, host, "/srv/copy").glob(".nile-sync-*-swarm/*")
    return sum(path.stat().st_blocks * 512 for path in files)


def test_all_get_all_of_it_and_only_one_by_rsync(nile: Nile, source: Path, peers: Path) -> None:
    words = ("swarm", "run", "--routes", str(nile.routes), "--all", "--json", "--peer-python", str(peers))
    done = nile.command(*words, f"{source}/", "/srv/copy").all_ok()
    copied(nile, source, "/srv/copy", HOSTS)
    nothing_unfinished(nile)
    said = " ".join(done.notices)
    assert "the swarm served 5 of 6 hosts" in said
    assert f"{WITHOUT} (it has no libtorrent, and none is here that fits its Python 3." in said
    assert done.results[WITHOUT]["peer"] == "rsync"
    assert done.results[HOSTS[0]]["peer"] == f"libtorrent {wheels.VERSION}"
    again = nile.command(*words, f"{source}/", "/srv/copy").all_ok()
    assert not [text for text in again.notices if "swarm" in text]


def test_a_host_takes_what_its_operator_signed_and_nothing_else(
    nile: Nile, homes: None, source: Path, peers: Path
) -> None:
    words = ("swarm", "run", "--routes", str(nile.routes), "--json", "--peer-python", str(peers), "-w")
    done = nile.command(*words, "h[001-003]", f"{source}/", "/srv/copy")
    assert done.verdicts == {KNOWING: "ok", ESTRANGED: "failed", "h003": "ok"}, done.err
    assert "it is signed with no key that is known here" in str(done.results[ESTRANGED])
    assert not [path for path in on(nile, ESTRANGED, "/srv").rglob("*") if path.is_file()]
    copied(nile, source, "/srv/copy", [KNOWING, "h003"])
    (text,) = (text for text in done.notices if "without a look at who signed it" in text)
    assert "h003 (" in text
    assert KNOWING not in text
    nothing_unfinished(nile)


def test_one_without_libtorrent_is_brought_one_that_leaves_nothing_there(
    nile: Nile, source: Path, peers: Path, tmp_path: Path
) -> None:
    wheels.fill(tmp_path / "cache/nile/peers")
    words = ("swarm", "run", "--routes", str(nile.routes), "--all", "--peer-python", str(peers))
    cache = str(tmp_path / "cache")
    done = nile.command(*words, "--json", f"{source}/", "/srv/copy", XDG_CACHE_HOME=cache).all_ok()
    assert "the swarm served 6 of 6 hosts" in " ".join(done.notices)
    used = {host: result["peer"] for host, result in done.results.items()}
    own = f"libtorrent {wheels.VERSION}"
    assert used == {**dict.fromkeys(HOSTS[:-1], own), WITHOUT: f"{own}, carried"}
    copied(nile, source, "/srv/copy", HOSTS)
    nothing_unfinished(nile)
    (source / "big0").write_bytes(os.urandom(SIZE))
    own_words = ("swarm", "run", "--routes", str(nile.routes), "--all")
    again = nile.command(*own_words, f"{source}/", "/srv/copy", XDG_CACHE_HOME=cache)
    assert f"nile: files came by {own}, carried to h[001-006] (6)" in again.err, "hosts hand it on"
    copied(nile, source, "/srv/copy", HOSTS)
    nothing_unfinished(nile)


def test_one_with_aria2_alone_takes_part_in_the_clear(nile: Nile, source: Path, peers: Path) -> None:
    words = ("swarm", "run", "--routes", str(nile.routes), "--all", "--json", "--peer-python", str(peers))
    done = nile.command(*words, "--plain", f"{source}/", "/srv/copy").all_ok()
    copied(nile, source, "/srv/copy", HOSTS)
    nothing_unfinished(nile)
    assert "the swarm served 6 of 6 hosts" in " ".join(done.notices)
    assert re.fullmatch(r"aria2 1\.\d+\.\d+", str(done.results[WITHOUT]["peer"]))


def test_an_aria2_that_is_killed_costs_its_host_time_alone(nile: Nile, source: Path, peers: Path) -> None:
    words = ("--all", "--method", "swarm", "--plain", "--peer-python", peers, f"{source}/", "/srv/copy")
    nile.lab.slow(WITHOUT)  # or it may have all of it before anybody has looked
    with Started(nile, *words) as started:
        patiently(lambda: arrived(nile, WITHOUT) > 0, "some of it is there", 30.0)
        (peer,) = (process for process in nile.lab.processes(WITHOUT) if process.name == "aria2c")
        os.kill(peer.pid, signal.SIGKILL)
        done = started.wait().all_ok()
    copied(nile, source, "/srv/copy", HOSTS)
    assert f"{WITHOUT} (its aria2 was killed by signal 9)" in " ".join(done.notices)
    nothing_unfinished(nile)


def test_one_that_dies_half_way_costs_nobody_else(nile: Nile, source: Path, peers: Path) -> None:
    words = ("--all", "--method", "swarm", "--peer-python", peers, f"{source}/", "/srv/copy")
    with Started(nile, *words) as started:
        patiently(lambda: arrived(nile, "h003") > SIZE // 2, "half of it is there", 30.0)
        crash(nile.lab, "h003")
        done = started.wait()
    assert {host for host, verdict in done.verdicts.items() if verdict != "ok"} == {"h003"}, done.err
    copied(nile, source, "/srv/copy", [host for host in HOSTS if host != "h003"])
    nile.lab.heal()
    nothing_unfinished(nile)


@pytest.mark.parametrize(("option", "host"), [("--method=swarm", "h001"), ("--plain", WITHOUT)])
def test_nothing_is_left_where_it_is_stopped_half_way(
    nile: Nile, source: Path, peers: Path, option: str, host: str
) -> None:
    words = ("--all", "--method=swarm", option, "--peer-python", peers, f"{source}/", "/srv/copy")
    with Started(nile, *words) as started:
        patiently(lambda: arrived(nile, host) > SIZE // 4, "some of it is there", 30.0)
        started.process.terminate()
        done = started.wait()
    assert set(done.verdicts.values()) <= {"cancelled", "ok"}
    nothing_unfinished(nile)
