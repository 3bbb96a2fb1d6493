"""Hosts that aren't like the others: one lab, in which each is odd in its own way, as relay and as leaf."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from nile.lab import BackendName, Lab, LabSpec
from nile.lab.state import LabFiles
from tests.cluster import oddities
from tests.cluster.hosts import processes, root_of
from tests.cluster.running import Nile
from tests.cluster.test_pythons import pythons
from tests.lab.helpers import eventually

pytestmark = pytest.mark.cluster

NOEXEC, FULL, FULL_MEMORY, FEW, ALIEN, FEWER = "h001", "h002", "h003", "h004", "h005", "h015"
SIX = {"h006": "fd77::6", "h007": "fd77::7"}
JUMPED, JUMP, OTHER_USER, AHEAD, BEHIND, BUSY, PLAIN = "h008", "h009", "h010", "h012", "h014", "h013", "h016"
CHILDREN, SOME = "h[017-041]", "h[017-024]"
SIX_PORT, USER_PORT, CLOCK_PORT = 2222, 2022, 2023
YEAR_S = 31_536_000
USER = "daemon"


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The lab; the older half of the relays has the oldest Python, which knows no memfd."""
    place = tmp_path_factory.mktemp("odd")
    oldest = next(iter(pythons().values()))
    spec = LabSpec(hosts=41, backend=BackendName.NETNS, python={"h[001,003,006]": oldest}, no_python=BUSY)
    with Lab.up(spec, place / "lab", tied=True) as lab, contextlib.ExitStack() as stack:
        enter = stack.enter_context
        enter(oddities.noexec(lab, NOEXEC))
        enter(oddities.full(lab, FULL, "/tmp"))
        enter(oddities.full(lab, FULL_MEMORY, "/dev/shm"))
        enter(oddities.few_files(lab, FEW, 100))
        enter(oddities.few_files(lab, FEWER, 40))
        enter(oddities.called(lab, ALIEN, "localhost"))
        enter(oddities.with_ipv6(lab, "", "fd77::1", 0))
        for host, address in SIX.items():
            enter(oddities.with_ipv6(lab, host, address, SIX_PORT))
        enter(oddities.with_user(lab, OTHER_USER, USER, USER_PORT))
        enter(oddities.clock(lab, AHEAD, 3 * YEAR_S, CLOCK_PORT))
        enter(oddities.clock(lab, BEHIND, -10 * YEAR_S, CLOCK_PORT))
        enter(oddities.busybox(lab, BUSY))
        enter(oddities.ssh_config(lab, jumping(lab), place / "ssh_config"))
        yield lab


def jumping(lab: Lab) -> str:
    """An ssh_config by which one host is reached over another one alone."""
    lines = [f"Host {JUMPED}", f"  ProxyJump {JUMP}", f"Host {JUMP}", "  User root"]
    lines += [f'  IdentityFile "{LabFiles(lab.directory).key}"', "  IdentitiesOnly yes"]
    return "\n".join([*lines, f'  UserKnownHostsFile "{LabFiles(lab.directory).known_hosts}"', ""])


@pytest.fixture
def nile(odd: Lab, tmp_path: Path) -> Iterator[Nile]:
    """The command line, with a route file that knows where these hosts are odd; nothing is left on them."""
    known = LabFiles(odd.directory).known_hosts.read_text()
    for host, address in SIX.items():  # by that name alone
        (line,) = (each for each in known.splitlines() if each.startswith(f"{host},"))
        known += f"[{address}]:{SIX_PORT} {line.partition(' ')[2]}\n"
    (tmp_path / "known_hosts").write_text(known)
    content = yaml.safe_load(odd.routes_file.read_text())
    groups: dict[str, Any] = {
        "six": {"hosts": list(SIX.values()), "port": SIX_PORT},
        "theirs": {"hosts": OTHER_USER, "user": USER, "port": USER_PORT},
        "clocks": {"hosts": f"{AHEAD},{BEHIND}", "port": CLOCK_PORT},
    }
    ssh = {**content["ssh"], "options": {"UserKnownHostsFile": str(tmp_path / "known_hosts")}}
    yield Nile(odd, tmp_path).with_routes("odd", groups=groups, ssh=ssh)
    eventually(lambda: not processes(odd), "no process is left on any host", within_s=10)


RELAYS = (NOEXEC, FULL, FEW, ALIEN, SIX["h006"], JUMPED, OTHER_USER, AHEAD)
LOOK = (
    "echo $NILE_HOST $NILE_PARENT; hostname; id -un; date +%s; ulimit -n; echo $SSH_CONNECTION;"
    " echo kept >$NILE_SCRATCH/x && cat $NILE_SCRATCH/x"
)
CLOCKS = {AHEAD: 3 * YEAR_S, BEHIND: -10 * YEAR_S}


def check(told: dict[str, list[str]]) -> None:
    """What hosts said to `LOOK`, each where it is odd."""
    for host, (names, own, user, now, most, connection, kept) in told.items():
        assert names.split()[0] == host
        assert kept == "kept"
        assert own == {ALIEN: "localhost", **{six: name for name, six in SIX.items()}}.get(host, host)
        assert (user == USER) == (host == OTHER_USER)
        assert (most == "100") == (host == FEW)
        assert abs(int(now) - CLOCKS.get(host, 0) - time.time()) < 60, host
        port = {OTHER_USER: USER_PORT, **dict.fromkeys(SIX.values(), SIX_PORT)}.get(host, 22)
        assert int(connection.split()[3]) == (CLOCK_PORT if host in CLOCKS else port)
        assert connection.split()[2] == host or host not in SIX.values()


