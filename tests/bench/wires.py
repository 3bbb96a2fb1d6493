"""What goes over the wires of a lab, and when, by the counters of its ports."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from nile.lab import Lab
from nile.lab.links import uplink_ports
from nile.lab.netns import port_of

ROOT_PORT = "root"
EVERY_S = 0.2


@dataclass(frozen=True)
class Counts:
    """Bytes by port of a switch or of the core, since the lab is up: what came in there, and what left."""

    entered: dict[str, int]
    left: dict[str, int]

    @classmethod
    def of(cls, lab: Lab) -> Counts:
        """As they are now."""
        lines = Path(f"/proc/{lab.supervisor}/net/dev").read_text().splitlines()[2:]
        fields = {
            name.strip(): numbers.split() for name, _, numbers in (line.partition(":") for line in lines)
        }
        return cls(
            {name: int(each[0]) for name, each in fields.items()},
            {name: int(each[8]) for name, each in fields.items()},
        )

    def to(self, host: str) -> int:
        """What went to a host."""
        return self.left[port_of(host)]

    def by_root(self) -> int:
        """What the root machine sent."""
        return self.entered[ROOT_PORT]

    def uplinks(self, lab: Lab) -> dict[str, tuple[int, int]]:
        """What went into each switch from the others and the root, and out of it."""
        ports = {switch: uplink_ports(switch) for switch in lab.spec.racks()}
        return {switch: (self.left[down], self.left[up]) for switch, (down, up) in ports.items()}


@dataclass
class Watch:
    """Looks at all ports a few times a second for as long as it is entered."""

    lab: Lab
    at: list[float] = field(default_factory=list)
    """By the monotonic clock,"""
    seen: list[Counts] = field(default_factory=list)
    """and what it saw then."""

    def __enter__(self) -> Watch:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            self.at.append(time.monotonic())
            self.seen.append(Counts.of(self.lab))
            if self._over.wait(EVERY_S):
                return

    def copies(self, size: int) -> tuple[float, float]:
        """The most that went over any uplink, into its switch and out of it, in copies of so many bytes."""
        first, last = (seen.uplinks(self.lab) for seen in (self.seen[0], Counts.of(self.lab)))
        moved = [[now - then for now, then in zip(last[each], first[each], strict=True)] for each in last]
        return max(into for into, _ in moved) / size, max(out for _, out in moved) / size

    def rates(self, hosts: list[str], since_s: float) -> tuple[list[float], dict[str, list[float]]]:
        """Seconds since then, and Mbit/s to each host until these."""
        steps = [index for index in range(1, len(self.at)) if self.at[index] >= since_s]
        found: dict[str, list[float]] = {host: [] for host in hosts}
        for index in steps:
            took_s = self.at[index] - self.at[index - 1]
            for host, rates in found.items():
                moved = self.seen[index].to(host) - self.seen[index - 1].to(host)
                rates.append(moved * 8 / 1e6 / took_s)
        return [self.at[index] - since_s for index in steps], found


@contextmanager
def first_pieces(roots: dict[str, Path], piece: int, done_at: dict[str, float]) -> Iterator[None]:
    """Note by the monotonic clock when each host's disk has so many bytes of what its peer gets.

    `roots` are their file systems as this machine sees them.
    """
    over = threading.Event()

    def run() -> None:
        while not over.wait(0.05) and len(done_at) < len(roots):
            for host in roots.keys() - done_at.keys():
                if _bytes_at(roots[host] / "srv/copy") >= piece:
                    done_at[host] = time.monotonic()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _bytes_at(dest: Path) -> int:
    """What has come; 0 where it gets its name this very moment: look again."""
    with suppress(FileNotFoundError):
        paths = [*dest.glob(".nile-sync-*-swarm/*"), *dest.glob("*")]
        return sum(path.stat().st_blocks * 512 for path in paths)
    return 0
