"""Copies by sudo: files that only root may read and write, where sudo wants a password, and where not."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from nile.lab import Lab
from tests.cluster.hosts import clear, patiently, processes
from tests.cluster.peers import python_with_libtorrent
from tests.cluster.running import Nile
from tests.cluster.sudoing import PASSWORD, USER, log, sudoers
from tests.cluster.terminal import Terminal, typed, typing
from tests.cluster.test_sync import SLOW, Started, on, under_way

pytestmark = pytest.mark.cluster

SET = "h[001-003]"
FREE = f"{USER} ALL=(ALL) NOPASSWD: ALL"
STRICT = f"Defaults use_pty\nDefaults:{USER} requiretty\n"
MAY_NOT = "h003"
"""Where sudo wants a password."""
ASKING = (MAY_NOT, "h004")
HOSTS = ("h001", "h002", *ASKING)


@pytest.fixture
def nile(fleet: Lab, tmp_path: Path) -> Iterator[Nile]:
    """Four hosts, of which the last two hang below the first; who logs in is a user who isn't root."""
    asks = f"{USER} ALL=(ALL) ALL"
    rules = {"h001": FREE, "h002": STRICT + FREE, MAY_NOT: asks, "h004": STRICT + asks}
    drawn = {"h001": list(ASKING), "h002": []}
    with sudoers(fleet, rules):
        for host in rules:
            on(Nile(fleet, tmp_path), host, "/srv/app").mkdir(mode=0o700)  # root's
        yield Nile(fleet, tmp_path).with_routes(tree=drawn, ssh={"user": USER})
    clear(fleet, rules)


def command(nile: Nile, *words: object) -> dict[str, dict[str, object]]:
    done = nile.command(
        str(words[0]), "--routes", str(nile.routes), "-w", SET, "--json", *map(str, words[1:])
    )
    return done.results


def test_what_only_root_may_do_is_done_and_a_refusal_is_named(nile: Nile, tmp_path: Path) -> None:
    source = tmp_path / "app"
    source.mkdir()
    (source / "key").write_text("secret")
    (source / "key").chmod(0o600)
    plain = command(nile, "sync", f"{source}/", "/srv/app")
    assert {result["code"] for result in plain.values()} == {"not-writable"}

    for again in range(2):
        found = command(nile, "sync", "--sudo", f"{source}/", "/srv/app")
        assert {host: result["verdict"] for host, result in found.items()} == {
            "h001": "ok",
            "h002": "ok",
            MAY_NOT: "failed",
        }, again
        assert found[MAY_NOT]["code"] == "sudo"
        assert str(found[MAY_NOT]["reason"]).endswith("none was given: there is no terminal to ask for it")
    for host in ("h001", "h002"):
        key = on(nile, host, "/srv/app/key")
        assert (key.read_text(), key.stat().st_uid) == ("secret", 0)
        assert not list(on(nile, host, "/srv/app").glob(".nile*"))

    assert command(nile, "verify", "--sudo", f"{source}/", "/srv/app")["h001"]["verdict"] == "ok"
    back = command(nile, "gather", "--sudo-user", "root", "/srv/app/key", tmp_path / "got")
    assert back["h002"]["verdict"] == "ok"
    assert (tmp_path / "got/h002/key").read_text() == "secret"
    assert not (tmp_path / f"got/{MAY_NOT}").exists()


def test_a_release_that_is_roots_is_listed_rolled_back_and_removed(nile: Nile, tmp_path: Path) -> None:
    source = tmp_path / "app"
    source.mkdir()
    well = {"h001": "ok", "h002": "ok", MAY_NOT: "failed"}

    def verdicts(*words: object) -> dict[str, object]:
        return {host: result["verdict"] for host, result in command(nile, *words).items()}

    for version in ("1", "2"):
        (source / "version").write_text(version)
        os.utime(source / "version", (int(version), int(version)))
        words = ("--sudo", "--release", version, "--quorum", "60%", f"{source}/", "/srv/app")
        assert verdicts("sync", *words) == well
    assert set(verdicts("rollback", "/srv/app").values()) == {"failed"}
    assert verdicts("rollback", "--sudo", "/srv/app", "--quorum", "60%") == well
    assert on(nile, "h002", "/srv/app/current").readlink() == Path("releases/1")
    listed = command(nile, "releases", "--sudo-user", "root", "/srv/app")
    assert listed["h001"]["stdout"] == "current  1\nprevious 2\n"


def test_an_interrupted_run_leaves_nothing_of_root(nile: Nile, tmp_path: Path) -> None:
    source = tmp_path / "app"
    source.mkdir()
    (source / "big").write_bytes(os.urandom(6_000_000))
    words = ("-w", "h[001-002]", "--sudo", *SLOW, f"{source}/", "/srv/app")
    with Started(nile, *words) as started:
        under_way(nile, "h001", "/srv/app", 1_000_000)
        started.process.send_signal(signal.SIGINT)
        started.wait()
    patiently(lambda: not processes(nile.lab), "nothing runs any more", 20.0)
    assert not list(on(nile, "h001", "/srv/app").iterdir())


