"""Commands that cut hosts off, on hosts that really go away: reboots, ended sessions, networks that are gone.

Sixteen hosts in three stages, in a lab of their own: their boots mustn't disturb
others. What ran where, and when, is in files that outlive a boot.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from nile.lab import BackendName, Lab, LabSpec
from nile.lab.netns import listens
from tests.cluster.hosts import clear_memory, pids, processes
from tests.cluster.running import Done, Nile
from tests.lab.helpers import eventually

pytestmark = pytest.mark.cluster

BOOT_S, LEASE_S = 1.0, 4
TREE = {
    "h001": {"h002": "h[003-005]", "h006": "h[007-009]"},
    "h010": {"h011": "h[012-014]"},
    "h015": [],
    "h016": [],
}
ABOVE = {
    **{f"h{number:03}": "h002" for number in (3, 4, 5)},
    **{f"h{number:03}": "h006" for number in (7, 8, 9)},
    **{f"h{number:03}": "h011" for number in (12, 13, 14)},
    "h002": "h001",
    "h006": "h001",
    "h011": "h010",
}
"""Host -> its relay."""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Hosts that take a second until they begin to boot."""
    spec = LabSpec(hosts=16, backend=BackendName.NETNS, boot_s=BOOT_S)
    with Lab.up(spec, tmp_path_factory.mktemp("labs") / "booting", tied=True) as made:
        yield made


@pytest.fixture
def nile(lab: Lab, tmp_path: Path) -> Iterator[Nile]:
    """The command line, over three stages; afterwards every host is up, and nothing runs there."""
    times = {"lease": f"{LEASE_S}s", "connect": "5s"}
    yield Nile(lab, tmp_path).with_routes(
        "three", tree=TREE, limits={"branches": 4, "stages": 3}, timeouts=times
    )
    all_up(lab)
    eventually(lambda: not processes(lab), "no process is left on any host", LEASE_S + 8)
    clear_memory(lab)


@pytest.fixture
def notes() -> Iterator[Path]:
    """A directory that all hosts share, and that outlives them."""
    directory = Path(tempfile.mkdtemp(prefix="nile-test-", dir="/var/tmp"))
    yield directory
    shutil.rmtree(directory)


def all_up(lab: Lab) -> None:
    def up() -> bool:
        running = pids(lab)
        return len(running) == len(lab.names) and all(listens(pid, lab.port) for pid in running.values())

    eventually(up, "every host is up")


def noting(notes: Path, then: str) -> str:
    """Note when it began, and do what cuts the host off."""
    return f"date +%s.%N >> {notes}/$NILE_HOST; {then}"


def began(lab: Lab, notes: Path) -> dict[str, float]:
    """Host -> when its command began, which was once."""
    times = {host: (notes / host).read_text().split() for host in lab.names}
    assert {host: len(each) for host, each in times.items()} == dict.fromkeys(lab.names, 1)
    return {host: float(each[0]) for host, each in times.items()}


def check_bottom_up(lab: Lab, notes: Path, after_s: float = 0.0) -> None:
    """Nobody began before all below had, by so many seconds."""
    at = began(lab, notes)
    early = {host: at[relay] - at[host] for host, relay in ABOVE.items() if at[relay] - at[host] <= after_s}
    assert early == {}


def boot_ids(lab: Lab) -> dict[str, str]:
    return {
        host: lab.run_on(host, ["cat", "/proc/sys/kernel/random/boot_id"]).stdout.strip()
        for host in lab.names
    }


def told(done: Done) -> set[tuple[str, str | None]]:
    return {(result["verdict"], result["code"]) for result in done.results.values()}


def test_a_reboot(lab: Lab, nile: Nile, notes: Path) -> None:
    before = boot_ids(lab)
    done = nile.json("-a", "--disruptive", "--", noting(notes, "reboot")).all_ok()
    assert told(done) <= {("ok", None), ("ok", "gone-away")}  # `reboot` may end before its host does
    check_bottom_up(lab, notes)
    all_up(lab)
    after = boot_ids(lab)
    assert [host for host in lab.names if before[host] == after[host]] == []
    assert clear_memory(lab) == {}


def test_a_reboot_that_is_waited_for(lab: Lab, nile: Nile, notes: Path) -> None:
    before = boot_ids(lab)
    done = nile.json("-a", "--wait-back", "50s", "--", noting(notes, "reboot")).all_ok()
    assert told(done) == {("ok", "rebooted")}
    assert all(result["reason"].startswith("booted anew, back after ") for result in done.results.values())
    check_bottom_up(lab, notes, BOOT_S)
    after = boot_ids(lab)  # nobody waits here: they are back
    assert [host for host in lab.names if before[host] == after[host]] == []
    assert clear_memory(lab) == {}


def test_what_people_are_told(lab: Lab, nile: Nile, notes: Path) -> None:
    done = nile.exec("-w", "h[012-014]", "--wait-back", "50s", "--", noting(notes, "reboot"))
    assert done.code == 0
    assert "nile: booted anew, and back: h[012-014] (3)\n" in done.err
    assert "3 of 3 hosts ok" in done.err


CUTS = {
    "session": "pkill -9 -f '[s]shd: root@notty'; sleep 1; ",
    "network": "ip link set eth0 down; sleep 5; ip link set eth0 up; ",
}


@pytest.mark.parametrize("cut", CUTS)
def test_a_link_that_the_command_cuts(lab: Lab, nile: Nile, notes: Path, cut: str) -> None:
    command = noting(notes, f"{CUTS[cut]} echo over > {notes}/$NILE_HOST.over")
    done = nile.json("-a", "--disruptive", "--", command).all_ok()
    assert told(done) == {("ok", "gone-away")}
    assert all("it went away after its command had begun" in r["reason"] for r in done.results.values())
    check_bottom_up(lab, notes)
    over = [notes / f"{host}.over" for host in lab.names]  # nobody killed it for that
    eventually(lambda: all(path.exists() for path in over), "the command went on to its end", 10)


def test_a_restart_of_sshd(lab: Lab, nile: Nile, notes: Path) -> None:
    again = "/usr/sbin/sshd -f /run/lab/sshd_config -E /run/lab/sshd.log"
    done = nile.json(
        "-a", "--disruptive", "--", noting(notes, f"kill $(pgrep -o -x sshd); sleep 0.2; {again}")
    )
    assert told(done.all_ok()) == {("ok", None)}  # sessions outlive it
    assert {result["rc"] for result in done.results.values()} == {0}
    check_bottom_up(lab, notes)
    assert nile.json("-a", "--", "true").all_ok()


def test_hosts_that_are_not_booted_or_not_back(lab: Lab, nile: Nile, notes: Path) -> None:
    command = (
        "case $NILE_HOST in h003) exit 0;; h009) exit 3;; h014) ip link set eth0 down;; *) reboot;; esac"
    )
    try:
        done = nile.json("-a", "--wait-back", "8s", "--", noting(notes, command))
    finally:
        lab.reboot("h014")
    assert done.code == 4
    codes = {host: (result["verdict"], result["code"]) for host, result in done.results.items()}
    assert codes.pop("h003") == ("failed", "not-rebooted")
    assert codes.pop("h009") == ("failed", "exit")
    assert codes.pop("h014") == ("timeout", "not-back")
    assert set(codes.values()) == {("ok", "rebooted")}
    check_bottom_up(lab, notes)
