"""What the agents are told of a command that may cut them off."""

from __future__ import annotations

import pytest

from nile.cascade.orders import FIRST, FIRST_S
from nile.options import Timeouts
from tests.cascade.driven import Driven
from tests.simulation.trees import tree


@pytest.mark.parametrize(("allowed_s", "told_s"), [(None, None), (1.0, 1.0 + FIRST_S)])
def test_what_the_shell_does_first_is_no_time_of_the_command(
    allowed_s: float | None, told_s: float | None
) -> None:
    plan = tree([0], timeouts=Timeouts(command_s=allowed_s))
    assert Driven(plan, disruptive=True).cascade.shared()["job"]["timeout"] == told_s
    assert Driven(plan).cascade.shared()["job"]["timeout"] == allowed_s


def test_the_shell_waits_for_so_long() -> None:
    job = Driven(tree([0]), disruptive=True).cascade.shared()["job"]
    assert job["command"] == f"{FIRST}true"
    assert f"sleep {FIRST_S:g}; " == FIRST
