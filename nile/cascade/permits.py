"""Who may log in to whom, and who may start: slots for both, and signatures for the logins of relays."""

from __future__ import annotations

from typing import Any

from nile.agent import wire
from nile.cascade.actions import Action, Publish, Sign
from nile.cascade.hosts import Contact, Host
from nile.cascade.inputs import Signed
from nile.cascade.orders import CascadeOptions, Orders
from nile.cascade.slots import Slots, login_key
from nile.cascade.tree import Tree
from nile.cascade.verdicts import integer
from nile.events import Notice


class Permits:
    """`slots` are those for logins and those for starts of commands."""

    def __init__(
        self, options: CascadeOptions, tree: Tree, orders: Orders, slots: tuple[Slots, Slots]
    ) -> None:
        self._options = options
        self._tree = tree
        self._orders = orders
        self._logins, self._starts = slots
        for host in tree.hosts.values():
            host.permitted = self._wanted(host) and not self._logins.bounded

    def offer_below(self, parent_id: int) -> None:
        """A parent that is up could log in to its children, once they are permitted."""
        if self._logins.bounded:
            for host in [self._tree[child] for child in self._tree.children(parent_id)]:
                waits = host.contact is Contact.WAITING and not (host.permitted or host.ended)
                if waits and self._wanted(host):
                    self._logins.offer(login_key(host), host)

    def _wanted(self, host: Host) -> bool:
        return not (self._options.relays_only and host.node.asked)

    def release(self, t: float) -> list[Action]:
        """Permits and starts for those who got a slot."""
        actions: list[Action] = []
        for host in self._logins.grant():
            host.permitted, host.permitted_s = True, t
            actions.append(self._orders.permit(host))
        return actions + [self._orders.start(host, t) for host in self._starting()]

    def _starting(self) -> list[Host]:
        """Those whose turn it is. Who wouldn't hear of it asks anew, once it has said where it stands."""
        starting: list[Host] = []
        while granted := self._starts.grant():
            heard = {host.id: self._tree.attached(host.id) and not host.answer_due for host in granted}
            for host in granted:
                if not heard[host.id]:
                    self._starts.give_back(host)
            starting += [host for host in granted if heard[host.id]]
        return starting

    def sign(self, child: Host, body: dict[str, Any]) -> list[Action]:
        """The relay of a child asks to sign for its login; raises KeyError, TypeError, ValueError."""
        relay = self._tree.hosts.get(child.parent)
        binds, request, serial = body["binds"], body["request"], integer(body["serial"])
        if relay is None or child.contact is not Contact.LOGIN or not isinstance(request, bytes):
            raise ValueError("a signature for no login")
        if not isinstance(binds, list) or not all(isinstance(bind, bytes) for bind in binds):
            raise ValueError("session-binds that are no bytes")
        if child.asking != child.epoch:  # else it asks anew, and what it asked before is void
            child.asking = child.epoch
            relay.signatures += 1
        left = relay.logins - relay.signatures + 1
        return [Sign(relay.id, child.id, child.epoch, serial, tuple(binds), request, left)]

    def signed(self, event: Signed) -> list[Action]:
        """The root's answer: from it on, that login may succeed."""
        child, relay = self._tree[event.asked.child_id], self._tree[event.asked.relay_id]
        relay.signatures += event.spent - 1
        if event.asked.epoch != child.epoch:
            return []  # another node has it now
        child.asking = 0
        child.refused = event.refused
        if not event.refused:
            # From now on the login can succeed unseen, and so can what starts at once.
            child.admitted = child.node.asked and not child.held
        note: list[Action] = [Publish(Notice(event.note))] if event.note else []
        body = {"serial": event.asked.serial, "answer": event.answer}
        return [*note, self._orders.send(relay.id, wire.SIGNED, body)]
