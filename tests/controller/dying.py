"""A root that is killed: a real engine and store in a process of their own, over a relay that is played.

The host is played as an agent behaves: it sends what its window has room for, and takes for kept
what the root acknowledged. What it was told, and what was shown, is said to whoever watches, at once.
"""

from __future__ import annotations

import os
from pathlib import Path

from nile.agent import wire
from nile.agent.wire import Frame
from nile.bootstrap import agent_bundle
from nile.events import HostOutput, HostResult
from nile.store import Recorder, RunContext
from tests.controller.puppet import CHILD, Puppet, PuppetTransport, engine

agent_bundle().packed(True, "00000000")  # once, for all processes that are forked from here

PIECE = 1000
PIECES = 300
AHEAD = 20
"""Pieces that are on their way at most: so the root is always in the midst of some."""
WIDTH = 127
"""Bytes of a line that says so, so that a small pipe has room for few."""
OUTCOME: dict[str, object] = {"rc": 0, "signal": None, "cause": None, "error": None, "left": [], "stderr": 0}


def piece(number: int) -> bytes:
    """What the host prints: which piece it is can be told."""
    return b"%010d|" % number + bytes([97 + number % 26]) * (PIECE - 11)


class Host:
    """The host below the relay; `said` is a pipe, in which a line is written whole or not at all."""

    def __init__(self, said: int) -> None:
        self._said = said
        self._sent = 0

    def hear(self, puppet: Puppet, frame: Frame) -> None:
        """Every frame of the root comes here."""
        if frame.type == wire.PLAN:
            puppet.say(wire.LOGIN, {"child": CHILD, "epoch": 1, "attempt": 1})
            puppet.say(wire.HELLO, {"protocol": wire.PROTOCOL}, origin=CHILD)
            puppet.say(wire.STARTED, {"pid": 7}, origin=CHILD)
            self._send(puppet, 0)
        elif frame.type == wire.ACK and frame.path[-1:] == (CHILD,):
            acknowledged = frame.fields()["stdout"]
            self.tell("ack", acknowledged)
            self._send(puppet, acknowledged // PIECE)
        elif frame.type == wire.END and frame.path[-1:] == (CHILD,):  # whose verdict is in the store then
            self.tell("end", PIECES * PIECE)

    def _send(self, puppet: Puppet, kept: int) -> None:
        while self._sent < min(PIECES, kept + AHEAD):
            body = wire.pack_output(0, self._sent * PIECE, piece(self._sent))
            puppet.say(wire.OUTPUT, body, origin=CHILD)
            self._sent += 1
            if self._sent == PIECES:
                puppet.say(wire.RESULT, {**OUTCOME, "stdout": PIECES * PIECE}, origin=CHILD)

    def tell(self, word: str, number: int) -> None:
        """Tell whoever watches."""
        os.write(self._said, (b"%s %d" % (word.encode(), number)).ljust(WIDTH) + b"\n")


def be_a_root(store: Path, said: int) -> None:
    """A run from its beginning to its end, unless somebody puts an end to it before."""
    host = Host(said)
    with Recorder(store, RunContext.here(())) as recorder:
        for event in engine(PuppetTransport(host.hear), record=recorder.record).events():
            if isinstance(event, HostOutput):
                host.tell("shown", event.offset + len(event.data))
            elif isinstance(event, HostResult):
                host.tell("verdict", PIECES * PIECE)
