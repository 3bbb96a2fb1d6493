"""What a node does for its children: pure, calls in, effects out.

The root is a relay too: the same class logs in to its children, with another
way of performing the effects. Children come with a permit of the root for one
login each, and with the whole subtree below them, which a relay carries out
without asking back. More children may come at any time, and the root may have
one forgotten that another node logs in to.

    waiting --permit, free slot--> login --hello--> up --closed--> gone
                 ^                   |
                 +----try again------+--failed--> gone

Effects, in order:

    ("up", frame)                  toward the root, of this node's own
    ("pass", frame, child id)      toward the root, from below; `take` once it left this node's memory
    ("login", child id, command)   log in and run the command; answered by `data` or `closed`
    ("write", child id, bytes)     raw bytes to the child, ahead of all frames
    ("flush", child id)            the child's link has something to send
    ("hangup", child id)           end the child's login or link at once; not answered
    ("reached", frame)             of one of this node's own channels to a child: see `channels`

A child speaks only for itself and for nodes below it; a frame that claims
otherwise is dropped and reported once. Nothing that comes from below is ever
passed on to another child.
"""

from nile.agent import wire
from nile.agent.child import GONE, LOGIN, UP, WAITING, Child, first_due, subtree
from nile.agent.handshake import Handshake, HandshakeError, command_line
from nile.agent.link import Link

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Optional, Tuple

    from nile.agent.handshake import Bundle

    Effects = List[Tuple[Any, ...]]

UNBOUND = "unbound"  # reported of a login that this relay leaves to the root: see nile.agent.carry

MOST_CONTROL = 32 << 20  # bytes of control frames that wait for one link; thousands of hosts need a tenth
SLEPT_S = 2.5  # a node that was stopped for longer may have been given up: no login of before goes on
RETRY_FIRST_S = 0.2
RETRY_MOST_S = 2.0


