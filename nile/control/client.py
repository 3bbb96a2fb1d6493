"""The other end of a run's control socket."""

from __future__ import annotations

import json
import socket
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nile.control.server import entered
from nile.control.words import line
from nile.options import Pacing, RateLimits

ANSWER_S = 15.0
"""The run's end waits for none but others who ask, but its machine may be at its limits."""


class NoAnswerError(Exception):
    """Nobody answers for the run: it has ended, or its root was killed, or has no socket."""


class RefusedError(Exception):
    """The run's root won't, or can't, do that."""


@dataclass(frozen=True, slots=True)
class Remote:
    """The run of this id, whose root answers in that directory. All may raise NoAnswerError, RefusedError."""

    directory: Path
    run: str

    def status(self) -> dict[str, Any]:
        """Where it stands: see `Standing.status`."""
        return self._ask({"do": "status"})

    def stop(self, grace_s: float) -> None:
        """Have it end, as by Ctrl-C: SIGTERM to all commands, so many seconds of grace, SIGKILL."""
        self._ask({"do": "stop", "grace_s": grace_s})

    def pace(self, pacing: Pacing) -> None:
        """Have it go on faster, slower, or not for a while."""
        said = {name: value for name, value in asdict(pacing).items() if value is not None}
        self._ask({"do": "pace", **said})

    def conclude(self) -> None:
        """Have one that lasts come to its end in order."""
        self._ask({"do": "conclude"})

    def limit(self, limits: RateLimits) -> None:
        """Have peers of a swarm keep to these rates; that they do is seen in the status."""
        given = {name: value for name, value in asdict(limits).items() if value is not None}
        self._ask({"do": "limit", **given})

    def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        try:
            answer = json.loads(self._exchange(line(question)))
        except (OSError, ValueError) as error:
            raise NoAnswerError(str(error)) from None
        if not isinstance(answer, dict):
            raise NoAnswerError("it says nothing that makes sense")
        if "error" in answer:
            raise RefusedError(str(answer["error"]))
        return answer

    def _exchange(self, question: bytes) -> bytes:
        with (
            socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection,
            entered(self.directory) as place,
        ):
            connection.settimeout(ANSWER_S)
            connection.connect(f"{place}/{self.run}")
            connection.sendall(question)
            with connection.makefile("rb") as words:
                return words.readline()
