"""Packing the worker: a program that a run's command reads from its standard input (nile.agent.worker)."""

from __future__ import annotations

import functools
import marshal
import zlib
from collections.abc import Mapping
from importlib import resources
from importlib.util import MAGIC_NUMBER
from itertools import groupby
from operator import itemgetter
from types import CodeType

from nile.agent.worker import begin

OFTEN = (
    "wire",
    "processes",
    "forked",
    "worker.tuples",
    "worker.messages",
    "worker.loop",
    "worker.working",
    "worker.removing",
    "worker.patterns",
    "worker.expressions",
    "worker.hashing",
    "worker.manifest",
    "worker.walking",
    "worker.scanning",
    "worker.packing",
    "worker.compare",
    "worker.naming",
    "worker.target",
    "worker.lock",
    "worker.trees",
    "worker.sockets",
    "worker.lookup",
    "worker.meeting",
    "worker.running",
    "worker.rsync",
    "worker.pushing",
    "worker.receiving",
    "worker.place",
    "worker.underway",
    "worker.copies",
    "worker.ring",
    "worker.segments",
    "worker.holding",
    "worker.sealing",
    "worker.reports",
    "worker.streams",
    "worker.upstream",
    "worker.downstream",
    "worker.chain",
    "worker.standstill",
    "worker.applying",
    "worker.streaming",
    "worker.excuses",
    "worker.service",
    "worker.parts",
)
ROOT = (
    "worker.recording",
    "worker.forking",
    "worker.archive",
    "worker.attributes",
    "worker.archiving",
    "worker.taping",
)
"""What the root's own worker needs beside that, and hosts seldom."""

SWARM = (
    "worker.ownership",
    "worker.dressing",
    "worker.placing",
    "worker.plans",
    "worker.restoring",
    "worker.durable",
    "worker.bencode",
    "worker.signers",
    "worker.signatures",
    "worker.directories",
    "worker.beside",
    "worker.assembling",
    "worker.merging",
    "worker.metainfo",
    "worker.origins",
    "worker.banned",
    "worker.uplink",
    "worker.nearby",
    "worker.refusing",
    "worker.guarding",
    "worker.ports",
    "worker.priorities",
    "worker.peersettings",
    "worker.peerprogram",
    "worker.begin",
    "worker.peering",
    "worker.landing",
    "worker.checking",
    "worker.partaking",
    "worker.taking",
    "worker.swarming",
)
"""What else each host of a swarm needs, beside some of what the root does."""

RARE = (
    "sshlogin",
    "signsocket",
    "worker.tunnel",
    "worker.unpacking",
    "worker.inuse",
    "worker.ages",
    "worker.releases",
    "worker.delivery",
    "worker.releasing",
    "worker.fetching",
    "worker.shelf",
    "worker.limits",
    "worker.gathering",
    "worker.announcing",
    "worker.register",
    "worker.tracker",
    "worker.equipped",
    "worker.memory",
    "worker.lacking",
    "worker.handing",
    "worker.aria",
    "worker.ariac",
    "worker.ariapeer",
    "worker.guarded",
    "worker.keeping",
    "worker.lookups",
    "worker.hosting",
)
"""What most hosts don't need. It travels as source to all."""

MODULES = OFTEN + ROOT + SWARM + RARE
_BEGIN = "worker.begin"

PYTHON = (
    "import io,zlib;"
    "f=io.BufferedReader(io.FileIO(0,closefd=False),1);"  # it must not read what comes behind
    "n=int(f.readline());"
    "exec(zlib.decompress(f.read(n)))"
)
"""What a Python runs: without a quote, backslash or newline, so that every login shell takes it alike."""

COMMAND = f"exec \"$NILE_PYTHON\" -BISc '{PYTHON}'"
"""The line for a login shell."""

_NO_COLUMNS, _NO_LINE = 13, 15
"""What an entry of a table of locations may be."""


@functools.cache
def worker_program(*, swarms: bool = False, root: bool = False) -> bytes:
    """What the worker's Python reads first: a line with a length, and so many bytes, which read the rest.

    That is most modules that it needs, in a swarm if it is one that `swarms`, or as the `root`'s own, as code
    for a Python like this one, which takes a tenth of the time to load, and all of them as source. Before
    each of these parts is a line that says what it is (bytecode's magic number, or `source`) and its length.
    """
    first = zlib.compress(f"{_stripped(_BEGIN)}\nmain(f)".encode(), 9)
    packages = ("nile", "nile.agent", "nile.agent.worker")
    often = (*packages, *map(_full, OFTEN))
    sources = dict.fromkeys(packages, "") | {_full(module): _stripped(module) for module in MODULES}
    more = [tuple(map(_full, ROOT))] * (root or swarms) + [tuple(map(_full, SWARM))] * swarms
    needed = [often, *more]
    codes = [{name: marshal.dumps(compiled(name, sources[name])) for name in names} for names in needed]
    parts = [(MAGIC_NUMBER.hex().encode(), _packed(each)) for each in codes]
    parts.append((begin.SOURCE, _packed(sources)))
    rest = b"".join(b"%b %d\n%b" % (what, len(data), data) for what, data in parts)
    return b"%d\n%b%b" % (len(first), first, rest)


def _full(module: str) -> str:
    return f"nile.agent.{module}"


def compiled(name: str, source: str) -> CodeType:
    """As a host would compile it: a traceback has the same files and lines, but no columns."""
    return _lines_only(compile(source, name.replace(".", "/") + ".py", "exec", dont_inherit=True))


def _lines_only(code: CodeType) -> CodeType:
    """The same code with a table that says of each instruction in which line it is, in half the bytes.

    The format is that of CPython's Objects/locations.md, from 3.11 on.
    """
    table, before = bytearray(), code.co_firstlineno
    for line, same in groupby(code.co_lines(), key=itemgetter(2)):
        left = sum(end - start for start, end, _ in same) // 2  # code units
        while left:
            count = min(left, 8)
            left -= count
            if line is None:
                table.append(0x80 | _NO_LINE << 3 | count - 1)
            else:
                table.append(0x80 | _NO_COLUMNS << 3 | count - 1)
                table += _signed(line - before)
                before = line
    consts = tuple(_lines_only(each) if isinstance(each, CodeType) else each for each in code.co_consts)
    return code.replace(co_linetable=bytes(table), co_consts=consts)


def _signed(number: int) -> bytes:
    """Six bits a byte, the lowest first; the last bit of the number is its sign."""
    number = (-number << 1) | 1 if number < 0 else number << 1
    out = bytearray()
    while number >= 64:
        out.append(64 | number & 63)
        number >>= 6
    return bytes(out + bytes([number]))


def _packed(modules: Mapping[str, str | bytes]) -> bytes:
    """In the format of `marshal` that all versions of Python read."""
    return zlib.compress(marshal.dumps(dict(modules), 2), 9)


def _stripped(module: str) -> str:
    """A named tuple is made of annotations."""
    file = module.replace(".", "/") + ".py"
    from nile.bootstrap.bundle import strip

    text = resources.files("nile.agent").joinpath(file).read_text(encoding="utf-8")
    return strip(text, annotations=True)
