"""The tools that are compared, each in the form that suits it best under equal conditions.

Equal for all: the same hosts, key, known_hosts and ssh options (one `ssh -F`
file, on relays too), the same number of logins at a time, cold connections
(no multiplexing), and the same command, `hostname -s`.
"""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

COMMAND = "hostname -s"
PROGRAM = str(Path(sys.executable).with_name("nile"))


@dataclass(frozen=True, slots=True)
class Case:
    """What a tool is asked to do: `hosts` in order, `window` logins at a time, files in `directory`."""

    hosts: tuple[str, ...]
    root_name: str
    """What `hostname -s` prints on the root machine."""
    window: int
    directory: Path
    command: str = COMMAND
    limit_s: int | None = None
    """After how long the tool itself is to end the command, in seconds."""

    def limited(self, option: str) -> list[str]:
        """That limit, as the value of an option."""
        return [] if self.limit_s is None else [option, str(self.limit_s)]

    @property
    def ssh_config(self) -> str:
        """The `ssh -F` file that every tool uses."""
        return str(self.directory / "ssh_config")

    @property
    def gateways(self) -> int:
        """How many hosts the trees with a given shape have in their first stage: the square root."""
        return max(1, round(math.sqrt(len(self.hosts))))

    @property
    def names(self) -> str:
        """The hosts in the `h[001-100]` syntax that pdsh and clush share."""
        return f"h[{self.hosts[0][1:]}-{self.hosts[-1][1:]}]"

    def write_files(self) -> None:
        """What some tools want to read: a list of hosts, a topology."""
        (self.directory / "hosts").write_text("".join(f"{host}\n" for host in self.hosts))
        near, far = ",".join(self.hosts[: self.gateways]), ",".join(self.hosts[self.gateways :])
        topology = f"[routes]\n{self.root_name}: {near}\n{near}: {far}\n"
        (self.directory / "topology.conf").write_text(topology)


@dataclass(frozen=True, slots=True)
class Tool:
    """One row of a table. `command` gives argv for a case; `environment` what it wants beside."""

    name: str
    note: str
    command: Callable[[Case], list[str]]
    version: tuple[str, ...]
    environment: Callable[[Case], Mapping[str, str]] = field(default=lambda _: {})


def nile(case: Case) -> list[str]:
    """Nile's route file has two stages of the same width as the other trees."""
    routes = str(case.directory / "routes.yaml")
    return [PROGRAM, "exec", "-r", routes, "-a", *case.limited("-u"), "--", case.command]


def _xargs(case: Case) -> list[str]:
    ssh = ["ssh", "-F", case.ssh_config, "{}", case.command]
    return ["xargs", "-a", str(case.directory / "hosts"), f"-P{case.window}", "-I{}", *ssh]


def _pdsh(case: Case) -> list[str]:
    options = ["-R", "ssh", "-f", str(case.window), *case.limited("-u")]
    return ["pdsh", *options, "-w", case.names, case.command]


def _clush(case: Case) -> list[str]:
    options = ["-f", str(case.window), "-o", f"-F {case.ssh_config}", *case.limited("-u"), "-w", case.names]
    return ["clush", "-q", *options, case.command]


def _clush_tree(case: Case) -> list[str]:
    topology = ["--topology", str(case.directory / "topology.conf")]
    return ["clush", *topology, *_clush(case)[1:]]


def _taktuk(case: Case) -> list[str]:
    connector = f"ssh -F {case.ssh_config}"
    output = 'output="$host: $line\\n"'
    options = ["-s", "-c", connector, "-w", str(case.window), "-o", output, "-o", "status"]
    command = ["exec", *case.limited("timeout"), "[", case.command, "]"]
    return ["taktuk", *options, "-f", str(case.directory / "hosts"), "broadcast", *command]


def _pssh(case: Case) -> list[str]:
    options = ["-p", str(case.window), "-t", "0", "-P", "-x", f"-F {case.ssh_config}"]
    return ["parallel-ssh", *options, "-h", str(case.directory / "hosts"), case.command]


NILE = Tool("nile", "tree of two stages, agents in memory", nile, (PROGRAM, "--version"))
XARGS = Tool("xargs ssh", "`xargs -P ssh`: the floor for a flat tool", _xargs, ("ssh", "-V"))
PDSH = Tool(
    "pdsh",
    "flat",
    _pdsh,
    ("pdsh", "-V"),
    lambda case: {"PDSH_SSH_ARGS_APPEND": f"-F {case.ssh_config}"},
)
CLUSH = Tool("clush", "flat", _clush, ("clush", "--version"))
CLUSH_TREE = Tool(
    "clush tree",
    "two stages with as many gateways as Nile has; ClusterShell is installed on them",
    _clush_tree,
    CLUSH.version,
)
TAKTUK = Tool("TakTuk", "propagates itself, work stealing", _taktuk, ("taktuk", "--version"))
PSSH = Tool("pssh", "flat", _pssh, ("parallel-ssh", "--version"))

COLD = (NILE, XARGS, PDSH, CLUSH, CLUSH_TREE, TAKTUK, PSSH)
SLOW = (NILE, XARGS, PDSH, CLUSH, CLUSH_TREE, TAKTUK)


def version(tool: Tool) -> str:
    """What a tool says of its version, with its name."""
    done = subprocess.run(
        tool.version, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True
    )
    said = done.stdout.splitlines()[0].strip()
    return said if said[:1].isalpha() else f"{tool.name} {said}"


def answered(output: str, hosts: tuple[str, ...]) -> set[str]:
    """The hosts whose `hostname -s` stands in a tool's output, at the end of a line."""
    lines = (line.split() for line in output.splitlines() if line.strip() and not line.startswith("["))
    return {words[-1] for words in lines} & set(hosts)
