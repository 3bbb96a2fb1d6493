"""Copies over real ssh, by the real rsync: hosts have what the source has, or what they had before."""

from __future__ import annotations

import os
import re
import shutil
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nile.agent.worker import plans
from nile.lab import Lab
from tests.agent.worker.test_archive_killed import AMID, killed
from tests.agent.worker.test_archive_placed import RIGHTS
from tests.agent.worker.unpacking import packed, read
from tests.cluster.faults import crash, freeze
from tests.cluster.hosts import clear, patiently, processes, root_of
from tests.cluster.running import Done, Nile
from tests.cluster.terminal import Terminal, command_on_terminal

pytestmark = pytest.mark.cluster

HOSTS = [f"h{number:03}" for number in range(1, 9)]
SET = "h[001-008]"
TREE = {"h001": "h[003-005]", "h002": "h[006-008]"}
METHODS = ["rsync", "rsync-tcp", "stream"]
SLOW = ("--bwlimit", "4000")
BIG = 10_000_000
"""Bytes that take some seconds at that rate."""

Tree = dict[bytes, tuple[Any, ...]]


@pytest.fixture
def nile(fleet: Lab, tmp_path: Path) -> Iterator[Nile]:
    """Eight hosts in two stages; what is in their /srv goes afterwards."""
    made = Nile(fleet, tmp_path).with_routes(tree=TREE, timeouts={"lease": "8s", "connect": "5s"})
    yield made
    fleet.heal()
    clear(fleet, HOSTS)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A tree with all that a tree can have."""
    top = tmp_path / "source"
    (top / "deep/er").mkdir(parents=True)
    (top / "empty").mkdir(mode=0o700)
    (top / "hello").write_text("hello\n")
    (top / "run me").write_text("#!/bin/sh\n")
    (top / "run me").chmod(0o751)
    (top / "deep/er/link").symlink_to("../../hello")
    (top / "deep/dangling").symlink_to("nowhere")
    (top / "deep/hard").hardlink_to(top / "hello")
    Path(os.fsdecode(bytes(top) + b"/not utf-8 \xff\n, and two lines")).write_text("odd")
    (top / "-rf").write_text("looks like an option")
    with (top / "sparse").open("wb") as file:
        file.truncate(8 << 20)
    os.chown(top / "run me", 1234, 4321)
    os.setxattr(top / "hello", "user.colour", b"blue")
    os.setxattr(top / "deep/er", "system.posix_acl_default", RIGHTS)
    os.utime(top / "deep/er", ns=(1, 1_234_567_890_123_456_789))
    for number in range(200):
        (top / f"deep/f{number:03}").write_text("x" * number)
    return top


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """A large file among small ones."""
    top = tmp_path / "plain"
    (top / "deep").mkdir(parents=True)
    (top / "big").write_bytes(os.urandom(BIG))
    for number in range(20):
        (top / f"deep/f{number}").write_text("x" * number)
    (top / "hello").write_text("hello\n")
    return top


def tree(top: Path) -> Tree:
    """All that is in a tree, the top's own times and mode too."""
    found: Tree = {}
    for path in [top, *top.rglob("*")]:
        seen = path.lstat()
        what: Any = None
        attributes = (
            None if path.is_symlink() else {name: os.getxattr(path, name) for name in os.listxattr(path)}
        )
        if path.is_symlink():
            what = path.readlink()
        elif stat.S_ISREG(seen.st_mode):
            content = (seen.st_blocks * 512 < seen.st_size) or path.read_bytes()
            what = (content, seen.st_nlink)
        times = () if path.is_symlink() else (seen.st_mtime_ns, stat.S_IMODE(seen.st_mode))
        found[os.fsencode(path.relative_to(top))] = (
            stat.S_IFMT(seen.st_mode),
            seen.st_uid,
            seen.st_gid,
            times,
            what,
            attributes,
        )
    return found


def on(nile: Nile, host: str, dest: str) -> Path:
    return root_of(nile.lab, host) / dest.lstrip("/")


def logged_in(nile: Nile, host: str) -> int:
    """How often anybody has logged in there, by its sshd's account."""
    return (root_of(nile.lab, host) / "run/lab/sshd.log").read_text().count("Accepted publickey")


