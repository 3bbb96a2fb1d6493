"""What is recorded is read back as it was, and only once."""

from __future__ import annotations

import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from nile.errors import BugError, StoreError, UsageError
from nile.events import Decision, HostOutput, HostResult, HostStarted, Notice, RunStarted, Verdict
from nile.store import Recorder, RunContext, RunState, Store
from nile.store.recorder import MAX_CHUNK
from tests.store import sample


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "nile" / "runs.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with Store(path) as store:
        yield store


@pytest.fixture
def recorder(store: Store) -> Iterator[Recorder]:
    with store.recorder() as recorder:
        yield recorder


def stdout(store: Store, host: str = "n1") -> bytes:
    return b"".join(chunk.data for chunk in store.chunks(store.run("last"), host, "stdout"))


def test_a_run_is_read_back_as_it_was(store: Store) -> None:
    context = RunContext(("nile", "exec"), "/root", "ada", "", '{"nodes": []}')
    with Recorder(store.path, context, clock=lambda: 1002.5) as recorder:
        recorder.record(sample.whole_run())
    run = store.run("last")
    assert (run.run, run.command, run.routes, run.context) == (
        "5eed0001",
        "uptime",
        "/etc/nile.yaml",
        context,
    )
    assert (run.started_at, run.ended_at, run.wall_s) == (1000.0, 1002.5, 1.5)
    assert (run.state, run.hosts, run.relays, run.without_verdict) == (RunState.ENDED, 3, 1, 0)
    assert run.counts == {Verdict.OK: 1, Verdict.FAILED: 1, Verdict.UNREACHABLE: 1}


@pytest.mark.parametrize("reads", [False, True])
def test_a_decision_is_on_the_disk_when_it_is_recorded(
    store: Store, recorder: Recorder, path: Path, reads: bool
) -> None:
    """Its commit brings the log to the disk, whoever still reads what was there before."""
    said: list[str] = []
    recorder._db.set_trace_callback(lambda text: said.append(text) if text.startswith(KEPT) else None)
    recorder.record([*sample.whole_run()[:1], Notice("a word by the way")])
    assert said == ["BEGIN IMMEDIATE", "COMMIT"]
    with closing(sqlite3.connect(path)) as reader:
        if reads:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM run").fetchall()
        said.clear()
        recorder.record([Notice("another"), Decision("what is to be", number=3)])
    usual = "PRAGMA synchronous = 1"
    assert said == [*FORCED, "BEGIN IMMEDIATE", "COMMIT", usual]
    kept = [notice.text for notice in store.notices(store.run("last"))]
    assert kept == ["a word by the way", "another", "what is to be"]


KEPT = ("PRAGMA synchronous", "BEGIN", "COMMIT", "ROLLBACK")
FORCED = ("PRAGMA synchronous", "PRAGMA synchronous = FULL")


def test_what_comes_after_a_decision_that_failed_is_not_forced(recorder: Recorder) -> None:
    recorder.record(sample.whole_run()[:1])
    with pytest.raises(BugError):
        recorder.record([Decision("what is to be", number=3), HostStarted("nobody", 1.0)])
    assert recorder._db.execute("PRAGMA synchronous").fetchone() == (1,)


def test_every_field_of_a_verdict_is_kept(store: Store, recorder: Recorder) -> None:
    recorder.record(sample.whole_run())
    assert store.results(store.run("last")) == [sample.OK, sample.FAILED, sample.UNREACHABLE]


def test_hosts_without_a_verdict_and_relays_are_there_too(store: Store, recorder: Recorder) -> None:
    recorder.record(sample.whole_run()[:4])
    by_name = {host.host: host for host in store.hosts(store.run("last"))}
    assert list(by_name) == ["n1", "n2", "n3", "gw"]
    assert all(host.result is None for host in by_name.values())
    assert (by_name["gw"].asked, by_name["gw"].parent, by_name["gw"].stage) == (False, "root", 1)
    assert (by_name["n1"].asked, by_name["n1"].t_ready_s, by_name["n1"].t_start_s) == (True, 0.5, 0.6)
    assert store.run("last").without_verdict == 3


