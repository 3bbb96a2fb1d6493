"""A plan as it is shown, and as JSON has it: the tree that a run would take, and its predicted times."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nile.cli.common import Selection

if TYPE_CHECKING:
    from rich.tree import Tree

    from nile.topology.model import Plan, PlanNode
    from nile.topology.predict import Prediction

SCHEMA = 1
"""Of the JSON output; a change that can break a reader raises it."""

T_SSH_S, T_NILE_S = 0.15, 0.05
"""What one ssh login, and the start of one agent, are supposed to take."""

WIDTH_PIPED = 1_000_000
"""Lines that another program reads are never broken."""


def as_dict(chosen: Selection, prediction: Prediction) -> dict[str, Any]:
    """The contract of `nile plan --json`; nodes stand in the order of their ids, parents first."""
    plan = chosen.plan
    limits = plan.limits
    return {
        "schema": SCHEMA,
        "routes": plan.source,
        "tree": str(chosen.routes.tree),
        "hosts": len(chosen.hosts),
        "limits": {
            "branches": limits.branches,
            "parallel": limits.parallel,
            "logins": limits.logins,
            "stages": limits.stages,
        },
        "nodes": [
            {
                "host": node.host,
                "asked": node.asked,
                "stage": node.stage,
                "path": list(plan.path(node.id)),
                "children": [plan.node(child).host for child in node.children],
            }
            for node in plan.nodes
        ],
        "stages": [
            {"stage": one.stage, "nodes": one.nodes, "logins_max": one.logins_max, "time_s": _s(one.time_s)}
            for one in prediction.stages
        ],
        "logins": prediction.logins,
        "tree_s": _s(prediction.tree_s),
        "flat_s": _s(prediction.flat_s),
    }


def _s(seconds: float) -> float:
    return round(seconds, 6)


def show(chosen: Selection, prediction: Prediction) -> None:
    """For people: the tree, its stages, and its times."""
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDTH_PIPED
    console.print(_tree(chosen.plan))
    console.print()
    console.print(_stages(prediction))
    console.print()
    for line in _logins(prediction):
        console.print(line, markup=False, soft_wrap=True)
    unless = " (if the root reached all)" if any(spec.via for spec in chosen.plan.specs.values()) else ""
    times = f"tree {prediction.tree_s:.2f} s, flat {prediction.flat_s:.2f} s{unless}"
    console.print(f"predicted: {times}", markup=False, soft_wrap=True)


def _tree(plan: Plan) -> Tree:
    from rich.tree import Tree

    from nile.topology.model import ROOT_ID, ROOT_NAME

    tree = Tree(ROOT_NAME)
    _branches(plan, [plan.node(one) for one in plan.children(ROOT_ID)], tree)
    return tree


def _branches(plan: Plan, nodes: list[PlanNode], tree: Tree) -> None:
    """Relays one by one, leaves folded into one line."""
    from rich.text import Text

    from nile.topology.hostsets import fold

    for node in nodes:
        if node.children:
            label = Text(node.host, style="bold", overflow="fold")
            label.append("" if node.asked else "  only relays", style="dim")
            _branches(plan, [plan.node(one) for one in node.children], tree.add(label))
    if leaves := [node.host for node in nodes if not node.children]:
        text = f"{fold(leaves)} ({len(leaves)})" if len(leaves) > 1 else leaves[0]
        tree.add(Text(text, overflow="fold"))


def _stages(prediction: Prediction) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for title in ("stage", "hosts", "most logins of one node", "time"):
        table.add_column(title, justify="right")
    for one in prediction.stages:
        table.add_row(str(one.stage), str(one.nodes), str(one.logins_max), f"{one.time_s:.2f} s")
    return table


def _logins(prediction: Prediction) -> list[str]:
    """Logins per node, those with as many on one line."""
    from nile.topology.hostsets import fold

    of: dict[int, list[str]] = {}
    for host, logins in prediction.logins.items():
        of.setdefault(logins, []).append(host)
    return [f"logins: {logins} by {fold(of[logins])}" for logins in sorted(of, reverse=True)]
