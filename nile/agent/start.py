"""The first code of the agent that runs: it makes modules of a bundle (see `nile.agent.handshake.Bundle`).

The first stage executes it and calls `main`. What a quiet life doesn't need is
compiled when it is first imported.
"""

import _imp
import posix as os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any, Dict, Tuple


class Later:
    """Finder and loader (importlib.abc) of the modules in `late`; `codes` keeps what was compiled."""

    def __init__(self, late: "Dict[str, bytes]", codes: "Dict[str, Any]") -> None:
        self._late = late
        self._codes = codes

    def find_spec(self, name: str, path: "Any" = None, target: "Any" = None) -> "Any":
        """A module's spec, or None where it is none of ours."""
        spec: "Any" = type(sys.__spec__)
        return spec(name, self) if name in self._late else None

    def add(self, late: "Dict[str, bytes]") -> None:
        """More modules, as source."""
        self._late.update(late)

    def create_module(self, spec: "Any") -> None:
        """The usual one."""

    def exec_module(self, module: "ModuleType") -> None:
        """Compile the source and run it."""
        run(module, self._late[module.__name__], self._codes)


def run(module: "ModuleType", code: "Any", codes: "Dict[str, Any]") -> None:
    """Execute a module's code, compiled first if it is source."""
    name = module.__name__
    file = name.replace(".", "/") + ".py"
    if isinstance(code, bytes):
        code = codes[name] = compile(code, file, "exec", dont_inherit=True)
    _imp._fix_co_filename(code, file)  # type: ignore[attr-defined]  # it was sent without
    exec(code, module.__dict__)


def load(name: str, code: "Any", codes: "Dict[str, Any]") -> "Any":
    """Make the module, and make it known."""
    module: "Any" = type(sys)(name)
    module.__path__ = []
    sys.modules[name] = module
    head, _, tail = name.rpartition(".")
    if head:
        setattr(sys.modules[head], tail, module)
    if code:
        run(module, code, codes)
    return module


def main(bundle: "Tuple[Any, ...]") -> None:
    """Become the agent, by the main of the last module; never returns.

    What goes wrong is said on standard error, where the parent finds it.
    """
    codes: "Dict[str, Any]" = {}
    try:
        _, modules, late, _ = bundle
        sys.meta_path.insert(0, Later({name: code for name, code in modules if name in late}, codes))
        for name, code in modules:
            if name not in late:
                module = load(name, code, codes)
        module.main(bundle + (codes,))
    except Exception as error:
        at = error.__traceback__
        text = "nile agent: %r" % error
        while at:
            code = at.tb_frame.f_code
            text += " %s:%s %s+%s" % (code.co_filename, at.tb_lineno or "", code.co_name, at.tb_lasti)
            at = at.tb_next
        os.write(2, text.encode("utf-8", "replace"))
    finally:
        os._exit(0)
