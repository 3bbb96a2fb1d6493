"""What commands that choose hosts have in common: the options, and what they come to.

@click.command()
@selection_options
def command(selection: SelectionOptions) -> int:
    chosen = select(selection)
    click.echo(chosen.routes.describe(), err=True)
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import click

from nile.cli.completing import group_names, host_sets
from nile.errors import UsageError
from nile.topology.durations import WEEK_S, YEAR_S, seconds

if TYPE_CHECKING:
    from nile.topology.model import Plan
    from nile.topology.routes import Routes

    _SecondsType = click.ParamType[float]
else:
    _SecondsType = click.ParamType  # which older clicks don't let one subscribe

F = TypeVar("F", bound=Callable[..., Any])

MOST_DESCRIPTORS = 65536


@dataclass(frozen=True, slots=True)
class SelectionOptions:
    """The values of the options as they were given."""

    routes: str | None = None
    hosts: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    everything: bool = False
    user: str | None = None
    connect_timeout_s: float | None = None
    ssh_options: tuple[str, ...] = ()
    branches: int | None = None
    parallel: int | None = None
    stages: int | None = None
    tree: str | None = None
    hostfiles: tuple[str, ...] = ()
    inventories: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Selection:
    """Routes under the command line's word, the hosts asked for, and the tree for them."""

    routes: Routes
    hosts: tuple[str, ...]
    plan: Plan


