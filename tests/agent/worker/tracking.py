"""A tracker on loopback, and what is done beside it in a thread."""

from __future__ import annotations

import os
import random
import select
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from nile.agent.worker.lookup import EVERYWHERE
from nile.agent.worker.loop import Loop
from nile.agent.worker.register import Register
from nile.agent.worker.tracker import Tracker
from tests.agent.worker.chaining import descriptors
from tests.agent.worker.copying import a_loop

T = TypeVar("T")
LOCAL: dict[str, Sequence[str]] = {"127.0.0.1": (), "::1": ()}


class Served:
    """A tracker, its register and its loop, which runs while something else is done."""

    def __init__(self, loop: Loop, address: str, port: int) -> None:
        self.loop = loop
        self.register = Register(random.Random(1).sample)
        self.register.plan(LOCAL)
        self.strangers: list[str] = []
        self.tracker = Tracker(loop, self.register, self.strangers.append, address, port)

    def url(self, host: str = "127.0.0.1") -> str:
        """Of the tracker, without a path."""
        return f"http://{f'[{host}]' if ':' in host else host}:{self.tracker.port}"

    def during(self, act: Callable[[], T]) -> T:
        """Do this in a thread, while the tracker answers."""
        over, tell = os.pipe()
        try:
            with ThreadPoolExecutor(1) as pool:
                future = pool.submit(act)
                future.add_done_callback(lambda _: os.write(tell, b"."))
                self.loop.watch(over, select.POLLIN, lambda _: self.loop.stop())
                self.loop._stopped = False
                self.loop.run()
                return future.result()
        finally:
            self.loop.unwatch(over)
            os.close(over)
            os.close(tell)


@contextmanager
def a_tracker(address: str = EVERYWHERE, port: int = 0) -> Iterator[Served]:
    """One that leaves nothing open."""
    before = descriptors()
    with a_loop() as loop:
        watched = set(loop._ready)
        served = Served(loop, address, port)
        try:
            yield served
        finally:
            served.tracker.close()
        assert set(loop._ready) == watched
    assert descriptors() == before
