"""Where a run stands, told from its events."""

from typing import Any

from nile.cascade import Outstanding, Waits
from nile.control import Standing
from nile.events import (
    Code,
    CopyProgress,
    Event,
    HostCopy,
    HostResult,
    HostStarted,
    HostUp,
    Notice,
    Paced,
    RunEnded,
    RunGoesOn,
    RunStarted,
    SwarmHost,
    SwarmProgress,
    SwarmState,
    Verdict,
)
from nile.options import Pacing

BEGUN: list[Event] = [
    RunStarted("ab12", "uptime", None, ("n1", "n2", "n3", "n4"), ("gw",), at=1000.0),
    HostUp("gw", "root", 1, 0.1, 0.5),
    HostUp("n1", "gw", 2, 0.6, 1.0),
    HostUp("n2", "gw", 2, 0.6, 1.5),
    HostStarted("n2", 1.6),
    HostUp("n3", "gw", 2, 0.6, 1.2),
    HostStarted("n3", 1.3),
    HostResult("n3", Verdict.OK, rc=0, t_end_s=2.0),
]


def _status(*more: Event, now: float = 1010.0) -> dict[str, object]:
    standing = Standing("ab12")
    standing.take(BEGUN)
    standing.take(more)
    return standing.status(now)


def test_every_asked_host_is_in_one_phase() -> None:
    status = _status()
    assert status["phases"] == {"out": 1, "up": 1, "running": 1, "done": 1}
    assert status["hosts"] == 4
    assert status["verdicts"] == {"ok": 1}
    assert status["elapsed_s"] == 10.0
    assert status["state"] == "running"


def test_who_is_not_done_is_named_with_its_parent_and_since_when() -> None:
    assert _status()["open"] == [
        {"host": "n1", "phase": "up", "since_s": 1.0, "parent": "gw"},
        {"host": "n2", "phase": "running", "since_s": 1.6, "parent": "gw"},
        {"host": "n4", "phase": "out", "since_s": 0.0, "parent": None},
    ]


def test_a_host_that_is_attached_anew_runs_what_it_ran() -> None:
    status = _status(HostUp("n2", "root", 1, 5.0, 1.5))
    assert {"host": "n2", "phase": "running", "since_s": 1.6, "parent": "root"} in status["open"]  # type: ignore[operator]


def test_how_far_each_stage_is() -> None:
    standing = Standing("ab12")
    standing.take([*BEGUN[:-1], HostResult("n3", Verdict.OK, rc=0, stage=2)])
    waiting = [Outstanding("n1", 2, "gw", Waits.TURN, 1.0), Outstanding("n2", 2, "gw", Waits.COMMAND, 1.6)]
    waiting += [Outstanding("n4", 1, "root", Waits.LOGIN, 0.1), Outstanding("n3", 2, "gw", Waits.OUTPUT, 1.0)]
    assert standing.status(1010.0, waiting)["stages"] == [
        {"stage": 1, "out": 1, "up": 0, "running": 0, "verdicts": {}},
        {"stage": 2, "out": 0, "up": 1, "running": 1, "verdicts": {"ok": 1}},
    ]


def test_what_broke_is_told_of_all_together_of_whom_the_same_is_said() -> None:
    failed = [HostResult(host, Verdict.FAILED, rc=3) for host in ("n1", "n2")]
    refused = HostResult("n4", Verdict.UNREACHABLE, code=Code.REFUSED, reason="[Errno 111] ('10.0.0.4', 22)")
    status = _status(*failed, refused)
    assert status["broke"] == [
        {"verdict": "failed", "reason": "exit status 3", "hosts": ["n1", "n2"]},
        {"verdict": "unreachable", "reason": "it refuses connections", "hosts": ["n4"]},
    ]
    assert status["verdicts"] == {"ok": 1, "failed": 2, "unreachable": 1}


def test_its_end_is_seen() -> None:
    assert _status(RunGoesOn(interrupted=True), RunGoesOn())["state"] == "ending"
    assert _status(RunEnded("ab12"))["state"] == "ended"


