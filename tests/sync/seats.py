"""Chains of workers that are no processes: a stream is one word, and goes from one to the next at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from nile.topology.model import ROOT_ID

Message = dict[str, Any]
Say = Callable[..., None]
DIGEST = b"d" * 32
DENIED = "a banner\nPermission denied (publickey)."
MOST_TRIED = 1000
"""Ways in all streams of a run: far more than any test has hosts."""
WRITTEN = 1 << 20
"""Bytes that a recording says that it has so far."""


@dataclass(eq=False)
class Seat:
    """A worker's place in a chain; `fed_by` is the id of who passes it on to it."""

    node: int
    number: int
    port: int = 0
    fed_by: int | None = None
    recording: int = 0
    """The number of what the root serves to it, if it does."""
    feeds: Seat | None = None
    link: int = 0
    """The number of the words by which it was told whom it feeds."""
    last: bool = False
    complete: bool = False
    loopback: bool = False
    """It waits for what comes through ssh."""
    confirmed: bool = False
    """It knows that what it has is what the root has."""
    over: bool = False


@dataclass
class Seats:
    """What goes wrong is set by name: `blocked` (giver, taker), `diverges`, `refuses_stream`, `forgets`.

    Those that are `blocked` reach each other through ssh, but for those that are `locked` too.
    `liars` say of every way from and to them that it was found, and at once that it broke.
    `forgets` are nodes that have lost what a new successor of theirs wants. `spoils` is a code with which
    recordings end, by their count from 0.
    """

    say: Say
    became: Callable[[int], None]
    dead: set[int]
    blocked: set[tuple[int, int]] = field(default_factory=set)
    locked: set[tuple[int, int]] = field(default_factory=set)
    liars: set[int] = field(default_factory=set)
    by_ssh: list[tuple[int, int]] = field(default_factory=list)
    """Of those ways that were found, the ones through ssh."""
    tried: list[tuple[int, int, bool]] = field(default_factory=list)
    """(giver, taker, through ssh) of all ways that were tried."""
    diverges: set[int] = field(default_factory=set)
    refuses_stream: set[int] = field(default_factory=set)
    diverged: str = "diverged"
    """The code with which hosts that diverge end."""
    forgets: set[int] = field(default_factory=set)
    spoils: dict[int, str] = field(default_factory=dict)
    holds: bool = False
    """Nothing flows as long as this is so."""
    seats: list[Seat] = field(default_factory=list)
    recordings: dict[int, str] = field(default_factory=dict)
    """By number: "" while it is made, "done", or why it came to nothing."""
    recorded: list[Message] = field(default_factory=list)
    """What was asked for, of each."""
    joined: list[Message] = field(default_factory=list)
    served: list[tuple[int, int]] = field(default_factory=list)
    """(giver, taker) of all ways that were found."""
    refused: list[tuple[int, int]] = field(default_factory=list)
    """(giver, port) of ways to nobody."""
    serves: list[int] = field(default_factory=list)
    """Numbers of what the root serves, and of these the ones that it left."""
    left: list[int] = field(default_factory=list)
    forgotten: list[int] = field(default_factory=list)
    written: int = WRITTEN
    unfinished: bool = False
    """A recording goes on."""
    ports: int = 20_000
    _by_node: dict[int, Seat] = field(default_factory=dict)
    """The last one of each."""
    _by_port: dict[int, Seat] = field(default_factory=dict)
    _signing: dict[tuple[int, int], tuple[Message, int, Seat | None]] = field(default_factory=dict)
    """By giver and link: what is told, and to whom, once the root has signed."""

    def record(self, message: Message, ended: Callable[[], None]) -> None:
        """The root's worker records; `ended()` tells the one against whom."""
        number = message["n"]
        self.recorded.append(message)
        code = self.spoils.get(len(self.recordings), "")
        self.say(ROOT_ID, number, written=self.written, more=True)
        self.recordings[number] = code or ("" if self.unfinished else "done")
        if self.unfinished:
            return
        if code:
            self.say(ROOT_ID, number, code=code, reason=f"so: {code}", retry=True, sent=1)
        else:
            self.say(ROOT_ID, number, total=WRITTEN, sent=1, digest=DIGEST)
        ended()
        self.flow()

    def join(self, node: int, message: Message) -> None:
        """It takes a place."""
        self.joined.append(message)
        if node in self.refuses_stream:
            self.say(node, message["n"], code="old-rsync", reason="too old")
            return
        assert not self.of(node), "it has a place already"
        seat = self._by_node[node] = Seat(node, message["n"], confirmed=not message["hashed"])
        self.seats.append(seat)
        self._wait(seat, message)
        self.say(node, message["n"], port=seat.port, more=True)

    def _wait(self, seat: Seat, message: Message) -> None:
        self.ports += 1
        seat.port, seat.fed_by, seat.loopback = self.ports, None, message["loopback"]
        self._by_port[seat.port] = seat

    def of(self, node: int) -> Seat | None:
        """The place of a node, if it has one that isn't over."""
        seat = self._by_node.get(node)
        return seat if seat is not None and not seat.over else None

    def predecessor(self, node: int, message: Message) -> None:
        """It awaits another one."""
        seat = self.of(node)
        if seat is None or seat.complete:
            self.say(node, message["n"])
            return
        assert seat.number == message["what"]
        self._wait(seat, message)
        self.say(node, message["n"], port=seat.port)

    def serve(self, message: Message) -> None:
        """The root passes a recording on."""
        assert message["what"] in self.recordings
        assert message["what"] not in self.forgotten, "the root has it no more"
        self.serves.append(message["n"])
        self._lead(ROOT_ID, message, message["n"], None)

    def successor(self, node: int, message: Message) -> None:
        """A node passes on what it gets."""
        seat = self.of(node)
        if seat is not None:
            assert seat.number == message["what"]
            seat.link, seat.feeds, seat.last = message["n"], None, False
            self._lead(node, message, seat.number, seat)

    def _lead(self, giver: int, message: Message, number: int, seat: Seat | None) -> None:
        port = message["port"] - (1000 if message.get("loopback") else 0)
        taker = self._by_port.get(port)
        if taker is not None and (taker.over or taker.port != port):
            taker = None
        by_ssh = "login" in message or "loopback" in message
        if taker is not None:
            assert taker.loopback is by_ssh, "it waits elsewhere"
            self.tried.append((giver, taker.node, by_ssh))
            assert len(self.tried) < MOST_TRIED, "they try for ever"
            if by_ssh and (giver, taker.node) in self.locked:
                event = {"kind": "successor", "code": "ssh", "reason": DENIED, "offset": 0}
                self.say(giver, number, event=event, more=True, link=message["n"])
                return
            if by_ssh and giver != ROOT_ID:
                assert message["login"] == {"to": taker.node}
                request: Message = {"serial": 7, "binds": [b"bound"], "request": b"sign"}
                self.say(giver, number, more=True, link=message["n"], **request)
                self._signing[giver, message["n"]] = (message, number, seat)
                return
        self._found(giver, message, number, seat, taker, by_ssh)

    def signed(self, giver: int, message: Message) -> None:
        """The root has signed."""
        assert (message["answer"], message["serial"], message["refused"]) == (b"signed", 7, "")
        told, number, seat = self._signing.pop((giver, message["link"]))
        assert message["what"] == number
        taker = self._by_port.get(told["port"])
        gone = taker is None or taker.over or taker.port != told["port"]
        if seat is not None and not seat.over and seat.link == message["link"]:
            self._found(giver, told, number, seat, None if gone else taker, True)

    def _found(
        self,
        giver: int,
        message: Message,
        number: int,
        seat: Seat | None,
        taker: Seat | None,
        by_ssh: bool,
    ) -> None:
        blocked = taker is not None and not by_ssh and (giver, taker.node) in self.blocked
        if taker is None or blocked or taker.node in self.dead:
            self.tell(giver, number, "successor", "refused", link=message["n"])
            self.refused += [(giver, message["port"])] if taker is None else []
            return
        if giver in self.forgets:
            self.forgets.discard(giver)
            self.tell(giver, number, "successor", "gone", link=message["n"])
            self.tell(taker.node, taker.number, "predecessor", "gone")
            return
        if self.liars & {giver, taker.node}:
            for code in ("", "broken"):
                self.tell(giver, number, "successor", code, link=message["n"])
            return
        self.served.append((giver, taker.node))
        self.by_ssh += [(giver, taker.node)] if by_ssh else []
        taker.fed_by = giver
        taker.recording = message["what"] if giver == ROOT_ID else 0
        if seat is not None:
            seat.feeds = taker
        self.tell(giver, number, "successor", "", link=message["n"])
        self.tell(taker.node, taker.number, "predecessor", "")
        self._stir(taker, seat)

    def tell(self, node: int, number: int, kind: str, code: str, **more: Any) -> None:
        """A node says what happened."""
        event = {"kind": kind, "code": code, "reason": code, "offset": WRITTEN if kind == "end" else 0}
        if node not in self.dead:
            self.say(node, number, event=event, more=True, **more)

    def confirm(self, node: int, message: Message) -> None:
        """It hears what a digest of the stream is."""
        seat = self.of(node)
        assert message["digest"] == DIGEST
        if seat is not None:
            assert seat.number == message["what"]
            assert seat.complete
            seat.confirmed = True
            self._stir(seat)

    def last(self, node: int, message: Message) -> None:
        """Nobody follows."""
        seat = self.of(node)
        if seat is not None:
            assert seat.number == message["what"]
            seat.last, seat.feeds = True, None
            self._stir(seat)

    def leave(self, node: int, message: Message) -> None:
        """It stops."""
        self.left += [message["what"]] if node == ROOT_ID else []
        seat = self.of(node) if node != ROOT_ID else None
        if seat is not None and seat.number == message["what"]:
            self.cut(seat)
            self.say(node, seat.number, code="stopped", reason="it was told to stop", sent=0)

    def die(self, node: int) -> None:
        """Its neighbours see that it is gone."""
        seat = self.of(node)
        if seat is not None:
            self.cut(seat)

    def cut(self, seat: Seat) -> None:
        """It is no neighbour any more."""
        seat.over = True
        for other in self.seats:
            if not other.over and other.fed_by == seat.node and not other.complete:
                other.fed_by = None
                self.tell(other.node, other.number, "predecessor", "broken")
            if not other.over and other.feeds is seat:
                other.feeds = None
                self.tell(other.node, other.number, "successor", "broken", link=other.link)

    def flow(self) -> None:
        """Whoever can get everything gets it."""
        self._stir(*self.seats)

    def _stir(self, *seats: Seat | None) -> None:
        """Something has changed for these: what follows for them, and for those beside them?"""
        todo = deque() if self.holds else deque(seats)
        while todo:
            seat = todo.popleft()
            if seat is not None and not seat.over and self._step(seat):
                todo += [seat, seat.feeds, self.of(seat.fed_by) if seat.fed_by else None]

    def _step(self, seat: Seat) -> bool:
        aborted = self.recordings.get(seat.recording, "") not in ("", "done")
        giver = self.of(seat.fed_by) if seat.fed_by else None
        if not seat.complete and seat.fed_by == ROOT_ID and aborted:
            return self._abort(seat)
        fed = seat.fed_by == ROOT_ID or (giver is not None and giver.complete)
        if not seat.complete and fed and "done" in self.recordings.values():
            seat.complete = True
            self.tell(seat.node, seat.number, "end", "")
            return True
        if (
            seat.complete
            and seat.confirmed
            and (seat.last or (seat.feeds is not None and seat.feeds.complete))
        ):
            seat.over = True
            if seat.node in self.diverges:
                self.say(seat.node, seat.number, code=self.diverged, reason="it isn't what it was", sent=1)
            else:
                self.became(seat.node)
                self.say(seat.node, seat.number, sent=1)
            return True
        return False

    def _abort(self, seat: Seat) -> bool:
        seat.over = True
        self.say(seat.node, seat.number, code="aborted", reason="it came to nothing", sent=0)
        for other in self.seats:
            if not other.over and other.fed_by == seat.node:
                self._abort(other)
        return True
