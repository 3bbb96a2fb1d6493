"""What a run costs a host, and what is left of it there: nothing."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from nile.lab import Lab
from tests.cluster.hosts import Seen, agents, commands, names_of, pids, processes, root_of
from tests.cluster.running import Nile
from tests.lab.helpers import eventually

pytestmark = pytest.mark.cluster

TREE = {"h001": {"h002": "h[003-006]"}}
SET = "h[001-006]"
HOSTS = {f"h{n:03}" for n in range(1, 7)}
MEMORY = ("/dev/shm", "/memfd:", "pipe:", "socket:", "anon_inode:", "/dev/null", "/proc/")
# All files of a host's own, but what its sshd writes down, with size and times; directories by name.
SNAPSHOT = (
    r"find /tmp /root /run /srv /dev/shm /var/log -name sshd.log -prune -o -type d -printf '%p\n' -o "
    r"-printf '%p %s %T@ %C@\n' | sort"
)


def status_kb(pid: int, field: str, file: str = "status") -> int:
    text = Path(f"/proc/{pid}/{file}").read_text()
    return int(text.partition(f"\n{field}:")[2].split()[0])


def test_an_agent_takes_little_memory(nile: Nile, fleet: Lab) -> None:
    """At most 15 MB, warden and waiting shell included, also where much passed through a relay."""
    drawn = nile.with_routes(tree=TREE)
    command = "seq 200000; sleep 1000; true"

    def sleeping() -> list[Seen]:
        return [process for process in commands(fleet) if process.name == "sleep"]

    with drawn.started("-q", "-w", SET, "--", command, stdout=subprocess.DEVNULL) as run:
        eventually(lambda: names_of(sleeping()) == HOSTS, "all was printed")
        for host in HOSTS:
            own = [p for p in processes(fleet, [host]) if not p.run and p.name != "ssh"]
            assert len(own) == 3
            assert max(status_kb(process.pid, "VmHWM") for process in own) <= 15_000
            assert sum(status_kb(process.pid, "Pss", "smaps_rollup") for process in own) <= 15_000
        for process in sleeping():
            os.kill(process.pid, signal.SIGTERM)
        assert run.wait().code == 0


def listening(lab: Lab, host: str) -> set[str]:
    """Sockets on which somebody listens on a host, of every kind."""
    net = Path(f"/proc/{pids(lab)[host]}/net")
    found = {
        line.split()[1]
        for name in ("tcp", "udp")
        for line in (net / name).read_text().splitlines()[1:]
        if name == "udp" or line.split()[3] == "0A"
    }
    return found | {
        line.split()[-1] for line in (net / "unix").read_text().splitlines()[1:] if len(line.split()) > 7
    }


def open_files(process: Seen) -> set[str]:
    found = set()
    for fd in Path(f"/proc/{process.pid}/fd").iterdir():
        try:
            found.add(str(fd.readlink()))
        except FileNotFoundError:
            continue
    return found


def test_nothing_is_left_on_a_host(nile: Nile, fleet: Lab) -> None:
    """Files, sockets and mounts are as before; and while it ran, only memory was open."""
    drawn = nile.with_routes(tree=TREE)
    drawn.json("-w", SET, "--", "true").all_ok()  # what the first login of all makes is not Nile's
    before = {host: fleet.run_on(host, ["sh", "-c", SNAPSHOT]).stdout for host in HOSTS}
    sockets = {host: listening(fleet, host) for host in HOSTS}
    stop = nile.state / "stop"
    command = "echo x > $NILE_SCRATCH/x; seq 10000; read word"
    with drawn.started(
        "--stdin", "-w", SET, "--", command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    ) as run:
        eventually(lambda: names_of(commands(fleet)) == HOSTS, "it runs")
        for process in agents(fleet):
            assert {name for name in open_files(process) if not name.startswith(MEMORY)} == set()
        assert not stop.exists()
        run.process.communicate(b"go on\n", timeout=60)
        assert run.process.returncode == 0
    eventually(lambda: not processes(fleet), "all is over")
    for host in HOSTS:
        assert fleet.run_on(host, ["sh", "-c", SNAPSHOT]).stdout == before[host]
        assert listening(fleet, host) == sockets[host]
    assert "/run/lab/authorized_keys" in before["h001"]


def test_no_compiled_python_is_written(nile: Nile, fleet: Lab) -> None:
    """Not even where the library's own files were never compiled, and are root's to write."""
    where = fleet.run_on("h001", ["python3", "-Ic", "import os; print(os.path.dirname(os.__file__))"])
    library = where.stdout.strip()
    left_out = "__pycache__ test site-packages dist-packages config-* idlelib"
    excludes = " ".join(f"--exclude '{name}'" for name in left_out.split())
    copy = (
        f"mkdir /srv/library && cd {library} && tar c {excludes} . | tar x -C /srv/library && "
        f"mount --bind /srv/library {library}"
    )
    assert fleet.run_on("h001", ["sh", "-c", copy]).returncode == 0
    try:
        nile.json("-w", "h001", "--", "true").all_ok()
        assert list((root_of(fleet, "h001") / "srv/library").glob("**/*.pyc")) == []
    finally:
        assert fleet.run_on("h001", ["sh", "-c", f"umount {library} && rm -r /srv/library"]).returncode == 0
