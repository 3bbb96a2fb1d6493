"""The architecture as failing tests: layers, the agent's boundary, purity, printing, loose tasks."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nile.cli import COMMANDS
from tests import archcheck

ROOT = Path(__file__).parent.parent
NILE = ROOT / "nile"
AGENT = sorted((NILE / "agent").rglob("*.py"))
SOURCES = sorted(NILE.rglob("*.py"))

# What a bare start costs is counted once per host: these lists grow only with a measurement.
PURE_AGENT = frozenset({"_struct", "errno", "marshal", "zlib"})
BARE = frozenset({"os", "sys", "select", "_struct", "zlib", "errno", "time", "marshal", "pwd", "_signal"})
QUIET = BARE - {"os"} | {"posix"}
"""A leaf that runs a quick command comes by without what takes 1 ms to import, and 3 before Python 3.11."""
AGENT_MODULES = {
    "__init__": frozenset[str](),
    "wire": PURE_AGENT,
    "link": PURE_AGENT,
    "core": PURE_AGENT,
    "anew": PURE_AGENT,
    "relay": PURE_AGENT,
    "child": PURE_AGENT,
    "stopping": PURE_AGENT,
    "handshake": PURE_AGENT | {"sys"},
    "start": QUIET | {"_imp"},  # built in: nothing is found or loaded
    "warden": QUIET | {"_ctypes"},
    "processes": QUIET,
    "leftovers": BARE,
    "forked": BARE,
    "feed": BARE,
    "claims": QUIET,
    "orphan": BARE | {"stat", "fcntl"},  # late, and os has imported stat
    "command": QUIET,
    "loop": QUIET,
    # Relays only: a leaf is never sent these.
    "sshlogin": BARE,
    "logins": BARE | {"_frozen_importlib_external"},
    "signsocket": BARE | {"_socket"},
    "channel": PURE_AGENT,
    "carry": BARE | {"_socket", "socket"},
    "reach": BARE | {"_socket"},
    # Sent to whom it concerns, with the plan.
    "minder": QUIET | {"os", "_socket", "hashlib", "zlib"},
    "outfit": BARE | {"resource"},
    "script": BARE,
    "sandbox": BARE,
    "spaces": BARE | {"ctypes", "resource"},
    "landlock": BARE | {"ctypes"},
    "sudowords": PURE_AGENT,
    "sudo": BARE | {"_socket"},
    "inside": BARE | {"_socket"},
    # And to whoever logs in to a host without Python.
    "leafprogram": PURE_AGENT,
    "leafcommand": PURE_AGENT | {"hashlib"},
    "shellleaf": PURE_AGENT | {"binascii"},
}
# A worker is a program of its own, which starts only where files are copied.
WORKER = frozenset(sys.stdlib_module_names) - {"asyncio", "pickle", "threading", "ctypes"}
PURE_AGENT_MODULES = {"wire", "link", "core", "stopping", "anew", "child", "relay", "handshake", "channel"}
PURE_AGENT_MODULES |= {"leafprogram", "leafcommand", "shellleaf"}
PURE_PATHS = [
    *sorted((NILE / "cascade").rglob("*.py")),
    *sorted((NILE / "topology").rglob("*.py")),
    *(path for path in AGENT if path.stem in PURE_AGENT_MODULES),
    NILE / "events.py",
    NILE / "options.py",
    NILE / "errors.py",
]
# Its chance comes from seeds.
SEEDED_PATHS = sorted((NILE / "simulation").rglob("*.py"))
# The one place in topology that touches a disk.
FILE_READERS = frozenset({"topology/scriptfile.py"})


def _name(path: Path) -> str:
    return str(path.relative_to(NILE))


def _below_cli() -> Iterator[Path]:
    return (path for path in SOURCES if not _name(path).startswith(("cli/", "agent/", "__main__")))


# Import contracts


def _lint_imports(root: Path) -> subprocess.CompletedProcess[str]:
    program = (
        "import sys; sys.path.insert(0, ''); from importlinter.cli import lint_imports_command as c; c()"
    )
    return subprocess.run(
        [sys.executable, "-c", program, "--no-cache", "--no-logo"],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_import_contracts_hold() -> None:
    done = _lint_imports(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


@pytest.mark.parametrize(
    ("module", "planted", "contract"),
    [
        ("topology/model.py", "def f():\n    import nile.cascade", "Imports point down only"),
        ("errors.py", "import nile.cli", "Imports point down only"),
        ("store/__init__.py", "from nile import report", "brothers"),
        ("transport/base.py", "import nile.bootstrap", "brothers"),
        ("agent/__init__.py", "from nile import errors", "Imports point down only"),
        ("stray.py", "", "Imports point down only"),
        ("__init__.py", "import nile.cli", "The API"),
        ("store/__init__.py", "from nile import __version__", "Nothing below the API"),
        ("cascade/__init__.py", "def f():\n    import asyncio", "What decides"),
        ("cascade/__init__.py", "import nile.agent.planted", "What decides"),
        ("simulation/__init__.py", "import nile.report", "brothers"),
        ("simulation/__init__.py", "def f():\n    import time", "The simulator"),
    ],
)
def test_import_contracts_bite(tmp_path: Path, module: str, planted: str, contract: str) -> None:
    shutil.copytree(NILE, tmp_path / "nile", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "nile/agent/planted.py").write_text("import time\n")
    with (tmp_path / "nile" / module).open("a") as file:
        file.write(f"\n{planted}\n")
    done = _lint_imports(tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    broken = [line for line in " ".join(done.stdout.split()).split("BROKEN")[:-1] if contract in line]
    assert broken, done.stdout


# The agent's boundary


@pytest.mark.parametrize("path", AGENT, ids=_name)
def test_agent_imports_only_what_it_may(path: Path) -> None:
    if path.parent.name == "worker":
        allowed = WORKER | ({"libtorrent"} if path.stem == "peerprogram" else set())
    else:
        assert path.stem in AGENT_MODULES, "a new agent module needs its own line in AGENT_MODULES"
        allowed = AGENT_MODULES[path.stem]
    assert archcheck.agent_imports(path.read_text(), allowed) == []


@pytest.mark.parametrize("path", AGENT, ids=_name)
def test_agent_is_python_3_6(path: Path) -> None:
    assert archcheck.newer_than_3_6(path.read_text()) == []


def _interpreters() -> Iterator[str]:
    """Every Python from 3.6 on that this machine has, one a version."""
    seen = set()
    places = [*Path.home().glob(".pyenv/versions/3.*/bin/python3")]
    places += [Path(found) for minor in range(6, 16) if (found := shutil.which(f"python3.{minor}"))]
    for place in [Path(sys.executable), *places]:
        asked = [str(place), "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
        done = subprocess.run(asked, capture_output=True, text=True, timeout=30, check=False)
        # A version manager's placeholder for a Python that isn't there fails; that isn't ours to mend.
        if done.returncode == 0 and done.stdout not in seen:
            seen.add(done.stdout)
            yield str(place)


COMPILE = "import sys\nfor path in sys.argv[1:]:\n    compile(open(path, 'rb').read(), path, 'exec')"


def _compile_everywhere(paths: list[Path]) -> list[str]:
    """What the interpreters of this machine say against the files; warnings are errors."""
    found = []
    for python in _interpreters():
        command = [python, "-I", "-W", "error", "-c", COMPILE, *map(str, paths)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        found += [f"{python}: {done.stderr}"] * (done.returncode != 0)
    return found


def test_agent_compiles_on_every_python_here() -> None:
    assert _compile_everywhere(AGENT) == []


def test_compiling_everywhere_bites(tmp_path: Path) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text("x = '\\d'\n")
    assert _compile_everywhere([bad])


# Purity, printing, tasks, commands


@pytest.mark.parametrize("path", PURE_PATHS, ids=_name)
def test_pure_code_is_pure(path: Path) -> None:
    found = archcheck.impurities(path.read_text())
    if _name(path) in FILE_READERS:
        found = [line for line in found if not line.endswith("calls open")]
    assert found == []


@pytest.mark.parametrize("path", SEEDED_PATHS, ids=_name)
def test_what_is_simulated_comes_from_a_seed(path: Path) -> None:
    source = path.read_text()
    assert [line for line in archcheck.impurities(source) if not line.endswith("imports random")] == []
    assert archcheck.unseeded(source) == []


def test_only_the_command_line_prints() -> None:
    found = {_name(path): archcheck.printing(path.read_text()) for path in _below_cli()}
    assert {name: lines for name, lines in found.items() if lines} == {}


def test_no_task_is_loose() -> None:
    found = {_name(path): archcheck.loose_tasks(path.read_text()) for path in SOURCES}
    assert {name: lines for name, lines in found.items() if lines} == {}


def test_one_file_a_command() -> None:
    files = {f"nile.cli.{path.stem}": path.read_text() for path in (NILE / "cli").glob("*.py")}
    commands = {name: entry.module for name, entry in COMMANDS.items()}
    del files["nile.cli.__init__"]
    assert archcheck.command_files(files, commands) == []


# Each check fails on a planted violation


def _agent_check(source: str) -> list[str]:
    return archcheck.agent_imports(source, BARE)


@pytest.mark.parametrize(
    ("check", "source"),
    [
        (_agent_check, "import json"),
        (_agent_check, "import os, json"),
        (_agent_check, "import os.path"),
        (_agent_check, "def f():\n    from subprocess import run"),
        (_agent_check, "try:\n    pass\nexcept OSError:\n    import socket"),
        (_agent_check, "from nile import errors"),
        (_agent_check, "from .. import errors"),
        (_agent_check, "x = __import__('json')"),
        (_agent_check, "__import__(name)"),
        (_agent_check, "if TYPE_CHECKING:\n    pass\nelse:\n    import json"),
        (archcheck.newer_than_3_6, "if (x := 1):\n    pass"),
        (archcheck.newer_than_3_6, "def f(a, /):\n    pass"),
        (archcheck.newer_than_3_6, "match x:\n    case 1:\n        pass"),
        (archcheck.newer_than_3_6, "from __future__ import annotations"),
        (archcheck.newer_than_3_6, "def f() -> list[int]:\n    pass"),
        (archcheck.newer_than_3_6, "def f(a: int | None):\n    pass"),
        (archcheck.newer_than_3_6, "class A:\n    x: dict[str, int]"),
        (archcheck.impurities, "def f():\n    import asyncio.queues"),
        (archcheck.impurities, "from time import monotonic"),
        (archcheck.impurities, "import importlib\nimportlib.import_module('random')"),
        (archcheck.impurities, "open('/etc/hosts')"),
        (archcheck.impurities, "import os\nos.urandom(4)"),
        (archcheck.unseeded, "import random\ndef f():\n    return random.random()"),
        (archcheck.unseeded, "import random\nrng = random.Random()"),
        (archcheck.unseeded, "import random\nrng = random.SystemRandom(1)"),
        (archcheck.unseeded, "from random import Random"),
        (archcheck.unseeded, "import random as chance"),
        (archcheck.printing, "def f():\n    print('x')"),
        (archcheck.printing, "import click\nclick.echo('x')"),
        (archcheck.printing, "import sys\nsys.stderr.write('x')"),
        (archcheck.printing, "import sys\nrender(sys.stdout)"),
        (archcheck.printing, "from sys import stdout"),
        (archcheck.printing, "if x:\n    print(__name__)"),
        (archcheck.loose_tasks, "import asyncio\nasyncio.create_task(f())"),
        (archcheck.loose_tasks, "asyncio.get_running_loop().create_task(f())"),
        (archcheck.loose_tasks, "self._loop.create_task(f())"),
        (archcheck.loose_tasks, "async def f():\n    await asyncio.gather(a(), b())"),
        (archcheck.loose_tasks, "from asyncio import ensure_future"),
        (archcheck.loose_tasks, "start = asyncio.ensure_future"),
    ],
)
def test_checks_bite(check: Callable[[str], list[str]], source: str) -> None:
    assert check(source)


@pytest.mark.parametrize(
    ("check", "source"),
    [
        (_agent_check, "import os, sys\nfrom nile.agent import wire\nfrom time import monotonic"),
        (_agent_check, "if TYPE_CHECKING:\n    from typing import Any"),
        (archcheck.newer_than_3_6, "x: int = 1\ndef f(a: 'list[int]') -> 'int | None':\n    return f'{a}'"),
        (archcheck.impurities, "import os.path\nfrom nile.topology import model"),
        (archcheck.unseeded, "import random\ndef f(rng: random.Random):\n    random.Random(rng.random())"),
        (
            archcheck.printing,
            "def f(out):\n    out.write('x')\n    done.stdout.read()\n    sys.stderr.flush()",
        ),
        (archcheck.printing, "if __name__ == '__main__':\n    print('x')"),
        (archcheck.loose_tasks, "async with TaskGroup() as group:\n    group.create_task(f())"),
        (archcheck.loose_tasks, "self._tasks.create_task(f())\nself.condition.wait()"),
    ],
)
def test_checks_let_good_code_pass(check: Callable[[str], list[str]], source: str) -> None:
    assert check(source) == []


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"nile.cli.plan": "x = 1"},
        {"nile.cli.plan": "command = 1\ncommand = 2"},
        {"nile.cli.plan": "command = 1", "nile.cli.helper": "def command():\n    pass"},
        {
            "nile.cli.plan": "command = 1\ndef f():\n    from nile.cli.plan2 import x",
            "nile.cli.plan2": "command = 2",
        },
    ],
)
def test_command_check_bites(files: dict[str, str]) -> None:
    commands = {"plan": "nile.cli.plan"} | ({"plan2": "nile.cli.plan2"} if len(files) > 1 else {})
    assert archcheck.command_files(files, commands)