def shown_to_others(secret: bytes) -> list[str]:
    """Whatever process of the machine, and so of all its hosts, has it among its words and variables."""
    found = []
    for place in [*Path("/proc").glob("[0-9]*/cmdline"), *Path("/proc").glob("[0-9]*/environ")]:
        with contextlib.suppress(OSError):  # it ended just now
            if secret in place.read_bytes():
                found.append(str(place))
    return found


def test_a_password_that_is_typed_once_goes_to_workers_and_is_nowhere_afterwards(
    nile: Nile, tmp_path: Path, terminal: Terminal
) -> None:
    source = tmp_path / "app"
    source.mkdir()
    (source / "key").write_text("secret")
    (source / "big").write_bytes(os.urandom(12_000_000))
    words = ("--routes", str(nile.routes), "-w", "h[001-004]", "--sudo", "--json")
    copy = ("sync", *words, *SLOW, f"{source}/", "/srv/app")
    with typing(nile, terminal, copy, PASSWORD) as running:
        under_way(nile, "h004", "/srv/app", 1_000_000)
        assert shown_to_others(PASSWORD.encode()) == []
        done = running.wait().all_ok()
    assert done.events[0]["settings"] == {"sudo": "root"}
    for host in HOSTS:
        key = on(nile, host, "/srv/app/key")
        assert (key.read_text(), key.stat().st_uid) == ("secret", 0)
    typed(nile, terminal, ("verify", *words, f"{source}/", "/srv/app"), "", PASSWORD).all_ok()
    assert terminal.shown.count(b"sudo's password") == 2
    assert PASSWORD.encode() not in terminal.shown
    kept = [path for path in nile.state.rglob("*") if path.is_file()]
    assert "runs.db" in {path.name for path in kept}
    assert not [path for path in kept if PASSWORD.encode() in path.read_bytes()]
    assert not [host for host in HOSTS if PASSWORD in log(nile.lab, host)]
    patiently(lambda: not processes(nile.lab), "nothing runs any more", 20.0)


def test_a_wrong_one_is_tried_once_over_all_hosts_and_the_others_catch_up_by_the_right_one(
    nile: Nile, tmp_path: Path, terminal: Terminal
) -> None:
    source = tmp_path / "app"
    source.mkdir()
    (source / "key").write_text("secret")
    words = ("sync", "--routes", str(nile.routes), "-w", "h[001-004]", "--sudo", "--json")
    done = typed(nile, terminal, (*words, f"{source}/", "/srv/app"), "wrong")
    assert {host for host, verdict in done.verdicts.items() if verdict == "ok"} == {"h001", "h002"}
    assert {done.results[host]["code"] for host in ASKING} == {"sudo"}
    other, first = sorted(str(done.results[host]["reason"]) for host in ASKING)
    assert first.startswith("the password was refused: ")
    assert other.endswith("so it was tried on no other host")
    tries = [line for host in HOSTS for line in log(nile.lab, host).splitlines() if "incorrect pass" in line]
    assert len(tries) == 1, tries

    again = typed(nile, terminal, ("sync", "--catch-up", "last", "--json"), "", PASSWORD).all_ok()
    assert set(again.verdicts) == set(ASKING)
    for host in ASKING:
        assert on(nile, host, "/srv/app/key").stat().st_uid == 0


def test_a_swarm_begins_without_those_that_ask_and_leaves_its_terminal_once_the_password_is_typed(
    nile: Nile, tmp_path: Path, terminal: Terminal
) -> None:
    """Those join it late, and then it can be ended from elsewhere, as any."""
    source = tmp_path / "app"
    source.mkdir()
    (source / "big").write_bytes(os.urandom(3_000_000))

    def complete() -> set[str]:
        done = nile.command("swarm", "status", "--json")
        it = json.loads(done.out)["swarm"] if done.code == 0 else None
        return {host["host"] for host in it["hosts"] if host["state"] == "complete"} if it else set()

    with python_with_libtorrent() as python:
        chosen = ("--routes", str(nile.routes), "-w", "h[001-004]", "--sudo", "--peer-python", str(python))
        words = ("swarm", "start", *chosen, f"{source}/", "/srv/app")
        with typing(nile, terminal, words) as running:
            patiently(lambda: complete() == {"h001", "h002"}, "those have all that want no password", 40.0)
            assert running.process.poll() is None
            terminal.type(PASSWORD.encode() + b"\n")
            assert running.wait().code == 0, terminal.shown
        patiently(lambda: complete() == set(HOSTS), "the others have joined", 40.0)
        stopped = nile.command("swarm", "stop")
    assert (stopped.code, "4 of 4 hosts ok" in stopped.out) == (0, True), stopped.err
    assert {on(nile, host, "/srv/app/big").stat().st_uid for host in HOSTS} == {0}
    patiently(lambda: not processes(nile.lab), "nothing runs any more", 20.0)
