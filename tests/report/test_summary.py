"""The summary names every host that isn't ok, with reason and remedy, folded."""

from __future__ import annotations

import pytest

from nile.events import Code, Event, HostResult, Leftover, Notice, RunEnded, Verdict
from nile.report import Summary
from nile.report.wording import duration, plural, reason
from tests.report.screens import Caught


def summary(*events: Event, quiet: bool = False, terminal: bool = False) -> list[str]:
    caught = Caught(terminal=terminal, colour=terminal)
    renderer = Summary(caught.screen, quiet=quiet)
    for event in events:
        renderer.handle(event)
    renderer.finish()
    assert caught.out == b""
    return caught.err.decode().splitlines()


def refused(host: str, *path: str) -> HostResult:
    return HostResult(
        host,
        Verdict.UNREACHABLE,
        code=Code.REFUSED,
        reason="connection refused",
        remedy="start sshd",
        path=path,
    )


def exited(host: str, status: int) -> HostResult:
    return HostResult(host, Verdict.FAILED, rc=status, code=Code.EXIT)


END = RunEnded("5eed0001", {Verdict.OK: 7, Verdict.FAILED: 2, Verdict.UNREACHABLE: 1}, 2.4)


def test_counts_wall_and_run_end_it() -> None:
    assert summary(END) == ["nile: 7 of 10 hosts ok, 2 failed, 1 unreachable, in 2.40 s (run 5eed0001)"]


def test_an_interrupted_run_says_so() -> None:
    ended = RunEnded("5eed", {Verdict.CANCELLED: 1}, 100.0, interrupted=True)
    assert summary(ended) == ["nile: 0 of 1 host ok, 1 cancelled, interrupted, in 1 min 40 s (run 5eed)"]


def test_hosts_that_fail_alike_are_one_entry() -> None:
    lines = summary(exited("n1", 3), exited("n3", 1), exited("n2", 3), HostResult("n4", Verdict.OK, rc=0))
    assert lines == ["nile: failed: n[1-2] (2): exit status 3", "nile: failed: n3 (1): exit status 1"]


def test_hosts_that_went_away_as_they_were_to_are_named() -> None:
    away = [HostResult(f"n{n}", Verdict.OK, code=Code.GONE_AWAY, reason=f"gone after {n} s") for n in (1, 2)]
    back = [HostResult(f"n{n}", Verdict.OK, code=Code.REBOOTED, reason=f"after {n} s") for n in (3, 4, 5)]
    assert summary(*away, *back, HostResult("n6", Verdict.OK, rc=0)) == [
        "nile: booted anew, and back: n[3-5] (3)",
        "nile: went away after the start: n[1-2] (2)",
    ]
    assert summary(*away, *back, quiet=True) == []


def test_reason_remedy_and_the_relay_before_them_are_named() -> None:
    lines = summary(refused("n1", "root", "gw1"), refused("n2", "root", "gw2", "n2"), refused("n3", "root"))
    assert lines == [
        "nile: unreachable: n[1-3] (3): connection refused, by way of gw[1-2]",
        "  start sshd",
    ]


def test_reasons_that_differ_by_addresses_are_one_entry() -> None:
    def away(host: str, reason: str) -> HostResult:
        return HostResult(host, Verdict.UNREACHABLE, code=Code.NO_ROUTE, reason=reason)

    told = "ssh: connect to host 10.0.0.1 port 22: No route to host"
    assert summary(away("n1", told)) == [f"nile: unreachable: n1 (1): {told}"]
    lines = summary(away("n1", told), away("n2", "no way to 10.0.0.2 port 22"))
    assert lines == ["nile: unreachable: n[1-2] (2): no route to it"]


def test_verdicts_stand_in_a_fixed_order() -> None:
    lines = summary(refused("n9", "root"), exited("n1", 1))
    assert [line.split(":")[1] for line in lines if line.startswith("nile")] == [" failed", " unreachable"]


def test_quiet_leaves_only_hosts_that_are_not_ok() -> None:
    left = HostResult("n5", Verdict.OK, rc=0, leftover=(Leftover(7, "sleep"),))
    lines = summary(Notice("something"), left, exited("n1", 2), END, quiet=True)
    assert lines == ["nile: failed: n1 (1): exit status 2"]


def test_what_a_command_left_running_is_named() -> None:
    left = (Leftover(7, "sleep"),)
    one = summary(HostResult("n1", Verdict.OK, rc=0, leftover=left))
    assert one == ["nile: left running: n1 (1): sleep (pid 7)"]
    two = summary(*(HostResult(host, Verdict.OK, rc=0, leftover=left) for host in ("n1", "n2")))
    assert two == ["nile: left running: n[1-2] (2): sleep"]
    many = tuple(Leftover(number, f"p{number}") for number in range(5))
    assert summary(HostResult("n1", Verdict.OK, rc=0, leftover=many))[0].endswith(
        "p0 (pid 0), p1 (pid 1), p2 (pid 2), and 2 more"
    )


