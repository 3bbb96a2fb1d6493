"""The engine drives nine hosts in two stages: real agents, with local shells in place of ssh."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from nile.cascade import Errand, Publish, Ticked
from nile.cascade.work import NoJob
from nile.controller import Engine
from nile.controller.engine import SLEPT_S
from nile.errors import TakenOverError
from nile.events import (
    Code,
    Decision,
    Event,
    HostOutput,
    HostResult,
    HostStarted,
    Notice,
    RunEnded,
    RunStarted,
    Verdict,
)
from nile.options import ExecOptions, Limits, Pacing, Timeouts
from nile.topology.model import ROOT_ID
from nile.transport.base import LoginFailed
from tests.agent.parent import wait_until
from tests.controller.local_run import NAMES, engine, output, processes_of, verdicts


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The home directory of all hosts; in the end nothing that has it is alive."""
    return tmp_path


def all_gone(home: Path) -> None:
    wait_until(lambda: not processes_of(home), "the end of all processes")


def test_a_pace_that_comes_too_late_is_refused(home: Path) -> None:
    run, answers = engine(home, "sleep 60"), list[str]()
    for event in run.events():
        if isinstance(event, HostStarted) and not answers:
            answers.append(run.steer(Pacing(paused=True)))
            run.interrupt(0.2)
            answers.append(run.steer(Pacing(paused=False)))
    assert answers[0] == ""
    assert "it is ending" in answers[1]
    all_gone(home)


def test_who_asks_when_it_is_over_is_answered_at_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = engine(home, "true")
    list(run.events())
    monkeypatch.setattr("nile.controller.engine.ANSWER_S", "whoever waits fails")
    assert run.steer(Pacing(paused=True)) == "it has just ended"
    assert run.outstanding() == []


def test_every_host_runs_it_once(home: Path) -> None:
    command = 'echo "$NILE_HOST $NILE_PARENT $NILE_STAGE $NILE_RANK/$NILE_COUNT"; echo $$ >> ran.$NILE_HOST'
    events = list(engine(home, command).events())
    assert isinstance(events[0], RunStarted)
    assert isinstance(events[-1], RunEnded)
    assert events[-1].counts[Verdict.OK] == 9
    assert verdicts(events) == dict.fromkeys(NAMES, Verdict.OK)
    assert output(events, "h1") == b"h1 root 1 0/9\n"
    assert output(events, "h8") == b"h8 h2 2 7/9\n"
    assert [len((home / f"ran.{name}").read_text().splitlines()) for name in NAMES] == [1] * 9
    paths = {event.host: event.path for event in events if isinstance(event, HostResult)}
    assert paths["h8"] == ("root", "h2", "h8")
    all_gone(home)


def test_what_is_seen_is_in_the_store(home: Path) -> None:
    recorded: list[Event] = []
    for event in engine(home, "echo here", record=recorded.extend).events():
        assert event in recorded
    assert isinstance(recorded[-1], RunEnded)


def test_large_output_of_all(home: Path) -> None:
    size = 3_000_000
    command = f"head -c {size} /dev/zero | tr '\\0' x; head -c 500000 /dev/zero >&2"
    events = list(engine(home, command).events())
    assert verdicts(events) == dict.fromkeys(NAMES, Verdict.OK)
    for name in NAMES:
        assert output(events, name) == b"x" * size
        assert output(events, name, "stderr") == bytes(500_000)


def test_one_at_a_time(home: Path) -> None:
    command = "mkdir lock || exit 9; sleep 0.05; rmdir lock"
    events = list(engine(home, ExecOptions(command, fanout=1)).events())
    assert verdicts(events) == dict.fromkeys(NAMES, Verdict.OK)
    order = [event.host for event in events if isinstance(event, HostStarted | HostResult)]
    assert order[::2] == order[1::2]  # each has ended before the next begins


def test_a_relay_that_was_not_asked(home: Path) -> None:
    events = list(engine(home, "echo $NILE_HOST; touch ran.$NILE_HOST", not_asked=["h2"]).events())
    assert set(verdicts(events)) == set(NAMES) - {"h2"}
    assert isinstance(events[0], RunStarted)
    assert events[0].relays == ("h2",)
    assert not (home / "ran.h2").exists()


def test_a_relay_that_refuses_the_login_costs_only_its_own_verdict(home: Path) -> None:
    """What was planned below it gets another parent."""
    refuse = {"h2": LoginFailed(Code.HOST_KEY_CHANGED, "the key of h2 has changed")}
    events = list(engine(home, "true", refuse=refuse).events())
    found = verdicts(events)
    assert found == {**dict.fromkeys(NAMES, Verdict.OK), "h2": Verdict.UNREACHABLE}
    results = {event.host: event for event in events if isinstance(event, HostResult)}
    assert (results["h2"].code, results["h2"].reason) == (Code.HOST_KEY_CHANGED, "the key of h2 has changed")
    assert {results[name].path[:-1] for name in ("h5", "h8")} <= {("root",), ("root", "h1"), ("root", "h3")}
    assert isinstance(events[-1], RunEnded)


