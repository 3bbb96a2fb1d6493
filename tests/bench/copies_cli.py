"""The command line of benchmarks that write a page: which cases, how large, how often."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.bench.copies_page import Page

Cases = Mapping[str, Callable[[argparse.Namespace, Page], None]]


def read(description: str | None, cases: Cases, *, rate: int, size: int) -> argparse.Namespace:
    """What is asked for; `rate` in Mbit/s and `size` in MB are the defaults."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(cases)}; all by default")
    parser.add_argument("--hosts", type=int, default=12, help="a multiple of 3")
    parser.add_argument("--rate", type=int, default=rate, help="Mbit/s of every port and uplink")
    parser.add_argument("--size", type=int, default=size, help="MB")
    parser.add_argument("--repeat", type=int, default=3, help="tries; the table has medians")
    parser.add_argument("--write", type=Path, metavar="FILE", help="a page of it, and plots beside it")
    asked = parser.parse_args()
    if unknown := set(asked.cases) - set(cases):
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    return asked


def measure(asked: argparse.Namespace, page: Page, cases: Cases) -> None:
    """Measure them, one after the other; the page has each as soon as it is over."""
    for name in asked.cases or cases:
        page.begin(name)
        cases[name](asked, page)
        if asked.write:
            page.write(asked.write, asked.repeat, os.cpu_count() or 1, list(cases))
