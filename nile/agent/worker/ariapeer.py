"""A peer that is aria2, for hosts where no Python has libtorrent; to others it is as that of `peering` is.

    getting ----> checking ----> handed over ----> serving
    (aria2)       (a child)                        (aria2)

aria2 can't be told of peers while it runs, but asks a tracker every second: so
it has one here, on loopback, which tells it of whom the worker was told, and
nothing to who doesn't know the info hash. That it asks shows that it listens.

Once it says that it has all that is wanted, a child of ours reads that and holds
it against the torrent: nothing is put in place that aria2 alone took for right.
It keeps files open to be written, so it is ended then, and begun again at the
same port with files that it only reads: a program that was delivered can be run
while others still get it from here. (It opens them so where what is there has
the size of all of the torrent. So what wasn't wanted is there too, as a hole.)

It is killed when it is to end: nobody waits for its last words, and what it sent
in its last second isn't counted. Where its worker is killed it ends by itself.
"""

import os
import random

from nile.agent.worker import aria
from nile.agent.worker.announcing import Refused
from nile.agent.worker.ariac import Process
from nile.agent.worker.forking import Failure, Working
from nile.agent.worker.lookup import LOOPBACK
from nile.agent.worker.memory import kept
from nile.agent.worker.peerprogram import CALM_REPORT_S, TRIES
from nile.agent.worker.ports import NO_PORT, free_port
from nile.agent.worker.register import Register
from nile.agent.worker.rsync import STALL_S
from nile.agent.worker.standstill import Standstill, done_by
from nile.agent.worker.tracker import Tracker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Optional, Sequence

    from nile.agent.worker.announcing import Asked
    from nile.agent.worker.loop import Loop
    from nile.agent.worker.metainfo import Metainfo
    from nile.agent.worker.running import Ending

    Message = Dict[str, Any]

GETTING, CHECKING, HANDED_OVER, SERVING = range(4)


class Guide(Register):
    """What its tracker knows, which is nobody else's matter. `asks(port)` is called whenever it asks."""

    def __init__(self, asks: "Callable[[int], None]") -> None:
        super().__init__(random.sample)
        self._asks = asks
        self.plan({LOOPBACK: ()})

    def announce(self, asked: "Asked", address: str, now: float) -> "Dict[bytes, Any]":
        """As that of any tracker."""
        answer = super().announce(asked, address, now)
        self._asks(asked.port)
        return answer

    def scrape(self, hashes: "Sequence[bytes]", now: float) -> "Dict[bytes, Any]":
        """It would say which torrents there are."""
        raise Refused(404, "nothing is said here")


class Check:
    """A child that holds what came against the torrent; `over(code, reason)` is called once, at its end.

    `moved()` is called time and again while it gets on. Raises OSError where there can be no child.
    """

    def __init__(
        self,
        loop: "Loop",
        torrent: "Metainfo",
        directory: bytes,
        wanted: bytes,
        moved: "Callable[[], None]",
        over: "Callable[[str, str], None]",
    ) -> None:
        def work() -> None:
            try:
                wrong = torrent.first_wrong(directory, wanted)
            except OSError as error:
                raise Failure("copy", "what came can't be read: %s" % error.strerror) from None
            if wrong is not None:
                raise Failure("copy", "what aria2 brought isn't what the torrent says (file %d)" % wrong)

        self._over = over
        null = os.open(os.devnull, os.O_RDWR)
        try:
            self._working = Working(loop, work, [null, null], self._ended)
        finally:
            os.close(null)
        self._standstill = Standstill(loop, STALL_S, lambda: done_by(self._working.pid), self.kill, moved)

    def kill(self) -> None:
        """It may not go on."""
        self._working.kill()

    def _ended(self, ending: "Ending") -> None:
        self._standstill.stop()
        self._over(ending.code, ending.reason)


