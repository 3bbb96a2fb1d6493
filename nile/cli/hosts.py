"""`nile hosts`: the hosts and groups of a route file, and what holds for them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from nile.topology.model import HostSpec
    from nile.topology.routes import Routes

SCHEMA = 1
"""Of the JSON output; a change that can break a reader raises it."""


@click.command()
@click.option("-r", "--routes", "option", metavar="FILE", help="Route file, or lab[:NAME].")
@click.option(
    "--inventory", "inventories", metavar="FILE", multiple=True, help="An inventory beside it, or alone."
)
@click.option("-v", "--verbose", is_flag=True, help="One line for each host, with its settings.")
@click.option("--json", "as_json", is_flag=True, help="For programs: one JSON object.")
def command(option: str | None, inventories: tuple[str, ...], verbose: bool, as_json: bool) -> int:
    """List the hosts and groups of a route file, and of inventories."""
    from nile.errors import UsageError
    from nile.topology.finding import read_routes

    routes = read_routes(option, inventories)
    if routes.source is None and not routes.inventories:
        raise UsageError("there is no route file", remedy="give one with -r, or write ./nile.yaml")
    click.echo(routes.describe(), err=True)
    if as_json:
        click.echo(json.dumps(as_dict(routes)))
    else:
        _show(routes, verbose)
    return 0


def as_dict(routes: Routes) -> dict[str, Any]:
    """The contract of `nile hosts --json`; what is null is left to ssh_config."""
    return {
        "schema": SCHEMA,
        "routes": routes.source,
        "hosts": [_host(spec) for spec in routes.hosts.values()],
        "groups": {name: list(hosts) for name, hosts in routes.groups.items()},
        "gateways": _outside(routes),
    }


def _host(spec: HostSpec) -> dict[str, Any]:
    ssh = spec.ssh
    return {
        "host": spec.name,
        "groups": list(spec.groups),
        "address": {"root": spec.address_root, "inside": spec.address_inside},
        "user": ssh.user,
        "port": ssh.port,
        "identity": list(ssh.identity) if ssh.identity else None,
        "options": dict(ssh.options),
        "host_key_alias": spec.host_key_alias,
        "relay": str(spec.relay),
        "switch": spec.switch,
        "site": spec.site,
        "via": list(spec.via),
    }


def _outside(routes: Routes) -> list[str]:
    """Gateways that are named in a `via` only."""
    return sorted({one for spec in routes.hosts.values() for one in spec.via} - routes.hosts.keys())


def _show(routes: Routes, verbose: bool) -> None:
    from nile.topology.hostsets import fold

    if verbose:
        for spec in routes.hosts.values():
            click.echo(_line(spec))
        return
    rows = [(f"@{name}", hosts) for name, hosts in routes.groups.items()]
    grouped = {host for hosts in routes.groups.values() for host in hosts}
    rows.append(("in no group", tuple(host for host in routes.hosts if host not in grouped)))
    rows.append(("gateways only", tuple(_outside(routes))))
    rows = [row for row in rows if row[1]]
    width = max((len(title) for title, _ in rows), default=0)
    for title, hosts in rows:
        click.echo(f"{title:{width}}  {fold(hosts)} ({len(hosts)})")


def _line(spec: HostSpec) -> str:
    """A host and what is said of it, the defaults left out."""
    from nile.topology.hostsets import fold

    ssh = spec.ssh
    said = {
        "groups": ",".join(spec.groups),
        "address": _address(spec),
        "user": ssh.user,
        "port": ssh.port,
        "relay": "" if spec.relay == "yes" else str(spec.relay),
        "switch": spec.switch,
        "site": spec.site,
        "via": fold(spec.via) if spec.via else "",
    }
    return "  ".join([spec.name, *(f"{name}={value}" for name, value in said.items() if value)])


def _address(spec: HostSpec) -> str:
    if spec.address_root == spec.address_inside:
        return "" if spec.address_root == spec.name else spec.address_root
    return f"{spec.address_root}|{spec.address_inside}"
