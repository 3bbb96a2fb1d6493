"""What a lab is to be: the options of `nile lab up`, checked, and the names that follow from them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any

from nile.errors import LabError

MAX_HOSTS = 4000
MAX_PORTS = 1000
"""A Linux bridge has at most 1024 ports; some are uplinks."""

SSHD_STARTUPS = "10:30:100"
"""sshd's own MaxStartups, sshd_config(5)."""
GENEROUS_STARTUPS = "10000:30:20000"

_STARTUPS = re.compile(r"\d+(:\d+:\d+)?\Z")
_RATE = re.compile(r"(\d+(?:\.\d+)?)(k|m|g)?bit\Z", re.IGNORECASE)
_LABEL = re.compile(r"\d+(\.\d+)*\Z")
_NETWORK = re.compile(r"127\.(\d{1,3})\Z")
_SCALE = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}


class BackendName(StrEnum):
    """How hosts are made: processes on loopback addresses, or namespaces with a real sshd."""

    LOOPBACK = "loopback"
    NETNS = "netns"


@dataclass(frozen=True, slots=True)
class LabSpec:
    """The options of a lab; `check` raises `LabError` where they make no sense."""

    hosts: int = 12
    backend: BackendName = BackendName.LOOPBACK
    port: int | None = None
    """Where ssh listens; by default 2222 on loopback, 22 in namespaces."""
    network: str | None = None
    """Loopback only: `127.N`, the /16 that holds the hosts; by default it follows from the directory."""
    switches: int = 1
    rate: str | None = None
    """netns only: speed of every host's port, each direction, as tc writes it (`200mbit`)."""
    uplink: str | None = None
    """netns only: speed of each switch's link to the core, each direction."""
    delay_login_s: float = 0.0
    """Seconds that every session waits before its command starts."""
    boot_s: float = 0.0
    """Seconds from the moment a host goes down for a reboot until it begins to boot."""
    python: Mapping[str, str] = field(default_factory=dict)
    """netns only: version label or host set -> path of the python3 that those hosts get."""
    no_python: str = ""
    """netns only: host set without any Python."""
    max_startups: str = GENEROUS_STARTUPS
    """netns only: sshd's MaxStartups."""

    @property
    def names(self) -> tuple[str, ...]:
        """h001, h002, ..."""
        width = max(3, len(str(self.hosts)))
        return tuple(f"h{number:0{width}}" for number in range(1, self.hosts + 1))

    @property
    def ssh_port(self) -> int:
        """The port in force."""
        return self.port or (22 if self.backend is BackendName.NETNS else 2222)

    def racks(self) -> dict[str, tuple[str, ...]]:
        """Switch name -> its hosts: consecutive blocks, as even as they go."""
        names = self.names
        cuts = [round(i * len(names) / self.switches) for i in range(self.switches + 1)]
        return {f"sw{i + 1}": names[cuts[i] : cuts[i + 1]] for i in range(self.switches)}

    def to_json(self) -> dict[str, Any]:
        """For state.json."""
        return {**asdict(self), "backend": str(self.backend), "python": dict(self.python)}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> LabSpec:
        """The opposite of `to_json`; KeyError, TypeError or ValueError where it isn't one."""
        known = {f.name for f in fields(cls)}
        values = {key: value for key, value in raw.items() if key in known}
        return cls(**{**values, "backend": BackendName(values["backend"])})

    def check(self) -> None:
        """Refuse what can't be built, naming the option."""
        self._check_size()
        if self.backend is BackendName.LOOPBACK:
            self._check_loopback()
        if not _STARTUPS.match(self.max_startups):
            raise LabError(
                f"{self.max_startups!r} is no MaxStartups", where="--max-startups", remedy="write 10:30:100"
            )
        for option, rate in (("--rate", self.rate), ("--uplink", self.uplink)):
            if rate is not None:
                bits_per_second(rate, option)
        if not 0 <= self.delay_login_s <= 3600:
            raise LabError("the delay must be 0 to 3600 seconds", where="--delay-login")
        if not 0 <= self.boot_s <= 3600:
            raise LabError("the time must be 0 to 3600 seconds", where="--boot-time")

    def _check_size(self) -> None:
        if not 1 <= self.hosts <= MAX_HOSTS:
            raise LabError(f"a lab has 1 to {MAX_HOSTS} hosts, not {self.hosts}", where="--hosts")
        if not 1 <= self.switches <= self.hosts:
            raise LabError("there must be at least one switch, and no more than hosts", where="--switches")
        if self.backend is BackendName.NETNS and -(-self.hosts // self.switches) > MAX_PORTS:
            raise LabError(
                f"a switch has at most {MAX_PORTS} hosts",
                where="--switches",
                remedy=f"give at least {-(-self.hosts // MAX_PORTS)}",
            )
        if self.port is not None and not 1 <= self.port <= 65535:
            raise LabError(f"{self.port} is no port", where="--port")

    def _check_loopback(self) -> None:
        only_netns = {
            "--rate": self.rate,
            "--uplink": self.uplink,
            "--python": self.python,
            "--no-python": self.no_python,
            "--max-startups": self.max_startups != GENEROUS_STARTUPS,
        }
        for option, value in only_netns.items():
            if value:
                raise LabError(
                    "a loopback lab can't do that", where=option, remedy="add --backend netns (needs root)"
                )
        found = _NETWORK.match(self.network) if self.network else None
        if self.network and (found is None or not 1 <= int(found[1]) <= 255):
            raise LabError(
                f"{self.network!r} is no loopback network", where="--network", remedy="write 127.77"
            )


def bits_per_second(rate: str, where: str) -> int:
    """`200mbit` -> 200000000; LabError where it is no rate."""
    found = _RATE.match(rate)
    if found is None or float(found[1]) <= 0:
        raise LabError(f"{rate!r} is no rate", where=where, remedy="write 200mbit, 1gbit or 500kbit")
    return int(float(found[1]) * _SCALE[(found[2] or "").lower()])


def host_set(text: str, names: tuple[str, ...], where: str) -> tuple[str, ...]:
    """The lab's hosts in a set like `h[001-003],h007`, in the lab's order; LabError for others."""
    from ClusterShell.NodeSet import NodeSet, NodeSetException, NodeSetParseError

    try:
        asked = set(NodeSet(text))
    except (NodeSetParseError, NodeSetException) as error:
        raise LabError(f"{text!r} is no host set: {error}", where=where, remedy="write h[001-003]") from None
    strangers = sorted(asked - set(names))
    if strangers or not asked:
        raise LabError(
            f"no such host in this lab: {', '.join(strangers[:5]) or 'an empty set'}",
            where=where,
            remedy=f"it has {names[0]} to {names[-1]}",
        )
    return tuple(name for name in names if name in asked)


def assign_pythons(spec: LabSpec) -> dict[str, str]:
    """Host -> path of its Python, for the hosts that get another one.

    Entries named by a host set get theirs; version labels (`3.6`) are dealt in
    turn over the hosts that no set names, so that a tree mixes them.
    """
    given: dict[str, str] = {}
    labels = [path for key, path in spec.python.items() if _LABEL.match(key)]
    for key, path in spec.python.items():
        if not _LABEL.match(key):
            given.update(dict.fromkeys(host_set(key, spec.names, "--python"), path))
    without = set(host_set(spec.no_python, spec.names, "--no-python")) if spec.no_python else set()
    if labels:
        rest = [name for name in spec.names if name not in given and name not in without]
        given.update({name: labels[i % len(labels)] for i, name in enumerate(rest)})
    return {name: given[name] for name in spec.names if name in given and name not in without}


def python_groups(spec: LabSpec) -> dict[str, tuple[str, ...]]:
    """Group name -> hosts: `python3.6` per version label, `no-python`."""
    chosen = assign_pythons(spec)
    groups: dict[str, tuple[str, ...]] = {}
    for key, path in spec.python.items():
        hosts = tuple(name for name, its in chosen.items() if its == path)
        if _LABEL.match(key) and hosts:
            groups[f"python{key}"] = hosts
    if spec.no_python:
        groups["no-python"] = host_set(spec.no_python, spec.names, "--no-python")
    return groups
