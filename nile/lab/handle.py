"""`Lab`: a lab as the command line and tests hold it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from nile.errors import LabError
from nile.lab import control, procs
from nile.lab.facts import LabFacts
from nile.lab.files import write_keys
from nile.lab.launch import claim, start, user_of
from nile.lab.login import ROOT_PATH, host_config
from nile.lab.probe import from_namespace, probe
from nile.lab.spec import BackendName, LabSpec, host_set
from nile.lab.state import LabFiles, LabState, read_state, write_state
from nile.lab.teardown import clear

PROBE_S = 2.0
_ALL_SPACES = ("--mount", "--net", "--pid", "--uts", "--ipc")
_IN_SHELL_CWD = 'cd "$0" && exec "$@"'


@dataclass(frozen=True, slots=True)
class HostStatus:
    """A host as `nile lab status` tells it."""

    host: str
    address: str
    pid: int
    """Of its first process: its ssh server, or its pid 1; 0 where it crashed."""
    frozen: bool
    cut: bool
    slow: bool
    answers: bool
    """ssh sent its first line, asked from the root."""

    @property
    def alive(self) -> bool:
        """It didn't crash, or is up again."""
        return self.pid != 0

    @property
    def state(self) -> str:
        """One word, or two: `up`, `crashed`, `frozen`, `cut`, `frozen, cut`, `slow`, `silent`."""
        if not self.alive:
            return "crashed"
        words = [word for word, holds in (("frozen", self.frozen), ("cut", self.cut)) if holds]
        up = "slow" if self.slow else "up"
        return ", ".join(words) or (up if self.answers else "silent")


def directory_of(name: str) -> Path:
    """Where the lab of a name lies; UsageError where that can't be a name."""
    from nile.topology.places import lab_directory

    return lab_directory(name)


def down(directory: Path) -> bool:
    """Clear a lab away, in whatever state it is; True if there was anything."""
    return clear(_real(directory))


def _real(directory: Path) -> Path:
    """The one spelling of a directory, which marks the lab's processes."""
    return directory.parent.resolve() / directory.name


