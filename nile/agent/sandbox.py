"""What a command is held in. Travels with the plan of one that is to be held.

    pidns   in a PID namespace of its own: with the command ends whatever it started
    strict  it writes to its scratch alone, and gains no rights

Of `strict` the first that works here is taken: a mount namespace where all is
read-only but the scratch; bubblewrap, which does the same and may be allowed to
where this user isn't; Landlock, which leaves modes and owners of files alone.
Each is tried in a process of its own before, so that none is left half done.

Whatever can't be had is an OSError that names the option and why, and nothing is started.
"""

import errno
import os

from nile.agent import landlock, spaces

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Optional

BWRAP = "bwrap"


class Sandbox:
    """One command's, of an outfit.

    `env` is what it will find, `size` the bytes that its scratch may take, `agent` the process above.
    """

    def __init__(self, outfit: "Dict[str, Any]", env: "Dict[str, str]", size: int, agent: int) -> None:
        self._kind: "str" = outfit["sandbox"]
        self._asked = outfit["env"]
        self._env = env
        self._size = size
        self._agent = agent
        self._scratch: "Optional[str]" = env.get("NILE_SCRATCH")

    def enter(self) -> "List[str]":
        """In the child: be in it. Gives what has to stand in front of the command, mostly nothing."""
        if self._kind == "pidns":
            try:
                spaces.own_processes(self._scratch, self._size, self._agent)
            except (OSError, ImportError) as error:
                raise self._refusal(reason(error)) from None
            self._env["NILE_SANDBOX"] = self._kind
            return []
        return self._strict()

    def _strict(self) -> "List[str]":
        whys = []
        for name, way in (
            ("namespaces", self._read_only),
            ("bubblewrap", self._wrapped),
            ("Landlock", self._landlocked),
        ):
            why = tried(way)
            if not why:
                break
            whys.append("%s: %s" % (name, why))
        else:
            raise self._refusal("; ".join(whys))
        self._env["NILE_SANDBOX"] = "strict/" + name.lower()
        if self._scratch and "TMPDIR" not in self._asked:
            self._env["TMPDIR"] = self._scratch
        if way == self._wrapped:
            return self._wrapping()
        way()
        return []

    def _refusal(self, why: str) -> OSError:
        return OSError(errno.EOPNOTSUPP, "", "--sandbox %s can't be had here (%s)" % (self._kind, why))

    def _read_only(self) -> None:
        spaces.own_mounts(self._scratch, self._size, read_only=True)
        spaces.no_new_rights()

    def _landlocked(self) -> None:
        landlock.restrict(self._scratch)

    def _wrapped(self) -> None:
        null = os.open("/dev/null", os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        words = self._wrapping() + ["/bin/sh", "-c", ":"]
        os.execve(words[0], encoded(words), self._env)

    def _wrapping(self) -> "List[str]":
        """bwrap(1): everything read-only, devices of its own, of these only the scratch can be written to."""
        for place in self._env.get("PATH", os.defpath).split(":"):
            path = "%s/%s" % (place, BWRAP)
            if place and os.access(path, os.X_OK):
                break
        else:
            raise OSError("not installed")
        words = [path, "--ro-bind", "/", "/", "--dev", "/dev"]
        if self._scratch:
            words += ["--bind", self._scratch, self._scratch]
        if os.geteuid() == 0:
            words += ["--cap-add", "ALL"]  # else root may read no more than anybody
        return words + ["--remount-ro", "/dev", "--"]


def encoded(words: "List[str]") -> "List[bytes]":
    """For execve: where the locale is C, Python 3.6 would have no word but of ASCII."""
    return [word.encode("utf-8", "surrogateescape") for word in words]


def reason(error: BaseException) -> str:
    """What went wrong, in few words: what it was about, and what the system says of it."""
    number, what = getattr(error, "errno", None), getattr(error, "filename", None)
    if not number:
        return str(error)
    return "%s%s" % ("%s: " % what if what else "", os.strerror(number))


def tried(way: "Callable[[], None]") -> str:
    """Why that can't be done, or nothing: it is, in a process that is over then."""
    said, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            way()
            os._exit(0)
        except BaseException as error:
            os.write(tell, reason(error).encode("utf-8", "replace")[:500] or b"?")
        finally:
            os._exit(1)
    os.close(tell)
    with open(said, "rb") as file:
        why = file.read().decode("utf-8", "replace")
    status = os.waitpid(pid, 0)[1]
    return why or ("it fails here" if status else "")
