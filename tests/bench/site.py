"""The cluster that the tools run on: a lab of network namespaces, and ssh options equal for all."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from nile.lab.handle import Lab
from nile.lab.spec import BackendName, LabSpec
from tests.bench import meter
from tests.bench.tools import Case, Tool, answered

# Hosts have their own /tmp, /run, /root and /srv; files here are the same for all, gateways too.
SHARED = Path("/var/tmp")
RUN_S = 300.0
NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of a tool. `problem` is empty where every host answered and the tool ended well."""

    wall_s: float
    cpu_s: float
    problem: str = ""
    output: str = ""


class Site:
    """A lab that is up, as the tools meet it."""

    def __init__(self, lab: Lab, case: Case) -> None:
        self.lab = lab
        self.case = case
        self.supervisor = lab.supervisor
        """The process from which all hosts descend."""

    def run(self, tool: Tool, *more: str) -> Sample:
        """Run a tool once, cold, on the root host; `more` goes in before its first `--`."""
        command = tool.command(self.case)
        if more:
            at = command.index("--")
            command[at:at] = more
        result = self.case.directory / "result.json"
        result.unlink(missing_ok=True)
        done = subprocess.run(
            self.lab.root_argv(
                [sys.executable, "-I", meter.__file__, str(result), *command], self.case.directory
            ),
            env=self.environment(tool),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=RUN_S,
            check=False,
        )
        if not result.exists():
            raise RuntimeError(f"{tool.name} could not be measured: {done.stderr.strip()}")
        return _sample(json.loads(result.read_text()), done, self.case.hosts)

    def environment(self, tool: Tool) -> dict[str, str]:
        """The caller's, but for what favours a tool or holds it back; runs are recorded beside the lab."""
        state = {"XDG_STATE_HOME": str(self.case.directory / "state")}
        without = {"SSH_AUTH_SOCK", "NILE_ROUTES", "PDSH_RCMD_TYPE", "CLUSTERSHELL_CFGDIR"}
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        plain = {name: value for name, value in kept.items() if name not in without} | state
        return {**plain, **tool.environment(self.case)}


def _sample(
    measured: dict[str, Any], done: subprocess.CompletedProcess[str], hosts: tuple[str, ...]
) -> Sample:
    problem = ""
    if missing := sorted(set(hosts) - answered(done.stdout, hosts)):
        problem = f"{len(missing)} hosts did not answer, {missing[0]} among them"
    elif measured["rc"]:
        problem = f"exit {measured['rc']}"
    if problem:
        problem += f": {done.stderr.strip()[-300:]}"
    return Sample(measured["wall_s"], measured["cpu_s"], problem, done.stdout)


@contextmanager
def site(
    hosts: int,
    window: int,
    delay_login_s: float = 0.0,
    ssh_options: Mapping[str, str] = NOTHING,
    timeouts: Mapping[str, str] = NOTHING,
) -> Iterator[Site]:
    """Bring up a lab with its files; everything is gone at the end, also when it fails.

    `ssh_options` go into the file of those tools that use one, `timeouts` into Nile's route file.
    """
    directory = Path(tempfile.mkdtemp(prefix="nile-bench-", dir=SHARED))
    spec = LabSpec(hosts=hosts, backend=BackendName.NETNS, delay_login_s=delay_login_s)
    try:
        with Lab.up(spec, directory / "lab", tied=True) as lab:
            root = lab.run_on_root(["hostname", "-s"], check=True).stdout.strip()
            case = Case(lab.names, root, window, directory)
            case.write_files()
            (directory / "ssh_config").write_text(_ssh_config(lab, ssh_options))
            (directory / "routes.yaml").write_text(_routes(lab, case, timeouts))
            yield Site(lab, case)
    finally:
        shutil.rmtree(directory)


def _ssh_config(lab: Lab, more: Mapping[str, str]) -> str:
    """Cold logins, strict host keys, one key, and a key exchange that costs the client little."""
    options = {
        "User": lab.user,
        "Port": lab.port,
        "IdentityFile": lab.key_file,
        "IdentitiesOnly": "yes",
        "UserKnownHostsFile": lab.known_hosts_file,
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "BatchMode": "yes",
        "KexAlgorithms": "-sntrup761*",
        "ControlMaster": "no",
        "LogLevel": "ERROR",
        **more,
    }
    return "Host *\n" + "".join(f"  {keyword} {value}\n" for keyword, value in options.items())


def _routes(lab: Lab, case: Case, timeouts: Mapping[str, str]) -> str:
    """The lab's own route file, with as many logins at a time and as wide a tree as the others have."""
    content = yaml.safe_load(lab.routes_file.read_text())
    content["limits"] = {"parallel": case.window, "branches": max(case.gateways, 25), "stages": 2}
    content["timeouts"] = {**content.get("timeouts", {}), **timeouts}
    return yaml.safe_dump(content, sort_keys=False)
