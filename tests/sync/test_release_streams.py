"""A release for hosts that have one, by a stream: linked to the one before, which stays as it was."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nile.bootstrap.identity import make_identity
from nile.cascade import Neighbours
from nile.cascade.tree import Tree
from nile.events import Code, Verdict
from nile.sync import Method, Paths, Quorum, Sync, SyncOptions
from tests.agent.worker.copying import tree
from tests.agent.worker.trees import make_all_kinds, write
from tests.sync.local import DEST, Local, Message

HOSTS = (1, 2, 3, 4)
RUN = iter(range(1000))
BY_ROOT = re.compile(r"([0-9.]+) KiB by the root")
BIG = 300_000
LONG = b"longer than what is sent of it at first" * 3
Seen = dict[bytes, tuple[object, ...]]


class Site:
    """Four hosts; what is in all of their releases but the one to come is known, file by file."""

    def __init__(self, place: Path) -> None:
        self.place = place / "hosts"
        self.source = place / "source"
        self.slash = b"/"

    def deliver(self, name: str, down: tuple[int, ...] = (), **more: Any) -> Local:
        how = {"method": Method.AUTO, "delete": True, "max_delete": 10**9, "release": name, **more}
        hooks = {hook: how.pop(hook) for hook in ("dies", "loses", "bare") if hook in how}
        what = SyncOptions((os.fsencode(self.source) + self.slash,), DEST, **how)
        run = f"run{next(RUN)}"

        def job(hosts: Tree) -> Sync:
            paths = Paths(Neighbours(lambda *_: "127.0.0.1"))
            return Sync(what, run, hosts, paths, lambda: os.urandom(32), make_identity)

        return Local(self.place, len(HOSTS), job, down, **hooks)

    def on(self, host: int, path: str = "") -> Path:
        return self.place / str(host) / path

    def releases(self, name: str, hosts: tuple[int, ...] = HOSTS) -> list[Seen]:
        return [tree(self.on(host, f"releases/{name}")) for host in hosts]

    def current(self) -> list[str]:
        return [self.on(host, "current").readlink().name for host in HOSTS]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Release 1 is current everywhere: all that a tree can have, and a file in which little will change."""
    site = Site(tmp_path)
    top = site.source
    make_all_kinds(top)
    for name in ("same", "changed", "mode", "owner", "time", "attribute", "gone", "type"):
        write(top, f"lib/{name}", name * 50)
    (top / "lib/big").write_bytes(os.urandom(BIG))
    for name in ("both", "one", "parted"):
        write(top, f"twins/{name}", name)
        (top / f"twins/{name}2").hardlink_to(top / f"twins/{name}")
    write(top, "old/deep/file", "in a directory that goes")
    write(top, "closed/file", "in a directory that is read-only")
    (top / "closed").chmod(0o555)
    os.setxattr(top / "lib/same", "user.kept", LONG)
    os.setxattr(top / "lib/attribute", "user.colour", b"blue")
    for host in HOSTS:
        site.on(host, "releases").mkdir(parents=True)
        subprocess.run(["rsync", "-aHAX", f"{top}/", site.on(host, "releases/1")], check=True)
        site.on(host, "current").symlink_to("releases/1")
    return site


