"""A netns lab's hosts seen from outside: their files and the processes of a run."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from nile.lab import Lab, control, procs
from nile.lab.netns import listens
from nile.lab.state import LabFiles
from tests.lab.helpers import eventually


@dataclass(frozen=True)
class Seen:
    """A process on a host; `run` is the run whose mark it bears, or empty."""

    host: str
    pid: int
    name: str
    argv: tuple[str, ...]
    run: str
    state: str


def processes(lab: Lab, hosts: Iterable[str] = ()) -> list[Seen]:
    """All processes on a lab's hosts but pid 1 and sshd, in one walk through /proc."""
    first = {host: lab_pid for host, lab_pid in pids(lab).items() if not hosts or host in set(hosts)}
    spaces = {procs.namespace(pid, "pid"): host for host, pid in first.items()}
    found = []
    for process in procs.table().values():
        host = spaces.get(procs.namespace(process.pid, "pid"))
        if host is None or process.pid == first[host] or process.name.startswith("sshd"):
            continue
        run = procs.environment(process.pid).get("NILE_RUN", "")
        found.append(Seen(host, process.pid, process.name, procs.argv(process.pid), run, process.state))
    return found


def pids(lab: Lab) -> dict[str, int]:
    """Host -> its pid 1, for those that live."""
    states = control.ask(LabFiles(lab.directory), "status")["hosts"]
    return {state["host"]: int(state["pid"]) for state in states if state["pid"]}


def busy(lab: Lab) -> set[str]:
    """Hosts on which there is a process beside pid 1 and sshd, as their own /proc have it: little work."""
    return {host for host, pid in pids(lab).items() if _has_process(pid)}


def patiently(condition: Callable[[], object], what: str, within_s: float) -> None:
    """Wait for what costs something to find out, where others have work to do: `eventually`, seldom."""
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, f"after {within_s:.1f} s still not: {what}"
        time.sleep(0.2)


def _has_process(first: int) -> bool:
    own = f"/proc/{first}/root/proc"
    try:
        inside = [name for name in os.listdir(own) if name.isdigit()]  # noqa: PTH208 - no Path per process
    except FileNotFoundError:  # it crashed just now
        return False
    return any(_counts(f"{own}/{name}/stat") for name in inside if name != "1")


def _counts(stat: str) -> bool:
    try:
        head, _, tail = Path(stat).read_text(errors="replace").rpartition(")")
    except OSError:  # it ended just now
        return False
    return not head.partition("(")[2].startswith("sshd") and tail.split()[0] not in "ZX"


def commands(lab: Lab, hosts: Iterable[str] = ()) -> list[Seen]:
    """Processes that bear a run's mark: commands and their descendants."""
    return [process for process in processes(lab, hosts) if process.run]


def agents(lab: Lab, hosts: Iterable[str] = ()) -> list[Seen]:
    """Agents and their wardens, which a shell waits for."""
    found = processes(lab, hosts)
    return [p for p in found if not p.run and p.name.startswith("python") and "nile" in "".join(p.argv[-1:])]


def ssh_clients(lab: Lab, hosts: Iterable[str] = ()) -> list[Seen]:
    """Relays' ssh clients."""
    return [process for process in processes(lab, hosts) if process.name == "ssh"]


def agent_and_warden(lab: Lab, host: str) -> tuple[int, int]:
    """The pids of a host's first agent and of the warden above it; found quickly, as they may end soon."""
    parents = dict(_below(lab.pid(host)))
    pids = {pid for pid in parents if _is_python(pid) and "nile" in "".join(procs.argv(pid)[-1:])}
    return min((pid, parents[pid]) for pid in pids if parents[pid] in pids)


def _below(pid: int) -> Iterator[tuple[int, int]]:
    """(pid, parent) of all that descend from a process."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:  # it ended just now
        return
    for child in map(int, children):
        yield child, pid
        yield from _below(child)


def _is_python(pid: int) -> bool:
    process = procs.read(pid)
    return process is not None and process.name.startswith("python")


def names_of(found: Iterable[Seen]) -> set[str]:
    """The hosts of some processes."""
    return {process.host for process in found}


def root_of(lab: Lab, host: str) -> Path:
    """A host's file system."""
    return lab.home(host).parent


def clear(lab: Lab, hosts: Iterable[str]) -> None:
    """Nothing is left in their /srv."""
    for host in hosts:
        subprocess.run(["find", root_of(lab, host) / "srv", "-mindepth", "1", "-delete"], check=True)


