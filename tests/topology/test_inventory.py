"""Inventories of other tools: Ansible's (INI, YAML), genders; and how a route file goes over them."""

from __future__ import annotations

from pathlib import Path

import pytest

from nile.errors import RouteFileError
from nile.topology.inventory import merging
from nile.topology.inventory.ranges import expand, split_port
from nile.topology.refusal import Refusal
from nile.topology.routes import Routes, examine, inventory_routes, load_routes

INI = """\
# a comment
mail.example.org
localhost ansible_connection=local
[web]
web[01:03].example.org ansible_port=2222 ansible_ssh_pass="hush # hush"   # of the rack
jump:2200 ansible_host=10.0.0.1
[empty]
[db:vars]
ansible_user = 'postgres'   # before its section
[db]
; another comment
db-[a:c]
web01.example.org
[site:children]
web
db   # and a comment
[site:vars]
ansible_user=deploy
[all:vars]
ansible_user=nobody
ansible_ssh_private_key_file=~/.ssh/deploy
ansible_ssh_common_args='-o ProxyJump=x'
"""

YAML = """\
all:
  hosts:
    mail.example.org:
  vars: {ansible_user: nobody}
  children:
    web:
      hosts:
        "web[01:03]": {ansible_port: 2222, ansible_become_pass: hush}
      vars:
        secret: !vault |
          $ANSIBLE_VAULT
        ansible_user: deploy
    dc:
      children:
        web:
        db: {hosts: {"db-[a:c]": {ansible_ssh_host: 10.0.0.9}}}
"""

GENDERS = """\
# nodes  attributes
n[1-3],login   compute,rack=r1   # x
n2  gpu=%n,odd=a/b

spare
"""


def read(tmp_path: Path, text: str, name: str = "hosts.ini") -> Routes:
    (tmp_path / name).write_text(text)
    return inventory_routes([str(tmp_path / name)])


def users(routes: Routes) -> dict[str, tuple[str | None, int | None]]:
    return {name: (spec.ssh.user, spec.ssh.port) for name, spec in routes.hosts.items()}


def test_ini(tmp_path: Path) -> None:
    routes = read(tmp_path, INI)
    web = ("web01.example.org", "web02.example.org", "web03.example.org", "jump")
    db = ("db-a", "db-b", "db-c", "web01.example.org")
    assert routes.groups == {
        "ungrouped": ("mail.example.org",),
        "web": web,
        "empty": (),
        "db": db,
        "site": (*web, "db-a", "db-b", "db-c"),
        "all": ("mail.example.org", *web, "db-a", "db-b", "db-c"),
    }
    assert (
        users(routes)
        == {
            "mail.example.org": ("nobody", None),
            "web01.example.org": (
                "postgres",
                2222,
            ),  # db and web are equally deep, and db comes first: web says nothing
            "web02.example.org": ("deploy", 2222),
            "web03.example.org": ("deploy", 2222),
            "jump": ("deploy", 2200),
            **dict.fromkeys(db[:3], ("postgres", None)),
        }
    )
    assert routes.spec("jump").address_root == routes.spec("jump").address_inside == "10.0.0.1"
    assert {spec.ssh.identity for spec in routes.hosts.values()} == {("~/.ssh/deploy",)}


def test_what_is_not_taken_is_said_and_no_secret_is(tmp_path: Path) -> None:
    text = read(tmp_path, INI).describe()
    assert "localhost: left out, for ansible_connection isn't ssh" in text
    assert "ansible_ssh_common_args, ansible_ssh_pass: not taken" in text
    assert "hush" not in text
    (tmp_path / "group_vars").mkdir()
    assert "what stands in group_vars isn't read" in read(tmp_path, INI).describe()


def test_yaml(tmp_path: Path) -> None:
    routes = read(tmp_path, YAML, "hosts.yml")
    web, db = ("web01", "web02", "web03"), ("db-a", "db-b", "db-c")
    assert routes.groups == {
        "ungrouped": ("mail.example.org",),
        "all": ("mail.example.org", *web, *db),
        "web": web,
        "dc": (*web, *db),
        "db": db,
    }
    assert users(routes) == {
        "mail.example.org": ("nobody", None),
        **dict.fromkeys(web, ("deploy", 2222)),
        **dict.fromkeys(db, ("nobody", None)),
    }
    assert routes.spec("db-a").address_root == "10.0.0.9"
    assert "ansible_become_pass: not taken" in routes.describe()


