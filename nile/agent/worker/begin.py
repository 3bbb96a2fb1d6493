"""The first code of a worker that runs: it makes modules of what came with it."""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any, Dict


class Finder:
    """Finder and loader (importlib.abc) of modules that came as source, by name."""

    def __init__(self, sources: "Dict[str, str]") -> None:
        self._sources = sources

    def find_spec(self, name: str, path: "Any" = None, target: "Any" = None) -> "Any":
        """A module's spec, or None where it is none of ours."""
        spec: "Any" = type(sys.__spec__)
        return spec(name, self, is_package=True) if name in self._sources else None

    def get_source(self, name: str) -> str:
        """Its text, as importlib.abc.InspectLoader has it: for whoever passes it on."""
        return self._sources[name]

    def create_module(self, spec: "Any") -> None:
        """The usual one."""

    def exec_module(self, module: "ModuleType") -> None:
        """Compile the source and run it."""
        name = module.__name__
        exec(
            compile(self._sources[name], name.replace(".", "/") + ".py", "exec", dont_inherit=True),
            module.__dict__,
        )


def main(sources: "Dict[str, str]") -> None:
    """Become the worker."""
    sys.meta_path.insert(0, Finder(sources))
    from nile.agent.worker import parts

    parts.main()
