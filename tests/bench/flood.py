"""Hosts that print more than anybody can take: what that costs the root and the relays, and whether all live.

Memory is the most that a process ever had (VmHWM of proc(5)), looked at again and
again while the flood lasts. Whoever reads the output stands still for a while in
the middle of it: what credits don't hold back then, the root has to hold.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from nile.lab import Lab
from tests.cluster.hosts import Seen, agents, names_of, ssh_clients

KB = 1 << 10
MB = 1 << 20
FIRST_LOOK_S, LOOK_S = 0.1, 3.0
"""Less and less often: each look goes through all processes of the machine."""
LINE = "$NILE_HOST prints lines that are about as long as those of a log that nobody rotates"


def printing(lines: int) -> str:
    """A command that prints so many lines, as fast as it is let."""
    return f'yes "{LINE}" | head -n {lines}'


def line_of(host: str) -> str:
    """What it prints there, again and again, without its end."""
    return LINE.replace("$NILE_HOST", host)


def peak_kb(pid: int) -> int:
    """The most memory that a process ever had, in kB; 0 where it is gone."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return int(text.partition("VmHWM:")[2].split()[0]) if "VmHWM:" in text else 0


@dataclass
class Peaks:
    """The most that was seen, in kB: of the root, and of the largest agent with and without children."""

    root: int = 0
    relay: int = 0
    leaf: int = 0
    client: int = 0
    """The largest of the relays' ssh clients."""
    hosts: set[str] = field(default_factory=set)
    """On which agents were seen."""

    def look(self, root: int, lab: Lab) -> None:
        """At all of them, as they are now."""
        clients = ssh_clients(lab)
        relays, found = names_of(clients), agents(lab)
        self.root = max(self.root, peak_kb(root))
        self.client = max(self.client, _most(clients))
        self.relay = max(self.relay, _most(each for each in found if each.host in relays))
        self.leaf = max(self.leaf, _most(each for each in found if each.host not in relays))
        self.hosts |= names_of(found)

    @contextmanager
    def watching(self, root: int, lab: Lab) -> Iterator[None]:
        """Look again and again, in a thread of its own."""
        over = threading.Event()

        def look() -> None:
            pause_s = FIRST_LOOK_S
            while not over.wait(pause_s):
                self.look(root, lab)
                pause_s = min(LOOK_S, 1.2 * pause_s)

        thread = threading.Thread(target=look)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def _most(processes: Iterable[Seen]) -> int:
    return max((peak_kb(each.pid) for each in processes), default=0)


@dataclass(frozen=True, slots=True)
class Taken:
    """What a reader got, and how long it took, without the time that it stood still."""

    size: int
    lines: int
    wall_s: float


def take(process: subprocess.Popen[bytes], still_s: float = 0.0, after: int = 16 * MB) -> Taken:
    """Read what a `nile` writes, to its end; once so many bytes came, stand still for a while."""
    assert process.stdout is not None
    size = lines = 0
    stood = not still_s
    began = time.monotonic()
    while data := os.read(process.stdout.fileno(), MB):
        size += len(data)
        lines += data.count(b"\n")
        if not stood and size >= after:
            time.sleep(still_s)
            stood = True
    return Taken(size, lines, time.monotonic() - began - still_s)
