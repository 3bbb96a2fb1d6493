"""When the releases of a destination were made: written down beside them, as times of directories change."""

import contextlib
import json
import os

from nile.agent.worker import durable, naming

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict

MOST = 1 << 20  # bytes of what is written down
_LATEST = 1 << 63  # ns


def known(place: bytes) -> "Dict[str, int]":
    """Name -> Unix time in ns, as far as it can be read and understood."""
    try:
        said = json.loads(durable.read(os.path.join(place, naming.MADE), MOST).decode())
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(said, dict):
        return {}
    return {name: at for name, at in said.items() if type(at) is int and 0 <= at < _LATEST}


def write(place: bytes, made: "Dict[str, int]") -> None:
    """Instead of what was known; where a directory has that name nothing is. Raises OSError."""
    path = os.path.join(place, naming.MADE)
    try:
        durable.write(path, json.dumps(made).encode() + b"\n")
    except IsADirectoryError:  # then when directories last changed has to do
        with contextlib.suppress(OSError):
            durable.no_file(path + b"-new")