def test_each_of_them_relays(nile: Nile) -> None:
    """Below each is a host like all others; but IPv6 below IPv6, and a late clock below an early one."""
    below = {relay: f"h{number:03}" for number, relay in enumerate(RELAYS, start=17)}
    below |= {SIX["h006"]: SIX["h007"], AHEAD: BEHIND}
    asked = ",".join([*below, *below.values()])
    done = nile.with_routes(tree=below).json("-w", asked, "--", LOOK).all_ok()
    told = {host: done.stdout_of(host).splitlines() for host in done.results}
    for relay, child in below.items():
        assert done.results[child]["path"] == ["root", relay, child]
        assert told[child][0] == f"{child} {relay}"
    check(told)
    assert told[JUMPED][5].split()[0] == nile.lab.addresses[JUMP]


def test_each_of_them_is_a_leaf(nile: Nile) -> None:
    """Below a relay, which has no configuration for a way over another host."""
    hosts = [NOEXEC, FULL, FEW, ALIEN, OTHER_USER, AHEAD, BEHIND, BUSY]
    words = ("-w", ",".join(hosts), "--branches", "9", "--", LOOK)
    done = nile.with_routes(tree={PLAIN: hosts}).json(*words).all_ok()
    check({host: done.stdout_of(host).splitlines() for host in hosts})
    assert {host for host in hosts if "shell alone" in done.results[host]["reason"]} == {BUSY}


def test_a_script_and_what_is_copied_need_nothing_of_tmp(nile: Nile, tmp_path: Path) -> None:
    """Where nothing may be executed, and where nothing can be written; and times are those of the source."""
    hosts = [NOEXEC, FULL, AHEAD, BEHIND]
    script = tmp_path / "look.sh"
    script.write_text("#!/bin/bash\necho ran $1\n")
    done = nile.json("-w", ",".join(hosts), "--tree", "flat", "--script", str(script), "--", "here").all_ok()
    assert {done.stdout_of(host) for host in hosts} == {"ran here\n"}
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_text("text")
    os.utime(source / "file", (1_000_000_000, 1_000_000_000))
    words = ("sync", "--routes", str(nile.routes), "--json", "-w", ",".join(hosts), f"{source}/", "/srv/copy")
    nile.command(*words).all_ok()
    for host in hosts:
        copied = (root_of(nile.lab, host) / "srv/copy/file").stat()
        assert (copied.st_size, int(copied.st_mtime)) == (4, 1_000_000_000)


def test_time_outs_and_ends_go_by_no_clock_that_can_be_set(nile: Nile) -> None:
    drawn = nile.with_routes("brisk", tree={AHEAD: BEHIND}, timeouts={"lease": "2s"})
    words = ("-w", f"{AHEAD},{BEHIND}", "-u", "2.5", "--grace", "0.5", "--", "sleep 99")
    began = time.monotonic()
    done = drawn.json(*words)
    assert set(done.verdicts.values()) == {"timeout"}  # and no lease was over before
    assert time.monotonic() - began < 30
    for result in done.results.values():
        assert 2.4 < result["t_end_s"] - result["t_ready_s"] < 15


def test_as_many_branches_as_there_are_files_for(nile: Nile) -> None:
    """25 of them need no more than 100."""
    done = nile.with_routes(tree={FEW: CHILDREN}).json("-w", CHILDREN, "--branches", "25", "--", "sleep 1")
    assert {tuple(result["path"][:2]) for result in done.all_ok().results.values()} == {("root", FEW)}


BRIEF = {"connect": "3s"}
"""So long a relay waits for files that others give back."""


def test_whom_a_relay_has_no_files_for_others_take(nile: Nile) -> None:
    """Those that it has reached already do, where it is the only gateway."""
    drawn = nile.with_routes(groups={"below": {"hosts": SOME, "via": FEWER}}, timeouts=BRIEF)
    done = drawn.json("-w", SOME, "--", "sleep 4").all_ok()
    paths = [result["path"] for result in done.results.values()]
    assert {path[1] for path in paths} == {FEWER}
    assert 2 < sum(len(path) == 3 for path in paths) < 8


def test_whom_nobody_can_take_is_told_why(nile: Nile) -> None:
    below = {"below": {"hosts": SOME, "via": FEWER, "relay": "no"}}
    drawn = nile.with_routes(groups=below, timeouts=BRIEF)
    done = drawn.json("-k", "-w", SOME, "--", "sleep 30")
    out = [result for result in done.results.values() if result["verdict"] == "unreachable"]
    assert 0 < len(out) < 6
    assert {result["code"] for result in out} == {"open-files"}
    assert all("the relay may open no more files (see ulimit -n there)" in result["reason"] for result in out)


def test_a_relay_whose_memory_is_full_says_so_and_others_take_over(nile: Nile) -> None:
    """The oldest Python has no other place for what its ssh is to know."""
    done = nile.with_routes(tree={FULL_MEMORY: "h017", PLAIN: []}).json(
        "-w", f"{FULL_MEMORY},{PLAIN},h017", "--", "true"
    )
    done.all_ok()
    assert FULL_MEMORY not in done.results["h017"]["path"]
    gated = nile.with_routes(groups={"below": {"hosts": "h017", "via": FULL_MEMORY}})
    done = gated.json("-w", f"h017,{FULL_MEMORY}", "--", "true")
    assert done.verdicts == {"h017": "unreachable", FULL_MEMORY: "ok"}
    assert "the relay's memory file system (/dev/shm) is full" in done.results["h017"]["reason"]
    assert done.results["h017"]["code"] == "no-ssh"
