"""How long swarms take, and what they send over which wires: `python -m tests.bench.swarm_bench [CASE...]`.

Labs, clocks and what is compared are those of `sync_bench`. What the seed sends and what goes over uplinks
is counted by the ports of the lab, headers included.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import yaml

from nile.agent.worker.metainfo import piece_size
from tests.bench import aria2
from tests.bench.copies_cli import measure, read
from tests.bench.copies_page import Line, Page, plot_rates, plot_throughput
from tests.bench.sync_bench import (
    CASCADE,
    MEGABYTE,
    PARALLEL,
    STREAM,
    WAYS,
    Site,
    Took,
    Way,
    fill,
    in_place,
    median,
    nile,
    site,
)
from tests.bench.wires import Watch, first_pieces
from tests.cluster.peers import python_with_libtorrent

TITLE = """# Benchmarks of swarms

Written by `make bench`; don't edit. Each host is a network namespace on one machine, with a real sshd, a port
and an uplink of a set rate; the root is one more. {tries}; within a section the ways take turns. Copies are
compared by content after every try: where one isn't equal, there is no figure.

F/R is the size over the rate of a port: no way can be faster. Nile's clock runs from when its tree stands
until the last host's verdict, when every copy was looked at: making the torrent and launching the peers are
in it.
What the root sends, and what goes over an uplink, is counted at the ports, with all headers, in copies (F).
All hosts share this machine's {cores} cores; their files are on a memory file system.
"""
SWARM = "nile, swarm"
FILES = 10
SLOW = "h006"


@dataclass(frozen=True)
class Swarmed:
    """One copy by a swarm: how long, and in copies what the root sent and the most on any uplink."""

    took: Took
    by_root: float
    into: float
    out: float


@contextmanager
def a_lab(asked: argparse.Namespace, switches: int, hosts: int = 0) -> Iterator[Site]:
    """With a source; hosts have this machine's Python, for which libtorrent is there."""
    with site(hosts or asked.hosts, switches, asked.rate, python=sys.executable) as where:
        fill(where.source, asked.size * MEGABYTE, FILES)
        yield where


def swarm(where: Site, size: int, way: Way, verify: Callable[[Site], None] = Site.verify) -> Swarmed:
    """Copy so many bytes, and count."""
    where.clear()
    with Watch(where.lab) as watch:
        took = way(where)
    by_root = (watch.seen[-1].by_root() - watch.seen[0].by_root()) / size
    verify(where)
    return Swarmed(took, by_root, *watch.copies(size))


def tried(asked: argparse.Namespace, ways: dict[str, Callable[[], Swarmed]]) -> dict[str, list[Swarmed]]:
    """Each way as often as it is to be, in turns."""
    tries: dict[str, list[Swarmed]] = {name: [] for name in ways}
    for _ in range(asked.repeat):
        for name, way in ways.items():
            tries[name].append(way())
    return tries


def head(page: Page, title: str, bound_s: float) -> None:
    """The first lines of a table."""
    page.title(f"{title}; F/R is {bound_s:.2f} s")
    page.say("| way | s | F/R | set-up, s | F by the root | F into a rack | F out of one |")
    page.say("|---|---|---|---|---|---|---|")


