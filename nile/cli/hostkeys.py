"""`nile hostkeys`: look at hosts' keys, and write those that a person has compared to known_hosts."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from nile.cli.common import SelectionOptions, choose_hosts, load_selected, selection_options
from nile.cli.passwording import login_password, password_options

if TYPE_CHECKING:
    from nile.controller import AskPassword
    from nile.topology.model import HostSpec
    from nile.topology.routes import Routes
    from nile.transport.base import LoginFailed, ResolvedLogin
    from nile.transport.hostkeys import HostKey, Via

EXIT_REFUSED = 1
EXIT_UNREACHABLE = 4


@click.command()
@selection_options
@password_options
@click.option("--yes", is_flag=True, help="Write without asking: only where the network is trusted.")
def command(selection: SelectionOptions, yes: bool, **given: Any) -> int:
    """Collect host keys, show their fingerprints, and write new ones to known_hosts after a yes.

    The hosts aren't logged in to; gateways before them are. Compare the fingerprints with those that
    the hosts' consoles show (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub). A key that differs
    from a known one is never written. Exit code 4 if a host showed no key, 1 if a key was refused
    or not written.
    """
    routes = load_selected(selection)
    hosts = choose_hosts(selection, routes)
    click.echo(routes.describe(), err=True)
    password = login_password(given)
    codes = [_one_level(routes, specs, yes, password) for specs in _by_level(routes, hosts)]
    return max(codes)


def _by_level(routes: Routes, hosts: Sequence[str]) -> list[list[HostSpec]]:
    """Hosts before those behind them: gateways can only be used once their own keys are known."""
    from nile.topology.reach import levels, zone

    specs = [routes.spec(name) for name in hosts]
    level = levels(specs, routes.spec)
    found: defaultdict[int, list[HostSpec]] = defaultdict(list)
    for spec in specs:
        found[level.get(zone(spec), 1)].append(spec)
    return [found[number] for number in sorted(found)]


def _one_level(routes: Routes, specs: Sequence[HostSpec], yes: bool, password: AskPassword | None) -> int:
    """Collect, show and write the keys of hosts with as many gateways before them; an exit code."""
    behind = bool(specs[0].via)
    found = collect_behind(routes, specs, password) if behind else collect_keys(routes, specs, {})
    failed = {spec.name: problem for spec in specs if isinstance(problem := found[spec.name], Exception)}
    keys = [key for spec in specs if not isinstance(key := found[spec.name], Exception)]
    _show(keys, failed)
    written = _write([key for key in keys if _is_new(key)], yes)
    if failed:
        return EXIT_UNREACHABLE
    return EXIT_REFUSED if any(map(_is_refused, keys)) or not written else 0


def collect_behind(
    routes: Routes, specs: Sequence[HostSpec], password: AskPassword | None = None
) -> dict[str, HostKey | LoginFailed]:
    """The keys of hosts behind gateways, each tried through all of its gateways until one answers.

    `password` is for the first of these gateways.
    """
    from nile.cli.secrets import ask_secret
    from nile.controller import Gateways
    from nile.topology.behind import plan_behind

    found: dict[str, HostKey | LoginFailed] = {}
    for choice in range(max(len(spec.via) for spec in specs)):
        left = [spec for spec in specs if isinstance(found.get(spec.name), Exception | None)]
        if left:
            plan = plan_behind(left, routes.spec, routes.limits, routes.timeouts, choice=choice)
            with Gateways(plan, ask_secret, password) as gateways:
                found |= collect_keys(routes, left, {spec.name: gateways.open for spec in left})
    return found


def collect_keys(
    routes: Routes, specs: Sequence[HostSpec], via: Mapping[str, Via]
) -> dict[str, HostKey | LoginFailed]:
    """The keys of hosts by name; `via` has the ways to those behind gateways."""
    from nile.transport.resolve import resolve_logins

    notices: list[str] = []
    logins = resolve_logins(specs, None, notices=notices)
    for notice in notices:
        click.echo(notice, err=True)
    return asyncio.run(_collect(routes, list(logins.values()), via))


async def _collect(
    routes: Routes, logins: Sequence[ResolvedLogin], via: Mapping[str, Via]
) -> dict[str, HostKey | LoginFailed]:
    from nile.transport.asyncssh_client import AsyncsshTransport
    from nile.transport.hostkeys import collect_all
    from nile.transport.keys import KeyRing

    transport = AsyncsshTransport(KeyRing())
    try:
        return await collect_all(
            transport,
            logins,
            parallel=routes.limits.parallel,
            connect_s=routes.timeouts.connect_s,
            via=via,
        )
    finally:
        await transport.close()


def _show(keys: Sequence[HostKey], failed: Mapping[str, LoginFailed]) -> None:
    from nile.transport.remedies import known_hosts_name

    for key in keys:
        click.echo(
            f"{key.login.host}: {known_hosts_name(key.login)} {key.kind} {key.fingerprint} {_state(key)}"
        )
    for key in filter(_is_refused, keys):
        click.echo(_warning(key), err=True)
    for name, problem in failed.items():
        click.echo(f"{name}: no key: {problem.reason}", err=True)
        if problem.remedy:
            click.echo(f"  {problem.remedy}", err=True)


def _state(key: HostKey) -> str:
    from nile.transport.hosttrust import Trust

    words = {Trust.TRUSTED: "known", Trust.UNKNOWN: "new", Trust.CHANGED: "CHANGED", Trust.REVOKED: "REVOKED"}
    return words[key.judgement.trust]


def _warning(key: HostKey) -> str:
    from nile.events import Code
    from nile.transport.hosttrust import Trust
    from nile.transport.remedies import remedy_for

    changed = key.judgement.trust is Trust.CHANGED
    code = Code.HOST_KEY_CHANGED if changed else Code.HOST_KEY_REVOKED
    return (
        f"WARNING: {key.login.host}: {key.judgement.why}; it isn't written.\n  {remedy_for(code, key.login)}"
    )


def _write(keys: Sequence[HostKey], yes: bool) -> bool:
    """Write new keys after a yes; False if the answer was no."""
    from pathlib import Path

    from nile.errors import KnownHostsError
    from nile.transport.hostkeys import append

    by_file: defaultdict[str, list[HostKey]] = defaultdict(list)
    for key in keys:
        by_file[key.login.known_hosts_file].append(key)
    for file, new in by_file.items():
        if not file:
            raise KnownHostsError(
                f"there is no file to write the key of {new[0].login.host} to",
                where="UserKnownHostsFile",
                remedy="Name a file in ssh_config or the route file's `options`.",
            )
        if not yes and not _agreed(len(new), file):
            return False
        count = append(Path(file), new, hashed=new[0].login.hash_known_hosts)
        click.echo(f"{count} written to {file}", err=True)
    return True


def _agreed(count: int, file: str) -> bool:
    """A yes from a person; no terminal, no yes."""
    try:
        return click.confirm(f"Did you compare, and shall {count} be written to {file}?", err=True)
    except click.Abort:
        click.echo("", err=True)
        return False


def _is_new(key: HostKey) -> bool:
    return _state(key) == "new"


def _is_refused(key: HostKey) -> bool:
    return _state(key) in ("CHANGED", "REVOKED")
