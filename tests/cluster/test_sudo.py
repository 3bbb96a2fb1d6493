"""Files that only root may read and write, for a user who may become it by sudo."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from nile.lab import Lab
from tests.cluster.hosts import clear, patiently, processes
from tests.cluster.running import Nile
from tests.cluster.sudoing import USER, sudoers
from tests.cluster.test_sync import HOSTS, SLOW, Started, on, under_way

pytestmark = pytest.mark.cluster

SET = "h[001-003]"
MAY_NOT = "h003"
"""Where sudo wants a password."""


@pytest.fixture
def nile(fleet: Lab, tmp_path: Path) -> Iterator[Nile]:
    """Three hosts, of which the third hangs below the first; who logs in is a user who isn't root."""
    rules = dict.fromkeys(HOSTS[:3], f"{USER} ALL=(ALL) NOPASSWD: ALL") | {MAY_NOT: f"{USER} ALL=(ALL) ALL"}
    drawn = {"h001": [MAY_NOT], "h002": []}
    with sudoers(fleet, rules):
        yield Nile(fleet, tmp_path).with_routes(tree=drawn, ssh={"user": USER})
    clear(fleet, HOSTS[:3])


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
    for host in HOSTS[:3]:
        on(nile, host, "/srv/app").mkdir(mode=0o700)  # root's

    plain = command(nile, "sync", f"{source}/", "/srv/app")
    assert {result["code"] for result in plain.values()} == {"not-writable"}

    for again in range(2):
        found = command(nile, "sync", "--sudo", f"{source}/", "/srv/app")
        assert {host: result["verdict"] for host, result in found.items()} == {
            "h001": "ok",
            "h002": "ok",
            MAY_NOT: "failed",
        }, again
        assert "sudo refuses: sudo: a password is required" in str(found[MAY_NOT]["reason"])
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

    for host in HOSTS[:3]:
        on(nile, host, "/srv/app").mkdir(mode=0o700)  # root's
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
    for host in HOSTS[:3]:
        on(nile, host, "/srv/app").mkdir(mode=0o700)
    words = ("-w", "h[001-002]", "--sudo", *SLOW, f"{source}/", "/srv/app")
    with Started(nile, *words) as started:
        under_way(nile, "h001", "/srv/app", 1_000_000)
        started.process.send_signal(signal.SIGINT)
        started.wait()
    patiently(lambda: not processes(nile.lab), "nothing runs any more", 20.0)
    assert not list(on(nile, "h001", "/srv/app").iterdir())
