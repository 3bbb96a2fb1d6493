"""Packing the worker: a program that a run's command reads from its standard input (nile.agent.worker)."""

from __future__ import annotations

import functools
import zlib
from importlib import resources

MODULES = (
    "wire",
    "processes",
    "forked",
    "worker.messages",
    "worker.loop",
    "worker.working",
    "worker.removing",
    "worker.patterns",
    "worker.manifest",
    "worker.scanning",
    "worker.packing",
    "worker.compare",
    "worker.naming",
    "worker.target",
    "worker.lock",
    "worker.trees",
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
    "worker.recording",
    "worker.archive",
    "worker.forking",
    "worker.attributes",
    "worker.archiving",
    "worker.applying",
    "worker.ownership",
    "worker.restoring",
    "worker.unpacking",
    "worker.taping",
    "worker.streaming",
    "worker.inuse",
    "worker.durable",
    "worker.releases",
    "worker.delivery",
    "worker.releasing",
    "worker.fetching",
    "worker.shelf",
    "worker.limits",
    "worker.gathering",
    "worker.bencode",
    "worker.metainfo",
    "worker.begin",
    "worker.peerprogram",
    "worker.peering",
    "worker.placing",
    "worker.swarming",
    "worker.excuses",
    "worker.service",
    "worker.parts",
)
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

_SUDO = (
    'm=$(sudo -n -u "$2" -- env "$NILE_PYTHON" -BISc "" </dev/null 2>&1) && '
    'exec sudo -n -u "$2" -- env NILE_RUN="$NILE_RUN" NILE_HOST="$NILE_HOST" "$NILE_PYTHON" -BISc "$1"; '
    'sudo -n -u "$2" -- env true </dev/null >/dev/null 2>&1 || set -- "$1"; '
    'exec env NILE_REFUSED="$m" NILE_UNABLE="$2" "$NILE_PYTHON" -BISc "$1"'
)
"""What a /bin/sh runs: sudo keeps none of the environment.

Where it refuses, or that user can't run this Python, a worker of who logged in says just that.
"""


def command(sudo: str = "") -> str:
    """The line for a login shell that starts a worker, by sudo as that user if one is named."""
    return f"exec /bin/sh -c '{_SUDO}' sh '{PYTHON}' {sudo}" if sudo else COMMAND


@functools.cache
def worker_program() -> bytes:
    """What the worker's Python reads first: a line with a length, and so many bytes."""
    sources = {"nile": "", "nile.agent": "", "nile.agent.worker": ""}
    sources |= {f"nile.agent.{module}": _stripped(module) for module in MODULES}
    program = zlib.compress(f"{_stripped(_BEGIN)}\nmain({sources!r})".encode(), 9)
    return b"%d\n%b" % (len(program), program)


def _stripped(module: str) -> str:
    """A named tuple is made of annotations."""
    file = module.replace(".", "/") + ".py"
    from nile.bootstrap.bundle import strip

    text = resources.files("nile.agent").joinpath(file).read_text(encoding="utf-8")
    return strip(text, annotations=True)
