"""Predicted times."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nile.options import Limits
from nile.topology.model import TreeMode
from nile.topology.plan import plan
from nile.topology.predict import predict
from nile.topology.routes import Routes


def hosts(count: int) -> tuple[str, ...]:
    return tuple(f"n{number}" for number in range(count))


def test_a_tree_takes_t_ssh_and_t_nile_for_each_stage() -> None:
    tree = plan(Routes(), hosts(100))
    found = predict(tree, 0.2, 0.1)
    assert [(one.stage, one.nodes, one.logins_max) for one in found.stages] == [(1, 10, 10), (2, 90, 9)]
    assert found.tree_s == pytest.approx(2 * (0.2 + 0.1))
    assert found.flat_s == pytest.approx(100 / 16 * 0.2)
    assert found.logins["root"] == 10
    assert sum(found.logins.values()) == 100
    assert found.logins[tree.nodes[0].host] == 9


def test_more_logins_than_one_node_runs_at_a_time_take_longer() -> None:
    tree = plan(Routes(limits=Limits(parallel=4), tree=TreeMode.FLAT), hosts(10))
    assert predict(tree, 1, 0.5).tree_s == pytest.approx(10 / 4 * 1.5)
    assert predict(tree, 1, 0.5).flat_s == pytest.approx(10 / 4)


def test_a_bound_over_the_whole_tree_stretches_its_widest_stage() -> None:
    tree = plan(Routes(), hosts(100))
    bounded = replace(tree, limits=replace(tree.limits, logins=30))
    assert predict(bounded, 1, 0).tree_s == pytest.approx(1 + 90 / 30)


def test_the_defaults_are_those_of_a_fast_network() -> None:
    assert predict(plan(Routes(), hosts(1))).tree_s == pytest.approx(0.2)
    assert predict(plan(Routes(), hosts(1))).flat_s == pytest.approx(0.15)
