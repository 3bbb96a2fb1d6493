"""What a back end does for the supervisor, and what both back ends share."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NoReturn, Protocol

from nile.errors import LabError


@dataclass(slots=True)
class HostState:
    """What the supervisor knows of a host. `pid` is 0 while it is crashed."""

    name: str
    address: str
    pid: int = 0
    """loopback: the ssh server; netns: the host's pid 1. Of the machine's own numbering."""
    frozen: bool = False
    cut: bool = False
    slow: bool = False

    def need_alive(self) -> None:
        """LabError where the host is crashed."""
        if not self.pid:
            raise LabError(f"{self.name} has crashed", remedy=f"start it again: nile lab mend {self.name}")


class Backend(Protocol):
    """A way to make hosts. Every call is made by the supervisor, from its one thread."""

    hosts: dict[str, HostState]
    root_pid: int
    """A process in the root machine's namespaces; 0 where the root is the machine itself."""

    def prepare(self) -> None:
        """Build what hosts need before the first of them starts."""

    def boot(self, name: str) -> None:
        """Start a host's processes; doesn't wait for them."""

    def booted(self, name: str) -> bool:
        """Whether ssh listens there; LabError where the host died instead."""

    def died(self, pid: int, status: int) -> str | None:
        """A child of the supervisor is gone, with this wait status; the host that is to boot anew, if any."""

    def crash(self, name: str) -> None:
        """End everything on a host at once."""

    def freeze(self, name: str) -> None:
        """Stop every process of a host."""

    def thaw(self, name: str) -> None:
        """The opposite of `freeze`."""

    def cut(self, name: str) -> None:
        """Let what the host sends and gets vanish, without a reset."""

    def slow(self, name: str) -> None:
        """Give a host's port a quarter of its rate."""

    def mend(self, name: str) -> None:
        """The opposite of `cut` and `slow`; and a crashed host starts again."""


def fork(body: Callable[[], None], keep: Iterable[int] = ()) -> int:
    """Run `body` in a child that owns no descriptor but the standard ones and `keep`; its pid.

    The child never returns from here: objects of the parent that it inherited
    (sockets, now closed) are never collected.
    """
    pid = os.fork()
    if pid == 0:
        _be_child(body, set(keep))
    return pid


def _be_child(body: Callable[[], None], keep: set[int]) -> NoReturn:
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        for name in os.listdir("/proc/self/fd"):  # noqa: PTH208
            if int(name) > 2 and int(name) not in keep:
                with contextlib.suppress(OSError):
                    os.close(int(name))
        body()
        code = 0
    except BaseException:  # the last frame of a child: say what befell it, in the lab's log
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)
