"""The agent as bytes: the same program, on the same lines, and small."""

from __future__ import annotations

import ast
import builtins
import functools
import importlib.util
import json
import marshal
import re
import subprocess
import types
import zlib
from pathlib import Path
from typing import Any, TypeGuard

import pytest

from nile.agent import start
from nile.agent.handshake import Bundle
from nile.bootstrap import agent_bundle, carrier_code, reach_code
from nile.bootstrap.bundle import (
    FEED,
    LEAF_MODULES,
    MINDER,
    OUTFIT,
    REACHER,
    RELAY_MODULES,
    ROOT_ONLY,
    SANDBOX,
    SHELL,
    SUDO,
    command_code,
    packed_source,
    sent_text,
    shell_code,
    strip,
)
from nile.bootstrap.shorten import keywords, private_attributes, shorten
from tests.agent.parent import PYTHONS

AGENT = Path(__file__).parents[2] / "nile" / "agent"
ON_DEMAND = (*REACHER, *MINDER, *FEED, *OUTFIT, *SANDBOX, *SUDO)
MODULES = [*LEAF_MODULES, *RELAY_MODULES, *ON_DEMAND]
MOST = 20 * 1024


class Bare(ast.NodeTransformer):
    """Takes out what only people and type checkers read."""

    def _body(self, node: Any) -> Any:
        if ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
        self.generic_visit(node)
        return node

    visit_Module = visit_ClassDef = _body

    def visit_FunctionDef(self, node: ast.FunctionDef) -> Any:
        node.returns = None
        return self._body(node)

    def visit_arg(self, node: ast.arg) -> Any:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> Any:
        assert node.value is not None
        return ast.Assign(targets=[node.target], value=node.value)

    def visit_Assign(self, node: ast.Assign) -> Any:
        if ast.unparse(node) == "TYPE_CHECKING = False":
            return None
        return self.generic_visit(node)

    def visit_Assert(self, node: ast.Assert) -> None:
        assert " is not None" in ast.unparse(node), "what is asserted is lost on the way"

    def visit_If(self, node: ast.If) -> Any:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return None
        self.generic_visit(node)
        return node


def tree(text: str) -> str:
    return ast.dump(ast.parse(text))


def renamed(sent: str, meant: str) -> list[dict[str, str]]:
    """What became of names that changed, in each function that stands in no other one, and of attributes.

    Fails where the programs differ in anything else, or names depend on where they stand.
    """
    attributes: dict[str, str] = {}
    functions: list[dict[str, str]] = []
    _compare(ast.parse(sent), Bare().visit(ast.parse(meant)), attributes, functions, None)
    for names in (*functions, attributes):
        assert len(set(names.values())) == len(names), "two names became one"
    return [{old: new for old, new in names.items() if old != new} for names in (*functions, attributes)]


def _compare(
    sent: Any, meant: Any, attributes: dict[str, str], functions: list[dict[str, str]], names: Any
) -> None:
    assert type(sent) is type(meant)
    if isinstance(sent, list):
        assert len(sent) == len(meant)
        for one, other in zip(sent, meant, strict=True):
            _compare(one, other, attributes, functions, names)
    elif isinstance(sent, ast.AST):
        if isinstance(sent, ast.FunctionDef) and names is None:
            functions.append(names := {})
        for field in sent._fields:
            one, other = getattr(sent, field), getattr(meant, field)
            if (type(sent), field) == (ast.Attribute, "attr"):
                assert attributes.setdefault(other, one) == one, f"{other} became {one} and something else"
            elif (type(sent), field) in VARIABLES and names is not None:
                assert names.setdefault(other, one) == one, f"{other} became {one} and something else"
            else:
                _compare(one, other, attributes, functions, names)
    else:
        assert sent == meant


VARIABLES = {(ast.Name, "id"), (ast.arg, "arg"), (ast.ExceptHandler, "name")}


