"""The command line of benchmarks that write a page: which cases, how large, how often."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.bench.copies_page import Page
from tests.bench.kept import Kept, TimeUpError

Cases = Mapping[str, Callable[[argparse.Namespace, Page], None]]


def read(
    description: str | None, cases: Cases, *, rate: int, size: int, keeps: bool = False
) -> argparse.Namespace:
    """What is asked for; `rate` in Mbit/s and `size` in MB are the defaults. `keeps`: can it be in parts?"""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(cases)}; all by default")
    parser.add_argument("--hosts", type=int, default=12, help="a multiple of 3")
    parser.add_argument("--rate", type=int, default=rate, help="Mbit/s of every port and uplink")
    parser.add_argument("--size", type=int, default=size, help="MB")
    parser.add_argument("--repeat", type=int, default=3, help="tries; the table has medians")
    parser.add_argument("--write", type=Path, metavar="FILE", help="a page of it, and plots beside it")
    if keeps:
        parser.add_argument(
            "--keep", type=Path, metavar="FILE", help="tries: those in it count, new ones are added"
        )
        parser.add_argument(
            "--minutes", type=float, metavar="N", help="begin no try after so many; the next run goes on"
        )
    asked = parser.parse_args()
    if keeps and asked.minutes is not None and asked.keep is None:
        parser.error("--minutes needs --keep FILE: nothing else knows where to go on")
    asked.kept = Kept(asked.keep, asked.minutes) if keeps else Kept()
    if unknown := set(asked.cases) - set(cases):
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    return asked


def measure(asked: argparse.Namespace, page: Page, cases: Cases) -> int:
    """Measure them, one after the other; the page has each as soon as it is over. 1: time was up before."""
    for name in asked.cases or cases:
        page.begin(name)
        try:
            cases[name](asked, page)
        except TimeUpError as up:
            print(up, flush=True)
            return 1
        if asked.write:
            page.write(asked.write, asked.repeat, os.cpu_count() or 1, list(cases))
    return 0
