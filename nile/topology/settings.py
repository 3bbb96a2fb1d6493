"""What holds for each host: precedence of host, smallest group and file.

Every setting goes its own way: the host's own word wins, else that of the
smallest group that says something about it, else the file's. (The command line
comes before all these, ssh_config after them; both are applied elsewhere.) What
an inventory says of a host stands between its groups and the file. Two
groups of the same size that disagree are an error, for neither is the smaller.
Hosts in the same groups share one answer, so that thousands of hosts stay cheap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any

from nile.options import SshOptions
from nile.topology.document import HostBlock, Settings
from nile.topology.model import HostSpec, RelayRole
from nile.topology.yamltree import Place

Flat = Mapping[str, Any]
"""Setting -> value, ssh options one by one as `options.KEYWORD`."""

_NOTHING = HostBlock()
_OPTION = "options."
_OTHER = ("relay", "switch", "site", "via")
_SSH = tuple(one.name for one in fields(SshOptions) if one.name != "options")


def flatten(settings: Settings, via: tuple[str, ...] | None) -> Flat:
    """What a block says, setting by setting; `via` are its gateways, expanded."""
    ssh = settings.ssh
    said: dict[str, Any] = {name: getattr(ssh, name) for name in _SSH}
    said |= {"relay": settings.relay, "switch": settings.switch, "site": settings.site, "via": via}
    said |= {_OPTION + keyword: value for keyword, value in ssh.options.items()}
    return {name: value for name, value in said.items() if value is not None}


def ssh_options(flat: Flat) -> SshOptions:
    """The ssh settings among flat ones."""
    options = {name.removeprefix(_OPTION): value for name, value in flat.items() if name.startswith(_OPTION)}
    plain = {name: flat[name] for name in _SSH if name in flat}
    return SshOptions(**plain, options=MappingProxyType(options))


@dataclass(frozen=True)
class Group:
    """A group with its hosts and what it says."""

    name: str
    hosts: tuple[str, ...]
    said: Flat
    place: Place


@dataclass(frozen=True)
class Conflict:
    """Two groups of one size that disagree about a setting of a host that doesn't settle it itself."""

    setting: str
    first: Group
    second: Group
    host: str


@dataclass(frozen=True)
class _Answer:
    """What the groups say together, and where two of one size disagree."""

    said: Flat
    disputed: Mapping[str, tuple[Group, Group]]


@dataclass
class Resolver:
    """Makes a `HostSpec` of what the file, a host's groups and the host itself say."""

    file_ssh: SshOptions
    groups: Sequence[Group]
    inherited: Mapping[str, tuple[Any, HostBlock]] = field(default_factory=dict)
    """What inventories say of hosts; equal ssh settings are one object."""
    conflicts: dict[tuple[str, str, str], Conflict] = field(default_factory=dict)
    """Found so far, one for each (setting, group, group)."""
    _answers: dict[tuple[tuple[str, ...], frozenset[str]], _Answer] = field(default_factory=dict)
    _ssh: dict[tuple[int, int, tuple[tuple[str, Any], ...]], SshOptions] = field(default_factory=dict)

    def specs(
        self, blocks: Mapping[str, tuple[HostBlock, Flat]], names: Sequence[str]
    ) -> dict[str, HostSpec]:
        """The specs of `names`; `blocks` has what hosts say themselves."""
        of_host: dict[str, list[Group]] = {}
        for group in sorted(self.groups, key=lambda one: len(one.hosts)):
            for host in group.hosts:
                of_host.setdefault(host, []).append(group)
        nothing: tuple[HostBlock, Flat] = (HostBlock(), {})
        return {name: self._spec(name, of_host.get(name, ()), *blocks.get(name, nothing)) for name in names}

    def _spec(self, name: str, groups: Sequence[Group], block: HostBlock, own: Flat) -> HostSpec:
        names = tuple(group.name for group in groups)
        exempt = frozenset(group.name for group in groups if name in group.said.get("via", ()))
        answer = self._answers.get((names, exempt))
        if answer is None:
            answer = self._answers[names, exempt] = _ask(groups, exempt)
        for setting, (first, second) in answer.disputed.items():
            if setting not in own:
                conflict = Conflict(setting, first, second, name)
                self.conflicts.setdefault((setting, first.name, second.name), conflict)
        said = {**answer.said, **own} if own else answer.said
        below = self.inherited[name][1] if name in self.inherited else _NOTHING
        return HostSpec(
            name=name,
            address_root=block.address.root or below.address.root or name,
            address_inside=block.address.inside or below.address.inside or name,
            ssh=self._ssh_of(answer, own, said, below.settings.ssh),
            host_key_alias=block.host_key_alias,
            relay=said.get("relay", RelayRole.YES),
            switch=said.get("switch"),
            site=said.get("site"),
            via=said.get("via", ()),
            groups=names,
        )

    def _ssh_of(self, answer: _Answer, own: Flat, said: Flat, below: SshOptions) -> SshOptions:
        key = (id(answer), id(below), tuple(pair for pair in own.items() if pair[0] not in _OTHER))
        if key not in self._ssh:
            self._ssh[key] = ssh_options(said).over(below).over(self.file_ssh)
        return self._ssh[key]


def _ask(groups: Sequence[Group], exempt: frozenset[str]) -> _Answer:
    """Put together what groups (the smallest first) say; the via of the `exempt` ones doesn't count."""
    said: dict[str, Any] = {}
    by: dict[str, Group] = {}
    disputed: dict[str, tuple[Group, Group]] = {}
    for group in groups:
        for setting, value in group.said.items():
            if setting == "via" and group.name in exempt:
                continue
            if setting not in said:
                said[setting], by[setting] = value, group
            elif len(group.hosts) == len(by[setting].hosts) and not _same(value, said[setting]):
                disputed.setdefault(setting, (by[setting], group))
    return _Answer(said, disputed)


def _same(one: Any, other: Any) -> bool:
    """Whether two values say the same; gateways and keys count as sets."""
    return bool(
        one == other or (isinstance(one, tuple) and isinstance(other, tuple) and set(one) == set(other))
    )