def test_genders(tmp_path: Path) -> None:
    routes = read(tmp_path, GENDERS, "genders")
    all_four = ("n1", "n2", "n3", "login")
    assert routes.groups == {
        "all": (*all_four, "spare"),
        "compute": all_four,
        "rack": all_four,
        "rack=r1": all_four,
        "gpu": ("n2",),
        "gpu=n2": ("n2",),
        "odd": ("n2",),
    }
    assert routes.host_sets().expand("@rack=r1!@gpu") == ("n1", "n3", "login")


def test_the_kind_of_a_file(tmp_path: Path) -> None:
    assert "web" in read(tmp_path, "---\nweb: {hosts: {a: }}\n", "plain").groups
    assert "web" in read(tmp_path, "web:\n  hosts:\n    a:\n", "plain").groups
    assert "web" in read(tmp_path, "[web]\na\n", "plain").groups
    (tmp_path / "plain").write_text("n1 web\n")
    assert "web" in inventory_routes([f"genders:{tmp_path}/plain"]).groups
    with pytest.raises(RouteFileError, match=r"plain:1:1: behind the host stands a word without '='"):
        inventory_routes([f"ansible:{tmp_path}/plain"])


def test_a_route_file_goes_over_its_inventory(tmp_path: Path) -> None:
    (tmp_path / "hosts.ini").write_text(INI)
    (tmp_path / "nodes.genders").write_text("n1 rack1\njump rack1\n")
    path = tmp_path / "r.yaml"
    path.write_text(
        "version: 1\ninventory: [hosts.ini, nodes.genders]\nssh: {user: general, port: 22}\n"
        'groups: {mine: "@web!jump", db: {hosts: "db-a,db-b", user: grouped}, more: "@rack1"}\n'
        "hosts: {jump: {user: own}, db-b: {address: 10.0.0.7}}\n"
    )
    routes = load_routes(path)
    assert routes.groups["mine"] == ("web01.example.org", "web02.example.org", "web03.example.org")
    assert routes.groups["db"] == ("db-a", "db-b"), "the route file's own group wins"
    assert routes.groups["more"] == ("n1", "jump")
    found = users(routes)
    assert found["jump"] == ("own", 2200)
    assert found["db-a"] == ("grouped", 22)
    assert found["db-c"] == ("postgres", 22)
    assert found["n1"] == ("general", 22)
    assert routes.spec("jump").address_root == "10.0.0.1"
    assert routes.spec("db-b").address_root == "10.0.0.7"


