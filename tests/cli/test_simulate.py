"""`nile simulate`: what is simulated, and how it is told."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from nile.cli.simulate import command
from nile.errors import NileError, UsageError
from nile.events import HostResult, HostUp, RunEnded, RunStarted, Verdict
from nile.simulation import forecast
from nile.store import Recorder
from nile.topology import places
from nile.topology.predict import T_NILE_S, T_SSH_S
from tests.cli.documented import fields

ROUTES = """\
version: 1
groups:
  doors: "gw[1-2]"
  rack1: "n[1-40]"
  rack2: {hosts: "m[1-20]", via: "gw[1-2]"}
hosts: {gw1: {relay: only}, gw2: {relay: only}}
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory with a route file that isn't found by itself; no recorded runs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for variable in ("XDG_CONFIG_HOME", "NILE_ROUTES"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(places, "SYSTEM_ROUTES", tmp_path / "none.yaml")
    (tmp_path / "site.yaml").write_text(ROUTES)
    return tmp_path


def run(*words: str) -> Result:
    """The command in this process; errors of Nile are raised."""
    done = CliRunner().invoke(command, words, standalone_mode=False)
    if isinstance(done.exception, NileError):
        raise done.exception
    assert done.exception is None, done.output
    assert done.return_value == 0
    return done


def told(*words: str) -> Any:
    return json.loads(run(*words, "--json").stdout)


def record_logins(state: Path, times: list[float], host: str = "n1") -> None:
    """A run in which a login took each of these times."""
    path = state / "nile" / "runs.db"
    for serial, seconds in enumerate(times):
        with Recorder(path, None, clock=lambda: 1002.0) as recorder:
            recorder.record(
                [
                    RunStarted(f"run{serial}", "true", None, (host,), (), 1000.0),
                    HostUp(host, "root", 1, 0.5, 0.5 + seconds),
                    HostResult(host, Verdict.OK, rc=0, path=("root", host), stage=1, t_end_s=2.0),
                    RunEnded(f"run{serial}", {Verdict.OK: 1}, 2.0),
                ]
            )


class TestWhatIsSimulated:
    def test_a_route_file_alone_means_all_its_hosts(self) -> None:
        assert told("site.yaml")["hosts"] == 60
        assert told("-r", "site.yaml")["hosts"] == 60
        assert told("site.yaml", "-g", "rack2")["hosts"] == 20
        assert told("site.yaml", "-w", "n[1-3]", "-x", "n2")["hosts"] == 2

    def test_no_file_is_needed(self) -> None:
        assert told("-w", "x[1-100]")["hosts"] == 100

    def test_two_files_are_refused(self) -> None:
        with pytest.raises(UsageError, match="two files"):
            run("site.yaml", "-r", "site.yaml")

    def test_nothing_to_simulate_is_refused(self) -> None:
        with pytest.raises(UsageError, match="all hosts of what"):
            run()

    def test_the_wall_follows_from_logins_and_command(self) -> None:
        said = told("-w", "x", "--t-ssh", "2", "--spread", "0%", "--t-command", "3s")
        assert said["runs"][0]["undisturbed"]["wall_s"] == pytest.approx(5, abs=0.05)

    def test_loss_takes_time(self) -> None:
        calm, lossy = (told("site.yaml", "--loss", loss)["runs"][0] for loss in ("0", "5%"))
        assert lossy["undisturbed"]["wall_s"] > calm["undisturbed"]["wall_s"] + 0.2

    def test_shared_cores_take_time(self) -> None:
        alone, shared = (
            told("site.yaml", *more)["runs"][0]["undisturbed"]["up_s"]
            for more in ([], ["--cores", "1", "--cpu", "0.1"])
        )
        assert alone < 2 < 6 < shared

    @pytest.mark.parametrize("words", [["--cores", "2"], ["--cpu", "0.1"]])
    def test_cores_without_what_a_login_takes_of_them_are_refused(self, words: list[str]) -> None:
        with pytest.raises(UsageError, match="go together"):
            run("site.yaml", *words)

    @pytest.mark.parametrize("words", [["--loss", "51"], ["--loss", "-1%"], ["--loss", "x"], ["--runs", "0"]])
    def test_what_makes_no_sense_is_refused(self, words: list[str]) -> None:
        done = CliRunner().invoke(command, ["site.yaml", *words])
        assert done.exit_code == 2
        assert f"Invalid value for '{words[0]}'" in done.output


