"""Precedence: command line, host, smallest group, file."""

from __future__ import annotations

import pytest

from nile.options import Kex, Limits, SshOptions, Timeouts
from nile.topology.hostsets import no_groups
from nile.topology.model import RelayRole, TreeMode
from nile.topology.routes import Routes, examine, parse_routes

FILE = """\
version: 1
ssh: {user: file, port: 1, kex: system, options: {Compression: "yes", ConnectionAttempts: 1}}
groups:
  large: {hosts: "n[1-9]", user: large, port: 2, switch: s, ssh: {options: {Compression: "no"}}}
  small: {hosts: "n[1-3]", port: 3, relay: no}
hosts:
  n1: {port: 4, relay: only, ssh: {options: {ConnectionAttempts: 2}}}
  n8: {}
  alone: {}
"""


def load(text: str) -> Routes:
    return parse_routes(text, "f.yaml", no_groups)


@pytest.mark.parametrize(
    ("host", "user", "port", "compression", "attempts", "relay"),
    [
        ("n1", "large", 4, "no", "2", "only"),
        ("n2", "large", 3, "no", "1", "no"),
        ("n8", "large", 2, "no", "1", "yes"),
        ("alone", "file", 1, "yes", "1", "yes"),
        ("unnamed", "file", 1, "yes", "1", "yes"),
    ],
)
def test_host_then_smallest_group_then_file(
    host: str, user: str, port: int, compression: str, attempts: str, relay: str
) -> None:
    spec = load(FILE).spec(host)
    assert (spec.ssh.user, spec.ssh.port, spec.ssh.kex) == (user, port, Kex.SYSTEM)
    assert spec.ssh.options == {"Compression": compression, "ConnectionAttempts": attempts}
    assert spec.relay is RelayRole(relay)


def test_the_command_line_goes_over_all() -> None:
    line = SshOptions(user="me", options={"Compression": "delayed"})
    routes = load(FILE).override(
        ssh=line, limits=Limits(branches=2), timeouts=Timeouts(1), tree=TreeMode.FLAT
    )
    for host in ("n1", "n2", "n8", "alone", "unnamed"):
        assert (routes.spec(host).ssh.user, routes.spec(host).ssh.options["Compression"]) == ("me", "delayed")
    assert routes.spec("n1").ssh.port == 4
    assert (routes.limits.branches, routes.timeouts.connect_s, routes.tree) == (2, 1, TreeMode.FLAT)


def test_groups_stand_smallest_first() -> None:
    assert load(FILE).spec("n2").groups == ("small", "large")


def test_two_groups_of_one_size_that_disagree() -> None:
    text = 'version: 1\ngroups:\n  a: {hosts: "n[1-3]", port: 1}\n  b: {hosts: "n[2-4]", port: 2}\n'
    _, (error,) = examine(text, "f.yaml", no_groups)
    assert str(error.where) == "f.yaml:4:3"
    assert error.message == "groups a and b have 3 hosts each and disagree about port of n2"


@pytest.mark.parametrize(
    "more",
    [
        "hosts: {n2: {port: 9}, n3: {port: 9}}",  # the hosts say it themselves
        'groups:\n  <<: *g\n  c: {hosts: "n[2-3]", port: 9}',  # a smaller group says it
    ],
)
def test_a_disagreement_that_is_settled_is_none(more: str) -> None:
    groups = '{a: {hosts: "n[1-3]", port: 1}, b: {hosts: "n[2-4]", port: 2}}'
    text = f"version: 1\ngroups: {groups}\n{more}" if more.startswith("hosts") else ""
    if not text:
        text = "version: 1\n" + more.replace("<<: *g", f"<<: {groups}")
    assert load(text).spec("n2").ssh.port == 9


def test_groups_of_one_size_that_agree_or_speak_of_different_things() -> None:
    routes = load(
        'version: 1\ngroups: {a: {hosts: n1, port: 1, via: "g[1-2]"}, b: {hosts: n1, user: u, via: "g2,g1"}}'
    )
    assert (routes.spec("n1").ssh.port, routes.spec("n1").ssh.user) == (1, "u")


def test_gateways_are_exempt_from_their_groups_via_but_not_from_a_larger_ones() -> None:
    routes = load(
        "version: 1\ngroups:\n"
        '  site: {hosts: "n[1-9],x", via: door}\n'
        '  rack: {hosts: "n[1-5]", via: "n[1-2]"}\n'
        "hosts: {n5: {via: none}, x: {via: n3}}\n"
    )
    via = {name: routes.spec(name).via for name in routes.hosts}
    assert via["n1"] == via["n2"] == via["n9"] == ("door",)
    assert via["n3"] == ("n1", "n2")
    assert via["n5"] == ()
    assert via["x"] == ("n3",)


def test_gateways_named_in_via_only_are_no_hosts_of_the_file() -> None:
    routes = load("version: 1\ngroups: {a: {hosts: n1, via: door}}")
    assert list(routes.hosts) == ["n1"]
    assert routes.everything() == ("n1",)
    assert routes.spec("door").via == ()


def test_hosts_that_only_relay_are_not_among_everything() -> None:
    routes = load("version: 1\nhosts: {a: {}, b: {relay: only}}")
    assert list(routes.hosts) == ["a", "b"]
    assert routes.everything() == ("a",)


def test_addresses() -> None:
    blocks = "a: {}, b: {address: 10.0.0.1}, c: {address: {root: r}}, d: {address: {inside: i}}"
    routes = load(f"version: 1\nhosts: {{{blocks}}}")
    addresses = [(spec.address_root, spec.address_inside) for spec in routes.hosts.values()]
    assert addresses == [("a", "a"), ("10.0.0.1", "10.0.0.1"), ("r", "c"), ("d", "i")]
