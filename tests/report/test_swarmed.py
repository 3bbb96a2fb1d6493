"""The table of a swarm: who is told together, what is said of them, and in which order."""

from __future__ import annotations

from typing import Any

import pytest

from nile.events import STALLS, Stall, SwarmHost, SwarmLimits, SwarmProgress, SwarmState
from nile.report import swarmed
from nile.report.jsonlines import swarm_object

MIB = 1 << 20


def host(number: int, part: int = 0, state: str = "getting", **more: Any) -> SwarmHost:
    """One that has so many hundredths."""
    return SwarmHost(f"n{number:03}", SwarmState(state), part * MIB, 100 * MIB, peers=3, **more)


def rows(*hosts: SwarmHost) -> list[swarmed.Row]:
    return swarmed.rows(swarm_object(SwarmProgress(hosts, True, 0, 0, 0, 0)))


def cells(*hosts: SwarmHost) -> list[dict[str, str]]:
    return [dict(zip(swarmed.HEADINGS, row.cells, strict=True)) for row in rows(*hosts)]


def status(*hosts: SwarmHost, asked: int = 0, **more: Any) -> dict[str, Any]:
    progress = SwarmProgress(hosts, **{"seeding": True, **dict.fromkeys(FIELDS, 0), **more})
    told = {"run": "ab12cd34ef", "state": "running", "elapsed_s": 12.0, "command": "nile swarm start"}
    more = {"hosts": asked or len(hosts), "verdicts": {}, "copies": None}
    return {**told, **more, "swarm": swarm_object(progress)}


FIELDS = ("seed_sent", "seed_up", "seed_peers", "sent")


class TestRows:
    def test_one_of_few_has_a_line_of_its_own(self) -> None:
        one = host(1, 45, down=2 * MIB, up=MIB, by_seed=MIB, by_rack=2 * MIB, by_others=MIB)
        (line,) = cells(one)
        assert line == {
            "HOSTS": "n001",
            "DONE": "45 %",
            "DOWN": "2.0 MiB/s",
            "UP": "1.0 MiB/s",
            "PEERS": "3",
            "SEED": "25 %",
            "RACK": "50 %",
            "OTHERS": "25 %",
            "": "",
        }

    def test_who_sent_damaged_pieces_is_told_apart_and_why(self) -> None:
        lines = cells(*(host(number, 100, "complete", banned_by=2 * (number == 2)) for number in (1, 2, 3)))
        assert {line["HOSTS"]: line[""] for line in lines} == {
            "n[001,003] (2)": "has all, serves",
            "n002": "has all, serves; sent damaged pieces: banned by 2 hosts",
        }
        (line,) = cells(host(1, 45, banned_by=1))
        assert line[""] == "sent damaged pieces: banned by 1 host"

    def test_those_that_have_all_are_told_together_with_what_each_sends(self) -> None:
        done = [host(number, 100, "complete", up=number * MIB) for number in (1, 2, 3)]
        (line,) = cells(*done)
        assert (line["HOSTS"], line["DONE"], line["UP"]) == ("n[001-003] (3)", "100 %", "2.0 MiB/s")
        assert line[""] == "has all, serves"

    def test_of_many_those_are_alike_that_are_about_as_far(self) -> None:
        hosts = [host(number, number % 40) for number in range(600)]
        told = cells(*hosts)
        assert [line["DONE"] for line in told] == ["0-9 %", "10-19 %", "20-29 %", "30-39 %"]
        assert "(150)" in told[0]["HOSTS"]

    def test_who_has_nearly_all_doesnt_have_all(self) -> None:
        nearly = SwarmHost("n1", SwarmState.GETTING, 999, 1000)
        assert cells(nearly)[0]["DONE"] == "99 %"

    def test_the_last_ones_come_first_and_those_that_have_ended_last(self) -> None:
        states = ["ended", "complete", "left-out", "starting", "placing"]
        hosts = [host(number, 100, state) for number, state in enumerate(states)]
        told = rows(*hosts, host(8, 80), host(9, 20))
        assert [row.cells[0] for row in told] == ["n009", "n008", "n003", "n004", "n001", "n002", "n000"]

    @pytest.mark.parametrize("stall", list(Stall))
    def test_who_stands_still_says_why_and_for_how_long(self, stall: Stall) -> None:
        stuck = [host(number, 30, stall=stall, still_s=10.0 * number) for number in (1, 2)]
        (row,) = rows(*stuck)
        assert row.stuck
        assert row.cells[-1].startswith("nothing for 20.0 s: ")
        assert STALLS[stall] in row.cells[-1]

    def test_there_are_words_for_whatever_a_host_can_be_at(self) -> None:
        assert set(swarmed.ORDER) == set(swarmed.STATES) == set(swarmed.COUNTED) == set(SwarmState)

    def test_why_one_is_left_out_is_made_visible(self) -> None:
        (row,) = rows(host(1, 0, "left-out", reason="no\x1bPython"))
        assert row.cells[-1] == "left out: no\\x1bPython"
        assert not row.stuck


class TestHead:
    def test_before_there_is_one(self) -> None:
        lines = swarmed.head({**status(), "swarm": None, "hosts": 3})
        assert lines[0] == "run ab12cd34ef, under way for 12.0 s: nile swarm start"
        assert lines[1].startswith("3 hosts: the swarm hasn't begun")

    def test_how_many_stand_where_and_the_seeds_share(self) -> None:
        hosts = (host(1, 10), host(2, 100, "complete"), host(3, 0, "left-out"))
        it = status(*hosts, asked=5, seed_sent=MIB, seed_up=MIB, seed_peers=2, sent=4 * MIB)
        lines = swarmed.head({**it, "verdicts": {"ok": 1}})
        assert lines[1] == (
            "5 hosts: 1 getting it, 1 have all, 1 left out, 2 had nothing to get, or couldn't; verdicts: 1 ok"
        )
        assert lines[2] == "seed: 1.0 MiB sent, 25.0 % of all bytes, 1.0 MiB/s to 2 hosts"

    def test_that_it_serves_on_and_how_that_ends(self) -> None:
        on = swarmed.head(status(host(1, 100, "complete"), serving_on=True))
        assert "nile swarm stop ab12cd34" in on[-1]
        off = swarmed.head(status(host(1, 100, "complete")))
        assert "stop" not in off[-1]

    def test_a_seed_that_has_ended(self) -> None:
        assert swarmed.head(status(host(1, 100, "ended"), seeding=False))[2] == "seed: ended; 0 bytes sent"

    def test_how_much_of_all_has_come(self) -> None:
        copies = {"part": 0.5, "bytes_whole": 4 * MIB, "bytes_per_s": MIB}
        assert swarmed.head({**status(), "copies": copies})[-1] == "hosts have 50 % of 4.0 MiB, 1.0 MiB/s"


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (SwarmLimits(peers=3, keeping=3), ""),
        (
            SwarmLimits(MIB, 2 * MIB, peers=3, keeping=3),
            "at most: the seed sends 1.0 MiB/s, each host 2.0 MiB/s; all keep to it",
        ),
        (
            SwarmLimits(rack=MIB, peers=3, keeping=2),
            "at most: each rack takes over its uplink 1.0 MiB/s; 2 of 3 keep to it",
        ),
        (SwarmLimits(peers=3, keeping=1), "at most: no limit any more; 1 of 3 keep to it"),
    ],
)
def test_what_peers_are_to_keep_to_and_how_many_do(limits: SwarmLimits, said: str) -> None:
    shown = swarmed.head(status(host(1), limits=limits))
    assert [line for line in shown if line.startswith("at most")] == ([said] if said else [])