def test_failures_of_commands(home: Path) -> None:
    command = "case $NILE_HOST in h4) exit 7;; h5) kill -9 $$;; esac"
    results = {event.host: event for event in engine(home, command).events() if isinstance(event, HostResult)}
    assert (results["h4"].verdict, results["h4"].rc) == (Verdict.FAILED, 7)
    assert (results["h5"].verdict, results["h5"].signal) == (Verdict.FAILED, 9)
    assert [results[name].verdict for name in NAMES].count(Verdict.OK) == 7


def test_a_time_out(home: Path) -> None:
    timeouts = Timeouts(lease_s=10.0, command_s=0.5)
    command = ExecOptions("echo begun; trap '' TERM; sleep 600 & sleep 600", grace_s=0.3)
    events = list(engine(home, command, timeouts=timeouts).events())
    assert verdicts(events) == dict.fromkeys(NAMES, Verdict.TIMEOUT)
    assert output(events, "h9") == b"begun\n"
    all_gone(home)


@pytest.mark.parametrize("times", [1, 2])
def test_interrupted(home: Path, times: int) -> None:
    """Once: they get their grace. Twice: none."""
    grace_s = 1.0 if times == 1 else 600.0
    command = ExecOptions("echo begun; trap '' TERM; while :; do sleep 0.1; done", grace_s=grace_s)
    run, events, begun = engine(home, command), [], 0
    at = 0.0
    for event in run.events():
        events.append(event)
        begun += isinstance(event, HostOutput)
        if begun == 9 and not at:
            at = time.monotonic()
            run.interrupt(grace_s)
            if times == 2:
                run.interrupt(0.0)
    assert verdicts(events) == dict.fromkeys(NAMES, Verdict.CANCELLED)
    assert isinstance(events[-1], RunEnded)
    assert events[-1].interrupted
    took_s = time.monotonic() - at
    assert took_s >= 1.0 if times == 1 else took_s < 60.0
    all_gone(home)


def test_interrupted_before_it_begins(home: Path) -> None:
    run = engine(home, "touch ran.$NILE_HOST")
    run.interrupt(0.0)
    events = list(run.events())
    assert verdicts(events) == dict.fromkeys(NAMES, Verdict.CANCELLED)
    assert not list(home.glob("ran.*"))


def test_a_caller_that_stops_listening_ends_the_run(home: Path) -> None:
    events = engine(home, "echo begun; sleep 600").events()
    for event in events:
        if isinstance(event, HostOutput):
            break
    events.close()  # type: ignore[attr-defined]
    all_gone(home)


def test_a_store_that_fails_ends_no_command(home: Path) -> None:
    """The commands matter more than their record: a full disk at the root must not end a fleet's work."""

    def record(events: Sequence[Event]) -> None:
        if any(isinstance(event, HostStarted) for event in events):
            raise OSError("no space left on device")

    run = engine(home, "echo done", record=record)
    seen: list[Event | None] = []

    def look() -> None:
        for event in run.events():
            seen.append(event)  # noqa: PERF402  (what came before the error counts)

    with pytest.raises(OSError, match="no space"):
        look()
    results = [event for event in seen if isinstance(event, HostResult)]
    assert results
    assert {result.verdict for result in results} == {Verdict.OK}
    assert isinstance(seen[-1], RunEnded)
    assert any(isinstance(event, Notice) and "no space" in event.text for event in seen)
    all_gone(home)


class Decides(NoJob):
    """Decides something at once, and notes what is in the store when it hears that this is there."""

    def __init__(self, store: list[Event]) -> None:
        self._store = store
        self.heard_of: list[tuple[int, object, object, bool]] = []

    def begin(self, *_: object) -> tuple[Errand, ...]:
        return (Publish(Decision("left", number=7)),)

    def heard(self, *told: object) -> tuple[Errand, ...]:
        node_id, message, _ = told
        assert isinstance(node_id, int)
        assert isinstance(message, dict)
        stored = any(isinstance(event, Decision) for event in self._store)
        self.heard_of.append((node_id, message["n"], message.get("code"), stored))
        return ()


def test_a_job_hears_of_its_decision_once_that_is_in_the_store(home: Path) -> None:
    store: list[Event] = []
    job = Decides(store)

    def record(events: Sequence[Event]) -> None:
        time.sleep(0.01)
        store.extend(events)

    list(engine(home, "true", record=record, job=lambda _: job).events())
    assert job.heard_of == [(ROOT_ID, 7, None, True)]


