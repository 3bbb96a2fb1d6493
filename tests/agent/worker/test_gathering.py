"""Files back from a host by the real rsync, over loopback; and hosts that send what nobody wants."""

from __future__ import annotations

import os
import signal
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nile.agent.worker import fetching, gathering, limits, pushing
from nile.agent.worker.gathering import Gathering, Offer
from nile.agent.worker.loop import Loop
from nile.agent.worker.patterns import Patterns
from nile.agent.worker.rsync import Refusal, Rsync
from nile.agent.worker.running import Ending
from nile.agent.worker.trees import Source
from nile.agent.worker.working import Gone
from tests.agent.worker.copying import SECRET, a_loop, installed

Message = dict[str, Any]


@pytest.fixture
def loop() -> Iterator[Loop]:
    with a_loop() as loop:
        yield loop


class Two:
    """A host's worker and the root's, in one loop; `take` gives what both said in the end."""

    def __init__(self, loop: Loop, dest: Path) -> None:
        self.loop = loop
        self.dest = dest
        self.said: list[tuple[str, Message]] = []
        self.on: Callable[[str, Message], None] = lambda who, fields: None
        self.host = Gathering(loop, lambda _, fields: self._say("host", fields))
        self.root = Gathering(loop, lambda _, fields: self._say("root", fields))
        self._ends: dict[str, Message] = {}
        self.has: Message = {}
        self.grow: Callable[[], object] = lambda: None
        """What happens at the host once it has said what it has."""

    def _say(self, who: str, fields: Message) -> None:
        self.said.append((who, fields))
        self.on(who, fields)
        if not fields.get("more"):
            self._ends[who] = fields
            if len(self._ends) == 2:
                self.loop.stop()

    def collect(self, run: str = "r1") -> Message:
        return self.root.collect({"n": 1, "dest": os.fsencode(self.dest), "run": run})

    def offer(self, *paths: str, excludes: tuple[bytes, ...] = ()) -> Message:
        self._ends.clear()
        ask = {"n": 2, "paths": [os.fsencode(path) for path in paths], "secret": SECRET}
        offered = self.host.offer(ask, Patterns(excludes))
        self.has = offered.get("has", {})
        return offered

    def fetch(self, *paths: str, port: int, **changes: Any) -> None:
        wanted = [os.fsencode(path) for path in paths]
        ask = {"n": 3, "address": "127.0.0.1", "port": port, "secret": SECRET, "host": b"h1", "paths": wanted}
        ask |= {"peer": [3, 1, 3], "excludes": [], "numeric_ids": False, "bwlimit": 0, "has": self.has}
        self.root.fetch({**ask, **changes})

    def take(self, *paths: str, **changes: Any) -> tuple[Message, Message]:
        """Offer these, take them: the root's words, and the host's."""
        self.collect() if self.root._shelf is None else None
        offered = self.offer(*paths, excludes=tuple(changes.get("excludes", ())))
        self.grow()
        self.fetch(*paths, port=offered["port"], **changes)
        if "host" not in self._ends and "root" in self._ends:
            self.host.abandon(2)
        if len(self._ends) < 2:
            self.loop._stopped = False
            self.loop.run()
        return self._ends["root"], self._ends["host"]

    def leave(self) -> None:
        left: list[bool] = []
        self.root.stop(lambda: left.append(True))
        assert left


@pytest.fixture
def two(loop: Loop, tmp_path: Path) -> Two:
    return Two(loop, tmp_path / "got")


@pytest.fixture
def app(tmp_path: Path) -> Path:
    top = tmp_path / "host/app"
    (top / "deep").mkdir(parents=True)
    (top / "log").write_text("one\n")
    (top / "deep/er  log").write_text("two\n")
    (top / "link").symlink_to("/etc")
    (top / "tool").write_text("#!/bin/sh\n")
    (top / "tool").chmod(0o6755)
    os.mkfifo(top / "fifo")
    os.setxattr(top / "log", "user.colour", b"blue")
    return top


