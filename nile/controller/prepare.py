"""From a plan and what to run to an engine: logins resolved, keys at hand."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nile.agent.handshake import Bundle
from nile.bootstrap import Kept, KeptBundle
from nile.cascade import CascadeOptions, Heritage, Job, Neighbours, Worker
from nile.cascade.tree import Tree
from nile.controller.audit import Audit
from nile.controller.engine import Engine, EngineOptions
from nile.errors import UsageError
from nile.events import Event
from nile.options import ExecOptions, Signing, SshClient
from nile.topology.automatic import rack
from nile.topology.model import ROOT_ID, Plan
from nile.topology.places import cache_directory
from nile.topology.reach import can_log_in, may_log_in
from nile.transport.base import ResolvedLogin
from nile.transport.keys import Ask, KeyRing
from nile.transport.passwords import Entitled, Passwords
from nile.transport.remedies import remedy_for
from nile.transport.resolve import resolve_logins
from nile.transport.root import RootTransport
from nile.transport.signing import SigningAuthority
from nile.transport.sshconfig import check_relayed_delegation

AskPassword = Callable[[Collection[Entitled]], Passwords]
"""Gives the password, for these logins and no others, if it has to by asking for it.

Raises CredentialsError; UsageError where it never had to, and there are none.
"""
MakeJob = Callable[[Neighbours, Tree], Job]


def prepare(
    run: str,
    plan: Plan,
    hosts: Sequence[str],
    options: ExecOptions,
    record: Callable[[Sequence[Event]], None],
    ask: Ask | None,
    *,
    relays_only: bool = False,
    notices: list[str] | None = None,
    take_over: Callable[[], Heritage] | None = None,
    check_ours: Callable[[], None] = lambda: None,
    observe: Callable[[Sequence[Event]], None] = lambda _: None,
    job: MakeJob | None = None,
    swarms: bool = False,
    password: AskPassword | None = None,
) -> Engine:
    """An engine that is ready to go. `hosts` are the asked ones, in the order of their ranks.

    With `take_over` it goes on with a run whose root died: that is called last,
    once nothing can keep this root from it any more. `check_ours` raises
    TakenOverError where another root did so with this very run; `observe` is told of all events.
    A `job` is what the run's workers are told to do, in place of a command;
    where it `swarms` they come with what that takes.
    `password` gives what hosts get that take no key, where the root itself logs in.
    With `relays_only` no asked host is logged in to, only those above them.

    Resolves every login (ssh configuration, host keys, identities); raises the
    UsageErrors of that before any host is touched. Lines for the user go to `notices`.
    """
    if take_over is None:
        _check_tickets(plan)
    ring = KeyRing(ask, spare=password is not None)
    keyless = password is not None
    logins = resolve_logins(list(plan.specs.values()), ring, notices=notices, keyless=keyless)
    if take_over is not None:
        _check_known(run, logins)
    code = _Code.made_ahead(options, worker=job is not None)
    worker = _worker(swarms=swarms) if job else None
    audit = Audit.of(options) if plan.audit and not relays_only else None
    passwords = password(_entitled(plan, logins, notices)) if password is not None else None
    heritage = take_over() if take_over is not None else None
    if audit:
        audit.say(run, hosts, options, again=heritage is not None)
    cascade = CascadeOptions(
        run=run,
        exec=options,
        logins={name: plan_login(login) for name, login in logins.items()},
        hosts=tuple(hosts),
        started_at=time.time() - (heritage.elapsed_s if heritage else 0.0),
        relays_only=relays_only,
        remedy=lambda code, host, reason: remedy_for(code, logins[host], reason),
        heritage=heritage,
        worker=worker,
        job=functools.partial(job, neighbours(plan, logins)) if job else None,
        audit={"by": audit.by, "sha256": audit.sha256} if audit else None,
        command_code=code.command,
        second_warden=code.second_warden,
        shell_code=lambda: code.shell,
    )
    return Engine(
        EngineOptions(
            plan=plan,
            cascade=cascade,
            logins=logins,
            transport=lambda: RootTransport(ring, passwords=passwords),
            signatory=SigningAuthority(ring),
            record=record,
            bundle=lambda: code.bundle,
            carrier_code=lambda: code.carrier,
            check_ours=check_ours,
            observe=observe,
            passwords=passwords,
        )
    )


def _check_tickets(plan: Plan) -> None:
    """Nobody below a relay is to get a ticket that the relay wouldn't give."""
    for node in plan.nodes:
        if node.parent != ROOT_ID:
            check_relayed_delegation(plan.specs[node.host])


