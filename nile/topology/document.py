"""What a route file may hold: its keys, their kinds, and the blocks that they are read into.

The blocks are what was written, host sets unexpanded. What they mean for each
host (groups, precedence, the tree) is made of them by `routes`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from nile.options import Kex, Limits, Signing, SshClient, SshOptions, Timeouts
from nile.topology import hostsets
from nile.topology.drawing import Branch, Tree
from nile.topology.durations import WEEK_S
from nile.topology.kinds import (
    Choice,
    Duration,
    Field,
    HostSet,
    Integer,
    Made,
    MapOf,
    MappingOr,
    Name,
    OneOrMore,
    Record,
    SshKeywords,
    Text,
    one_host,
)
from nile.topology.model import ROOT_NAME, RelayRole, TreeMode
from nile.topology.peering import SITE, Peering
from nile.topology.refusal import Refusal
from nile.topology.yamltree import DEPTH_MAX, Located


@dataclass(frozen=True)
class Settings:
    """What a group or a host says of its hosts; None where it says nothing, `via=()` is `none`."""

    ssh: SshOptions = field(default_factory=SshOptions)
    relay: RelayRole | None = None
    switch: str | None = None
    site: str | None = None
    via: tuple[Located, ...] | None = None


@dataclass(frozen=True)
class GroupBlock:
    """A group: its host sets, and what it says of them."""

    hosts: tuple[Located, ...]
    settings: Settings


@dataclass(frozen=True)
class Address:
    """Where to connect to: from the root machine, and from other hosts; None means by its name."""

    root: str | None = None
    inside: str | None = None


@dataclass(frozen=True)
class HostBlock:
    """What is said of one host."""

    settings: Settings = field(default_factory=Settings)
    address: Address = field(default_factory=Address)
    host_key_alias: str | None = None


@dataclass(frozen=True)
class Document:
    """A whole route file as it was written."""

    ssh: SshOptions = field(default_factory=SshOptions)
    limits: Limits = field(default_factory=Limits)
    timeouts: Timeouts = field(default_factory=Timeouts)
    groups: dict[str, tuple[Located, GroupBlock]] = field(default_factory=dict)
    hosts: dict[str, tuple[Located, HostBlock]] = field(default_factory=dict)
    tree: TreeMode | tuple[Branch, ...] = TreeMode.AUTO
    inventory: tuple[str, ...] = ()
    """Files with more groups and hosts."""
    inherited: dict[str, tuple[Located, HostBlock]] = field(default_factory=dict)
    """What these say of hosts: it holds where neither a host nor its groups say anything here."""
    peering: tuple[tuple[Located, ...], ...] = ()
    audit: bool = True


def _identity(paths: tuple[str, ...]) -> tuple[str, ...]:
    for path in paths:
        if not path.startswith(("/", "~")):
            raise Refusal(f"the key file '{path}' has no full path", "begin it with / or ~/")
    return paths


def _settings(**given: Any) -> Settings:
    """Fold the short forms `user` and `port` into `ssh`."""
    short = {name: given.pop(name) for name in ("user", "port") if name in given}
    if not short:
        return Settings(**given)
    ssh: SshOptions = given.pop("ssh", SshOptions())
    for name in short:
        if getattr(ssh, name) is not None:
            raise Refusal(f"`{name}` is given twice, also under `ssh`", "keep one of them")
    return Settings(ssh=replace(ssh, **short), **given)


def _group(hosts: tuple[Located, ...], **given: Any) -> GroupBlock:
    return GroupBlock(hosts, _settings(**given))


def _group_of(hosts: tuple[Located, ...]) -> GroupBlock:
    return GroupBlock(hosts, Settings())


def _host(address: Address | None = None, host_key_alias: str | None = None, **given: Any) -> HostBlock:
    return HostBlock(_settings(**given), address or Address(), host_key_alias)


def _address(text: str) -> str:
    if text != ROOT_NAME:  # which is a fine name for a machine, but not for a node
        one_host(text)
    return text


def _both(address: str) -> Address:
    return Address(address, address)


def _document(version: int, **given: Any) -> Document:
    return Document(**given)


_USER = Text("a user name")
_PORT = Integer(1, 65535, what="a port")
_ADDRESS = Made(Text("an address"), _address)
_INVENTORY = Text("a file's name", r"[^\x00-\x1f\x7f]+", "write it without control characters")
_KEY_FILE = Text("a path", r"[^\x00-\x1f\x7f]+", "write it without control characters")

SSH = Record(
    "ssh",
    SshOptions,
    (
        Field("user", _USER, "The user to log in as.", default="as ssh_config says, else your own name"),
        Field("port", _PORT, "The port of sshd.", default="as ssh_config says, else 22"),
        Field(
            "identity",
            Made(OneOrMore(_KEY_FILE), _identity),
            "Key file, or a list of them, on the root; full path or ~/.",
            default="as ssh_config says, and the keys of your ssh-agent",
        ),
        Field(
            "client",
            Choice({one.value: one for one in SshClient}, "a client"),
            "What the root itself logs in with; relays always use ssh.",
            default="asyncssh",
        ),
        Field(
            "kex",
            Choice({one.value: one for one in Kex}, "a kind of key exchange"),
            "fast takes sntrup761 out of the list in force, system leaves it alone.",
            default="fast",
        ),
        Field(
            "signing",
            Choice({one.value: one for one in Signing}, "a way of signing"),
            "Where a relay's ssh can't bind a signature to a host key: auto signs as often as logins are"
            " planned, strict refuses, through-root has the root log in itself through the relay.",
            default="auto",
        ),
        Field(
            "delegate",
            Choice({"yes": True, "no": False}, "yes or no"),
            "Whether the host is given your Kerberos ticket by a login with it; with the client openssh.",
            default="no",
        ),
        Field("options", SshKeywords(), "ssh_config(5) keywords and their values."),
    ),
    ref="ssh",
)

LIMITS = Record(
    "limits",
    Limits,
    (
        Field("branches", Integer(1, 100_000), "Children of one node.", default=str(Limits().branches)),
        Field(
            "parallel",
            Integer(1, 100_000),
            "Logins that one node runs at a time.",
            default=str(Limits().parallel),
        ),
        Field(
            "logins",
            Integer(1, 100_000, none=True),
            "Logins under way at a time over the whole tree.",
            default="none",
        ),
        Field("stages", Integer(1, DEPTH_MAX), "Depth of the tree.", default=str(Limits().stages)),
    ),
)

TIMEOUTS = Record(
    "timeouts",
    Timeouts,
    (
        Field(
            "connect",
            Duration(most_s=WEEK_S),
            "One whole login, until the agent says hello; a week at most.",
            into="connect_s",
            default="10s",
        ),
        Field(
            "lease",
            Duration(most_s=WEEK_S),
            "How long an agent lives on without the root; a week at most.",
            into="lease_s",
            default="30s",
        ),
        Field(
            "silence",
            Duration(most_s=WEEK_S),
            "A link from which nothing comes for so long (a week at most) is taken for lost;"
            " every second something should.",
            into="silence_s",
            default="2.8s",
        ),
        Field(
            "command",
            Duration(none=True),
            "How long a command may run; a year at most.",
            into="command_s",
            default="none",
        ),
    ),
)

_VIA = Field(
    "via",
    OneOrMore(HostSet("a gateway"), none=True),
    "Gateways through one of which alone the hosts are reachable (host set, list, or none);"
    " the gateways themselves are exempt.",
    default="none: reachable from anywhere",
)

_SHARED = (
    Field("ssh", SSH, "SSH settings."),
    Field("user", _USER, "Short for ssh: {user: ...}."),
    Field("port", _PORT, "Short for ssh: {port: ...}."),
    Field(
        "relay",
        Choice({one.value: one for one in RelayRole}, "a relay role"),
        "yes: may carry others; no: always a leaf; only: carries, and never runs commands.",
        default="yes",
    ),
    Field(
        "switch",
        Text("a switch's name"),
        "The switch that it hangs on; automatic trees keep a switch together.",
    ),
    Field(
        "site",
        SITE,
        "The site that it belongs to: in a swarm hosts of different sites are never connected to each other,"
        " unless `peering` allows it.",
    ),
    _VIA,
)

GROUP = Record(
    "a group",
    _group,
    (
        Field("hosts", OneOrMore(HostSet()), "The hosts: a host set, or a list of them.", required=True),
        *_SHARED,
    ),
    ref="group",
)

HOST = Record(
    "a host",
    _host,
    (
        Field(
            "address",
            MappingOr(
                Record(
                    "address",
                    Address,
                    (
                        Field(
                            "root", _ADDRESS, "Where the root machine connects to.", default="the host's name"
                        ),
                        Field("inside", _ADDRESS, "Where other hosts connect to.", default="the host's name"),
                    ),
                ),
                Made(_ADDRESS, _both),
            ),
            "Name or address to connect to, if it isn't the host's name; root and inside where they differ.",
        ),
        Field(
            "host_key_alias",
            Text("a name"),
            "The name under which its host key stands in known_hosts (HostKeyAlias).",
        ),
        *_SHARED,
    ),
    ref="host",
)

ROUTE_FILE = Record(
    "a route file",
    _document,
    (
        Field(
            "version",
            Integer(1, 1, what="a version of route files that this Nile knows"),
            "Always 1.",
            required=True,
        ),
        Field("ssh", SSH, "SSH settings of all hosts."),
        Field("limits", LIMITS, "Bounds on the tree and on how fast it grows."),
        Field("timeouts", TIMEOUTS, "Durations with a unit: ms, s, m, h."),
        Field(
            "groups",
            MapOf(
                Name("a group's name", hostsets.check_group_name),
                MappingOr(GROUP, Made(OneOrMore(HostSet()), _group_of)),
                "groups",
            ),
            "Group name -> host set, or a mapping with hosts and settings.",
        ),
        Field(
            "hosts", MapOf(Name("a host's name", one_host), HOST, "hosts"), "Host name -> its own settings."
        ),
        Field(
            "inventory",
            OneOrMore(_INVENTORY),
            "An Ansible inventory (INI or YAML) or a genders file with more groups and hosts, or a list of"
            " such; a path from this file's directory, with `genders:` or `ansible:` before it where its name"
            " doesn't tell.",
        ),
        Field("tree", Tree(), "auto, flat, or an explicit tree.", default="auto"),
        Field(
            "audit",
            Choice({"on": True, "off": False}, "on or off"),
            "Whether syslog is told of every run, here and on its hosts.",
            default="on",
        ),
        Field(
            "peering",
            Peering(),
            "Sites of which the hosts may be connected to each other in a swarm: lists of sites,"
            " of which each may with all others in its list.",
            default="none: each with itself alone",
        ),
    ),
)
"""The one description of a route file: `ROUTE_FILE.read` validates, `ROUTE_FILE.schema` publishes."""
