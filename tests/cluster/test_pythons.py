"""Agents of every Python that this machine has, in one tree: old above new, and new above old."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nile.lab import BackendName, Lab, LabSpec
from tests.cluster.faults import kill_agent
from tests.cluster.hosts import Seen, processes, root_of
from tests.cluster.running import Nile, pieces
from tests.lab.helpers import eventually

pytestmark = pytest.mark.cluster

HOSTS = 16
WITHOUT, PLATFORM = "h016", "h015"
TELL = "readlink /proc/$PPID/exe; echo $NILE_PARENT"


def pythons() -> dict[str, str]:
    """Version (3.6 ...) -> an interpreter of it, oldest first: those on the PATH, and pyenv's."""
    places = [Path(place) for place in os.environ["PATH"].split(":") if "shims" not in place]
    places += sorted(Path("~/.pyenv/versions").expanduser().glob("*/bin"))
    files = [file for place in places for file in place.glob("python3.*")]
    found: dict[int, str] = {}
    for path in [Path(sys.executable), *(file for file in files if re.fullmatch(r"python3\.\d+", file.name))]:
        words = [str(path), "-ISc", "import sys; print('%d.%d' % sys.version_info[:2])"]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            found.setdefault(int(done.stdout.split(".")[1]), str(path))
    return {f"3.{minor}": found[minor] for minor in sorted(found) if minor >= 6}


@pytest.fixture(scope="module")
def versions() -> dict[str, str]:
    return pythons()


