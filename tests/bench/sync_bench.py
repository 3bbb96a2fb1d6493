"""How long a first copy takes, against what the wires allow: `python -m tests.bench.sync_bench`.

Hosts are network namespaces with ports and uplinks of a set rate. F/R is the
size over that rate, the least that any way can take. Copies are verified
after every try; where one is not equal, the program fails.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml

from nile.lab import BackendName, Lab, LabSpec

SENT = re.compile(r"sent in ([0-9.]+) s: (.*)")
DEST = "/srv/copy"


@dataclass(frozen=True)
class Site:
    """A lab, its hosts, and what is to be copied."""

    lab: Lab
    hosts: tuple[str, ...]
    routes: Path
    source: Path
    state: Path

    def run(self, *argv: str) -> str:
        """Run a program on the root machine; what it wrote, both streams."""
        environment = {
            **self.lab.root_environment(),
            "HOME": str(self.state),
            "XDG_STATE_HOME": str(self.state),
        }
        done = subprocess.run(
            self.lab.root_argv(list(argv)), env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            sys.exit(f"{' '.join(argv)[:200]}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
        return done.stdout + done.stderr

    def clear(self) -> None:
        """Take all copies away."""
        for host in self.hosts:
            self.lab.run_on(host, ["rm", "-rf", DEST])


def nile(method: str) -> Callable[[Site], float]:
    """A way of Nile's: seconds from the first byte that is copied on."""

    def copy(site: Site) -> float:
        words = ("--routes", str(site.routes), "--all", "--method", method, f"{site.source}/", DEST)
        said = SENT.search(site.run(sys.executable, "-m", "nile", "sync", *words))
        assert said is not None
        return float(said.group(1))

    return copy


def in_parallel(site: Site) -> float:
    """rsync from the root to every host at one time."""
    began = time.monotonic()
    ssh = f"ssh -F {site.lab.directory / 'ssh_config'}"
    copy = f'rsync -aHW -e "{ssh}" {site.source}/ {{}}:{DEST}/'
    site.run("sh", "-c", f"printf '%s\\n' {' '.join(site.hosts)} | xargs -P {len(site.hosts)} -I{{}} {copy}")
    return time.monotonic() - began


WAYS: dict[str, Callable[[Site], float]] = {
    "rsync from the root, all at one time": in_parallel,
    "nile, rsync over ssh": nile("rsync"),
    "nile, rsync-tcp": nile("rsync-tcp"),
    "nile, stream": nile("stream"),
}


def verify(site: Site) -> None:
    """Every host must have what the source has."""
    words = ("--routes", str(site.routes), "--all", "--checksum", f"{site.source}/", DEST)
    site.run(sys.executable, "-m", "nile", "verify", *words)


def main() -> int:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hosts", type=int, default=12)
    parser.add_argument("--switches", type=int, default=3)
    parser.add_argument("--rate", type=int, default=200, help="Mbit/s of every port and uplink")
    parser.add_argument("--size", type=int, default=50, help="MB")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS))
    asked = parser.parse_args()
    bound_s = asked.size * 8 / asked.rate
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        source = place / "source"
        source.mkdir()
        for number in range(10):
            (source / f"file{number}").write_bytes(os.urandom(asked.size * 100_000))
        rate = f"{asked.rate}mbit"
        spec = LabSpec(
            hosts=asked.hosts, backend=BackendName.NETNS, switches=asked.switches, rate=rate, uplink=rate
        )
        with Lab.up(spec, place / "lab", tied=True) as lab:
            each = asked.hosts // asked.switches
            names = sorted(lab.addresses)
            content = yaml.safe_load(lab.routes_file.read_text())
            content["tree"] = {
                names[at * each]: names[at * each + 1 : (at + 1) * each] for at in range(asked.switches)
            }
            routes = place / "routes.yaml"
            routes.write_text(yaml.safe_dump(content, sort_keys=False))
            site = Site(lab, tuple(names), routes, source, place)
            stages = asked.switches + each - 1
            print(f"{asked.size} MB, {asked.hosts} hosts, {asked.switches} switches, {rate}")
            print(f"F/R is {bound_s:.2f} s; two stages take {stages} of it\n")
            print("| way | s | F/R |\n|---|---|---|")
            for name in asked.ways:
                took = []
                for _ in range(asked.repeat):
                    site.clear()
                    took.append(WAYS[name](site))
                    verify(site)
                middle = statistics.median(took)
                print(f"| {name} | {middle:.2f} | {middle / bound_s:.2f} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
