"""The first code of a worker that runs: it makes modules of what came (see nile.bootstrap.program)."""

import gc
import marshal
import os
import sys
import zlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any, BinaryIO, Dict, List, Optional

SOURCE = b"source"
SELDOM = 50000  # objects that are made before their cycles are looked for


class Finder:
    """Finder and loader (importlib.abc) of modules that came: `parts` are some of them each, packed.

    What is in the first is never looked for in those behind, nor are these unpacked before it has to be.
    Each module is its source, or its code as bytes; the last part has the sources of all.
    """

    def __init__(self, parts: "List[bytes]") -> None:
        self._parts = list(parts)
        self._source = parts[-1]
        self._sources: "Dict[str, str]" = {}  # once one is asked for that came as code
        self._modules: "Dict[str, Any]" = {}

    def find_spec(self, name: str, path: "Any" = None, target: "Any" = None) -> "Any":
        """A module's spec, or None where it is none of ours."""
        if name.partition(".")[0] != "nile":
            return None
        while name not in self._modules and self._parts:
            self._modules = dict(marshal.loads(zlib.decompress(self._parts.pop(0))), **self._modules)
        spec: "Any" = type(sys.__spec__)
        return spec(name, self, is_package=True) if name in self._modules else None

    def get_compiled(self, name: str) -> "Optional[bytes]":
        """Its code, marshalled, where it came as such for this Python: for whoever passes it on."""
        came = self._modules.get(name)
        return came if isinstance(came, bytes) else None

    def get_source(self, name: str) -> str:
        """Its text, as importlib.abc.InspectLoader has it: for whoever passes it on."""
        came = self._modules.get(name)
        if isinstance(came, str):
            return came
        self._sources = self._sources or marshal.loads(zlib.decompress(self._source))
        return self._sources[name]

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


def parts(file: "BinaryIO", magic: bytes) -> "List[bytes]":
    """What of that is of use to this Python; all of it is read."""
    found = []
    word = b""
    while word != SOURCE:  # which comes last
        word, size = file.readline().split()
        data = file.read(int(size))
        if word in (magic, SOURCE):
            found.append(data)
    return found


def magic() -> bytes:
    """The word before code for this Python."""
    number: bytes = sys.modules["_frozen_importlib_external"].MAGIC_NUMBER
    return number.hex().encode()


def take(file: "BinaryIO") -> None:
    """Make modules of what comes there."""
    sys.meta_path.insert(0, Finder(parts(file, magic())))


def main(file: "BinaryIO") -> None:
    """Become the worker; never returns, unless it fails."""
    # Next to nothing here is in cycles, and manifests are large: to look for some again and again costs.
    gc.set_threshold(SELDOM)
    take(file)
    from nile.agent.worker import parts as worker

    worker.main()
    os._exit(0)  # what it has is the kernel's to clean up: that takes it no time