@pytest.mark.parametrize("module", MODULES)
def test_what_is_sent_is_the_same_program(module: str) -> None:
    text = sent_text(module)
    *functions, attributes = renamed(packed_source(module).decode(), text)
    asked_for = {name for other in MODULES for name in keywords(sent_text(other))}
    outer = [node for node in ast.walk(ast.parse(text)) if not isinstance(node, ast.ClassDef)]
    inside = [inner for node in outer for inner in ast.iter_child_nodes(node)]
    names = {node.name for node in inside if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    for changed in functions:
        assert not set(changed) & (asked_for | names | set(dir(builtins)))
    assert not set(attributes) & names
    assert all(name.startswith("_") for name in attributes)
    assert all(len(new) < 3 for changed in functions for new in changed.values())


def test_no_argument_that_is_passed_by_its_name_looks_like_a_short_one() -> None:
    """Compiled code drops short ones."""
    assert all(len(name) > 2 for module in MODULES for name in keywords(sent_text(module)))


def test_functions_that_stay_at_home_are_called_by_nobody_who_is_sent() -> None:
    words = {word for module in MODULES for word in re.findall(r"\w+", packed_source(module).decode("utf-8"))}
    assert not words & ROOT_ONLY
    home = {name for path in AGENT.glob("*.py") for name in re.findall(r"def (\w+)", path.read_text())}
    assert home >= ROOT_ONLY


SCOPES = """
import os
limit = 1
class Thing:
    size = 2
    def grow(self, amount, size=3, *, factor=1):
        def inner(amount):
            return amount + limit + factor
        total = inner(amount) + self.size + size
        return [total for total in range(total)]
def use(thing, text):
    from os import path
    import sys as system
    global found
    found = path.join(text)
    return thing.grow(len(text), factor=2), system, lambda text=text: text
"""


def test_names_that_somebody_else_may_ask_for_stay() -> None:
    grow, use, attributes = renamed(shorten(SCOPES, keywords(SCOPES)), SCOPES)
    assert (set(grow), set(use), attributes) == (
        {"self", "amount", "size", "total"},
        {"thing", "text"},
        {},
    )


def test_no_new_name_hides_another() -> None:
    text = "a = 1\ndef first(number, b):\n    c = number\n    return a, b, c, number, wire\nwire = 9\n"
    (names, _) = renamed(shorten(text, set()), text)
    assert "a" not in {*names, *names.values()}
    namespace: dict[str, Any] = {}
    exec(shorten(text, set()), namespace)
    assert namespace["first"](5, 6) == (1, 6, 5, 5, 9)


ATTRIBUTES = """
import os
class One:
    def __init__(self):
        self._mine = self._word = self.public = self._call = os._exit
    def _call(self):
        return self._mine, getattr(self, "_word")
"""


def test_private_attributes_are_shortened_unless_somebody_else_may_ask_for_them() -> None:
    assert set(private_attributes([ATTRIBUTES])) == {"_mine"}
    both = private_attributes([ATTRIBUTES, "def f(x):\n    x._mine = x._other = x.a = 1\n"])
    assert set(both) == {"_mine", "_other"}
    assert not set(both.values()) & {"a", "public"}


@pytest.mark.parametrize("module", MODULES)
def test_on_the_same_lines(module: str) -> None:
    text = sent_text(module)
    kept = packed_source(module).decode()
    assert len(kept.splitlines()) <= len(text.splitlines())
    calls = [(type(n).__name__, n.lineno) for n in ast.walk(ast.parse(kept)) if isinstance(n, ast.Call)]
    original = ast.parse(text)
    annotations = {id(inner) for node in ast.walk(original) for inner in _typing_only(node)}
    expected = [
        (type(n).__name__, n.lineno)
        for n in ast.walk(original)
        if isinstance(n, ast.Call) and id(n) not in annotations
    ]
    assert sorted(calls) == sorted(expected)
    definitions = (ast.FunctionDef, ast.ClassDef, ast.Return, ast.Raise)
    assert [n.lineno for n in ast.walk(ast.parse(kept)) if isinstance(n, definitions)] == [
        n.lineno for n in ast.walk(original) if isinstance(n, definitions)
    ]


def _typing_only(node: ast.AST) -> list[ast.AST]:
    if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
        return list(ast.walk(node))
    return []


def test_every_module_of_the_agent_is_sent() -> None:
    """Some only on demand, as `carrier_code`, `reach_code`, `command_code` and `shell_code`."""
    names = {path.stem for path in AGENT.glob("*.py")} - {"__init__"}
    assert names == {*MODULES, *SHELL}
    sent = {name.rpartition(".")[2] for name, text in agent_bundle().sources if text}
    assert sent == names - {*ON_DEMAND, *SHELL}
    command = command_code(outfit=True, sandbox=True, sudo=True)
    brought = {**carrier_code(), **reach_code(), **command, **shell_code()}
    assert {name.rpartition(".")[2] for name in brought} == {*ON_DEMAND, *SHELL}


def test_what_comes_with_whole_names_asks_nobody_for_a_shortened_one() -> None:
    """A module that is sent with its names as they are finds no private attribute of one that isn't."""
    for module in SHELL:
        text = shell_code()[f"nile.agent.{module}"].decode()
        used = {node.attr for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Attribute)}
        own = {node.attr for node in ast.walk(ast.parse(text)) if is_own(node)}
        defined = {node.name for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)}
        assert {name for name in used - own - defined if name.startswith("_")} == set()


def is_own(node: ast.AST) -> TypeGuard[ast.Attribute]:
    return isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self"


def test_they_come_in_an_order_that_satisfies_their_imports() -> None:
    seen: set[str] = set()
    for name, source in agent_bundle().sources:
        for node in ast.parse(source).body:  # lazy imports come later
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("nile.agent"):
                wanted = (
                    {f"nile.agent.{alias.name}" for alias in node.names}
                    if node.module == "nile.agent"
                    else {node.module}
                )
                assert wanted <= seen, f"{name} imports {wanted - seen} before they are there"
        seen.add(name)