class Aria:
    """A peer; see `nile.agent.worker.peering.Peering`: it has of its methods what may be called of it."""

    def __init__(
        self,
        loop: "Loop",
        torrent: "Metainfo",
        path: str,
        version: str,
        said: "Callable[[Message], None]",
        over: "Callable[[str, str], None]",
    ) -> None:
        self._loop = loop
        self._torrent = torrent
        self._path = path
        self._said = said
        self._over = over
        self._wanted = b""
        self._how: "Message" = {}
        self._listed = ""
        self._limited: "List[int]" = []  # of what it was told, numbers that are to be answered once it holds
        self._files: "List[int]" = []
        self._guide = Guide(self._asks)
        self._tracker: "Optional[Tracker]" = None
        self._process: "Optional[Process]" = None
        self._check: "Optional[Check]" = None
        self._state = GETTING
        self._port = self._tried = self._at = self._whole = self._sent = 0
        self._listens = self._again = self._stopping = False
        self._cause = ""
        self._end = ("", "")
        self._reported_s = float("-inf")
        self._timer = loop.at(loop.now(), lambda: said({"ready": "aria2 " + version}))

    # What it is told.

    def tell(self, message: "Message") -> None:
        """Say this to it."""
        if not self._stopping:
            getattr(self, "_do_" + message["do"])(message)

    def _do_metainfo(self, message: "Message") -> None:
        """It knows that."""

    def _do_wanted(self, message: "Message") -> None:
        self._wanted += message["wanted"]

    def _do_start(self, message: "Message") -> None:
        self._how = message
        try:
            if message.get("tls"):
                raise OSError(0, "aria2 takes part in no swarm that is encrypted")
            self._guide.add(self._torrent.hash, b"")
            self._tracker = Tracker(self._loop, self._guide, lambda address: None, LOOPBACK)
            torrent = self._file(self._torrent.torrent)
            self._listed = self._file(aria.listed(torrent, aria.names(self._torrent), self._wanted))
            self._find_port()
            self._begin()
        except OSError as error:
            self._fail("copy", error.strerror or str(error))

    def _do_elsewhere(self, message: "Message") -> None:
        """It asks nobody but us."""

    def _do_share(self, message: "Message") -> None:
        """It takes pieces in an order of its own."""

    def _do_peers(self, message: "Message") -> None:
        for address, port in message["peers"]:
            self._guide.introduce(self._torrent.hash, address, port, False)

    def _do_limit(self, message: "Message") -> None:
        """It can't be told while it runs, and goes on, when it is begun again, with what it has.

        Of a gateway all that comes is bounded: it doesn't know who is near.
        """
        before = (self._how["limit"], self._how.get("uplink", 0))
        self._how = dict(self._how, limit=message["limit"], uplink=message.get("uplink", 0))
        self._limited = [*self._limited, message["n"]] if "n" in message else self._limited
        runs = self._process is not None and not self._again and self._state in (GETTING, SERVING)
        if not runs or self._process is None:
            return  # it is begun with that
        if before == (self._how["limit"], self._how["uplink"]):
            self._keeps_to_it()
        else:
            self._again = True
            self._process.end()

    def _keeps_to_it(self) -> None:
        while self._limited:
            self._said({"limited": self._limited.pop()})

    def stop(self) -> None:
        """It is to end; nothing more is heard of it."""
        if self._stopping:
            return
        self._stopping = True
        self._loop.forget(self._timer)
        self.kill()
        if self._process is None and self._check is None:
            self._timer = self._loop.at(self._loop.now(), self._perhaps_over)

    def kill(self) -> None:
        """At once."""
        for each in (self._process, self._check):
            if each is not None:
                each.kill()

    # Its process.

    def _file(self, data: bytes) -> str:
        """The path of one in memory, for any process of ours, as long as we have it."""
        self._files.append(kept(data))
        return "/proc/%d/fd/%d" % (os.getpid(), self._files[-1])

    def _find_port(self) -> None:
        ports = self._how.get("ports", [])
        self._port = free_port(ports, self._tried)
        if not self._port:
            raise OSError(0, NO_PORT % tuple(ports))

    def _begin(self) -> None:
        assert self._tracker is not None
        how = self._how
        argv = aria.words(
            self._path,
            os.fsdecode(how["directory"]),
            self._listed,
            self._tracker.port,
            self._port,
            how["limit"],
            how.get("uplink", 0),
            how.get("word", ""),
            os.getpid(),
            serves=self._state == SERVING,
        )
        self._again = False
        self._process = Process(self._loop, argv, self._line, self._ended)
        self._keeps_to_it()

    def _ended(self, ending: "Ending") -> None:
        self._process = None
        if self._stopping:
            self._perhaps_over()
            return
        try:
            if self._state == HANDED_OVER:
                self._hand_over()
            elif self._again:
                self._begin()
            elif not self._listens and self._tried < TRIES:  # somebody else was quicker
                self._tried += 1
                self._find_port()
                self._begin()
            else:
                cause = self._cause if ending.signal is None else ""
                self._fail(ending.code, ": ".join(filter(None, [ending.reason, cause])))
        except OSError as error:
            self._fail("copy", error.strerror or str(error))

    def _fail(self, code: str, reason: str) -> None:
        """It can't go on: not said before whoever called us is through."""
        self._end = self._end if self._end[0] else (code, reason)
        self.stop()

    def _perhaps_over(self) -> None:
        if self._process is not None or self._check is not None:
            return
        if self._tracker is not None:
            self._tracker.close()
        while self._files:
            os.close(self._files.pop())
        self._over(*self._end)

    # What it says.

    def _asks(self, port: int) -> None:
        if port == self._port and not self._listens and not self._stopping:
            self._listens = True
            self._said({"port": port})

    def _line(self, line: bytes) -> None:
        said = aria.heard(line)
        if said is None:
            self._cause = aria.cause(line) or self._cause
        elif not self._stopping:
            self._at, self._whole = (
                (self._whole, self._whole) if said.at is None else (said.at, said.whole or 0)
            )
            self._sent = max(self._sent, said.sent or 0)
            self._report(said)
            if said.at is None and self._listens and self._state == GETTING and not self._again:
                self._look()

    def _report(self, said: "aria.Said") -> None:
        now = self._loop.now()
        if self._state == SERVING and now < self._reported_s + CALM_REPORT_S:
            return
        self._reported_s = now
        report = {
            "at": self._at,
            "whole": self._whole,
            "got": self._at,
            "sent": self._sent,
            "down": said.down,
            "up": said.up,
            "peers": said.peers,
            "failed": 0,
            "state": "",
            "useful": said.peers,  # it doesn't say more than that
            "serving": said.peers,
        }
        self._said({"report": report})

    # What came.

    def _look(self) -> None:
        self._state = CHECKING
        self._moved()
        try:
            self._check = Check(
                self._loop,
                self._torrent,
                self._how["directory"],
                self._wanted,
                self._moved,
                self._checked,
            )
        except OSError as error:
            self._fail("copy", error.strerror or str(error))

    def _moved(self) -> None:
        if not self._stopping:
            self._said({"checking": True})

    def _checked(self, code: str, reason: str) -> None:
        self._check = None
        if self._stopping:
            self._perhaps_over()
        elif code:
            self._fail(code, reason)
        else:
            self._state = HANDED_OVER
            if self._process is not None:
                self._process.kill()
            else:
                self._hand_over()

    def _hand_over(self) -> None:
        """Nobody has what came open any more: it is there, and now it is served."""
        self._state = SERVING
        self._said({"complete": True})
        if self._stopping:
            return
        try:
            self._fill_up()
            self._begin()
        except ValueError as error:
            raise OSError(0, str(error)) from None

    def _fill_up(self) -> None:
        """What wasn't wanted takes no room; and the control file says so."""
        directory = self._how["directory"]
        name, control = aria.control(self._torrent, self._wanted, self._sent)
        for number, each in enumerate(aria.names(self._torrent)):
            path = os.path.join(directory, each.encode())
            if not self._wanted[number]:
                with open(path, "ab") as file:
                    file.truncate(self._torrent.sizes[number])
        with open(os.path.join(directory, name), "wb") as file:
            file.write(control)
