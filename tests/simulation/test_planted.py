"""Rules broken on purpose, one at a time: the seeds have to find each.

The same seeds find nothing where no rule is broken: see `test_seeds.test_a_few_hosts_and_many_faults`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from nile.agent import core, wire
from nile.agent.core import Core
from nile.agent.relay import Relay
from nile.cascade import healing, machine, orders
from nile.cascade.ends import Ends
from nile.cascade.healing import Healer
from nile.cascade.hosts import Host
from nile.cascade.mending import Mender
from nile.cascade.orders import Orders
from nile.cascade.placing import Places
from tests.simulation.soak import failures
from tests.simulation.test_seeds import FEW_HOSTS, MANY_FAULTS

MOST_SEEDS = 250

Patch = pytest.MonkeyPatch
Plant = Callable[[Patch], None]


# Adoption.


def starts_in_spite_of_a_trace(patch: Patch) -> None:
    def claimed(self: Core, trace: str, now: float) -> Any:
        return [*claimed_as_it_is(self, trace, now), *self._start(now)]

    claimed_as_it_is = Core.claimed
    patch.setattr(Core, "claimed", claimed)


def sends_no_output_again(patch: Patch) -> None:
    def resume(self: Core, have: dict[str, Any]) -> Any:
        return [each for each in resume_as_it_is(self, have) if not _is(each, wire.OUTPUT)]

    resume_as_it_is = Core._resume
    patch.setattr(Core, "_resume", resume)


def sends_no_result_again(patch: Patch) -> None:
    def resume(self: Core, have: dict[str, Any]) -> Any:
        return [each for each in resume_as_it_is(self, have) if not _is(each, wire.RESULT)]

    resume_as_it_is = Core._resume
    patch.setattr(Core, "_resume", resume)


def _is(effect: tuple[Any, ...], kind: int) -> bool:
    return effect[0] == "up" and bool(effect[1].type == kind)


def publishes_twice_what_comes_again(patch: Patch) -> None:
    output = machine.Cascade._output

    def twice(self: Any, host: Host, body: bytes, t: float) -> Any:
        stream, offset, data = wire.unpack_output(body)
        if host.resumed and offset < host.received[core.STREAMS[stream]]:
            body = wire.pack_output(stream, host.received[core.STREAMS[stream]], data)
        return output(self, host, body, t)

    patch.setattr(machine.Cascade, "_output", twice)


# Re-planning.


def never_reconciles(patch: Patch) -> None:
    patch.setattr(Mender, "reconcile", lambda *_: [])


def bumps_no_epoch(patch: Patch) -> None:
    place = Orders.place

    def same_epoch(self: Orders, host: Host, *, code: bool) -> Any:
        host.epoch = 1
        return place(self, host, code=code)

    patch.setattr(Orders, "place", same_epoch)


def moves_nobody(patch: Patch) -> None:
    patch.setattr(Healer, "_left_behind", lambda *_: iter(()))


def gives_up_after_one_failure(patch: Patch) -> None:
    patch.setattr(healing, "MOST_PATHS", 1)
    patch.setattr(healing, "MOST_TIMEOUTS", 1)


def heeds_no_gateways(patch: Patch) -> None:
    patch.setattr("nile.cascade.tree._gates", lambda _: {})


def plans_below_itself(patch: Patch) -> None:
    patch.setattr("nile.cascade.tree.Tree.below", lambda self, host: iter([host]))


def logs_in_where_it_may_not(patch: Patch) -> None:
    patch.setattr(Places, "_reaches", lambda *_: True)


def speaks_on_for_hosts_that_moved(patch: Patch) -> None:
    patch.setattr(Relay, "_pass_on", lambda *_: None)


def says_that_nothing_started(patch: Patch) -> None:
    judgement = Ends._judgement

    def unreachable(self: Ends, host: Host, code: Any, reason: str) -> Any:
        host.may_have_started = host.admitted = False
        return judgement(self, host, code, reason)

    patch.setattr(Ends, "_judgement", unreachable)


# Clean-up.


def ignores_its_lease(patch: Patch) -> None:
    tick = Core.tick

    def forever(self: Core, now: float) -> Any:
        self._beat_at = now
        return tick(self, now)

    patch.setattr(Core, "tick", forever)


def ends_without_its_command(patch: Patch) -> None:
    patch.setattr(Core, "succeeded", lambda _: True)
    patch.setattr(Core, "dissolve", lambda self, _: [self._leave()])


def kills_too_late(patch: Patch) -> None:
    patch.setattr(core, "KILL", core.TERM)


def tells_nobody_to_end(patch: Patch) -> None:
    send = Orders.send

    def no_end(self: Orders, node_id: int, kind: int, body: dict[str, Any]) -> Any:
        return send(self, node_id, wire.ACK if kind == wire.END else kind, body)

    patch.setattr(Orders, "send", no_end)


def gives_back_no_slots(patch: Patch) -> None:
    patch.setattr("nile.cascade.slots.Slots.give_back", lambda *_: None)


def buffers_without_bound(patch: Patch) -> None:
    patch.setattr(orders, "WINDOW", 1 << 20)


PLANTS: tuple[Plant, ...] = (
    starts_in_spite_of_a_trace,
    sends_no_output_again,
    sends_no_result_again,
    publishes_twice_what_comes_again,
    never_reconciles,
    bumps_no_epoch,
    moves_nobody,
    gives_up_after_one_failure,
    heeds_no_gateways,
    plans_below_itself,
    logs_in_where_it_may_not,
    speaks_on_for_hosts_that_moved,
    says_that_nothing_started,
    ignores_its_lease,
    ends_without_its_command,
    kills_too_late,
    tells_nobody_to_end,
    gives_back_no_slots,
    buffers_without_bound,
)


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__)
def test_a_planted_bug_is_found(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    assert next(failures(range(MOST_SEEDS), FEW_HOSTS, MANY_FAULTS), None) is not None
