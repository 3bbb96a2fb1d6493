"""Route files: what loads, and what is refused with place and remedy."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from nile.errors import RouteFileError
from nile.options import Limits, SshClient, Timeouts
from nile.topology import yamltree
from nile.topology.hostsets import no_groups
from nile.topology.model import RelayRole, TreeMode
from nile.topology.plan import plan
from nile.topology.routes import Routes, examine, load_routes, parse_routes
from nile.topology.textfile import read_text

EXAMPLE = """\
version: 1
ssh: {user: tdaq, port: 22, identity: ~/.ssh/id_ed25519, client: asyncssh, options: {}}
limits: {branches: 25, parallel: 16, logins: none, stages: 3}
timeouts: {connect: 10s, lease: 30s, command: none}
groups:
  rack1: "n[001-012]"
  rack2: {hosts: "n[013-036]", switch: sw2, via: "n[013-014]"}
hosts:
  n013: {address: {root: gw1.example.org, inside: 10.2.0.1}, port: 2222, host_key_alias: gw1}
  db1: {relay: no}
tree: auto
"""
EXPLICIT = 'tree: {n001: "n[002-012]", n013: ["n[014-020]", {n021: "n[022-036]"}]}'


def load(text: str) -> Routes:
    return parse_routes("version: 1\n" + text, "f.yaml", no_groups)


def errors(text: str) -> list[str]:
    return [str(error) for error in examine("version: 1\n" + text, "f.yaml", no_groups)[1]]


def test_the_example_loads() -> None:
    routes = parse_routes(EXAMPLE, "nile.yaml")
    assert routes.limits == Limits(25, 16, None, 3)
    assert routes.timeouts == Timeouts(10.0, 30.0, None)
    assert routes.tree is TreeMode.AUTO
    assert len(routes.hosts) == 37
    assert routes.describe() == "routes: nile.yaml (37 hosts)"
    gateway = routes.spec("n013")
    assert (gateway.address_root, gateway.address_inside) == ("gw1.example.org", "10.2.0.1")
    assert (gateway.ssh.user, gateway.ssh.port, gateway.host_key_alias) == ("tdaq", 2222, "gw1")
    assert (gateway.via, gateway.switch) == ((), "sw2")
    inner = routes.spec("n036")
    assert (inner.via, inner.ssh.port, inner.ssh.client) == (("n013", "n014"), 22, SshClient.ASYNCSSH)
    assert inner.ssh.identity == ("~/.ssh/id_ed25519",)
    assert routes.spec("db1").relay is RelayRole.NO
    assert routes.spec("elsewhere").ssh.user == "tdaq"


def test_the_explicit_tree_of_the_example_loads() -> None:
    routes = parse_routes(EXAMPLE.replace("tree: auto", EXPLICIT), "nile.yaml")
    assert routes.tree is TreeMode.EXPLICIT
    first, second = routes.drawn
    assert [first.host, second.host] == ["n001", "n013"]
    assert len(first.below) == 11
    assert [one.host for one in second.below][-1] == "n021"
    assert len(second.below[-1].below) == 15


@pytest.mark.parametrize(
    "word", ["no", "on", "010", "1:30", "1e3", "null", "~", "2024-01-01", "0x1f", "1_0", ".5"]
)
@pytest.mark.parametrize("place", ["groups: {a: %s}", "hosts: {%s: {}}", "groups: {%s: n1}", "tree: [%s]"])
def test_names_that_yaml_takes_for_something_else_must_be_quoted(word: str, place: str) -> None:
    if word == "~" and place == "hosts: {%s: {}}":
        place = "hosts: {? %s : {}}"
    (error,) = errors(place % word)
    assert f"{word} is not a string in YAML" in error
    assert f'must be quoted: "{word}"' in error
    assert error.startswith("f.yaml:2:")


@pytest.mark.parametrize("word", ["no", "010", "1e3", "null"])
def test_quoted_they_are_names(word: str) -> None:
    assert list(load(f'groups: {{a: "{word}"}}').hosts) == [word]


@pytest.mark.parametrize(
    ("text", "where", "message", "remedy"),
    [
        ("grups: {}", "2:1", "'grups' is unknown in a route file", "did you mean 'groups'?"),
        ("ssh: {usr: x}", "2:7", "'usr' is unknown in ssh", "did you mean 'user'?"),
        ("ssh: {zzz: x}", "2:7", "'zzz' is unknown in ssh", "known are: user, port"),
        ("ssh: {port: 0}", "2:13", "'0' is not a port", "from 1 to 65535"),
        ("ssh: {port: 0x16}", "2:13", "'0x16' is not a port", "from 1 to 65535"),
        ("ssh: {user: 1000}", "2:13", "1000 is not a string", 'quoted: "1000"'),
        ("ssh: {user: 'a b'}", "2:13", "can't be a user name", "without blanks"),
        ("ssh: {client: opensh}", "2:15", "'opensh' is not a client", "did you mean openssh?"),
        ("ssh: {identity: id_rsa}", "2:17", "'id_rsa' has no full path", "begin it with /"),
        ("ssh: {options: {Foo: 1}}", "2:17", "'Foo' is no ssh_config keyword", "ssh_config(5)"),
        ("ssh: {options: {compresion: 1}}", "2:17", "no ssh_config keyword", "did you mean Compression?"),
        ("ssh: {options: {Port: 1}}", "2:17", "Port has a setting of its own", "`port:`"),
        (
            "ssh: {options: {ForwardAgent: yes}}",
            "2:17",
            "ForwardAgent=yes is not taken",
            "take the option out",
        ),
        (
            "ssh: {options: {compression: 1, Compression: 2}}",
            "2:33",
            "Compression is given twice",
            "keep one",
        ),
        ("ssh: [user]", "2:6", "ssh must be a mapping", "key: value"),
        ("limits: {branches: 010}", "2:20", "'010' is not a whole number", "from 1 to"),
        ("limits: {branches: none}", "2:20", "'none' is not a whole number", "from 1 to"),
        ("limits: {logins: 0}", "2:18", "'0' is not a whole number", "or none"),
        ("limits: {stages: 0}", "2:18", "'0' is not a whole number", "from 1 to"),
        ("timeouts: {connect: 10}", "2:21", "the duration 10 has no unit", "write 10s"),
        ("timeouts: {connect: none}", "2:21", "'none' is no duration", "as in 10s"),
        ("timeouts: {lease: 0s}", "2:19", "'0s' is no duration above 0", "as in 10s"),
        ("timeouts: {command: " + "9" * 400 + "s}", "2:21", "is no duration", "or none"),
        ("timeouts: {lease: 168.001h}", "2:19", "the duration 168.001h is too long", "168h at most"),
        ("timeouts: {connect: 604801s}", "2:21", "the duration 604801s is too long", "168h at most"),
        ("timeouts: {silence: 999999999h}", "2:21", "is too long", "168h at most"),
        ("timeouts: {command: 8761h}", "2:21", "the duration 8761h is too long", "8760h at most, or none"),
        ("timeouts: {command: 5 s}", "2:21", "'5 s' is no duration", "or none"),
        ("groups: {a: {}}", "2:13", "`hosts` is missing in a group", "host set"),
        ("groups: {a: n1, a: n2}", "2:17", "'a' is given twice", "the first one is at f.yaml:2:10"),
        ("groups: {a: '@b'}", "2:13", "group @b is unknown", "groups.conf"),
        ("groups: {a: n1, b: '@aa'}", "2:20", "group @aa is unknown", "did you mean @a?"),
        ("groups: {a: '@b', b: '@a'}", "2:10", "group a contains itself: a -> b -> a", "loop"),
        ("groups: {a: 'n1!n1'}", "2:13", "is empty", "operators"),
        ("groups: {a: []}", "2:13", "the list is empty", "a host set"),
        ("groups: {a: 'n*'}", "2:13", "wildcard 'n*' has no hosts", "range"),
        ("groups: {'@a': n1}", "2:10", "can't be a group's name", "without the @"),
        ("hosts: {'n[1-2]': {}}", "2:9", "is a host set where one host is expected", "make a group"),
        ("hosts: {n1: {relay: maybe}}", "2:21", "'maybe' is not a relay role", "yes, no, only"),
        ("hosts: {n1: {address: 'a b'}}", "2:23", "can't be an address", "without blanks"),
        ("hosts: {n1: {address: -x}}", "2:23", "'-x' can't be a host's name", "begin with"),
        ("hosts: {n1: {port: 1, ssh: {port: 2}}}", "2:13", "`port` is given twice", "keep one"),
        ("hosts: {n1: {via: n1}}", "2:9", "n1 can't be its own gateway", "take it out"),
        ("hosts: {n1: {via: '@g'}}", "2:19", "group @g is unknown", ""),
        ("hosts: {n1: {via: n2}, n2: {relay: no}}", "2:19", "gateway n2 is `relay: no`", "another gateway"),
        (
            "hosts: {n1: {via: n2}, n2: {via: n1}}",
            "2:19",
            "n1 is reachable only through n2",
            "change its `via`",
        ),
        ("hosts: {n1: }", "2:13", "a host must be a mapping", ""),
        ("hosts: {root: {}}", "2:9", "can't be called 'root'", "address: root"),
        ("tree: deep", "2:7", "'deep' is no tree", "auto, flat"),
        ("tree: {}", "2:7", "the tree is empty", "auto, flat"),
        ("tree: {n1: [[n2]]}", "2:13", "a list stands in a list", "outer"),
        ("tree: {n1: n2, n3: n2}", "2:20", "n2 is in the tree twice", "the first one is at f.yaml:2:12"),
        ("tree: {n1: {n2: n1}}", "2:17", "n1 stands below itself", "first at f.yaml:2:8"),
        ("tree: {n1: n1}", "2:12", "n1 stands below itself", "first at f.yaml:2:8"),
        ("tree: {'n[1-2]': n3}", "2:8", "names 2 hosts", "one host stands above"),
        ("tree: &t {n1: *t, n2: *t}", "2:7", "stands below itself", "alias"),
        ("a: [", "3:1", "not YAML", "brackets"),
        ("a: *x", "2:4", "not YAML: found undefined alias", ""),
        ("--- {}", "2:1", "not YAML", "one document"),
        ("ssh: {user: !x y}", "2:13", "the tag !x is not allowed", "take the tag out"),
        ("ssh: {user: \x07}", "2:13", "not YAML", "take the character out"),
        ("ssh: &a {<<: *a}", "2:6", "merged into itself", "loop"),
        ("ssh: {<<: [1]}", "2:12", "<< must name a mapping", "anchor"),
        ("hosts: {n1: {site: 'a b'}}", "2:20", "can't be a site's name", "without blanks"),
        ("peering: geneva", "2:10", "a list of lists of sites is expected", "[[geneva, lyon]"),
        ("peering: [geneva, lyon]", "2:11", "a list of lists of sites is expected", "[[geneva, lyon]"),
        ("peering: [[geneva]]", "2:11", "two or more sites peer", "each of them once"),
        ("peering: [[a, a]]", "2:11", "two or more sites peer", "each of them once"),
        ("peering: [[a, 1]]", "2:15", "1 is not a string", 'quoted: "1"'),
        ("peering: &p [*p]", "2:10", "a list stands here", "a site's name"),
        ("hosts: {n1: {site: lyon}}\npeering: [[lyon, lion]]", "3:18", "at the site lion", "mean lyon?"),
        ("hosts: {n1: {site: lyon}}\npeering: [[lyon, x]]", "3:18", "at the site x", "say `site: x`"),
    ],
)
def test_errors_name_place_and_remedy(text: str, where: str, message: str, remedy: str) -> None:
    first = errors(text)[0]
    head, _, rest = first.partition("\n")
    assert head.startswith(f"f.yaml:{where}: "), first
    assert message in head
    assert remedy in rest


def test_sites_and_which_of_them_peer() -> None:
    groups = "groups: {a: {hosts: 'n[1-3]', site: a}, b: {hosts: 'm1', site: b}, c: {hosts: 'o1', site: c}}\n"
    routes = load(groups + "hosts: {n1: {site: b}, x: {}}\npeering: [[a, b], [c, b]]")
    assert {name: routes.spec(name).site for name in ("n1", "n2", "m1", "x", "y")} == {
        "n1": "b",
        "n2": "a",
        "m1": "b",
        "x": None,
        "y": None,
    }
    assert routes.peering == {frozenset("ab"), frozenset("bc")}
    assert load(groups + "peering: [[a, b, c]]").peering == {
        frozenset("ab"),
        frozenset("bc"),
        frozenset("ac"),
    }
    assert load(groups).peering == frozenset()
    assert plan(routes, ["n1"]).peering == routes.peering


@pytest.mark.parametrize(("said", "is_on"), [("", True), ("audit: on", True), ("audit: off", False)])
def test_syslog_is_told_unless_the_file_says_otherwise(said: str, is_on: bool) -> None:
    routes = load(f"{said}\n")
    assert (routes.audit, plan(routes, ["n1"]).audit) == (is_on, is_on)
    assert "'no' is not on or off" in errors("audit: no")[0]


def test_a_list_of_sites_has_a_bound() -> None:
    many = ", ".join(f"s{number}" for number in range(101))
    assert "at most 100 sites" in errors(f"peering: [[{many}]]")[0]
    assert "at most 1000 lists" in errors("peering: [" + "[a, b], " * 1001 + "]")[0]


def test_every_error_is_found_at_once_in_the_order_of_the_file() -> None:
    found = errors("ssh: {port: 0, usr: 1}\ntimeouts: {connect: 5}\nhosts: {a: {relay: x}, b: {port: y}}\n")
    assert [error.split(" ")[0] for error in found] == [
        "f.yaml:2:13:",
        "f.yaml:2:16:",
        "f.yaml:3:21:",
        "f.yaml:4:20:",
        "f.yaml:4:34:",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("# nothing\n", "the file is empty"),
        ("ssh: {}", "`version` is missing"),
        ("version: 2", "'2' is not a version"),
        ("- version: 1", "must be a mapping"),
        ("x", "must be a mapping"),
        ("[" * 100_000, "nested too deeply"),
        ("\n".join(" " * depth + "a:" for depth in range(3000)), "nested too deeply"),
    ],
)
def test_what_is_no_route_file(text: str, message: str) -> None:
    with pytest.raises(RouteFileError, match=message):
        parse_routes(text, "f.yaml", no_groups)


def test_a_tree_can_be_as_deep_as_any_and_no_deeper() -> None:
    deep = "".join(f"{{n{level}: " for level in range(120)) + "[]" + "}" * 120
    assert "nested too deeply" in errors(f"tree: {deep}")[0]
    ninety = "".join(f"{{n{level}: " for level in range(90)) + "[]" + "}" * 90
    assert len(load(f"tree: {ninety}").hosts) == 90


def test_aliases_cant_make_a_short_file_endless() -> None:
    text = "tree:\n  - &t0 {x: [a, b, c, d, e, f, g, h]}\n"
    text += "".join(f"  - &t{n} {{y: [{', '.join([f'*t{n - 1}'] * 9)}]}}\n" for n in range(1, 12))
    assert "too many parts" in errors(text)[0]
    merges = "".join(f"  n{n}: &m{n} {{<<: [*m{n - 1}, *m{n - 1}]}}\n" for n in range(1, 60))
    routes = load("hosts:\n  n0: &m0 {port: 7}\n" + merges)
    assert routes.spec("n59").ssh.port == 7


def test_without_libyaml(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yamltree, "_Loader", yaml.SafeLoader)
    assert len(parse_routes(EXAMPLE, "f.yaml").hosts) == 37
    assert "010 is not a string" in errors("groups: {a: 010}")[0]
    assert "not YAML" in errors("a: [")[0]
    assert errors("ssh: {user: \x07}")[0].startswith("f.yaml:2:13: not YAML")
    assert "nested too deeply" in errors("tree: " + "[" * 900 + "]" * 900)[0]


def test_anchors_and_merge_keys_work() -> None:
    routes = load(
        "ssh: &s {user: a, port: 1}\n"
        "hosts:\n"
        "  n1: {ssh: {<<: *s, port: 2}}\n"
        "  n2: {ssh: {<<: [{port: 3}, *s]}}\n"
        "  n3: {ssh: *s}\n"
    )
    assert [(routes.spec(name).ssh.user, routes.spec(name).ssh.port) for name in ("n1", "n2", "n3")] == [
        ("a", 2),
        ("a", 3),
        ("a", 1),
    ]


def test_words_that_yaml_takes_for_truth_values_are_what_they_say() -> None:
    routes = load(
        "hosts: {a: {relay: no}, b: {relay: 'no'}, c: {relay: yes}}\nssh: {options: {Compression: yes}}"
    )
    assert [routes.spec(name).relay for name in "abc"] == [RelayRole.NO, RelayRole.NO, RelayRole.YES]
    assert routes.ssh.options == {"Compression": "yes"}


@pytest.mark.parametrize(
    ("text", "value"), [("10s", 10), ("500ms", 0.5), ("2m", 120), ("1h", 3600), ("1.5s", 1.5), ("none", None)]
)
def test_durations(text: str, value: float | None) -> None:
    assert load(f"timeouts: {{command: {text}}}").timeouts.command_s == value


def test_the_longest_times() -> None:
    times = load("timeouts: {connect: 168h, lease: 10080m, silence: 604800s, command: 8760h}").timeouts
    assert (times.connect_s, times.lease_s, times.silence_s) == (604800.0,) * 3
    assert times.command_s == 31536000.0


def test_groups_may_name_groups_and_other_sources() -> None:
    text = 'version: 1\ngroups: {all: "@a,@x:b", a: "n[1-2]", c: {hosts: ["@all!n1", m1]}}'
    routes = parse_routes(
        text, "f", lambda group, source: ["o[1-2]"] if (group, source) == ("b", "x") else []
    )
    assert routes.groups["all"] == ("n1", "n2", "o1", "o2")
    assert routes.groups["c"] == ("n2", "o1", "o2", "m1")


def test_tree_and_via_may_name_groups() -> None:
    routes = load('groups: {g: "n[1-2]", h: {hosts: "m[1-3]", via: "@g"}}\ntree: {n1: "@h", n2: []}')
    assert routes.spec("m1").via == ("n1", "n2")
    assert [one.host for one in routes.drawn[0].below] == ["m1", "m2", "m3"]


def test_reading_leaves_the_collector_of_cycles_as_it_was() -> None:
    assert gc.isenabled()
    errors("ssh: {port: 0}")
    assert gc.isenabled()
    gc.disable()
    try:
        load("")
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_reading_the_file(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("\ufeffversion: 1\ngroups: {a: n1}\n")  # as some editors write it
    assert load_routes(path).describe() == f"routes: {path} (1 host)"
    path.write_bytes(b"version: 1\n# \xff\n")
    with pytest.raises(RouteFileError, match=r"r.yaml:2: not UTF-8"):
        load_routes(path)
    with pytest.raises(RouteFileError, match="No such file"):
        load_routes(tmp_path / "none.yaml")
    with pytest.raises(RouteFileError, match="Is a directory"):
        read_text(tmp_path)


@given(st.text(max_size=200))
def test_no_text_makes_anything_but_routes_or_an_error(text: str) -> None:
    _, found = examine("version: 1\n" + text, "f.yaml", no_groups)
    assert all(str(error).startswith("f.yaml:") for error in found)


WORDS = "version ssh limits timeouts groups hosts tree user port via relay options a b << @a"
KEYS = st.sampled_from(WORDS.split())
SCALARS = st.sampled_from(
    ["1", "no", '"n[1-3]"', "'@a'", "none", "10s", "&x y", "*x", "", "[]", "{}", "auto"]
)
NESTED = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda parts: "[" + ", ".join(parts) + "]"),
        st.lists(st.tuples(KEYS, inner), max_size=4).map(
            lambda pairs: "{" + ", ".join(f"{key}: {value}" for key, value in pairs) + "}"
        ),
    ),
    max_leaves=12,
)


@given(st.lists(st.tuples(KEYS, NESTED), max_size=6))
def test_nor_does_any_structure(pairs: list[tuple[str, str]]) -> None:
    text = "".join(f"{key}: {value}\n" for key, value in pairs)
    routes, found = examine("version: 1\n" + text, "f.yaml", no_groups)
    assert (routes is None) == bool(found)
