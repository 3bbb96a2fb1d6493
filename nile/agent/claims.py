"""One agent of a run on a host, whoever logs in: the first that comes claims it.

A claim is a directory on a memory file system, named after the user, the run
and the host. It outlives its agent: a command is never started where one may
have been started before, but by the root's decision. In it is a FIFO that wakes
the agent for one that came later (see `nile.agent.orphan`); its reader lives as
long as the agent.
"""

import posix as os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Optional, Tuple

MEMORY_DIRECTORIES = ("/dev/shm", "/run/user/%d" % os.getuid())
WAKE = "/wake"
RELAY = "/nile-%d.%.16s.%d"  # uid, run, id: what a relay's sockets lie in; their paths have 107 bytes at most
NONE, DEAD, HELD = "none", "dead", "held"


def claim(
    run: str, node: "Dict[str, Any]", own: "Callable[[str], None]"
) -> "Tuple[str, Optional[str], str, int]":
    """Claim a host: (trace, directory or None where none can be had, word, the FIFO's descriptor).

    `own(path)` has a path removed in the end, should it be there yet.

    `trace` is NONE; or HELD where the directory was there before, and then it
    isn't ours yet: the descriptor is that of a FIFO in another one, whose name
    has the `word` behind it. Raises OSError where there is no room beside it.
    """
    host = node["host"]
    if len(host) > 150 or "/" in host:  # no name for a directory
        host = "=%d" % node["id"]
    word = "." + os.urandom(8).hex()
    places = ["%s/nile-%d-%s-%s" % (base, os.getuid(), run, host) for base in MEMORY_DIRECTORIES]
    there = _existing(places)
    for place in there or places:
        own(place + word)
        try:
            os.mkdir(place + word, 0o700)
            os.mkfifo(place + word + WAKE, 0o600)
            fd = os.open(place + word + WAKE, os.O_RDWR | os.O_NONBLOCK)
        except OSError:
            if there:
                raise  # whoever has it can't be reached from here
            continue
        try:
            os.rename(place + word, place)  # fails where there is one: that isn't empty
        except OSError:
            return HELD, place, word, fd
        if _existing(places)[1:]:
            # Another one came at the same moment, and found room elsewhere. At least one of both sees that.
            os.close(fd)
            os.rename(place, place + word)  # emptied under its name, it could be a third one's meanwhile
            release(place + word)
            return claim(run, node, own)
        return NONE, place, word, fd
    return NONE, None, word, -1


def _existing(paths: "List[str]") -> "List[str]":
    return [path for path in paths if os.access(path, 0)]


def release(path: str) -> None:
    """The root wants no trace of the run any more."""
    try:
        os.unlink(path + WAKE)
        os.rmdir(path)
    except OSError:
        from nile.agent import leftovers

        leftovers.remove_tree(path)