class TestLogins:
    def test_without_recorded_runs_the_default_is_that_of_the_plan(self) -> None:
        said = told("site.yaml")
        assert (said["t_ssh_s"], said["t_ssh_from"]) == (T_SSH_S + T_NILE_S, "default")
        assert "for want of recorded runs" in run("site.yaml").stdout

    def test_what_was_recorded_of_these_hosts_is_taken(self, here: Path) -> None:
        record_logins(here / "state", [0.3, 0.7, 5.0])
        said = told("site.yaml")
        assert (said["t_ssh_s"], said["t_ssh_from"]) == (pytest.approx(0.7), "store")
        assert "0.70 s (median, as recorded" in run("site.yaml").stdout
        assert told("-w", "other")["t_ssh_from"] == "default"
        assert told("site.yaml", "--t-ssh", "0.1")["t_ssh_from"] == "option"

    def test_how_they_spread_is_taken_too(self, here: Path) -> None:
        record_logins(here / "state", [0.5] * 20 + [9.0])
        assert told("site.yaml")["spread"] == pytest.approx(0.0, abs=1e-9)
        assert told("site.yaml", "--spread", "40%")["spread"] == 0.4

    def test_a_few_say_nothing_of_the_spread(self, here: Path) -> None:
        record_logins(here / "state", [0.5, 0.5])
        assert told("site.yaml")["spread"] == 0.15


class TestDeaths:
    @pytest.mark.parametrize(("kill", "count"), [("3", 3), ("10%", 6), ("n[1-5]", 5), ("@doors", 2)])
    def test_a_number_a_part_or_a_host_set_dies(self, kill: str, count: int) -> None:
        outcome = told("site.yaml", "--kill", kill)["runs"][0]["with_deaths"]
        assert len(outcome["deaths"]) == count
        if not kill[0].isdigit():
            assert {death["host"] for death in outcome["deaths"]} <= {
                *(f"n{i}" for i in range(9)),
                "gw1",
                "gw2",
            }

    def test_nobody_dies_unless_asked(self) -> None:
        assert told("site.yaml")["runs"][0]["with_deaths"] is None
        assert told("site.yaml", "--kill", "0")["runs"][0]["with_deaths"] is None

    @pytest.mark.parametrize(
        ("kill", "message"),
        [("500", "has 62 hosts"), ("nobody", "nobody is not in the plan"), ("n[", "n\\[")],
    )
    def test_who_isnt_there_cant_die(self, kill: str, message: str) -> None:
        with pytest.raises(UsageError, match=message):
            run("site.yaml", "--kill", kill)

    def test_a_seed_says_the_same_again(self) -> None:
        words = ("site.yaml", "--kill", "5", "--loss", "1%")
        assert run(*words).stdout == run(*words).stdout != run(*words, "--seed", "2").stdout

    def test_several_runs_have_seeds_of_their_own(self) -> None:
        runs = told("site.yaml", "--kill", "2", "--runs", "3", "--seed", "7")["runs"]
        assert [each["seed"] for each in runs] == [7, 8, 9]
        assert len({each["with_deaths"]["deaths"][0]["host"] for each in runs}) > 1