def test_only_the_last_notices_are_kept() -> None:
    status = _status(*(Notice(f"number {number}", "n1") for number in range(30)))
    assert status["notices"] == [f"n1: number {number}" for number in range(10, 30)]


def test_copies_are_told_of() -> None:
    status = _status(CopyProgress(4, 1, 10, 40, 0.25, 5.0, 6.0))
    assert status["copies"] == {
        "event": "progress",
        "hosts": 4,
        "complete": 1,
        "bytes": 10,
        "bytes_whole": 40,
        "part": 0.25,
        "bytes_per_s": 5,
        "eta_s": 6.0,
        "behind": [],
        "each": [],
    }


def test_of_each_host_that_gets_a_copy_it_is_known_where_it_stands() -> None:
    """An event has only those of which there is something new."""

    def event(part: float, *each: tuple[str, int]) -> CopyProgress:
        copies = tuple(HostCopy(host, got, 40, 1.0, None, got == 40) for host, got in each)
        return CopyProgress(2, 0, 0, 80, part, 5.0, 6.0, each=copies)

    def stand(*events: CopyProgress) -> dict[str, tuple[int, bool]]:
        copies: Any = _status(*events)["copies"]
        return {each["host"]: (each["bytes"], each["complete"]) for each in copies["each"]}

    first = [event(0.1, ("n1", 1), ("n2", 2)), event(0.5, ("n1", 40))]
    assert stand(*first) == {"n1": (40, True), "n2": (2, False)}
    assert stand(*first, event(1.0), event(0.1, ("n3", 4))) == {"n3": (4, False)}  # the next repository


def test_before_it_began_there_is_nothing_to_tell() -> None:
    status = Standing("ab12").status(1e9)
    assert (status["run"], status["state"], status["elapsed_s"]) == ("ab12", "beginning", 0.0)
    assert (status["hosts"], status["open"]) == (0, [])


def test_what_a_former_root_recorded_counts_once_its_successor_begins() -> None:
    standing = Standing("ab12")
    standing.take(BEGUN[1:])
    assert standing.status(1010.0)["state"] == "beginning"
    standing.take([BEGUN[0], HostUp("n2", "root", 1, 0.6, 1.5)])
    status = standing.status(1010.0)
    assert (status["phases"], status["verdicts"]) == (_status()["phases"], {"ok": 1})
    assert {"host": "n2", "phase": "running", "since_s": 1.6, "parent": "root"} in status["open"]


def test_where_its_swarm_stands() -> None:
    assert _status()["swarm"] is None
    swarm = SwarmProgress((SwarmHost("n1", SwarmState.COMPLETE, 5, 5),), True, 5, 0, 1, 5, serving_on=True)
    found = _status(swarm)["swarm"]
    assert found["serving_on"]  # type: ignore[index]
    assert found["hosts"][0]["state"] == "complete"  # type: ignore[index]


def test_what_hosts_wait_for_is_told_where_it_is_known() -> None:
    standing = Standing("ab12")
    standing.take(BEGUN)
    status = standing.status(1010.0, [Outstanding("n4", 3, "gw", Waits.QUEUE, 0.1234)])
    assert status["open"][-1] == {
        "host": "n4",
        "phase": "out",
        "since_s": 0.0,
        "parent": None,
        "stage": 3,
        "below": "gw",
        "waits": "queue",
        "waits_since_s": 0.123,
    }
    assert "waits" not in status["open"][0]


def test_how_fast_it_goes_on_is_told() -> None:
    standing = Standing("ab12", Pacing(16, None, False))
    standing.take(BEGUN)
    assert standing.status(1010.0)["pace"] == {"parallel": 16, "fanout": None, "paused": False}
    standing.take([Paced("paused", pacing=Pacing(5, 3, True))])
    status = standing.status(1010.0)
    assert status["pace"] == {"parallel": 5, "fanout": 3, "paused": True}
    assert status["notices"] == ["paused"]