def test_files_come_with_modes_and_times_and_nothing_that_gives_rights(two: Two, app: Path) -> None:
    root, host = two.take(str(app))
    assert "code" not in root
    assert "code" not in host
    assert root["received"] > 0
    got = two.dest / "h1/app"
    assert sorted(path.name for path in got.iterdir()) == ["deep", "link", "log", "tool"]
    assert (got / "deep/er  log").read_text() == "two\n"
    assert (got / "log").stat().st_mtime_ns == (app / "log").stat().st_mtime_ns
    assert not os.listxattr(got / "log")
    assert stat.S_IMODE((got / "tool").stat().st_mode) == 0o755
    assert not (got / "link").exists()
    assert os.fspath((got / "link").readlink()).endswith("/etc")
    assert stat.S_IMODE(two.dest.stat().st_mode) == 0o700


def test_a_slash_stands_for_what_is_in_it_and_files_go_by_their_names(
    two: Two, app: Path, tmp_path: Path
) -> None:
    conf = tmp_path / "host/a $(conf) *[x]?'\""
    conf.write_text("conf")
    two.take(f"{app}/", excludes=[b"deep"])
    two.take(str(conf), str(app / "log"))
    assert sorted(path.name for path in (two.dest / "h1").iterdir()) == sorted(
        [conf.name, "link", "log", "tool"]
    )


def test_what_is_missing_is_said_and_what_nobody_has_is_refused(two: Two, app: Path) -> None:
    offered = two.offer(str(app / "log"), "/no/such", "/nor/such")
    assert offered["missing"] == [b"/no/such", b"/nor/such"]
    two.host.abandon(2)
    assert two.offer("/no/such", "/nor/such") == {
        "code": "source",
        "reason": "/no/such isn't there, and 1 more",
    }


def test_a_log_that_is_written_to_meanwhile_comes_as_it_was_read(
    two: Two, app: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pushing, "PROGRESS_S", 0.0)
    (app / "big").write_bytes(os.urandom(3_000_000))

    def write(who: str, fields: Message) -> None:
        if fields.get("so_far", 0) > 100_000:
            two.on = lambda who, fields: None
            with (app / "log").open("a") as log:
                log.write("more\n")

    two.on = write
    root, host = two.take(str(app))
    assert "code" not in root
    assert (host["changed"], host["lines"]) == (1, [b"app/log"])
    assert (two.dest / "h1/app/log").read_text() in ("one\n", "one\nmore\n")


def test_interrupted_what_came_stays_whole_and_the_rest_comes_with_the_next_run(
    two: Two, app: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pushing, "PROGRESS_S", 0.0)
    (app / "zz").write_bytes(os.urandom(3_000_000))

    def stop(who: str, fields: Message) -> None:
        if fields.get("so_far", 0) > 500_000:
            two.on = lambda who, fields: None
            two.root.abandon(3)

    two.on = stop
    root, host = two.take(str(app), bwlimit=2000)
    assert root["code"] == "stopped"
    assert host["code"]
    assert (two.dest / "h1/app/log").read_text() == "one\n"
    assert not (two.dest / "h1/app/zz").exists()
    two.leave()
    assert [path.name for path in two.dest.iterdir()] == ["h1"]
    root, _ = two.take(str(app))
    assert "code" not in root
    assert (two.dest / "h1/app/zz").read_bytes() == (app / "zz").read_bytes()


def test_one_run_at_a_time_and_what_a_dead_one_left_goes(loop: Loop, tmp_path: Path) -> None:
    first, second = Two(loop, tmp_path / "got"), Two(loop, tmp_path / "got")
    (tmp_path / "got/.nile-sync-dead/h1").mkdir(parents=True)
    assert first.collect() == {}
    assert second.collect("r2")["code"] == "busy"
    first.leave()
    assert second.collect("r2") == {}
    second.leave()
    assert list((tmp_path / "got").iterdir()) == []


