"""Swarms on hosts that are directories here: real workers, the real libtorrent, the real rsync."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from nile.agent.worker import naming
from nile.bootstrap.authority import Authority
from nile.cascade import Attest, Neighbours
from nile.events import Code, Verdict
from nile.sync import Method, Paths, Sync, SyncOptions
from tests.agent.worker.trees import make_all_kinds
from tests.cluster.test_sync import tree
from tests.sync.local import DEST, Local, Message
from tests.sync.operator import Operator
from tests.transport.servers import keygen

HOSTS = (1, 2, 3)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A tree with all that a tree can have, and something large."""
    top = tmp_path / "source"
    make_all_kinds(top)
    (top / "big").write_bytes(os.urandom(2_000_000))
    (top / "big").chmod(0o2750)
    os.setxattr(top / "big", "user.color", b"red")
    os.setxattr(top, "user.whole", b"yes")
    os.utime(top, ns=(1, 1_234_567_890_123_456_789))
    return top


@pytest.fixture
def place(tmp_path: Path) -> Path:
    made = tmp_path / "hosts"
    made.mkdir()
    return made


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    return Operator(tmp_path / "operator")


def run(
    place: Path,
    source: Path,
    dies: Any = None,
    bare: tuple[int, ...] = (),
    operator: Operator | None = None,
    **options: Any,
) -> Local:
    """Copy by a swarm; hosts that are `bare` have no rsync. Without an operator a new one signs."""
    operator = operator or Operator(place.parent / os.urandom(4).hex())
    what = {"sources": (os.fsencode(source) + b"/",), "dest": DEST, "method": Method.SWARM, **options}
    return Local(
        place,
        len(HOSTS),
        lambda hosts: Sync(
            SyncOptions(**what),
            "r1",
            hosts,
            Paths(Neighbours(lambda *_: "127.0.0.1")),
            lambda: os.urandom(32),
            lambda: b"",
            authority=Authority,
        ),
        dies=dies or (lambda node_id, message: False),
        bare=bare,
        operator=operator,
    )


def all_have(it: Local, place: Path, source: Path, signed: bool = True) -> None:
    """Without a byte by rsync, and it was seen who signed it."""
    assert ("without a look" in " ".join(it.notices)) is not signed
    assert {message["do"] for _, message in it.told}.isdisjoint({"push", "receive", "record", "join"})
    assert {node_id: each.verdict for node_id, each in it.judged.items()} == dict.fromkeys(HOSTS, Verdict.OK)
    for host in HOSTS:
        has_all(place / str(host), source)


def has_all(dest: Path, source: Path) -> None:
    assert tree(dest) == tree(source)
    for path in ("", "big"):
        names = {name: os.getxattr(source / path, name) for name in os.listxattr(source / path)}
        assert {name: os.getxattr(dest / path, name) for name in os.listxattr(dest / path)} == names
    assert dest.stat().st_mtime_ns == source.stat().st_mtime_ns


def test_a_first_delivery(place: Path, source: Path) -> None:
    it = run(place, source)
    all_have(it, place, source)
    said = " ".join(it.notices)
    assert "the swarm served 3 of 3 hosts" in said
    assert "left out" not in said


def test_hosts_without_rsync(place: Path, source: Path) -> None:
    (place / "1").mkdir()
    (place / "1" / "mine").write_text("mine")
    it = run(place, source, bare=HOSTS)
    assert (place / "1" / "mine").read_text() == "mine"
    (place / "1" / "mine").unlink()
    os.utime(place / "1", ns=(1, source.stat().st_mtime_ns))
    all_have(it, place, source, signed=False)  # there is no ssh-keygen either


def test_holes_stay_holes(place: Path, source: Path) -> None:
    with (source / "sparse").open("wb") as file:
        file.truncate(8_000_000)
        file.seek(3_000_001)
        file.write(os.urandom(1000))
    it = run(place, source)
    all_have(it, place, source)
    for host in HOSTS:
        assert (place / str(host) / "sparse").read_bytes() == (source / "sparse").read_bytes()
        assert (place / str(host) / "sparse").stat().st_blocks * 512 < 200_000


