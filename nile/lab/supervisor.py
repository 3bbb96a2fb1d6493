"""The supervisor: one process a lab, which forks the hosts, reaps them and acts on requests.

Started as `python -m nile.lab.supervisor DIRECTORY READY [TIE]`. It writes one
line of JSON to the descriptor READY once every host is up (or why not), and
serves requests until it is killed. With TIE, a pipe that the caller holds open,
the lab goes down by itself when the caller is gone.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nile.errors import LabError
from nile.lab import control
from nile.lab.backend import Backend
from nile.lab.spec import BackendName, LabSpec
from nile.lab.state import LabFiles, read_state
from nile.lab.teardown import clear

BOOT_S = 120.0
IN_FLIGHT = 8
"""Hosts that boot at one time."""
POLL_S = 0.002


def make_backend(files: LabFiles, spec: LabSpec) -> Backend:
    """The back end that a spec asks for."""
    if spec.backend is BackendName.NETNS:
        from nile.lab.netns import NetnsBackend

        return NetnsBackend(files, spec)
    from nile.lab.loopback import LoopbackBackend

    return LoopbackBackend(files, spec)


class Supervisor:
    """The loop; the back end does the work."""

    def __init__(self, files: LabFiles, backend: Backend, boot_s: float, tie: int | None) -> None:
        self._files = files
        self._backend = backend
        self._boot_s = boot_s
        self._due: dict[str, float] = {}
        """Hosts that went down by themselves, and when they boot anew."""
        self._booting: dict[str, float] = {}
        """Hosts that boot anew just now, and for how long to look whether they are up."""
        self._tie = tie
        self._ending = False
        self._selector = selectors.DefaultSelector()
        self._wake_in, self._wake_out = socket.socketpair()

    def boot(self) -> dict[str, Any]:
        """Bring every host up, a few at a time; what the caller of `up` is told."""
        backend = self._backend
        backend.prepare()
        deadline = time.monotonic() + BOOT_S
        waiting = list(backend.hosts)
        booting: list[str] = []
        while waiting or booting:
            while waiting and len(booting) < IN_FLIGHT:
                backend.boot(waiting[0])
                booting.append(waiting.pop(0))
            booting = [name for name in booting if not backend.booted(name)]
            if booting:
                time.sleep(POLL_S)
            if time.monotonic() > deadline:
                raise LabError(f"hosts don't come up: {', '.join(booting)}", remedy=f"see {self._files.log}")
        return {"addresses": {state.name: state.address for state in backend.hosts.values()}}

    def run(self, listener: socket.socket) -> None:
        """Serve until the caller is gone or SIGTERM comes."""
        self._listen_to_signals()
        self._selector.register(listener, selectors.EVENT_READ)
        self._selector.register(self._wake_in, selectors.EVENT_READ)
        if self._tie is not None:
            self._selector.register(self._tie, selectors.EVENT_READ)
        self._reap()
        while not self._ending:
            for key, _ in self._selector.select(self._wait_s()):
                if key.fileobj is listener:
                    self._serve(listener)
                elif key.fileobj is self._wake_in:
                    self._wake_in.recv(4096)
                    self._reap()
                else:
                    self._ending = True
            self._boot_again()

    def _listen_to_signals(self) -> None:
        for sock in (self._wake_in, self._wake_out):
            sock.setblocking(False)
        signal.set_wakeup_fd(self._wake_out.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._end)

    def _end(self, *_: object) -> None:
        self._ending = True

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                name = self._backend.died(*ended)
                if name is not None:
                    self._due[name] = time.monotonic() + self._boot_s

    def _wait_s(self) -> float | None:
        """Until something is due."""
        if self._booting:
            return POLL_S
        return max(0.0, min(self._due.values()) - time.monotonic()) if self._due else None

    def _boot_again(self) -> None:
        """Go on with hosts that boot anew; of one that doesn't come up the log says so."""
        now = time.monotonic()
        for name in [name for name, at in self._due.items() if at <= now]:
            del self._due[name]
            self._booting[name] = now + BOOT_S
            self._step(self._backend.boot, name)
        self._booting = {
            name: until
            for name, until in self._booting.items()
            if now < until and self._step(self._backend.booted, name) is False
        }

    def _step(self, step: Callable[[str], bool | None], name: str) -> bool | None:
        """A step of a host's boot: what it answers, or None where it fails."""
        try:
            return step(name)
        except (LabError, OSError) as error:
            with self._files.log.open("a") as log:
                log.write(f"{name} doesn't boot anew: {error}\n")
            return None

    def _serve(self, listener: socket.socket) -> None:
        client, _ = listener.accept()
        with client, contextlib.suppress(OSError):  # a client that went away has no answer to get
            client.settimeout(control.ANSWER_S)
            answer = self._answer(control.read_line(client))
            client.sendall(json.dumps(answer).encode() + b"\n")

    def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
            return {"ok": self._act(request["do"], request["hosts"])}
        except LabError as error:
            return {"error": error.message, "remedy": error.remedy}
        except (ValueError, KeyError, TypeError, OSError) as error:
            return {"error": f"{type(error).__name__}: {error}"}

    def _act(self, do: str, hosts: list[str]) -> Any:
        backend = self._backend
        if do == "status":
            return {"root_pid": backend.root_pid, "hosts": self._status()}
        actions = {
            "crash": backend.crash,
            "freeze": backend.freeze,
            "thaw": backend.thaw,
            "cut": backend.cut,
            "slow": backend.slow,
            "mend": backend.mend,
            "reboot": self._reboot,
        }
        for name in hosts:
            if do in ("crash", "mend", "reboot"):
                self._due.pop(name, None)
            actions[do](name)
        self._reap()
        return len(hosts)

    def _reboot(self, name: str) -> None:
        self._backend.crash(name)
        self._due[name] = time.monotonic() + self._boot_s

    def _status(self) -> list[dict[str, Any]]:
        self._reap()
        return [
            {
                "host": state.name,
                "address": state.address,
                "pid": state.pid,
                "frozen": state.frozen,
                "cut": state.cut,
                "slow": state.slow,
            }
            for state in self._backend.hosts.values()
        ]


def main(words: list[str]) -> int:
    """Be the supervisor."""
    files = LabFiles(Path(words[0]))
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)  # a caller's background job ignores some; hosts mustn't
    signal.pthread_sigmask(signal.SIG_SETMASK, set())
    tie = int(words[2]) if len(words) > 2 else None
    with os.fdopen(int(words[1]), "w") as ready:
        try:
            listener = control.listen(files)
            spec = read_state(files).spec
            supervisor = Supervisor(files, make_backend(files, spec), spec.boot_s, tie)
            json.dump(supervisor.boot(), ready)
        except LabError as error:
            json.dump({"error": error.message, "remedy": error.remedy}, ready)
            return 1
        except OSError as error:
            json.dump({"error": str(error), "remedy": f"see {files.log}"}, ready)
            return 1
    supervisor.run(listener)
    clear(files.directory)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