def sync(nile: Nile, *words: object, **how: Any) -> Done:
    return nile.command("sync", "--routes", str(nile.routes), *map(str, words), **how)


def copied(nile: Nile, source: Path, dest: str, hosts: list[str] = HOSTS) -> None:
    wanted = tree(source)
    for host in hosts:
        assert tree(on(nile, host, dest)) == wanted, host


def under_way(nile: Nile, host: str, dest: str, size: int) -> None:
    """Wait until so many bytes of an unfinished file are there."""

    def enough() -> bool:
        places = on(nile, host, dest).glob(".nile-sync-*/.nile-sync-*/*")
        return any(path.stat().st_size >= size for path in places)

    patiently(enough, f"{size} bytes are under way to {host}", 30.0)


class Started:
    """`nile sync --json`, or another command, in the background."""

    def __init__(self, nile: Nile, *words: object, command: str = "sync") -> None:
        argv = nile.argv(command, "--routes", str(nile.routes), "--json", *map(str, words))
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            argv, env=nile.environment(), stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe
        )

    def __enter__(self) -> Started:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()

    def wait(self) -> Done:
        stdout, stderr = self.process.communicate(timeout=60)
        return Done(self.process.returncode, stdout, stderr)


@pytest.mark.parametrize("method", METHODS)
class TestCopying:
    def test_everything_arrives_and_then_what_changed(self, nile: Nile, source: Path, method: str) -> None:
        how = ("-w", SET, "--method", method, "--json")
        logins = [logged_in(nile, host) for host in HOSTS]
        sync(nile, *how, f"{source}/", "/srv/copy").all_ok()
        copied(nile, source, "/srv/copy")
        assert [logged_in(nile, host) for host in HOSTS] == [count + 1 for count in logins]

        (source / "hello").write_text("HELLO\n")
        (source / "deep/f007").unlink()
        (source / "new").mkdir()
        (source / "new/file").write_text("new")
        sync(nile, *how, "--delete", f"{source}/", "/srv/copy").all_ok()
        copied(nile, source, "/srv/copy")

        done = sync(nile, *how, "--delete", f"{source}/", "/srv/copy").all_ok()
        assert not [text for text in done.notices if "sent" in text]

    def test_without_a_slash_the_directory_itself_is_copied_beside_what_is_there(
        self, nile: Nile, source: Path, method: str
    ) -> None:
        other = on(nile, "h005", "/srv/many/other")
        other.mkdir(parents=True)
        words = ("-w", SET, "--method", method, "--json", "--delete", str(source), "/srv/many")
        sync(nile, *words).all_ok()
        copied(nile, source, "/srv/many/source")
        assert other.is_dir()

    def test_a_relay_that_dies_on_the_way_costs_nobody_else(
        self, nile: Nile, plain: Path, method: str
    ) -> None:
        words = ("-w", SET, "--method", method, *SLOW, f"{plain}/", "/srv/copy")
        with Started(nile, *words) as started:
            under_way(nile, "h001", "/srv/copy", BIG // 4)
            crash(nile.lab, "h001")
            done = started.wait()
        assert {host for host, verdict in done.verdicts.items() if verdict != "ok"} == {"h001"}
        copied(nile, plain, "/srv/copy", HOSTS[1:])


def test_a_host_half_done_is_finished_by_another_giver(nile: Nile, plain: Path) -> None:
    half = HOSTS[2:5]
    how = ("-w", "h[001,003-005]", "--method", "rsync-tcp", "--bwlimit", "3000")
    words = (*how, f"{plain}/", "/srv/copy")
    with Started(nile, *words) as started:
        for host in half:
            under_way(nile, host, "/srv/copy", BIG // 2)
        crash(nile.lab, "h001")
        done = started.wait()
    assert {host for host, verdict in done.verdicts.items() if verdict != "ok"} == {"h001"}
    copied(nile, plain, "/srv/copy", half)
    assert not [path for host in half for path in on(nile, host, "/srv").rglob(".nile*")]
    (sent,) = [found for text in done.notices if (found := re.search(r"s: (.*) MiB by the root", text))]
    again = float(sent[1]) * 2**20 - BIG  # h001 had all of it from there
    assert again < len(half) * BIG * 0.75


@pytest.mark.parametrize("method", METHODS)
def test_hosts_behind_one_that_only_relays_are_served_past_it(nile: Nile, source: Path, method: str) -> None:
    sync(nile, "-w", "h[003-005]", "--method", method, "--json", f"{source}/", "/srv/copy").all_ok()
    copied(nile, source, "/srv/copy", HOSTS[2:5])
    assert not on(nile, "h001", "/srv/copy").exists()


def test_what_differs_is_mended_where_it_differs(nile: Nile, source: Path) -> None:
    sync(nile, "-w", SET, "--json", f"{source}/", "/srv/copy").all_ok()
    (on(nile, "h002", "/srv/copy") / "hello").write_text("torn\n")
    (on(nile, "h006", "/srv/copy") / "own").write_text("h006's own")
    words = ("verify", "--routes", str(nile.routes), "-w", SET, "--json")
    where = (f"{source}/", "/srv/copy")

    done = nile.command(*words, "--repair", *where)
    assert {host for host, verdict in done.verdicts.items() if verdict != "ok"} == {"h006"}
    assert done.results["h006"]["code"] == "differs"
    assert "changed hello" in done.stdout_of("h002")
    assert "extra own" in done.stdout_of("h006")
    copied(nile, source, "/srv/copy", [host for host in HOSTS if host != "h006"])
    assert (on(nile, "h006", "/srv/copy") / "own").exists()

    nile.command(*words, "--repair", "--delete", "--max-delete", "1", *where).all_ok()
    copied(nile, source, "/srv/copy")
    nile.command(*words, *where).all_ok()


def test_how_far_it_is_is_told_to_programs(nile: Nile, plain: Path) -> None:
    words = ("-w", "h[001-004]", "--method", "rsync-tcp", *SLOW, "--json", f"{plain}/", "/srv/copy")
    told = [event for event in sync(nile, *words).all_ok().events if event["event"] == "progress"]
    assert len(told) > 4
    assert {event["hosts"] for event in told} == {4}
    assert [event["part"] for event in told] == sorted(event["part"] for event in told)
    assert (told[-1]["part"], told[-1]["complete"]) == (1.0, 4)
    middle = told[len(told) // 2]
    assert 0 < middle["part"] < 1
    assert middle["bytes_per_s"] > 500_000
    assert middle["eta_s"] > 0
    assert {copy["host"] for event in told for copy in event["behind"]} == set(HOSTS[:4])
    for host in HOSTS[:4]:
        mine = [copy for event in told for copy in event["each"] if copy["host"] == host]
        assert [copy["bytes"] for copy in mine] == sorted(copy["bytes"] for copy in mine)
        assert any(copy["eta_s"] and 0 < copy["bytes"] < copy["bytes_whole"] for copy in mine)
        assert (mine[-1]["complete"], mine[-1]["bytes"]) == (True, mine[-1]["bytes_whole"])


def test_those_that_were_away_are_caught_up_with(nile: Nile, source: Path) -> None:
    for host in ("h004", "h007"):
        crash(nile.lab, host)
    done = sync(nile, "-w", SET, "--json", f"{source}/", "/srv/copy")
    assert {host for host, verdict in done.verdicts.items() if verdict != "ok"} == {"h004", "h007"}
    nile.lab.heal()

    again = nile.command("sync", "--catch-up", "last", "--json").all_ok()
    assert set(again.verdicts) == {"h004", "h007"}
    copied(nile, source, "/srv/copy")
    assert "nothing to catch up with" in nile.command("sync", "--catch-up", "last").err

    (source / "hello").write_text("HELLO\n")
    refused = nile.command("sync", "--catch-up", done.events[0]["run"], "--json")
    assert refused.code == 2
    assert "the source changed since run" in refused.err


@pytest.mark.parametrize("method", ["rsync", "stream"])
def test_files_go_into_a_directory_beside_what_is_there(
    nile: Nile, tmp_path: Path, source: Path, method: str
) -> None:
    for name in ("app.conf", "a b"):
        (tmp_path / name).write_text(name)
    for host in HOSTS:
        on(nile, host, "/srv/app").mkdir()
        (on(nile, host, "/srv/app") / "own").write_text(host)
    (on(nile, "h004", "/srv/app") / "app.conf").write_text("older")
    words = (tmp_path / "app.conf", tmp_path / "a b", source, "/srv/app")
    sync(nile, "-w", SET, "--method", method, "--json", *words).all_ok()
    for host in HOSTS:
        place = on(nile, host, "/srv/app")
        assert sorted(path.name for path in place.iterdir()) == ["a b", "app.conf", "own", "source"]
        assert (place / "app.conf").read_text() == "app.conf"
        assert (place / "app.conf").stat().st_mtime_ns == (tmp_path / "app.conf").stat().st_mtime_ns
    (tmp_path / "app.conf").write_text("newer")
    sync(nile, "-w", SET, "--method", method, "--json", tmp_path / "app.conf", "/srv/app").all_ok()
    assert {(on(nile, host, "/srv/app") / "app.conf").read_text() for host in HOSTS} == {"newer"}

    (on(nile, "h006", "/srv/app") / "app.conf").write_text("other")
    verify = (
        "verify",
        "--routes",
        str(nile.routes),
        "-w",
        SET,
        "--json",
        str(tmp_path / "app.conf"),
        "/srv/app",
    )
    done = nile.command(*verify)
    assert [host for host, result in done.results.items() if result["code"]] == ["h006"]


@pytest.mark.parametrize("method", ["rsync", "stream"])
def test_several_repositories_in_one_run(nile: Nile, tmp_path: Path, source: Path, method: str) -> None:
    (tmp_path / "app.conf").write_text("new")
    file = tmp_path / "repos.yaml"
    file.write_text(
        "- {source: source/, dest: /srv/one}\n"
        "- {source: app.conf, dest: /srv/two, hosts: 'h[002-008]'}\n"
        "- {source: source, dest: /srv/three, hosts: 'h[001,008-020]', exclude: deep}\n"
    )
    on(nile, "h003", "/srv/two").mkdir()
    (on(nile, "h003", "/srv/two") / "app.conf").mkdir()  # which nothing takes away that isn't empty
    (on(nile, "h003", "/srv/two") / "app.conf/own").touch()
    words = ("-w", SET, "--json", "--repos", file)
    done = sync(nile, *words, "--method", method)
    bad = {host: result for host, result in done.results.items() if result["verdict"] != "ok"}
    assert set(bad) == {"h003"}
    assert bad["h003"]["reason"].startswith("/srv/two: ")
    copied(nile, source, "/srv/one")
    assert [host for host in HOSTS if (on(nile, host, "/srv/two") / "app.conf").is_file()] == [
        host for host in HOSTS if host not in ("h001", "h003")
    ]
    assert [host for host in HOSTS if (on(nile, host, "/srv/three/source") / "hello").exists()] == [
        "h001",
        "h008",
    ]
    assert not on(nile, "h001", "/srv/three/source/deep").exists()
    done = nile.command("verify", "--routes", str(nile.routes), *map(str, words))
    assert {host for host, result in done.results.items() if result["verdict"] != "ok"} == {"h003"}
    assert not [path for host in HOSTS for path in on(nile, host, "/srv").rglob(".nile*")]


def test_a_file_of_repositories_that_is_wrong_says_where(nile: Nile, tmp_path: Path) -> None:
    file = tmp_path / "repos.yaml"
    file.write_text("- {source: no-such/, dest: /srv/one}\n")
    done = sync(nile, "-w", SET, "--repos", file)
    assert done.code == 2
    assert f"{file}:1:12: {tmp_path}/no-such/: there is no such file" in done.err
    (tmp_path / "app.conf").touch()
    file.write_text("- {source: app.conf, dest: /srv/one, hosts: h001}\n")
    done = sync(nile, "-w", SET, "--repos", file)
    assert "h002 and 6 more would get no repository" in done.err


def test_a_file_where_the_directory_should_be_is_refused(nile: Nile, tmp_path: Path) -> None:
    (tmp_path / "app.conf").write_text("new")
    (on(nile, "h001", "/srv") / "app").write_text("a file")
    done = sync(nile, "-w", "h[001-002]", "--json", tmp_path / "app.conf", "/srv/app")
    assert done.results["h001"]["code"] == "destination"
    assert done.results["h001"]["reason"] == "the destination '/srv/app' is a file"
    assert done.verdicts["h002"] == "ok"
    assert (on(nile, "h001", "/srv") / "app").read_text() == "a file"


def test_without_delete_what_hosts_have_beside_it_stays(nile: Nile, source: Path) -> None:
    on(nile, "h001", "/srv/copy/deep").mkdir(parents=True)
    (on(nile, "h001", "/srv/copy") / "deep/key").write_text("h001's own")
    words = ("-w", "h[001-004]", "--json", f"{source}/", "/srv/copy")
    for _ in range(2):
        sync(nile, *words).all_ok()
        assert (on(nile, "h001", "/srv/copy") / "deep/key").read_text() == "h001's own"
        for host in HOSTS[2:4]:  # which h001 would serve, if it had the source's files only
            assert (on(nile, host, "/srv/copy") / "hello").read_text() == "hello\n"
            assert not (on(nile, host, "/srv/copy") / "deep/key").exists()


def test_an_empty_source_empties_nobody(nile: Nile, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    kept = on(nile, "h001", "/srv/copy/kept")
    kept.parent.mkdir()
    kept.touch()
    words = ("-w", "h[001-002]", "--delete", "--max-delete", "9", "--json")
    done = sync(nile, *words, f"{tmp_path}/empty/", "/srv/copy")
    assert {result["code"] for result in done.results.values()} == {"source"}
    assert kept.exists()


@pytest.mark.parametrize("method", METHODS)
def test_a_relay_whose_worker_dies_costs_nobody_else(nile: Nile, plain: Path, method: str) -> None:
    words = ("-w", "h[001-005]", "--method", method, *SLOW, f"{plain}/", "/srv/copy")
    with Started(nile, *words) as started:
        under_way(nile, "h003", "/srv/copy", 1)
        # It may have a child, which is a copy of it.
        worker, *_ = [each for each in processes(nile.lab, ["h001"]) if "io,zlib" in " ".join(each.argv)]
        os.kill(worker.pid, signal.SIGKILL)
        done = started.wait()
    assert {host for host, verdict in done.verdicts.items() if verdict != "ok"} == {"h001"}
    copied(nile, plain, "/srv/copy", HOSTS[2:5])


def test_what_is_left_out_is_neither_copied_nor_deleted(nile: Nile, source: Path) -> None:
    log = on(nile, "h002", "/srv/copy/deep/er/own.log")
    log.parent.mkdir(parents=True)
    log.write_text("its own")
    (source / "secret.log").write_text("not for hosts")
    words = ("-w", "h[001-003]", "--delete", "--exclude", "*.log", "--exclude", "/empty")
    sync(nile, *words, "--json", f"{source}/", "/srv/copy").all_ok()
    assert log.read_text() == "its own"
    for host in HOSTS[:3]:
        assert not (on(nile, host, "/srv/copy") / "secret.log").exists()
        assert not (on(nile, host, "/srv/copy") / "empty").exists()
        assert (on(nile, host, "/srv/copy") / "hello").read_text() == "hello\n"


def test_what_differs_is_named_under_the_hosts_that_have_it(nile: Nile, source: Path) -> None:
    sync(nile, "-w", SET, "--json", f"{source}/", "/srv/copy").all_ok()
    for host in ("h003", "h007"):
        (on(nile, host, "/srv/copy") / "hello").chmod(0o600)
    words = ("verify", "--routes", str(nile.routes), "-w", SET, "--gather", f"{source}/", "/srv/copy")
    done = nile.command(*words)
    assert done.code == 1
    assert "h[003,007] (2)" in done.out
    assert "changed deep/hard (mode)\nchanged hello (mode)\n" in done.out
    assert "6 of 8 hosts ok, 2 failed" in done.err


def test_a_same_size_edit_within_the_same_second_is_not_missed(nile: Nile, source: Path) -> None:
    sync(nile, "-w", SET, "--json", f"{source}/", "/srv/copy").all_ok()
    seen = (source / "hello").stat().st_mtime_ns
    (source / "hello").write_text("HELLO\n")
    os.utime(source / "hello", ns=(seen, seen // 10**9 * 10**9 + (seen + 1) % 10**9))
    sync(nile, "-w", SET, "--json", f"{source}/", "/srv/copy").all_ok()
    copied(nile, source, "/srv/copy")


def test_a_dry_run_says_it_and_does_nothing(nile: Nile, source: Path) -> None:
    done = sync(nile, "-w", SET, "-n", "--gather", f"{source}/", "/srv/copy")
    assert done.code == 0
    assert b"missing hello\n" in done.stdout
    assert not on(nile, "h001", "/srv/copy").exists()


def test_much_is_not_deleted_by_the_way(nile: Nile, source: Path) -> None:
    keep = on(nile, "h004", "/srv/copy")
    keep.mkdir()
    for number in range(100):
        (keep / f"precious{number}").touch()
    words = ("-w", SET, "--delete", "--json", f"{source}/", "/srv/copy")
    done = sync(nile, *words)
    assert {result["code"] for result in done.results.values()} == {"max-delete"}
    assert len(list(keep.iterdir())) == 100
    assert not list(on(nile, "h001", "/srv").iterdir())
    sync(nile, *words[:-2], "--max-delete", "100", *words[-2:]).all_ok()
    copied(nile, source, "/srv/copy")


@pytest.mark.parametrize(("key", "code"), [(b"y\n", 0), (b"n\n", 1), (b"\x03", 130)])
def test_at_a_terminal_the_user_is_asked(
    nile: Nile, source: Path, terminal: Terminal, key: bytes, code: int
) -> None:
    place = on(nile, "h001", "/srv/copy")
    place.mkdir()
    (place / "precious").touch()
    words = ("sync", "--routes", str(nile.routes), "-w", "h[001-002]", "--delete", f"{source}/", "/srv/copy")
    run = command_on_terminal(nile, terminal, *words)
    patiently(lambda: b"go on?" in terminal.shown, "it asks", 30.0)
    assert b"files and directories would be deleted: 1 of 2 on h001 (1)" in terminal.shown
    terminal.type(key)
    assert run.wait().code == code
    assert (place / "precious").exists() is (code != 0)


@pytest.mark.parametrize(
    ("dest", "code"), [("/srv", "destination"), ("/etc", "destination"), ("/srv/a file", "destination")]
)
def test_where_nobody_means_to_delete_nothing_is(nile: Nile, source: Path, dest: str, code: str) -> None:
    on(nile, "h001", "/srv/a file").touch()
    on(nile, "h002", "/srv/a file").touch()
    done = sync(nile, "-w", "h[001-002]", "--delete", "--max-delete", "9", "--json", f"{source}/", dest)
    assert {result["code"] for result in done.results.values()} == {code}


def test_one_run_at_a_time(nile: Nile, plain: Path) -> None:
    words = ("-w", "h[001-002]", f"{plain}/", "/srv/copy")
    with Started(nile, "--bwlimit", "1500", *words) as first:
        under_way(nile, "h001", "/srv/copy", 1)
        second = sync(nile, "--json", *words)
        assert {result["code"] for result in second.results.values()} == {"busy"}
        assert "of root since 2" in second.results["h001"]["reason"]
        first.wait().all_ok()
    copied(nile, plain, "/srv/copy", HOSTS[:2])


def test_a_source_that_changes_meanwhile_is_named_and_what_was_there_stays(nile: Nile, plain: Path) -> None:
    (plain / "big").rename(plain.parent / "big")
    sync(nile, "-w", SET, "--json", f"{plain}/", "/srv/copy").all_ok()
    (plain.parent / "big").rename(plain / "big")
    (plain / "hello").write_text("newer\n")
    before = {host: (on(nile, host, "/srv/copy") / "hello").read_text() for host in HOSTS}
    with Started(nile, "-w", SET, "--method", "rsync", *SLOW, f"{plain}/", "/srv/copy") as started:
        under_way(nile, "h001", "/srv/copy", BIG // 4)
        (plain / "hello").write_text("newest\n")
        done = started.wait()
    assert {result["code"] for result in done.results.values()} == {"source-changed"}
    assert "hello" in done.results["h001"]["reason"]
    assert {host: (on(nile, host, "/srv/copy") / "hello").read_text() for host in HOSTS} == before
    assert not list(on(nile, "h001", "/srv/copy").glob(".nile*"))


def test_what_a_stream_brings_is_what_the_source_was_when_it_was_read(nile: Nile, plain: Path) -> None:
    with Started(nile, "-w", SET, "--method", "stream", *SLOW, f"{plain}/", "/srv/copy") as started:
        under_way(nile, "h001", "/srv/copy", BIG // 4)
        (plain / "hello").write_text("newer\n")
        started.wait().all_ok()
    assert {(on(nile, host, "/srv/copy") / "hello").read_text() for host in HOSTS} == {"hello\n"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_what_is_interrupted_leaves_nothing_half_and_is_finished_by_the_next_run(
    nile: Nile, plain: Path, number: signal.Signals
) -> None:
    with Started(nile, "-w", SET, *SLOW, f"{plain}/", "/srv/copy") as started:
        under_way(nile, "h001", "/srv/copy", BIG // 4)
        started.process.send_signal(number)
        started.wait()
    patiently(lambda: not processes(nile.lab), "nothing runs any more", 30.0)
    for host in HOSTS:
        assert not list(on(nile, host, "/srv").glob("copy/big"))
        assert not list(on(nile, host, "/srv").glob("copy/.nile*"))
    sync(nile, "-w", SET, "--json", f"{plain}/", "/srv/copy").all_ok()
    copied(nile, plain, "/srv/copy")


def test_a_full_disk_and_a_frozen_host_are_theirs_alone(nile: Nile, plain: Path) -> None:
    on(nile, "h005", "/srv/copy").mkdir()
    nile.lab.run_on("h005", ["mount", "-t", "tmpfs", "-o", "size=8m", "full", "/srv/copy"])
    try:
        with Started(nile, "-w", SET, *SLOW, f"{plain}/", "/srv/copy") as started:
            under_way(nile, "h001", "/srv/copy", 1)
            freeze(nile.lab, "h002")
            done = started.wait()
    finally:
        nile.lab.run_on("h005", ["umount", "/srv/copy"])
    bad = {host: result for host, result in done.results.items() if result["verdict"] != "ok"}
    assert {host: result["verdict"] for host, result in bad.items()} == {"h002": "lost", "h005": "failed"}
    assert bad["h005"]["code"] == "disk-full"
    copied(nile, plain, "/srv/copy", [host for host in HOSTS if host not in ("h002", "h005")])


def test_hosts_without_rsync_get_what_they_never_had(nile: Nile, source: Path) -> None:
    """An archive, beside the stream of the others; but a patch needs rsync, and so does who asks for it.

    Where a run was killed before, while names were given to what had come, the others get theirs.
    """
    program = shutil.which("rsync")
    assert program
    bare = begun, _ = ("h004", "h007")
    if os.geteuid() == 0:
        os.mknod(source / "null", 0o20640, os.makedev(1, 3))
    os.mkfifo(source / "deep/fifo")
    for host in bare:
        nile.lab.run_on(host, ["mount", "--bind", "/dev/null", program])
    on(nile, begun, "/srv/copy").mkdir()
    with pytest.MonkeyPatch.context() as patch:  # by a run before, on that host since it was booted
        patch.setattr(plans, "BOOT", str(on(nile, begun, plans.BOOT)))
        assert killed(packed(read(f"{source}/")), on(nile, begun, "/srv/copy"), AMID)
    try:
        refused = sync(nile, "-w", SET, "--method", "rsync", "--json", f"{source}/", "/srv/other")
        done = sync(nile, "-w", SET, "--json", f"{source}/", "/srv/copy")
        first = {host: result["verdict"] for host, result in done.results.items()}
        copied(nile, source, "/srv/copy", HOSTS)
        (source / "hello").write_text("patched\n")
        patched = sync(nile, "-w", SET, "--json", f"{source}/", "/srv/copy")
    finally:
        for host in bare:
            nile.lab.run_on(host, ["umount", program])
    assert first == dict.fromkeys(HOSTS, "ok")
    said = f"an archive for {len(HOSTS) - 1} that have nothing, 1 of them without rsync"
    assert any(said in text for text in done.notices)
    for run in (refused, patched):
        bad = {host: result for host, result in run.results.items() if result["code"]}
        codes = {host: result["code"] for host, result in bad.items()}
        assert codes == dict.fromkeys(bare, "no-rsync"), [result["reason"] for result in bad.values()]
    copied(nile, source, "/srv/copy", [host for host in HOSTS if host not in bare])
