"""Several repositories in one run: a service for each, behind one that hears for all of them.

Messages with a `repo` are for the service of that number, which is made when the first of them comes;
its answers have the number too. `drop` ends it: nothing more is wanted of it.
"""

import _signal as signal

from nile.agent.worker.loop import Loop
from nile.agent.worker.service import Service
from nile.agent.worker.working import WORK, Gone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Optional

    Message = Dict[str, Any]


class Part(Service):
    """The service of one repository."""

    def __init__(self, loop: "Loop", front: "Front", repo: int) -> None:
        super().__init__(loop)
        self._front = front
        self._repo = repo

    def _say(self, number: int, fields: "Message") -> None:
        self._front.pass_on(number, dict(fields, repo=self._repo))

    def _left(self) -> None:
        self._front.parted(self._repo)


class Front(Service):
    """The one that hears: it does itself what is for no repository."""

    def __init__(self, loop: "Loop") -> None:
        super().__init__(loop)
        self._parts: "Dict[int, Part]" = {}
        self._current: "Optional[Part]" = None
        self._ending = False

    def _do(self, message: "Message") -> None:
        repo = message.get("repo")
        if repo is None:
            super()._do(message)
        elif message["do"] == "drop":
            if repo in self._parts:
                self._parts[repo].end()
        else:
            if repo not in self._parts:
                self._parts[repo] = Part(self._loop, self, repo)
            self._current = self._parts[repo]
            self._current._do(message)
            self._current = None

    def pass_on(self, number: int, fields: "Message") -> None:
        """One of the others says that."""
        self._say(number, fields)

    def parted(self, repo: int) -> None:
        """It has ended."""
        self._parts.pop(repo, None)
        if self._ending and not self._parts:
            super().end()

    def say_alive(self) -> None:
        """Whoever is at it says so; what comes of one that looks again, or cleans up, is of any of them."""
        parts = list(self._parts.values()) if self._current is None else [self._current]
        if not parts:
            super().say_alive()
        for part in parts:
            if not self._writing:
                part.say_alive()

    def end(self) -> None:
        """Stop everything, clean up, and have the loop end."""
        self._ending = True
        parts = list(self._parts.values())
        for part in parts:
            part.end()
        if not parts:
            super().end()


def main() -> None:
    """Serve until told to end."""
    loop = Loop()
    service = Front(loop)
    service.listen()

    def end(*_: object) -> None:
        WORK.stop()
        loop.soon(service.end)

    def look(*_: object) -> None:
        if WORK.look():
            service.say_alive()

    for signum in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(signum, end)
    signal.signal(signal.SIGALRM, look)
    gone = False
    while True:
        try:
            if gone:
                service.hang_up()
            loop.run()
            return
        except Gone:  # also by what has to be ended then
            WORK.leave()
            gone = True
