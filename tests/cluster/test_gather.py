"""Files back from hosts, over real ssh, by the real rsync."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from nile.lab import Lab
from tests.cluster.faults import crash
from tests.cluster.hosts import clear, patiently, processes, root_of
from tests.cluster.running import Done, Nile
from tests.cluster.test_sync import HOSTS, SET, TREE, Started

pytestmark = pytest.mark.cluster
BIG = 6_000_000


@pytest.fixture
def nile(fleet: Lab, tmp_path: Path) -> Iterator[Nile]:
    """Eight hosts in two stages, each with a log of its own; what is in their /srv goes afterwards."""
    made = Nile(fleet, tmp_path).with_routes(tree=TREE, timeouts={"lease": "8s", "connect": "5s"})
    for host in HOSTS:
        top = root_of(fleet, host) / "srv/app"
        (top / "deep").mkdir(parents=True)
        (top / "log").write_text(f"{host}'s own\n")
        (top / "deep/a b").write_text("x" * 1000)
        (top / "link").symlink_to("/etc")
        (root_of(fleet, host) / "srv/app.conf").write_text(host)
    yield made
    fleet.heal()
    clear(fleet, HOSTS)


def gather(nile: Nile, *words: object) -> Done:
    return nile.command("gather", "--routes", str(nile.routes), *map(str, words))


def srv(nile: Nile, host: str) -> Path:
    return root_of(nile.lab, host) / "srv"


def brought(into: Path, hosts: list[str]) -> None:
    for host in hosts:
        assert (into / host / "app/log").read_text() == f"{host}'s own\n"
        assert (into / host / "app/deep/a b").read_text() == "x" * 1000
        assert (into / host / "app.conf").read_text() == host


def test_each_host_gets_a_directory_and_then_only_what_changed(nile: Nile, tmp_path: Path) -> None:
    into = tmp_path / "got"
    words = ("-w", SET, "--json", "/srv/app", "/srv/app.conf", into)
    first = gather(nile, *words).all_ok()
    brought(into, HOSTS)
    assert sorted(path.name for path in into.iterdir()) == HOSTS
    assert any("received from 8 hosts in" in text and str(into) in text for text in first.notices)

    with (srv(nile, "h005") / "app/log").open("a") as log:
        log.write("more\n")
    (srv(nile, "h006") / "app/deep/a b").unlink()
    gather(nile, *words).all_ok()
    assert (into / "h005/app/log").read_text() == "h005's own\nmore\n"
    assert (into / "h006/app/deep/a b").exists()


def test_what_is_missing_on_a_host_is_its_failure_and_the_rest_comes(nile: Nile, tmp_path: Path) -> None:
    (srv(nile, "h003") / "app.conf").unlink()
    subprocess.run(["rm", "-r", srv(nile, "h007") / "app", srv(nile, "h007") / "app.conf"], check=True)
    into = tmp_path / "got"
    done = gather(nile, "-w", SET, "--json", "--exclude", "deep", "/srv/app", "/srv/app.conf", into)
    bad = {host: result for host, result in done.results.items() if result["verdict"] != "ok"}
    assert {host: (result["verdict"], result["code"]) for host, result in bad.items()} == {
        "h003": ("failed", "source"),
        "h007": ("failed", "source"),
    }
    assert bad["h003"]["reason"] == "/srv/app.conf isn't there; the rest was brought"
    assert bad["h007"]["reason"] == "/srv/app isn't there, and 1 more"
    assert (into / "h003/app/log").exists()
    assert not (into / "h003/app/deep").exists()
    assert not (into / "h007").exists()


def test_a_relay_that_dies_costs_nobody_else(nile: Nile, tmp_path: Path) -> None:
    for host in HOSTS:
        (srv(nile, host) / "app/big").write_bytes(os.urandom(BIG))
    into = tmp_path / "got"
    words = ("-w", SET, "--bwlimit", "3000", "/srv/app", "/srv/app.conf", into)
    with Started(nile, *words, command="gather") as started:
        under_way(into)
        crash(nile.lab, "h001")
        done = started.wait()
    assert {host for host, verdict in done.verdicts.items() if verdict != "ok"} == {"h001"}
    brought(into, HOSTS[1:])
    assert not list(into.glob(".nile*"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_nothing_is_half_and_the_next_run_goes_on(
    nile: Nile, tmp_path: Path, number: signal.Signals
) -> None:
    for host in HOSTS:
        (srv(nile, host) / "app/zz").write_bytes(os.urandom(BIG))
    into = tmp_path / "got"
    words = ("-w", SET, "--bwlimit", "2000", "/srv/app", "/srv/app.conf", into)
    with Started(nile, *words, command="gather") as started:
        under_way(into)
        started.process.send_signal(number)
        started.wait()
    patiently(lambda: not processes(nile.lab), "nothing runs any more", 30.0)
    assert not list(into.glob("*/app/zz"))
    assert (into / "h001/app/log").read_text() == "h001's own\n"
    if number is signal.SIGINT:
        assert not list(into.glob(".nile*"))
    gather(nile, "-w", SET, "--json", "/srv/app", "/srv/app.conf", into).all_ok()
    brought(into, HOSTS)
    assert (into / "h008/app/zz").read_bytes() == (srv(nile, "h008") / "app/zz").read_bytes()
    assert not list(into.glob(".nile*"))


def under_way(into: Path) -> None:
    """Wait until a part of a big file has come."""

    def enough() -> bool:
        return any(path.stat().st_size > BIG // 10 for path in into.glob(".nile-sync-*/h*/*"))

    patiently(enough, "a big file is under way", 30.0)