@pytest.mark.parametrize(
    "text", ["def f(a: int = 1, *b: str, c: 'x') -> int:\n    'doc'\n", "class A:\n    'd'\n"]
)
def test_what_only_has_a_docstring_still_is_a_program(text: str) -> None:
    assert tree(strip(text)) == ast.dump(Bare().visit(ast.parse(text)))


class TestSizes:
    @pytest.mark.parametrize("relay", [False, True], ids=["leaf", "relay"])
    def test_source(self, relay: bool) -> None:
        assert len(agent_bundle().packed(relay, "another")) <= MOST

    @pytest.mark.parametrize("relay", [False, True], ids=["leaf", "relay"])
    def test_compiled(self, relay: bool) -> None:
        bundle = agent_bundle()
        assert len(bundle.packed(relay, bundle.magic)) <= MOST

    @pytest.mark.parametrize("python", PYTHONS, ids=lambda path: path.parents[1].name)
    def test_compiled_by_a_relay_of_any_python(self, python: Path) -> None:
        assert packed_by(python)[0] <= MOST

    @pytest.mark.parametrize("python", PYTHONS, ids=lambda path: path.parents[1].name)
    def test_a_relay_need_not_pack_it_for_long(self, python: Path) -> None:
        """Level 8 takes 3 ms more of every relay's CPU, 9 takes 8: see to the order of LEAF_MODULES."""
        size, minor, at_7, at_8 = packed_by(python)
        assert size == (at_7 if minor <= 12 else at_8)


@functools.cache
def packed_by(python: Path) -> tuple[int, ...]:
    """Bytes that a relay with this Python 3.N hands to a leaf of the same; N; bytes by zlib's levels 7, 8."""
    code = (
        "import sys, json, importlib.util; sys.path.insert(0, sys.argv[1])\n"
        "from nile.agent.handshake import Bundle\n"
        "sources, only, late = json.load(sys.stdin)\n"
        "magic = importlib.util.MAGIC_NUMBER.hex()\n"
        "bundle = Bundle([(name, text.encode()) for name, text in sources], only, magic, None, late)\n"
        "import zlib\n"
        "length, _, packed = bundle.packed(False, magic).partition(b'\\n')\n"
        "sizes = [len(zlib.compress(zlib.decompress(packed), level)) for level in (7, 8)]\n"
        "print(json.dumps([int(length), sys.version_info[1]] + sizes))"
    )
    bundle = agent_bundle()
    sources = [(name, text.decode()) for name, text in bundle.sources]
    given = json.dumps([sources, bundle.relay_only, bundle.late])
    argv = [str(python), "-c", code, str(AGENT.parents[1])]
    done = subprocess.run(argv, input=given, capture_output=True, text=True, check=True)
    return tuple(json.loads(done.stdout))


class TestCompiled:
    def modules(self, bundle: Bundle, relay: bool, magic: str) -> dict[str, Any]:
        _, _, packed = bundle.packed(relay, magic).partition(b"\n")
        return dict(marshal.loads(zlib.decompress(packed))[1])

    def test_a_leaf_of_the_same_python_gets_code_and_others_get_source(self) -> None:
        bundle = agent_bundle()
        code = self.modules(bundle, False, importlib.util.MAGIC_NUMBER.hex())
        source = self.modules(bundle, False, "another")
        assert list(code) == list(source)
        assert {name for name in source if source[name] and isinstance(code[name], bytes)} == {
            name for name in source if name in bundle.late
        }
        assert not any(name.rpartition(".")[2] in RELAY_MODULES for name in code)

    def test_a_relay_gets_source_that_it_can_hand_on(self) -> None:
        bundle = agent_bundle()
        modules = self.modules(bundle, True, bundle.magic)
        assert modules == dict(bundle.sources)

    def test_nothing_that_is_late_is_needed_at_the_start(self) -> None:
        """A late module may be imported inside functions only."""
        bundle = agent_bundle()
        late = set(bundle.late)
        for name, source in bundle.sources:
            if name not in late:
                tops = [node for node in ast.parse(source).body if isinstance(node, ast.ImportFrom)]
                imported = {f"{node.module}.{alias.name}" for node in tops for alias in node.names}
                assert not imported & late, name
                assert not {node.module for node in tops} & late, name

    def test_tracebacks_name_file_and_function(self) -> None:
        text = "\n\ndef fail(n):\n    # why\n    if n:\n        return fail(n - 1)\n\n    raise ValueError\n"
        bundle = Bundle([("nile", b""), ("nile.made", text.encode())], [], "same")
        module: Any = types.ModuleType("nile.made")
        start.run(module, self.modules(bundle, False, "same")["nile.made"], {})
        with pytest.raises(ValueError) as caught:  # noqa: PT011
            module.fail(1)
        codes = [entry.frame.code.raw for entry in caught.traceback[1:]]
        assert [(code.co_filename, code.co_name) for code in codes] == [("nile/made.py", "fail")] * 2
