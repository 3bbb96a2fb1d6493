"""The example route files: each loads, is documented, and plans all its hosts."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from nile.cli import commands
from nile.topology.plan import plan
from nile.topology.routes import load_routes
from tests.topology.worlds import check

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "routes").glob("*.yaml"))


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 6


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_it_loads_and_plans(path: Path) -> None:
    routes = load_routes(path)
    asked = routes.everything()
    tree = plan(routes, asked)
    check(tree, routes, asked, branches=len(asked) if routes.tree == "flat" else None)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_its_head_says_what_it_is_and_what_to_try(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head = re.match(r"(?:#.*\n)+", path.read_text())
    assert head is not None
    tries = [shlex.split(line) for line in re.findall(r"(?m)^#(?: Try it:|  +) +nile (.+)$", head[0])]
    assert tries, "its first lines say what to try"
    monkeypatch.chdir(ROOT)
    for words in tries:
        result = CliRunner().invoke(commands, words, catch_exceptions=False)
        assert result.exit_code == 0, result.output


def test_gateways_are_obeyed_in_a_chain() -> None:
    tree = plan(load_routes(ROOT / "routes/gateways.yaml"), ("r2n07",))
    assert tree.path(3) == ("root", "bastion", "r2gw1", "r2n07")
    assert [node.asked for node in tree.nodes] == [False, False, True]