class Seconds(_SecondsType):
    """A duration: a plain number of seconds, or one with a unit (500ms, 10s, 2m, 1h); at most `most_s`."""

    name = "duration"

    def __init__(self, most_s: float = YEAR_S) -> None:
        self._most_s = most_s

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds, above 0."""
        from nile.topology.refusal import Refusal

        if isinstance(value, float):
            return value
        try:
            return seconds(f"{value}s" if str(value)[-1:].isdigit() else str(value), self._most_s)
        except Refusal as refusal:
            self.fail(f"{refusal.message}; {refusal.remedy}", param, ctx)


_COUNT = click.IntRange(min=1)

_FROM_FILES = (
    click.option(
        "--hostfile",
        "hostfiles",
        metavar="FILE",
        multiple=True,
        type=click.Path(),
        help="Hosts from a file, one host set a line; - is standard input.",
    ),
    click.option(
        "--inventory",
        "inventories",
        metavar="FILE",
        multiple=True,
        type=click.Path(),
        help="More hosts and groups, from an Ansible inventory (INI or YAML) or a genders file.",
    ),
)

_OPTIONS = (
    click.option(
        "-r",
        "--routes",
        metavar="FILE",
        type=click.Path(),
        help="Route file, or lab[:NAME]. Default: $NILE_ROUTES, ./nile.yaml, ~/.config/nile, /etc/nile.",
    ),
    click.option(
        "-w",
        "--hosts",
        metavar="HOSTS",
        multiple=True,
        shell_complete=host_sets,
        help="Hosts, as n[1-9], @group, @source:group, 'db*', with , ! & ^ between them.",
    ),
    click.option("-x", "--exclude", metavar="HOSTS", multiple=True, help="Leave these hosts out."),
    click.option(
        "-g",
        "--group",
        "groups",
        metavar="GROUP",
        multiple=True,
        shell_complete=group_names,
        help="The hosts of a group.",
    ),
    click.option("-a", "--all", "everything", is_flag=True, help="All hosts of the route file."),
    click.option("-l", "--user", metavar="USER", help="Log in as this user."),
    click.option(
        "-t",
        "--connect-timeout",
        "connect_timeout_s",
        metavar="S",
        type=Seconds(WEEK_S),
        help="For one whole login.",
    ),
    click.option(
        "-o",
        "ssh_options",
        metavar="KEYWORD=VALUE",
        multiple=True,
        help="An ssh option, as in ssh_config(5).",
    ),
    click.option("--branches", metavar="N", type=_COUNT, help="Children of one node."),
    click.option("--parallel", metavar="N", type=_COUNT, help="Logins that one node runs at a time."),
    click.option("--stages", metavar="N", type=click.IntRange(1, 100), help="Depth of the tree."),
    click.option("--tree", type=click.Choice(["auto", "flat", "explicit"]), help="Who shapes the tree."),
)


_LONG_ONLY = (
    click.option(
        "--routes",
        metavar="FILE",
        type=click.Path(),
        help="Route file, or lab[:NAME]. Default: $NILE_ROUTES, ./nile.yaml, ~/.config/nile, /etc/nile.",
    ),
    click.option(
        "-w", "--hosts", metavar="HOSTS", multiple=True, help="Hosts, as n[1-9], @group, 'db*', with , ! & ^."
    ),
    click.option("--exclude-hosts", "exclude", metavar="HOSTS", multiple=True, help="Leave these hosts out."),
    click.option("--group", "groups", metavar="GROUP", multiple=True, help="The hosts of a group."),
    click.option("--all", "everything", is_flag=True, help="All hosts of the route file."),
    click.option("--user", metavar="USER", help="Log in as this user."),
    click.option(
        "--connect-timeout",
        "connect_timeout_s",
        metavar="S",
        type=Seconds(WEEK_S),
        help="For one whole login.",
    ),
    click.option(
        "--ssh-option", "ssh_options", metavar="KEYWORD=VALUE", multiple=True, help="As in ssh_config(5)."
    ),
)
"""The same for commands whose short letters are those of rsync(1)."""


def selection_options(function: F) -> F:
    """Give a command the options that choose hosts; it gets them as `selection=SelectionOptions(...)`."""
    return _with_options(function, _OPTIONS + _FROM_FILES)


def long_selection_options(function: F) -> F:
    """The same, without short letters but -w."""
    return _with_options(function, _LONG_ONLY + _OPTIONS[-4:] + _FROM_FILES)


def _with_options(function: F, options: Sequence[Callable[[Any], Any]]) -> F:
    names = SelectionOptions.__dataclass_fields__

    @functools.wraps(function)
    def wrapper(**given: Any) -> Any:
        selection = SelectionOptions(**{name: given.pop(name) for name in names})
        return function(selection=selection, **given)

    wrapped: Any = wrapper
    for option in reversed(options):
        wrapped = option(wrapped)
    result: F = wrapped
    return result


def load_selected(options: SelectionOptions) -> Routes:
    """The routes that the options name, with their overrides; defaults where there is no file."""
    from nile.options import SshOptions
    from nile.topology.finding import read_routes
    from nile.topology.model import TreeMode
    from nile.topology.ssh_words import parse_ssh_options

    routes = read_routes(options.routes, options.inventories)
    ssh, connect_s = parse_ssh_options(options.ssh_options)
    connect_s = options.connect_timeout_s or connect_s
    if options.tree == TreeMode.EXPLICIT and not routes.drawn:
        raise UsageError(
            "there is no explicit tree",
            where="--tree explicit",
            remedy="draw one as `tree:` in the route file",
        )
    limits = {
        name: value
        for name in ("branches", "parallel", "stages")
        if (value := getattr(options, name)) is not None
    }
    return routes.override(
        ssh=SshOptions(user=options.user).over(ssh),
        limits=replace(routes.limits, **limits),
        timeouts=replace(routes.timeouts, connect_s=connect_s) if connect_s else None,
        tree=TreeMode(options.tree) if options.tree else None,
    )


def select(options: SelectionOptions) -> Selection:
    """Routes, hosts and plan of the options; raises `UsageError` where they name no host or admit no tree."""
    from nile.topology.plan import plan

    routes = load_selected(options)
    hosts = choose_hosts(options, routes)
    return Selection(routes, hosts, plan(routes, hosts))


def choose_hosts(options: SelectionOptions, routes: Routes) -> tuple[str, ...]:
    """The hosts that the options name, without those of -x: in their order, each once, at least one."""
    if not (options.everything or options.groups or options.hosts or options.hostfiles):
        remedy = "name hosts with -w, a group with -g, or all of the route file with -a"
        raise UsageError("no hosts given", remedy=remedy)
    chosen: dict[str, None] = {}
    if options.everything:
        chosen.update(dict.fromkeys(_everything(routes)))
    for group in options.groups:
        chosen.update(dict.fromkeys(expand(routes, "@" + group.removeprefix("@"), f"-g {group}")))
    for text in options.hosts:
        chosen.update(dict.fromkeys(expand(routes, text, f"-w {text}")))
    for file in options.hostfiles:
        chosen.update(dict.fromkeys(_hostfile(routes, file)))
    for text in options.exclude:
        for name in expand(routes, text, f"-x {text}", relays_too=True):
            chosen.pop(name, None)
    if not chosen:
        raise UsageError("no hosts are left", where="-x", remedy="-x takes all chosen hosts out again")
    return tuple(chosen)


def _hostfile(routes: Routes, file: str) -> Sequence[str]:
    from pathlib import Path

    from nile.topology.hostfile import read_hostfile
    from nile.topology.textfile import read_text

    if file != "-":
        return read_hostfile(read_text(Path(file), "a file of hosts"), file, routes.host_sets())
    if sys.stdin is None:
        raise UsageError(
            "there is no standard input", where="--hostfile -", remedy="it was closed: give it one"
        )
    text = sys.stdin.buffer.read().decode(errors="replace")
    return read_hostfile(text, "standard input", routes.host_sets())


def _everything(routes: Routes) -> Sequence[str]:
    if routes.source is None and not routes.inventories:
        raise UsageError(
            "all hosts of what?", where="-a", remedy="give a route file with -r, or name hosts with -w"
        )
    if not (names := routes.everything()):
        raise UsageError(f"{routes.source} names no hosts", where="-a", remedy="add groups or hosts to it")
    return names


def expand(routes: Routes, text: str, where: str, *, relays_too: bool = False) -> Sequence[str]:
    """The hosts of a set that `where` on the command line has; raises `UsageError` where it is none."""
    from nile.topology.refusal import Refusal

    try:
        return routes.host_sets(relays_too=relays_too).expand(text)
    except Refusal as refusal:
        raise refusal.usage_error(where) from refusal


def allow_descriptors() -> None:
    """As many open files as this user may have: a login of the root takes a few, a namespace of a lab one."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MOST_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < enough:
        resource.setrlimit(resource.RLIMIT_NOFILE, (enough, hard))
