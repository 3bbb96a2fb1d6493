"""How many commands run at a time, what they read, and what they leave behind."""

from __future__ import annotations

import hashlib
import os
import re
import signal

import pytest

from nile.lab import Lab
from tests.cluster.hosts import Seen, commands, root_of
from tests.cluster.running import Done, Nile
from tests.support.deadmount import dead_directory

pytestmark = pytest.mark.cluster

TREE = ("--branches", "3", "--stages", "3")
TIMES = "date +%s.%N; sleep 0.05; date +%s.%N"


def spans(done: Done) -> list[tuple[float, float]]:
    """When each host's command began and ended, by their one clock, in order."""
    found = []
    for host in done.results:
        begin, end = map(float, done.stdout_of(host).split())
        found.append((begin, end))
    return sorted(found)


def most_at_once(found: list[tuple[float, float]]) -> int:
    return max(sum(begin <= at < end for begin, end in found) for at, _ in found)


def test_one_after_another(nile: Nile) -> None:
    done = nile.json("-w", "h[001-012]", *TREE, "-f", "1", "--", TIMES).all_ok()
    assert most_at_once(spans(done)) == 1
    assert len(spans(done)) == 12


def test_three_at_a_time(nile: Nile) -> None:
    done = nile.json("-w", "h[001-015]", *TREE, "-f", "3", "--", TIMES.replace("0.05", "0.2")).all_ok()
    assert most_at_once(spans(done)) == 3


def test_a_host_that_fails_gives_its_turn_to_the_next(nile: Nile, fleet: Lab) -> None:
    fleet.crash("h005")
    command = f"{TIMES}; [ $NILE_HOST != h002 ]"
    done = nile.json("-w", "h[001-008]", "--tree", "flat", "-t", "2", "-f", "1", "--", command)
    assert done.code == 4
    assert {h: v for h, v in done.verdicts.items() if v != "ok"} == {"h002": "failed", "h005": "unreachable"}
    alive = [host for host in done.results if host != "h005"]
    began = sorted(
        (float(done.stdout_of(host).split()[0]), float(done.stdout_of(host).split()[1])) for host in alive
    )
    assert most_at_once(began) == 1


# Standard input.


def test_standard_input_is_dev_null(nile: Nile) -> None:
    command = "readlink /proc/self/fd/0; cat | wc -c"
    done = nile.json("-w", "h[001-004]", *TREE, "--", command, stdin=b"not for you").all_ok()
    assert {done.stdout_of(host) for host in done.results} == {"/dev/null\n0\n"}


def test_stdin_goes_to_every_host(nile: Nile) -> None:
    """Also where a host reads nothing, or only the beginning, or slowly."""
    data = os.urandom(5_000_000)
    want = hashlib.sha256(data).hexdigest()
    command = (
        "case $NILE_HOST in h002) true;; h003) head -c 10 | wc -c;; "
        "h004) sleep 0.5; sha256sum;; h005) exec 0<&-; sleep 0.3; echo closed;; *) sha256sum;; esac"
    )
    done = nile.json("--stdin", "-w", "h[001-012]", *TREE, "--", command, stdin=data).all_ok()
    said = {host: done.stdout_of(host).strip() for host in done.results}
    assert (said.pop("h002"), said.pop("h003"), said.pop("h005")) == ("", "10", "closed")
    assert set(said.values()) == {f"{want}  -"}


@pytest.mark.parametrize("data", [b"", b"x"])
def test_little_or_no_input_ends_too(nile: Nile, data: bytes) -> None:
    done = nile.json("--stdin", "-w", "h[001-003]", *TREE, "--", "wc -c", stdin=data).all_ok()
    assert {done.stdout_of(host) for host in done.results} == {f"{len(data)}\n"}


def test_input_from_a_file(nile: Nile) -> None:
    path = nile.state / "input"
    path.write_bytes(b"y" * 700_000)
    with (
        path.open("rb") as file,
        nile.started("--json", "--stdin", "-w", "h[001-002]", "--", "wc -c", stdin=file) as run,
    ):
        done = run.wait().all_ok()
    assert done.stdout_of("h002") == "700000\n"


# What is left behind.

# It is called `bash` until it has become what it is to be.
SERVICE = (
    "setsid sleep 4711 < /dev/null > /dev/null 2>&1 & p=$!; "
    "until grep -q sleep /proc/$p/comm; do sleep 0.01; done; echo $p"
)


def services(lab: Lab) -> list[Seen]:
    return [process for process in commands(lab) if "4711" in process.argv]


def end_services(lab: Lab) -> None:
    for process in services(lab):
        os.kill(process.pid, signal.SIGKILL)


def test_a_service_that_a_successful_command_starts_stays_and_is_named(nile: Nile, fleet: Lab) -> None:
    try:
        done = nile.json("-w", "h[001-003]", *TREE, "--", SERVICE).all_ok()
        left = {host: result["leftover"] for host, result in done.results.items()}
        for host, named in left.items():
            pid = int(done.stdout_of(host))
            assert named == [{"pid": pid, "name": "sleep", "killed": False, "survived": False}]
        assert sorted(process.host for process in services(fleet)) == ["h001", "h002", "h003"]
        shown = nile.command("show", "last")
        assert "left running: h[001-003] (3): sleep" in shown.out
    finally:
        end_services(fleet)