def test_attributes_alone(place: Path, source: Path) -> None:
    for host in HOSTS:
        subprocess.run(["cp", "-a", str(source), str(place / str(host))], check=True)
    (source / "dir").chmod(0o711)
    (source / "dir" / "file").chmod(0o604)
    (source / "again").unlink()
    it = run(place, source, delete=True, max_delete=1)
    all_have(it, place, source)


def test_owners_that_are_asked_for(place: Path, source: Path) -> None:
    (place / "1").mkdir()
    (place / "1" / "big").write_bytes((source / "big").read_bytes())
    it = run(place, source, chown="1234:4321")
    assert {node_id: each.verdict for node_id, each in it.judged.items()} == dict.fromkeys(HOSTS, Verdict.OK)
    for host in HOSTS:
        seen = [path.lstat() for path in (place / str(host)).rglob("*")]
        assert {(each.st_uid, each.st_gid) for each in seen} == {(1234, 4321)}
    assert {message["do"] for _, message in it.told}.isdisjoint({"push", "receive"})


def test_a_patch_is_all_that_travels(place: Path, source: Path) -> None:
    for host in HOSTS:
        subprocess.run(["cp", "-a", str(source), str(place / str(host))], check=True)
    (source / "big").write_bytes(os.urandom(200_000))
    it = run(place, source, delete=True, max_delete=0)
    all_have(it, place, source)
    text = next(text for text in it.notices if "the swarm served" in text)
    assert "KiB sent" in text


def test_what_the_source_doesnt_have_goes(place: Path, source: Path) -> None:
    (place / "2").mkdir()
    (place / "2" / "old").write_text("old")
    (place / "2" / "big").mkdir()
    it = run(place, source, delete=True, max_delete=5)
    all_have(it, place, source)


def test_a_release(place: Path, source: Path) -> None:
    for host in HOSTS:
        (place / str(host)).mkdir()
    it = run(place, source, release="1", delete=True, max_delete=10**6)
    assert {each.verdict for each in it.judged.values()} == {Verdict.OK}
    for host in HOSTS:
        current = place / str(host) / "current"
        has_all(current.resolve(), source)
        assert not list((place / str(host)).rglob(".nile-sync-*"))


def test_a_source_that_changes(place: Path, source: Path) -> None:
    def change(node_id: int, message: Message) -> bool:
        if message["do"] == "torrent":
            (source / "big").write_bytes(b"another")
        return False

    it = run(place, source, change)
    assert {each.code for each in it.judged.values()} == {Code.SOURCE_CHANGED}
    assert all(not list((place / str(host)).iterdir()) for host in HOSTS if (place / str(host)).exists())


def test_the_root_dies_in_the_middle(place: Path, source: Path) -> None:
    it = run(place, source, lambda node_id, message: message["do"] == "unpeer")
    assert it.judged == {}
    assert not list(place.rglob(".nile-sync-*"))


def refused(it: Local, place: Path) -> set[str]:
    """Why all hosts refused it, before any of it had its place."""
    assert {each.code for each in it.judged.values()} == {Code.SIGNATURE}
    assert {message["do"] for _, message in it.told}.isdisjoint({"push", "receive"})
    for host in HOSTS:
        assert not [path for path in (place / str(host)).rglob("*") if path.is_file()]
    return {each.reason for each in it.judged.values()}


def test_what_a_stranger_signed(place: Path, source: Path, operator: Operator) -> None:
    operator.may_log_in(keygen(place.parent / "another"))
    assert "no key that is known here" in " ".join(refused(run(place, source, operator=operator), place))


def test_what_was_signed_too_long_ago(place: Path, source: Path, operator: Operator) -> None:
    operator.says = lambda stated: stated._replace(until=1_000_000_000)
    said = " ".join(refused(run(place, source, operator=operator), place))
    assert "until 2001-09-09" in said


