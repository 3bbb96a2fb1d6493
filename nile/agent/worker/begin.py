"""The first code of a worker that runs: it makes modules of what came with it (see nile.bootstrap.program)."""

import gc
import marshal
import os
import sys
import zlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any, BinaryIO, Dict

SOURCE = b"source"
SELDOM = 50000  # objects that are made before their cycles are looked for


class Finder:
    """Finder and loader (importlib.abc) of modules that came as source, or as code, by name."""

    def __init__(self, modules: "Dict[str, Any]") -> None:
        self._modules = modules

    def find_spec(self, name: str, path: "Any" = None, target: "Any" = None) -> "Any":
        """A module's spec, or None where it is none of ours."""
        spec: "Any" = type(sys.__spec__)
        return spec(name, self, is_package=True) if name in self._modules else None

    def create_module(self, spec: "Any") -> None:
        """The usual one."""

    def exec_module(self, module: "ModuleType") -> None:
        """Run it, compiled first if it came as source."""
        name = module.__name__
        came = self._modules[name]
        if isinstance(came, bytes):
            code = marshal.loads(came)
        else:
            code = compile(came, name.replace(".", "/") + ".py", "exec", dont_inherit=True)
        exec(code, module.__dict__)


def modules(file: "BinaryIO", magic: bytes) -> "Dict[str, Any]":
    """What to run, by name: code where that is of this Python, else source. All of it is read."""
    found = word = b""
    while word != SOURCE:  # which comes last
        word, size = file.readline().split()
        data = file.read(int(size))
        if word == magic or (word == SOURCE and not found):
            found = data
    own: "Dict[str, Any]" = marshal.loads(zlib.decompress(found))
    return own


def main(file: "BinaryIO") -> None:
    """Become the worker; never returns, unless it fails."""
    # Next to nothing here is in cycles, and manifests are large: to look for some took a tenth of the time.
    gc.set_threshold(SELDOM)
    magic = sys.modules["_frozen_importlib_external"].MAGIC_NUMBER.hex()
    sys.meta_path.insert(0, Finder(modules(file, magic.encode())))
    from nile.agent.worker import parts

    parts.main()
    os._exit(0)  # what it has is the kernel's to clean up: that takes it no time