def test_or_that_it_cannot_be_there(home: Path) -> None:
    job = Decides([])

    def record(events: Sequence[Event]) -> None:
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        list(engine(home, "true", record=record, job=lambda _: job).events())
    assert job.heard_of == [(ROOT_ID, 7, "store", False)]


def test_a_bug_in_a_decision_ends_the_run_with_its_error(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = engine(home, "echo begun; sleep 600", timeouts=Timeouts(lease_s=2.0))  # its hosts are told nothing
    apply = run._cascade.apply

    def broken(event: object, now: float) -> object:
        if type(event).__name__ == "Committed":
            raise ZeroDivisionError("a bug")
        return apply(event, now)  # type: ignore[arg-type]

    monkeypatch.setattr(run._cascade, "apply", broken)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        list(run.events())
    all_gone(home)


def test_a_caller_that_is_slow_costs_no_host_its_lease(home: Path) -> None:
    """While nobody looks, heartbeats go on; output stops at the windows and comes later."""
    timeouts = Timeouts(lease_s=1.5)
    command = "head -c 2000000 /dev/zero; sleep 2"
    events, paused = [], False
    for event in engine(home, command, timeouts=timeouts).events():
        events.append(event)
        if isinstance(event, HostOutput) and not paused:
            paused = True
            time.sleep(4.0)  # longer than lease and grace
    assert verdicts(events) == dict.fromkeys(NAMES, Verdict.OK)
    assert all(len(output(events, name)) == 2_000_000 for name in NAMES)


def test_standard_input_for_all(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytes(range(256)) * 3000
    given, give = os.pipe()
    writer = threading.Thread(target=_write, args=(give, data))
    writer.start()
    with os.fdopen(given) as stdin, monkeypatch.context() as patched:
        patched.setattr(sys, "stdin", stdin)
        events = list(engine(home, ExecOptions("cat", stdin=True)).events())
    writer.join()
    assert verdicts(events) == dict.fromkeys(NAMES, Verdict.OK)
    assert all(output(events, name) == data for name in NAMES)


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]
    os.close(fd)


def test_limits_of_logins(home: Path) -> None:
    limits = Limits(parallel=1, logins=1)
    assert verdicts(list(engine(home, "true", limits=limits).events())) == dict.fromkeys(NAMES, Verdict.OK)


def test_idle_ticks(home: Path) -> None:
    events = list(engine(home, "sleep 0.5").events(idle_s=0.05))
    assert None in events
    assert verdicts(events) == dict.fromkeys(NAMES, Verdict.OK)


def test_a_root_that_slept_asks_first_whether_the_run_is_still_its_own(home: Path) -> None:
    """Another one has taken it over: nothing more is said to any host, and what runs waits for its lease."""

    def check() -> None:
        raise TakenOverError("another root has it")

    run = engine(home, ExecOptions("echo begun; sleep 60"), timeouts=Timeouts(lease_s=3.0))
    run._options = replace(run._options, check_ours=check)
    events: list[Event | None] = []

    def follow() -> None:
        for event in run.events(0.05):
            events.append(event)
            if [type(each) for each in events].count(HostOutput) == 9:
                run._awake_at -= 2 * SLEPT_S

    with pytest.raises(TakenOverError):
        follow()
    assert verdicts(events) == {}
    all_gone(home)


class Suspended(NoJob):
    """Its root is suspended for a minute while it begins: notes what it hears of that, and later."""

    def __init__(self) -> None:
        self.run: Engine | None = None
        self.heard_of: list[float | str] = []

    def begin(self, *_: object) -> tuple[Errand, ...]:
        assert self.run is not None
        self.run._asleep_s -= 60.0
        self.run._inbox.append((Ticked(), None))  # it has happened already
        return (Publish(Decision("left", number=7)),)

    def heard(self, *_: object) -> tuple[Errand, ...]:
        self.heard_of.append("the decision")
        return ()

    def tick(self, *_: object) -> tuple[Errand, ...]:
        self.heard_of += ["a tick"] * ("a tick" not in self.heard_of)
        return ()

    def missed(self, seconds: float) -> None:
        self.heard_of.append(round(seconds))


def test_a_job_hears_first_that_the_machine_was_suspended(home: Path) -> None:
    """Then the clock of the run stood still too, and those of hosts went on."""
    job = Suspended()
    job.run = engine(home, "true", job=lambda _: job)
    list(job.run.events())
    assert (job.heard_of[0], set(job.heard_of)) == (60, {60, "a tick", "the decision"})