@pytest.mark.parametrize("name", ["link", "file"])
def test_a_hosts_directory_has_to_be_one(two: Two, app: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    two.dest.mkdir()
    place = two.dest / "h1"
    place.symlink_to(tmp_path / "elsewhere") if name == "link" else place.touch()
    root, _ = two.take(str(app))
    assert (root["code"], root["reason"]) == ("not-writable", f"{place} is there, and is no directory")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_hosts_directory_is_on_the_same_file_system(two: Two, app: Path, mounted: Path) -> None:
    two.dest = mounted.parent
    root, _ = two.take(str(app), host=os.fsencode(mounted.name))
    assert root["reason"] == f"{mounted} is on another file system"


@pytest.mark.parametrize("name", [b"..", b"", b"a/b", b".nile-sync-r1"])
def test_no_name_leads_out_of_the_directory(two: Two, app: Path, name: bytes) -> None:
    root, _ = two.take(str(app), host=name)
    assert root["reason"] == "no name for a directory"


class TestHostile:
    """The host's rsync is another one, which changes what goes."""

    def liar(self, two: Two, tmp_path: Path, changes: dict[bytes, bytes]) -> None:
        true = installed()
        program = tmp_path / "liar"
        program.write_text(
            f"#!{sys.executable}\nimport subprocess, sys, os\n"
            f"r = subprocess.Popen([{true.path!r}, *sys.argv[1:]], stdout=-1)\n"
            "while data := os.read(r.stdout.fileno(), 1 << 16):\n"
            f"    for old, new in {changes!r}.items():\n"
            "        data = data.replace(old, new)\n"
            "    os.write(1, data)\n"
        )
        program.chmod(0o755)
        two.host._rsync = Rsync(str(program), true.version, true.protocol, true.has)

    @pytest.mark.parametrize("name", ["../evil", "/t/evil", "app/../", ".."])
    def test_a_name_leads_nowhere_else(self, two: Two, tmp_path: Path, name: str) -> None:
        given = tmp_path / "host" / ("q" * len(name))
        given.parent.mkdir()
        given.write_text("evil")
        self.liar(two, tmp_path, {given.name.encode(): name.encode()})
        root, _ = two.take(str(given))
        assert root["code"]
        assert {path.name for path in two.dest.iterdir()} == {"h1", ".nile-sync-r1"}
        assert list((two.dest / "h1").rglob("*")) == []

    def test_nothing_is_written_through_a_link_that_it_sent(self, two: Two, tmp_path: Path) -> None:
        outside = tmp_path / "outside"
        outside.mkdir()
        top = tmp_path / "host/app"
        (top / "directory").mkdir(parents=True)
        (top / "directory/evil").write_text("evil")
        (top / "a symlink").symlink_to(outside)
        self.liar(two, tmp_path, {b"directory": b"a symlink"})
        two.take(str(top))
        assert list(outside.iterdir()) == []

    def test_nor_through_one_of_an_earlier_run(self, two: Two, app: Path, tmp_path: Path) -> None:
        outside = tmp_path / "outside"
        outside.mkdir()
        (app / "later").symlink_to(outside)
        two.take(str(app))
        assert (two.dest / "h1/app/later").is_symlink()
        (app / "later").unlink()
        (app / "later").mkdir()
        (app / "later/evil").write_text("evil")
        root, _ = two.take(str(app))
        assert "code" not in root
        assert list(outside.iterdir()) == []
        assert (two.dest / "h1/app/later/evil").read_text() == "evil"

    def test_other_files_than_were_asked_for_do_not_come(self, two: Two, app: Path, tmp_path: Path) -> None:
        self.liar(two, tmp_path, {b"log": b"lib"})
        root, _ = two.take(str(app / "log"))
        if installed().version >= (3, 2, 5):
            assert root["code"]
            assert list((two.dest / "h1").iterdir()) == []


class TestWhatAHostSends:
    """Only what the root named, whatever is asked over the connection."""

    PATHS = (b"/var/log/app/", b"/etc/a b")

    def argv(
        self, *changed: bytes, paths: tuple[bytes, ...] = (b"/var/log/app/", b"/etc/a\\ b")
    ) -> list[str]:
        words = [b"rsync", b"--server", b"--sender", b"-logtprxSe.LsfxCIvu", b"--timeout=120"]
        rsync = Rsync("/usr/bin/rsync", (3, 2, 7), 31, frozenset())
        return fetching.sender_argv(rsync, [*words, *changed, b".", *paths], self.PATHS)

    def test_it_is_what_the_root_named_itself(self) -> None:
        assert self.argv()[0] == "/usr/bin/rsync"
        assert self.argv()[-3:] == [".", "/var/log/app/", "/etc/a b"]
        assert self.argv(b"--numeric-ids", b"--bwlimit=9")
        assert self.argv(paths=self.PATHS)

    @pytest.mark.parametrize(
        "word",
        [
            b"--remove-source-files",
            b"--log-file=/etc/passwd",
            b"--files-from=-",
            b"--daemon",
            b"--copy-devices",
            b"-L",
            b"-s",
            b"-logtprxSse.L",
            b"/etc/shadow",
            b"--timeout=1 2",
            b"--write-batch=/x",
        ],
    )
    def test_nothing_else_is_done(self, word: bytes) -> None:
        with pytest.raises(Refusal):
            self.argv(word)

    @pytest.mark.parametrize(
        "paths", [(b"/var/log/app/",), (b"/etc/shadow", b"/etc/a b"), (b"/etc/a b", b"/var/log/app/"), ()]
    )
    def test_nor_are_other_files_sent(self, paths: tuple[bytes, ...]) -> None:
        with pytest.raises(Refusal):
            self.argv(paths=paths)

    def test_nor_is_anything_received(self) -> None:
        rsync = Rsync("/usr/bin/rsync", (3, 2, 7), 31, frozenset())
        with pytest.raises(Refusal):
            fetching.sender_argv(rsync, [b"rsync", b"--server", b"-logtpr", b".", b"/x"], [b"/x"])


def test_a_host_that_is_left_alone_ends(two: Two, app: Path) -> None:
    two.offer(str(app))
    (offer,) = two.host._under_way.values()
    assert isinstance(offer, Offer)
    two.host.abandon(2)
    assert two._ends["host"]["code"] == "stopped"
    assert two.host._under_way == {}


def test_an_rsync_at_the_root_that_dies_leaves_nothing_half(
    two: Two, app: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pushing, "PROGRESS_S", 0.0)
    (app / "zz").write_bytes(os.urandom(3_000_000))

    def kill(who: str, fields: Message) -> None:
        if fields.get("so_far", 0) > 500_000:
            two.on = lambda who, fields: None
            (push,) = two.root._under_way.values()
            assert isinstance(push, pushing.Push)
            assert push._running
            os.killpg(push._running.pid, signal.SIGKILL)

    two.on = kill
    root, _ = two.take(str(app), bwlimit=2000)
    assert (root["code"], root["retry"]) == ("killed", True)
    assert not (two.dest / "h1/app/zz").exists()
    two.leave()
    assert [path.name for path in two.dest.iterdir()] == ["h1"]


class TestBounds:
    """What one host may bring, and what has to stay free where it goes."""

    @pytest.fixture(autouse=True)
    def every_byte_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pushing, "PROGRESS_S", 0.0)
        monkeypatch.setattr(gathering, "LOOK_S", 0.01)

    def test_a_host_says_how_much_it_has(self, two: Two, tmp_path: Path) -> None:
        top = tmp_path / "host/app"
        top.mkdir(parents=True)
        (top / "ten").write_text("x" * 10)
        (top / "again").hardlink_to(top / "ten")
        (top / "link").symlink_to("there")
        with (top / "holes").open("wb") as file:
            file.truncate(50 << 20)
        has = two.offer(str(top))["has"]
        names = sum(map(len, ("app", "app/ten", "app/again", "app/link", "there", "app/holes")))
        assert has == {"entries": 5, "names": names, "bytes": 20 + (50 << 20), "room": 20}
        two.host.abandon(2)

    def test_one_that_sends_more_than_it_said_is_stopped_and_nothing_half_stays(
        self, two: Two, app: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(limits, "MARGIN", 100_000)
        two.take(str(app))
        two.grow = lambda: (app / "zz").write_bytes(os.urandom(3_000_000))
        root, _ = two.take(str(app), bwlimit=4000)
        assert (root["code"], root["retry"]) == ("exceeded", False)
        assert root["reason"].startswith("it sends more than the ")
        assert root["received"] < 1_500_000
        assert not (two.dest / "h1/app/zz").exists()
        assert list((two.dest / ".nile-sync-r1").iterdir()) == []

    def test_a_list_of_files_that_grows_and_grows_is_none(
        self, two: Two, app: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(limits, "MARGIN", 10_000)

        def many() -> None:
            for number in range(3000):
                (app / f"{number}").touch()

        two.grow = many
        root, _ = two.take(str(app), bwlimit=20)
        assert root["code"] == "exceeded"
        assert not (two.dest / "h1/app").exists()

    def test_a_log_that_grows_a_little_meanwhile_comes(self, two: Two, app: Path) -> None:
        two.grow = lambda: (app / "log").write_bytes(os.urandom(1_000_000))
        root, _ = two.take(str(app))
        assert "code" not in root
        assert (two.dest / "h1/app/log").stat().st_size == 1_000_000

    def test_what_has_no_room_is_not_begun(self, two: Two, app: Path, mounted: Path) -> None:
        two.dest = mounted
        (app / "big").write_bytes(os.urandom(1_000_000))  # 48 kB would be left of 1 MiB
        root, host = two.take(str(app))
        assert (root["code"], root["retry"]) == ("disk-full", False)
        assert root["reason"].endswith("bytes are to come, and there is room for 996148")
        assert not (mounted / "h1").exists()
        assert host["code"]

    def test_nor_is_what_has_none_beside_that_of_others(self, two: Two, app: Path, mounted: Path) -> None:
        two.dest = mounted
        (app / "big").write_bytes(os.urandom(600_000))
        two.collect()
        other = gathering.Coming(b"h2", {"entries": 1, "names": 1, "bytes": 500_000, "room": 500_000}, True)
        two.root._coming[99] = other
        root, _ = two.take(str(app))
        assert root["code"] == "disk-full"
        other.got(490_000)
        (mounted / "h2").write_bytes(b"x" * 300_000)
        root, _ = two.take(str(app))
        assert "code" not in root

    def test_a_disk_that_fills_up_stops_who_takes_most_of_it(
        self, two: Two, app: Path, mounted: Path
    ) -> None:
        two.dest = mounted
        (app / "big").write_bytes(os.urandom(520_000))
        assert "code" not in two.take(str(app))[0]
        before = (app / "big").read_bytes()
        (app / "big").write_bytes(os.urandom(520_000))
        two.collect()
        other = gathering.Coming(b"h2", {"entries": 1, "names": 1, "bytes": 9, "room": 9}, False)
        two.root._coming[99] = other
        root, _ = two.take(str(app), bwlimit=400)
        assert (root["code"], root["retry"]) == ("disk-full", False)
        assert root["reason"].startswith("too little room would be left here")
        assert (mounted / "h1/app/big").read_bytes() == before
        assert limits.left(os.fsencode(mounted)) > 400_000

    def test_so_does_one_that_has_no_inodes_left(self, mounted: Path) -> None:
        assert limits.left(os.fsencode(mounted)) > 900_000
        for number in range(61):
            (mounted / str(number)).touch()
        assert limits.left(os.fsencode(mounted)) == 0

    def test_of_a_large_disk_a_gibibyte_stays(self, monkeypatch: pytest.MonkeyPatch) -> None:
        blocks = 100 << 18
        found = os.statvfs_result((4096, 4096, blocks, 1 << 19, 1 << 19, 0, 0, 0, 0, 255))
        monkeypatch.setattr(os, "statvfs", lambda place: found)
        assert limits.left(b"/") == 1 << 30


def test_a_look_that_is_broken_off_is_not_waited_for(
    loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever wanted the files has gone meanwhile."""
    two, idle = Two(loop, tmp_path / "dest"), list[int]()
    (tmp_path / "src").mkdir()
    two.offer(str(tmp_path / "src"))

    def gone(_: Source) -> list[bytes]:
        raise Gone

    monkeypatch.setattr(Source, "changed", gone)
    offer = two.host._under_way[2]
    assert isinstance(offer, Offer)
    offer._done, done = (lambda _: None), offer._done
    offer.stop()
    with pytest.raises(Gone):
        done(Ending("", ""))
    two.host.stop(lambda: idle.append(1))
    assert idle == [1]
