"""Whole runs on this machine: the real engine and real agents, with shells in place of ssh."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from nile.bootstrap.bundle import command_code
from nile.cascade import CascadeOptions, Job
from nile.cascade.tree import Tree
from nile.controller import Engine, EngineOptions, new_run_id
from nile.events import Event, HostOutput, HostResult, Verdict
from nile.options import ExecOptions, Kex, Limits, Signing, SshClient, Timeouts
from nile.topology.model import HostSpec, Plan, PlanNode
from nile.transport.base import LoginFailed, PublicKey, ResolvedLogin
from nile.transport.signing import SignReply
from tests.support.local import LocalTransport, environment

NAMES = tuple(f"h{number}" for number in range(1, 10))


class NobodySigns:
    """Local shells ask for no signature."""

    async def sign(
        self, child: ResolvedLogin, binds: Sequence[bytes], request: bytes, budget_left: int
    ) -> SignReply:
        raise AssertionError("a shell asked for a signature")

    async def attest(self, key: PublicKey, namespace: str, body: bytes) -> bytes:
        raise AssertionError("nothing is delivered")

    def opened(self, login: ResolvedLogin) -> bytes | None:
        return None


def nine_hosts(timeouts: Timeouts, limits: Limits, not_asked: Sequence[str] = ()) -> Plan:
    """Two stages: h1, h2, h3, and below each of them two more."""
    nodes = []
    for number, name in enumerate(NAMES, start=1):
        relay = number <= 3
        children = (number + 3, number + 6) if relay else ()
        parent = 0 if relay else (number - 1) % 3 + 1
        nodes.append(PlanNode(number, name, parent, 1 if relay else 2, name not in not_asked, children))
    specs = {name: HostSpec(name, name, name) for name in NAMES}
    return Plan(tuple(nodes), specs, limits, timeouts)


def login(name: str) -> ResolvedLogin:
    """A login to nowhere."""
    return ResolvedLogin(
        host=name,
        hostname_root=name,
        hostname_inside=name,
        port=22,
        user="nile",
        host_key_alias=name,
        known_hosts=(),
        identities=(),
        relay_options=(),
        client=SshClient.ASYNCSSH,
        kex=Kex.FAST,
        signing=Signing.AUTO,
    )


def engine(
    directory: Path,
    command: str | ExecOptions,
    *,
    timeouts: Timeouts = Timeouts(lease_s=10.0),  # noqa: B008  (frozen)
    limits: Limits = Limits(),  # noqa: B008
    not_asked: Sequence[str] = (),
    refuse: Mapping[str, LoginFailed] | None = None,
    record: Callable[[Sequence[Event]], None] = lambda events: None,
    job: Callable[[Tree], Job] | None = None,
) -> Engine:
    """An engine for nine hosts that are this machine."""
    plan = nine_hosts(timeouts, limits, not_asked)
    options = command if isinstance(command, ExecOptions) else ExecOptions(command, grace_s=1.0)
    entry = {"port": 22, "user": "nile", "options": [], "known_hosts": [], "identities": [], "carry": False}
    hosts = tuple(node.host for node in plan.asked())
    logins = {name: {**entry, "address": name, "alias": name} for name in NAMES}
    code = command_code(feed=True, outfit=True)
    cascade = CascadeOptions(new_run_id(), options, logins, hosts, time.time(), job=job, command_code=code)
    host = environment(directory)
    return Engine(
        EngineOptions(
            plan=plan,
            cascade=cascade,
            logins={name: login(name) for name in NAMES},
            transport=lambda: LocalTransport(host, refuse),
            signatory=NobodySigns(),
            record=record,
        )
    )


def verdicts(events: Sequence[Event | None]) -> dict[str, Verdict]:
    """The verdict of each host; every one has to have exactly one."""
    results = [event for event in events if isinstance(event, HostResult)]
    found = {result.host: result.verdict for result in results}
    assert len(found) == len(results)
    return found


def output(events: Sequence[Event | None], host: str, stream: str = "stdout") -> bytes:
    """What a host printed; offsets have to be contiguous."""
    data = b""
    for event in events:
        if isinstance(event, HostOutput) and (event.host, event.stream) == (host, stream):
            assert event.offset == len(data)
            data += event.data
    return data


def processes_of(run_directory: Path) -> list[int]:
    """Living processes whose environment names this directory as their home."""
    found = []
    mark = f"HOME={run_directory}".encode()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                words = (entry / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if mark in words:
                found.append(int(entry.name))
    return found
