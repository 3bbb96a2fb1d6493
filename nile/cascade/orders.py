"""What a run is, and how it is told to the nodes: the plan as it travels, and frames downward."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from nile.agent import wire
from nile.agent.wire import Frame
from nile.cascade.actions import Action, Adopt, Send
from nile.cascade.heritage import Heritage
from nile.cascade.hosts import Contact, Host
from nile.cascade.pace import Pace
from nile.cascade.tasks import Tasks, script_body
from nile.cascade.tree import Tree
from nile.cascade.work import Job, Worker
from nile.events import Code
from nile.options import ExecOptions, OnOrphan, Outfit
from nile.topology.model import ROOT_ID, Plan

WINDOW = 256 * 1024
"""Bytes of one stream of one host that may be under way: printed, and not yet in the store."""
FIRST_S = 1.0
FIRST = f"sleep {FIRST_S:g}; "
"""The shell does that before a command that may cut the host off: the word that it began gets through."""


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
    remedy: Callable[[Code, str, str], str] = lambda code, host, reason: ""
    """What to do about a login that failed with this code at this host, for that reason."""
    heritage: Heritage | None = None
    """What is recorded of the run, where another root began it."""
    worker: Worker | None = None
    """What runs on the hosts for a job, in place of the command, and how that job is begun."""
    job: Callable[[Tree], Job] | None = None
    audit: Mapping[str, str] | None = None
    """What the hosts' syslog is told of the run: `by` whom, and the `sha256` of the command."""
    command_code: Mapping[str, bytes] = field(default_factory=dict)
    """What an agent needs for this command: sources by the names of their modules."""
    second_warden: bytes = b""
    """And what sudo starts there, for one that runs as another user (see nile.agent.inside)."""
    shell_code: Callable[[], Mapping[str, bytes]] | None = None
    """Gives what whoever logs in to a host without Python needs, likewise; None: such a host runs nothing."""

    @property
    def takes_shells(self) -> bool:
        """May a host without Python run the command by a shell alone? Nobody there can do more for it."""
        outfit = self.exec.outfit
        more = (
            self.worker is not None
            or self.exec.stdin
            or outfit.sandbox is not None
            or outfit.sudo is not None
        )
        return self.shell_code is not None and not (more or self.relays_only)


