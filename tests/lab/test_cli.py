"""`nile lab`, as a user types it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from nile.cli.lab import command
from nile.errors import LabError, UsageError
from nile.lab import down
from tests.lab.helpers import eventually

pytestmark = pytest.mark.lab


@pytest.fixture
def state_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    yield tmp_path
    for directory in (tmp_path / "nile" / "lab").glob("*"):
        down(directory)


def lab(*words: str) -> str:
    """What `nile lab WORDS` prints; raises what it raises."""
    done = CliRunner().invoke(command, words, catch_exceptions=False, standalone_mode=False)
    return done.output


@pytest.mark.usefixtures("state_home")
def test_a_lab_s_life(state_home: Path) -> None:
    directory = state_home / "nile" / "lab" / "demo"
    welcome = lab("up", "--name", "demo", "--hosts", "3", "--switches", "3")
    assert "3 hosts h[001-003] (loopback)" in welcome
    assert "nile exec -r lab:demo -a -- hostname" in welcome
    assert str(directory / "routes.yaml") in welcome
    assert {path.name for path in directory.iterdir()} >= {"routes.yaml", "known_hosts", "id_ed25519"}
    assert (directory.stat().st_mode & 0o777) == 0o700
    assert lab("status", "--name", "demo") == "up: h[001-003] (3)\n"
    lab("crash", "--name", "demo", "h001")
    lab("freeze", "--name", "demo", "h002")
    lab("cut", "--name", "demo", "h003")
    assert lab("status", "--name", "demo") == "crashed: h001 (1)\ncut: h003 (1)\nfrozen: h002 (1)\n"
    lab("mend", "--name", "demo", "h[001,003]")
    lab("thaw", "--name", "demo", "h002")
    lab("reboot", "--name", "demo", "h001")
    eventually(lambda: lab("status", "--name", "demo") == "up: h[001-003] (3)\n", "it is up again")
    told = json.loads(lab("status", "--name", "demo", "--json"))
    assert {host["answers"] for host in told["hosts"]} == {True}
    assert told["routes"] == str(directory / "routes.yaml")
    assert lab("down", "--name", "demo") == "lab 'demo' is down\n"
    assert lab("down", "--name", "demo") == "there was no lab 'demo'\n"
    assert not directory.exists()


@pytest.mark.usefixtures("state_home")
def test_the_route_file_is_one_that_nile_reads(state_home: Path) -> None:
    from nile.topology.routes import load_routes

    lab("up", "--hosts", "4", "--switches", "2")
    routes = load_routes(state_home / "nile" / "lab" / "lab" / "routes.yaml")
    assert sorted(routes.hosts) == ["h001", "h002", "h003", "h004"]


def test_root_runs_a_command_with_the_route_file(state_home: Path) -> None:
    lab("up", "--hosts", "1")
    code = "from nile.cli.lab import command; command()"
    words = ["root", "--", "sh", "-c", "echo $NILE_ROUTES; command -v nile; exit 3"]
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=False, env=os.environ
    )
    routes, program = done.stdout.split()
    assert routes == str(state_home / "nile" / "lab" / "lab" / "routes.yaml")
    assert Path(program).parent == Path(sys.executable).parent
    assert done.returncode == 3


@pytest.mark.usefixtures("state_home")
@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (("status",), LabError),
        (("crash", "h001"), LabError),
        (("status", "--name", "../etc"), UsageError),
        (("up", "--name", "a/b"), UsageError),
        (("up", "--hosts", "0"), LabError),
        (("up", "--rate", "200mbit"), LabError),
        (("up", "--backend", "netns", "--python", "nothing"), LabError),
        (("root", "--", "true"), LabError),
    ],
)
def test_what_cannot_be_done_is_told_with_a_remedy(words: tuple[str, ...], kind: type[Exception]) -> None:
    with pytest.raises(kind) as caught:
        lab(*words)
    assert "\n  " in str(caught.value) or "--hosts" in str(caught.value)


def test_the_command_s_module_is_light() -> None:
    code = "import sys, nile.cli.lab; print({'asyncssh', 'yaml', 'ClusterShell', 'rich'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