def patch(site: Site) -> None:
    """Whatever can become another in a release."""
    top = site.source
    write(top, "lib/changed", "x" * len("changed" * 50))
    with (top / "lib/big").open("r+b") as file:
        file.seek(BIG // 2)
        file.write(b"patched")
    (top / "lib/mode").chmod(0o600)
    if os.geteuid() == 0:
        os.chown(top / "lib/owner", 1234, 5678)
    os.utime(top / "lib/time", ns=(1, 2))
    write(top, "lib/attribute", "another content, too")
    os.setxattr(top / "lib/attribute", "user.colour", LONG)
    (top / "lib/gone").unlink()
    shutil.rmtree(top / "old")
    (top / "lib/type").unlink()
    write(top, "lib/type/new", "a directory now")
    write(top, "lib/new", "new")
    write(top, "twins/one", "another content, of both names")
    (top / "twins/parted2").unlink()
    write(top, "twins/parted2", "a file of its own")
    (top / "link").unlink()
    (top / "link").symlink_to("plain")
    (top / "fifo").chmod(0o644)
    (top / "lib").chmod(0o700)


def well(it: Local) -> Local:
    assert {judgement.verdict for judgement in it.judged.values()} == {Verdict.OK}, it.judged
    return it


def told(it: Local, do: str) -> list[int]:
    """Who was told that, once for each time."""
    return sorted(node_id for node_id, message in it.told if message["do"] == do)


def streamed(it: Local, *hosts: int) -> Local:
    """All got what they got by streams, and nobody was copied to."""
    assert (told(it, "join"), told(it, "push")) == (sorted(hosts), []), it.notices
    return it


def on_nth(number: int, do: str) -> Callable[[int, Message], bool]:
    """Is it the nth time, from 0, that anybody is told that?"""
    count = 0

    def says(_: int, message: Message) -> bool:
        nonlocal count
        count += message["do"] == do
        return count == number + 1 and bool(message["do"] == do)

    return says


@pytest.mark.parametrize(
    "how",
    [{}, {"whole": False}, {"checksum": True}, {"plain": True, "chains": 2, "numeric_ids": True}],
)
def test_one_that_differs_comes_as_a_stream_and_the_one_before_stays(site: Site, how: dict[str, Any]) -> None:
    before = site.releases("1")
    patch(site)
    it = streamed(well(site.deliver("2", **how)), *HOSTS)
    assert "one stream for 4 hosts that have the same" in it.notices
    assert site.releases("2") == [tree(site.source)] * 4
    assert site.releases("1") == before
    assert site.current() == ["2"] * 4
    for host in HOSTS:
        linked = {
            name
            for name in ("same", "changed", "mode", "owner", "time", "attribute", "big")
            if site.on(host, f"releases/1/lib/{name}").samefile(site.on(host, f"releases/2/lib/{name}"))
        }
        assert linked == {"same"} | ({"owner"} if os.geteuid() else set())
        assert site.on(host, "releases/1/twins/both").stat().st_nlink == 4
        assert not list(site.on(host, "releases").glob(".nile-[!fm]*"))


def test_only_what_differs_is_sent(site: Site) -> None:
    """Of three hundred files, two."""
    for number in range(300):
        write(site.source, f"many/f{number:03}", f"{number}" * 2000)
    well(site.deliver("2"))
    for number in (17, 170):
        write(site.source, f"many/f{number:03}", "x" * 1000)
    it = streamed(well(site.deliver("3")), *HOSTS)
    (sent,) = [each for each in map(BY_ROOT.search, it.notices) if each]
    assert 2 < float(sent[1]) < 40, sent[0]


def test_the_source_may_be_a_directory_by_its_name_and_leave_things_out(site: Site) -> None:
    site.slash = b""
    well(site.deliver("2"))
    before = site.releases("2")
    patch(site)
    write(site.source, "lib/x.log", "left out")
    out = (b"*.log", b"/source/lib/changed")
    streamed(well(site.deliver("3", excludes=out)), *HOSTS)
    (site.source / "lib/x.log").unlink()
    (site.source / "lib/changed").unlink()
    for host in HOSTS:
        found, wanted = tree(site.on(host, "releases/3/source")), tree(site.source)
        assert {path: each for path, each in found.items() if path != b"lib"} == {
            path: each for path, each in wanted.items() if path != b"lib"
        }
    assert site.releases("2") == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_owners_that_are_asked_for(site: Site) -> None:
    well(site.deliver("2", chown="1:2"))
    before = site.releases("2")
    patch(site)
    streamed(well(site.deliver("3", chown="1:2")), *HOSTS)
    assert site.releases("2") == before
    for host in HOSTS:
        old, new = (site.on(host, f"releases/{name}/lib/same") for name in "23")
        assert old.samefile(new)
        assert {(owner[1], owner[2]) for owner in site.releases("3", (host,))[0].values()} == {(1, 2)}
    streamed(well(site.deliver("4", chown="3:4")), *HOSTS)
    assert site.releases("2") == before
    assert not site.on(1, "releases/4/lib/same").samefile(site.on(1, "releases/3/lib/same"))


class TestHostsThatDiffer:
    def test_one_whose_current_was_changed_by_hand_is_served_by_itself(self, site: Site) -> None:
        """What it has there stays as it is."""
        write(site.on(2), "releases/1/lib/same", "by hand")
        write(site.on(2), "releases/1/lib/more", "by hand")
        before = site.releases("1")
        patch(site)
        it = well(site.deliver("2"))
        assert (told(it, "join"), len(told(it, "push"))) == ([1, 3, 4], 1)
        assert site.releases("2") == [tree(site.source)] * 4
        assert site.releases("1") == before

    def test_so_is_one_on_which_only_an_attribute_differs(self, site: Site) -> None:
        os.setxattr(site.on(3, "releases/1/lib/same"), "user.kept", LONG + b"more")
        before = site.releases("1")
        patch(site)
        it = well(site.deliver("2"))
        assert (told(it, "join"), len(told(it, "push"))) == ([1, 2, 4], 1)
        assert site.releases("2") == [tree(site.source)] * 4
        assert site.releases("1") == before

    def test_what_looks_the_same_and_isnt_is_found_where_contents_count(self, site: Site) -> None:
        """rsync lacks what wasn't recorded for that host, and its release before stays as it is."""
        about = site.on(3, "releases/1/lib/same").stat()
        write(site.on(3), "releases/1/lib/same", "SAME" * 50)
        os.utime(site.on(3, "releases/1/lib/same"), ns=(0, about.st_mtime_ns))
        before = site.releases("1")
        patch(site)
        it = well(site.deliver("2", checksum=True))
        assert (told(it, "join"), len(told(it, "push"))) == ([1, 2, 3, 4], 1)
        assert site.releases("2") == [tree(site.source)] * 4
        assert site.releases("1") == before

    def test_where_only_attributes_differ_it_is_right_in_the_end(self, site: Site) -> None:
        """An rsync that reads a recording may want to set them before it has copied the file."""
        before = site.releases("1")
        os.setxattr(site.source / "lib/attribute", "user.colour", LONG)
        os.removexattr(site.source / "lib/same", "user.kept")
        well(site.deliver("2"))
        assert site.releases("2") == [tree(site.source)] * 4
        assert site.releases("1") == before

    def test_hosts_without_one_get_a_stream_of_their_own(self, site: Site) -> None:
        patch(site)
        for host in (2, 4):
            site.on(host, "current").unlink()
        before = site.releases("1")
        it = streamed(well(site.deliver("2")), *HOSTS)
        said = "one stream for 2 hosts that have the same; an archive for 2 that have nothing"
        assert said in it.notices
        assert site.releases("2") == [tree(site.source)] * 4
        assert site.releases("1") == before
        assert not site.on(2, "releases/1/lib/same").samefile(site.on(2, "releases/2/lib/same"))

    def test_hosts_whose_current_is_called_otherwise_share_it(self, site: Site) -> None:
        for host in (1, 4):
            site.on(host, "releases/1").rename(site.on(host, "releases/0"))
            site.on(host, "current").unlink()
            site.on(host, "current").symlink_to("releases/0")
        before = site.releases("1", (2, 3)) + site.releases("0", (1, 4))
        patch(site)
        it = streamed(well(site.deliver("2")), *HOSTS)
        assert "one stream for 4 hosts that have the same" in it.notices
        assert site.releases("2") == [tree(site.source)] * 4
        assert site.releases("1", (2, 3)) + site.releases("0", (1, 4)) == before

    def test_one_without_rsync_is_told_so(self, site: Site) -> None:
        patch(site)
        it = site.deliver("2", bare=(3,), quorum=Quorum(7500))
        assert [it.judged[host].code for host in HOSTS] == [None, None, Code.NO_RSYNC, None]
        streamed(it, 1, 2, 4)


class TestBrokenOff:
    @pytest.mark.parametrize(
        ("number", "do"),
        [
            (0, "record"),
            (2, "join"),
            (1, "successor"),
            (0, "approve"),
            (2, "approve"),
            (5, "scan"),
            (1, "seal"),
        ],
    )
    def test_wherever_the_root_dies_and_then_it_comes_as_a_stream(
        self, site: Site, number: int, do: str
    ) -> None:
        before = site.releases("1")
        patch(site)
        died = site.deliver("2", dies=on_nth(number, do))
        assert died.judged == {}
        assert site.releases("1") == before
        assert site.current() == ["1"] * 4
        if do != "seal":  # it would be set in place where an earlier try has linked it
            (site.source / "lib/same").chmod(0o640)
        again = well(site.deliver("2"))
        if do not in ("approve", "scan", "seal"):  # these got new names, each some of them
            streamed(again, *HOSTS)
        assert site.releases("2") == [tree(site.source)] * 4
        assert site.releases("1") == before

    @pytest.mark.parametrize(
        ("number", "do", "lost"),
        [(0, "record", 1), (1, "successor", 2), (0, "approve", 4), (0, "approve", 1)],
    )
    def test_one_is_lost_and_the_others_go_on(self, site: Site, number: int, do: str, lost: int) -> None:
        before = site.releases("1")
        patch(site)
        says = on_nth(number, do)

        def loses(node_id: int, message: Message) -> int | None:
            return lost if says(node_id, message) else None

        it = site.deliver("2", loses=loses, quorum=Quorum(7500))
        others = tuple(host for host in HOSTS if host != lost)
        assert {host for host in it.judged if it.judged[host].verdict is Verdict.OK} == set(others)
        assert site.releases("2", others) == [tree(site.source)] * 3
        assert site.releases("1") == before
        well(site.deliver("2"))
        assert site.releases("2") == [tree(site.source)] * 4
        assert site.releases("1") == before

    def test_what_an_rsync_had_brought_isnt_brought_again(self, site: Site) -> None:
        """One that was broken off left files of its own: those who have the same share a stream."""
        write(site.source, "lib/big2", "y" * 200_000)
        for host in HOSTS:
            half = write(site.on(host), "releases/.nile-making-2/lib/same", "y")
            os.utime(half, (1, 1))
            if host < 3:
                shutil.copy2(site.source / "lib/big2", half.parent)
        it = streamed(well(site.deliver("2")), *HOSTS)
        assert "2 streams for 2 and 2 hosts that have the same" in it.notices
        assert site.releases("2") == [tree(site.source)] * 4

    def test_a_source_that_changes_meanwhile_makes_no_release(self, site: Site) -> None:
        before = site.releases("1")
        patch(site)

        def changes(_: int, message: Message) -> bool:
            if message["do"] == "record":
                write(site.source, "lib/same", "changes meanwhile")
            return False

        it = site.deliver("2", dies=changes)
        assert {judgement.code for judgement in it.judged.values()} == {Code.SOURCE_CHANGED}
        assert site.releases("1") == before
        assert site.current() == ["1"] * 4
