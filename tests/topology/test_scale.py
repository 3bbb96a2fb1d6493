"""10,000 hosts: under a second and 200 MB, with and without a route file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import json, sys, time
began = time.process_time()
from pathlib import Path
from nile.topology.plan import plan
from nile.topology.predict import predict
from nile.topology.routes import Routes, load_routes
routes = load_routes(Path(sys.argv[1])) if len(sys.argv) > 1 else Routes()
asked = routes.everything() or routes.host_sets().expand("n[00001-10000]")
tree = plan(routes, asked)
predict(tree)
# Not ru_maxrss: across exec a process inherits the peak of the one that started it.
peak_kb = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps({
    "hosts": len(list(tree.asked())),
    "cpu_s": time.process_time() - began,
    "mb": peak_kb / 1024,
}))
"""


def measure(*args: str) -> dict[str, float]:
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM, *args], capture_output=True, text=True, check=True
    )
    found: dict[str, float] = json.loads(run.stdout)
    return found


def racks() -> str:
    groups = (
        f"  rack{rack}: {{hosts: 'r{rack}n[1-40]', switch: sw{rack}, via: 'r{rack}n[1-2]'}}\n"
        for rack in range(250)
    )
    return "version: 1\nlimits: {branches: 60}\ngroups:\n" + "".join(groups)


def each_host() -> str:
    hosts = (f"  n{n:05}: {{address: 10.0.{n // 250}.{n % 250}, port: 2222}}\n" for n in range(10_000))
    return "version: 1\nhosts:\n" + "".join(hosts)


@pytest.mark.parametrize("text", [None, racks(), each_host()], ids=["no file", "racks", "each host"])
def test_ten_thousand_hosts(tmp_path: Path, text: str | None) -> None:
    args = []
    if text is not None:
        (tmp_path / "r.yaml").write_text(text)
        args = [str(tmp_path / "r.yaml")]
    found = measure(*args)
    assert found["hosts"] == 10_000
    # CPU time, for the machine may be busy; and the best of some tries, for CPUs are shared too.
    assert found["cpu_s"] < 1 or any(measure(*args)["cpu_s"] < 1 for _ in range(3))
    assert found["mb"] < 200