def test_output_is_kept_byte_for_byte_and_in_the_order_of_arrival(store: Store, recorder: Recorder) -> None:
    recorder.record(sample.whole_run())
    run = store.run("last")
    assert stdout(store) == b"up 3 days\nsecond line\n"
    assert [(chunk.host, chunk.stream, chunk.data) for chunk in store.output(run)] == [
        ("n1", "stdout", b"up 3 days\n"),
        ("n2", "stderr", b"\xff\x00 not text"),
        ("n1", "stdout", b"second line\n"),
    ]
    assert [chunk.host for chunk in store.output(run, frozenset({"n2", "gw"}))] == ["n2"]
    assert list(store.output(run, frozenset())) == []


def test_output_that_comes_again_is_kept_once(store: Store, recorder: Recorder) -> None:
    recorder.record([sample.started(), HostOutput("n1", "stdout", 0, b"abcd")])
    recorder.record([HostOutput("n1", "stdout", 0, b"abcd"), HostOutput("n1", "stdout", 2, b"cdef")])
    assert stdout(store) == b"abcdef"
    assert store.notices(store.run("last")) == []


def test_a_gap_is_reported_and_what_follows_is_kept(store: Store, recorder: Recorder) -> None:
    recorder.record([sample.started(), HostOutput("n1", "stdout", 0, b"ab")])
    recorder.record([HostOutput("n1", "stdout", 5, b"fg")])
    (notice,) = store.notices(store.run("last"))
    assert (notice.host, notice.text) == ("n1", "3 bytes of stdout are missing, from byte 2 on")
    assert [chunk.offset for chunk in store.chunks(store.run("last"), "n1", "stdout")] == [0, 5]


def test_neighbouring_chunks_become_one_row(store: Store, recorder: Recorder) -> None:
    parts = [HostOutput("n1", "stdout", at, b"x") for at in range(10)]
    recorder.record([sample.started(), *parts, HostStarted("n1", 0.1), HostOutput("n1", "stdout", 10, b"y")])
    assert [chunk.data for chunk in store.output(store.run("last"))] == [b"x" * 10, b"y"]


