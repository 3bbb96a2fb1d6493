"""A record that another root goes on with: what is in it for that, and who may write it."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from types import MappingProxyType

import pytest

from nile.errors import StoreError, UsageError
from nile.events import HostOutput, HostResult, HostUp, RunEnded, RunGoesOn, Verdict
from nile.options import ExecOptions, Leftover, Limits, OnOrphan, SshOptions, Timeouts
from nile.store import Handover, Recorder, RunContext, Store
from nile.topology.model import HostSpec, Plan, PlanNode, RelayRole
from tests.store import sample

SPEC = HostSpec(
    "n1",
    "10.0.0.1",
    "192.168.0.1",
    SshOptions(user="ada", port=2222, identity=("~/.ssh/id",), options=MappingProxyType({"Ciphers": "x"})),
    relay=RelayRole.ONLY,
    via=("gw",),
    groups=("rack", "all"),
)
PLAN = Plan(
    (PlanNode(1, "gw", 0, 1, False, (2,)), PlanNode(2, "n1", 1, 2, True)),
    {"n1": SPEC, "gw": HostSpec("gw", "gw", "gw")},
    Limits(branches=3, logins=7),
    Timeouts(command_s=1.5),
    "/etc/nile.yaml",
    (PlanNode(3, "spare", 0, 0, False),),
    peering=frozenset({frozenset({"b", "a"}), frozenset({"c"})}),
)
OPTIONS = ExecOptions("echo \udcff", 4, Leftover.FAIL, grace_s=0.5, on_orphan=OnOrphan.FINISH)
HANDOVER = Handover(PLAN, OPTIONS, ("n1",))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


def test_plan_and_options_come_back_as_they_were(path: Path) -> None:
    with Store(path) as store, store.recorder(handover=HANDOVER.dump()) as recorder:
        recorder.record(sample.whole_run()[:-1])
        assert store.handover(store.run("last")) == HANDOVER


def test_once_a_run_ended_nobody_needs_it(path: Path) -> None:
    with Store(path) as store, store.recorder(handover=HANDOVER.dump()) as recorder:
        recorder.record(sample.whole_run())
        assert store.handover(store.run("last")) is None


def test_where_nothing_was_handed_over_there_is_nothing(path: Path) -> None:
    with Store(path) as store, store.recorder() as recorder:
        recorder.record(sample.whole_run())
        assert store.handover(store.run("last")) is None


@pytest.mark.parametrize("text", ["{", "[]", '{"plan": 1}', '{"plan": {"nodes": [{}]}}'])
def test_what_cannot_be_read_is_an_error_that_names_the_file(path: Path, text: str) -> None:
    with Store(path) as store, store.recorder(handover=text) as recorder:
        recorder.record(sample.whole_run()[:-1])
        with pytest.raises(StoreError, match=r"runs\.db: .*can't be read(.|\n)*another version"):
            store.handover(store.run("last"))


def test_the_next_root_writes_on_and_the_former_one_no_more(path: Path) -> None:
    with Store(path) as store, store.recorder() as former, store.recorder() as heir:
        former.record(sample.whole_run()[:-1])
        run = store.run("last")
        heir.take_over(run)
        heir.record([sample.started(), HostOutput("n1", "stdout", 22, b"and on\n")])
        with pytest.raises(StoreError, match="another root has taken this run over"):
            former.record([HostOutput("n1", "stdout", 22, b"lies\n")])
        heir.record([RunEnded(sample.started().run, {}, 9.5)])
        after = store.run("last")
        printed = b"".join(chunk.data for chunk in store.chunks(after, "n1", "stdout"))
    assert printed == b"up 3 days\nsecond line\nand on\n"
    assert (after.key, after.roots, after.wall_s) == (run.key, 2, 9.5)


def test_only_one_takes_over(path: Path) -> None:
    with Store(path) as store, store.recorder() as former, store.recorder() as one, store.recorder() as two:
        former.record(sample.whole_run()[:-1])
        run = store.run("last")
        one.take_over(run)
        with pytest.raises(UsageError, match="just now"):
            two.take_over(run)


def test_a_run_that_ended_is_not_taken_over(path: Path) -> None:
    with Store(path) as store, store.recorder() as former, store.recorder() as heir:
        former.record(sample.whole_run())
        with pytest.raises(UsageError, match="has ended"):
            heir.take_over(store.run("last"))


def test_signs_of_life_and_interrupts_are_noted(path: Path) -> None:
    times = iter([1.0, 2.0, 3.0])
    with Store(path) as store, Recorder(path, clock=lambda: next(times)) as recorder:
        recorder.record([sample.started()])
        assert store.run("last").seen_at == 1.0
        recorder.record([RunGoesOn()])
        assert (store.run("last").seen_at, store.run("last").interrupted) == (2.0, False)
        recorder.record([RunGoesOn(interrupted=True)])
        assert (store.run("last").seen_at, store.run("last").interrupted) == (3.0, True)


def test_where_streams_end(path: Path) -> None:
    with Store(path) as store, store.recorder() as recorder:
        recorder.record(sample.whole_run())
        assert store.received(store.run("last")) == {"n1": (22, 0), "n2": (0, 11)}


def test_a_gateway_that_was_called_up_is_in_the_record(path: Path) -> None:
    with Store(path) as store, store.recorder(RunContext()) as recorder:
        recorder.record([sample.started(), HostUp("spare", "root", 1, 0.1, 0.2)])
        hosts = {host.host: host for host in store.hosts(store.run("last"))}
    assert (hosts["spare"].asked, hosts["spare"].parent, hosts["spare"].stage) == (False, "root", 1)


def test_a_store_of_the_first_schema_is_brought_up_to_date(path: Path) -> None:
    with Store(path) as store, store.recorder() as recorder:
        recorder.record(sample.whole_run())
    with sqlite3.connect(path) as db:
        for column in ("handover", "roots", "seen_at", "settings"):
            db.execute(f"ALTER TABLE run DROP COLUMN {column}")
        for column in ("peer", "command"):
            db.execute(f"ALTER TABLE host DROP COLUMN {column}")
        db.execute("DROP INDEX output_blob")
        db.execute("ALTER TABLE output DROP COLUMN blob")
        db.execute("DROP TABLE blob")
        db.execute("DROP TABLE script")
        db.execute("UPDATE meta SET value = '1' WHERE name = 'schema'")
    db.close()
    with Store(path) as store, store.recorder() as recorder:
        run = store.run("last")
        assert (run.roots, run.seen_at, store.handover(run)) == (1, None, None)
        assert run.settings == {}
        assert store.results(run) == [sample.OK, sample.FAILED, sample.UNREACHABLE]
        recorder.record([sample.started("5eed0002"), HostResult("n1", Verdict.OK, peer="libtorrent 2.1.1")])
    with Store(path) as store:
        assert [run.run for run in store.runs()] == ["5eed0002", "5eed0001"]
        assert [result.peer for result in store.results(store.run("last"))] == ["libtorrent 2.1.1"]
