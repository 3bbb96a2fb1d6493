"""What befalls hosts of a netns lab during a run, and what the hosts themselves know of it afterwards."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections.abc import Callable, Iterable
from pathlib import Path

from nile.lab import Lab
from tests.cluster.hosts import agent_and_warden, pids, ssh_clients

Deed = Callable[[Lab, str], None]


def kill_agent(lab: Lab, host: str) -> None:
    agent, _ = agent_and_warden(lab, host)
    os.kill(agent, signal.SIGKILL)


def kill_warden(lab: Lab, host: str) -> None:
    _, warden = agent_and_warden(lab, host)
    os.kill(warden, signal.SIGKILL)


def kill_both(lab: Lab, host: str) -> None:
    """Nobody is left there to clean up."""
    both = agent_and_warden(lab, host)
    for pid in both:
        os.kill(pid, signal.SIGSTOP)
    for pid in both:
        os.kill(pid, signal.SIGKILL)


def kill_its_ssh(lab: Lab, host: str) -> None:
    """The client by which its relay is logged in there."""
    for client in ssh_clients(lab):
        if lab.addresses[host] in client.argv:
            os.kill(client.pid, signal.SIGKILL)


def crash(lab: Lab, host: str) -> None:
    lab.crash(host)


def cut(lab: Lab, host: str) -> None:
    lab.cut(host)


def mend(lab: Lab, host: str) -> None:
    lab.mend(host)


def freeze(lab: Lab, host: str) -> None:
    lab.freeze(host)


def thaw(lab: Lab, host: str) -> None:
    lab.thaw(host)


class Witness:
    """Each host's own file of what ran there, and its sshd's log: read also once the host is dead."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._stack = contextlib.ExitStack()
        self._fds: dict[str, int] = {}
        self._logged: dict[str, int] = {}

    def __enter__(self) -> Witness:
        for host, pid in pids(self._lab).items():
            fd = os.open(f"/proc/{pid}/root/run/lab", os.O_RDONLY | os.O_DIRECTORY)
            self._stack.callback(os.close, fd)
            self._fds[host] = fd
            self._logged[host] = len(self._log(host))
            os.mkfifo("go", dir_fd=fd)
        return self

    def __exit__(self, *_: object) -> None:
        for pid in pids(self._lab).values():
            for name in ("ran", "go"):
                Path(f"/proc/{pid}/root/run/lab/{name}").unlink(missing_ok=True)
        self._stack.close()

    def ran(self, host: str) -> int:
        """How often its command began there: before a crash, and since it is up again."""
        return self._lines(self._file(host, "ran")) + self._since_its_boot(host)

    def began(self, hosts: Iterable[str]) -> bool:
        """Did it begin on all of these?"""
        return all(self._file(host, "ran").exists() for host in hosts)

    def times(self, host: str) -> list[tuple[str, float]]:
        """(word, seconds) of each line that its command wrote there."""
        path = self._file(host, "ran")
        lines = path.read_text().splitlines() if path.exists() else []
        return [(word, float(at)) for word, _, at in (line.partition(" ") for line in lines)]

    def let_go(self) -> None:
        """Have all commands that wait to read from /run/lab/go do so, at one time."""
        for host in self._fds:
            fifo = os.open(self._file(host, "go"), os.O_RDWR | os.O_NONBLOCK)
            self._stack.callback(os.close, fifo)
            os.write(fifo, b"go\n" * 3)  # once for each command that may be started there

    def let_in(self, host: str) -> list[str]:
        """The addresses that logged in there, in order."""
        text = self._log(host)[self._logged[host] :].decode()
        return re.findall(r"^Accepted publickey for \S+ from (\S+) port", text, re.MULTILINE)

    def _since_its_boot(self, host: str) -> int:
        pid = pids(self._lab).get(host)
        now = Path(f"/proc/{pid}/root/run/lab")
        if pid is None or now.stat().st_dev == os.fstat(self._fds[host]).st_dev:
            return 0
        return self._lines(now / "ran")

    @staticmethod
    def _lines(path: Path) -> int:
        return len(path.read_text().splitlines()) if path.exists() else 0

    def _log(self, host: str) -> bytes:
        path = self._file(host, "sshd.log")
        return path.read_bytes() if path.exists() else b""

    def _file(self, host: str, name: str) -> Path:
        return Path(f"/proc/self/fd/{self._fds[host]}") / name
