"""Of a Python that has no libtorrent: which wheel it could load, and that loaded. Part of a peer's process.

A wheel comes over the tree, into memory. From there it is loaded, where the machine allows that (a memory
file), and touches no file system; where it doesn't, or where the wheel has libraries beside it, it lies in
a directory for as long as it takes to load it: what is loaded needs no name any more.
"""

import hashlib
import io
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import zipfile
from importlib import machinery, util

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any, Dict, Iterable, List, Tuple

    Message = Dict[str, Any]

NAME = "libtorrent"
_BESIDE = NAME + ".libs/"
_NARROW = {"x86_64": "i686", "aarch64": "armv7l"}  # what a Python of 32 bits is there
_INTERPRETER = 3  # PT_INTERP, in ELF(5)


def facts() -> "Message":
    """What this Python is, for whoever is to choose a wheel."""
    machine = os.uname().machine
    libc, libc_version = _libc()
    return {
        "version": list(sys.version_info[:2]),
        "abi": _abi(),
        "machine": machine if sys.maxsize > 1 << 32 else _NARROW.get(machine, machine),
        "libc": libc,
        "libc_version": libc_version,
    }


def _abi() -> str:
    if sys.implementation.name != "cpython":
        return ""
    return "cp%d%d%s" % (sys.version_info[0], sys.version_info[1], sys.abiflags)


def _libc() -> "Tuple[str, List[int]]":
    try:
        words = str(os.confstr("CS_GNU_LIBC_VERSION")).split()
    except (OSError, ValueError):  # musl doesn't know that name
        words = []
    if len(words) == 2 and words[0] == "glibc":
        return "glibc", _version(words[1])
    return _musl(interpreter(sys.executable))


def _musl(path: str) -> "Tuple[str, List[int]]":
    """Its loader says its version when it is called with nothing to load."""
    if not os.path.basename(path).startswith("ld-musl-"):
        return "", [0, 0]
    ran = subprocess.run([path], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    for line in ran.stderr.decode("ascii", "replace").splitlines():
        if line.startswith("Version "):
            return "musl", _version(line.split()[1])
    return "", [0, 0]


def _version(text: str) -> "List[int]":
    return [int(part) for part in text.split(".")[:2]]


def interpreter(program: str) -> str:
    """The loader that this program names (see elf(5)); "" where it names none."""
    try:
        with open(program, "rb") as file:
            head = file.read(64)
            wide, order = head[4] == 2, "<" if head[5] == 1 else ">"
            if head[:4] != b"\x7fELF":
                return ""
            begin, size, many = (32, 54, 56) if wide else (28, 42, 44)
            (at,) = struct.unpack_from(order + ("Q" if wide else "I"), head, begin)
            (each,) = struct.unpack_from(order + "H", head, size)
            (count,) = struct.unpack_from(order + "H", head, many)
            for number in range(count):
                file.seek(at + number * each)
                entry = file.read(each)
                if struct.unpack_from(order + "I", entry)[0] == _INTERPRETER:
                    fields = (order + "Q", 8, 32) if wide else (order + "I", 4, 16)
                    file.seek(struct.unpack_from(fields[0], entry, fields[1])[0])
                    length = struct.unpack_from(fields[0], entry, fields[2])[0]
                    return os.fsdecode(file.read(min(length, 4096)).rstrip(b"\0"))
    except (OSError, IndexError, struct.error):
        pass
    return ""


def load(wheel: bytes, digest: bytes, directories: "Iterable[str]") -> "ModuleType":
    """libtorrent, from memory or from one of these directories, and gone from there; raises ImportError."""
    if hashlib.sha256(wheel).digest() != digest:
        raise ImportError("what came isn't what was sent")
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
        extension = [name for name in names if name.startswith(NAME + "/__init__.") and ".so" in name]
        beside = [name for name in names if name.startswith(_BESIDE)]
        if len(extension) != 1:
            raise ImportError("the wheel has no libtorrent of use")
        refusals = []
        if not beside:
            try:
                return _from_memory(archive.read(extension[0]))
            except (AttributeError, ImportError, OSError) as error:  # Python 3.7, or it may not be loaded so
                refusals.append("in memory: %s" % error)
        for directory in directories:
            try:
                return _from_directory(archive, extension[0], beside, directory)
            except (ImportError, OSError) as error:
                refusals.append("in %s: %s" % (directory, error))
    raise ImportError("; ".join(refusals) or "there is no directory for it")


def _from_memory(data: bytes) -> "ModuleType":
    create: "Any" = getattr(os, "memfd_create")  # noqa: B009  (from 3.8 on)
    fd = create(NAME)
    try:
        with io.FileIO(fd, "w", closefd=False) as file:
            _write(file, data)
        return _import("/proc/self/fd/%d" % fd)
    finally:
        os.close(fd)


def _from_directory(
    archive: zipfile.ZipFile, extension: str, beside: "List[str]", directory: str
) -> "ModuleType":
    """Libraries beside it are found from where it lies."""
    if os.statvfs(directory).f_flag & os.ST_NOEXEC:
        raise ImportError("no program may be run from there")
    place = tempfile.mkdtemp(prefix=NAME + "-", dir=directory)
    try:
        for name in [extension] + beside:
            path = os.path.join(place, name.split("/")[0], os.path.basename(name))
            os.makedirs(os.path.dirname(path), 0o700, True)
            with io.FileIO(path, "x") as file:
                _write(file, archive.read(name))
        return _import(os.path.join(place, NAME, os.path.basename(extension)))
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _write(file: io.FileIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) or 0 :]


def _import(path: str) -> "ModuleType":
    loader = machinery.ExtensionFileLoader(NAME, path)
    spec: "Any" = util.spec_from_file_location(NAME, path, loader=loader)
    module = util.module_from_spec(spec)
    loader.exec_module(module)
    sys.modules[NAME] = module
    return module