@pytest.fixture(scope="module")
def mixed(versions: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """h001 and h003 have the oldest Python, h002 and h004 the newest, h005 and on all of them in turn."""
    paths = list(versions.values())
    given = {"h001": paths[0], "h002": paths[-1], "h003": paths[0], "h004": paths[-1]}
    given |= {f"h{number:03}": paths[number % len(paths)] for number in range(5, 15)}
    spec = LabSpec(hosts=HOSTS, backend=BackendName.NETNS, python=given, no_python=f"{PLATFORM},{WITHOUT}")
    with Lab.up(spec, tmp_path_factory.mktemp("labs") / "mixed", tied=True) as lab:
        yield lab


@pytest.fixture
def nile(mixed: Lab, tmp_path: Path) -> Iterator[Nile]:
    yield Nile(mixed, tmp_path)
    eventually(lambda: not processes(mixed), "no process is left on any host")


def test_old_above_new_and_new_above_old(nile: Nile, mixed: Lab, versions: dict[str, str]) -> None:
    tree = {"h001": {"h002": {"h003": "h[005-007]"}}, "h004": {"h008": ["h[009-011]"], "h012": "h[013-014]"}}
    drawn = nile.with_routes(tree=tree, limits={"stages": 4})
    done = drawn.json("-w", "h[001-014]", "--", TELL).all_ok()
    real = {host: os.path.realpath(path) for host, path in mixed.spec.python.items()}
    for host in done.results:
        assert done.stdout_of(host).splitlines()[0] == real[host]
    if len(versions) > 1:
        assert real["h001"] != real["h002"]


def test_output_and_time_outs_work_with_every_python(nile: Nile) -> None:
    command = "seq 50000 | tail -1; setsid sleep 999 & sleep 999"
    done = nile.json("-w", "h[001-014]", "--branches", "4", "-u", "1.5", "--grace", "0.5", "--", command)
    assert set(done.verdicts.values()) == {"timeout"}
    assert {done.stdout_of(host) for host in done.results} == {"50000\n"}


def test_stdin_works_with_every_python(nile: Nile) -> None:
    words = ("--stdin", "-w", "h[001-014]", "--branches", "4", "--", "wc -c")
    done = nile.json(*words, stdin=b"x" * 600_000).all_ok()
    assert {done.stdout_of(host) for host in done.results} == {"600000\n"}


SCRIPT = b"""import os, resource, sys
print(sys.argv[1:], os.environ["MODE"], os.getcwd(), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
print("%d.%d" % sys.version_info[:2], os.readlink(sys.argv[0]).split("/")[1].split(":")[0])
"""


def test_scripts_run_in_memory_with_every_python(nile: Nile, mixed: Lab, tmp_path: Path) -> None:
    path = tmp_path / "look.py"
    path.write_bytes(SCRIPT)
    for host in ("h001", "h002"):  # an old one and a new one, where nothing in memory may be executed
        assert mixed.run_on(host, ["mount", "-o", "remount,noexec", "/dev/shm"]).returncode == 0
    given = ("--env", "MODE=a b", "--cwd", "/usr", "--rlimit", "nofile=77", "--script", str(path))
    done = nile.json("-w", "h[001-014]", "--branches", "4", *given, "--", "-x", "$HOME").all_ok()
    for host in done.results:
        said, told = done.stdout_of(host).splitlines()
        assert said == "['-x', '$HOME'] a b /usr 77"
        version, place = told.split()
        assert place == ("memfd" if int(version.split(".")[1]) >= 8 else "dev")


BY_A_SHELL = "run by a shell alone: it has no Python"
SLEEPERS = "setsid sleep 987 & sleep 987 & sleep 987"
OTHER_STREAM = "head -c 700000 /dev/urandom | od -v -An -tx1 | tee /dev/stderr; exit 3"


def sleepers(lab: Lab) -> list[Seen]:
    """What `SLEEPERS` started on the host without Python."""
    return [seen for seen in processes(lab, [WITHOUT]) if seen.argv == ("sleep", "987")]


def test_a_host_without_python_runs_its_command_by_a_shell(nile: Nile) -> None:
    """Right below the root, and below relays of an old and of a new Python."""
    command = """printf '%s|' "$NILE_HOST" "$NILE_PARENT" "$0" 'a  "b' "$(id -u)"; echo ä >&2; exit 3"""
    for parent in ("", "h001", "h002"):
        drawn = nile.with_routes(f"below{parent}", tree={parent: WITHOUT} if parent else {WITHOUT: []})
        done = drawn.json("-w", WITHOUT + f",{parent}" * bool(parent), "--", command)
        result = done.results[WITHOUT]
        assert (result["verdict"], result["rc"]) == ("failed", 3), (parent, result["reason"], done.notices)
        assert result["reason"] == f"exit status 3; {BY_A_SHELL}"
        assert done.stdout_of(WITHOUT).split("|")[:2] == [WITHOUT, parent or "root"]
        assert done.stdout_of(WITHOUT).split("|")[3:] == ['a  "b', "0", ""]
        assert result["stderr"] == "ä\n"
        assert any("no Python 3.6 or later was found: it runs" in text for text in done.notices)
    shown = nile.exec("-w", WITHOUT, "--tree", "flat", "--", "hostname")
    assert (shown.code, shown.out) == (0, f"{WITHOUT}: {WITHOUT}\n")


def test_all_that_a_shell_leaf_prints_comes(nile: Nile) -> None:
    drawn = nile.with_routes(tree={"h001": WITHOUT})
    done = drawn.json("-w", WITHOUT, "--", OTHER_STREAM)
    result = done.results[WITHOUT]
    told = [result[key] for key in ("verdict", "rc", "code", "reason")]
    assert told[:2] == ["failed", 3], f"{told} {done.notices}"
    out, err = pieces(done.events, WITHOUT), pieces(done.events, WITHOUT, "stderr")
    assert len(out) > 2_000_000
    assert out == err


def test_a_shell_leaf_is_timed_out_with_all_that_descends(nile: Nile) -> None:
    command = "setsid sleep 987 & env -i setsid sleep 987 & trap '' TERM; sleep 987; sleep 987"
    words = ("-w", WITHOUT, "--tree", "flat", "-u", "1", "--grace", "0.5", "--", command)
    done = nile.json(*words)
    assert done.verdicts == {WITHOUT: "timeout"}
    assert {left["name"] for left in done.results[WITHOUT]["leftover"]} >= {"sleep"}
    assert all(left["killed"] for left in done.results[WITHOUT]["leftover"])


def test_a_script_runs_by_a_shell_leaf(nile: Nile, tmp_path: Path) -> None:
    path = tmp_path / "look.sh"
    path.write_bytes(b'#!/bin/bash\nulimit -n\npwd; printf \'%s|\' "$@" "$MODE" \xff\n')
    given = ("--env", "MODE=a 'b", "--cwd", "/usr", "--rlimit", "nofile=77", "--script", str(path))
    drawn = nile.with_routes(tree={"h001": WITHOUT})
    done = drawn.json("-w", WITHOUT, *given, "--", "-x", "$HOME").all_ok()
    assert pieces(done.events, WITHOUT) == b"77\n/usr\n-x|$HOME|a 'b|\xff|"
    path = tmp_path / "look.py"
    path.write_bytes(b"print(1)")
    refused = nile.json("-w", WITHOUT, "--tree", "flat", "--script", str(path))
    assert refused.results[WITHOUT]["code"] == "spawn"
    assert refused.results[WITHOUT]["reason"].startswith("--script: its interpreter python3: there is none")
    refused = nile.json("-w", WITHOUT, "--tree", "flat", "--cwd", "/nowhere", "--", "true")
    assert (refused.results[WITHOUT]["verdict"], refused.results[WITHOUT]["code"]) == ("failed", "spawn")
    assert "/nowhere" in refused.results[WITHOUT]["reason"]


def test_what_feeds_a_host_needs_python_there(nile: Nile, tmp_path: Path) -> None:
    done = nile.json("--stdin", "-w", f"h001,{WITHOUT}", "--tree", "flat", "--", "cat", stdin=b"x")
    assert (done.code, done.verdicts) == (4, {"h001": "ok", WITHOUT: "unreachable"})
    assert done.results[WITHOUT]["code"] == "no-python"
    (tmp_path / "source").mkdir()
    words = ("-w", WITHOUT, f"{tmp_path}/source/", "/srv/copied")
    copied = nile.command("sync", "--routes", str(nile.routes), *words)
    assert (copied.code, "Install Python" in copied.err) == (4, True)
    shown = nile.exec("--stdin", "-w", WITHOUT, "--tree", "flat", "--", "cat")
    assert "no Python 3.6 or later" in shown.err
    assert "Install Python" in shown.err


def test_ctrl_c_ends_what_a_shell_leaf_runs(nile: Nile, mixed: Lab) -> None:
    drawn = nile.with_routes(tree={"h001": WITHOUT})
    with drawn.started("--json", "--grace", "0.5", "-w", WITHOUT, "--", SLEEPERS) as run:
        eventually(lambda: len(sleepers(mixed)) == 3, "the command runs")
        run.signal(signal.SIGINT)
        done = run.wait()
    assert (done.code, done.verdicts) == (130, {WITHOUT: "cancelled"})
    assert not sleepers(mixed)
    assert done.results[WITHOUT]["reason"].endswith(BY_A_SHELL)


@pytest.mark.parametrize("who", ["root", "relay", "shell"])
def test_nothing_survives_at_a_shell_leaf_whoever_is_killed(nile: Nile, mixed: Lab, who: str) -> None:
    drawn = nile.with_routes(tree={"h001": WITHOUT}, timeouts={"lease": "4s"})
    with drawn.started("--json", "--grace", "0.5", "-w", f"h001,{WITHOUT}", "--", SLEEPERS) as run:
        eventually(lambda: len(sleepers(mixed)) == 3, "the command runs")
        if who == "root":
            os.kill(run.pid, signal.SIGKILL)
        elif who == "relay":
            kill_agent(mixed, "h001")
        else:
            shells = [seen.pid for seen in processes(mixed, [WITHOUT]) if "read -r l" in " ".join(seen.argv)]
            os.kill(min(shells), signal.SIGKILL)  # those below it bear its name
        eventually(lambda: not sleepers(mixed), "nothing is left at the leaf", within_s=20)
        if who != "root":
            os.kill(run.pid, signal.SIGINT)
            assert run.wait().verdicts[WITHOUT] == "lost"


def test_what_hangs_below_a_host_without_python_is_taken_by_others(nile: Nile) -> None:
    """Unless there is no other way."""
    drawn = nile.with_routes(tree={WITHOUT: "h[001-002]", "h003": []})
    words = ("-w", f"h[001-003],{WITHOUT}", "--", "hostname")
    done = drawn.json(*words).all_ok()
    assert {WITHOUT} & {name for host in ("h001", "h002") for name in done.results[host]["path"]} == set()
    gated = drawn.with_routes("gated", groups={"below": {"hosts": "h[001-002]", "via": WITHOUT}})
    done = gated.json(*words)
    alone = {host: "ok" if host in ("h003", WITHOUT) else "unreachable" for host in done.results}
    assert done.verdicts == alone
    assert {done.results[host]["code"] for host in ("h001", "h002")} == {"parent"}


def test_only_the_platform_python(nile: Nile, mixed: Lab) -> None:
    """Where python3 is only for the system itself, as on EL 8."""
    behind = root_of(mixed, PLATFORM) / "run/lab/behind"
    there = sorted(path for path in behind.glob("*/python3.*") if re.fullmatch(r"python3\.\d+", path.name))
    assert there, "this machine has no Python in a directory of the system"
    inside = "/" + str(there[-1].relative_to(root_of(mixed, PLATFORM)))
    script = f"mount -t tmpfs tmpfs /usr/libexec && ln -s {inside} /usr/libexec/platform-python"
    assert mixed.run_on(PLATFORM, ["sh", "-c", script]).returncode == 0
    drawn = nile.with_routes(tree={"h001": PLATFORM})
    done = drawn.json("-w", f"h001,{PLATFORM}", "--", "command -v python3; echo $NILE_PARENT").all_ok()
    assert done.stdout_of(PLATFORM) == "h001\n"
    relaying = nile.with_routes("relaying", tree={PLATFORM: "h002"})
    relaying.json("-w", f"h002,{PLATFORM}", "--", "true").all_ok()
