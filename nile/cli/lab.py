"""`nile lab`: a cluster on this machine."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any, NoReturn

import click

from nile.cli.common import allow_descriptors
from nile.errors import LabError

if TYPE_CHECKING:
    from nile.lab import HostStatus, Lab, LabSpec

NAME_OPTION = click.option(
    "--name", default="lab", show_default=True, metavar="NAME", help="Which lab; several can be up."
)


@click.group("lab")
def command() -> None:
    """Bring up a cluster on this machine, and break it.

    Hosts are named h001, h002, ...; HOSTS is a host set such as 'h[001-003]'.
    """


def _open(name: str) -> Lab:
    from nile.lab import Lab, directory_of

    return Lab.open(directory_of(name))


@command.command()
@NAME_OPTION
@click.option("--hosts", "-n", default=12, show_default=True, metavar="N", help="How many hosts.")
@click.option(
    "--backend",
    type=click.Choice(["loopback", "netns"]),
    default="loopback",
    show_default=True,
    help="Processes on loopback addresses, or (root) namespaces with a real sshd.",
)
@click.option("--port", type=int, metavar="PORT", help="ssh port [2222; netns: 22].")
@click.option("--network", metavar="127.N", help="loopback: the hosts' network [follows from the name].")
@click.option("--switches", default=1, show_default=True, metavar="S", help="Switches that share the hosts.")
@click.option("--rate", metavar="RATE", help="netns: speed of each host's port, as 200mbit.")
@click.option("--uplink", metavar="RATE", help="netns: speed of each switch's uplink.")
@click.option("--delay-login", default=0.0, metavar="SECONDS", help="Wait before each session's command.")
@click.option("--boot-time", default=0.0, metavar="SECONDS", help="How long a host that reboots stays away.")
@click.option(
    "--python",
    "pythons",
    multiple=True,
    metavar="WHICH=PATH",
    help="netns: python3 of hosts. WHICH is a host set, or a version as 3.6; versions are dealt in turn.",
)
@click.option("--no-python", default="", metavar="HOSTS", help="netns: hosts without any Python.")
@click.option("--max-startups", metavar="N:P:M", help="netns: sshd's MaxStartups [10000:30:20000].")
def up(name: str, backend: str, pythons: tuple[str, ...], **options: Any) -> None:
    """Bring a lab up."""
    import time

    from nile.lab import Lab, directory_of

    allow_descriptors()
    began = time.monotonic()
    lab = Lab.up(_spec(backend, pythons, options), directory_of(name))
    click.echo(_welcome(name, lab, time.monotonic() - began))


def _spec(backend: str, pythons: tuple[str, ...], options: dict[str, Any]) -> LabSpec:
    from nile.lab import BackendName, LabSpec

    values = {
        key: value
        for key, value in options.items()
        if key not in ("delay_login", "boot_time", "max_startups")
    }
    if options["max_startups"] is not None:
        values["max_startups"] = options["max_startups"]
    return LabSpec(
        backend=BackendName(backend),
        delay_login_s=options["delay_login"],
        boot_s=options["boot_time"],
        python=dict(_pair(text) for text in pythons),
        **values,
    )


def _pair(text: str) -> tuple[str, str]:
    which, equals, path = text.partition("=")
    if not (which and equals and path):
        raise LabError(
            f"{text!r} doesn't say which hosts get which Python",
            where="--python",
            remedy="write 3.6=/usr/bin/python3.6 or 'h[001-003]=/opt/bin/python3'",
        )
    return which, path


def _welcome(name: str, lab: Lab, took_s: float) -> str:
    from nile.lab.files import fold

    routes = name if name == "lab" else f"lab:{name}"
    call = f"nile exec -r {routes} -a -- hostname"
    which = "" if name == "lab" else f"--name {name} "
    at_root = "" if lab.spec.backend == "loopback" else f"nile lab root {which}-- "
    hosts = f"{len(lab.names)} hosts {fold(lab.names)} ({lab.spec.backend})"
    return (
        f"lab {name!r} is up in {took_s:.1f} s: {hosts}\nroutes: {lab.routes_file}\ntry:    {at_root}{call}"
    )


@command.command()
@NAME_OPTION
def down(name: str) -> None:
    """Take a lab down; also one that crashed on its way up. Nothing is left of it."""
    from nile.lab import directory_of
    from nile.lab import down as clear

    allow_descriptors()
    found = clear(directory_of(name))
    click.echo(f"lab {name!r} is down" if found else f"there was no lab {name!r}")


@command.command()
@NAME_OPTION
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def status(name: str, as_json: bool) -> None:
    """Show which hosts live, are frozen or cut, and where ssh answers."""
    lab = _open(name)
    hosts = lab.status()
    if as_json:
        click.echo(json.dumps(_status_json(name, lab, hosts)))
    else:
        _show(hosts)


def _status_json(name: str, lab: Lab, hosts: list[HostStatus]) -> dict[str, Any]:
    return {
        "name": name,
        "backend": str(lab.spec.backend),
        "routes": str(lab.routes_file),
        "hosts": [
            {
                "host": host.host,
                "address": host.address,
                "alive": host.alive,
                "frozen": host.frozen,
                "cut": host.cut,
                "slow": host.slow,
                "answers": host.answers,
            }
            for host in hosts
        ],
    }


def _show(hosts: list[HostStatus]) -> None:
    from nile.lab.files import fold

    groups: dict[str, list[str]] = {}
    for host in hosts:
        groups.setdefault(host.state, []).append(host.host)
    for state, names in sorted(groups.items(), key=lambda item: (item[0] != "up", item[0])):
        click.echo(f"{state}: {fold(tuple(names))} ({len(names)})")


@command.command(context_settings={"ignore_unknown_options": True})
@NAME_OPTION
@click.argument("argv", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- CMD...")
def root(name: str, argv: tuple[str, ...]) -> NoReturn:
    """Run a command on the lab's root machine, with the lab's route file in $NILE_ROUTES."""
    lab = _open(name)
    words = lab.root_argv(argv)
    sys.stdout.flush()
    env = lab.root_environment()
    try:
        os.execvpe(words[0], words, env)
    except OSError as error:
        raise LabError(f"can't run {words[0]!r}: {error.strerror}", where="nile lab root") from None


def _fault(word: str, text: str) -> None:
    @command.command(word, help=text, short_help=text.partition(".")[0] + ".")
    @NAME_OPTION
    @click.argument("hosts")
    def act(name: str, hosts: str) -> None:
        getattr(_open(name), word)(hosts)


_fault("crash", "Kill everything on HOSTS at once. `mend` starts them again.")
_fault("reboot", "Kill everything on HOSTS, and boot them anew. On netns hosts `reboot` does the same.")
_fault("freeze", "Stop every process on HOSTS.")
_fault("thaw", "Let HOSTS go on after `freeze`.")
_fault("cut", "Let what HOSTS send and get vanish, without a reset.")
_fault("slow", "Give HOSTS a quarter of the rate of their ports (netns, with --rate).")
_fault("mend", "Undo `cut` and `slow`, and start HOSTS that crashed again, as after a reboot.")