def test_leftovers_are_in_the_summary(nile: Nile, fleet: Lab) -> None:
    try:
        done = nile.exec("-w", "h001", "--", SERVICE)
        pid = done.out.split()[1]
        assert re.search(rf"left running: h001 \(1\): sleep \(pid {pid}\)", done.err), done.err
    finally:
        end_services(fleet)


def test_a_service_with_an_open_output_holds_nothing_up(nile: Nile, fleet: Lab) -> None:
    """It keeps the command's pipes; ssh would wait for it."""
    try:
        done = nile.json("-w", "h001", "--", "setsid sleep 4711 & echo done").all_ok()
        assert done.stdout_of("h001") == "done\n"
        assert len(services(fleet)) == 1
    finally:
        end_services(fleet)


def test_leftover_kill(nile: Nile, fleet: Lab) -> None:
    done = nile.json("--leftover", "kill", "-w", "h[001-003]", *TREE, "--", SERVICE).all_ok()
    assert services(fleet) == []
    for host, result in done.results.items():
        pid = int(done.stdout_of(host))
        assert result["leftover"] == [{"pid": pid, "name": "sleep", "killed": True, "survived": False}]
    assert "nile: left behind, and killed: h[001-003] (3): sleep\n" in nile.command("show", "last").out


def test_what_is_detached_stays_and_is_named_nowhere(nile: Nile, fleet: Lab) -> None:
    """Unless its command fails, or is out of time."""
    command = f"{SERVICE}; case $NILE_HOST in h002) exit 3;; h003) sleep 60;; esac"
    try:
        done = nile.json("--detach", "-u", "2", "--grace", "0.5", "-w", "h[001-003]", *TREE, "--", command)
        assert done.verdicts == {"h001": "ok", "h002": "failed", "h003": "timeout"}
        assert done.results["h001"]["leftover"] == []
        assert [process.host for process in services(fleet)] == ["h001"]
        assert "left running" not in nile.command("show", "last").out
    finally:
        end_services(fleet)


def test_leftover_fail(nile: Nile, fleet: Lab) -> None:
    try:
        done = nile.json(
            "--leftover", "fail", "-w", "h[001-002]", "--", f"[ $NILE_HOST = h002 ] || {{ {SERVICE}; }}"
        )
        assert (done.code, done.verdicts) == (1, {"h001": "failed", "h002": "ok"})
        assert (done.results["h001"]["code"], done.results["h001"]["rc"]) == ("leftover", 0)
    finally:
        end_services(fleet)


@pytest.mark.parametrize("end", ["exit 3", "kill -KILL $$"])
def test_what_a_failed_command_leaves_behind_is_killed(nile: Nile, fleet: Lab, end: str) -> None:
    done = nile.json("-w", "h[001-002]", "--", f"{SERVICE}; {end}")
    assert services(fleet) == []
    assert set(done.verdicts.values()) == {"failed"}
    assert [entry["killed"] for entry in done.results["h001"]["leftover"]] == [True]


def test_a_command_that_puts_too_much_into_its_scratch_is_ended(nile: Nile) -> None:
    command = "[ $NILE_HOST = h002 ] || head -c 3000000 /dev/zero >$NILE_SCRATCH/x; sleep 3"
    done = nile.json("--scratch", "1M", "--grace", "20", "-w", "h[001-003]", *TREE, "--", command)
    assert done.verdicts == {"h001": "failed", "h002": "ok", "h003": "failed"}
    told = done.results["h003"]
    assert (told["code"], told["signal"]) == ("scratch", 15)


def test_a_leftover_has_no_scratch_any_more(nile: Nile, fleet: Lab) -> None:
    """The scratch ends with the run; the `fleet` fixture sees that nothing is in memory."""
    try:
        nile.json("-w", "h001", "--", f"cd $NILE_SCRATCH; {SERVICE}").all_ok()
        assert len(services(fleet)) == 1
    finally:
        end_services(fleet)


def test_a_dead_file_system_on_a_relay_holds_up_its_command_alone(nile: Nile, fleet: Lab) -> None:
    """h001 leads to h002 and h003, which have that directory too."""
    place = "/srv/share"
    for host in ("h002", "h003"):
        (root_of(fleet, host) / "srv/share").mkdir()
    made = nile.with_routes(tree={"h001": ["h002", "h003"]})
    with dead_directory(place, lambda words: fleet.host_argv("h001", words)):
        done = made.json("-w", "h[001-003]", "--cwd", place, "-u", "3", "--grace", "1", "--", "pwd")
    assert done.verdicts == {"h001": "timeout", "h002": "ok", "h003": "ok"}
    assert done.results["h001"]["rc"] is None
    assert max(done.results[host]["t_end_s"] for host in ("h002", "h003")) < done.results["h001"]["t_end_s"]
    assert not done.notices, "no link was taken for lost"
    for host in ("h002", "h003"):
        (root_of(fleet, host) / "srv/share").rmdir()