def clear_memory(lab: Lab) -> dict[str, list[str]]:
    """Empty the memory file systems of all hosts; what was in them: host:name -> the files inside."""
    found = {}
    for host, pid in pids(lab).items():
        for place in ("dev/shm", "run/user"):
            directory = Path(f"/proc/{pid}/root/{place}")
            for path in directory.iterdir() if directory.is_dir() else ():
                inside = sorted(path.iterdir()) if path.is_dir() else []
                found[f"{host}:{path.name}"] = [each.name for each in inside]
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    return found


def boot_anew(lab: Lab, hosts: Iterable[str]) -> None:
    """Whatever runs on these hosts is gone afterwards, and so is what they had in memory."""
    for host in hosts:
        lab.crash(host)
    lab.heal()


def tombstone(host: str, run: str) -> str:
    """By what name `clear_memory` tells of what stays where a host was lost."""
    return f"{host}:nile-0-{run}-{host}"


def in_core(lab: Lab, *words: str) -> None:
    """Run a command in the network namespace of the lab's switches."""
    argv = ["nsenter", "--target", str(lab.supervisor), "--net", "--", *words]
    subprocess.run(argv, check=True, capture_output=True)


def cut_root(lab: Lab) -> None:
    """Switch the root machine's port off, at the switch: packets vanish without a reset."""
    in_core(lab, "ip", "link", "set", "root", "down")


def mend_root(lab: Lab) -> None:
    """Switch it on again."""
    in_core(lab, "ip", "link", "set", "root", "up")


@contextlib.contextmanager
def login_shell(lab: Lab, host: str, shell: str) -> Iterator[None]:
    """Give root another login shell on one host, as its /etc/passwd says."""
    entry = pwd.getpwnam("root")
    lines = [line for line in Path("/etc/passwd").read_text().splitlines() if not line.startswith("root:")]
    lines.insert(0, f"root:x:0:0:{entry.pw_gecos}:{entry.pw_dir}:{shell}")
    (root_of(lab, host) / "run/lab/passwd").write_text("\n".join([*lines, ""]))
    assert lab.run_on(host, ["mount", "--bind", "/run/lab/passwd", "/etc/passwd"]).returncode == 0
    try:
        yield
    finally:
        assert lab.run_on(host, ["umount", "/etc/passwd"]).returncode == 0


@contextlib.contextmanager
def sshd_with(lab: Lab, host: str, port: int, *lines: str) -> Iterator[None]:
    """One more sshd on a host, with lines of its configuration replaced or added."""
    place = root_of(lab, host) / "run/lab"
    mine = [f"Port {port}", *lines]
    keywords = {line.split()[0] for line in mine}
    rest = [
        line for line in (place / "sshd_config").read_text().splitlines() if line.split()[0] not in keywords
    ]
    (place / f"sshd_config.{port}").write_text("\n".join([*mine, *rest, ""]))
    sshd = shutil.which("sshd", path="/usr/sbin:/sbin:/usr/local/sbin")
    words = [str(sshd), "-D", "-f", f"/run/lab/sshd_config.{port}", "-E", f"/run/lab/sshd.{port}.log"]
    daemon = subprocess.Popen(lab.host_argv(host, words))
    try:
        eventually(lambda: listens(lab.pid(host), port), f"sshd listens on port {port}")
        yield
    finally:
        procs.kill_tree(daemon.pid)
        daemon.wait()


@contextlib.contextmanager
def only_ssh(lab: Lab, *, drops: bool = False) -> Iterator[None]:
    """A firewall on each machine of a lab, which lets TCP through to others from or to port 22 alone.

    One that `drops` does so to what comes in, without a word; else nothing goes out, and whoever sends is
    told. A host that boots has none.
    """
    closed = "ipproto tcp sport 1024-65534 dport 1024-65534"
    up, down = [f"add {closed} prohibit"], [f"delete {closed} prohibit"]
    if drops:  # what is for the machine itself is looked up first: that has to come after the rule
        closed = f"pref 5 iif eth0 {closed} blackhole"
        up = ["add pref 10 lookup local", f"add {closed}", "delete pref 0"]
        down = ["add pref 0 lookup local", f"delete {closed}", "delete pref 10"]
    ends = [lab.root_argv([]), *(lab.host_argv(host, []) for host in lab.names)]
    try:
        for end in ends:
            for words in up:
                subprocess.run([*end, "ip", "rule", *words.split()], check=True)
        yield
    finally:
        ends = [lab.root_argv([]), *(lab.host_argv(host, []) for host in pids(lab))]
        for end in ends:
            for words in down:
                subprocess.run([*end, "ip", "rule", *words.split()], check=False, capture_output=True)
