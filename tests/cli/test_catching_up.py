"""`nile sync --catch-up`: which copy it repeats, for whom, and when it refuses to. No host is needed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from nile.cli import commands
from nile.errors import UsageError
from nile.events import HostResult, RunEnded, RunStarted, Verdict
from nile.store import Recorder, RunContext

Past = Callable[..., None]
VERDICTS = {"n1": Verdict.OK, "n2": Verdict.FAILED, "n3": Verdict.UNREACHABLE, "n4": None}


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """What was copied, of an hour ago as far as `past` is concerned."""
    (tmp_path / "site/deep").mkdir(parents=True)
    (tmp_path / "site/deep/page").write_text("hello\n")
    return tmp_path / "site"


@pytest.fixture
def past(state: Path, site: Path) -> Past:
    """Records a run of a root that is dead by now, begun beside `site`, by default after that was made."""

    def past(
        run: str, *words: str, verdicts: dict[str, Verdict | None] = VERDICTS, age_s: float = -60.0
    ) -> None:
        context = RunContext(("nile", *words), str(site.parent), "ada", "", "[]")
        with Recorder(state, context) as recorder:
            at = time.time() - age_s
            recorder.record([RunStarted(run, " ".join(words), None, tuple(verdicts), ("gw",), at)])
            ends = [HostResult(host, verdict) for host, verdict in verdicts.items() if verdict]
            recorder.record([*ends, RunEnded(run)])

    return past


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    """(selection, what, given) of what would be carried out; we are elsewhere."""
    found: list[Any] = []

    def run(*all_of_it: Any, **_: Any) -> int:
        found.append(all_of_it)
        return 0

    monkeypatch.setattr("nile.cli.copying.run_one", run)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return found


def nile(*words: str) -> int:
    runner = CliRunner()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["nile", *words])
        found = runner.invoke(commands, words, catch_exceptions=False, standalone_mode=False).return_value
    assert isinstance(found, int)
    return found


def refused(*words: str) -> str:
    with pytest.raises(UsageError) as caught:
        nile("sync", *words)
    return str(caught.value)


COPY = (
    "sync",
    "--all",
    "--routes",
    "my.yaml",
    "--delete",
    "--exclude",
    "*.o",
    "--gather",
    "site/",
    "/srv/site",
)


def test_it_is_the_same_copy_for_those_that_were_not_ok(past: Past, begun: list[Any], site: Path) -> None:
    past("5eed0001", *COPY)
    assert nile("sync", "--catch-up", "last", "--json", "--wait", "5") == 0
    ((selection, what, given),) = begun
    assert selection.hosts == ("n[2-4]",)
    assert (selection.everything, selection.groups, selection.exclude) == (False, (), ())
    assert selection.routes == "my.yaml"
    assert (what.sources, what.dest) == ((os.fsencode(f"{site}/"),), b"/srv/site")
    assert (what.delete, what.excludes, what.wait_s) == (True, (b"*.o",), 5.0)
    assert (given["as_json"], given["gather"]) == (True, False)
    assert Path.cwd() == site.parent
    assert given["argv"] == ("nile", "sync", "--catch-up", "5eed0001", "--json", "--wait", "5")


def test_the_descriptor_of_a_password_was_that_runs(past: Past, begun: list[Any]) -> None:
    """It is closed by now; one that is given now is looked at."""
    closed = str(max(int(path.name) for path in Path("/proc/self/fd").iterdir()) + 10)
    past("5eed0001", *COPY[:-2], "--pass-fd", closed, *COPY[-2:])
    assert nile("sync", "--catch-up", "last") == 0
    ((_, _, given),) = begun
    assert given.get("pass_fd") is None
    with pytest.raises(click.BadParameter, match=f"descriptor {closed} isn't open"):
        nile("sync", "--catch-up", "last", "--pass-fd", closed)


def test_hosts_of_a_file_are_not_chosen_again(past: Past, begun: list[Any]) -> None:
    past("5eed0001", "sync", "--hostfile", "hosts", "site/", "/srv/site")
    assert nile("sync", "--catch-up", "last") == 0
    ((selection, _, _),) = begun
    assert (selection.hosts, selection.hostfiles) == (("n[2-4]",), ())


@pytest.mark.parametrize("how", [("run",), ("start",), ("start", "--for", "2h"), ("start", "--for=2h")])
def test_of_a_swarm(past: Past, begun: list[Any], site: Path, how: tuple[str, ...]) -> None:
    past("5eed0001", "swarm", *how, "--all", "--peer-python", "/opt/python", "site/", "/srv/site")
    assert nile("sync", "--catch-up", "last") == 0
    ((selection, what, _),) = begun
    assert selection.hosts == ("n[2-4]",)
    assert (what.method, what.peer_python, what.dest) == ("swarm", "/opt/python", b"/srv/site")


def test_of_one_that_caught_up_itself_it_repeats_the_first(past: Past, begun: list[Any], site: Path) -> None:
    past("5eed0001", *COPY)
    past("5eed0002", "sync", "--catch-up=5eed0001", verdicts={"n2": Verdict.OK, "n3": Verdict.LOST})
    nile("sync", "--catch-up=last")
    ((selection, what, given),) = begun
    assert selection.hosts == ("n3",)
    assert what.dest == b"/srv/site"
    assert given["argv"][-1] == "--catch-up=5eed0002"


def test_where_all_are_ok_there_is_nothing_to_do(past: Past, begun: list[Any]) -> None:
    past("5eed0001", *COPY, verdicts={"n1": Verdict.OK})
    assert nile("sync", "--catch-up", "last") == 0
    assert begun == []


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("exec", "-w", "n1", "--", "sync"), "was no copy"),
        (("verify", "--repair", "--all", "site/", "/srv/site"), "was no copy"),
        (("sync", "-n", "--all", "site/", "/srv/site"), "was a dry run"),
        (("sync", "--all", "gone/", "/srv/site"), "gone/: there is no such file"),
        (("sync", "--catch-up", "5eed0009"), "no recorded run begins with '5eed0009'"),
    ],
)
def test_what_cannot_be_repeated(past: Past, begun: list[Any], words: tuple[str, ...], why: str) -> None:
    past("5eed0001", *words)
    assert why in refused("--catch-up", "5eed0001")
    assert begun == []


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("-w", "n1"), "--hosts"),
        (("--all",), "--all"),
        (("--delete",), "--delete"),
        (("--method", "rsync"), "--method"),
        (("site/", "/srv/site"), "SRC and DEST"),
    ],
)
def test_all_else_is_as_it_was(past: Past, begun: list[Any], words: tuple[str, ...], what: str) -> None:
    past("5eed0001", *COPY)
    assert f"{what} can't go with --catch-up" in refused("--catch-up", "last", *words)


def test_a_directory_that_is_gone(past: Past, begun: list[Any], site: Path, tmp_path: Path) -> None:
    past("5eed0001", *COPY)
    site.rename(tmp_path / "elsewhere/site")
    assert "site/: there is no such file" in refused("--catch-up", "last")


class TestAChangedSource:
    """The run began when the source was as it is, or an hour before that."""

    def test_is_refused_where_hosts_have_what_it_was(self, past: Past, begun: list[Any]) -> None:
        past("5eed0001", *COPY, age_s=3600)
        said = refused("--catch-up", "last")
        assert "the source changed since run 5eed0001" in said
        assert "--changed-too" in said

    def test_is_taken_where_that_is_said(self, past: Past, begun: list[Any]) -> None:
        past("5eed0001", *COPY, age_s=3600)
        assert nile("sync", "--catch-up", "last", "--changed-too") == 0
        assert len(begun) == 1

    def test_is_taken_where_no_host_has_anything_of_it(self, past: Past, begun: list[Any]) -> None:
        past("5eed0001", *COPY, verdicts={"n1": Verdict.FAILED}, age_s=3600)
        assert nile("sync", "--catch-up", "last") == 0

    def test_counts_from_the_first_run_on(self, past: Past, begun: list[Any]) -> None:
        past("5eed0001", *COPY, age_s=3600)
        past("5eed0002", "sync", "--catch-up", "5eed0001", verdicts={"n2": Verdict.LOST})
        assert "changed since run 5eed0001" in refused("--catch-up", "last")

    def test_is_none_where_what_changed_is_left_out(self, past: Past, begun: list[Any], site: Path) -> None:
        past("5eed0001", "sync", "--all", "--exclude", "/deep", "site/", "/srv/site", age_s=0.0)
        past("5eed0002", "sync", "--all", "site/", "/srv/site", age_s=0.0)
        began = time.time()
        while (site / "deep/page").stat().st_ctime <= began:  # the kernel's clock has steps
            os.utime(site / "deep/page")
        assert "deep/page" in refused("--catch-up", "5eed0002")
        assert nile("sync", "--catch-up", "5eed0001") == 0


RELEASE = ("sync", "--all", "--routes", "my.yaml", "--release", "2", "--quorum", "90%", "site/", "/srv/site")
ALL_OK = dict.fromkeys(VERDICTS, Verdict.OK)


class TestARelease:
    def test_becomes_current_on_whoever_is_ready_now_where_it_is_on_others(
        self, past: Past, begun: list[Any]
    ) -> None:
        past("5eed0001", *RELEASE)
        assert nile("sync", "--catch-up", "last") == 0
        ((selection, what, _),) = begun
        assert selection.hosts == ("n[2-4]",)
        assert (what.release, what.dest, what.quorum.needed(3)) == ("2", b"/srv/site", 1)

    def test_needs_its_quorum_where_nobody_has_flipped(self, past: Past, begun: list[Any]) -> None:
        past("5eed0001", *RELEASE, verdicts=dict.fromkeys(VERDICTS, Verdict.FAILED))
        assert nile("sync", "--catch-up", "last") == 0
        ((selection, what, _),) = begun
        assert (selection.hosts, what.quorum.needed(10)) == (("n[1-4]",), 9)

    def test_has_its_quorum_by_then_where_a_run_that_caught_up_flipped(
        self, past: Past, begun: list[Any]
    ) -> None:
        past("5eed0001", *RELEASE, verdicts=dict.fromkeys(VERDICTS, Verdict.FAILED))
        past("5eed0002", "sync", "--catch-up", "5eed0001")
        assert nile("sync", "--catch-up", "last") == 0
        ((_, what, _),) = begun
        assert what.quorum.needed(3) == 1

    @pytest.mark.parametrize(
        ("later", "what"),
        [
            (("sync", "--release", "3", "--all", "other/", "/srv/site/"), "3 current"),
            (("sync", "--catch-up", "5eed0000"), "1 current"),
            (("rollback", "-a", "/srv/site"), "another release current"),
            (("rollback", "-a", "--to", "1", "/srv/site"), "1 current"),
            (("releases", "-a", "--rollback", "/srv/site"), "another release current"),
        ],
    )
    def test_is_left_alone_where_another_one_is_current_since(
        self, past: Past, begun: list[Any], later: tuple[str, ...], what: str
    ) -> None:
        past("5eed0000", *(word if word != "2" else "1" for word in RELEASE))
        past("5eed0001", *RELEASE)
        past("5eed0009", *later)
        assert f"run 5eed0009 made {what} since (on n1, for one)" in refused("--catch-up", "5eed0001")
        assert begun == []

    @pytest.mark.parametrize(
        "later",
        [
            ("sync", "-n", "--release", "3", "--all", "site/", "/srv/site"),
            ("sync", "--release", "3", "--all", "site/", "/srv/other"),
            ("sync", "--release", "2", "--all", "site/", "/srv/site"),
            ("rollback", "-a", "--to", "2", "/srv/site"),
            ("releases", "-a", "--finish", "/srv/site"),
            ("releases", "-a", "--keep", "3", "/srv/site"),
            ("exec", "-a", "--", "nile rollback /srv/site"),
        ],
    )
    def test_is_caught_up_with_where_it_is_the_current_one_still(
        self, past: Past, begun: list[Any], later: tuple[str, ...]
    ) -> None:
        past("5eed0001", *RELEASE)
        past("5eed0009", *later)
        assert nile("sync", "--catch-up", "5eed0001") == 0
        assert len(begun) == 1

    def test_the_last_word_counts(self, past: Past, begun: list[Any]) -> None:
        past("5eed0001", *RELEASE)
        past("5eed0002", "rollback", "-a", "/srv/site", verdicts=ALL_OK)
        past("5eed0003", "rollback", "-a", "--to", "2", "/srv/site", verdicts=ALL_OK)
        assert nile("sync", "--catch-up", "5eed0001") == 0

    def test_what_other_hosts_have_doesnt_matter(self, past: Past, begun: list[Any]) -> None:
        past("5eed0001", *RELEASE)
        past("5eed0002", *RELEASE[:5], "3", *RELEASE[6:], verdicts={"staging": Verdict.OK})
        past("5eed0003", *RELEASE[:5], "4", *RELEASE[6:], verdicts={"n1": Verdict.FAILED})
        assert nile("sync", "--catch-up", "5eed0001") == 0

    def test_one_that_was_finished_later_leads_where_it_was_begun(self, past: Past, begun: list[Any]) -> None:
        past("5eed0001", *RELEASE)
        past("5eed0002", *RELEASE[:5], "3", *RELEASE[6:], verdicts=dict.fromkeys(VERDICTS))
        past("5eed0003", "releases", "-a", "--finish", "/srv/site", verdicts=ALL_OK)
        assert "run 5eed0002 made 3 current since" in refused("--catch-up", "5eed0001")

    def test_is_never_two_things_under_one_name(self, past: Past, begun: list[Any]) -> None:
        past("5eed0001", *RELEASE, age_s=3600)
        assert "bring it under another name" in refused("--catch-up", "last")
        assert "a release is the same on all hosts" in refused("--catch-up", "last", "--changed-too")


class TestRepositories:
    FILE = "- {source: site/, dest: /srv/site, hosts: 'n[1-2]'}\n- {source: other/, dest: /srv/other}\n"
    WORDS = ("sync", "--all", "--routes", "my.yaml", "--repos", "repos.yaml")

    @pytest.fixture
    def carried_out(self, monkeypatch: pytest.MonkeyPatch, site: Path) -> list[Any]:
        """(selection, job, given) of what would be; the file, its routes and its sources are there."""
        found: list[Any] = []

        def run(*all_of_it: Any, **_: Any) -> int:
            found.append(all_of_it)
            return 0

        monkeypatch.setattr("nile.cli.repositories.run", run)
        above = site.parent
        (above / "other").mkdir()
        (above / "my.yaml").write_text("version: 1\ngroups: {all: 'n[1-4]'}\n")
        (above / "repos.yaml").write_text(self.FILE)
        (above / "elsewhere").mkdir()
        monkeypatch.chdir(above / "elsewhere")
        return found

    def test_go_once_more_to_those_that_lack_one(self, past: Past, carried_out: list[Any]) -> None:
        past("5eed0001", *self.WORDS)
        assert nile("sync", "--catch-up", "last") == 0
        ((chosen, _, given),) = carried_out
        assert (chosen.hosts, given["repos"]) == (("n2", "n3", "n4"), "repos.yaml")

    def test_are_as_they_were(self, past: Past, carried_out: list[Any], site: Path) -> None:
        past("5eed0001", *self.WORDS, age_s=3600)
        assert "repos.yaml, for one" in refused("--catch-up", "last")
        assert nile("sync", "--catch-up", "last", "--changed-too") == 0

    def test_whose_source_changed_matter_only_to_who_gets_them(
        self, past: Past, carried_out: list[Any], site: Path
    ) -> None:
        began = time.time()
        past("5eed0001", *self.WORDS, age_s=0.0)
        past("5eed0002", *self.WORDS, age_s=0.0, verdicts={"n1": Verdict.OK, "n3": Verdict.LOST})
        while (site / "deep/page").stat().st_ctime <= began + 0.1:  # the kernel's clock has steps
            os.utime(site / "deep/page")
        assert "deep/page" in refused("--catch-up", "5eed0001")
        assert nile("sync", "--catch-up", "5eed0002") == 0

    def test_whose_source_is_gone(self, past: Past, carried_out: list[Any], site: Path) -> None:
        past("5eed0001", *self.WORDS)
        site.rename(site.parent / "gone")
        assert "there is no such file" in refused("--catch-up", "last")


def test_it_is_no_word_for_itself(begun: list[Any]) -> None:
    assert "--changed-too is for --catch-up" in refused("--all", "--changed-too", "site/", "/srv/site")


def test_a_run_that_goes_on_is_not_caught_up_with(
    past: Past, begun: list[Any], state: Path, site: Path
) -> None:
    context = RunContext.here(("nile", *COPY))
    with Recorder(state, context) as recorder:
        recorder.record([RunStarted("5eed0001", "", None, ("n1",), (), time.time())])
        assert "run 5eed0001 goes on" in refused("--catch-up", "last")
