"""What workers are asked, by number, and who waits for the answer. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from nile.cascade import Attest, Errand, Publish, Tell, Vouch
from nile.cascade.work import Reach
from nile.events import Decision
from nile.sync.judging import SILENT_S
from nile.sync.targets import count
from nile.topology.model import ROOT_ID

LOOPBACK = "127.0.0.1"
"""Where a way that was opened by `reach` begins, at its giver."""

Errands = Iterator[Errand]
Answer = Callable[[dict[str, Any], float], Errands]
"""Takes a message, in which `from` is who says it, and the time."""

SEVERAL = frozenset(
    {"fetch", "join", "offer", "pack", "peer", "push", "receive", "record", "seed", "serve", "torrent"}
    | {"take", "track"}
)
"""What has several answers: how far it is, and how it ended."""
LEAST = 100
"""Files, or blocks of 64 KiB, that a worker which looks at a tree has to get on by, to be at it still ..."""
STILL_S = 600.0
"""... within so long: a slow disk gives a hundred times as many, and some steps have nothing to count."""
EACH_S = 100e-6
"""For what has then to be computed of each of them: thirty times what it takes."""
MOST_COMPUTING_S = 3600.0


@dataclass(slots=True)
class _Work:
    """What a worker says that it has looked at, since its beginning, and since when that stands still."""

    done: int = 0
    since_s: float | None = None
    """None: it has to speak, and has said nothing since."""
    anew: bool = False
    """It was asked something since that was looked at last."""
    alive_s: float = float("-inf")
    """When it last said that it is at it."""


class Asking:
    """Numbers questions, and gives each answer to whoever asked."""

    def __init__(self) -> None:
        self._waiting: dict[int, tuple[int, str, Answer]] = {}
        self._work: defaultdict[int, _Work] = defaultdict(_Work)
        self._last = 0

    def ask(self, node_id: int, do: str, fields: dict[str, Any], answer: Answer | None) -> Tell:
        """Have a worker do something; None: it has nothing to answer."""
        number = self._await(node_id, do, answer)
        if answer is not None:
            self.expect(node_id)
        return Tell(node_id, {"n": number, "do": do, **fields})

    def _await(self, node_id: int, do: str, answer: Answer | None) -> int:
        """The next number; by it that one's answer is known, if there is to be one."""
        self._last += 1
        if answer is not None:
            self._waiting[self._last] = (node_id, do, answer)
        return self._last

    def expect(self, node_id: int) -> None:
        """From now on it has to speak: how long it said nothing before, or stood still, counts no more."""
        work = self._work[node_id]
        work.since_s, work.anew = None, True

    def begins_anew(self, node_id: int) -> bool:
        """Has it to speak of something else than when this was asked last? Then its silence begins now."""
        work = self._work[node_id]
        anew, work.anew = work.anew, False
        return anew

    def decide(self, text: str, answer: Answer) -> Publish:
        """Have this in the store, and then an answer, as if the root's worker had given it.

        It has a `code` and a `reason` where the store can't take it.
        """
        number = self._await(ROOT_ID, "decide", answer)
        return Publish(Decision(text, number=number))

    def reach(self, giver: int, taker: int, port: int, answer: Answer) -> Reach:
        """Have a way opened from one node to a port of another: its agent answers, not its worker."""
        number = self._await(giver, "reach", answer)
        return Reach(number, giver, taker, port)

    def vouch(self, taker: int, binds: list[bytes], request: bytes, left: int, answer: Answer) -> Vouch:
        """Have the root sign for a login to that host, or refuse to; `left`: signatures not bound to it."""
        number = self._await(ROOT_ID, "vouch", answer)
        return Vouch(number, taker, tuple(binds), request, left)

    def attest(
        self, takers: Iterable[int], run: str, dest: bytes, info_hash: bytes, digest: bytes, answer: Answer
    ) -> Attest:
        """Have the operator's keys sign what is delivered to these; the answer says so, or why not."""
        number = self._await(ROOT_ID, "attest", answer)
        return Attest(number, tuple(takers), run, dest, info_hash, digest)

    def heard(self, node_id: int, message: dict[str, Any], t: float) -> Errands:
        """An answer, or one of several; raises ValueError where another one was asked."""
        number = count(message["n"])
        if number > self._last:
            raise ValueError("an answer to what nobody was asked")
        asked, do, answer = self._waiting.get(number, (node_id, "", None))
        if asked != node_id:
            raise ValueError("an answer to what another was asked")
        work = self._work[node_id]
        if work.since_s is None:
            work.since_s = t
        if message.get("alive") is True:  # it is at it
            work.alive_s = t
            if (done := count(message["done"])) >= work.done + LEAST:
                work.done, work.since_s = done, t
            return
        if answer is None:
            return
        if message.get("more") is not True:
            del self._waiting[number]
            work.since_s = t
        elif do not in SEVERAL:
            raise ValueError("a part of an answer that has none")
        yield from answer({**message, "from": node_id}, t)

    def stands_still(self, node_id: int, t: float, known: int = 0) -> bool:
        """Does a worker say that it is at something, and yet doesn't get on, for too long?

        `known`: things that it has been told of, and may be computing something of.
        """
        work = self._work[node_id]
        computing_s = min(MOST_COMPUTING_S, max(work.done, known) * EACH_S)
        return work.since_s is not None and t - work.since_s > STILL_S + computing_s

    def is_at_it(self, node_id: int, t: float, known: int = 0) -> bool:
        """Is a worker looking at files? It said so not long ago, and gets on; so it may do nothing else."""
        lately = t - self._work[node_id].alive_s <= SILENT_S
        return lately and not self.stands_still(node_id, t, known)