def test_two_inventories_are_one(tmp_path: Path) -> None:
    for name, text in (
        ("a", "[web]\nx ansible_port=1 ansible_user=one\ny\n"),
        ("b", "[web]\nz\nx ansible_port=2\n"),
    ):
        (tmp_path / name).write_text(text)
    routes = inventory_routes([str(tmp_path / "a"), str(tmp_path / "b")])
    assert routes.groups["web"] == ("x", "y", "z")
    assert users(routes)["x"] == ("one", 2)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[web]\na b\n", "2:1: behind the host stands a word without '='"),
        ("[web\na\n", "1:1: '[web' can't be a host's name"),
        ("[web:x]\n", "1:1: a section can't be 'x'"),
        ("[a b]\n", "1:1: [a b] is no section"),
        ("[a:children]\n  b\n", "2:3: group b is unknown"),
        ("[b:vars]\nx=1\n", "1:1: group b is unknown"),
        ("[a:children]\nb\n[b:children]\na\n[c]\nx\n", "group a contains itself: a -> b -> a"),
        ("[a]\nx ansible_port=0\n", "2:1: '0' is not a port"),
        ("x:http\n", "1:1: 'http' is not a port"),
        ("x ansible_user='{{ me }}'\n", "1:1: ansible_user is a template"),
        ("x ansible_host='a b'\n", "1:1: 'a b' can't be ansible_host"),
        ("x ansible_host=@web\n", "1:1: '@web' is a host set where one host is expected"),
        ("x 'y\n", "1:1: not readable: no closing quotation"),
        ("n[1-3]\n", "1:1: [1-3] in 'n[1-3]' is no range"),
        ("root\n", "1:1: a host can't be called 'root'"),
        ("[a:vars]\n[a]\n[a:vars]\nnothing\n", "4:1: no variable stands here"),
        ("# nothing\n", "the inventory names no hosts"),
        ("a: {hosts: [x]}\n", "1:12: hosts must be a mapping"),
        ("a: {host: {x: }}\n", "1:5: a group has no 'host'"),
        ("a: {hosts: {x y: }}\n", "1:13: 'x y' can't be a host's name"),
        ("a b: {hosts: {x: }}\n", "1:1: 'a b' can't be a group's name"),
        ("plugin: aws_ec2\n", "1:1: this configures a plugin"),
        ("_meta: {}\n", "1:1: this is what an inventory program prints"),
        ("a: &a {children: {b: *a}}\n", "groups are nested too deeply"),
        ("---\na: [\n", "not YAML"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(tmp_path: Path, text: str, expected: str) -> None:
    name = "h.yaml" if ": {" in text or "---" in text or "plugin" in text else "h.ini"
    with pytest.raises(RouteFileError) as caught:
        read(tmp_path, text, name)
    assert str(caught.value).startswith(f"{tmp_path}/{name}")
    assert expected in str(caught.value)
    assert "\n" in str(caught.value), "a remedy is named"


def chained(groups: int) -> str:
    """g1 contains g2 and so on; the host is in the last one."""
    inner = "".join(f"[g{number}:children]\ng{number + 1}\n" for number in range(1, groups))
    return f"{inner}[g{groups}]\nx\n"


@pytest.mark.parametrize("groups", [101, 20_000])
def test_groups_are_nested_only_so_deep(tmp_path: Path, groups: int) -> None:
    deepest = read(tmp_path, chained(100), "h.ini")
    assert deepest.groups["g1"] == deepest.groups["g100"] == ("x",)
    with pytest.raises(RouteFileError, match="nested more than 100 deep, down to g101") as caught:
        read(tmp_path, chained(groups), "h.ini")
    assert caught.value.where == f"{tmp_path}/h.ini:200:1"
    assert caught.value.remedy


def test_groups_have_only_so_many_hosts_in_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "[a]\nx[1:9]\n[b:children]\na\n[c:children]\nb\n"
    monkeypatch.setattr(merging, "MEMBERS_MAX", 27)
    assert len(read(tmp_path, text, "h.ini").groups["c"]) == 9
    monkeypatch.setattr(merging, "MEMBERS_MAX", 26)
    with pytest.raises(RouteFileError, match="more than 26 hosts") as caught:
        read(tmp_path, text, "h.ini")
    assert caught.value.where == f"{tmp_path}/h.ini:6:1"


def test_genders_errors(tmp_path: Path) -> None:
    for text, expected in (("n1 a b\n", "1:1: 3 words"), ("n1 @x\n", "1:1: '@x' can't be a group's name")):
        with pytest.raises(RouteFileError, match=expected):
            read(tmp_path, text, "genders")


def test_all_errors_are_told_once_each(tmp_path: Path) -> None:
    (tmp_path / "h.ini").write_text("[a]\nx[1:9]\n[b]\ny z\n[a:vars]\nansible_port=no\n")
    routes, errors = examine("version: 1", "r.yaml", inventories=[str(tmp_path / "h.ini")])
    assert routes is None
    assert [str(error.where).rsplit("/", 1)[1] for error in errors] == ["h.ini:4:1", "h.ini:6:1"]


def test_nothing_is_carried_out(tmp_path: Path) -> None:
    program = tmp_path / "inventory"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\necho '{{}}'\n")
    program.chmod(0o755)
    with pytest.raises(RouteFileError, match="this is a program"):
        inventory_routes([str(program)])
    assert not (tmp_path / "ran").exists()


def test_no_loop_is_endless_and_no_bomb_goes_off(tmp_path: Path) -> None:
    levels = "".join(f"  g{n}: &g{n} {{children: {{a: *g{n - 1}, b: *g{n - 1}}}}}\n" for n in range(1, 30))
    with pytest.raises(RouteFileError, match="nested too deeply"):
        read(tmp_path, f"all:\n children:\n  g0: &g0 {{hosts: {{x: }}}}\n{levels}", "h.yaml")


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("web[01:03].x", ["web01.x", "web02.x", "web03.x"]),
        ("n[8:12:2]", ["n8", "n10", "n12"]),
        ("n[:2]", ["n0", "n1", "n2"]),
        ("r[1:2]n[a:b]", ["r1na", "r1nb", "r2na", "r2nb"]),
        ("plain", ["plain"]),
    ],
)
def test_ranges(pattern: str, names: list[str]) -> None:
    assert expand(pattern) == names


@pytest.mark.parametrize(
    "pattern", ["n[3:1]", "n[01:100]", "n[a:3]", "n[1:]", "n[1:2:0]", "n[0:99999999]", "n[]"]
)
def test_no_ranges(pattern: str) -> None:
    with pytest.raises(Refusal):
        expand(pattern)


def test_ports() -> None:
    assert split_port("web[1:3]:22") == ("web[1:3]", "22")
    assert split_port("[2001:db8::1]:22") == ("2001:db8::1", "22")
    assert split_port("2001:db8::1") == ("2001:db8::1", "")
    assert split_port("[1:3]") == ("[1:3]", "")
