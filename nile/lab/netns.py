"""Hosts as namespaces with a real sshd. Needs root.

A host is a pid 1 (a process forked from the supervisor, which only reaps) in
network, mount, PID, UTS and IPC namespaces of its own, and an sshd below it. The root
machine of the lab is a process that only holds a network, host name and
/etc/hosts. No namespace has a name in the file system: all are gone with their
processes.
"""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from nile.errors import LabError
from nile.lab import guest, kernel, links
from nile.lab.backend import HostState, fork
from nile.lab.cgroup import Freezer
from nile.lab.files import ROOT_NAME, etc_hosts
from nile.lab.procs import in_namespace, namespace, read, send
from nile.lab.spec import LabSpec, assign_pythons, host_set
from nile.lab.state import LabFiles

SLOW = 0.25
"""What a slow host's port has of its rate."""
BOOT_S = 30.0
ROOT_SPACES = kernel.CLONE_NEWNET | kernel.CLONE_NEWUTS | kernel.CLONE_NEWNS
HOST_SPACES = ROOT_SPACES | kernel.CLONE_NEWPID | kernel.CLONE_NEWIPC
PACKAGES = {
    "sshd": "openssh-server",
    "ip": "iproute2",
    "tc": "iproute2",
    "nsenter": "util-linux",
}
"""Program -> the Debian package that brings it."""


def find_programs() -> str:
    """The path of sshd; LabError where a program that a netns lab needs is missing, or one isn't root."""
    if os.geteuid() != 0:
        raise LabError(
            "a netns lab needs root", where="--backend netns", remedy="use sudo, or the loopback back end"
        )
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    missing = sorted({PACKAGES[program] for program in PACKAGES if not shutil.which(program, path=path)})
    if missing:
        raise LabError(
            f"a netns lab needs {', '.join(missing)}",
            where="--backend netns",
            remedy=f"apt-get install {' '.join(missing)}",
        )
    os.environ["PATH"] = path
    return str(shutil.which("sshd", path=path))


@dataclass(frozen=True, slots=True)
class Birth:
    """A host whose pid 1 is being made by a process in between, the midwife."""

    born: int
    """Descriptor that brings its pid."""
    go: int
    """Descriptor that lets it go on, once it is plugged in."""
    midwife: int


