"""The store of the user who runs this, and a plan as it is kept there."""

from __future__ import annotations

import json
from pathlib import Path

from nile.store.schema import FILE_NAME
from nile.topology.model import Plan
from nile.topology.places import state_directory


def store_path() -> Path:
    """Where the user's runs are recorded."""
    return state_directory() / FILE_NAME


def plan_text(plan: Plan) -> str:
    """The plan as the store keeps it: JSON, a list of nodes."""
    nodes = [
        {"id": node.id, "host": node.host, "parent": node.parent, "stage": node.stage, "asked": node.asked}
        for node in plan.nodes
    ]
    return json.dumps(nodes, separators=(",", ":"))
