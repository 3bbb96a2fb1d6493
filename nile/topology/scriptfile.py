"""Scripts: read here, at the root, and refused before any host is touched."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from nile.errors import UsageError
from nile.options import LONGEST_LINE, Script

MOST_BYTES = 1 << 20
"""A script travels to every host, and lies in its memory and that of every relay."""
STDIN = "-"


def read_script(path: str, args: Sequence[str], where: str = "--script") -> Script:
    """The script at `path`, or from standard input, with its arguments; raises UsageError, about `where`."""
    where = f"{where} {path}"
    name = Path(path).name if path != STDIN else STDIN
    script = Script.of(name, _read(path, where), tuple(args))
    check_script(script, where)
    return script


def check_script(script: Script, where: str) -> None:
    """Raise UsageError where hosts can't be meant to run it."""
    if not script.text:
        raise UsageError("there is nothing in it", where=where, remedy="write a script")
    if len(script.text) > MOST_BYTES:
        remedy = "bring it to the hosts with `nile sync`, and run it there"
        raise UsageError("the script is longer than 1 MiB", where=where, remedy=remedy)
    line = script.text.partition(b"\n")[0]
    if line.startswith(b"#!") and line.endswith(b"\r"):
        remedy = "it has the line ends of DOS: take them away (sed -i 's/\\r$//' FILE)"
        raise UsageError("hosts would look for an interpreter that ends with \\r", where=where, remedy=remedy)
    for arg in script.args:
        if "\0" in arg:
            raise UsageError("no argument can have a NUL in it", where=where, remedy="take it out")
        if len(os.fsencode(arg)) >= LONGEST_LINE:
            remedy = "send it by --stdin"
            raise UsageError("hosts can't take so long an argument (128 KiB)", where=where, remedy=remedy)


def _read(path: str, where: str) -> bytes:
    """No more than shows that it is too long."""
    try:
        if path == STDIN:
            if sys.stdin is None:
                remedy = "it was closed: give it one"
                raise UsageError("there is no standard input", where=where, remedy=remedy)
            return sys.stdin.buffer.read(MOST_BYTES + 1)
        with Path(path).open("rb") as file:
            return file.read(MOST_BYTES + 1)
    except OSError as error:
        remedy = "name a file that you may read"
        raise UsageError(f"can't read it: {error.strerror}", where=where, remedy=remedy) from error
