"""The rules of the architecture that import contracts can't express, as functions of source text.

Every function gives a list of violations, each beginning with its line number;
empty means that the rule holds. Imports are looked at wherever they stand,
inside functions too; only the body of `if TYPE_CHECKING:` never runs.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Mapping

IMPURE = frozenset(
    {"asyncio", "concurrent", "datetime", "multiprocessing", "random", "secrets", "select", "selectors"}
    | {"signal", "socket", "subprocess", "tempfile", "threading", "time", "uuid"}
)
DYNAMIC = frozenset({"__import__", "import_module", "eval", "exec"})
LOOSE = frozenset({"create_task", "ensure_future", "gather", "wait", "as_completed"})
TASK_GROUPS = ("group", "tasks", "tg")


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of all that may be imported when the code runs.

    `from a import b` gives `a.b` for the project's own packages, where b may
    be a module, and `a` otherwise; a relative import gives its dots too.
    """
    for node in _running(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = "." * node.level + (node.module or "")
            own = origin.split(".")[0] == "nile" or node.level
            yield from ((node.lineno, f"{origin}.{alias.name}" if own else origin) for alias in node.names)
        elif isinstance(node, ast.Call) and _last_name(node.func) in {"__import__", "import_module"}:
            yield node.lineno, _constant(node.args) or "an import whose name is computed"


def _running(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those below `if TYPE_CHECKING:`."""
    yield tree
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.If) and _last_name(child.test) == "TYPE_CHECKING":
            for other in child.orelse:
                yield from _running(other)
        else:
            yield from _running(child)


def _last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _constant(arguments: list[ast.expr]) -> str:
    first = arguments[0] if arguments else None
    return first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else ""


def agent_imports(source: str, allowed: Collection[str]) -> list[str]:
    """Imports of an agent module other than `nile.agent`'s own modules and those allowed."""
    return [
        f"{line}: imports {name}"
        for line, name in imports(ast.parse(source))
        if name not in allowed and not name.startswith("nile.agent.")
    ]


def newer_than_3_6(source: str) -> list[str]:
    """What Python 3.6 can't compile, or would fail on when it imports the module."""
    try:
        tree = ast.parse(source, feature_version=(3, 6))
    except SyntaxError as error:
        return [f"{error.lineno}: {error.msg}"]
    found = [f"{line}: {what}" for line, what in _future_imports(tree)]
    return found + [
        f"{note.lineno}: an annotation that must be quoted"
        for note in _annotations(tree)
        if any(isinstance(part, ast.Subscript | ast.BinOp) for part in ast.walk(note))
    ]


def _future_imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "__future__":
            yield node.lineno, "imports from __future__"


def _annotations(tree: ast.AST) -> Iterator[ast.expr]:
    for node in _running(tree):
        if isinstance(node, ast.arg | ast.AnnAssign) and node.annotation:
            yield node.annotation
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.returns:
            yield node.returns


def impurities(source: str) -> list[str]:
    """Clocks, chance, and input or output of a module that should only decide."""
    tree = ast.parse(source)
    found = [f"{line}: imports {name}" for line, name in imports(tree) if name.split(".")[0] in IMPURE]
    return found + [
        f"{node.lineno}: calls {_last_name(node.func)}"
        for node in _running(tree)
        if isinstance(node, ast.Call) and _last_name(node.func) in DYNAMIC | {"open", "input", "urandom"}
    ]


def unseeded(source: str) -> list[str]:
    """Chance that no seed decides: anything of the module `random` but `random.Random(seed)`."""
    found = []
    for node in _running(ast.parse(source)):
        if isinstance(node, ast.Attribute) and _last_name(node.value) == "random" and node.attr != "Random":
            found.append(f"{node.lineno}: uses random.{node.attr}")
        elif isinstance(node, ast.Call) and _last_name(node.func) == "Random" and not node.args:
            found.append(f"{node.lineno}: a Random without a seed")
        elif isinstance(node, ast.ImportFrom) and node.module == "random":
            found.append(f"{node.lineno}: imports from random")
        elif isinstance(node, ast.alias) and node.name == "random" and node.asname:
            found.append(f"{node.lineno}: random by another name")
    return found


def _imported(tree: ast.Module) -> list[ast.stmt]:
    """A module's statements but for `if __name__ == "__main__":`."""
    return [
        part for part in tree.body if not (isinstance(part, ast.If) and "__name__" in ast.dump(part.test))
    ]


STANDARD_STREAMS = {"stdout", "stderr", "__stdout__", "__stderr__"}


def printing(source: str) -> list[str]:
    """Ways to write on the terminal, which is the command line's alone.

    To flush a stream is none; and a module that is run as a program (`python -m`) is its own command line.
    """
    tree = ast.parse(source)
    found = [f"{line}: imports {name}" for line, name in imports(tree) if name.split(".")[0] == "click"]
    flushed = [
        node.value for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr == "flush"
    ]
    for node in (node for part in _imported(tree) for node in _running(part)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            found.append(f"{node.lineno}: prints")
        elif isinstance(node, ast.Attribute) and node.attr in STANDARD_STREAMS and node not in flushed:
            found += [f"{node.lineno}: uses sys.{node.attr}"] * (_last_name(node.value) == "sys")
        elif isinstance(node, ast.ImportFrom) and node.module == "sys":
            names = {alias.name for alias in node.names} & STANDARD_STREAMS
            found += [f"{node.lineno}: uses sys.{name}" for name in sorted(names)]
    return found


def loose_tasks(source: str) -> list[str]:
    """Tasks that could outlive what started them: anything but a TaskGroup's own.

    A task group is known by its name: `group`, `tasks`, `tg`, or ending in one of these.
    """
    tree = ast.parse(source)
    found = [
        f"{node.lineno}: imports {alias.name} from asyncio"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "asyncio"
        for alias in node.names
        if alias.name in LOOSE
    ]
    return found + [
        f"{node.lineno}: {ast.unparse(node)} outside a TaskGroup"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in LOOSE and _is_loose(node)
    ]


def _is_loose(node: ast.Attribute) -> bool:
    owner = _last_name(node.value)
    if node.attr == "create_task":
        return not owner.lower().endswith(TASK_GROUPS)
    return owner in {"asyncio", "aio"}


def command_files(files: Mapping[str, str], commands: Mapping[str, str]) -> list[str]:
    """One file a command: `files` maps module names under nile/cli to source, `commands` names to modules.

    Unlike the others, violations begin with the module's name.
    """
    missing = [f"{module}: there is no such file" for module in commands.values() if module not in files]
    named = set(commands.values())
    found = []
    for module, source in files.items():
        tree = ast.parse(source)
        count = sum(_binds(statement, "command") for statement in tree.body)
        if count != (module in named):
            found.append(f"{module}: defines `command` {count} times")
        used = [f"{name}." for _, name in imports(tree)]
        others = [other for other in named - {module} if any(name.startswith(f"{other}.") for name in used)]
        found += [f"{module}: imports the command file {other}" for other in sorted(others)]
    return missing + found


def _binds(statement: ast.stmt, name: str) -> bool:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return statement.name == name
    if isinstance(statement, ast.Assign):
        return any(_last_name(target) == name for target in statement.targets)
    if isinstance(statement, ast.AnnAssign):
        return _last_name(statement.target) == name
    return False
