"""The root is killed; another one takes the living tree over, and nothing runs twice or is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nile.controller.attaching import SEEN_EVERY_S
from nile.lab import Lab
from tests.cluster.hosts import commands, names_of, pids, processes, root_of
from tests.cluster.running import Done, Nile
from tests.lab.helpers import eventually

pytestmark = pytest.mark.cluster

HOSTS = [f"h{number:03}" for number in range(1, 31)]
SET = "h[001-030]"
TREE = {
    "h001": {"h002": "h[003-008]", "h009": "h[010-012]"},
    "h013": [],
    "h014": {"h015": "h[016-022]", "h023": "h[024-030]"},
}
LEASE_S, GRACE_S = 12, 1
# Enough output to fill the window of a stream while nobody reads it.
COMMAND = (
    "echo x >> /srv/ran; echo begun; while [ ! -e /srv/stop ]; do sleep 0.1; done; "
    "head -c 300000 /dev/zero | tr '\\0' .; echo over"
)
PRINTED = "begun\n" + 300_000 * "." + "over\n"


@pytest.fixture
def nile(sixty: Nile) -> Iterator[Nile]:
    """On thirty hosts, in three stages."""
    times = {"lease": f"{LEASE_S}s", "connect": "5s"}
    yield sixty.with_routes("attach", tree=TREE, limits={"branches": 20, "stages": 3}, timeouts=times)
    for pid in pids(sixty.lab).values():
        for name in ("stop", "ran"):
            Path(f"/proc/{pid}/root/srv/{name}").unlink(missing_ok=True)


def let_go(lab: Lab) -> None:
    """Have the commands end, on all hosts that are up."""
    for host in pids(lab):
        (root_of(lab, host) / "srv/stop").touch()


def ran(lab: Lab, host: str) -> int:
    file = root_of(lab, host) / "srv/ran"
    return file.read_text().count("x") if file.exists() else 0


def up_s(lab: Lab) -> float:
    """For how long the host that was booted last has been up."""
    started = [
        Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19] for pid in pids(lab).values()
    ]
    return time.clock_gettime(time.CLOCK_BOOTTIME) - max(map(int, started)) / os.sysconf("SC_CLK_TCK")


def killed_once_at(nile: Nile, begun: int) -> None:
    """A run whose root is killed once so many commands run.

    On hosts that were up before: on one that may have been booted since the run began nothing starts again.
    """
    eventually(lambda: up_s(nile.lab) > 4, "all hosts have been up for some seconds")
    with nile.started("-w", SET, "--grace", f"{GRACE_S}s", "--", COMMAND) as run:
        eventually(lambda: len(names_of(commands(nile.lab))) >= begun, f"{begun} commands run")
        run.signal(signal.SIGKILL)
        run.process.wait()


def attached(nile: Nile) -> Done:
    return nile.command("attach", "--json", "last")


def check(nile: Nile, done: Done, lost: frozenset[str] = frozenset()) -> None:
    assert done.verdicts == {host: "lost" if host in lost else "ok" for host in HOSTS}, done.err
    alive = set(HOSTS) - lost
    assert {host: ran(nile.lab, host) for host in alive} == dict.fromkeys(alive, 1)
    assert {host for host in alive if done.stdout_of(host) != PRINTED} == set()
    eventually(lambda: not processes(nile.lab), "nothing of the run is left", 5)


@pytest.mark.parametrize("begun", [1, 30])
def test_whenever_it_dies(nile: Nile, begun: int) -> None:
    """Before most hosts were logged in to, in the middle of it, and with all commands running."""
    killed_once_at(nile, begun)
    let_go(nile.lab)
    done = attached(nile)
    check(nile, done)
    assert done.code == 0
    for host in HOSTS[::10]:
        assert list((root_of(nile.lab, host) / "dev/shm").glob("nile-*")) == []


def test_a_relay_that_dies_while_there_is_no_root(nile: Nile) -> None:
    killed_once_at(nile, 30)
    nile.lab.crash("h002")
    let_go(nile.lab)
    check(nile, attached(nile), lost=frozenset({"h002"}))


def test_the_second_root_dies_too(nile: Nile) -> None:
    killed_once_at(nile, 30)
    heir = subprocess.Popen(nile.argv("attach", "last"), env=nile.environment(), stderr=subprocess.PIPE)
    try:
        assert heir.stderr is not None
        assert b"0 of 30 hosts had their verdict" in heir.stderr.readline()
        time.sleep(1.0)  # somewhere in the middle of it
    finally:
        heir.kill()
        heir.communicate()
    let_go(nile.lab)
    check(nile, attached(nile))


def test_after_the_lease_there_is_nothing_to_attach_to(nile: Nile) -> None:
    short = nile.with_routes("short", tree=TREE, timeouts={"lease": "3s"})
    killed_once_at(short, 30)
    died = time.monotonic()
    eventually(lambda: not processes(nile.lab), "the lease is over", 30)
    time.sleep(max(0.0, died + 3 + SEEN_EVERY_S + 0.5 - time.monotonic()))
    done = short.command("attach", "last")
    assert (done.code, done.out) == (2, "")
    assert "commands live on for 3 s" in done.err
    assert {ran(nile.lab, host) for host in HOSTS} == {1}


def test_a_script_goes_on_with_its_variables(nile: Nile, tmp_path: Path) -> None:
    """Its text is in the store, the values of its variables aren't: who goes on with it gives them again."""
    path = tmp_path / "script"
    path.write_text(f'[ "$WORD" = sesame ] || exit 9\n{COMMAND}\n')
    given = ("--env", "WORD=sesame", "--script", str(path), "-f", "2")
    with nile.started("-w", "h[001-006]", "--grace", f"{GRACE_S}s", *given) as run:
        eventually(lambda: len({name for name in HOSTS if ran(nile.lab, name)}) >= 2, "two of them run")
        run.signal(signal.SIGKILL)
    path.unlink()
    refused = nile.command("attach", "last")
    assert (refused.code, "aren't recorded: WORD" in refused.err) == (2, True)
    assert "nile attach --env WORD=..." in refused.err
    let_go(nile.lab)
    done = nile.command("attach", "--json", "--env", "WORD", "last", WORD="sesame").all_ok()
    assert [ran(nile.lab, host) for host in done.results] == [1] * 6