class Relay:
    """Children, their logins and links.

    `own_id`, `own_epoch`: the node that this is (0, 0 at the root). `shared` is
    the part of the plan that is the same for all nodes. `random()` gives a
    float in [0, 1), `nonce()` a fresh word.
    """

    def __init__(
        self,
        own: "Tuple[int, int]",
        shared: "Dict[str, Any]",
        bundle: "Bundle",
        random: "Callable[[], float]",
        nonce: "Callable[[], str]",
    ) -> None:
        self._own = own
        self._shared = shared
        self._bundle = bundle
        self._random = random
        self._nonce = nonce
        self._limit = wire.MAX_FRAME_UP
        self.children: "Dict[int, Child]" = {}
        self._reported: "set[int]" = set()
        self._cancelled = False
        self._queue: "List[Child]" = []  # permitted ones, which wait for a free slot
        self._under_way: "set[int]" = set()
        self._ticked_at: "Optional[float]" = None
        self.shell: "Optional[Callable[..., Any]]" = None  # see nile.agent.shellleaf.begin
        self.channels: "Dict[int, int]" = {}  # this node's own (see nile.agent.channel): number, child
        self._quiet_until = 0.0  # no deadline, and no silence that is too long, ends before

    # What the root says.

    def adopt(self, entries: "List[Dict[str, Any]]", now: float) -> "Effects":
        """More children: their parts of the plan, each with its permit or without.

        From now on they are spoken for over their own links only. One that has its link, or its
        login under way, keeps it, unless the root wants another.
        """
        effects: "Effects" = []
        before = list(self.children.values())
        for entry in entries:
            self._shared.update(entry.get("pace", {}))
            child = Child(entry, entry["permit"])
            known = self.children.get(child.id)
            if known is not None and known.state in (LOGIN, UP):
                if known.epoch >= child.epoch:
                    continue
                effects.append(("hangup", child.id))
                self._drop(known)
            self.children[child.id] = child
            self._queue.append(child)
            for other in before:
                other.below -= child.below
        return effects + self._fill(now)

    def _forget(self, body: "Dict[str, Any]", now: float) -> "Effects":
        effects: "Effects" = []
        for child_id in body["children"]:
            child = self.children.get(child_id)
            if child is not None:
                if child.state in (LOGIN, UP):
                    effects.append(("hangup", child_id))
                self._drop(child)
                child.below = set()
        return effects + self._fill(now)

    def standing(self) -> "List[List[Any]]":
        """The children that there are: id, epoch, state. Whoever asks may know of nobody's end."""
        for child in self.children.values():
            child.dismissed = False
        return [
            [child.id, child.epoch, child.state] for child in self.children.values() if child.state != GONE
        ]

    def frame(self, frame: wire.Frame, now: float, sent: "Optional[Callable[[], None]]" = None) -> "Effects":
        """A downward frame for this relay or for nodes below it; raises WireError.

        `sent()` is called when a bulk frame with a path leaves this node's memory, or is dropped.
        """
        if frame.type in wire.BROADCAST and not frame.path:
            return self._broadcast(frame, now)
        if frame.path:
            return self._forward(frame, now, sent)
        if frame.type == wire.PERMIT:
            return self._permit(frame.fields(), now)
        if frame.type == wire.ADOPT:
            return self.adopt(frame.fields()["entries"], now)
        if frame.type == wire.FORGET:
            return self._forget(frame.fields(), now)
        return []

    def _broadcast(self, frame: wire.Frame, now: float) -> "Effects":
        effects: "Effects" = []
        if frame.type == wire.CANCEL and not self._cancelled:
            self._cancelled = True
            effects += self._give_up_logins()
        elif frame.type == wire.PACE:  # those below that aren't up yet hear of it with their plan
            self._shared.update(frame.fields())
            effects += self._fill(now)
        for child in self.children.values():
            if child.state == UP:
                effects += self._send(child, frame, now)
        return effects

    def _send(
        self, child: Child, frame: wire.Frame, now: float, sent: "Optional[Callable[[], None]]" = None
    ) -> "Effects":
        assert child.link is not None
        if child.link.waiting() > MOST_CONTROL:
            if sent is not None:
                sent()
            return self._hang_up(child, "agent", "it doesn't take what it is sent", now)
        child.link.send(frame, sent)
        return [("flush", child.id)]

    def _forward(self, frame: wire.Frame, now: float, sent: "Optional[Callable[[], None]]") -> "Effects":
        child = self.children.get(frame.path[0])
        if child is None or child.state != UP:
            if sent is not None:
                sent()
            return []  # the root hears of the broken link by itself
        if frame.type in (wire.ADOPT, wire.FORGET):
            frame = self._pass_on(child, frame)
        child.dismissed = child.dismissed or (frame.type == wire.END and len(frame.path) == 1)
        onward = wire.Frame(frame.type, frame.origin, frame.epoch, frame.path[1:], frame.body)
        return self._send(child, onward, now, sent)

    def _pass_on(self, child: Child, frame: wire.Frame) -> wire.Frame:
        """What comes below this child, or leaves it: whom it may speak for, and what it needs for that."""
        body = frame.fields()
        if frame.type == wire.FORGET:
            if child.id not in body["stays"]:
                child.below.difference_update(set(body["below"]).difference(frame.path))
            return frame
        for entry in body["entries"]:
            below = set(subtree(entry))
            for other in self.children.values():
                other.below -= below
            child.below |= below
        if not body["code"] or len(frame.path) > 1:
            return frame
        body["bundle"] = self._bundle.packed(True, "").partition(b"\n")[2]
        return wire.Frame(frame.type, frame.origin, frame.epoch, frame.path, wire.dumps(body))

    def _permit(self, body: "Dict[str, Any]", now: float) -> "Effects":
        child = self.children.get(body["child"])
        if child is not None and child.epoch == body["epoch"]:
            child.permitted = True
            child.entry.update(body.get("own", {}))
            self._queue.append(child)
        return self._fill(now)

    # Logins.

    def _fill(self, now: float) -> "Effects":
        """Begin as many logins as slots are free."""
        effects: "Effects" = []
        while self._queue and len(self._under_way) < self._shared["parallel"]:
            place = self._next()
            if place is None:
                break
            child = self._queue.pop(place)
            current = self.children[child.id] is child and child.state == WAITING
            if current and child.permitted and self._wanted(child):
                self._under_way.add(child.id)
                effects += self._begin(child, now)
        return effects

    def _next(self) -> "Optional[int]":
        """Whose turn it is, by the place in the queue; in a pause only theirs whose agents may wait,

        and those who only lead to others.
        """
        if not self._shared.get("paused"):
            return 0
        entries = enumerate(child.entry for child in self._queue)
        urgent = (place for place, entry in entries if entry["again"] or not entry["asked"])
        return next(urgent, None)

    def _begin(self, child: Child, now: float) -> "Effects":
        child.state = LOGIN
        child.attempts += 1
        child.not_before = 0.0
        if child.deadline is None:
            child.deadline = now + child.entry["connect"]
        self._quiet_until = 0.0
        nonce = self._nonce()
        command = command_line(nonce)
        child.handshake = Handshake(nonce, self._bundle, child.entry["relay"])
        if self.shell and child.entry.get("shell"):
            command, child.link = self.shell(child.entry, self._shared, nonce, now)
        report = {"child": child.id, "epoch": child.epoch, "attempt": child.attempts}
        return [("up", self._say(wire.LOGIN, report)), ("login", child.id, command)]

    def data(self, child_id: int, data: bytes, now: float) -> "Effects":
        """Bytes from a child, or from what is to become one."""
        child = self.children[child_id]
        if child.state == LOGIN and self._slept_s(now) > SLEPT_S:
            return self.tick(now)
        try:
            if child.link is None:
                return self._shake(child, data, now)
            link, granted = child.link, child.link.granted
            effects = self._frames(child, link.receive(data, now), now)
            return effects if link.granted == granted else effects + [("flush", child.id)]
        except HandshakeError as error:
            return self._hang_up(child, error.code, error.reason, now)
        except wire.WireError as error:
            return self._hang_up(child, "agent", "it sent %s" % error, now)

    def _shake(self, child: Child, data: bytes, now: float) -> "Effects":
        if child.handshake is None:
            return []
        answer = child.handshake.feed(data)
        if answer is None:
            return []
        child.link = Link(self._limit, now)
        rest = child.handshake.rest
        return [("write", child.id, answer)] + (self.data(child.id, rest, now) if rest else [])

    def _frames(self, child: Child, frames: "List[wire.Frame]", now: float) -> "Effects":
        effects: "Effects" = []
        for frame in frames:
            if not child.speaks_for(frame):
                effects += self._report(child, frame)
                if frame.type in wire.BULK:  # of one that was elsewhere before, perhaps: it must not stall
                    effects += self.take(child.id, len(frame.body))
            elif child.state == LOGIN and frame.type == wire.HELLO:
                effects += self._hello(child, frame, now)
            elif child.state == UP and frame.type >= wire.OPEN and frame.body >= b"\x80":
                effects += self._own_channel(child, frame)
            elif child.state == UP and frame.origin != 0:
                effects.append(("pass", frame, child.id))
        return effects

    def _own_channel(self, child: Child, frame: wire.Frame) -> "Effects":
        """It goes no further: from the child at the other end of a channel of ours, or from nobody."""
        number = int.from_bytes(frame.body[:4], "big")
        ours = self.channels.get(number) == child.id == frame.origin
        effects: "Effects" = [("reached", frame)] if ours else []
        if frame.type in wire.BULK:  # a channel has a window of its own
            effects += self.take(child.id, len(frame.body))
        return effects

    def take(self, child_id: int, size: int) -> "Effects":
        """`size` bulk bytes that this child sent left our memory: let it send as many anew."""
        child = self.children[child_id]
        if child.link is None:
            return []  # also one that was logged in to anew: what came over the old link is no matter
        child.link.take(size)
        return [("flush", child_id)]

    def overrun(self, child_id: int, now: float) -> "Effects":
        """This child sends more control frames than can be passed on: it has to go, not this node."""
        child = self.children[child_id]
        if child.state == GONE:
            return []
        return self._hang_up(child, "agent", "it sends more than its relay can pass on", now)

    def _hello(self, child: Child, frame: wire.Frame, now: float) -> "Effects":
        """The child's agent runs: send it its plan, tell the root, use the free slot."""
        child.state = UP
        self._under_way.discard(child.id)
        child.deadline = None
        node = {key: value for key, value in child.entry.items() if key != "login"}
        plan = wire.dumps({"shared": self._shared, "node": node})
        child.entry.update(line="", script=None)  # which may be long, and is wanted no more
        assert child.link is not None
        child.link.send(wire.Frame(wire.PLAN, 0, child.epoch, (), plan))
        hello = wire.Frame(wire.HELLO, child.id, child.epoch, (), frame.body)
        return [("up", hello), ("flush", child.id)] + self._fill(now)

    def _report(self, child: Child, frame: wire.Frame) -> "Effects":
        if child.id in self._reported:
            return []
        self._reported.add(child.id)
        report = {"child": child.id, "type": frame.type, "origin": frame.origin}
        return [("up", self._say(wire.REPORT, report))]

    def closed(self, child_id: int, code: str, reason: str, retry: bool, now: float) -> "Effects":
        """The login failed, or the link ended. `retry`: it says nothing about the host."""
        child = self.children[child_id]
        begun = child.link is not None and child.link.granted > 0  # the link to a shell is there beforehand
        if child.state == LOGIN and retry and not begun and not self._cancelled:
            wait_s = min(RETRY_MOST_S, RETRY_FIRST_S * 2 ** (child.attempts - 1)) * (0.5 + self._random())
            if child.deadline is not None and now + wait_s < child.deadline:
                child.not_before = now + wait_s
                self._quiet_until = 0.0
                child.dropped = (code, reason)
                child.handshake = None
                return []
        return self._lose(child, code, reason, now)

    def _lose(self, child: Child, code: str, reason: str, now: float) -> "Effects":
        """A login came to nothing, or a link is gone: the root decides what comes of it."""
        if child.state == GONE:
            return []
        kind = wire.LOST if child.state == UP else wire.FAILED
        self._drop(child)
        if child.dismissed and self._own[0]:  # no news, but to a root that waits for its last links
            return self._fill(now)
        body: "Dict[str, Any]" = {"child": child.id, "epoch": child.epoch, "attempts": child.attempts}
        body["code"], body["reason"] = code, reason
        return [("up", self._say(kind, body))] + self._fill(now)

    def _hang_up(self, child: Child, code: str, reason: str, now: float) -> "Effects":
        return [("hangup", child.id)] + self._lose(child, code, reason, now)

    def _drop(self, child: Child) -> None:
        child.state = GONE
        if child.link is not None:
            child.link.drop()
        child.link = child.handshake = None  # what it still says is no matter
        self._under_way.discard(child.id)

    def _wanted(self, child: Child) -> bool:
        """In a cancelled run only those are, where an agent may wait that hasn't heard of it."""
        return child.entry["again"] or not self._cancelled

    def _give_up_logins(self) -> "Effects":
        effects: "Effects" = []
        for child in self.children.values():
            if child.state in (WAITING, LOGIN) and not self._wanted(child):
                hangup: "Effects" = [("hangup", child.id)] if child.state == LOGIN else []
                effects += hangup + self._lose(child, "cancelled", "cancelled before it was reached", 0.0)
        return effects

    # Time, and the end.

    def tick(self, now: float) -> "Effects":
        """Deadlines, retries, pings and silence; call it a few times a second."""
        effects: "Effects" = []
        slept_s = self._slept_s(now)
        self._ticked_at = now
        if slept_s > SLEPT_S:
            for child in [child for child in self.children.values() if child.state == LOGIN]:
                effects += self._hang_up(child, "link", "its relay was stopped meanwhile", now)
        for child in list(self.children.values()):
            if child.state == LOGIN:
                effects += self._tick_login(child, now)
            elif child.state == UP and child.link is not None:
                effects += self._tick_link(child, child.link, now)
        effects.sort(key=lambda effect: effect[0] != "hangup")  # before others take their places
        return effects

    def _slept_s(self, now: float) -> float:
        """Seconds since the last tick; there is one each second."""
        return now - (self._ticked_at or now)

    def _tick_login(self, child: Child, now: float) -> "Effects":
        if child.deadline is not None and now >= child.deadline:
            silence = ("connect-timeout", "no answer within %g s" % child.entry["connect"])
            code, reason = child.dropped or silence
            return self._hang_up(child, code, reason, now)
        if child.not_before and now >= child.not_before:
            return self._begin(child, now)
        return []

    def _tick_link(self, child: Child, link: Link, now: float) -> "Effects":
        link.tick(now)
        silent_s = now - link.last_in
        if silent_s > self._shared["silence"]:
            return self._hang_up(child, "link", "nothing was heard of it for %.1f s" % silent_s, now)
        return [("flush", child.id)]

    def next_tick_s(self, now: float) -> float:
        """Seconds until `tick` is due."""
        if self._quiet_until - now < 1.0:
            self._quiet_until = first_due(self.children.values(), self._shared["silence"], now)
        return max(0.01, min(1.0, self._quiet_until - now))

    def attached(self, epoch: int) -> "Effects":
        """This node has a parent again, in that epoch. What was under way can't be known to go on."""
        self._own = (self._own[0], epoch)
        return self.orphaned()

    def orphaned(self) -> "Effects":
        """Nobody above for now: links stay, but no login can go on (the root signs for it)."""
        return self._drop_all((WAITING, LOGIN))

    def parent_lost(self) -> "Effects":
        """Nobody above, and nobody to come: end every login and link, so that those below end as well."""
        self._cancelled = True
        return self._drop_all((WAITING, LOGIN, UP))

    def _drop_all(self, states: "Tuple[str, ...]") -> "Effects":
        children = [child for child in self.children.values() if child.state in states]
        effects: "Effects" = [("hangup", child.id) for child in children if child.state != WAITING]
        for child in children:
            self._drop(child)
        return effects

    def _say(self, kind: int, value: "Any") -> wire.Frame:
        return wire.Frame(kind, self._own[0], self._own[1], (), wire.dumps(value))
