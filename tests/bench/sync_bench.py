"""How long copies take, against what the wires allow: `python -m tests.bench.sync_bench [CASE...]`.

Hosts are network namespaces with ports and uplinks of a set rate. F/R is the
size over that rate, the least that any way can take. The clock of Nile starts
when the last host of the tree is ready, and stops with the last verdict, when
every copy was compared; that of the others with the first login. Copies are
compared by content after every try: where one isn't equal, the program fails.

All of it takes most of an hour. With `--keep FILE --minutes N` it can be measured in parts: the same command
again and again, until it ends with 0.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from nile.lab import BackendName, Lab, LabSpec
from tests.bench import relay_speed
from tests.bench.copies_cli import measure, read
from tests.bench.copies_page import Line, Page, plot

DEST = "/srv/copy"
SENT = re.compile(r"([0-9.]+) (bytes|KiB|MiB|GiB) by the root")
UNITS = {"bytes": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
MEGABYTE = 1_000_000
PATCHED = 5000
"""Files, of which a patch changes every hundredth."""
MOST_BELOW = 24
"""Hosts below one gateway."""
FAULTS = {"lease": "4s"}
SILENT_S = 2.8
"""With that a host that says nothing for so long is taken for lost (`timeouts: {silence}`)."""


@dataclass(frozen=True)
class Took:
    """One copy to all hosts: seconds, seconds before that until the tree stood, bytes that the root sent."""

    seconds: float
    set_up: float = 0.0
    root_bytes: float = 0.0
    clock_at: float = 0.0
    """When the clock started, by the monotonic clock."""


Said = list[tuple[float, str]]
"""The lines that a program wrote, and when they came, by the monotonic clock."""


@dataclass(frozen=True)
class Site:
    """A lab, and what is to be copied."""

    lab: Lab
    routes: Path
    source: Path
    state: Path

    @property
    def hosts(self) -> list[str]:
        """Names, in their order."""
        return sorted(self.lab.addresses)

    def run(self, *argv: str, may_fail: bool = False) -> Said:
        """Run a program on the root machine."""
        environment = {
            **self.lab.root_environment(),
            "HOME": str(self.state),
            "XDG_STATE_HOME": str(self.state),
        }
        with subprocess.Popen(
            self.lab.root_argv(list(argv)),
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as process:
            assert process.stdout is not None
            said = [(time.monotonic(), line) for line in process.stdout]
        if process.returncode and not may_fail:
            sys.exit(f"{' '.join(argv)[:200]}: {''.join(line for _, line in said)[-2000:]}")
        return said

    def nile(self, *argv: str, may_fail: bool = False) -> Said:
        """Run Nile, on all hosts."""
        word, *others = argv
        words = (word, "--routes", str(self.routes), "--all", *others)
        return self.run(sys.executable, "-m", "nile", *words, may_fail=may_fail)

    def has_all(self, host: str) -> bool:
        """Are all files, by their names and sizes, in their places on a host?"""
        place = Path(f"/proc/{self.lab.pid(host)}/root{DEST}")
        try:
            return all(
                (place / path.relative_to(self.source)).stat().st_size == path.stat().st_size
                for path in self.source.rglob("*")
                if path.is_file()
            )
        except OSError:
            return False

    def clear(self) -> None:
        """Take all copies away."""
        for host in self.hosts:
            self.lab.run_on(host, ["rm", "-rf", DEST])

    def verify(self, lost: Iterable[str] = ()) -> None:
        """Every host must have what the source has, but those that were lost meanwhile."""
        without = ["--exclude-hosts", ",".join(lost)] if lost else []
        self.nile("verify", "--checksum", *without, f"{self.source}/", DEST)


Way = Callable[[Site], Took]


def nile(*how: str, spare: tuple[str, ...] = ()) -> Way:
    """A way of Nile's; the times of `spare` hosts don't count, and they may be lost."""

    def copy(site: Site) -> Took:
        said = site.nile("sync", "--json", *how, f"{site.source}/", DEST, may_fail=bool(spare))
        told = [(at, line) for at, line in said if line.startswith("{")]
        events: list[dict[str, Any]] = [json.loads(line) for _, line in told]
        results = [each for each in events if each["event"] == "result" and each["host"] not in spare]
        bad = [each for each in results if each["verdict"] != "ok"]
        if bad or not results:
            sys.exit(f"not ok: {bad[:2]}")
        notices = " ".join(each["text"] for each in events if each["event"] == "notice")
        sent = SENT.search(notices)
        ready = max(each["t_ready_s"] for each in results)
        by_root = float(sent.group(1)) * UNITS[sent.group(2)] if sent else 0.0
        seconds = max(each["t_end_s"] for each in results) - ready
        return Took(seconds, ready, by_root, told[0][0] + ready)

    return copy


def in_place(site: Site, spare: str, *how: str) -> Took:
    """A stream (or as `how` says), until all files are in their places on all hosts but the spare one.

    The verdict on a host that serves it afterwards comes later than its own copy.
    """
    watched = [host for host in site.hosts if host != spare]
    done_at: list[float] = []
    over = threading.Event()

    def watch() -> None:
        while not over.is_set() and not all(site.has_all(host) for host in watched):
            time.sleep(0.05)
        done_at.append(time.monotonic())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        took = nile(*(how or ("--method", "stream")), spare=(spare,))(site)
    finally:
        over.set()
        watcher.join()
    return replace(took, seconds=done_at[0] - took.clock_at)


def in_parallel(site: Site) -> Took:
    """rsync from the root to every host at one time."""
    began = time.monotonic()
    ssh = f"ssh -F {site.lab.directory / 'ssh_config'}"
    copy = f'rsync -aHW --modify-window=-1 -e "{ssh}" {site.source}/ {{}}:{DEST}/'
    site.run("sh", "-c", f"printf '%s\\n' {' '.join(site.hosts)} | xargs -P {len(site.hosts)} -I{{}} {copy}")
    return Took(time.monotonic() - began)


PARALLEL = "rsync from the root, all at one time"
CASCADE = "nile, rsync over ssh"
TCP = "nile, rsync-tcp"
STREAM = "nile, stream"
CLEAR = "nile, stream in the clear"
WAYS: dict[str, Way] = {
    PARALLEL: in_parallel,
    CASCADE: nile("--method", "rsync"),
    TCP: nile("--method", "rsync-tcp"),
    STREAM: nile("--method", "stream"),
    CLEAR: nile("--method", "stream", "--plain"),
}


@contextmanager
def site(
    hosts: int, switches: int, rate: int, timeouts: dict[str, str] | None = None, python: str = ""
) -> Iterator[Site]:
    """A lab: a gateway or more for each switch, the rest below; ports and uplinks of so many Mbit/s.

    Time-outs are the default ones where none are given: a machine that plays 24
    hosts may stand still for seconds. Hosts have another `python` than this
    machine's, if one is named.
    """
    with in_memory() as place:
        (place / "source").mkdir()
        spec = LabSpec(
            hosts=hosts,
            backend=BackendName.NETNS,
            switches=switches,
            rate=f"{rate}mbit",
            uplink=f"{rate}mbit",
            python={f"h[001-{hosts:03}]": python} if python else {},
        )
        with Lab.up(spec, place / "lab", tied=True) as lab:
            content = yaml.safe_load(lab.routes_file.read_text())
            content["tree"] = tree(sorted(lab.addresses), switches)
            content["timeouts"] = timeouts or {}
            routes = place / "routes.yaml"
            routes.write_text(yaml.safe_dump(content, sort_keys=False))
            yield Site(lab, routes, place / "source", place)


def tree(names: list[str], switches: int) -> dict[str, list[str]]:
    """Gateways, and who is below them: as many on each switch as are needed, and as even as they go."""
    gateways = switches * -(-len(names) // switches // (MOST_BELOW + 1))
    bounds = [at * len(names) // gateways for at in range(gateways + 1)]
    return {names[begin]: names[begin + 1 : end] for begin, end in pairwise(bounds)}


@contextmanager
def in_memory() -> Iterator[Path]:
    """A directory for all that hosts have: on one disk, they would wait for each other."""
    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=90%,mode=755", "nile-bench", scratch], check=True)
        try:
            yield Path(scratch)
        finally:
            subprocess.run(["umount", scratch], check=True)


def fill(source: Path, size: int, files: int) -> None:
    """So many bytes that can't be compressed, in so many files, a hundred in a directory."""
    shutil.rmtree(source)
    for number in range(files):
        file = source / f"d{number // 100:03}" / f"f{number:05}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(os.urandom(size // files))


