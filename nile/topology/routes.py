"""The route file as Nile uses it: `load_routes` reads one, `Routes` answers what holds for a host."""

from __future__ import annotations

import gc
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from nile.errors import RouteFileError
from nile.options import Limits, SshOptions, Timeouts
from nile.topology.document import ROUTE_FILE, Document, HostBlock, Settings
from nile.topology.explicit import Drawn, expand_tree, names_of
from nile.topology.groups_conf import system_groups
from nile.topology.hostsets import GroupSource, HostSetError, HostSets, fold, no_groups
from nile.topology.model import HostSpec, RelayRole, TreeMode
from nile.topology.peering import check_peering, pairs_of
from nile.topology.reach import levels, may_relay, zone
from nile.topology.settings import Flat, Group, Resolver, flatten
from nile.topology.textfile import read_text
from nile.topology.yamltree import Invalid, Located, Place, Reader, compose


@dataclass(frozen=True)
class Routes:
    """What is known of hosts: a route file, or the defaults where there is none.

    `hosts` are those that the file names, in its order (gateways named only in
    a `via` are not among them); `spec` knows what holds for any other host too.
    """

    source: str | None = None
    """The file's name as it was given; None where there is none."""
    hosts: Mapping[str, HostSpec] = field(default_factory=dict)
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    timeouts: Timeouts = field(default_factory=Timeouts)
    tree: TreeMode = TreeMode.AUTO
    drawn: tuple[Drawn, ...] = ()
    """The explicit tree, if the file has one."""
    ssh: SshOptions = field(default_factory=SshOptions)
    """What holds for hosts that the file doesn't name."""
    group_source: GroupSource = no_groups
    inventories: tuple[str, ...] = ()
    """Files of other tools that were read, too."""
    remarks: tuple[str, ...] = ()
    """What a user should know of these."""
    peering: frozenset[frozenset[str]] = frozenset()
    """Pairs of sites of which the hosts may be connected to each other in a swarm."""
    audit: bool = True
    """Syslog is told of every run."""

    def spec(self, name: str) -> HostSpec:
        """What holds for a host, named in the file or not."""
        return self.hosts.get(name) or HostSpec(name, name, name, ssh=self.ssh)

    def host_sets(self, *, relays_too: bool = False) -> HostSets:
        """Expands host sets of the user: knows the file's hosts and groups.

        Groups and wildcards leave out hosts that are `relay: only`, unless `relays_too`.
        """
        in_groups = None if relays_too else self._runs_commands
        return HostSets(self.groups, tuple(self.hosts), self.group_source, in_groups)

    def everything(self) -> tuple[str, ...]:
        """All hosts of the file on which commands may run."""
        return tuple(filter(self._runs_commands, self.hosts))

    def _runs_commands(self, name: str) -> bool:
        return self.spec(name).relay is not RelayRole.ONLY

    def override(
        self,
        *,
        ssh: SshOptions | None = None,
        limits: Limits | None = None,
        timeouts: Timeouts | None = None,
        tree: TreeMode | None = None,
    ) -> Routes:
        """These routes under the command line's word: `ssh` goes over every host's, the others replace."""
        changed = replace(
            self, limits=limits or self.limits, timeouts=timeouts or self.timeouts, tree=tree or self.tree
        )
        if ssh is None or ssh == SshOptions():
            return changed
        merged = {
            id(spec.ssh): ssh.over(spec.ssh) for spec in {id(s.ssh): s for s in self.hosts.values()}.values()
        }
        hosts = {name: replace(spec, ssh=merged[id(spec.ssh)]) for name, spec in self.hosts.items()}
        return replace(changed, hosts=hosts, ssh=ssh.over(self.ssh))

    def describe(self) -> str:
        """For stderr: which files are in use, and how many hosts they name; then a line for each remark."""
        if not (files := [*filter(None, [self.source]), *self.inventories]):
            return "routes: no file, defaults in use"
        head = f"routes: {', '.join(files)} ({len(self.hosts)} host{'' if len(self.hosts) == 1 else 's'})"
        return "\n".join([head, *(f"nile: {remark}" for remark in self.remarks)])