class NetnsBackend:
    """The back end; see `nile.lab.backend.Backend` for the calls."""

    def __init__(self, files: LabFiles, spec: LabSpec) -> None:
        self._files = files
        self._spec = spec
        self._sshd = find_programs()
        self._wires = links.Wires(spec)
        self._freezer = Freezer.find(files.directory)
        self._births: dict[str, Birth] = {}
        self._switch = {name: switch for switch, names in spec.racks().items() for name in names}
        self.root_pid = 0
        self.hosts = {
            name: HostState(name, address) for name, address in links.host_addresses(spec.names).items()
        }

    def prepare(self) -> None:
        """The core's namespace, the switches, the root machine; and what hosts will read."""
        addresses = {state.name: state.address for state in self.hosts.values()}
        self._files.hosts_file.write_text(etc_hosts({ROOT_NAME: links.ROOT_ADDRESS, **addresses}))
        self._plan_pythons()
        self._config = self._sshd_config()
        kernel.become_subreaper()
        links.make_room()
        kernel.unshare(kernel.CLONE_NEWNET | kernel.CLONE_NEWNS)
        # Mounts of the machine come and go here too; those made here stay here.
        kernel.mount("none", "/", flags=kernel.MS_REC | kernel.MS_SLAVE)
        self._wires.lay()
        self._make_root()
        gc.collect()
        gc.freeze()

    def boot(self, name: str) -> None:
        """Fork the host's pid 1; `booted` takes it on from there."""
        state = self.hosts[name]
        described = self._guest(state)
        if self._freezer:
            self._freezer.create(name)
        born, born_theirs = os.pipe()
        go_theirs, go = os.pipe()
        freezer = self._freezer

        def body() -> None:
            if freezer:
                freezer.join(name)
            os.setsid()
            kernel.unshare(HOST_SPACES)
            kernel.start_clocks_anew()
            pid = fork(lambda: guest.run_guest(described, go_theirs), keep=(go_theirs,))
            os.write(born_theirs, f"{pid}\n".encode())

        midwife = fork(body, keep=(born_theirs, go_theirs))
        os.close(born_theirs)
        os.close(go_theirs)
        os.set_blocking(born, False)
        self._births[name] = Birth(born, go, midwife)

    def booted(self, name: str) -> bool:
        """Plug the host in once its pid 1 is there; then wait for sshd to listen."""
        state = self.hosts[name]
        birth = self._births.get(name)
        if birth is None:
            if read(state.pid) is None:
                raise LabError(f"{name} did not start", remedy=f"see {self._files.log}")
            return listens(state.pid, self._spec.ssh_port)
        try:
            line = os.read(birth.born, 64)
        except BlockingIOError:
            return False
        del self._births[name]
        os.close(birth.born)
        with contextlib.suppress(ChildProcessError):  # it was collected with others
            os.waitpid(birth.midwife, 0)
        if not line:
            raise LabError(f"{name} did not start", remedy=f"see {self._files.log}")
        state.pid = int(line)
        self._wires.plug(port_of(name), state.pid, state.address, self._switch[name])
        os.write(birth.go, b"1")
        os.close(birth.go)
        return False

    def died(self, pid: int, status: int) -> str | None:
        """Forget the host whose pid 1 this was; one that ended by itself, or by reboot(2), boots anew."""
        for state in self.hosts.values():
            if state.pid == pid:
                self._forget(state)
                by_call = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGHUP
                return state.name if by_call or status == 0 else None
        return None

    def crash(self, name: str) -> None:
        """Kill pid 1: the kernel kills all else in its PID namespace."""
        state = self.hosts[name]
        if state.pid:
            send([state.pid], signal.SIGKILL)
            if state.frozen:
                self._set_frozen(state, False)  # cgroup version 1 keeps frozen processes from dying
            os.waitpid(state.pid, 0)
            self._forget(state)

    def freeze(self, name: str) -> None:
        """Stop every process of the host, by its cgroup."""
        state = self.hosts[name]
        state.need_alive()
        self._set_frozen(state, True)

    def thaw(self, name: str) -> None:
        """Let them go on."""
        state = self.hosts[name]
        state.need_alive()
        self._set_frozen(state, False)

    def cut(self, name: str) -> None:
        """Switch the host's port off, at the switch."""
        state = self.hosts[name]
        state.need_alive()
        self._wires.set_port(port_of(name), up=False)
        state.cut = True

    def slow(self, name: str) -> None:
        """Shape both ends of the host's port anew."""
        state = self.hosts[name]
        state.need_alive()
        self._wires.set_rate(port_of(name), state.pid, SLOW)
        state.slow = True

    def mend(self, name: str) -> None:
        """Switch the port on again, at its own rate; boot the host if it crashed."""
        state = self.hosts[name]
        if not state.pid:
            if name not in self._births:
                self.boot(name)
            end = time.monotonic() + BOOT_S
            while not self.booted(name):
                if time.monotonic() > end:
                    raise LabError(f"{name} doesn't come up", remedy=f"see {self._files.log}")
                time.sleep(0.002)
        elif state.cut:
            self._wires.set_port(port_of(name), up=True)
            state.cut = False
        if state.pid and state.slow:
            self._wires.set_rate(port_of(name), state.pid, 1)
            state.slow = False

    def _set_frozen(self, state: HostState, frozen: bool) -> None:
        if self._freezer:
            self._freezer.set(state.name, frozen)
        else:
            self._stop_or_continue(state.pid, signal.SIGSTOP if frozen else signal.SIGCONT)
        state.frozen = frozen

    @staticmethod
    def _stop_or_continue(pid: int, number: int) -> None:
        """Signal all processes in a PID namespace, also those that are just being forked."""
        inode = namespace(pid, "pid")
        seen: set[int] = set()
        while inode and (fresh := set(in_namespace("pid", inode)) - seen):
            send(fresh, number)
            seen |= fresh

    def _forget(self, state: HostState) -> None:
        state.pid = 0
        state.frozen = state.cut = False
        # The kernel clears a dead namespace away in its own time; the port's name is needed before.
        self._wires.unplug(port_of(state.name))

    def _make_root(self) -> None:
        """The lab's root machine: a process that sleeps in namespaces of its own."""
        ready, ready_theirs = os.pipe()
        go_theirs, go = os.pipe()

        def body() -> None:
            os.setsid()
            kernel.unshare(ROOT_SPACES)
            os.write(ready_theirs, b"1")
            os.close(ready_theirs)
            run_root(self._files.hosts_file, self._spec.rate, go_theirs)

        self.root_pid = fork(body, keep=(ready_theirs, go_theirs))
        os.close(ready_theirs)
        os.close(go_theirs)
        if not os.read(ready, 1):
            raise LabError("the root machine of the lab did not start", remedy=f"see {self._files.log}")
        os.close(ready)
        self._wires.plug(ROOT_NAME, self.root_pid, links.ROOT_ADDRESS, None)
        os.write(go, b"1")
        os.close(go)

    def _plan_pythons(self) -> None:
        spec = self._spec
        self._pythons: dict[str, guest.Python] = {}
        found = {path: inspect_python(path) for path in dict.fromkeys(spec.python.values())}
        for name, path in assign_pythons(spec).items():
            self._pythons[name] = found[path]
        without = host_set(spec.no_python, spec.names, "--no-python") if spec.no_python else ()
        self._masked = dict.fromkeys(without, guest.find_pythons() if without else ())

    def _sshd_config(self) -> str:
        """sshd's configuration; from OpenSSH 9.8 on, without penalties for those who knock too often."""
        probe = [self._sshd, "-T", "-f", "/dev/null", "-o", "PerSourcePenalties=no"]
        probe += ["-h", str(self._files.host_key(self._spec.names[0]))]
        knows = subprocess.run(probe, check=False, capture_output=True).returncode == 0
        return guest.sshd_config(
            self._spec.ssh_port, self._spec.max_startups, ("PerSourcePenalties no",) if knows else ()
        )

    def _guest(self, state: HostState) -> guest.Guest:
        hostname = self._files.host(state.name) / "hostname"
        hostname.write_text(f"{state.name}\n")
        return guest.Guest(
            name=state.name,
            address=state.address,
            sshd=self._sshd,
            sshd_config=self._config,
            host_key=self._files.host_key(state.name).read_bytes(),
            authorized_keys=self._files.public_key.read_bytes(),
            hosts_file=self._files.hosts_file,
            hostname_file=hostname,
            rate=self._spec.rate,
            delay_login_s=self._spec.delay_login_s,
            python=self._pythons.get(state.name),
            masked=self._masked.get(state.name, ()),
        )


