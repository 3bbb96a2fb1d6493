"""A torrent in the making: the root's worker makes it, the operator's keys sign it. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nile.sync.asking import Answer, Errands
from nile.sync.means import Means
from nile.sync.targets import words
from nile.sync.torrents import chunk_of
from nile.topology.model import ROOT_ID


class Making:
    """`ready(message, t)` is told what was signed; `failed(code, reason, t)` why there is no torrent.

    Without a signature hosts would take nothing, so there is none then either.
    """

    def __init__(self, means: Means, ready: Answer, failed: Callable[[str, str, float], Errands]) -> None:
        self._means = means
        self._ready = ready
        self._failed = failed
        self._takers: list[int] = []
        self.chunks: list[bytes] = []
        self.made = False
        """There is a torrent. (Whoever signs it is waited for elsewhere.)"""

    def begin(self, takers: list[int], fields: dict[str, Any]) -> Errands:
        """For these; `fields` say what is to be in it."""
        self._takers = takers
        nonce = {"nonce": self._means.secret()}
        yield self._means.asking.ask(ROOT_ID, "torrent", {**fields, **nonce}, self._made)

    def _made(self, message: dict[str, Any], t: float) -> Errands:
        """The root's worker gives it a chunk at a time."""
        if message.get("more") is True:
            self.chunks.append(chunk_of(message["chunk"]))
        elif message.get("code"):
            yield from self._failed(words(message["code"]), words(message["reason"]), t)
        else:
            self.made = True
            place = self._means.options.place
            what = (self._means.run, place, chunk_of(message["hash"]), chunk_of(message["digest"]))
            yield self._means.asking.attest(self._takers, *what, self._signed)

    def _signed(self, message: dict[str, Any], t: float) -> Errands:
        if message["refused"]:
            yield from self._failed("", f"it isn't signed: {words(message['refused'])}", t)
        else:
            yield from self._ready(message, t)
