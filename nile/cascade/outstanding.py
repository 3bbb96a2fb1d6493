"""Who is still out, and what each of them waits for. Pure; a view of the tree as it is at one moment."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from nile.cascade.hosts import Contact, Host
from nile.cascade.pace import Pace
from nile.cascade.tree import Tree
from nile.topology.model import ROOT_ID


class Waits(StrEnum):
    """What a host without a verdict waits for."""

    PAUSE = "pause"  # for the end of a pause
    PARENT = "parent"  # for its parent to be up
    QUEUE = "queue"  # for its parent to log in to it
    LOGIN = "login"  # for a login that is under way
    CONTACT = "contact"  # to be found again: its link was lost, or a login failed
    TURN = "turn"  # for its turn to start the command
    START = "start"  # it was told to start, and hasn't said that it did
    PASSWORD = "password"  # its sudo wants one
    COMMAND = "command"  # for its command to end
    OUTPUT = "output"  # the last of what it printed is on its way
    BACK = "back"  # it is away, and to come back booted anew


@dataclass(frozen=True, slots=True)
class Outstanding:
    """A host without a verdict; `parent` is who logs in to it, or did."""

    host: str
    stage: int
    parent: str
    waits: Waits
    since_s: float
    """Since when, in seconds since the run began."""


def outstanding(tree: Tree, pace: Pace) -> list[Outstanding]:
    """All of them, in the order of their ranks."""
    found = sorted((host for host in tree.hosts.values() if not host.over), key=lambda host: host.rank)
    return [_one(tree, pace, host) for host in found]


def _one(tree: Tree, pace: Pace, host: Host) -> Outstanding:
    waits = _waits(tree, pace, host)
    since = {
        Waits.LOGIN: max(host.t_connect_s or 0.0, host.placed_s),
        Waits.CONTACT: host.lost_s,
        Waits.BACK: host.absence.since_s if host.absence else 0.0,
        Waits.START: host.start_s,
        Waits.PASSWORD: host.start_s,
        Waits.COMMAND: host.start_s,
        Waits.OUTPUT: host.heard_s,
    }
    up_s = host.attached_s if host.contact is Contact.UP else host.placed_s
    since_s = since.get(waits, up_s)
    name, stage = tree.name(host.parent), tree.stage(host.id)
    return Outstanding(host.name, stage, name, waits, up_s if since_s is None else since_s)


def _waits(tree: Tree, pace: Pace, host: Host) -> Waits:
    if host.absence is not None:
        return Waits.BACK
    if host.outcome is not None:
        return Waits.OUTPUT
    if host.contact is Contact.NONE or (host.contact is Contact.UP and not tree.attached(host.id)):
        return Waits.CONTACT
    if host.contact is Contact.LOGIN:
        return Waits.LOGIN
    if host.contact is Contact.WAITING:
        return _before_login(tree, pace, host)
    if host.started:
        return Waits.COMMAND
    if host.wants_password:
        return Waits.PASSWORD
    if host.may_have_started:
        return Waits.START
    return Waits.PAUSE if pace.paused else Waits.TURN


def _before_login(tree: Tree, pace: Pace, host: Host) -> Waits:
    if pace.paused and not host.urgent:
        return Waits.PAUSE
    up = host.parent == ROOT_ID or tree.attached(host.parent)
    return Waits.QUEUE if up else Waits.PARENT