def run_root(hosts_file: Path, rate: str | None, go: int) -> None:
    """Hold the root machine's namespaces, configured when `go` has a byte, until killed."""
    if not os.read(go, 1):
        return  # the supervisor is gone
    socket.sethostname(ROOT_NAME)
    Path("/proc/self/comm").write_text("lab-root")
    links.silence_ipv6()
    links.configure(links.ROOT_ADDRESS)
    if rate:
        links.tc([links.shape("eth0", rate)])
    kernel.bind(hosts_file, "/etc/hosts")
    while True:
        signal.pause()


def port_of(name: str) -> str:
    """A host's port on its switch; the kernel allows 15 letters."""
    return f"to-{name}"


def listens(pid: int, port: int) -> bool:
    """Whether somebody listens on a TCP port in a process's network namespace, proc(5)."""
    lines: list[str] = []
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            lines += Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]
    return any(line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A" for line in lines)


def inspect_python(path: str) -> guest.Python:
    """What an interpreter needs to work in a host; LabError where it isn't one, or can't be shown there."""
    try:
        executable, prefix = guest.ask_prefix(path)
    except (OSError, subprocess.CalledProcessError, ValueError) as error:
        raise LabError(f"can't run {path!r} as a Python: {error}", where="--python") from None
    if guest.hidden(executable) and not executable.startswith(f"{prefix}/"):
        raise LabError(
            f"{executable} lies outside of its prefix {prefix}, where hosts can't see it",
            where="--python",
            remedy="take one that is installed outside of /root and /tmp",
        )
    return guest.Python(executable, prefix)
