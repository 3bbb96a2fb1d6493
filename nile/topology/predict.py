"""How long a plan's logins take, if all take the same time.

Flat: N/P · T_ssh, with P = limits.parallel of the root. In a tree the stages come up one
after the other; a stage takes T_ssh + T_nile for each round of logins, and the node with the most
children (c) sets the number of rounds. As for flat, rounds are c/P and at least 1; limits.logins, where
set, bounds a whole stage in the same way.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from nile.topology.model import ROOT_ID, ROOT_NAME, Plan

T_SSH_S = 0.15
"""One ssh login: 120 to 145 ms were measured on a fast network, two thirds of it waits."""
T_NILE_S = 0.05
"""What an agent's start adds to it."""


@dataclass(frozen=True, slots=True)
class StagePrediction:
    """One stage: how many nodes come up in it, the most logins of one parent, and how long it takes."""

    stage: int
    nodes: int
    logins_max: int
    time_s: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """A whole plan: its stages, logins per node that has any (by name, `root` first), and times."""

    stages: tuple[StagePrediction, ...]
    logins: dict[str, int]
    tree_s: float
    flat_s: float
    """What logging in to the asked hosts without a tree would take."""


def predict(plan: Plan, t_ssh_s: float = T_SSH_S, t_nile_s: float = T_NILE_S) -> Prediction:
    """Predict a plan's time until every host's agent is up."""
    nodes = Counter(node.stage for node in plan.nodes)
    logins = {ROOT_NAME: len(plan.children(ROOT_ID))}
    logins |= {node.host: len(node.children) for node in plan.nodes if node.children}
    most = {1: logins[ROOT_NAME]}
    for node in plan.nodes:
        if node.children:
            most[node.stage + 1] = max(most.get(node.stage + 1, 0), len(node.children))
    stages = tuple(
        StagePrediction(stage, nodes[stage], most[stage], _rounds(plan, nodes[stage], most[stage]) * each)
        for stage in sorted(nodes)
        for each in [t_ssh_s + t_nile_s]
    )
    asked = sum(node.asked for node in plan.nodes)
    flat = _rounds(plan, asked, asked) * t_ssh_s
    return Prediction(stages, logins, sum(stage.time_s for stage in stages), flat)


def _rounds(plan: Plan, nodes: int, logins_max: int) -> float:
    """Rounds of a stage with so many nodes, and so many logins at one parent."""
    together = nodes / plan.limits.logins if plan.limits.logins else 0.0
    return max(1.0, logins_max / plan.limits.parallel, together)
