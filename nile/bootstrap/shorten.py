"""Short names for what only one function or one object sees: a tenth of the bytes that a relay is sent.

A variable is shortened in all of a function, those inside it included, or not
at all. It has to be local wherever it occurs there, and may be nobody's keyword
argument; so nothing but that function can ask for it. A private attribute is
shortened in all modules alike, where objects of the agent's own set it.
Functions and classes keep their names: an error tells them. The lines stay.
"""

from __future__ import annotations

import ast
import builtins
import io
import itertools
import keyword
import symtable
import tokenize
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from string import ascii_lowercase
from types import MappingProxyType

NO_NAMES: Mapping[str, str] = MappingProxyType({})


def keywords(text: str) -> set[str]:
    """Names by which a program passes arguments: parameters that bear them have to keep theirs."""
    calls = (node.arg for node in ast.walk(ast.parse(text)) if isinstance(node, ast.keyword))
    return {name for name in calls if name is not None}


def private_attributes(texts: Iterable[str]) -> dict[str, str]:
    """Short names for private attributes of a program in several modules, which have no methods' names."""
    uses, ours, other = Counter[str](), set[str](), set[str]()
    for node in itertools.chain.from_iterable(ast.walk(ast.parse(text)) for text in texts):
        match node:
            case ast.Attribute(attr=name):
                uses[name] += 1
                ours.update([name] * (_is_private(name) and isinstance(node.ctx, ast.Store)))
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.Name(id=name):
                other.add(name)
            case ast.Constant(value=str(words)):
                other.update(words.split())
    fresh = _fresh(set(uses))
    return {name: next(fresh) for name, _ in uses.most_common() if name in ours - other}


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def shorten(text: str, keep: set[str], attributes: Mapping[str, str] = NO_NAMES) -> str:
    """The same program on the same lines; `keep` are names that stay as they are.

    `attributes` are new names for attributes.
    """
    tokens = [token for token in tokenize.generate_tokens(io.StringIO(text).readline) if token.string]
    after_dots = {after.start for dot, after in itertools.pairwise(tokens) if dot.string == "."}
    table, lines = symtable.symtable(text, "agent", "exec"), text.splitlines(keepends=True)
    outside = {*keep, *dir(builtins), *table.get_identifiers()}
    here = {row: names for rows, names in _by_function(text, table, outside) for row in rows}
    for token in reversed(tokens):
        (row, start), (_, end) = token.start, token.end
        names = attributes if token.start in after_dots else here.get(row, NO_NAMES)
        if token.type == tokenize.NAME and token.string in names:
            line = lines[row - 1]
            lines[row - 1] = line[:start] + names[token.string] + line[end:]
    return "".join(lines)


def _by_function(
    text: str, table: symtable.SymbolTable, outside: set[str]
) -> Iterator[tuple[range, dict[str, str]]]:
    """Functions that stand in no other one: their lines, and new names for their variables."""
    tables = {each.get_lineno(): each for each in _outermost(table)}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef) and node.lineno in tables:
            rows = range(node.lineno, (node.end_lineno or node.lineno) + 1)
            yield rows, _short_names(node, tables.pop(node.lineno), outside)


def _outermost(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    for child in table.get_children():
        yield from [child] if isinstance(child, symtable.Function) else _outermost(child)


def _short_names(function: ast.FunctionDef, table: symtable.SymbolTable, outside: set[str]) -> dict[str, str]:
    """In the order in which they occur: so functions begin alike, and compress well.

    Functions inside functions keep theirs: an error tells it.
    """
    own, other = variables(table), set[str]()
    for node in ast.walk(function):
        if isinstance(node, ast.FunctionDef):
            other.add(node.name)
    occur = dict.fromkeys(_occurring(function))
    fresh = _fresh((set(occur) - own) | outside | other)
    return {name: next(fresh) for name in occur if name in own - outside - other}


def _occurring(function: ast.FunctionDef) -> Iterator[str]:
    """Arguments first, then all names as they come in the text."""
    found = []
    for node in ast.walk(function):
        if isinstance(node, ast.arg):
            found.append((node.lineno, node.col_offset, node.arg))
        elif isinstance(node, ast.Name):
            found.append((node.lineno, node.col_offset, node.id))
        elif isinstance(node, ast.ExceptHandler) and node.name:
            found.append((node.lineno, node.col_offset, node.name))
    return (name for _, _, name in sorted(found))


def variables(table: symtable.SymbolTable) -> set[str]:
    """Names that are a function's own in every place of it and of the functions inside it that has them."""
    inner: set[str] = set()
    outer: set[str] = set()
    for each in _tables(table):
        for symbol in each.get_symbols():
            own = symbol.is_local() or symbol.is_free()
            (inner if own and not symbol.is_imported() else outer).add(symbol.get_name())
    return inner - outer


def _tables(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    yield table
    for child in table.get_children():
        yield from _tables(child)


def _fresh(taken: set[str]) -> Iterator[str]:
    """Words of one letter and of two that aren't taken."""
    for first in ("", *ascii_lowercase):
        for last in ascii_lowercase:
            word = first + last
            if word not in taken and not keyword.iskeyword(word) and not hasattr(builtins, word):
                yield word
