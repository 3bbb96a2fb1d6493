"""docs/benchmarks-copies.md and its plot, written as the figures come."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.document import machine

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLE = """# Benchmarks of copies

Written by `make bench`; don't edit. Each host is a network namespace on one machine, with a real sshd, a port
and an uplink of a set rate; the root is one more. {tries}; within a section the ways take turns. Copies are
compared by content after every try: where one isn't equal, there is no figure.

F/R is the size over the rate of a port: no way can be faster. Nile's clock runs from when its tree stands
until the last host's verdict, when every copy was looked at; what it took until then is *set-up*. That of the
others runs from the first login, and they compare nothing. All hosts share this machine's {cores} cores:
where these are the bound, what a host does counts as many times as there are hosts. Their files are on a
memory file system: a disk that all of them share would be measured, and not the network.
"""


@dataclass(frozen=True)
class Line:
    """One line of a plot: seconds by number of hosts."""

    name: str
    seconds: Sequence[float]


class Page:
    """What is said goes to standard output at once, and to a file in the end: a section for each case."""

    def __init__(self, title: str = TITLE) -> None:
        """`title` is the text above all sections; it may speak of {tries} and {cores}."""
        self._title = title
        self._sections: dict[str, list[str]] = {}
        self._aims: dict[str, list[str]] = {}
        self._case = ""

    def begin(self, case: str) -> None:
        """What follows is of this case."""
        self._case = case
        self._sections[case], self._aims[case] = [], []

    def say(self, text: str) -> None:
        """A line, or several."""
        print(text, flush=True)
        self._sections[self._case].append(text)

    def head(self, title: str, bound_s: float) -> None:
        """The first lines of a section with a table of ways."""
        self.title(f"{title}; F/R is {bound_s:.2f} s")
        self.say("| way | s | F/R | set-up, s | MB by the root |\n|---|---|---|---|---|")

    def title(self, title: str) -> None:
        """A section."""
        self.say(f"## {title}\n")

    def aim(self, what: str, most: float, reached: float, unit: str = "") -> None:
        """Is it at most that?"""
        self._judge(f"{what}: at most {most:g}{unit}", f"{reached:.2f}{unit}", met=reached <= most)

    def at_least(self, what: str, least: float, reached: float, unit: str = "") -> None:
        """Is it at least that?"""
        self._judge(f"{what}: at least {least:g}{unit}", f"{reached:.0f}{unit}", met=reached >= least)

    def _judge(self, aim: str, reached: str, *, met: bool) -> None:
        line = f"| {aim} | {reached} | {'met' if met else 'missed'} |"
        print(line, flush=True)
        self._aims[self._case].append(line)

    def write(self, file: Path, tries: int, cores: int, order: Sequence[str]) -> None:
        """All that was said, aims at the end of each section; of other cases the file keeps what it has."""
        how = f"Medians of {tries} tries" if tries > 1 else "Single tries"
        sections = dict(_SECTION.findall(file.read_text(encoding="utf-8"))) if file.exists() else {}
        sections |= {case: self._section(case) for case in self._sections}
        parts = [self._title.format(tries=how, cores=cores)]
        parts += [f"<!-- {case} -->\n{sections[case]}\n<!-- end -->\n" for case in order if case in sections]
        parts += machine(())
        file.write_text("\n".join(parts) + "\n", encoding="utf-8")

    def _section(self, case: str) -> str:
        aims = self._aims[case]
        table = ["", "| aim | reached | |", "|---|---|---|", *aims] if aims else []
        return "\n".join([*self._sections[case], *table])


_SECTION = re.compile(r"^<!-- (\w+) -->\n(.*?)\n<!-- end -->$", re.MULTILINE | re.DOTALL)


def plot(file: Path, hosts: Sequence[int], lines: Sequence[Line], title: str) -> None:
    """Seconds against hosts, as SVG; equal figures give equal files."""
    figure = _figure()
    axes = figure.subplots()
    for marker, line in zip("osD^v", lines, strict=False):
        axes.plot(hosts, line.seconds, marker=marker, label=line.name)
    axes.set(title=title, xlabel="hosts", ylabel="seconds", xticks=list(hosts))
    axes.set(xlim=(0, None), ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(file, metadata={"Date": None})


def plot_throughput(
    file: Path, hosts: Sequence[int], lines: Sequence[Line], size: float, rate: float, title: str
) -> None:
    """What all hosts together get, in Mbit/s, against their number, as SVG.

    Each gets `size` megabits; `rate` is what its port moves at most.
    """
    figure = _figure()
    axes = figure.subplots()
    for marker, line in zip("osD^v", lines, strict=False):
        values = [count * size / seconds for count, seconds in zip(hosts, line.seconds, strict=True)]
        axes.plot(hosts, values, marker=marker, label=line.name)
    bound = [count * rate for count in hosts]
    axes.plot(hosts, bound, color="black", linestyle="--", linewidth=0.8, label="all ports full")
    axes.set(title=title, xlabel="hosts", ylabel="Mbit/s, all hosts together", xticks=list(hosts))
    axes.set(xlim=(0, None), ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(file, metadata={"Date": None})


def plot_rates(
    file: Path, seconds: Sequence[float], rates: Mapping[str, Sequence[float]], bound: float, title: str
) -> None:
    """What goes to each host, in Mbit/s, against time, as SVG; `bound` is what its port moves at most.

    Beside a line for each host there is a thick one for all of them on average.
    """
    import matplotlib as mpl

    figure = _figure()
    axes = figure.subplots()
    colors = mpl.colormaps["tab20"]
    for number, (host, values) in enumerate(rates.items()):
        axes.plot(seconds, values, linewidth=0.8, alpha=0.7, color=colors(number % 20), label=host)
    mean = [sum(now) / len(now) for now in zip(*rates.values(), strict=True)]
    axes.plot(seconds, mean, linewidth=2.2, color="black", label="on average")
    axes.axhline(bound, color="black", linestyle="--", linewidth=0.8)
    axes.set(title=title, xlabel="seconds", ylabel="Mbit/s", xlim=(0, None), ylim=(0, 1.15 * bound))
    axes.grid(alpha=0.3)
    axes.legend(fontsize="x-small", loc="center left", bbox_to_anchor=(1.0, 0.5))  # beside the lines
    figure.savefig(file, metadata={"Date": None})


def _figure() -> Figure:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams.update({"svg.hashsalt": "nile", "svg.fonttype": "none", "font.family": "sans-serif"})
    return Figure(figsize=(7.2, 4.2), layout="constrained")
