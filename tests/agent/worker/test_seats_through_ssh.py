"""Seats that neighbours reach through ssh only: what leads there is sealed, so nothing within it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nile.agent.worker.chain import HELD
from tests.agent.worker.copying import SECRET
from tests.agent.worker.taping import clone
from tests.agent.worker.test_pushing import same
from tests.agent.worker.test_sealing import IDENTITY
from tests.agent.worker.test_seats import RECORDING, SEAT, dest, digest, taped, workers  # noqa: F401
from tests.agent.worker.test_tunnel import FORWARD, LOGIN, REQUEST, scratch, ssh  # noqa: F401

Taped = tuple[Path, Path, bytes]
BEHIND = SEAT + 1
SEALED: dict[str, Any] = {"identity": IDENTITY, "secret": SECRET}
ELSEWHERE = "192.0.2.1"
"""Where nobody is."""


@pytest.mark.parametrize("loopback", [True, False])
def test_what_comes_to_the_loopback_comes_in_the_clear(taped: Taped, dest: Path, loopback: bool) -> None:  # noqa: F811
    """Who awaits it otherwise doesn't understand it."""
    with workers() as both:
        both.spool(taped[2])
        port = both.join(SEAT, dest, identity=IDENTITY, loopback=loopback)
        where = {"address": ELSEWHERE, "port": port, "loopback": True}
        both.root.serve({"n": 2, "what": RECORDING, **SEALED, **where})
        if not loopback:
            both.wait(lambda: both.events(2))
            assert both.events(2)[0]["code"] in ("dropped", "secret")
            both.hosts.leave(SEAT)
            both.wait_ended(SEAT)
            return
        both.last(SEAT)
        both.confirm(SEAT, digest(taped[2]))
        assert "code" not in both.wait_ended(SEAT)
    same(taped[0], dest)


def test_a_neighbour_is_led_to_through_ssh(taped: Taped, dest: Path, scratch: Path, tmp_path: Path) -> None:  # noqa: F811
    ssh(scratch, FORWARD)
    behind = clone(taped[1], str(tmp_path / "behind"))
    with workers() as both:
        both.spool(taped[2])
        both.serve(both.join(SEAT, dest))
        port = both.join(BEHIND, behind, identity=IDENTITY, loopback=True)
        told = {"n": 5, "what": SEAT, "address": ELSEWHERE, "port": port, "secret": SECRET, "login": LOGIN}
        both.hosts.successor(told)

        def requests() -> list[dict[str, Any]]:
            return [each for each in both.said.get(SEAT, []) if "request" in each]

        both.wait(requests)
        (asked,) = requests()
        assert (asked["link"], asked["binds"], asked["request"], asked["more"]) == (5, [], REQUEST, True)
        answer = {"what": SEAT, "serial": asked["serial"], "refused": ""}
        both.hosts.signed({**answer, "link": 4, "answer": b"of another way"})
        both.hosts.signed({**answer, "link": 5, "answer": b"signed"})
        both.last(BEHIND)
        for number in (SEAT, BEHIND):
            both.confirm(number, digest(taped[2]))
            assert "code" not in both.wait_ended(number)
        both.wait(lambda: not both.loop._children)
        assert list(scratch.iterdir()) == []
    same(taped[0], dest)
    same(taped[0], behind)


def test_ssh_ends_with_the_seat(taped: Taped, dest: Path, scratch: Path) -> None:  # noqa: F811
    ssh(scratch, "select.select([agent], [], [])")
    with workers() as both:
        both.spool(taped[2][:HELD], finished=False)
        both.serve(both.join(SEAT, dest))
        both.wait(lambda: both.events(SEAT))
        told = {"n": 5, "what": SEAT, "address": ELSEWHERE, "port": 1, "secret": SECRET, "login": LOGIN}
        before = set(both.loop._children)
        both.hosts.successor(told)
        assert len(set(both.loop._children) - before) == 1, "it runs"
        both.hosts.leave(SEAT)
        both.wait_ended(SEAT)
        both.wait(lambda: not both.loop._children and len(both.loop._ready) == 1)
        assert list(scratch.iterdir()) == []