class TestOutput:
    def test_a_run_by_itself(self) -> None:
        lines = run("site.yaml", "--t-ssh", "1", "--spread", "0", "--t-command", "2").stdout.splitlines()
        assert lines[0].startswith("simulated: 60 hosts; a login takes 1.00 s (median; ± 0 %), ")
        assert lines[2].split() == ["STAGE", "HOSTS", "FIRST", "UP", "HALF", "UP", "ALL", "UP"]
        assert lines[-1].startswith("predicted: all up after ")
        assert "dies" not in "".join(lines)

    def test_who_dies_is_told_with_what_came_of_it(self) -> None:
        out = run("site.yaml", "--kill", "gw1", "--t-command", "30").stdout
        assert "1 host dies:" in out
        row = next(line for line in out.splitlines() if line.startswith("gw1 "))
        assert "relays only" in row
        assert "all that were spared are ok" in out
        assert "slowest of those that were spared: " in out

    def test_spared_hosts_that_fare_badly_are_named(self) -> None:
        out = run("site.yaml", "--kill", "@doors", "--t-ssh", "5", "-t", "8", "--t-command", "30").stdout
        assert "hosts not ok although spared:" in out
        assert "  m[1-10] (10): lost: its relay gw1 is gone" in out

    def test_a_long_command_is_seen_to_its_end(self) -> None:
        words = ("-w", "x[1-3]", "--t-command", "2h")
        assert run(*words).stdout.splitlines()[-1].endswith("s, the run ends after 2 h 0 min")
        lines = run(*words, "--kill", "1").stdout.splitlines()
        assert any(line.startswith("then: 2 of 3 hosts ok, 1 lost, after 2 h 0 min") for line in lines)
        assert lines[-1] == "all that were spared are ok"

    def test_what_is_not_over_is_said_to_be_so(self, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A lease that is longer than what is simulated: nobody knows yet what becomes of the lost ones."""
        monkeypatch.setattr(forecast, "LIMIT_S", 60.0)
        (here / "long.yaml").write_text(f"{ROUTES}timeouts: {{lease: 3h}}\n")
        words = ("long.yaml", "-w", "m[1-20],n1", "--t-command", "30", "--kill")
        lines = run(*words, "n1").stdout.splitlines()
        assert "not over yet: 20 of 21 hosts ok, 1 without a verdict, after 90.0 s" in lines
        assert lines[-1] == "all that were spared are ok"
        lines = run(*words, "@doors").stdout.splitlines()
        assert "not over yet: 1 of 21 hosts ok, 20 without a verdict, after 90.0 s" in lines
        assert lines[-1] == "20 hosts without a verdict although spared"
        assert not any(line.startswith("slowest") for line in lines)
        outcome = told(*words, "@doors")["runs"][0]["with_deaths"]
        assert (outcome["ended"], outcome["ok"], outcome["without_verdict"]) == (False, 1, 20)
        lines = run(*words, "@doors", "--runs", "2").stdout.splitlines()
        assert "not over in the time that was simulated: 2 of 2 runs" in lines
        assert "spared hosts that aren't ok: at worst 20 of a run" in lines

    def test_who_is_never_up_is_not_said_to_be(self, here: Path) -> None:
        words = ("long.yaml", "-w", "n[1-3]", "--spread", "0", "--t-ssh")
        (here / "long.yaml").write_text(f"{ROUTES}timeouts: {{connect: 3h}}\n")
        last = run(*words, "2h").stdout.splitlines()[-1]
        assert last.startswith("predicted: no host is up, not over yet after 1 h 0 min: 0 of 3 hosts ok, 3 w")
        (here / "long.yaml").write_text(f"{ROUTES}timeouts: {{connect: 1s}}\n")
        assert "predicted: no host is up, the run ends after " in run(*words, "2").stdout
        some = run("long.yaml", "-w", "n[1-20]", "--spread", "30%", "--t-ssh", "1").stdout
        assert re.search(r"predicted: \d+ of 20 up after \d+\.\d+ s, the run ends", some)

    def test_many_deaths_are_cut_short(self) -> None:
        out = run("site.yaml", "--kill", "50").stdout
        assert "and 35 more (--json has all)" in out

    def test_several_runs_are_told_by_median_and_worst(self) -> None:
        out = run("site.yaml", "--kill", "3", "--runs", "5").stdout
        assert "5 RUNS" in out
        assert "the slowest spared host is done" in out
        assert "The worst of them, seed " in out

    def test_json_has_the_fields_that_are_documented(self) -> None:
        said = told("site.yaml", "--kill", "2")
        assert set(said) == fields("nile simulate --json")
        assert set(said["runs"][0]) == fields("nile simulate --json", "runs[].")
        outcome = said["runs"][0]["with_deaths"]
        assert set(outcome) == fields("nile simulate --json", "with_deaths.")
        assert set(outcome["deaths"][0]) == fields("nile simulate --json", "deaths[].")
        assert set(outcome["stages"][0]) == fields("nile simulate --json", "stages[].")


HOWTO = Path(__file__).parents[2] / "docs" / "howto" / "simulate.md"
EXAMPLES = re.findall(r"^\$ nile simulate (.*)\n((?:(?!```).*\n)*)", HOWTO.read_text(), flags=re.MULTILINE)


def shape(text: str) -> str:
    """A text without its figures and its blanks."""
    return " ".join(re.sub(r"\d+(\.\d+)?", "N", text).split())


@pytest.mark.parametrize(("words", "told"), EXAMPLES, ids=[words for words, _ in EXAMPLES])
def test_the_how_to_shows_what_it_says(words: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(HOWTO.parents[2])
    done = run(*shlex.split(words.partition(" | ")[0]))
    shown = [line for line in told.splitlines() if not line.startswith("routes: ")]
    assert len(shown) > 5
    assert {shape(line) for line in shown} <= {shape(line) for line in done.stdout.splitlines()}


def test_the_how_to_has_examples() -> None:
    assert len(EXAMPLES) == 4
