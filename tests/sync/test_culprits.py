"""Who sent damaged pieces: named where the address is that of one host, and never twice."""

from __future__ import annotations

from typing import Any

import pytest

from nile.events import SwarmProgress
from nile.sync.culprits import MOST_BY_ONE
from nile.topology.model import ROOT_ID
from tests.sync.swarmed import Swarmed
from tests.sync.test_streaming import FIVE, all_ok, notices

CAME = "damaged pieces came from "


def banned(*said: tuple[int, Any], addresses: dict[str, list[str]] | None = None) -> Swarmed:
    """A swarm amid which these hosts ban these addresses; of host hN it is 10.0.0.N."""
    it = Swarmed(FIVE)
    it.addresses = addresses or {}
    it.slow = {5: 3}
    it.begin()
    it.all_said()
    for by, address in said:
        it._say(by, it.numbers[by], banned=address, more=True)
    it.all_said()
    return it


def shown(it: Swarmed) -> dict[str, int]:
    """By host, by how many it is banned."""
    last = [event for event in it.published if isinstance(event, SwarmProgress)][-1]
    return {host.host: host.banned_by for host in last.hosts if host.banned_by}


def ended(it: Swarmed) -> str:
    it.go_on()
    all_ok(it)
    return notices(it)


def test_it_is_named_and_so_is_who_banned_it() -> None:
    it = banned((1, "10.0.0.3"), (2, "10.0.0.3"), (1, "10.0.0.3"))
    said = ended(it)
    assert f"{CAME}h0003, banned by h[0001-0002] (2): nothing of them was used" in said
    assert shown(it) == {"h0003": 2}
    assert len(it.when("addresses")) == 1


def test_names_of_those_who_banned_it_are_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many say so, one after the other: each time anew would be quadratic."""
    it = banned()
    named: list[int] = []
    culprits, name = it.sync._swarm._culprits, it.sync._swarm._culprits._hosts.name

    def noted(node_id: int) -> str:
        named.append(node_id)
        return name(node_id)

    monkeypatch.setattr(culprits._hosts, "name", noted)
    for by in (1, 2, 4, 5):
        for _ in culprits.banned(by, "10.0.0.3"):
            pass
    assert not set(named) & {1, 2, 4, 5}
    for _ in it.sync._swarm._remarks.say():
        pass
    assert sorted(set(named) - {3}) == [1, 2, 4, 5]


def test_over_ipv6_it_is_the_same_one() -> None:
    it = banned((1, "::ffff:10.0.0.3"), (2, "10.0.0.3"))
    assert f"{CAME}h0003, banned by h[0001-0002] (2)" in ended(it)


def test_where_nobody_is_nothing_is_asked_or_said() -> None:
    it = banned()
    assert CAME not in ended(it)
    assert it.when("addresses") == []


@pytest.mark.parametrize("shared", [[], ["10.0.0.9"]])
def test_where_no_host_or_more_than_one_has_the_address_that_is_said(shared: list[str]) -> None:
    it = banned((1, "10.0.0.9"), addresses={"h2": shared, "h3": shared})
    assert f"{CAME}somebody at 10.0.0.9, banned by h0001 (1)" in ended(it)
    assert shown(it) == {}


def test_what_one_host_says_is_bounded() -> None:
    it = banned(*((1, f"10.9.0.{each}") for each in range(MOST_BY_ONE)), (1, "10.0.0.3"), (2, "10.0.0.4"))
    ended(it)
    assert shown(it) == {"h0004": 1}


@pytest.mark.parametrize("address", ["h0003", 3, b"\x0a\0\0\x03", None])
def test_what_is_no_address_breaks_the_rules(address: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        banned((1, address))


def test_one_that_takes_part_no_more_says_nothing_of_others() -> None:
    it = Swarmed(FIVE)
    it.still, it.slow, it.mute = {2}, dict.fromkeys((1, 3, 4, 5), 5), {2}
    it.begin()
    number = 0
    while (2, "unpeer") not in {(node, do) for node, do, _ in it.asked}:
        it.all_said()
        number = it.numbers.get(2, number)
        it.advance()
        it.all_said()
        it.t += 1.0
        it._carry_out(it.job.tick(it.t))
    it._say(2, number, banned="10.0.0.3", more=True)
    it.all_said()
    assert it.when("addresses") == []
    assert ROOT_ID in it.numbers
