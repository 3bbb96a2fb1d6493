"""Whether there is anything left of a run that a new root could go on with."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from nile.controller import check_attachable, heritage
from nile.errors import UsageError
from nile.events import HostOutput, HostStarted, HostUp
from nile.options import ExecOptions, OnOrphan, Timeouts
from nile.store import Handover, Recorder, RunContext, Store
from nile.store.records import process_identity
from tests.controller.puppet import PLAN
from tests.store import sample

AT = 1000.0
DEAD = process_identity(os.getpid()).rsplit(" ", 2)[0] + " 1 1"
ELSEWHERE = "another-boot pid:[1] 7 7"
OPTIONS = ExecOptions("uptime")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "runs.db") as store:
        yield store


def recorded(
    store: Store,
    options: ExecOptions | None = OPTIONS,
    process: str = DEAD,
    lease_s: float = 30.0,
    *,
    whole: bool = False,
) -> None:
    """A run that began at `AT`, and of which nothing more was heard."""
    plan = replace(PLAN, timeouts=Timeouts(lease_s=lease_s))
    handover = Handover(plan, options, ("n1",)).dump() if options else ""
    context = RunContext(process=process)
    with Recorder(store.path, context, handover, clock=lambda: AT) as recorder:
        recorder.record(sample.whole_run() if whole else [sample.started(at=AT)])


def refused(store: Store, now: float) -> str:
    with pytest.raises(UsageError) as caught:
        check_attachable(store, store.run("last"), now)
    assert caught.value.remedy
    return str(caught.value)


def test_a_run_whose_root_died_within_its_lease(store: Store) -> None:
    recorded(store)
    assert check_attachable(store, store.run("last"), AT + 30.0).exec == OPTIONS


def test_one_that_ended(store: Store) -> None:
    recorded(store, whole=True)
    assert "it has ended" in refused(store, AT + 1.0)


def test_one_whose_root_lives(store: Store) -> None:
    recorded(store, process=process_identity(os.getpid()))
    assert "its root is alive" in refused(store, AT + 1.0)


def test_one_whose_root_lives_elsewhere_as_far_as_anybody_knows(store: Store) -> None:
    recorded(store, process=ELSEWHERE)
    assert "sign of life 3 s ago" in refused(store, AT + 3.0)
    assert check_attachable(store, store.run("last"), AT + 13.0)


def test_one_whose_lease_is_over(store: Store) -> None:
    recorded(store)
    assert "live on for 30 s" in refused(store, AT + 60.0)


def test_one_whose_commands_finish_has_no_lease(store: Store) -> None:
    recorded(store, replace(OPTIONS, on_orphan=OnOrphan.FINISH))
    assert check_attachable(store, store.run("last"), AT + 6000.0)


def test_one_whose_commands_end_with_their_root(store: Store) -> None:
    recorded(store, replace(OPTIONS, on_orphan=OnOrphan.KILL))
    assert "on-orphan kill" in refused(store, AT + 1.0)


def test_one_that_reads_standard_input(store: Store) -> None:
    recorded(store, replace(OPTIONS, stdin=True))
    assert "standard input" in refused(store, AT + 1.0)


def test_one_that_copied(store: Store) -> None:
    recorded(store, None)
    assert "only runs of commands" in refused(store, AT + 1.0)


def test_what_is_known_of_the_hosts(store: Store) -> None:
    recorded(store)
    with Recorder(store.path) as recorder:
        recorder.take_over(store.run("last"))
        recorder.record(
            [
                HostUp("n1", "gw", 2, 0.1, 0.2),
                HostStarted("n1", 0.3),
                HostOutput("n1", "stderr", 0, b"abc"),
                sample.FAILED,
            ]
        )
    found = heritage(store, store.run("last"), AT + 12.5)
    one, two = found.hosts["n1"], found.hosts["n2"]
    assert (found.roots, found.elapsed_s) == (2, 12.5)
    assert (one.parent, one.t_ready_s, one.started, one.verdict, one.received) == (
        "gw",
        0.2,
        True,
        None,
        (0, 3),
    )
    assert (two.verdict, two.t_ready_s) == (sample.FAILED.verdict, None)