class Lab(LabFacts):
    """A lab that is up.

    Made by `Lab.up` or `Lab.open`; as a context manager it goes down at the end.
    Hosts are named by host sets (`h001`, `h[002-005]`). Every method raises
    LabError where the lab can't do it.
    """

    def __init__(self, files: LabFiles, state: LabState, tie: int = -1) -> None:
        super().__init__(files, state)
        self._tie = tie

    @classmethod
    def up(cls, spec: LabSpec | None = None, directory: Path | None = None, *, tied: bool = False) -> Self:
        """Bring a lab up in `directory` (by default that of the lab named `lab`), and wait until it is.

        With `tied` it goes down by itself when this process ends, however it ends.
        When this fails or is interrupted, nothing of the lab is left.
        """
        spec = spec or LabSpec()
        spec.check()
        files = LabFiles(_real(directory or directory_of("lab")))
        state = LabState(spec, user=user_of(spec))
        claim(files)
        try:
            write_state(files, state)
            write_keys(files, spec)
            return cls(files, *start(files, state, tied))
        except BaseException:
            clear(files.directory)
            raise

    @classmethod
    def open(cls, directory: Path) -> Self:
        """The lab that is up in a directory."""
        files = LabFiles(_real(directory))
        state = read_state(files)
        if state.phase != "up":
            raise LabError(
                f"lab {directory.name!r} did not come up to its end",
                where=str(files.state),
                remedy=f"clear it away: nile lab down --name {directory.name}",
            )
        return cls(files, state)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    def down(self) -> None:
        """Take the lab down; nothing is left of it."""
        clear(self._files.directory)
        with contextlib.suppress(ChildProcessError):  # only the process that brought the lab up is its parent
            os.waitpid(self.supervisor, 0)
        if self._tie >= 0:
            os.close(self._tie)
            self._tie = -1

    # What befalls hosts.

    def crash(self, hosts: str) -> None:
        """Kill everything on them at once."""
        self._do("crash", hosts)

    def freeze(self, hosts: str) -> None:
        """Stop every process on them."""
        self._do("freeze", hosts)

    def thaw(self, hosts: str) -> None:
        """The opposite of `freeze`."""
        self._do("thaw", hosts)

    def cut(self, hosts: str) -> None:
        """Let what they send and get vanish, without a reset."""
        self._do("cut", hosts)

    def slow(self, hosts: str) -> None:
        """Give their ports a quarter of their rate; only where they have one."""
        self._do("slow", hosts)

    def mend(self, hosts: str) -> None:
        """The opposite of `cut` and `slow`; and those that crashed start again, as after a reboot."""
        self._do("mend", hosts)

    def reboot(self, hosts: str) -> None:
        """Kill all on them at once, and boot them anew, those that crashed too; doesn't wait for that."""
        self._do("reboot", hosts)

    def heal(self) -> None:
        """Bring every host back that was crashed, frozen, cut or slow; cheap when none is."""
        for host in control.ask(self._files, "status")["hosts"]:
            if host["frozen"]:
                self.thaw(host["host"])
            if host["cut"] or host["slow"] or not host["pid"]:
                self.mend(host["host"])

    def _do(self, word: str, hosts: str) -> None:
        control.ask(self._files, word, host_set(hosts, self.names, word))

    # What goes on.

    def status(self, probe_s: float = PROBE_S) -> list[HostStatus]:
        """Every host's state; hosts that say nothing cost `probe_s` seconds, all together."""
        answer = control.ask(self._files, "status")
        alive = {host["host"]: host["address"] for host in answer["hosts"] if host["pid"]}
        if answer["root_pid"]:
            answering = from_namespace(answer["root_pid"], lambda: probe(alive, self.port, probe_s))
        else:
            answering = probe(alive, self.port, probe_s)
        return [
            HostStatus(
                host["host"],
                host["address"],
                pid=int(host["pid"] or 0),
                frozen=host["frozen"],
                cut=host["cut"],
                slow=host["slow"],
                answers=host["host"] in answering,
            )
            for host in answer["hosts"]
        ]

    def pid(self, host: str) -> int:
        """A host's first process: its ssh server, or its pid 1; LabError where it crashed."""
        for state in control.ask(self._files, "status")["hosts"]:
            if state["host"] == host and state["pid"]:
                return int(state["pid"])
        raise LabError(f"{host} is not alive")

    def processes(self, host: str) -> list[procs.Process]:
        """What runs on a host but the lab's own (server, pid 1, sshd); pids are the machine's."""
        pid = self.pid(host)
        table = procs.table()
        if self.spec.backend is BackendName.NETNS:
            inode = procs.namespace(pid, "pid")
            inside = set(procs.in_namespace("pid", inode)) if inode else set()
            found = {p for p in inside if p in table and not table[p].name.startswith("sshd")} - {pid}
        else:
            found = procs.descendants([pid], table) | self._strays(host, table)
        return [
            procs.Process(p.pid, p.ppid, p.name, p.state, procs.argv(p.pid))
            for p in (table[pid] for pid in sorted(found))
        ]

    def _strays(self, host: str, table: dict[int, procs.Process]) -> set[int]:
        """Bearers of a loopback host's mark that don't descend from its server."""
        environments = {pid: procs.environment(pid) for pid in table}
        mark = str(self.directory)
        return {
            pid
            for pid, env in environments.items()
            if env.get(procs.MARK) == mark and env.get("NILE_LAB_HOST") == host
        }

    # Ways in.

    def home(self, host: str) -> Path:
        """A host's home directory as this machine reaches it; in a netns lab it is gone after a crash."""
        if self.spec.backend is BackendName.NETNS:
            return Path(f"/proc/{self.pid(host)}/root/root")
        return self._files.host(host) / "home"

    def host_argv(self, host: str, argv: Sequence[str]) -> list[str]:
        """The words that run a command on a host without ssh, in its environment and home."""
        if self.spec.backend is BackendName.NETNS:
            env = {"HOME": "/root", "USER": "root", "LOGNAME": "root", "PATH": ROOT_PATH}
            into = ["nsenter", "--target", str(self.pid(host)), *_ALL_SPACES, "--"]
        else:
            env = host_config(self._files, self.spec, host).environment()
            into = []
        pairs = [f"{name}={value}" for name, value in env.items()]
        return [*into, "env", "-i", *pairs, "sh", "-c", _IN_SHELL_CWD, env["HOME"], *argv]

    def run_on(self, host: str, argv: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command on a host without ssh and capture what it prints; `options` as subprocess.run has."""
        settings: dict[str, Any] = {"capture_output": True, "text": True, "check": False, **options}
        return subprocess.run(self.host_argv(host, argv), **settings)

    def root_argv(self, argv: Sequence[str], cwd: Path | None = None) -> list[str]:
        """The words that run a command on the root machine, in `cwd` (by default, here).

        Files and environment are the caller's; in a netns lab, network, host name
        and /etc/hosts are the root's.
        """
        if self.spec.backend is not BackendName.NETNS:
            return list(argv)
        root = str(control.ask(self._files, "status")["root_pid"])
        into = ["nsenter", "--target", root, "--mount", "--net", "--uts", "--"]
        return [*into, "sh", "-c", _IN_SHELL_CWD, str(cwd or Path.cwd()), *argv]

    def root_environment(self) -> dict[str, str]:
        """The environment for the root machine: the caller's, $NILE_ROUTES, and this Nile on the PATH."""
        here = str(Path(sys.executable).parent)
        path = os.environ.get("PATH", ROOT_PATH)
        if here not in path.split(":"):
            path = f"{here}:{path}"
        return {**os.environ, "PATH": path, "NILE_ROUTES": str(self.routes_file)}

    def run_on_root(self, argv: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command on the root machine and capture what it prints."""
        settings: dict[str, Any] = {
            "capture_output": True,
            "text": True,
            "check": False,
            "env": self.root_environment(),
            **options,
        }
        return subprocess.run(self.root_argv(argv), **settings)
