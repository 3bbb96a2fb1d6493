"""What `nile swarm run` takes for swarms alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest

from nile.cascade import Neighbours
from nile.cascade.tree import Tree
from nile.cli.common import SelectionOptions, select
from nile.cli.swarmoptions import among
from nile.errors import UsageError
from tests.cli.test_swarm import begun, nile

__all__ = ["begun"]
WHERE = ("-w", "n[1-3]", "site/", "/srv/site")


def test_all_of_it_is_as_for_sync(begun: list[Any]) -> None:
    words = ["--peer-ports", "6881-6889", "--seed-limit", "100", "--tracker", "http://t:1/announce"]
    words += ["--tracker", "udp://u:2", "--web-seed", "http://a/x%20y/", "--web-seed", "http://b/c/x%20y"]
    words += ["--rack-limit", "300"]
    nile("swarm", "run", *words, *WHERE)
    nile("sync", "--method", "swarm", *words, *WHERE)
    (_, first, _), (_, second, _) = begun
    assert first == second
    assert (first.peer_ports, first.seed_limit_kib_s) == ((6881, 6889), 100)
    assert first.rack_limit_kib_s == 300
    assert first.trackers == ("http://t:1/announce", "udp://u:2")
    assert first.web_seeds == ("http://a/", "http://b/c/")
    assert first.torrent_name == "x y"


def test_seeders_are_among_the_hosts_that_were_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = select(SelectionOptions(hosts=("n[1-9]",)))
    assert among(["n[1-2]", "n2,n7"], chosen) == {"n1", "n2", "n7"}
    assert among([], chosen) == frozenset()
    for text, message in (("n[9-10]", "n10 isn't among the hosts"), ("@nobody", "group @nobody is unknown")):
        with pytest.raises(UsageError, match=message) as refused:
            among([text], chosen)
        assert refused.value.where == f"--seeders {text}"


def test_seeders_reach_the_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made: list[Any] = []

    def run(_chosen: object, job: Any, _given: object, *, swarms: bool) -> int:
        assert swarms
        made.append(job("run")(Neighbours(lambda giver, taker: "x"), Tree(_chosen.plan, {})))  # type: ignore[attr-defined]
        return 0

    monkeypatch.setattr("nile.cli.copying.run", run)
    (tmp_path / "site").mkdir()
    monkeypatch.chdir(tmp_path)
    nile("swarm", "run", "--seeders", "n[2-3]", *WHERE)
    assert made[0]._options.seeders == {"n2", "n3"}


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("10.0.0.1", ("10.0.0.1", 0)),
        ("root.example:6969", ("root.example", 6969)),
        ("[fd00::1]:6969", ("fd00::1", 6969)),
        ("[fd00::1]", ("fd00::1", 0)),
    ],
)
def test_where_a_tracker_is(begun: list[Any], text: str, place: tuple[str, int]) -> None:
    nile("swarm", "run", "--tracker-at", text, *WHERE)
    assert begun[0][1].tracker_at == place


@pytest.mark.parametrize("text", ["", "a b", "fd00::1", "a:0", "a:65536", "a:", "http://a", "[a:6969"])
def test_where_none_can_be(begun: list[Any], text: str) -> None:
    with pytest.raises(click.BadParameter):
        nile("swarm", "run", f"--tracker-at={text}", *WHERE)


def test_one_port(begun: list[Any]) -> None:
    nile("swarm", "run", "--peer-ports", "6881", *WHERE)
    assert begun[0][1].peer_ports == (6881, 6881)


@pytest.mark.parametrize("ports", ["0", "5-4", "65536", "a", "1-2-3", "-1", ""])
def test_ports_that_are_none(begun: list[Any], ports: str) -> None:
    with pytest.raises(click.BadParameter):
        nile("swarm", "run", f"--peer-ports={ports}", *WHERE)


@pytest.mark.parametrize(
    "words",
    [
        ("--tracker", "ftp://t/announce"),
        ("--tracker", "http://"),
        ("--tracker", "http://t:99999/"),
        ("--tracker", "http://t/\n"),
        ("--tracker", "https://t/announce"),  # without --plain
        ("--web-seed", "udp://t/image"),
        ("--web-seed", "https://t/image/"),
        ("--web-seed", "http://mirror"),
        ("--web-seed", "http://mirror/.."),
        ("--web-seed", "http://mirror/a%2fb/"),
        ("--web-seed", "http://mirror/a%00b/"),
        ("--web-seed", "http://mirror/a", "--web-seed", "http://other/b"),
        ("--tracker", "http://t/a") * 21,
    ],
)
def test_places_that_cant_be(begun: list[Any], words: tuple[str, ...]) -> None:
    with pytest.raises(UsageError):
        nile("swarm", "run", *words, *WHERE)
    assert begun == []


def test_in_the_clear_others_may_have_certificates_of_their_own(begun: list[Any]) -> None:
    nile("swarm", "run", "--plain", "--tracker", "https://t/announce", *WHERE)
    assert begun[0][1].trackers == ("https://t/announce",)