def row(page: Page, name: str, tries: list[Swarmed], bound_s: float) -> Swarmed:
    """A line: the try in the middle by time, and of the rest the middle of each."""
    middle = median([each.took for each in tries])
    rest = [
        sorted(getattr(each, what) for each in tries)[len(tries) // 2] for what in ("by_root", "into", "out")
    ]
    words = (f"{middle.seconds:.2f}", f"{middle.seconds / bound_s:.2f}", f"{middle.set_up:.2f}")
    page.say(f"| {' | '.join((name, *words, *(f'{each:.2f}' for each in rest)))} |")
    return Swarmed(middle, *rest)


def flat(asked: argparse.Namespace, page: Page) -> None:
    """One switch."""
    size = asked.size * MEGABYTE
    bound_s = size * 8 / asked.rate / MEGABYTE
    with a_lab(asked, 1) as where:
        head(page, f"{asked.size} MB to {asked.hosts} hosts on one switch at {asked.rate} Mbit/s", bound_s)
        found = row(
            page, SWARM, tried(asked, {SWARM: lambda: swarm(where, size, asked.swarm)})[SWARM], bound_s
        )
    page.aim("a swarm on one switch, of F/R", 1.5, found.took.seconds / bound_s)
    page.aim("what the seed sends, of F", 1.5, found.by_root)


def racks(asked: argparse.Namespace, page: Page) -> None:
    """Three switches, known and not."""
    size = asked.size * MEGABYTE
    bound_s = size * 8 / asked.rate / MEGABYTE
    with a_lab(asked, 3) as where:
        head(page, f"{asked.size} MB to {asked.hosts} hosts on 3 switches at {asked.rate} Mbit/s", bound_s)
        blind = without_switches(where)
        ways = {
            SWARM: lambda: swarm(where, size, asked.swarm),
            "switches unknown": lambda: swarm(blind, size, asked.swarm),
        }
        tries = tried(asked, ways)
        found, _ = (row(page, name, each, bound_s) for name, each in tries.items())
    page.aim("a swarm on 3 switches, of F/R", 2.0, found.took.seconds / bound_s)
    page.aim("what goes into a rack, in copies", 2.0, found.into)
    page.aim("what goes out of a rack, in copies", 2.0, found.out)


def without_switches(where: Site) -> Site:
    """The same, by a route file that doesn't say where hosts hang."""
    content = yaml.safe_load(where.routes.read_text())
    for group in content["groups"].values():
        del group["switch"]
    routes = where.routes.with_name("blind.yaml")
    routes.write_text(yaml.safe_dump(content, sort_keys=False))
    return Site(where.lab, routes, where.source, where.state)


def slow(asked: argparse.Namespace, page: Page) -> None:
    """A host with a quarter of the rate: what that costs the others."""
    size = asked.size * MEGABYTE
    bound_s = size * 8 / asked.rate / MEGABYTE
    found: dict[str, list[float]] = {}

    def others_have_it(where: Site) -> Took:
        return in_place(where, SLOW, *asked.how)

    for switches in (1, 3):
        with a_lab(asked, switches) as where:
            title = f"{asked.size} MB to {asked.hosts} hosts on {switches} switches at {asked.rate} Mbit/s"
            head(page, f"{title}, until all but one have it", bound_s)
            seconds = found[f"{switches} switches"] = []
            for name, deed in (("that one like the others", None), ("that one at a quarter", where.lab.slow)):
                if deed:
                    deed(SLOW)
                tries = tried(asked, {name: partial(swarm, where, size, others_have_it)})[name]
                seconds.append(row(page, name, tries, bound_s).took.seconds)
    for where_it_is, (without, within) in found.items():
        page.aim(f"what a slow host costs the others, {where_it_is}", 1.2, within / without)


def by_aria2(asked: argparse.Namespace, page: Page) -> None:
    """Beside aria2 peers that were started by hand, on one switch; set-up counts for both."""
    size = asked.size * MEGABYTE
    bound_s = size * 8 / asked.rate / MEGABYTE
    name = "aria2 by hand"
    with a_lab(asked, 1) as where:
        head(page, f"{asked.size} MB to {asked.hosts} hosts, beside aria2 and opentracker", bound_s)
        ways = {
            SWARM: lambda: swarm(where, size, asked.swarm),
            name: lambda: swarm(where, size, aria2.by_hand, aria2.verify),
        }
        tries = tried(asked, ways)
        found = {each: row(page, each, tries[each], bound_s).took for each in tries}
    whole = found[SWARM].set_up + found[SWARM].seconds
    page.aim("a swarm and its set-up, of aria2 from its first login", 0.9, whole / found[name].seconds)


def start(asked: argparse.Namespace, page: Page) -> None:
    """From the start of the program until each host's disk has as much as a piece.

    What a root packs for its hosts it keeps, so its first run takes longer: that one is told apart.
    """
    size = asked.size * MEGABYTE
    piece = piece_size([size // FILES] * FILES)
    page.title(f"From start to first piece ({piece >> 10} KiB), at {asked.rate} Mbit/s")
    page.say(
        "The first run of a root packs what it sends to hosts, and keeps that: it isn't among the others.\n"
    )
    page.say("| hosts | first host, s | last host, s | last host in the first run, s |\n|---|---|---|---|")
    for hosts, most in ((12, 5.0), (50, 7.5)):
        with a_lab(asked, 1, hosts) as where:
            roots = {host: Path(f"/proc/{where.lab.pid(host)}/root") for host in where.hosts}
            tries = []
            for _ in range(1 + asked.repeat):
                where.clear()
                done_at: dict[str, float] = {}
                began = time.monotonic()
                with first_pieces(roots, piece, done_at):
                    asked.swarm(where)
                assert len(done_at) == hosts, "not every host was seen to get a piece"
                tries.append((max(done_at.values()) - began, min(done_at.values()) - began))
            packed = tries.pop(0)[0]
            last, first = sorted(tries)[len(tries) // 2]
        page.say(f"| {hosts} | {first:.2f} | {last:.2f} | {packed:.2f} |")
        page.aim(f"from start to first piece, {hosts} hosts", most, last, " s")


def ways(asked: argparse.Namespace, page: Page) -> None:
    """Each way to more and more hosts, once: a table, and a plot."""
    all_ways: dict[str, Way] = {name: WAYS[name] for name in (PARALLEL, CASCADE, STREAM)}
    all_ways[SWARM] = asked.swarm
    rate, size, counts = 50, max(1, asked.size * 3 // 8), (3, 6, 12, 24)
    bound_s = size * 8 / rate
    found: dict[str, list[float]] = {name: [] for name in all_ways}
    for count in counts:
        with site(count, 3, rate, python=sys.executable) as where:
            fill(where.source, size * MEGABYTE, FILES)
            for name, way in all_ways.items():
                where.clear()
                found[name].append(way(where).seconds)
                where.verify()
    page.title(f"{size} MB at {rate} Mbit/s by number of hosts, seconds of one try; F/R is {bound_s:.2f} s")
    page.say(f"| way | {' | '.join(f'{count} hosts' for count in counts)} |\n|---|{'---|' * len(counts)}")
    for name, seconds in found.items():
        page.say(f"| {name} | {' | '.join(f'{each:.1f}' for each in seconds)} |")
    if asked.write:
        picture = asked.write.with_suffix(".svg")
        lines = [Line(name, seconds) for name, seconds in found.items()]
        title = f"{size} MB at {rate} Mbit/s, on 3 switches"
        plot_throughput(picture, counts, lines, size * 8, rate, title)
        page.say(f"\n![Throughput against hosts, a line for each of these ways]({picture.name})")


def rates(asked: argparse.Namespace, page: Page) -> None:
    """What goes to each host over time, by a stream and by a swarm."""
    size = asked.size * MEGABYTE
    what = f"{asked.size} MB at {asked.rate} Mbit/s, on 3 switches"
    page.title(f"What goes to each host over time, one try each: {what}")
    with a_lab(asked, 3) as where:
        for word, name, way in (("stream", STREAM, WAYS[STREAM]), ("swarm", SWARM, asked.swarm)):
            where.clear()
            with Watch(where.lab) as watch:
                took = way(where)
            where.verify()
            seconds, found = watch.rates(where.hosts, took.clock_at)
            mean = size * 8 / MEGABYTE / took.seconds
            page.say(f"{name}: {took.seconds:.1f} s, {mean:.0f} Mbit/s to each host on average.\n")
            if asked.write:
                picture = asked.write.with_name(f"{asked.write.stem}-{word}-rates.svg")
                plot_rates(picture, seconds, found, asked.rate, f"{name}: rate of each host")
                lines = "a line for each host, and a thick one for all on average"
                page.say(f"![Mbit/s against seconds, {lines}]({picture.name})\n")


CASES = {
    "flat": flat,
    "racks": racks,
    "slow": slow,
    "aria2": by_aria2,
    "start": start,
    "ways": ways,
    "rates": rates,
}


def main() -> int:
    """Measure, and print tables."""
    asked = read(__doc__, CASES, rate=64, size=64)
    with python_with_libtorrent() as python:
        asked.how = ("--method", "swarm", "--peer-python", str(python))
        asked.swarm = nile(*asked.how)
        return measure(asked, Page(TITLE), CASES)


if __name__ == "__main__":
    sys.exit(main())
