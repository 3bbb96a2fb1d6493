"""Packing the agent: which modules, in which order, and without what only people read.

Docstrings and comment lines stay at home, and so do long names of variables. Line numbers don't change, so a
traceback from a host points into this repository's files.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import io
import re
import tokenize
import zlib
from collections.abc import Iterable
from importlib import resources

from nile.agent.handshake import Bundle
from nile.bootstrap.shorten import keywords, private_attributes, shorten

# In an order that satisfies their imports, and of all that do, the one in which they compress best. Others
# take up to 150 bytes more, and then a relay takes longer to pack them (see nile.agent.handshake._LEVELS).
LEAF_MODULES = (
    "start",
    "wire",
    "link",
    "core",
    "processes",
    "warden",
    "claims",
    "command",
    "forked",
    "leftovers",
    "stopping",
    "anew",
    "orphan",
    "loop",
)
RELAY_MODULES = ("handshake", "child", "relay", "sshlogin", "signsocket", "logins")
# Few runs need them: they travel with what asks for a channel, at its far end and at its near end.
CARRIER = ("channel", "carry")
REACHER = (*CARRIER, "reach")
# These come with the plan, as the command is.
MINDER = ("minder",)
FEED = ("feed",)
OUTFIT = ("outfit", "script")
SANDBOX = ("spaces", "landlock", "sandbox")
# And these where the command runs by sudo, which starts a program of its own, of modules that the agent has.
SUDO = ("sudowords", "inside", "sudo")
SECOND_WARDEN = ("processes", "warden", "wire", "leftovers", "forked", *MINDER, *FEED, *OUTFIT, "inside")
# And these with a host that has no Python, for whoever logs in to it: whole names, so that no others change.
SHELL = ("leafprogram", "leafcommand", "shellleaf")
# Compiled on the host, and only when they are first imported: most leaves never need them.
LATE_MODULES = ("start", "stopping", "anew", "leftovers", "forked", "orphan", *RELAY_MODULES)


ROOT_ONLY = frozenset({"unpack_output", "pending"})
"""Functions of the agent's modules that no agent calls: they stay at home."""

_FRESH = ("", "\n")
"""What a token that begins a line, and not in brackets, comes after."""
_LAYOUT = (tokenize.INDENT, tokenize.DEDENT, tokenize.NEWLINE, tokenize.NL, tokenize.ENDMARKER)
_WORD = re.compile(r"[\w'\"]")


@functools.cache
def agent_bundle() -> Bundle:
    """The agent as this Nile has it, ready to be sent to children of any Python."""
    sources: list[tuple[str, bytes]] = [("nile", b""), ("nile.agent", b"")]
    relay_only = []
    # Code by code and text by text: they compress better. Of what is loaded at once, the loop comes last.
    for module in sorted((*LEAF_MODULES, *RELAY_MODULES), key=LATE_MODULES.__contains__):
        name = f"nile.agent.{module}"
        sources.append((name, packed_source(module)))
        if module in RELAY_MODULES:
            relay_only.append(name)
    late = [f"nile.agent.{module}" for module in LATE_MODULES]
    return Bundle(sources, relay_only, importlib.util.MAGIC_NUMBER.hex(), None, late)


def packed_source(module: str) -> bytes:
    """One module of the agent as it travels: the same program, on the same lines."""
    return shorten(strip(sent_text(module)), _keywords(), _attributes()).encode()


def _all_modules() -> tuple[str, ...]:
    return (*LEAF_MODULES, *RELAY_MODULES, *REACHER, *MINDER, *FEED, *OUTFIT, *SANDBOX, *SUDO)


@functools.cache
def _keywords() -> set[str]:
    return set().union(*(keywords(sent_text(name)) for name in _all_modules()))


@functools.cache
def _attributes() -> dict[str, str]:
    return private_attributes(strip(sent_text(name)) for name in _all_modules())


def strip(text: str, *, annotations: bool = False) -> str:
    """The same program on the same lines, without docstrings, annotations (unless kept) and comment lines.

    Nor with what type checkers alone need: an agent asserts for their sake only.
    Annotations are cut where they stand on one line; the agent's style has no others.
    """
    lines = text.splitlines()
    cuts: list[tuple[int, int, int]] = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            _blank_docstring(node, lines)
        elif isinstance(node, ast.If | ast.Assign | ast.Assert) and _is_for_checkers(node):
            _blank(node, lines)
        cuts += [] if annotations else _annotation(node, lines)
    for number, start, end in sorted(cuts, reverse=True):
        lines[number - 1] = lines[number - 1][:start] + lines[number - 1][end:]
    return squeeze("\n".join(map(_bare, lines)) + "\n")


