"""`auto`: where hosts that differ get a swarm, and where a stream."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nile.agent.worker.equipped import has_libtorrent
from nile.events import Code
from nile.sync import Method
from nile.sync.choosing import BEGINS_S, MANY
from nile.sync.forecast import foresee
from nile.topology.model import Plan
from tests.simulation.trees import tree, with_gateways
from tests.sync.swarmed import Swarmed
from tests.sync.test_racks import in_racks
from tests.sync.test_streaming import all_ok, notices
from tests.sync.workers import SIZE

WIDE = tree([0] * (MANY + 1))
SLOW = SIZE / BEGINS_S / 2
"""Bytes a second, at which it takes twice as long as a swarm takes to begin."""
WHY = f"a swarm: 1000 bytes for {MANY + 1} hosts, more than one switch has ports for, and nobody said"


def run(plan: Plan = WIDE, able: int = MANY + 1, **options: Any) -> Swarmed:
    """So many hosts have libtorrent."""
    it = Swarmed(plan, None, **{"method": Method.AUTO, "can_seed": True, "rate": SLOW, **options})
    it.refuses = {each: {"able": each <= able} for each in it.has if each}
    it.lacks = {each for each in it.has if each > able}
    it.run()
    all_ok(it)
    return it


def test_many_hosts_of_which_nobody_knows_how_they_hang_get_a_swarm() -> None:
    it = run()
    assert len(it.torrents) == 1
    assert WHY in notices(it)
    assert f"the swarm served {MANY + 1} of {MANY + 1} hosts" in notices(it)


def none_signs(it: Swarmed) -> None:
    it.unsigned = "there is no key"


def none_trusts(it: Swarmed) -> None:
    it.refuses_it = dict.fromkeys((each for each in it.has if each), "it is signed with no key known here")


def none_reached(it: Swarmed) -> None:
    it.still = {each for each in it.has if each}


@pytest.mark.parametrize(
    ("trouble", "why", "alone"),
    [(none_signs, "there is no key", 0), (none_trusts, "no key known", 5), (none_reached, "nobody got", 0)],
)
def test_where_it_comes_to_nothing_they_get_a_stream(
    trouble: Callable[[Swarmed], None], why: str, alone: int
) -> None:
    it = Swarmed(WIDE, None, method=Method.AUTO, can_seed=True, rate=SLOW)
    it.refuses = {each: {"able": True} for each in it.has if each}
    it.TICKS = 200
    trouble(it)
    it.run()
    all_ok(it)
    assert WHY in notices(it)
    assert why in notices(it)
    assert f"one stream for {MANY + 1 - alone} hosts" in notices(it)
    assert len(it.copies) == alone, "by rsync"


def grouped(groups: int) -> Plan:
    specs = {
        name: replace(spec, groups=(f"g{number % groups}",))
        for number, (name, spec) in enumerate(WIDE.specs.items())
    }
    return replace(WIDE, specs=specs)


@pytest.mark.parametrize(
    "plan",
    [
        tree([0] * MANY),
        in_racks(WIDE, 1),
        in_racks(WIDE, 5),
        replace(WIDE, drawn=True),
        with_gateways(WIDE, {9: (4,)}),
    ],
    ids=["few", "one switch", "switches", "a tree that is drawn", "gateways"],
)
def test_others_get_a_stream(plan: Plan) -> None:
    it = run(plan, able=len(plan.nodes))
    assert it.torrents == []
    assert "one stream for" in notices(it) or "an archive for" in notices(it)


@pytest.mark.parametrize(
    "options",
    [
        {"can_seed": False},
        {"method": Method.STREAM},
        {"rate": SIZE / BEGINS_S * 1.1},
        {"rate": None},
        {"able": MANY * 8 // 10},
    ],
    ids=["no libtorrent here", "a stream is asked for", "little", "little at 1 Gbit/s", "few can"],
)
def test_it_has_to_pay_and_to_be_possible(options: dict[str, Any]) -> None:
    assert run(**options).torrents == []


@pytest.mark.parametrize(("entries", "swarms"), [(0, 0), (100, 1)], ids=["nothing", "something"])
def test_holes_pay_for_no_swarm_where_an_archive_leaves_them_out(entries: int, swarms: int) -> None:
    it = Swarmed(WIDE, None, method=Method.AUTO, can_seed=True, rate=SLOW)
    it.refuses = {each: {"able": True} for each in it.has if each}
    it.entries = defaultdict(lambda: entries)
    it.source = {"room": SIZE // 4, "sparse": SIZE // 4}
    it.run()
    assert len(it.torrents) == swarms


def test_where_some_have_no_rsync_nobody_depends_on_a_swarm() -> None:
    it = Swarmed(WIDE, None, method=Method.AUTO, can_seed=True, rate=SLOW)
    it.refuses = {each: {"able": True} for each in it.has if each} | {3: {"able": True, "rsync": None}}
    it.run()
    assert it.torrents == []


def test_what_hosts_have_is_asked_only_where_there_may_be_a_swarm() -> None:
    it = run(can_seed=False)
    assert all("python" not in message for message in it.opened)
    it = run(peer_python="/opt/python")
    assert {message["python"] for message in it.opened} == {"/opt/python"}


@pytest.mark.parametrize(
    ("plan", "rate", "seeds", "method"),
    [
        (WIDE, SLOW, True, Method.SWARM),
        (WIDE, SLOW, False, Method.STREAM),
        (WIDE, 2 * SIZE / BEGINS_S, True, Method.STREAM),
        (tree([0] * MANY), SLOW, True, Method.STREAM),
        (in_racks(WIDE, 5), SLOW, True, Method.STREAM),
        (grouped(1), SLOW, True, Method.SWARM),
        (grouped(5), SLOW, True, Method.STREAM),
    ],
)
def test_a_plan_says_the_same(plan: Plan, rate: float, seeds: bool, method: Method) -> None:
    found = foresee(plan, SIZE, rate, can_seed=seeds)
    assert found.method is method
    assert foresee(plan, 10 * SIZE, rate, holes=9 * SIZE, can_seed=seeds).method is method
    assert (WHY in found.why) is (method is Method.SWARM)


def test_whether_there_is_a_libtorrent_is_seen_without_a_python(tmp_path: Path) -> None:
    places = (str(tmp_path / "lib*/python3*/*-packages"),)
    assert not has_libtorrent("", places)
    assert not has_libtorrent(str(tmp_path / "python"), places)
    made = tmp_path / "lib64/python3.11/site-packages/libtorrent"
    made.mkdir(parents=True)
    assert has_libtorrent("", places)
    python = tmp_path / "python"
    python.touch(0o755)
    assert has_libtorrent(str(python), ("/nowhere",))


@pytest.mark.parametrize(
    ("info", "may_be"),
    [
        ("python_libtorrent-1.1.5.egg-info", False),
        ("libtorrent-1.2.9.egg-info", False),
        ("libtorrent-2.0.8.egg-info", True),
        ("libtorrent-2.0.11.dist-info", True),
        ("libtorrent.egg-info", True),
    ],
)
def test_one_that_is_too_old_is_none(tmp_path: Path, info: str, *, may_be: bool) -> None:
    (tmp_path / "libtorrent.so").touch()
    (tmp_path / info).touch()
    assert has_libtorrent("", (str(tmp_path),)) is may_be


def test_what_no_archive_can_have_comes_by_no_swarm() -> None:
    it = Swarmed(WIDE, None, method=Method.AUTO, can_seed=True, rate=SLOW)
    it.source = {"unpackable": "it is more than 256 directories deep"}
    it.refuses = {each: {"able": True} for each in it.has if each}
    it.run()
    all_ok(it)
    assert it.torrents == []
    assert "one stream for" in notices(it)


def test_nor_where_a_swarm_is_asked_for_and_who_has_no_rsync_is_told_before() -> None:
    it = Swarmed(tree([0] * 3), None)
    it.source = {"unpackable": "it is more than 256 directories deep"}
    it.refuses = {2: {"rsync": None}}
    it.run()
    assert it.torrents == []
    assert {each.code for each in it.judged.values() if each.code} == {Code.NO_RSYNC}
    assert "it is more than 256 directories deep" in it.judged[2].reason
    assert "it is more than 256 directories deep" in notices(it)


@pytest.mark.parametrize("slow", [True, False])
def test_a_stream_is_hashed_by_what_is_quick_on_all_hosts(slow: bool) -> None:
    it = Swarmed(tree([0] * 3), None, method=Method.STREAM)
    it.refuses = {each: {"hash": "blake2b" if slow and each == 2 else "sha256"} for each in it.has if each}
    it.run()
    all_ok(it)
    assert it.sync._streams.hashed == ("blake2b" if slow else "sha256")
