"""Several labs side by side, for runs that mostly wait."""

from __future__ import annotations

import contextlib
import queue
import tempfile
import threading
from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from nile.lab import BackendName, Lab, LabSpec
from tests.cluster.hosts import boot_anew
from tests.cluster.running import Nile

HOSTS, SWITCHES = 60, 3
LABS = 4
"""As many runs at a time as two cores bear without turning load into failures."""

QUIET_S = 2.0
"""What a run of `true` takes on two cores that have nothing else to do."""
MOST_PACE = 4.0

Item = TypeVar("Item", bound=Hashable)
Result = TypeVar("Result")


def quiet_s(nile: Nile) -> float:
    """What a run takes now in which nothing happens."""
    return float(nile.json("-a", "--", "true").all_ok().events[-1]["wall_s"])


class Pool:
    """Labs of sixty hosts, each for one run at a time."""

    def __init__(self, labs: Iterable[Lab], directory: Path) -> None:
        self._free: queue.SimpleQueue[Lab] = queue.SimpleQueue()
        self._directory = directory
        self.turn = threading.Lock()
        """Whoever has it grows a tree: what costs much is done one after another."""
        self.pace = 1.0
        """How many times longer than usual a run takes here: what else goes on at this time."""
        self.size = 0
        for lab in labs:
            self._free.put(lab)
            self.size += 1

    @classmethod
    @contextlib.contextmanager
    def up(cls, directory: Path) -> Iterator[Pool]:
        """Bring all of them up, and down again."""
        spec = LabSpec(hosts=HOSTS, backend=BackendName.NETNS, switches=SWITCHES)
        with contextlib.ExitStack() as stack:
            places = [directory / f"pool{number}" for number in range(LABS)]
            labs = [stack.enter_context(Lab.up(spec, place, tied=True)) for place in places]
            made = cls(labs, directory)
            made.pace = min(MOST_PACE, max(1.0, quiet_s(Nile(labs[0], directory)) / QUIET_S))
            yield made

    def each(self, work: Callable[[Nile, Item], Result], items: Iterable[Item]) -> dict[Item, Result]:
        """Do the work for each item on any lab; AssertionError naming all items that failed, and why."""
        items = list(items)
        with ThreadPoolExecutor(self.size) as threads:
            futures = {item: threads.submit(self._one, work, item) for item in items}
        failed = {item: future.exception() for item, future in futures.items() if future.exception()}
        if failed:
            told = "\n\n".join(f"{item}: {error!r}" for item, error in failed.items())
            first = next(iter(failed.values()))
            raise AssertionError(f"{len(failed)} of {len(items)} failed:\n{told}") from first
        return {item: future.result() for item, future in futures.items()}

    def _one(self, work: Callable[[Nile, Item], Result], item: Item) -> Result:
        lab = self._free.get()
        try:
            return work(Nile(lab, Path(tempfile.mkdtemp(prefix=f"{item}-", dir=self._directory))), item)
        except BaseException:
            boot_anew(lab, lab.names)
            raise
        finally:
            self._free.put(lab)
