"""What the lab's tests share: ssh, waiting for conditions, and a look for what is left."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from nile.lab import Lab, cgroup, procs

DEADLINE_S = 20.0


def eventually(
    condition: Callable[[], object], what: str, within_s: float = DEADLINE_S, most_s: float = 0.1
) -> None:
    """Wait until a condition holds; AssertionError after a time in seconds.

    What costs much to see is looked at less often, yet again after `most_s`: it may be there for a moment.
    """
    end = time.monotonic() + within_s
    while True:
        began = time.monotonic()
        if condition():
            return
        now = time.monotonic()
        assert now < end, f"after {within_s} s still not: {what}"
        time.sleep(min(most_s, max(0.01, 3 * (now - began))))


def ssh_argv(lab: Lab, host: str, command: str, *options: str) -> list[str]:
    """OpenSSH's client, on the root machine of the lab."""
    return lab.root_argv(
        ["ssh", "-F", str(lab.ssh_config_file), "-o", "BatchMode=yes", *options, host, command]
    )


def ssh(
    lab: Lab, host: str, command: str, *options: str, stdin: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    """Run a command over OpenSSH's client."""
    return subprocess.run(
        ssh_argv(lab, host, command, *options), input=stdin, capture_output=True, check=False, timeout=60
    )


def start_ssh(lab: Lab, host: str, command: str) -> subprocess.Popen[bytes]:
    """Start a command over OpenSSH's client, with pipes."""
    return subprocess.Popen(
        ssh_argv(lab, host, command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill a client and close its pipes."""
    process.kill()
    process.communicate()


def state_of(pid: int) -> str:
    """A process's state as in proc(5), empty where it is gone."""
    process = procs.read(pid)
    return process.state if process else ""


def remains(directory: Path) -> list[str]:
    """What is left of the lab in a directory: processes, cgroups, files; empty if all is well."""
    left = [f"process {pid}: {procs.argv(pid)}" for pid in procs.marked(directory)]
    left += [
        str(root / cgroup.group_name(directory))
        for root in cgroup.roots()
        if (root / cgroup.group_name(directory)).exists()
    ]
    left += [str(directory)] if directory.exists() else []
    left += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(directory) in line]
    return left


@contextmanager
def spaces(directory: Path) -> Iterator[dict[str, set[int]]]:
    """Namespaces other than this process's own that the lab's processes are in, by kind."""
    with ExitStack() as held:
        pids = procs.marked(directory)
        kinds = ("net", "mnt", "pid", "uts", "ipc")
        yield {kind: held.enter_context(procs.hold_namespaces(pids, kind)) for kind in kinds}


def peopled(found: dict[str, set[int]]) -> list[int]:
    """Processes that are in any of some namespaces."""
    return [
        pid for kind, inodes in found.items() for inode in inodes for pid in procs.in_namespace(kind, inode)
    ]