def _check_known(run: str, logins: Mapping[str, ResolvedLogin]) -> None:
    """Whoever takes a run over can log in to some of its hosts."""
    if not any(login.known_hosts for login in logins.values()):
        raise UsageError(
            "no host key of any of its hosts is known here, so nobody could be logged in to",
            where=f"run {run}",
            remedy="attach as the user who started it, with the same ssh configuration, within the lease",
        )


@dataclass(frozen=True, slots=True)
class _Code:
    """All that a run may send to its hosts, from before it begins: its loop has no time to pack."""

    bundle: Bundle
    carrier: Mapping[str, bytes]
    shell: Mapping[str, bytes]
    command: Mapping[str, bytes]
    second_warden: bytes

    @classmethod
    def made_ahead(cls, options: ExecOptions, *, worker: bool) -> _Code:
        kept, outfit = Kept(cache_directory()), options.outfit
        bundle = KeptBundle(kept)
        bundle.have_all()
        command = kept.command_code(
            feed=options.stdin or worker,
            outfit=options.outfitted,
            sandbox=outfit.sandbox is not None,
            sudo=outfit.sudo is not None,
        )
        second_warden = b"" if outfit.sudo is None else kept.second_warden()
        return cls(bundle, kept.carrier_code(), kept.shell_code(), command, second_warden)


def _entitled(
    plan: Plan, logins: Mapping[str, ResolvedLogin], notices: list[str] | None
) -> Collection[Entitled]:
    """The logins that may have the user's password: those that the plan has the root make itself.

    A spare gateway is one of them where the root could call it up. Whoever comes to the root later, since
    a relay couldn't log in to it or died, gets none.
    """
    first = [node.host for node in plan.nodes if node.parent == ROOT_ID]
    spares = [node.host for node in plan.spares if can_log_in(None, plan.specs[node.host])]
    able = [
        login
        for login in map(logins.__getitem__, (*first, *spares))
        if login.client is not SshClient.OPENSSH and login.password_methods
    ]
    others = sorted(set(first) - {login.host for login in able})
    if able and others and notices is not None:
        more = f" and {len(others) - 1} more" if others[1:] else ""
        notices.append(
            f"no password is given to {others[0]}{more}: not by OpenSSH's client, nor against ssh_config"
        )
    return {(login.host, login.user) for login in able}


def _worker(*, swarms: bool) -> Worker:
    from nile.bootstrap.program import COMMAND  # few runs have any

    kept = Kept(cache_directory())
    program, own = kept.program(swarms=swarms), kept.program(swarms=swarms, root=True)
    return Worker(COMMAND, program, kept.reach_code(), own)


def neighbours(plan: Plan, logins: Mapping[str, ResolvedLogin]) -> Neighbours:
    """How nodes of a plan find each other."""

    def address(giver: int, taker: int) -> str:
        """From outside the root's way, from any host the inside's."""
        login = logins[plan.node(taker).host]
        return login.hostname_root if giver == ROOT_ID else login.hostname_inside

    def login(giver: int, taker: int) -> dict[str, Any] | None:
        if not may_log_in(plan, giver, taker):
            return None
        return {**plan_login(logins[plan.node(taker).host]), "connect": plan.timeouts.connect_s}

    return Neighbours(address, login, lambda node_id: rack(plan.specs[plan.node(node_id).host]))


def plan_login(login: ResolvedLogin) -> dict[str, Any]:
    """What a relay needs for this login (see nile.agent.logins.ssh_argv)."""
    return {
        "address": login.hostname_inside,
        "port": login.port,
        "user": login.user,
        "alias": login.host_key_alias,
        "options": list(login.relay_options),
        "known_hosts": list(login.known_hosts),
        "carry": login.signing is Signing.THROUGH_ROOT,
        "identities": [[key.blob, key.comment] for key in login.identities],
    }