def median(tries: list[Took]) -> Took:
    """The try in the middle."""
    return sorted(tries, key=lambda took: took.seconds)[len(tries) // 2]


def row(page: Page, name: str, took: Took, bound_s: float) -> Took:
    """A line of a table."""
    megabytes = f"{took.root_bytes / MEGABYTE:.1f}" if took.root_bytes else ""
    ratio = took.seconds / bound_s
    page.say(f"| {name} | {took.seconds:.2f} | {ratio:.2f} | {took.set_up:.2f} | {megabytes} |")
    return took


def tried(
    asked: argparse.Namespace,
    what: str,
    names: Iterable[str],
    begin: AbstractContextManager[Site],
    attempt: Callable[[Site, str], Took],
) -> dict[str, Took]:
    """The tries in the middle, by name, of as many as are asked for; those that are kept aren't made again.

    `what` says all that they depend on. Names take turns; the site is only made where a try is missing.
    Raises TimeUpError.
    """
    keys = {name: f"{what}: {name}" for name in names}
    if any(len(asked.kept.of(key)) < asked.repeat for key in keys.values()):
        asked.kept.see_time()
        with begin as where:
            for at in range(asked.repeat):
                for name, key in keys.items():
                    if len(asked.kept.of(key)) <= at:
                        asked.kept.see_time()
                        asked.kept.add(key, asdict(attempt(where, name)))
    return {name: median([Took(**one) for one in asked.kept.of(key)]) for name, key in keys.items()}


@contextmanager
def filled(hosts: int, rate: int, size: int, files: int = 10, **how: Any) -> Iterator[Site]:
    """A site on three switches, with a source of so many MB."""
    with site(hosts, 3, rate, **how) as where:
        fill(where.source, size * MEGABYTE, files)
        yield where


def anew(where: Site, name: str) -> Took:
    """A first copy, in that way."""
    where.clear()
    took = WAYS[name](where)
    where.verify()
    return took


def first(asked: argparse.Namespace, page: Page) -> None:
    """A first copy, in every way."""
    bound_s = asked.size * 8 / asked.rate
    each = asked.hosts // 3
    what = f"{asked.size} MB to {asked.hosts} hosts on 3 switches at {asked.rate} Mbit/s"
    tries = tried(asked, what, WAYS, filled(asked.hosts, asked.rate, asked.size), anew)
    page.head(what, bound_s)
    took = {name: row(page, name, tries[name], bound_s).seconds for name in WAYS}
    page.say(f"\nTwo stages of whole copies, one after the other, can't take less than {each + 2} F/R.")
    page.aim("a stream in the clear, of F/R", 1.15, took[CLEAR] / bound_s)
    page.aim("a stream with TLS, of F/R", 1.15, took[STREAM] / bound_s)
    page.aim("a stream, of the cascade by rsync over ssh", 0.25, took[STREAM] / took[CASCADE])
    page.aim(f"rsync-tcp, of {each + 2} F/R", 1.15, took[TCP] / bound_s / (each + 2))


def hosts(asked: argparse.Namespace, page: Page) -> None:
    """A stream to more and more hosts, at a rate at which this machine can play most of them."""
    rate, size, names = 50, asked.size, (STREAM, CLEAR)
    bound_s = size * 8 / rate
    page.head(f"{size} MB at {rate} Mbit/s, to more hosts", bound_s)
    found: dict[str, list[float]] = {name: [] for name in names}
    for count in (12, 24):
        what = f"{size} MB to {count} hosts at {rate} Mbit/s"
        tries = tried(asked, what, names, filled(count, rate, size), anew)
        for name in names:
            took = row(page, f"{count} hosts: {name}", tries[name], bound_s)
            found[name].append(took.seconds)
    for name, (fewer, more) in found.items():
        page.aim(f"to 24 hosts, of that to 12: {name}", 1.05, more / fewer)


def ways(asked: argparse.Namespace, page: Page) -> None:
    """Each way to more and more hosts, less at a time: a table, and a plot."""
    rate, size, counts = 50, max(1, asked.size // 40), (3, 6, 12, 18, 24)
    names = tuple(WAYS)
    bound_s = size * 8 / rate
    found: dict[str, list[float]] = {name: [] for name in names}
    for count in counts:
        what = f"{size} MB to {count} hosts at {rate} Mbit/s"
        tries = tried(asked, what, names, filled(count, rate, size), anew)
        for name in names:
            found[name].append(tries[name].seconds)
    title = f"{size} MB at {rate} Mbit/s by number of hosts, seconds; F/R is {bound_s:.2f} s"
    page.title(title)
    page.say(f"| way | {' | '.join(f'{count} hosts' for count in counts)} |\n|---|{'---|' * len(counts)}")
    for name, seconds in found.items():
        page.say(f"| {name} | {' | '.join(f'{each:.1f}' for each in seconds)} |")
    if asked.write:
        picture = asked.write.with_suffix(".svg")
        lines = [Line(name, seconds) for name, seconds in found.items()]
        plot(picture, counts, lines, f"{size} MB at {rate} Mbit/s")
        page.say(f"\n![Seconds against hosts, a line for each of these ways]({picture.name})")


@contextmanager
def to_be_patched(asked: argparse.Namespace) -> Iterator[Site]:
    """Many files, which all hosts have."""
    with filled(asked.hosts, asked.rate, asked.size, PATCHED) as where:
        WAYS[STREAM](where)
        yield where


def patch(asked: argparse.Namespace, page: Page) -> None:
    """One file of a hundred is another one; the rest is there."""
    bound_s = asked.size * 8 / asked.rate / 100
    names = (PARALLEL, STREAM, CLEAR)
    what = f"A patch of 1 % of {asked.size} MB in {PATCHED} files, {asked.hosts} hosts"

    def attempt(where: Site, name: str) -> Took:
        for number in range(0, PATCHED, 100):
            path = where.source / f"d{number // 100:03}" / f"f{number:05}"
            path.write_bytes(os.urandom(asked.size * MEGABYTE // PATCHED))
        took = WAYS[name](where)
        where.verify()
        return took

    tries = tried(asked, f"{what} at {asked.rate} Mbit/s", names, to_be_patched(asked), attempt)
    page.head(what, bound_s)
    took = {name: row(page, name, tries[name], bound_s) for name in names}
    page.aim("a patch, of rsync in parallel", 0.3, took[STREAM].seconds / took[PARALLEL].seconds)
    delta = asked.size * MEGABYTE / 100
    page.aim("bytes out of the root, of a patch", 1.2, took[STREAM].root_bytes / delta)


def faults(asked: argparse.Namespace, page: Page) -> None:
    """A stream from which an inner host is lost half way: what that costs the others."""
    bound_s = asked.size * 8 / asked.rate
    victim = "h006"
    deeds: dict[str, Callable[[Lab], Callable[[str], None]] | None] = {
        "nobody is lost": None,
        "one is killed half way": lambda lab: lab.crash,
        "one is frozen half way": lambda lab: lab.freeze,
        "one is cut off half way": lambda lab: lab.cut,
    }

    def attempt(where: Site, name: str) -> Took:
        choose = deeds[name]
        deed = choose(where.lab) if choose else None
        where.clear()
        watch = threading.Thread(target=half_way, args=(where, victim, asked.size, deed))
        watch.start()
        took = in_place(where, victim)
        watch.join()
        where.lab.heal()
        where.verify([victim] if deed else [])
        return took

    title = f"{asked.size} MB to {asked.hosts} hosts at {asked.rate} Mbit/s, until all others have it"
    begin = filled(asked.hosts, asked.rate, asked.size, timeouts=FAULTS)
    tries = tried(asked, title, deeds, begin, attempt)
    page.head(title, bound_s)
    took = {name: row(page, name, tries[name], bound_s).seconds for name in deeds}
    for name, most in (("killed", 1.0), ("frozen", 1.0 + SILENT_S), ("cut off", 1.0 + SILENT_S)):
        cost = took[f"one is {name} half way"] - took["nobody is lost"]
        page.aim(f"what it costs the others that one is {name}", most, cost, " s")


def half_way(where: Site, host: str, size: int, deed: Callable[[str], None] | None) -> None:
    """Do that to a host once it has half of what it is to get."""
    place = Path(f"/proc/{where.lab.pid(host)}/root{DEST}")
    while deed and sum(path.stat().st_blocks * 512 for path in place.rglob("*f0*")) < size * MEGABYTE // 2:
        time.sleep(0.05)
    if deed:
        deed(host)


def slow(asked: argparse.Namespace, page: Page) -> None:
    """A stream with a host that has a quarter of the rate: what that costs the others."""
    size, victim = asked.size * 2, "h006"
    bound_s = size * 8 / asked.rate
    title = f"{size} MB to {asked.hosts} hosts at {asked.rate} Mbit/s, one of them at a quarter"

    def attempt(where: Site, _: str) -> Took:
        where.lab.slow(victim)
        where.clear()
        took = in_place(where, victim)
        where.verify()
        return took

    name = "the others"
    tries = tried(asked, title, [name], filled(asked.hosts, asked.rate, size), attempt)
    page.head(f"{title}, until all others have it", bound_s)
    took = row(page, name, tries[name], bound_s)
    page.aim("all but a slow one, of F/R", 1.3, took.seconds / bound_s)


def relay(asked: argparse.Namespace, page: Page) -> None:
    """One node of a chain between two others, over loopback."""
    page.title("One relay over loopback, MB/s, and CPU seconds for a GB")
    page.say("| way | MB/s | CPU s/GB |\n|---|---|---|")
    for way, (speed, cpu_s) in relay_speed.best(1024, asked.repeat).items():
        page.say(f"| {way} | {speed:.0f} | {cpu_s:.2f} |")
        if way == "clear":
            page.at_least("one relay in the clear, over loopback", 400, speed, " MB/s")


CASES = {
    "first": first,
    "hosts": hosts,
    "ways": ways,
    "patch": patch,
    "faults": faults,
    "slow": slow,
    "relay": relay,
}


def main() -> int:
    """Measure, and print tables."""
    return measure(read(__doc__, CASES, rate=200, size=200, keeps=True), Page(), CASES)


if __name__ == "__main__":
    sys.exit(main())