@pytest.mark.parametrize("what", ["dest", "digest"])
def test_what_was_signed_for_something_else(place: Path, source: Path, operator: Operator, what: str) -> None:
    other: dict[str, Any] = {"dest": b"/etc", "digest": bytes(32)}
    operator.says = lambda stated: stated._replace(**{what: other[what]})
    said = " ".join(refused(run(place, source, operator=operator), place))
    assert f"another {'archive' if what == 'digest' else what} is signed than" in said


def test_a_signature_that_is_of_something_else(place: Path, source: Path, operator: Operator) -> None:
    attest = operator.attest

    def forged(errand: Attest, dest: bytes) -> tuple[bytes, list[bytes]]:
        body, _ = attest(errand, dest)
        return body, attest(errand, b"/etc")[1]

    operator.attest = forged  # type: ignore[method-assign]
    assert refused(run(place, source, operator=operator), place) == {
        "the signature isn't of what came with it"
    }


def test_hosts_on_which_nobody_is_known_take_it_and_say_so(place: Path, source: Path) -> None:
    it = run(place, source, operator=Operator(place.parent / "other", known=False))
    assert {each.verdict for each in it.judged.values()} == {Verdict.OK}
    assert "taken from the tree, without a look at who signed it: " in " ".join(it.notices)
    assert "has no key of an operator" in " ".join(it.notices)


def of_release(place: Path, host: int, name: str) -> Path:
    return place / str(host) / "releases" / name


def sent(it: Local) -> float:
    """KiB that seed and hosts sent, as the run says."""
    found = re.search(r"hosts: ([0-9.]+) (KiB|MiB) sent", " ".join(it.notices))
    assert found is not None
    return float(found[1]) * (1024 if found[2] == "MiB" else 1)


@pytest.mark.parametrize("bare", [(), HOSTS])
def test_another_release_brings_what_changed_and_leaves_the_one_before_alone(
    place: Path, source: Path, bare: tuple[int, ...]
) -> None:
    for host in HOSTS:
        (place / str(host)).mkdir()
    for number in range(20):
        (source / f"part{number}").write_bytes(os.urandom(100_000))
    (source / "twin").hardlink_to(source / "part3")
    release: dict[str, Any] = {"delete": True, "max_delete": 10**6, "bare": bare}
    assert sent(run(place, source, release="1", **release)) > 3 * 3900
    before = [contents(of_release(place, host, "1")) for host in HOSTS]

    (source / "part7").write_bytes(os.urandom(100_000))
    (source / "part1").chmod(0o604)
    shutil.copy2(source / "part3", source / "apart")
    (source / "twin").unlink()
    (source / "apart").rename(source / "twin")
    (source / "part2").unlink()
    it = run(place, source, release="2", **release)

    assert {each.verdict for each in it.judged.values()} == {Verdict.OK}
    assert {message["do"] for _, message in it.told}.isdisjoint({"push", "receive", "record", "join"})
    assert sent(it) < 3 * 150
    for host, old in zip(HOSTS, before, strict=True):
        new = of_release(place, host, "2")
        assert contents(new) == contents(source)
        assert contents(of_release(place, host, "1")) == old
        assert (place / str(host) / "current").resolve() == new
        linked = {path.name for path in new.iterdir() if path.is_file() and not path.is_symlink()}
        linked = {name for name in linked if samefile(new / name, of_release(place, host, "1") / name)}
        assert linked >= {f"part{number}" for number in range(20) if number not in (1, 2, 3, 7)}
        assert linked.isdisjoint({"part1", "part7"})
        assert len(linked & {"part3", "twin"}) == 1, "they are two by now"
        assert not list(new.parent.glob(".nile*/*"))