def test_a_large_chunk_is_cut_so_that_reading_needs_little_memory(store: Store, recorder: Recorder) -> None:
    data = bytes(range(256)) * (MAX_CHUNK // 128)
    recorder.record([sample.started(), HostOutput("n1", "stdout", 0, data + b"end")])
    chunks = list(store.chunks(store.run("last"), "n1", "stdout"))
    assert [len(chunk.data) for chunk in chunks] == [MAX_CHUNK, MAX_CHUNK, 3]
    assert stdout(store) == data + b"end"


def test_reading_is_bounded_and_says_what_it_left_out(store: Store, recorder: Recorder) -> None:
    rows = [HostOutput("n1", "stdout", 3 * at, b"abc") for at in range(100)]
    recorder.record([sample.started()])
    for row in rows:
        recorder.record([row])
    read = store.output_reader("5eed0001")
    assert read("n1", "stdout", 4) == (b"abca", True)
    assert read("n1", "stdout", 299) == ((b"abc" * 100)[:299], True)
    assert read("n1", "stdout", 300) == (b"abc" * 100, False)
    assert read("n1", "stderr", 300) == (b"", False)
    assert b"".join(store.chunk_reader("5eed0001")("n1", "stdout")) == b"abc" * 100
    assert [chunk.offset for chunk in store.output(store.run("last"))] == list(range(0, 300, 3))


def test_a_verdict_is_final(store: Store, recorder: Recorder) -> None:
    recorder.record(sample.whole_run())
    recorder.record([HostResult("n1", Verdict.LOST, reason="the link broke")])
    assert store.results(store.run("last"))[0] == sample.OK
    assert store.notices(store.run("last"))[-1].text == "a later verdict, lost: the link broke"


def test_a_batch_is_recorded_whole_or_not_at_all(store: Store, recorder: Recorder) -> None:
    recorder.record([sample.started()])
    with pytest.raises(BugError, match="nobody"):
        recorder.record([HostOutput("n1", "stdout", 0, b"lost"), HostStarted("nobody", 1.0)])
    assert stdout(store) == b""
    recorder.record([HostOutput("n1", "stdout", 0, b"kept")])
    assert stdout(store) == b"kept"
    assert store.notices(store.run("last")) == []


def test_a_start_that_failed_leaves_no_trace_in_memory(store: Store, recorder: Recorder) -> None:
    with pytest.raises(BugError, match="nobody"):
        recorder.record(
            [sample.started(hosts=["n1", "n2"]), HostStarted("n1", 0.1), HostStarted("nobody", 1.0)]
        )
    assert store.runs() == []
    recorder.record([sample.started(hosts=["n2", "n1"]), HostOutput("n1", "stdout", 0, b"of n1")])
    assert [(chunk.host, chunk.data) for chunk in store.output(store.run("last"))] == [("n1", b"of n1")]


def test_events_before_the_start_of_a_run_are_a_bug(recorder: Recorder) -> None:
    with pytest.raises(BugError, match="start"):
        recorder.record([Notice("too early")])


def test_a_recorder_made_in_one_thread_works_in_another(store: Store, recorder: Recorder) -> None:
    thread = threading.Thread(target=recorder.record, args=(sample.whole_run(),))
    thread.start()
    thread.join()
    assert store.run("last").state is RunState.ENDED


def test_text_that_is_no_unicode_is_kept_visibly(store: Store, recorder: Recorder) -> None:
    odd = b"echo \xff".decode(errors="surrogateescape")
    recorder.record([RunStarted("5eed", odd, None, ("n1",), (), 0.0), Notice(odd)])
    assert store.run("last").command == "echo \\udcff"
    assert store.notices(store.run("last"))[0].text == "echo \\udcff"


def test_an_interrupted_run_says_so(store: Store, recorder: Recorder) -> None:
    recorder.record([sample.started(), sample.ended(interrupted=True)])
    assert store.run("last").state is RunState.INTERRUPTED


def test_an_ended_run_is_in_the_main_file(path: Path, recorder: Recorder) -> None:
    recorder.record(sample.whole_run())
    assert b"up 3 days" in path.read_bytes()


def test_only_the_owner_can_read_the_store(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.touch()
    path.parent.chmod(0o755)
    path.chmod(0o644)
    with Recorder(path) as recorder:
        recorder.record([sample.started()])
        modes = {place.name: stat.S_IMODE(place.stat().st_mode) for place in path.parent.iterdir()}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert modes == {"runs.db": 0o600, "runs.db-wal": 0o600, "runs.db-shm": 0o600}


class TestFindingARun:
    @pytest.fixture(autouse=True)
    def _three_runs(self, store: Store) -> None:
        for at, run in enumerate(["abc1", "abd2", "ab"]):
            with store.recorder() as recorder:
                recorder.record([sample.started(run, at=1000.0 + at)])

    def test_runs_come_newest_first_and_bounded(self, store: Store) -> None:
        assert [run.run for run in store.runs()] == ["ab", "abd2", "abc1"]
        assert [run.run for run in store.runs(limit=2)] == ["ab", "abd2"]

    def test_by_a_unique_beginning(self, store: Store) -> None:
        assert store.run("abc").run == "abc1"

    def test_a_whole_id_wins_over_longer_ones(self, store: Store) -> None:
        assert store.run("ab").run == "ab"

    def test_last(self, store: Store) -> None:
        assert store.run("last").run == "ab"

    def test_an_ambiguous_beginning_names_the_candidates(self, store: Store) -> None:
        with pytest.raises(UsageError, match=r"ab, abd2, abc1"):
            store.run("a")

    @pytest.mark.parametrize("reference", ["zz", "", "%", "ab%"])
    def test_an_unknown_run_says_how_to_find_one(self, store: Store, reference: str) -> None:
        with pytest.raises(UsageError, match=r"no recorded run begins(.|\n)*nile runs"):
            store.run(reference)


def test_an_empty_store_has_no_last_run(store: Store) -> None:
    assert store.runs() == []
    with pytest.raises(UsageError, match="no run is recorded yet"):
        store.run("last")


def test_the_same_run_twice_is_refused(store: Store, recorder: Recorder) -> None:
    recorder.record([sample.started()])
    with store.recorder() as other, pytest.raises(StoreError, match=r"runs\.db"):
        other.record([sample.started()])
