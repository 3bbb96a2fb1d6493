"""A small cluster, and what its agents would say in the place in which they are."""

from __future__ import annotations

from typing import Any

from nile.agent import wire
from nile.agent.wire import Frame
from nile.cascade.hosts import Contact, Host
from nile.cascade.tree import Tree
from nile.options import Limits, Timeouts
from nile.topology.model import HostSpec, Plan, PlanNode
from tests.fuzz.choices import Choices

PARENTS = (0, 0, 0, 1, 1, 2, 2, 4, 4)
HOSTS = range(1, len(PARENTS) + 1)
CONNECT_S, LEASE_S, COMMAND_S = 2.0, 6.0, 5.0
STREAMS = ("stdout", "stderr")
CODES = ("refused", "dropped", "startups", "authentication", "connect-timeout", "host-key-changed", "unbound",
         "no-python", "link", "signing", "rubbish")  # fmt: skip
OUTCOME: dict[str, Any] = {
    "rc": 0, "signal": None, "cause": None, "error": None, "left": [], "stdout": 0, "stderr": 0,
}  # fmt: skip


def any_plan(choices: Choices) -> Plan:
    """Nine hosts in three stages; some only relay, some are behind a gateway, one may be a spare."""
    stages = [0]
    for parent in PARENTS:
        stages.append(stages[parent] + 1)
    silent = choices.pick((0, 0, 2, 4))
    nodes = tuple(
        PlanNode(
            number, f"h{number}", parent, stages[number], number != silent,
            tuple(child for child in HOSTS if PARENTS[child - 1] == number),
        )
        for number, parent in enumerate(PARENTS, start=1)
    )  # fmt: skip
    specs = {node.host: HostSpec(node.host, node.host, node.host) for node in nodes}
    spares: tuple[PlanNode, ...] = ()
    if choices.once_in(3):
        gates: tuple[str, ...] = ("h1",)
        if choices.once_in(2):
            spares = (PlanNode(len(nodes) + 1, "spare", 0, 0, asked=False),)
            specs["spare"] = HostSpec("spare", "spare", "spare")
            gates = ("h1", "spare")
        for name in ("h4", "h5", "h8", "h9"):
            specs[name] = HostSpec(name, name, name, via=gates)
    limits = Limits(branches=4, parallel=choices.pick((1, 3)), logins=choices.pick((None, 2)), stages=3)
    timeouts = Timeouts(connect_s=CONNECT_S, lease_s=LEASE_S, command_s=COMMAND_S)
    return Plan(nodes, specs, limits, timeouts, spares=spares)


def plausible(tree: Tree, choices: Choices) -> Frame | None:
    """What an agent would say, or its relay of it; None of those of whom the root's own relay speaks."""
    host = tree.hosts[choices.pick(sorted(tree.hosts))]
    if host.contact is Contact.UP:
        return _of_host(tree, host, choices)
    parent = tree.link_parent(host)
    if not parent:
        return None  # the root's own relay speaks for itself
    kind = choices.pick((wire.LOGIN, wire.HELLO, wire.HELLO, wire.FAILED, wire.LOST, wire.SIGN, wire.REPORT))
    if kind == wire.HELLO:
        return Frame(kind, host.id, host.epoch, (), wire.dumps({"uptime": choices.pick((0.1, 1e6))}))
    body = {
        "child": host.id, "epoch": host.epoch, "attempt": 1, "code": choices.pick(CODES), "reason": "why",
        "attempts": 1, "serial": 1, "binds": [b"bind"], "request": b"request", "type": 35, "origin": 3,
    }  # fmt: skip
    return Frame(kind, parent, 1, (), wire.dumps(body))


def _of_host(tree: Tree, host: Host, choices: Choices) -> Frame:
    kind = choices.pick(
        (
            wire.STARTED,
            wire.OUTPUT,
            wire.OUTPUT,
            wire.RESULT,
            wire.RESULT,
            wire.STATE,
            wire.STATE,
            wire.TAKEN,
        )
    )
    body: Any = {"pid": 1}
    if kind == wire.OUTPUT:
        stream = choices.number(0, 1)
        data = choices.pick((b"x", b"." * 500, b"." * wire.CHUNK))
        have = host.received[STREAMS[stream]]
        output = wire.pack_output(stream, have, data)
        return Frame(kind, host.id, host.epoch, (), output)
    if kind == wire.RESULT:
        body = {
            **OUTCOME,
            **host.received,
            "rc": choices.pick((0, 3)),
            "cause": choices.pick((None, "timeout")),
        }
    elif kind == wire.STATE:
        states = [[c, tree[c].epoch, choices.pick(("up", "login", "waiting"))] for c in host.children]
        body = {
            "trace": choices.pick(("none", "dead", "alive")),
            "held": choices.once_in(2),
            "children": states,
            "ask": host.ask,
        }
    elif kind == wire.TAKEN:
        body = choices.pick((5, 1 << 20, 1 << 62))
    return Frame(kind, host.id, host.epoch, (), wire.dumps(body))
