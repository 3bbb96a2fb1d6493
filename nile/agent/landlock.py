"""Landlock, by its system calls (Linux 5.13; landlock(7)). Travels with a sandbox.

A process, and whatever it starts, gives up writing below all but some places.
It never has to do with modes, owners and times of files, nor with what is open already.
"""

import _struct as struct
import ctypes
import os

from nile.agent import spaces

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional

# The same on all machines.
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
VERSION, PATH_BENEATH = 1, 1
WRITE_FILE = 1 << 1
# Removing and making whatever there is: bits 4 to 12.
CHANGE = sum(1 << bit for bit in range(4, 13))
REFER, TRUNCATE = 1 << 13, 1 << 14  # from versions 2 and 3 on
DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts")


def rights(version: int) -> int:
    """All ways to write that this version knows."""
    return WRITE_FILE | CHANGE | (REFER if version > 1 else 0) | (TRUNCATE if version > 2 else 0)


def restrict(scratch: "Optional[str]") -> None:
    """From now on it writes below `scratch`, and to devices that keep nothing. Raises OSError."""
    version = spaces.call("the kernel", "syscall", CREATE_RULESET, None, 0, VERSION)
    all_rights = rights(version)
    wanted = struct.pack("Q", all_rights)
    ruleset = spaces.call("ruleset", "syscall", CREATE_RULESET, wanted, len(wanted), 0)
    if scratch:
        _allow(ruleset, scratch, all_rights)
    for name in DEVICES:
        if os.path.exists("/dev/" + name):
            _allow(ruleset, "/dev/" + name, all_rights & (WRITE_FILE | TRUNCATE))
    spaces.no_new_rights()
    spaces.call("restrict", "syscall", RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)


def _allow(ruleset: int, path: str, what: int) -> None:
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    rule = ctypes.create_string_buffer(struct.pack("=Qi", what, fd))
    spaces.call("rule", "syscall", ADD_RULE, ruleset, PATH_BENEATH, rule, 0)
    os.close(fd)
