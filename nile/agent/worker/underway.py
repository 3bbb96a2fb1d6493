"""Copies that a worker is at, by the numbers of what it was asked: they are begun, abandoned, ended."""

from nile.agent.worker.meeting import Dial
from nile.agent.worker.pushing import Push
from nile.agent.worker.receiving import Receive

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket as socket
    from typing import Any, Callable, Dict, Optional, Union

    from nile.agent.worker.loop import Loop

    Message = Dict[str, Any]
    Say = Callable[[int, Message], None]

COME_S = 40.0  # for the other side to come, or to be found


class UnderWay:
    """Copies under way at one worker. `say(number, fields)` answers."""

    def __init__(self, loop: "Loop", say: "Say") -> None:
        self._loop = loop
        self._say = say
        self._under_way: "Dict[int, Union[Receive, Push, Dial]]" = {}
        self._idle: "Optional[Callable[[], None]]" = None

    def _find(
        self,
        message: "Message",
        begin: "Callable[[socket.socket], None]",
        failed: "Callable[[str, str, bool], Message]",
    ) -> None:
        """Find whoever waits, and begin; else `failed(code, reason, was it found)` is what to answer."""
        number = message["n"]

        def met(connection: "Optional[socket.socket]", code: str, reason: str) -> None:
            del self._under_way[number]
            if connection is None:
                self._answer(number, failed(code, reason, False))
                return
            try:
                begin(connection)
            except (KeyError, TypeError, ValueError, OSError) as error:
                connection.close()
                self._answer(number, failed("", str(error), True))

        deadline = self._loop.now() + COME_S
        self._under_way[number] = Dial(
            self._loop, message["address"], message["port"], message["secret"], deadline, met
        )

    def _over(self, number: int, fields: "Message") -> None:
        """That is all about it."""
        self._under_way.pop(number, None)
        self._answer(number, fields)

    def _answer(self, number: int, fields: "Message") -> None:
        self._say(number, fields)
        if self._idle is not None and not self._under_way:
            self._idle()

    def abandon(self, number: int) -> None:
        """Nobody will come, or nothing more is wanted."""
        under_way = self._under_way.get(number)
        if isinstance(under_way, (Receive, Push)):
            under_way.stop()

    def stop(self, idle: "Callable[[], None]") -> None:
        """End all of them; `idle()` is called once none is left."""
        self._idle = idle
        for number, under_way in list(self._under_way.items()):
            if isinstance(under_way, Dial):
                under_way.close()
                del self._under_way[number]
            else:
                under_way.stop()
        if not self._under_way:
            idle()