def load_routes(
    path: Path, group_source: GroupSource = system_groups, inventories: Sequence[str] = ()
) -> Routes:
    """Read a route file, and inventories besides; raises `RouteFileError` (the first of all errors)."""
    return parse_routes(read_text(path), str(path), group_source, inventories)


def inventory_routes(inventories: Sequence[str], group_source: GroupSource = system_groups) -> Routes:
    """What inventories say, where there is no route file; raises `RouteFileError`."""
    return replace(parse_routes("version: 1", inventories[0], group_source, inventories), source=None)


def parse_routes(
    text: str, name: str, group_source: GroupSource = system_groups, inventories: Sequence[str] = ()
) -> Routes:
    """The routes in a text; `name` is the file's, for errors. Raises `RouteFileError`, the first of all."""
    routes, errors = examine(text, name, group_source, inventories)
    if errors or routes is None:
        raise errors[0]
    return routes


def examine(
    text: str, name: str, group_source: GroupSource = system_groups, inventories: Sequence[str] = ()
) -> tuple[Routes | None, list[RouteFileError]]:
    """The routes in a text, or None and every error that was found, in the order of the file."""
    reader = Reader(name)
    routes = None
    try:
        with _no_collection():
            document = ROUTE_FILE.read(compose(text, reader), reader)
            document, files, remarks = _with_inventories(document, name, inventories, reader)
            routes = _Build(document, reader, group_source).routes()
            routes = replace(routes, inventories=files, remarks=remarks)
    except RouteFileError as error:
        reader.errors.append(error)
    except Invalid:
        pass
    errors = sorted(reader.errors, key=_line)
    return (None if errors else routes), errors


def _with_inventories(
    document: Document, file: str, inventories: Sequence[str], reader: Reader
) -> tuple[Document, tuple[str, ...], tuple[str, ...]]:
    """The document with what inventories say, their files, remarks. Most runs have none and load nothing."""
    if not inventories and not document.inventory:
        return document, (), ()
    from nile.topology.inventory import add_inventories, split_kind

    def beside(inventory: str) -> str:
        """One that the route file names: from the directory of that file, as the command line names it."""
        kind, name = split_kind(inventory)
        return f"{kind}:" * bool(kind) + str(Path(file).parent / Path(name).expanduser())

    names = (*inventories, *map(beside, document.inventory))
    document, remarks = add_inventories(document, names, reader)
    return document, tuple(split_kind(one)[1] for one in names), remarks


@contextmanager
def _no_collection() -> Iterator[None]:
    """Hold back the collector of cycles: thousands of nodes that all live on cost it half of the reading."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _line(error: RouteFileError) -> tuple[int, int]:
    """Where in its file an error is; before all others where it is about the whole file."""
    place = re.search(r":(\d+):(\d+)$", error.where or "")
    return (int(place[1]), int(place[2])) if place else (0, 0)


class _Groups(Mapping[str, Sequence[str]]):
    """The file's groups, expanded when first asked for: a group may name others, in any order."""

    def __init__(self, document: Document, reader: Reader, source: GroupSource) -> None:
        self._blocks = document.groups
        self._reader = reader
        self._sets = HostSets(self, source=source)
        self._expanded: dict[str, tuple[str, ...] | None] = {}
        self._open: list[str] = []

    def __iter__(self) -> Iterator[str]:
        return iter(self._blocks)

    def __len__(self) -> int:
        return len(self._blocks)

    def __getitem__(self, name: str) -> Sequence[str]:
        """The hosts of a group; raises KeyError, or Invalid after noting what is wrong with it."""
        key, block = self._blocks[name]
        if name in self._open:
            loop = " -> ".join([*self._open[self._open.index(name) :], name])
            self._reader.note(key.place, f"group {name} contains itself: {loop}", "take the loop out")
            raise Invalid
        if name not in self._expanded:
            self._expanded[name] = None
            self._open.append(name)
            try:
                self._expanded[name] = expand_all(self._sets, block.hosts, self._reader)
            finally:
                self._open.pop()
        names = self._expanded[name]
        if names is None:
            raise Invalid
        return names


def expand_all(sets: HostSets, texts: Sequence[Located], reader: Reader) -> tuple[str, ...]:
    """The hosts of all of `texts`; notes errors and raises `Invalid`."""
    names: dict[str, None] = {}
    for text in texts:
        try:
            names.update(dict.fromkeys(sets.expand(text.text)))
        except HostSetError as error:
            reader.note(text.place, error.message, error.remedy)
            raise Invalid from error
    return tuple(names)


