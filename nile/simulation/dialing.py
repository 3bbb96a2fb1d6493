"""Simulated logins: from a parent's `ssh` to a first stage that announces itself and becomes an agent."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

from nile.simulation.clock import Timer
from nile.simulation.cores import Cores
from nile.simulation.hosts import SILENT, SimHost
from nile.simulation.pipes import Connection, Ground, Pipe, Place, Wire

if TYPE_CHECKING:
    from nile.simulation.agent import SimAgent

LOGIN_PACKETS = 24
"""Packets of a login that wait for each other: versions, key exchange, authentication, session."""
SYN_S = 1.0
"""When a lost SYN, or its answer, is sent again (RFC 6298)."""


class Caller(Protocol):
    """Who logs in: told once how it went."""

    def authenticate(self, dialled: Dialled, go_on: Callable[[], None]) -> None:
        """The host answered: go on once there is what it asks for."""

    def opened(self, dialled: Dialled, connection: Connection) -> None:
        """There is a session, in which the first stage runs."""

    def failed(self, dialled: Dialled, code: str, reason: str, retry: bool) -> None:
        """There is none, or no more."""


class Dialled:
    """One login, and the session that comes of it."""

    def __init__(self, child_id: int, caller: Caller, place: Place) -> None:
        self.child_id = child_id
        self.place = place
        self.caller = caller
        self.timer: Timer | None = None
        self.connection: Connection | None = None
        self.closed = False

    @property
    def down(self) -> Pipe:
        """Toward the child."""
        assert self.connection is not None
        return self.connection.down

    def close(self) -> None:
        """End it, in whatever state it is."""
        self.closed = True
        if self.timer is not None:
            self.timer.cancel()
        if self.connection is not None:
            self.connection.close()

    def cut(self) -> None:
        """Nothing goes through any more, and nobody is told."""
        self.closed = True
        if self.timer is not None:
            self.timer.cancel()
        if self.connection is not None:
            self.connection.cut()


class Dialer:
    """Knows all hosts. `become(host, connection)` makes an agent; `wire` is what cables are like.

    `cores`, if there are any, are shared by all hosts, and each login takes `cpu_s` seconds of one.
    """

    def __init__(
        self,
        ground: Ground,
        rng: random.Random,
        hosts: Mapping[int, SimHost],
        become: Callable[[SimHost, Connection], SimAgent],
        wire: Wire,
        cores: Cores | None = None,
        cpu_s: float = 0.0,
    ) -> None:
        self.rng = rng
        self._cores = cores
        self._cpu_s = cpu_s
        self.most_logins = 0
        self.most_parallel = 0
        self._ground = ground
        self._clock = ground.clock
        self._hosts = hosts
        self._become = become
        self._wire = wire
        self._under_way: dict[Caller, set[Dialled]] = {}
        self._logins = 0
        self._callers: dict[int, list[int]] = {}
        self.trespasses: list[tuple[int, int]] = []
        """Logins that no gateway lets through: from whom, to whom."""

    def callers(self, child_id: int) -> list[int]:
        """Ids of those who logged in to a host, or tried to, each once, in order."""
        return list(dict.fromkeys(self._callers.get(child_id, [])))

    def dial(self, caller: Caller, place: Place, child_id: int, command: str) -> Dialled:
        """Log in from `place`; the caller is told how it went."""
        dialled = Dialled(child_id, caller, place)
        self._begun(dialled)
        host = self._hosts[child_id]
        host.claims.attempts += 1
        self._callers.setdefault(child_id, []).append(place.id)
        if host.login.only is not None and place.id not in host.login.only:
            self.trespasses.append((place.id, child_id))
        wire = host.wire or self._wire
        resent_s = wire.resent_s(self.rng, 2, SYN_S) + wire.resent_s(self.rng, LOGIN_PACKETS)
        dialled.timer = self._clock.after(
            host.login.seconds + resent_s, self._work, caller, place, dialled, command
        )
        return dialled

    def _work(self, caller: Caller, place: Place, dialled: Dialled, command: str) -> None:
        """What a login needs of a processor, once it has waited for all else."""
        if self._cores is None:
            self._decide(caller, place, dialled, command)
        else:
            self._cores.run(self._cpu_s, functools.partial(self._decide, caller, place, dialled, command))

    def _begun(self, dialled: Dialled) -> None:
        under_way = self._under_way.setdefault(dialled.caller, set())
        under_way.add(dialled)
        self.most_parallel = max(self.most_parallel, len(under_way))
        if not dialled.place.struck:  # one that is cut off counts no more, at the root
            self._logins += 1
            self.most_logins = max(self.most_logins, self._logins)

    def decided(self, dialled: Dialled) -> None:
        """This login is no more under way: it succeeded, failed or was given up."""
        under_way = self._under_way[dialled.caller]
        if dialled in under_way:
            under_way.discard(dialled)
            self._logins -= not dialled.place.struck

    def _decide(self, caller: Caller, place: Place, dialled: Dialled, command: str) -> None:
        host = self._hosts[dialled.child_id]
        behaviour = host.login
        again = functools.partial(self._decide, caller, place, dialled, command)
        code = behaviour.code_for(place.id)
        if dialled.closed or behaviour.silent or not host.powered or code == SILENT:
            return
        if place.frozen or host.frozen:
            (place if place.frozen else host).waiting.append(again)
        elif not self._ground.network.connects(place.id, host.id):
            self._ground.network.when_mended(again)
        elif behaviour.startups >= host.claims.attempts:
            caller.failed(dialled, "startups", "kex_exchange_identification: reset", True)
        elif code is not None:
            caller.failed(dialled, code, f"refused: {code}", False)
        else:
            caller.authenticate(dialled, lambda: self._open(caller, place, dialled, command))

    def _open(self, caller: Caller, place: Place, dialled: Dialled, command: str) -> None:
        host = self._hosts[dialled.child_id]
        if dialled.closed or host.login.hangs:
            return
        connection = Connection(self._ground, host.wire or self._wire, place, host)
        dialled.connection = connection
        caller.opened(dialled, connection)
        FirstStage(host, connection, command.split()[-1], self._become)


class FirstStage:
    """Announces itself, reads the bundle, and becomes an agent."""

    def __init__(
        self,
        host: SimHost,
        connection: Connection,
        nonce: str,
        become: Callable[[SimHost, Connection], SimAgent],
    ) -> None:
        self._host = host
        self._connection = connection
        self._become = become
        self._buffer = b""
        connection.down.on_data = self._received
        connection.down.on_end = connection.up.close
        words = "sh" if host.login.no_python else "py 00 3.11.2"
        connection.up.write(host.login.noise + f"\n{nonce} {words}\n".encode())
        if host.login.no_python:
            connection.close()

    def _received(self, data: bytes) -> None:
        self._buffer += data
        line, newline, rest = self._buffer.partition(b"\n")
        if not newline or len(rest) < int(line):
            return
        if not self._host.powered:
            return
        agent = self._become(self._host, self._connection)
        if rest[int(line) :]:
            agent.received(rest[int(line) :])