class Orders:
    """Frames of the root for the tree as it is now."""

    def __init__(self, plan: Plan, options: CascadeOptions, tree: Tree, pace: Pace, tasks: Tasks) -> None:
        self._plan = plan
        self._options = options
        self._tree = tree
        self._pace = pace
        self._tasks = tasks

    def shared(self) -> dict[str, Any]:
        """The part of the plan that is the same for every node; times in seconds, the window in bytes."""
        timeouts, what = self._plan.timeouts, self._options.exec
        worker = self._options.worker
        first, first_s = (FIRST, FIRST_S) if what.disruptive else ("", 0.0)
        return {
            "run": self._options.run,
            "count": len(self._options.hosts),
            "lease": timeouts.lease_s,
            "grace": what.grace_s,
            "silence": timeouts.silence_s,
            # A child hangs up late: its parent, who can act on silence, is to do so first.
            "deaf": max(timeouts.silence_s, timeouts.lease_s / 3),
            # What the root broadcasts meanwhile would be missing from the standard input.
            "orphan": (OnOrphan.KILL if what.stdin else what.on_orphan).value,
            "window": WINDOW,
            "parallel": self._plan.limits.parallel,
            "paused": False,
            "job": {
                "command": f"{first}{worker.command if worker else self._tasks.line()}",
                "timeout": None if timeouts.command_s is None else timeouts.command_s + first_s,
                "leftover": what.leftover.value,
                "scratch": what.scratch_bytes,
                "audit": self._options.audit and dict(self._options.audit),
                "stdin": what.stdin or worker is not None,
                "program": worker.program if worker else b"",
                "code": dict(self._options.command_code),
                "outfit": outfit_body(what.outfit, self._options.second_warden) if what.outfitted else None,
            },
        }

    def entry(self, host: Host) -> dict[str, Any]:
        """One host's part of the plan, for whoever logs in to it (see nile.agent.relay).

        One that was never up has with it all that nobody was ever up of below it; of
        one that was, the agent says itself what is there, and the root goes on from that.
        """
        known = host.t_ready_s is not None
        groups = self._plan.specs[host.name].groups
        children = [] if known else [child for child in self._below(host) if child.t_ready_s is None]
        return {
            "id": host.id,
            "epoch": host.epoch,
            "host": host.name,
            "stage": self._tree.stage(host.id),
            "parent": self._tree.name(host.parent),
            "rank": host.rank,
            "group": " ".join(groups[:1]),
            "groups": " ".join(groups),
            "asked": host.node.asked,
            **self._tasks.with_plan(host.name, permitted=host.permitted),
            "hold": host.held,
            "again": host.was_here or host.called,
            "have": dict(host.received),
            "shell": dict(self._options.shell_code()) if host.shell and self._options.shell_code else {},
            "permit": host.permitted,
            "relay": host.id in self._tree.relays,
            "connect": host.connect_s or self._plan.timeouts.connect_s,
            "login": dict(self._options.logins[host.name]) if host.parent else {},
            "children": [self.entry(child) for child in children],
            "below": [each.id for each in self._tree.below(host)] if known else [],
        }

    def _below(self, host: Host) -> list[Host]:
        children = [self._tree[child] for child in host.children]
        return [child for child in children if child.contact is Contact.WAITING and not child.ended]

    def send(self, node_id: int, kind: int, body: dict[str, Any]) -> Send:
        """A frame for one node that holds one value; `ROOT_ID` is the root's own relay."""
        return self.frame(node_id, kind, wire.dumps(body))

    def frame(self, node_id: int, kind: int, body: bytes) -> Send:
        """A frame for one node, as the tree is now."""
        epoch = self._tree[node_id].epoch if node_id else 0
        return Send(Frame(kind, 0, epoch, self._tree.route(node_id), body))

    def permit(self, host: Host) -> Send:
        """Have its parent begin with the login, of which it knows all else."""
        body = {"child": host.id, "epoch": host.epoch, **self._tasks.with_permit(host.name)}
        return self.send(self._tree.link_parent(host), wire.PERMIT, body)

    def start(self, host: Host, t: float) -> Send:
        """Have it start its command; where it was told before, it does nothing."""
        host.may_have_started = True
        host.leaving = self._options.exec.disruptive
        host.start_s = t if host.start_s is None else host.start_s
        host.start_in, host.start_ask = host.epoch, host.ask
        return self.send(host.id, wire.START, {})

    def place(self, host: Host, *, code: bool) -> Action:
        """Have its parent log in to it; `code`: that one has to get first what a relay needs.

        One that becomes a relay now has heard of no change of pace, which are told to relays.
        """
        entry = {**self.entry(host), "pace": self._pace.news}
        if host.parent == ROOT_ID:
            return Adopt((entry,))
        return self.send(host.parent, wire.ADOPT, {"entries": [entry], "code": code})

    def resume(self, host: Host) -> Action:
        """Ask an agent whose link is part of a branch that was attached anew where it stands."""
        host.state_due = host.answer_due = True
        host.ask = max(host.ask, host.least_epoch) + 1
        return self.send(host.id, wire.RESUME, {**host.received, "ask": host.ask})

    def forget(self, parent: int, host: Host) -> Action:
        """A former parent has nothing to do with it any more, nor with what is below it."""
        below = [each.id for each in self._tree.below(host)]
        stays = list(self._tree.route(host.id))  # whoever is on both ways may go on to speak for it
        return self.send(parent, wire.FORGET, {"children": [host.id], "below": below, "stays": stays})


def outfit_body(outfit: Outfit, second_warden: bytes = b"") -> dict[str, Any]:
    """What nile.agent.outfit is told; `second_warden` is what sudo starts."""
    return {
        "env": dict(outfit.env),
        "clean": outfit.clean_env,
        "cwd": outfit.cwd,
        "rlimits": dict(outfit.rlimits),
        "subst": outfit.subst,
        "script": script_body(outfit.script) if outfit.script else None,
        "sandbox": outfit.sandbox and outfit.sandbox.value,
        "sudo": {"user": outfit.sudo, "program": second_warden} if outfit.sudo else None,
    }
