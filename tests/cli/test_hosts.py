"""`nile hosts`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from nile.cli.hosts import command
from nile.errors import UsageError
from nile.topology import places

ROUTES = """\
version: 1
ssh: {user: admin}
groups:
  all: "@rack1,@rack2"
  rack1: "n[1-3]"
  rack2: {hosts: "m[1-2]", via: door, switch: sw}
hosts:
  n1: {address: {root: r, inside: i}, port: 2222, host_key_alias: key, ssh: {options: {Compression: yes}}}
  db: {relay: no, address: 10.0.0.1}
"""


@pytest.fixture
def routes(tmp_path: Path) -> str:
    (tmp_path / "r.yaml").write_text(ROUTES)
    return str(tmp_path / "r.yaml")


def run(*args: str) -> Result:
    return CliRunner().invoke(command, args, catch_exceptions=False, standalone_mode=False)


def test_groups_and_hosts(routes: str) -> None:
    result = run("-r", routes)
    assert result.stderr == f"routes: {routes} (6 hosts)\n"
    assert result.stdout.splitlines() == [
        "@all           m[1-2],n[1-3] (5)",
        "@rack1         n[1-3] (3)",
        "@rack2         m[1-2] (2)",
        "in no group    db (1)",
        "gateways only  door (1)",
    ]


def test_each_host_with_its_settings(routes: str) -> None:
    assert run("-v", "-r", routes).stdout.splitlines() == [
        "n1  groups=rack1,all  address=r|i  user=admin  port=2222",
        "n2  groups=rack1,all  user=admin",
        "n3  groups=rack1,all  user=admin",
        "m1  groups=rack2,all  user=admin  switch=sw  via=door",
        "m2  groups=rack2,all  user=admin  switch=sw  via=door",
        "db  address=10.0.0.1  user=admin  relay=no",
    ]


def test_for_programs(routes: str) -> None:
    found = json.loads(run("-r", routes, "--json").stdout)
    assert (found["schema"], found["routes"], found["gateways"]) == (1, routes, ["door"])
    assert found["groups"]["all"] == ["n1", "n2", "n3", "m1", "m2"]
    assert found["hosts"][0] == {
        "host": "n1",
        "groups": ["rack1", "all"],
        "address": {"root": "r", "inside": "i"},
        "user": "admin",
        "port": 2222,
        "identity": None,
        "options": {"Compression": "yes"},
        "host_key_alias": "key",
        "relay": "yes",
        "switch": None,
        "site": None,
        "via": [],
    }
    assert found["hosts"][-1]["relay"] == "no"


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("version: 1\n")
    assert run("-r", str(tmp_path / "r.yaml")).stdout == ""


def test_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("NILE_ROUTES", raising=False)
    monkeypatch.setattr(places, "SYSTEM_ROUTES", tmp_path / "none.yaml")
    with pytest.raises(UsageError, match="there is no route file"):
        run()


def test_an_inventory_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NILE_ROUTES", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr(places, "SYSTEM_ROUTES", tmp_path / "none")
    (tmp_path / "hosts.ini").write_text("[web]\nweb[1:2] ansible_user=ada ansible_ssh_pass=hush\n")
    result = run("--inventory", "hosts.ini", "-v")
    assert result.stdout.splitlines() == [f"web{n}  groups=web,all  user=ada" for n in (1, 2)]
    first, second = result.stderr.splitlines()
    assert first == "routes: hosts.ini (2 hosts)"
    assert second.startswith("nile: hosts.ini: ansible_ssh_pass: not taken")
