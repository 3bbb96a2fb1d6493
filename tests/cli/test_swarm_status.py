"""Which swarm `nile swarm status` and `nile swarm stop` mean, and what is told of one that is over."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from nile.cli import commands, looking, recorded
from nile.errors import NileError
from nile.events import Code, Event, HostResult, Notice, RunEnded, RunStarted, Verdict
from nile.store import Recorder, RunContext
from nile.store.records import process_identity
from nile.sync.wording import swarm_begins

STARTED = ("nile", "swarm", "start", "-w", "n[1-3]", "image/", "/srv/image")
HOSTS = ("n1", "n2", "n3")
Recording = Callable[..., None]
DEAD = process_identity(os.getpid()).rsplit(" ", 2)[0] + " 1 1"
ELSEWHERE = "another-boot pid:[1] 7 7"


@pytest.fixture
def recording(state: Path) -> Recording:
    """Records a run of that command line; it lives as long as this process does."""

    def record(
        run: str, *more: Event, argv: tuple[str, ...] = STARTED, alive: bool = True, process: str = ""
    ) -> None:
        process = process or (process_identity(os.getpid()) if alive else DEAD)
        context = RunContext(argv, "/", "ada", process)
        with Recorder(state, context, clock=lambda: 1042.0) as recorder:
            recorder.record([RunStarted(run, " ".join(argv), None, HOSTS, (), at=1000.0), *more])

    return record


def nile(*words: str) -> Any:
    return CliRunner().invoke(commands, ["swarm", *words])


def refused(*words: str) -> str:
    more = ("--seed", "5") if words[0] == "limit" else ()
    found = nile(*words, *more).exception
    assert isinstance(found, NileError)
    return str(found)


ENDED = (
    Notice("the swarm served 2 of 3 hosts"),
    HostResult("n1", Verdict.OK),
    HostResult("n2", Verdict.OK),
    HostResult("n3", Verdict.CANCELLED, code=Code.CANCELLED, reason="it was stopped"),
    RunEnded("ab12", {Verdict.OK: 2, Verdict.CANCELLED: 1}, wall_s=42.0),
)


@pytest.mark.parametrize("what", ["status", "stop", "limit"])
class TestWhichOne:
    def test_none_was_ever_begun(self, state: Path, what: str) -> None:
        assert "no run is recorded yet" in refused(what)

    def test_none_is_under_way(self, recording: Recording, what: str) -> None:
        recording("ab12", *ENDED)
        recording("cd34", argv=("nile", "exec", "uptime"))
        recording("ef56", alive=False)
        assert "no swarm is under way" in refused(what)

    def test_several_are(self, recording: Recording, what: str) -> None:
        recording("ab12" * 8)
        recording("cd34" * 8, argv=("nile", "sync", "--method", "swarm", "image/", "/srv/image"))
        said = refused(what)
        assert "2 swarms are under way" in said
        assert "ab12ab12 (nile swarm start" in said
        assert "cd34cd34 (nile sync" in said

    def test_the_only_one_is_meant_though_nobody_answers_for_it_here(
        self, recording: Recording, what: str
    ) -> None:
        recording("ab12")
        recording("cd34", argv=("nile", "sync", "image/", "/srv/image"))
        assert "run ab12: its root doesn't answer" in refused(what)

    def test_one_that_chose_to_be_a_swarm(self, recording: Recording, what: str) -> None:
        recording("ab12", Notice(swarm_begins(60, plain=False)), argv=("nile", "sync", "image/", "/srv"))
        assert "run ab12: its root doesn't answer" in refused(what)
        assert "run ab12: its root doesn't answer" in refused(what, "ab12")

    def test_one_with_any_number_of_runs_since(self, recording: Recording, state: Path, what: str) -> None:
        recording("ab12")
        recording("cd34", RunEnded("cd34"), argv=("nile", "exec", "uptime"))
        columns = "command, argv, directory, user, process, plan, started_at, ended_at"
        with contextlib.closing(sqlite3.connect(state)) as store, store:
            store.execute(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 600)"
                f" INSERT INTO run (name, {columns})"
                f" SELECT 'ef' || i, {columns} FROM run, n WHERE name = 'cd34'"
            )
        assert "run ab12: its root doesn't answer" in refused(what)

    def test_one_that_is_elsewhere(self, recording: Recording, what: str) -> None:
        recording("ab12", process=ELSEWHERE)
        assert "its root is on another machine, or was there before a boot" in refused(what, "ab12")

    def test_one_that_is_no_swarm(self, recording: Recording, what: str) -> None:
        recording("ab12", argv=("nile", "exec", "uptime"))
        assert "run ab12: it is no swarm" in refused(what, "ab12")


class TestOneThatIsOver:
    def test_how_it_ended(self, recording: Recording) -> None:
        recording("ab12", *ENDED)
        said = nile("status", "ab12").output
        assert "run ab12 ended at" in said
        assert "after 42.0 s: 2 of 3 hosts ok, 1 cancelled" in said
        assert "the swarm served 2 of 3 hosts" in said
        assert "n3 (1) cancelled: it was stopped" in said

    def test_the_same_for_programs(self, recording: Recording) -> None:
        recording("ab12", *ENDED)
        (line,) = nile("status", "--json", "ab12").output.splitlines()
        told = json.loads(line)
        assert (told["state"], told["swarm"], told["hosts"]) == ("ended", None, 3)
        assert told["verdicts"] == {"ok": 2, "cancelled": 1}

    def test_who_looks_on_sees_its_end_and_no_more(self, recording: Recording) -> None:
        recording("ab12", *ENDED)
        assert nile("status", "--watch", "ab12").output.count("run ab12 ended at") == 1

    def test_what_hosts_said_gives_a_terminal_no_orders(self, recording: Recording) -> None:
        recording("ab12", Notice("it saw \x1b]0;you\x07", "n1"), *ENDED)
        with recorded.open_store() as store:
            status, lines = looking.end_of(store.run("ab12"))
        assert r"  n1: it saw \x1b]0;you\x07" in lines
        assert status["notices"][0] == "n1: it saw \x1b]0;you\x07"  # for programs, as it is

    def test_one_whose_root_is_dead(self, recording: Recording) -> None:
        recording("ab12", alive=False)
        said = nile("status", "ab12")
        assert "its root is dead, and its hosts end within their lease" in said.output
        assert "3 without a verdict" in said.output

    def test_nobody_can_go_on_with_it_then(self, recording: Recording) -> None:
        recording("ab12", alive=False)
        said = refused("stop", "ab12")
        assert "its root is dead" in said
        assert "nile attach" not in said
        assert "run it again: a run that copies goes on where this one ended" in said

    def test_there_is_nothing_to_stop(self, recording: Recording) -> None:
        recording("ab12", *ENDED)
        assert "it has ended" in refused("stop", "ab12")
