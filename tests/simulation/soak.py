"""Runs many seeds, on all cores, and names those that break a rule.

    python -m tests.simulation.soak --seeds 1000 [--first 0] [--hosts 200] [--faults 12] [--jobs N]

A seed that is named replays exactly: `--first SEED --seeds 1`, with the same hosts and faults.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import multiprocessing
import os
import sys
import time
import traceback
from collections.abc import Iterator

from nile.simulation.cluster import Cluster
from tests.simulation.checks import violations
from tests.simulation.scenario import any_run

MOST_SHOWN = 5


def broken_rules(seed: int, hosts: int, faults: int) -> list[str]:
    """What a run of this seed breaks, in words; a run that can't go on breaks a rule too."""
    try:
        with collecting_afterwards():
            return _violations(any_run(seed, hosts, faults))
    except Exception:  # the seed has to be named, whatever it is
        return [traceback.format_exc(limit=-4)]


def _violations(cluster: Cluster) -> list[str]:
    cluster.run()
    return violations(cluster)[:MOST_SHOWN]


@contextlib.contextmanager
def collecting_afterwards() -> Iterator[None]:
    """Leave garbage alone meanwhile: all that a run makes is alive to its end, and can go at once then.

    Looked through again and again, it takes a fifth of the time; and left for later, gigabytes.
    """
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.collect()
        gc.unfreeze()


def failures(seeds: range, hosts: int, faults: int, jobs: int = 1) -> Iterator[tuple[int, list[str]]]:
    """Seeds that break a rule, and which, as they are found."""
    work = [(seed, hosts, faults) for seed in seeds]
    if jobs == 1:
        yield from ((seed, broken) for seed, *_ in work if (broken := broken_rules(seed, hosts, faults)))
        return
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        yield from ((seed, broken) for seed, broken in pool.imap_unordered(_one, work) if broken)


def _one(work: tuple[int, int, int]) -> tuple[int, list[str]]:
    return work[0], broken_rules(*work)


def main() -> int:
    """The command line; 1 where a seed broke a rule."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--hosts", type=int, default=200)
    parser.add_argument("--faults", type=int, default=12)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    begun, found = time.monotonic(), 0
    seeds = range(args.first, args.first + args.seeds)
    for seed, broken in failures(seeds, args.hosts, args.faults, args.jobs):
        found += 1
        print(f"seed {seed} ({args.hosts} hosts, {args.faults} faults):", *broken, sep="\n  ", flush=True)
    took_s = time.monotonic() - begun
    print(f"{args.seeds} seeds of {args.hosts} hosts in {took_s:.0f} s: {found} broke a rule")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