@pytest.mark.parametrize("lies", [False, True])
def test_by_contents_a_release_brings_what_changed_too(place: Path, source: Path, lies: bool) -> None:
    """Where a file of the one before only seems to be the same, rsync mends what came of that."""
    for host in HOSTS:
        (place / str(host)).mkdir()
    release: dict[str, Any] = {"delete": True, "max_delete": 10**6, "checksum": True}
    run(place, source, release="1", **release)
    if lies:
        big = of_release(place, 2, "1") / "big"
        seen = big.stat()
        with big.open("r+b") as file:
            file.write(b"other bytes")
        os.utime(big, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    (source / "new").write_bytes(os.urandom(1000))
    it = run(place, source, release="2", **release)
    assert {each.verdict for each in it.judged.values()} == {Verdict.OK}
    assert sent(it) < 100
    for host in HOSTS:
        assert contents(of_release(place, host, "2")) == contents(source)
    taken = {message["do"] for _, message in it.told} & {"push", "receive"}
    assert bool(taken) is lies


def contents(top: Path) -> Any:
    """As `tree` has it, but for how many names files have: some are elsewhere."""
    return {
        path: (*about, what[0] if isinstance(what, tuple) else what, attributes)
        for path, (*about, what, attributes) in tree(top).items()
    }


def samefile(one: Path, other: Path) -> bool:
    return other.exists() and one.samefile(other)


def test_what_an_earlier_try_left_of_a_release_is_no_hindrance(place: Path, source: Path) -> None:
    """Also what is linked there to the current one: that goes before the next try begins."""
    for host in HOSTS:
        (place / str(host)).mkdir()
    release: dict[str, Any] = {"delete": True, "max_delete": 10**6}
    run(place, source, release="1", **release)
    left = place / "2" / os.fsdecode(naming.making(b"", "2").lstrip(b"/"))
    left.mkdir(parents=True)
    (left / "big").hardlink_to(of_release(place, 2, "1") / "big")
    (left / "more").write_text("more")
    shutil.copy2(source / "dir" / "file", left / "whole")
    (source / "new").write_bytes(os.urandom(1000))
    it = run(place, source, release="2", **release)
    assert {each.verdict for each in it.judged.values()} == {Verdict.OK}
    assert {message["do"] for _, message in it.told}.isdisjoint({"push", "receive"})
    assert sent(it) < 100
    for host in HOSTS:
        assert contents(of_release(place, host, "2")) == contents(source)


def test_a_release_that_is_there_is_served_by_no_seeder(place: Path, source: Path) -> None:
    """What comes beside its files would lie in it for a while."""
    for host in HOSTS:
        (place / str(host)).mkdir()
    release: dict[str, Any] = {"delete": True, "max_delete": 10**6, "release": "1"}
    run(place, source, **release)
    shutil.rmtree(place / "2")
    (place / "2").mkdir()
    it = run(place, source, seeders=frozenset({"h0001"}), **release)
    assert {each.verdict for each in it.judged.values()} == {Verdict.OK}
    begun = {node_id: message["keep"] for node_id, message in it.told if message["do"] == "peer"}
    assert begun == {2: False}


def test_an_older_release_that_was_signed_is_taken_no_more(
    place: Path, source: Path, operator: Operator
) -> None:
    how: dict[str, Any] = {"delete": True, "max_delete": 10**6, "operator": operator}
    assert {each.verdict for each in run(place, source, release="1", **how).judged.values()} == {Verdict.OK}
    operator.serial = 999
    it = run(place, source, release="2", **how)
    assert {each.code for each in it.judged.values()} == {Code.SIGNATURE}
    assert "has serial 999" in it.judged[1].reason


def test_one_with_a_tracker_here_and_ports_that_were_given(place: Path, source: Path) -> None:
    it = run(place, source, tracker_at=("127.0.0.1", 0), peer_ports=(20000, 29999), plain=True)
    all_have(it, place, source)
    said = " ".join(it.notices)
    assert "in the clear" in said
    assert "the tracker is http://127.0.0.1:" in said
    ports = [message["port"] for _, message in it.told if message["do"] == "introduce"]
    assert len(ports) == 1 + len(HOSTS)
    assert all(20000 <= port <= 29999 for port in ports)
    assert [message["do"] for _, message in it.told].count("untrack") == 1
