"""Plans as the root sends them, for tests that drive one agent or one relay by hand.

Everything comes from `nile.cascade.orders`, so that these tests can't go on with a plan of the day before.
"""

from __future__ import annotations

import secrets
from typing import Any

from nile.agent import wire
from nile.agent.wire import Frame
from nile.bootstrap.bundle import command_code
from nile.cascade.orders import CascadeOptions, Orders
from nile.cascade.pace import Pace
from nile.cascade.tasks import Tasks
from nile.cascade.tree import Tree
from nile.controller.prepare import plan_login
from nile.options import ExecOptions, Kex, Limits, Pacing, Signing, SshClient, Timeouts
from nile.topology.model import HostSpec, Plan, PlanNode
from nile.transport.base import ResolvedLogin


def _orders(children: int) -> tuple[Orders, Tree]:
    """Host h1 below the root, and below it h2, h3 and so on."""
    below = tuple(range(2, 2 + children))
    nodes = [PlanNode(1, "h1", 0, 1, True, below)]
    nodes += [PlanNode(number, f"h{number}", 1, 2, True, ()) for number in below]
    names = [node.host for node in nodes]
    plan = Plan(tuple(nodes), {name: HostSpec(name, name, name) for name in names}, Limits(), Timeouts())
    logins = {name: plan_login(_login(name)) for name in names}
    code = command_code(feed=True)
    options = CascadeOptions(
        secrets.token_hex(16), ExecOptions("true"), logins, tuple(names), 0.0, command_code=code
    )
    tree = Tree(plan, {name: rank for rank, name in enumerate(names)})
    for host in tree.hosts.values():
        host.permitted = True
    pace = Pace(Pacing(plan.limits.parallel, None, False), known=True)
    return Orders(plan, options, tree, pace, Tasks(options.exec)), tree


def _login(name: str) -> ResolvedLogin:
    nobody = SshClient.OPENSSH, Kex.FAST, Signing.AUTO
    return ResolvedLogin(name, name, "h", 22, "me", "h", (), (), (), *nobody)


def plan_body(command: str = "true", **how: Any) -> dict[str, Any]:
    """What the root tells host h1, which has no children: {shared, node}.

    Keywords replace values of `job`, `shared` and `node` by their names; times in seconds.
    """
    orders, tree = _orders(0)
    shared, node = orders.shared(), orders.entry(tree[1])
    job = shared["job"]
    for key, value in {"grace": 1.0, "parallel": 4, **how, "command": command}.items():
        (values,) = [each for each in (job, shared, node) if key in each]
        values[key] = value
    return {"shared": shared, "node": node}


def make_plan(command: str = "true", **how: Any) -> Frame:
    """`plan_body` as a PLAN frame."""
    body = plan_body(command, **how)
    return Frame(wire.PLAN, 0, body["node"]["epoch"], (), wire.dumps(body))


def children(count: int, **how: Any) -> list[dict[str, Any]]:
    """Entries of as many leaves h2, h3 and so on below h1, with permits; keywords replace values of each."""
    orders, tree = _orders(count)
    entries = [orders.entry(tree[number]) for number in tree[1].children]
    assert all(set(how) <= set(entry) for entry in entries)
    return [{**entry, **how} for entry in entries]
