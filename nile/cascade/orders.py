"""What a run is, and how it is told to the nodes: the plan as it travels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from nile.cascade.hosts import Host
from nile.events import Code
from nile.options import ExecOptions
from nile.topology.model import ROOT_NAME, Plan

WINDOW = 256 * 1024
"""Bytes of one stream of one host that may be under way: printed, and not yet in the store."""


@dataclass(frozen=True, slots=True)
class CascadeOptions:
    """What a run is. `logins` maps a host's name to the `login` part of its plan entry."""

    run: str
    exec: ExecOptions
    logins: Mapping[str, Mapping[str, Any]]
    hosts: tuple[str, ...]
    """Asked hosts in the order of their ranks."""
    started_at: float
    """Seconds since the epoch."""
    relays_only: bool = False
    """Log in to no asked host, only to those above them."""
    remedy: Callable[[Code, str], str] = lambda code, host: ""
    """What to do about a login that failed with this code at this host."""


def shared(plan: Plan, options: CascadeOptions) -> dict[str, Any]:
    """The part that is the same for every node; times in seconds, the window in bytes."""
    timeouts, what = plan.timeouts, options.exec
    return {
        "run": options.run,
        "count": len(options.hosts),
        "lease": timeouts.lease_s,
        "grace": what.grace_s,
        "window": WINDOW,
        "parallel": plan.limits.parallel,
        "connect": timeouts.connect_s,
        "job": {
            "command": what.command,
            "timeout": timeouts.command_s,
            "leftover": what.leftover.value,
            "stdin": what.stdin,
        },
    }


def entry(plan: Plan, options: CascadeOptions, hosts: Mapping[int, Host], host: Host) -> dict[str, Any]:
    """One host's part, with all that is below it (see nile.agent.relay)."""
    parent = host.node.parent
    return {
        "id": host.id,
        "epoch": host.epoch,
        "host": host.name,
        "stage": host.node.stage,
        "parent": plan.node(parent).host if parent else ROOT_NAME,
        "rank": host.rank,
        "asked": host.node.asked,
        "hold": options.exec.fanout is not None,
        "permit": host.permitted,
        "login": dict(options.logins[host.name]) if parent else {},
        "children": [entry(plan, options, hosts, hosts[child]) for child in host.node.children],
    }
