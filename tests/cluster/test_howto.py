"""The how-to pages of copies are true: their examples are run, in order, as a reader would, and say the same.

What a page takes for given (what a source has, which host is down) is arranged before the example that
needs it: the next one in which there are these words.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nile.lab import Lab
from tests.cluster.conftest import check_nothing_is_left
from tests.cluster.faults import cut
from tests.cluster.hosts import clear, root_of
from tests.cluster.pages import Reader, examples
from tests.cluster.running import Nile

pytestmark = pytest.mark.cluster

HOSTS = [f"h{number:03}" for number in range(1, 13)]


class Desk:
    """The directory from which somebody works: a route file, sources; and the hosts."""

    def __init__(self, nile: Nile) -> None:
        self.nile = nile
        self.lab = nile.lab
        self.here = nile.state
        nile.with_routes("nile", timeouts={"connect": "5s"})
        self.reader = Reader(self.lab, self.here, nile.environment({"USER": "nile-howto"}))

    def write(self, path: str, text: str) -> None:
        (self.here / path).parent.mkdir(parents=True, exist_ok=True)
        (self.here / path).write_text(text)

    def on(self, host: str, path: str) -> Path:
        return root_of(self.lab, host) / path.lstrip("/")

    def read(self, page: str, *arrange: tuple[str, Callable[[], object]]) -> None:
        """Follow it to its end; each thing is arranged once, and all of them have to be."""
        left, other = list(arrange), []
        for example in examples(page):
            if left and left[0][0] in example.command:
                left.pop(0)[1]()
            other.append(self.reader.follow(example))
        assert not any(other), f"{page} has it otherwise:\n" + "\n".join(filter(None, other))
        assert not left, f"no further example of {page} has these words"


@pytest.fixture
def desk(wires: Lab, tmp_path: Path) -> Iterator[Desk]:
    """Twelve hosts on three switches; all up again afterwards, and nothing left on them."""
    nile = Nile(wires, tmp_path)
    yield Desk(nile)
    check_nothing_is_left(nile)
    clear(wires, HOSTS)
    for host in HOSTS:
        shutil.rmtree(root_of(wires, host) / "var/log/app", ignore_errors=True)
    shutil.rmtree("/dev/shm/nile-howto", ignore_errors=True)


def test_the_page_of_releases(desk: Desk) -> None:
    def first() -> None:
        for number in range(1, 5):
            desk.write(f"app/lib/part{number}", f"{number}" * 100_000)
        desk.write("app/version", "2.3\n")

    def patch() -> None:
        desk.write("app/lib/part2", "b" * 100_000)
        (desk.here / "app/lib/part4").unlink()
        desk.write("app/version", "2.4\n")

    def down() -> None:
        desk.write("app/version", "2.5\n")
        cut(desk.lab, "h007")

    def interrupted() -> None:
        """As if the root of the run that brought 2.5 had died while hosts flipped from 2.3."""
        run = desk.reader.runs["3278fec5"]
        for host in HOSTS:
            flip = {"origin": "2.3", "to": "2.5", "before": "", "run": run}
            desk.on(host, "/srv/app/releases/.nile-flip").write_text(
                json.dumps({**flip, "done": host not in ("h001", "h005", "h009")})
            )
            for link, name in {"current": "2.3" if host == "h009" else "2.5", "previous": "2.3"}.items():
                desk.on(host, f"/srv/app/{link}").unlink()
                desk.on(host, f"/srv/app/{link}").symlink_to(f"releases/{name}")

    desk.read(
        "howto/release.md",
        ("--release 2.3", first),
        ("--release 2.4", patch),
        ("--release 2.5", down),
        ("nile releases", desk.lab.heal),
        ("nile releases", interrupted),
    )


def test_the_page_of_copies(desk: Desk) -> None:
    rsync = shutil.which("rsync")
    assert rsync

    def first() -> None:
        for number in range(1, 6):
            desk.write(f"site/page{number}.html", f"{number}" * 1000)

    def newer() -> None:
        desk.write("site/page1.html", "new")
        (desk.here / "site/page3.html").unlink()

    def without_rsync() -> None:
        clear(desk.lab, HOSTS)
        for host in ("h004", "h009"):
            desk.lab.run_on(host, ["mount", "--bind", "/dev/null", rsync])

    def touched() -> None:
        for host in ("h004", "h009"):
            desk.lab.run_on(host, ["umount", rsync])
        for host in ("h003", "h007"):
            desk.on(host, "/srv/site/page2.html").chmod(0o600)
            desk.on(host, "/srv/site/notes").write_text("mine")

    def torn() -> None:
        words = ("--all", "--delete", "--max-delete", "1", "--json", f"{desk.here}/site/", "/srv/site")
        desk.nile.command("sync", "--routes", f"{desk.here}/nile.yaml", *words).all_ok()
        for host in ("h003", "h006"):
            desk.on(host, "/srv/site/page2.html").write_text("torn")

    def large() -> None:
        desk.write("site/film", "x" * 40_000_000)  # of a hole a stream would send nothing

    desk.read(
        "howto/sync.md",
        ("nile sync", first),
        ("--delete", newer),
        ("site/", lambda: None),
        ("site/", lambda: cut(desk.lab, "h007")),
        ("--catch-up", desk.lab.heal),
        ("site/", without_rsync),
        ("nile verify", touched),
        ("--repair", torn),
        ("nile plan", large),
    )


def test_the_page_of_files_that_come_back(desk: Desk) -> None:
    for host in HOSTS:
        desk.on(host, "/var/log/app").mkdir()
        desk.on(host, "/var/log/app/log").write_text(f"of {host}\n" * 1000)
    desk.read("howto/gather.md")
