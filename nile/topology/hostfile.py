"""Files of host sets: one a line, and what follows a `#` is a comment."""

from __future__ import annotations

from nile.errors import UsageError
from nile.topology.hostsets import HostSets
from nile.topology.refusal import Refusal


def read_hostfile(text: str, file: str, sets: HostSets) -> tuple[str, ...]:
    """The hosts of all lines, each once, in their order; raises `UsageError`, which names `file:line`."""
    names: dict[str, None] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not (written := line.partition("#")[0].strip()):
            continue
        try:
            names.update(dict.fromkeys(sets.expand(written)))
        except Refusal as refusal:
            raise refusal.usage_error(f"{file}:{number}") from refusal
    if not names:
        raise UsageError("there are no hosts in it", where=file, remedy="write one host set a line")
    return tuple(names)
