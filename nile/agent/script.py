"""A script that is run where no disk has it. Travels with the plan.

It lies in memory: in a file without a name that this agent holds open, and that
the interpreter opens by way of /proc, so that nothing has to be executable, nor
allowed to be where it is mounted. Where no such file can be had, the
interpreter reads it from a pipe, which it has beside its standard input.
"""

import os
import sys
import zlib

from nile.agent import feed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Tuple

    from nile.agent.loop import Agent


class Script:
    """One script, ready to be run; `argv` is how, its first word a path.

    `script` is {name, data, args}: the data is compressed. `apart`: it won't see the agent in /proc.
    """

    def __init__(self, agent: "Agent", script: "Dict[str, Any]", apart: "Any" = None) -> None:
        self._agent = agent
        self._text = zlib.decompress(script["data"])
        self._pipe: "Optional[Tuple[int, int]]" = None
        file = None if apart else memory_file(self._text, agent.claim)
        if file is None:
            self._pipe = os.pipe()
            os.set_inheritable(self._pipe[0], True)
            path = "/proc/self/fd/%d" % self._pipe[0]
        else:
            path = "/proc/%d/fd/%d" % (os.getpid(), file)
        self.argv = interpreter(self._text, script["name"]) + [path] + script["args"]

    def over(self, runs: bool) -> None:
        """Its process was started, or wasn't: what only that needed is closed."""
        if self._pipe:
            os.close(self._pipe[0])
            source = Source(self._agent)
            source.add(self._text if runs else b"")
            source.add(b"")
            source.begin(self._pipe[1])


class Source(feed.Feed):
    """Feeds the interpreter: nobody waits to hear how much of its script it has taken."""

    def tell(self, taken: int) -> None:
        """To nobody: of the command's standard input nothing was taken."""


def memory_file(text: bytes, directory: "Optional[str]") -> "Optional[int]":
    """A file with that text that has no name; None where there is none to be had.

    `directory` is one on a memory file system: Python has memfd_create(2) from 3.8 on.
    """
    fd = -1
    try:
        if hasattr(os, "memfd_create"):
            fd = os.memfd_create("nile-script")
        elif directory is None:
            return None
        else:
            path = directory + "/script"
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            os.unlink(path)
        rest = memoryview(text)
        while rest:
            rest = rest[os.write(fd, rest) :]
    except OSError:
        if fd >= 0:
            os.close(fd)
        return None
    return fd


def interpreter(text: bytes, name: str) -> "List[str]":
    """What its first line names: a program, and what else stands there as one word, as the kernel has it.

    Without such a line it is sh, and for a name that ends with .py the Python that the agent runs on.
    """
    line = text.partition(b"\n")[0]
    words = line[2:].strip().split(None, 1) if line.startswith(b"#!") else []
    if words:
        return [os.fsdecode(word) for word in words]
    return [sys.executable] if name.endswith(".py") else ["/bin/sh"]
