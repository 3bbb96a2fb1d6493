"""Short names for what only one function sees: a tenth of the bytes that a relay is sent.

A name is shortened in all of a module or not at all. It has to be local
wherever it occurs there, may be nobody's keyword argument, and no attribute's
name; so nothing but its own functions can ask for it. The lines stay.
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
from collections.abc import Iterator
from string import ascii_lowercase


def keywords(text: str) -> set[str]:
    """Names by which a program passes arguments: parameters that bear them have to keep theirs."""
    calls = (node.arg for node in ast.walk(ast.parse(text)) if isinstance(node, ast.keyword))
    return {name for name in calls if name is not None}


def shorten(text: str, keep: set[str]) -> str:
    """The same program on the same lines; `keep` are names that stay as they are."""
    tokens = [token for token in tokenize.generate_tokens(io.StringIO(text).readline) if token.string]
    words = [token for token in tokens if token.type == tokenize.NAME]
    local = local_names(text) - keep - set(dir(builtins)) - {"self"}
    attributes = {after.start for dot, after in itertools.pairwise(tokens) if dot.string == "."}
    uses = [token for token in words if token.string in local and token.start not in attributes]
    fresh = _fresh({word.string for word in words})
    by_use = Counter(token.string for token in uses if len(token.string) > 1)
    short = {name: next(fresh) for name, _ in by_use.most_common()}
    lines = text.splitlines(keepends=True)
    for token in reversed(uses):
        (row, start), (_, end) = token.start, token.end
        line = lines[row - 1]
        lines[row - 1] = line[:start] + short.get(token.string, token.string) + line[end:]
    return "".join(lines)


def local_names(text: str) -> set[str]:
    """Names that are arguments or variables of functions in every place of a module that has them.

    Functions inside functions keep theirs: an error tells it.
    """
    inner: set[str] = set()
    nodes = list(ast.walk(ast.parse(text)))
    outer = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    outer |= {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
    for table in _tables(symtable.symtable(text, "agent", "exec")):
        for symbol in table.get_symbols():
            within = isinstance(table, symtable.Function) and (symbol.is_local() or symbol.is_free())
            (inner if within and not symbol.is_imported() else outer).add(symbol.get_name())
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
