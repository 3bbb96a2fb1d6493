"""`nile plan`, and the options by which every command chooses hosts."""

from __future__ import annotations

import json
import re
import shlex
import time
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from nile.cli import foretold_copies
from nile.cli.common import Selection, SelectionOptions, select, selection_options
from nile.cli.plan import command
from nile.errors import NileError, UsageError
from nile.events import RunStarted
from nile.store import Recorder, RunContext, store_path
from nile.sync.forecast import Foreseen
from nile.sync.options import Method
from nile.topology import places

ROUTES = """\
version: 1
ssh: {user: file, options: {Compression: "no"}}
limits: {branches: 20}
groups:
  rack1: "n[1-4]"
  doors: "gw"
  rack2: {hosts: "m[1-6]", via: "m[1-2]", switch: sw2}
hosts: {gw: {relay: only}, db: {relay: no}}
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory and home, no route file anywhere."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for variable in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "NILE_ROUTES"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(places, "SYSTEM_ROUTES", tmp_path / "none.yaml")
    return tmp_path


@pytest.fixture
def routes(here: Path) -> Path:
    """./nile.yaml"""
    path = here / "nile.yaml"
    path.write_text(ROUTES)
    return path


def chosen(*args: str) -> Selection:
    """What `select` makes of a command line."""
    found: list[Selection] = []

    @click.command()
    @selection_options
    def probe(selection: SelectionOptions) -> None:
        found.append(select(selection))

    probe.main(list(args), standalone_mode=False)
    return found[0]


def refused(*args: str) -> UsageError:
    with pytest.raises(UsageError) as caught:
        chosen(*args)
    assert caught.value.exit_code == 2
    return caught.value


def run(*args: str) -> Result:
    return CliRunner().invoke(command, args, catch_exceptions=False, standalone_mode=False)


def test_without_a_route_file() -> None:
    selection = chosen("-w", "n[1-40]")
    assert len(selection.hosts) == 40
    assert selection.routes.describe() == "routes: no file, defaults in use"
    assert len(selection.plan.children(0)) == 6
    assert {node.stage for node in selection.plan.nodes} == {1, 2}


@pytest.mark.parametrize(
    ("args", "hosts"),
    [
        (["-a"], "n1 n2 n3 n4 m1 m2 m3 m4 m5 m6 db"),
        (["-g", "rack1"], "n1 n2 n3 n4"),
        (["-g", "rack1", "-g", "@rack2", "-x", "n[2-4],m[2-6]"], "n1 m1"),
        (["-w", "@rack1!n2", "-w", "n9"], "n1 n3 n4 n9"),
        (["-a", "-x", "@rack2", "-x", "n*"], "db"),
        (["-w", "@*", "-x", "@rack[1-2]"], "db"),
        (["-w", "n1,gw", "-x", "gw"], "n1"),
        (["-w", "n1,gw", "-x", "@doors"], "n1"),
        (["-w", "n2,n1,n2"], "n2 n1"),
    ],
)
def test_choosing_hosts(routes: Path, args: list[str], hosts: str) -> None:
    assert list(chosen(*args).hosts) == hosts.split()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "no hosts given"),
        (["-x", "n1"], "no hosts given"),
        (["-w", "n1", "-x", "n1"], "-x: no hosts are left"),
        (["-w", ""], "-w : a host set is empty"),
        (["-g", "rack3"], "-g rack3: group @rack3 is unknown"),
        (["-w", "@rack"], "-w @rack: group @rack is unknown"),
        (["-a", "-x", "@rack"], "-x @rack: group @rack is unknown"),
        (["-w", "gw"], "gw: `relay: only` hosts run no commands"),
        (["-g", "doors"], "all hosts of @doors are `relay: only`"),
        (["-w", "n1", "-o", "Foo=1"], "-o Foo=1: 'Foo' is no ssh_config keyword"),
        (["-w", "n1", "-o", "Compression"], "-o Compression: an ssh option has no value"),
        (["-w", "n1", "-o", "ForwardAgent=yes"], "-o ForwardAgent=yes: ForwardAgent=yes is not taken"),
        (["-w", "n1", "-o", "Port=x"], "-o Port=x: 'x' is not a number"),
        (["-w", "n1", "-o", "HostName=x"], "HostName has a setting of its own"),
        (["-w", "n1", "--tree", "explicit"], "--tree explicit: there is no explicit tree"),
        (["-w", "n[1-9]", "--branches", "1", "--stages", "2"], "9 hosts don't fit"),
        (["-r", "gone.yaml", "-a"], "-r gone.yaml: the route file is missing"),
        (["-r", "lab", "-a"], "there is no lab lab"),
    ],
)
def test_refused(routes: Path, args: list[str], message: str) -> None:
    assert message in str(refused(*args))


def test_all_of_what() -> None:
    assert "all hosts of what?" in str(refused("-a"))
    assert "group @x is unknown" in str(refused("-g", "x"))


def test_a_route_file_without_hosts(here: Path) -> None:
    (here / "nile.yaml").write_text("version: 1\n")
    assert "nile.yaml names no hosts" in str(refused("-a"))
    assert chosen("-w", "n1").hosts == ("n1",)


def test_the_command_line_wins(routes: Path) -> None:
    selection = chosen(
        *("-g", "rack2", "-l", "me", "-t", "2m", "--branches", "9", "--parallel", "3", "--stages", "7"),
        *("-o", "compression=yes", "-o", "Compression=delayed", "-o", "Port 2222", "-o", "IdentityFile=/k"),
    )
    for spec in selection.plan.specs.values():
        assert (spec.ssh.user, spec.ssh.port, spec.ssh.identity) == ("me", 2222, ("/k",))
        assert spec.ssh.options == {"Compression": "yes"}
    limits = selection.plan.limits
    assert (limits.branches, limits.parallel, limits.stages) == (9, 3, 7)
    assert selection.plan.timeouts.connect_s == 120


@pytest.mark.parametrize(
    ("args", "seconds"),
    [
        (["-t", "5"], 5),
        (["-t", "1.5"], 1.5),
        (["-t", "500ms"], 0.5),
        (["-o", "ConnectTimeout=7"], 7),
        (["-t", "5", "-o", "ConnectTimeout=7"], 5),
        ([], 10),
    ],
)
def test_the_connect_timeout(args: list[str], seconds: float) -> None:
    assert chosen("-w", "n1", *args).plan.timeouts.connect_s == seconds


@pytest.mark.parametrize("args", ["-t 0", "-t soon", "-t ''", "--branches 0", "--tree deep"])
def test_what_click_refuses(args: str) -> None:
    with pytest.raises(click.UsageError):
        chosen("-w", "n1", *shlex.split(args))


def test_the_tree_for_people(routes: Path) -> None:
    result = run("-w", "@rack1,m[3-6]", "--t-ssh", "100ms", "--t-nile", "0.1")
    assert result.stderr == "routes: nile.yaml (12 hosts)\n"
    text = result.stdout
    assert "m1  only relays" in text
    assert "m[3-4] (2)" in text
    assert "predicted: tree 0.40 s, flat 0.10 s (if the root reached all)" in text
    assert any(line.split() == ["2", "7", "3", "0.20", "s"] for line in text.splitlines()), text
    assert "logins: 2 by m[1-2]" in text


def test_the_tree_for_programs(routes: Path) -> None:
    result = run("-w", "m3", "--json")
    found: dict[str, Any] = json.loads(result.stdout)
    assert found == {
        "schema": 1,
        "routes": "nile.yaml",
        "tree": "auto",
        "hosts": 1,
        "limits": {"branches": 20, "parallel": 16, "logins": None, "stages": 3},
        "nodes": [
            {"host": "m1", "asked": False, "stage": 1, "path": ["root", "m1"], "children": ["m3"]},
            {"host": "m3", "asked": True, "stage": 2, "path": ["root", "m1", "m3"], "children": []},
        ],
        "stages": [
            {"stage": 1, "nodes": 1, "logins_max": 1, "time_s": 0.2},
            {"stage": 2, "nodes": 1, "logins_max": 1, "time_s": 0.2},
        ],
        "logins": {"root": 1, "m1": 1},
        "tree_s": 0.4,
        "flat_s": 0.15,
    }
    assert len(result.stdout.splitlines()) == 1


def test_markup_in_names_is_text(routes: Path) -> None:
    routes.write_text('version: 1\ngroups: {a: {hosts: "[1-9]n[1-9]"}}\n')
    assert "[1-9]n" in run("-a").stdout


def test_long_lines_lose_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"{letter * 50}.example.org" for letter in "abcdefgh"]
    assert f"{','.join(names)} (8)" in run("-w", ",".join(names), "--tree", "flat").stdout
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes this for a terminal
    monkeypatch.setenv("COLUMNS", "60")
    shown = re.sub(r"\x1b\[[0-9;]*m|[^!-~]", "", run("-w", ",".join(names), "--tree", "flat").stdout)
    assert f"{','.join(names)}(8)" in shown


def test_a_flat_tree(routes: Path) -> None:
    result = run("-w", "n[1-100]", "--tree", "flat")
    assert "n[1-100] (100)" in result.stdout
    assert "only relays" not in result.stdout


def test_a_broken_route_file_is_an_error_with_its_place(routes: Path) -> None:
    routes.write_text("version: 1\nhosts: {n1: {prot: 1}}\n")
    with pytest.raises(NileError) as caught:
        run("-w", "n1")
    assert str(caught.value) == "nile.yaml:2:14: 'prot' is unknown in a host\n  did you mean 'port'?"


@pytest.fixture
def site(here: Path) -> Path:
    """A source of 3000 bytes."""
    (here / "site").mkdir()
    for name in ("a", "b", "c"):
        (here / "site" / name).write_bytes(b"x" * 1000)
    return here / "site"


def test_a_copy_is_foretold_for_people(routes: Path, site: Path) -> None:
    result = run("-w", "@rack1,m[3-6]", "--rate", "8kbit", "--sync", "site/", "/srv/site")
    text = result.stdout
    assert "copy of site/ to /srv/site: 2.9 KiB in 3 files, if hosts have nothing of it" in text
    assert "only a run can tell: `nile sync -n` asks them" in text
    assert "method: stream: 8 hosts are to get the same" in text
    assert "data path: root > n1 > n2 > n3 > n4 > m3 > m4 > m5 > m6\n" in text
    assert "F/R: 2.9 KiB at 1000 bytes/s on every port and uplink: 3.00 s" in text
    assert re.search(
        r"^predicted: as a stream 3.00 s, by rsync from host to host .* logins", text, re.MULTILINE
    )
    assert "as a swarm 5.40 s to 9.00 s, and what it takes to begin" in text
    assert re.search(r"^switch sw2 +4 +2.9 KiB", text, re.MULTILINE)


def test_a_swarm_that_is_foretold_shows_no_chain(site: Path) -> None:
    hosts = tuple((f"h{number}", "switch") for number in range(3))
    found = Foreseen(Method.SWARM, "many", 3000, 3000, 1000.0, 3.0, 3.0, 6.0, (5.4, 9.0), hosts, ())
    told = foretold_copies.Foretold(foretold_copies.Wanted((str(site),)), found, 3)
    text = list(foretold_copies.lines(told, 1.0))
    assert "data path: from host to host as it turns out" in text
    assert not any("h0 > h1" in line for line in text)


def test_a_copy_is_foretold_for_programs(routes: Path, site: Path) -> None:
    found = json.loads(run("-w", "n[1-2]", "--json", "--sync", "site/").stdout)
    assert found["hosts"] == 2
    sync = found["sync"]
    assert sync["method"] == "stream"
    assert sync["bytes"] == sync["stream_bytes"] == 3000
    assert sync["bytes_per_s"] == 125e6
    assert (sync["files"], sync["since"]) == (3, None)
    assert sync["least_s"] == sync["stream_s"] == 24e-6
    assert sync["swarm_s"] == [43e-6, 72e-6]
    assert sync["chain"] == ["n1", "n2"]
    assert sync["uplinks"][1] == {
        "of": "group rack1",
        "hosts": 2,
        "stream_in": 3000,
        "stream_out": 0,
        "rsync_in": 6000,
        "rsync_out": 0,
    }


def test_of_holes_a_stream_sends_nothing_but_in_a_patch(routes: Path, site: Path) -> None:
    with (site / "image").open("wb") as file:
        file.truncate(20 << 30)
        file.write(b"x" * 1000)
    args = ("-w", "@rack1,m[3-6]", "--sync", "site/")
    sync = json.loads(run("--json", *args).stdout)["sync"]
    assert sync["bytes"] == (20 << 30) + 3000
    assert 4000 <= sync["stream_bytes"] < 1 << 20
    assert sync["least_s"] == sync["stream_s"] < 0.1
    assert sync["rsync_s"] > 160
    text = run(*args).stdout
    assert "copy of site/: 20.0 GiB in 4 files, if hosts have nothing of it\nholes: a stream sends " in text
    assert re.search(r"^F/R: \S+ KiB at 119.2 MiB/s", text, re.MULTILINE)

    with Recorder(store_path(), RunContext(("nile", "sync"))) as recorder:
        recorder.record([RunStarted("5eed0001", "", None, ("n1",), (), 0.0)])
    patch = json.loads(run("--json", "--since", "last", *args).stdout)["sync"]
    assert patch["bytes"] == patch["stream_bytes"] == (20 << 30) + 3000


def test_several_sources_but_for_what_is_left_out(routes: Path, site: Path, here: Path) -> None:
    (here / "app.conf").write_bytes(b"x" * 50)
    args = ("-w", "n1", "--json", "--exclude-files", "/site/[bc]", "--sync", "site", "--sync", "app.conf")
    sync = json.loads(run(*args, "/srv").stdout)["sync"]
    assert (sync["files"], sync["bytes"]) == (2, 1050)


def test_of_a_patch_what_changed_since_a_run(routes: Path, site: Path) -> None:
    (site / "again").hardlink_to(site / "a")
    with Recorder(store_path(), RunContext(("nile", "sync"))) as recorder:
        began = time.time()
        recorder.record([RunStarted("5eed0001", "", None, ("n1",), (), began)])
    args = ("-w", "n1", "--since", "5eed", "--sync", "site/", "/srv/site")
    assert json.loads(run("--json", *args).stdout)["sync"]["files"] == 0
    while (site / "a").stat().st_ctime <= began:  # the kernel's clock has steps
        (site / "a").write_bytes(b"y" * 700)
    found = "patch of site/ to /srv/site: 700 bytes in 1 file that changed here since run 5eed0001 began"
    assert found in run(*args).stdout


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["/srv"], "a destination, /srv without --sync"),
        (["--rate", "1gbit"], "--rate without --sync"),
        (["--since", "last"], "--since without --sync"),
        (["--exclude-files", "*.o"], "--exclude-files without --sync"),
        (["--sync", "site/", "--since", "last"], "no run is recorded yet"),
        (["--sync", "gone/"], "there is no such file"),
        (["--sync", "site/", "srv"], "must be an absolute path"),
    ],
)
def test_no_copy_to_be_foretold(routes: Path, site: Path, args: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        run("-w", "n1", *args)


def test_a_rate_needs_its_unit(routes: Path, site: Path) -> None:
    with pytest.raises(click.UsageError, match="no rate above 0"):
        run("-w", "n1", "--sync", "site/", "--rate", "5")