def sent_text(module: str) -> str:
    """A module but for the functions that no agent calls."""
    text = resources.files("nile.agent").joinpath(f"{module}.py").read_text(encoding="utf-8")
    lines = text.splitlines()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef) and node.name in ROOT_ONLY:
            _blank(node, lines)
    return "\n".join(lines) + "\n"


@functools.cache
def carrier_code() -> dict[str, bytes]:
    """What an OPEN brings: sources by the names of their modules."""
    return _sources(CARRIER)


@functools.cache
def reach_code() -> dict[str, bytes]:
    """What a REACH brings: the relay needs both ends, for it sends the far one on."""
    return _sources(REACHER)


@functools.cache
def command_code(
    *, feed: bool = False, outfit: bool = False, sandbox: bool = False, sudo: bool = False
) -> dict[str, bytes]:
    """What its plan brings; a `sandbox` and `sudo` are part of an `outfit`, `feed` is its standard input."""
    parts = MINDER + FEED * (feed or outfit) + OUTFIT * outfit + SANDBOX * sandbox + SUDO * sudo
    return _sources(parts)


@functools.cache
def second_warden() -> bytes:
    """What sudo's Python runs (see `nile.agent.inside.STUB`), compressed: modules, the last one's main."""
    modules = [("nile", b""), ("nile.agent", b""), *_sources(SECOND_WARDEN).items()]
    lines = ["", f"for n, t in {modules!r}:", "    m = load(n, t, {})", "m.main(c)", ""]
    return zlib.compress(packed_source("start") + "\n".join(lines).encode(), 9)


@functools.cache
def shell_code() -> dict[str, bytes]:
    """What a relay needs that logs in to a host without Python."""
    whole = {f"nile.agent.{module}": strip(sent_text(module)).encode() for module in SHELL}
    return {**_sources(FEED + OUTFIT), **whole}


def _sources(modules: Iterable[str]) -> dict[str, bytes]:
    return {f"nile.agent.{module}": packed_source(module) for module in modules}


def squeeze(text: str) -> str:
    """The same tokens on the same lines, without comments, nor blanks that nothing needs."""
    lines = text.splitlines()
    cuts: list[tuple[int, int, int]] = []
    end, last = (0, 0), ""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        (line, column), begins = token.start, end[0] != token.start[0]
        if token.type == tokenize.COMMENT:
            cuts.append((line, end[1] if not begins else 0, token.end[1]))
        elif token.type not in _LAYOUT:
            if begins and last not in _FRESH:
                cuts.append((line, 0, column))  # inside brackets
            elif not begins and not (_WORD.match(last[-1:]) and _WORD.match(token.string)):
                cuts.append((line, end[1], column))
        if token.type not in (tokenize.COMMENT, tokenize.NL):
            last = token.string
        end = token.end
    for number, start, stop in reversed(cuts):
        lines[number - 1] = lines[number - 1][:start] + lines[number - 1][stop:]
    return "\n".join(lines) + "\n"


def _bare(line: str) -> str:
    """Indented by one blank a level."""
    text = line.lstrip(" ")
    return " " * ((len(line) - len(text)) // 4) + text


def _is_for_checkers(node: ast.If | ast.Assign | ast.Assert) -> bool:
    if isinstance(node, ast.Assert):
        return True
    named = node.test if isinstance(node, ast.If) else node.targets[0]
    return isinstance(named, ast.Name) and named.id == "TYPE_CHECKING"


def _annotation(node: ast.AST, lines: list[str]) -> list[tuple[int, int, int]]:
    """What to cut of one node: (line, from column, to column)."""
    if isinstance(node, ast.arg) and node.annotation is not None:
        return [_cut(node.annotation, node.col_offset + len(node.arg))]
    if isinstance(node, ast.FunctionDef) and node.returns is not None:
        line = lines[node.returns.lineno - 1]
        return [_cut(node.returns, line.rindex("->", 0, node.returns.col_offset))]
    if isinstance(node, ast.AnnAssign) and node.value is not None:
        assert node.target.end_col_offset is not None
        return [_cut(node.annotation, node.target.end_col_offset)]
    return []


def _cut(annotation: ast.expr, start: int) -> tuple[int, int, int]:
    assert annotation.end_col_offset is not None
    return annotation.lineno, start, annotation.end_col_offset


def _blank_docstring(node: ast.Module | ast.ClassDef | ast.FunctionDef, lines: list[str]) -> None:
    if ast.get_docstring(node, clean=False) is None:
        return
    statement = node.body[0]
    _blank(statement, lines)
    if len(node.body) == 1:
        lines[statement.lineno - 1] = " " * statement.col_offset + "pass"


def _blank(statement: ast.stmt, lines: list[str]) -> None:
    assert statement.end_lineno is not None
    for number in range(statement.lineno - 1, statement.end_lineno):
        lines[number] = ""
