"""A transport whose host is played by the test: a relay that says what it likes to a real engine."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from nile.agent import wire
from nile.agent.wire import Decoder, Frame
from nile.cascade import CascadeOptions
from nile.controller.engine import Engine, EngineOptions
from nile.controller.prepare import plan_login
from nile.events import Code, Event
from nile.options import ExecOptions, Kex, Limits, Signing, SshClient, Timeouts
from nile.topology.model import HostSpec, Plan, PlanNode
from nile.transport.agentwire import REFUSAL
from nile.transport.base import LoginFailed, PublicKey, ResolvedLogin, SessionSink
from nile.transport.signing import SignReply

RELAY, CHILD = 1, 2
PLAN = Plan(
    nodes=(
        PlanNode(RELAY, "relay", 0, 1, False, (CHILD,)),
        PlanNode(CHILD, "child", RELAY, 2, True, ()),
    ),
    specs={name: HostSpec(name, name, name) for name in ("relay", "child")},
    limits=Limits(),
    timeouts=Timeouts(connect_s=5.0, lease_s=6.0),
)

Script = Callable[["Puppet", Frame], None]


@dataclass(slots=True)
class Puppet:
    """The relay's session. It says its hello, then `script` hears every frame of the root."""

    sink: SessionSink
    script: Script
    early: Sequence[Frame] = ()
    _decoder: Decoder = field(default_factory=lambda: Decoder(wire.MAX_FRAME_DOWN))
    _bundle: bytes = b""
    _left: int = -1

    def begin(self, command: str) -> None:
        """Announce a first stage, and say at once what is to come before the login has returned."""
        nonce = command.split()[-1]
        hello = Frame(wire.HELLO, body=wire.dumps({"protocol": wire.PROTOCOL}))
        frames = b"".join(frame.encode() for frame in (hello, *self.early))
        self.sink.data_received(f"\n{nonce} py 00000000 3.11.2\n".encode() + frames)

    def write(self, data: bytes) -> None:
        """See `nile.transport.base.Session`."""
        data = self._behind_bundle(data)
        for frame in self._decoder.feed(data) if data else []:
            if frame.type == wire.END and not frame.path:
                asyncio.get_running_loop().call_soon(self.close)
            self.script(self, frame)

    def _behind_bundle(self, data: bytes) -> bytes:
        """What comes after the agent's own bytes: a line with their number, then they."""
        if self._left < 0:
            self._bundle += data
            head, newline, data = self._bundle.partition(b"\n")
            if not newline:
                return b""
            self._left = int(head)
        taken = min(self._left, len(data))
        self._left -= taken
        return data[taken:]

    def say(self, kind: int, value: Any = None, *, origin: int = RELAY, epoch: int = 1) -> None:
        """A frame toward the root; bytes travel as they are.

        As from any transport, it comes by a call of the loop's, never from within the root's own `write`.
        """
        body = value if isinstance(value, bytes) else wire.dumps(value)
        frame = Frame(kind, origin, epoch, (), body).encode()
        asyncio.get_running_loop().call_soon(self.sink.data_received, frame)

    def close(self) -> None:
        """See `nile.transport.base.Session`."""
        self.sink.session_closed("closed")


class PuppetTransport:
    """Logs in to the relay only; `over` plays the logins that the root makes through it."""

    def __init__(
        self, script: Script, early: Sequence[Frame] = (), over: Callable[[SessionSink], Puppet] | None = None
    ) -> None:
        self._script = script
        self._early = early
        self._over = over

    async def login(self, login: ResolvedLogin, command: str, sink: SessionSink) -> Puppet:
        """See `nile.transport.base.Transport`. Nothing but the relay can be reached from here."""
        if login.host != "relay":
            raise LoginFailed(Code.NO_ROUTE, "the root has no way to it")
        puppet = Puppet(sink, self._script, self._early)
        puppet.begin(command)
        return puppet

    async def login_over(
        self, login: ResolvedLogin, stream: socket.socket, command: str, sink: SessionSink
    ) -> Puppet:
        """See `nile.transport.base.Transport`."""
        stream.close()
        assert self._over is not None
        puppet = self._over(sink)
        puppet.begin(command)
        return puppet

    async def close(self) -> None:
        """See `nile.transport.base.Transport`."""


class Refusing:
    """Signs nothing."""

    async def sign(
        self, child: ResolvedLogin, binds: Sequence[bytes], request: bytes, budget_left: int
    ) -> SignReply:
        """See `nile.controller.signatures.Signatory`."""
        return SignReply(REFUSAL, Code.SIGNING, "no")

    async def attest(self, key: PublicKey, namespace: str, body: bytes) -> bytes:
        raise AssertionError("nothing is delivered")

    def opened(self, login: ResolvedLogin) -> bytes | None:
        return None


def engine(
    transport: PuppetTransport,
    signatory: Any = None,
    record: Callable[[Sequence[Event]], None] = lambda events: None,
) -> Engine:
    """A real engine over a relay that the test plays, with one asked host below it."""
    logins = {
        name: ResolvedLogin(
            name, name, name, 22, "me", name, (), (), (), SshClient.ASYNCSSH, Kex.FAST, Signing.THROUGH_ROOT
        )
        for name in ("relay", "child")
    }
    cascade = CascadeOptions(
        "r" * 32,
        ExecOptions("true"),
        {name: plan_login(login) for name, login in logins.items()},
        ("child",),
        0.0,
    )
    return Engine(EngineOptions(PLAN, cascade, logins, lambda: transport, signatory or Refusing(), record))


def run(made: Engine, within_s: float = 20.0) -> list[Event]:
    """All events of a run, which has to end by itself in time; raises what it raised."""
    events: list[Event] = []
    errors: list[BaseException] = []

    def follow() -> None:
        try:
            events.extend(event for event in made.events() if event is not None)
        except BaseException as error:  # raised again below
            errors.append(error)

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    thread.join(within_s)
    assert not thread.is_alive(), "the run doesn't end"
    if errors:
        raise errors[0]
    return events