class _Build:
    """Makes `Routes` of a document; every method notes what is wrong with the reader."""

    def __init__(self, document: Document, reader: Reader, source: GroupSource) -> None:
        self._document = document
        self._reader = reader
        self._source = source
        self._via_places: dict[str, Place] = {}

    def routes(self) -> Routes:
        document = self._document
        groups = self._groups()
        grouped = (name for group in groups.values() for name in group)
        named = dict.fromkeys([*grouped, *document.hosts, *document.inherited])
        sets = HostSets(groups, tuple(named), self._source)
        drawn: tuple[Drawn, ...] = ()
        if not isinstance(document.tree, TreeMode):
            drawn = expand_tree(
                document.tree, lambda text: expand_all(sets, [text], self._reader), self._reader
            )
            named.update(dict.fromkeys(names_of(drawn)))
        hosts = self._hosts(groups, sets, list(named))
        routes = Routes(
            source=self._reader.file,
            hosts=hosts,
            groups=groups,
            limits=document.limits,
            timeouts=document.timeouts,
            tree=document.tree if isinstance(document.tree, TreeMode) else TreeMode.EXPLICIT,
            drawn=drawn,
            ssh=document.ssh,
            group_source=self._source,
            peering=pairs_of(document.peering),
            audit=document.audit,
        )
        check_peering(document.peering, (spec.site for spec in hosts.values()), self._reader)
        self._check_gateways(routes)
        return routes

    def _groups(self) -> dict[str, tuple[str, ...]]:
        lazy = _Groups(self._document, self._reader, self._source)
        groups: dict[str, tuple[str, ...]] = {}
        for name in lazy:
            try:
                groups[name] = tuple(lazy[name])
            except Invalid:
                continue
        if len(groups) < len(lazy):
            raise Invalid
        return groups

    def _hosts(
        self, groups: Mapping[str, tuple[str, ...]], sets: HostSets, names: Sequence[str]
    ) -> dict[str, HostSpec]:
        blocks: dict[str, tuple[HostBlock, Flat]] = {}
        for name, (_, block) in self._document.hosts.items():
            said = self._said(block.settings, sets)
            if name in said.get("via", ()):
                place = self._document.hosts[name][0].place
                self._reader.note(place, f"{name} can't be its own gateway", "take it out of its `via`")
            blocks[name] = (block, said)
        resolver = Resolver(
            self._document.ssh,
            [
                Group(name, groups[name], self._said(block.settings, sets), key.place)
                for name, (key, block) in self._document.groups.items()
            ],
            self._document.inherited,
        )
        specs = resolver.specs(blocks, names)
        for conflict in resolver.conflicts.values():
            first, second = conflict.first, conflict.second
            self._reader.note(
                second.place,
                f"groups {first.name} and {second.name} have {len(second.hosts)} hosts each"
                f" and disagree about {conflict.setting} of {conflict.host}",
                "the smallest group decides: say it for the host itself, or in a smaller group",
            )
        return specs

    def _said(self, settings: Settings, sets: HostSets) -> Flat:
        if settings.via is None:
            return flatten(settings, None)
        gateways = expand_all(sets, settings.via, self._reader) if settings.via else ()
        for name in gateways:
            self._via_places.setdefault(name, settings.via[0].place)
        return flatten(settings, gateways)

    def _check_gateways(self, routes: Routes) -> None:
        """Every gateway can relay, and no zone is reachable only through itself."""
        for name, place in self._via_places.items():
            if not may_relay(routes.spec(name)):
                self._reader.note(
                    place, f"gateway {name} is `relay: no`", "let it relay, or name another gateway"
                )
        known = levels(routes.hosts.values(), routes.spec)
        looped = {
            one: spec
            for spec in routes.hosts.values()
            if (one := zone(spec)) not in known and spec.name not in one
        }
        for spec in looped.values():
            self._reader.note(
                self._via_places[spec.via[0]],
                f"{spec.name} is reachable only through {fold(spec.via)}, which can't be reached without it",
                "one gateway of the loop must be reachable from outside: change its `via`",
            )
