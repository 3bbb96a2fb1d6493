"""Taking a run over whose root died: what its record says, made the state that the new root begins with.

The new root begins where one stands that lost all its links at one moment: the
hosts that it had logged in to itself are out of contact, what hung below them
is believed to hang there still, and they say so themselves once they are
attached again. What the former root did last may not be in the record: any
host without a verdict may have started its command, and the one that says that
it didn't is believed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from nile.agent.core import STREAMS
from nile.cascade.hosts import Contact, Host
from nile.cascade.slots import Slots
from nile.cascade.tree import Tree
from nile.events import Verdict
from nile.topology.model import ROOT_ID, ROOT_NAME

EPOCHS = 1 << 20
"""No root attaches a host more often."""
BEATS = 1 << 32
"""No root lives for more heartbeats."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is recorded of one host. `parent` is whoever logged in to it last, `received` absolute offsets."""

    parent: str | None = None
    t_connect_s: float | None = None
    t_ready_s: float | None = None
    started: bool = False
    verdict: Verdict | None = None
    received: tuple[int, int] = (0, 0)
    """Of stdout and stderr, in bytes."""


NOTHING = Known()


@dataclass(frozen=True, slots=True)
class Heritage:
    """A run that had `roots` roots before this one and began `elapsed_s` seconds ago.

    `hosts` by name; one that isn't there was never heard of.
    """

    roots: int
    elapsed_s: float
    hosts: dict[str, Known]
    paused: bool = False
    """It was paused."""

    @property
    def first_epoch(self) -> int:
        """The lowest of the epochs in which this root attaches hosts."""
        return self.roots * EPOCHS

    @property
    def first_beat(self) -> int:
        """The number before this root's first heartbeat."""
        return self.roots * BEATS


def inherit(tree: Tree, heritage: Heritage, starts: Slots) -> None:
    """Make a tree that is as it was planned one that is as it was recorded."""
    by_name = {host.name: host for host in tree.hosts.values()}
    for name, host in by_name.items():
        _recall(host, heritage.hosts.get(name, NOTHING))
    for name, host in by_name.items():
        parent = heritage.hosts.get(name, NOTHING).parent
        if parent is not None:
            _hang(tree, host, by_name[parent].id if parent in by_name else ROOT_ID)
    for host in tree.hosts.values():
        host.epoch = host.least_epoch = heritage.first_epoch
        if host.over:
            tree.through(host)
        elif host.held:
            starts.occupy(host)  # until it says that it didn't start
    for host in _bottom_up(tree):
        host.ended = host.id in tree.spares or (host.over and not tree.needed(host))


def _recall(host: Host, known: Known) -> None:
    host.verdict = known.verdict
    host.t_connect_s, host.t_ready_s = known.t_connect_s, known.t_ready_s
    host.started = known.started
    host.acked = known.received
    host.received = dict(zip(STREAMS, known.received, strict=True))
    host.may_have_started = not host.over
    host.resumed = True
    host.inherited = known.t_ready_s is not None
    host.contact = Contact.UP if host.inherited else host.contact


def _hang(tree: Tree, host: Host, parent: int) -> None:
    """Where it was last; in a record that breaks off nothing is taken for granted."""
    if host.id in tree.spares:
        tree.call_up(host)
    if host.parent == parent or any(each.id == parent for each in tree.below(host)):
        return
    tree.move(host, parent)
    if parent != ROOT_ID:
        tree.relays.add(parent)
        tree[parent].give(host.id)


def _bottom_up(tree: Tree) -> Iterator[Host]:
    return (tree[node] for node in sorted(tree.hosts, key=tree.stage, reverse=True))


REASON = f"the {ROOT_NAME} that had started the run is gone"
