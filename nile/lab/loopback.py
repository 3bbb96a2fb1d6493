"""Hosts as processes with an embedded ssh server, each on its own loopback address. No root needed.

Differences from real hosts, all because there is one kernel: one host name,
one pid table, one file system. What a host's processes send out as *clients*
is not touched by `cut`: only its server's connections fall silent.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import hashlib
import os
import shutil
import signal
import socket
import sys
from pathlib import Path

from nile.errors import LabError
from nile.lab.backend import HostState, fork
from nile.lab.kernel import become_subreaper
from nile.lab.login import host_config, standard_path
from nile.lab.procs import descendants, kill_tree, send, stop_tree
from nile.lab.spec import LabSpec
from nile.lab.sshserver import run_host
from nile.lab.state import LabFiles

FIRST_NETWORK, LAST_NETWORK = 16, 250
PER_BLOCK = 250
"""Addresses used of each 256: x.y.z.1 to x.y.z.250."""
ANSWER_S = 10.0


def addresses_in(network: str, names: tuple[str, ...]) -> dict[str, str]:
    """Name -> address in 127.N.0.0/16, from 127.N.1.1 on."""
    return {
        name: f"{network}.{1 + index // PER_BLOCK}.{1 + index % PER_BLOCK}"
        for index, name in enumerate(names)
    }


def candidate_networks(directory: Path) -> list[str]:
    """The /16 networks to try, beginning with the one that follows from the lab's directory."""
    span = LAST_NETWORK - FIRST_NETWORK + 1
    seed = int.from_bytes(hashlib.sha256(str(directory).encode()).digest()[:4])
    return [f"127.{FIRST_NETWORK + (seed + step) % span}" for step in range(span)]


def bind_all(networks: list[str], names: tuple[str, ...], port: int) -> dict[str, socket.socket]:
    """A bound socket for every host, all in the first network where every address is free.

    Bound sockets can't be taken by another lab, so two that come up at the same
    time settle on two networks. LabError where no network is free.
    """
    for network in networks:
        with contextlib.ExitStack() as undo:
            bound = {}
            try:
                for name, address in addresses_in(network, names).items():
                    bound[name] = undo.enter_context(bound_socket(address, port))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    continue
                raise LabError(
                    f"can't listen on {address} port {port}: {error.strerror}",
                    remedy="choose another port: --port 2222",
                ) from error
            undo.pop_all()
            return bound
    raise LabError(
        f"port {port} is taken in {networks[0]}.0.0/16"
        + (" and all other networks tried" if len(networks) > 1 else ""),
        remedy="choose another port (--port 2223) or network (--network 127.99)",
    )


def bound_socket(address: str, port: int) -> socket.socket:
    """A TCP socket bound to an address; OSError where that is taken."""
    sock = socket.socket()
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address, port))
        # Without a listener behind it, another socket could bind the same address: both set SO_REUSEADDR.
        sock.listen(1)
    except OSError:
        sock.close()
        raise
    return sock


class LoopbackBackend:
    """The back end; see `nile.lab.backend.Backend` for the calls."""

    def __init__(self, files: LabFiles, spec: LabSpec) -> None:
        self._files = files
        self._spec = spec
        self._controls: dict[str, socket.socket] = {}
        self._listeners: dict[str, socket.socket] = {}
        self._asked: set[str] = set()
        self.root_pid = 0
        self.hosts: dict[str, HostState] = {}

    def prepare(self) -> None:
        """Take an address and port for every host."""
        spec = self._spec
        networks = [spec.network] if spec.network else candidate_networks(self._files.directory)
        self._listeners = bind_all(networks, spec.names, spec.ssh_port)
        self.hosts = {name: HostState(name, sock.getsockname()[0]) for name, sock in self._listeners.items()}
        become_subreaper()
        self._link_python()
        gc.collect()
        gc.freeze()  # what is loaded by now stays shared between the hosts' processes

    def boot(self, name: str) -> None:
        """Fork the host's server."""
        state = self.hosts[name]
        listener = self._listeners.pop(name, None) or bound_socket(state.address, self._spec.ssh_port)
        ours, theirs = socket.socketpair()
        config = host_config(self._files, self._spec, name)

        def body() -> None:
            os.setsid()
            become_subreaper()
            run_host(config, listener, theirs)

        state.pid = fork(body, keep=(listener.fileno(), theirs.fileno()))
        listener.close()
        theirs.close()
        ours.settimeout(ANSWER_S)
        self._controls[name] = ours

    def booted(self, name: str) -> bool:
        """Ask the server whether it listens; waits for the answer."""
        self._controls[name].settimeout(ANSWER_S)
        try:
            if name not in self._asked:
                self._asked.add(name)
                self._controls[name].send(b"?")  # it may have ended already
            if self._controls[name].recv(1):
                return True
        except OSError:
            pass
        raise LabError(f"{name} did not start", remedy=f"see {self._files.log}")

    def died(self, pid: int, status: int) -> str | None:
        """Forget the host whose server this was; none of them boots by itself."""
        for state in self.hosts.values():
            if state.pid == pid:
                self._forget(state)
        return None

    def crash(self, name: str) -> None:
        """Kill the server and whatever its sessions started."""
        state = self.hosts[name]
        if state.pid:
            kill_tree(state.pid)
            os.waitpid(state.pid, 0)
            self._forget(state)

    def freeze(self, name: str) -> None:
        """SIGSTOP to all of them, the server first."""
        state = self.hosts[name]
        state.need_alive()
        stop_tree(state.pid)
        state.frozen = True

    def thaw(self, name: str) -> None:
        """SIGCONT to all of them."""
        state = self.hosts[name]
        state.need_alive()
        send(descendants([state.pid]), signal.SIGCONT)
        if not state.cut:
            send([state.pid], signal.SIGCONT)
        state.frozen = False

    def cut(self, name: str) -> None:
        """The server's sockets are made deaf, then the server is stopped, so that it says nothing either."""
        state = self.hosts[name]
        state.need_alive()
        if state.cut:
            return
        if state.frozen:
            raise LabError(f"{name} is frozen", remedy=f"thaw it first: nile lab thaw {name}")
        self._ask(name, b"c")
        send([state.pid], signal.SIGSTOP)
        state.cut = True

    def slow(self, name: str) -> None:
        """There are no ports that could be shaped."""
        raise LabError(f"{name} has no port that could be slow", remedy="take --backend netns, with --rate")

    def mend(self, name: str) -> None:
        """Make the server hear again; start it anew if it crashed."""
        state = self.hosts[name]
        if not state.pid:
            self.boot(name)
            self.booted(name)
        elif state.cut:
            send([state.pid], signal.SIGCONT)
            self._ask(name, b"m")
            state.cut = False
            if state.frozen:
                send([state.pid], signal.SIGSTOP)

    def _ask(self, name: str, request: bytes) -> None:
        control = self._controls[name]
        control.send(request)
        if control.recv(1) != request:
            raise LabError(f"{name} doesn't answer", remedy=f"see {self._files.log}")

    def _forget(self, state: HostState) -> None:
        state.pid = 0
        state.frozen = state.cut = False
        self._asked.discard(state.name)
        self._controls.pop(state.name).close()

    def _link_python(self) -> None:
        """Have a `python3` where sshd's PATH has none (a machine with its Python elsewhere)."""
        if shutil.which("python3", path=standard_path()) is None:
            self._files.programs.mkdir()
            (self._files.programs / "python3").symlink_to(Path(sys.executable).resolve())