def test_what_was_killed_behind_a_command_is_told_apart_and_folded() -> None:
    left = (Leftover(7, "sleep"), Leftover(8, "gone", killed=True))
    one = summary(HostResult("n1", Verdict.OK, rc=0, leftover=left))
    assert one == [
        "nile: left running: n1 (1): sleep (pid 7)",
        "nile: left behind, and killed: n1 (1): gone (pid 8)",
    ]
    killed = left[1:]
    failed = HostResult("n2", Verdict.FAILED, rc=1, leftover=killed)
    two = summary(HostResult("n1", Verdict.OK, rc=0, leftover=killed), failed)
    assert two[1:] == ["nile: left behind, and killed: n[1-2] (2): gone"]


@pytest.mark.parametrize("verdict", [Verdict.TIMEOUT, Verdict.CANCELLED])
def test_that_a_command_was_killed_is_told_once(verdict: Verdict) -> None:
    killed = (Leftover(8, "sleep", killed=True),)
    assert len(summary(HostResult("n1", verdict, reason="it was killed", leftover=killed))) == 1


def test_of_what_was_killed_one_host_tells_numbers_and_many_the_commonest_names() -> None:
    def timed_out(host: str, *names: str) -> HostResult:
        left = tuple(Leftover(pid, name, killed=True) for pid, name in enumerate(names, 4711))
        return HostResult(host, Verdict.TIMEOUT, reason="killed (seen dead)", leftover=left)

    assert summary(timed_out("n1", "sh", "sleep")) == [
        "nile: timed out: n1 (1): killed (seen dead): sh (pid 4711), sleep (pid 4712)"
    ]
    many = [timed_out(f"n{number}", "sh", "sleep", f"x{number}", "sleep") for number in range(1, 601)]
    (line,) = summary(*many)
    assert line == "nile: timed out: n[1-600] (600): killed (seen dead): sh, sleep, x1, and 599 more"
    assert summary(timed_out("n1", *"abcde"))[0].endswith("c (pid 4713), and 2 more")
    assert summary(timed_out("n1", "\x1b[2J"))[0].endswith("\\x1b[2J (pid 4711)")


def test_what_outlived_sigkill_is_told_apart() -> None:
    left = (Leftover(7, "sudo", survived=True), Leftover(8, "sh", killed=True))
    lines = summary(HostResult("n1", Verdict.TIMEOUT, reason="not all of it died", leftover=left))
    assert lines == [
        "nile: timed out: n1 (1): not all of it died: sh (pid 8)",
        "nile: still there after SIGKILL: n1 (1): sudo (pid 7)",
    ]


@pytest.mark.parametrize("terminal", [False, True])
def test_what_a_node_says_never_acts_on_a_terminal(terminal: bool) -> None:
    evil = HostResult(
        "n1", Verdict.LOST, reason="gone\x1b[2J\r", remedy="none\x9b", leftover=(Leftover(1, "\x07"),)
    )
    text = "\n".join(summary(evil, Notice("\x1b]0;x", "n1\x7f"), terminal=terminal))
    assert "gone\\x1b[2J\\x0d" in text
    assert not set(text.replace("\x1b[31m", "").replace("\x1b[0m", "")) & set("\x1b\r\x07\x7f\x9b")


def test_notices_come_at_once() -> None:
    caught = Caught()
    Summary(caught.screen).handle(Notice("a frame was dropped", "n2"))
    assert caught.order.getvalue() == b"nile: n2: a frame was dropped\n"


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (HostResult("n", Verdict.FAILED, rc=3), "exit status 3"),
        (HostResult("n", Verdict.FAILED, signal=9), "killed by SIGKILL"),
        (HostResult("n", Verdict.FAILED, signal=99), "killed by signal 99"),
        (HostResult("n", Verdict.LOST, code=Code.LINK), "link"),
        (HostResult("n", Verdict.TIMEOUT), "timed out"),
        (HostResult("n", Verdict.FAILED, rc=3, reason="as said"), "as said"),
    ],
)
def test_every_verdict_has_a_reason(result: HostResult, words: str) -> None:
    assert reason(result) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.844, "0.84 s"), (12.34, "12.3 s"), (99.96, "1 min 40 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")],
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_plural() -> None:
    assert (plural(1, "host"), plural(2, "host"), plural(0, "host")) == ("1 host", "2 hosts", "0 hosts")


def test_by_what_hosts_of_a_swarm_got_their_files_is_folded() -> None:
    def by(peer: str, *hosts: str) -> list[HostResult]:
        return [HostResult(host, Verdict.OK, peer=peer) for host in hosts]

    results = by("libtorrent 2.1.1", "n1", "n2") + by("rsync", "n5") + by("libtorrent 2.1.1, carried", "n3")
    said = "by libtorrent 2.1.1 to n[1-2] (2), by libtorrent 2.1.1, carried to n3 (1), by rsync to n5 (1)"
    assert summary(*results, *by("", "n9")) == [f"nile: files came {said}"]
    assert summary(*results, quiet=True) == []
