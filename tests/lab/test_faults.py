"""crash, freeze, thaw, cut and mend, in both back ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from nile.errors import LabError
from nile.lab import BackendName, Lab, LabSpec, procs
from tests.lab.helpers import end, eventually, peopled, ssh, start_ssh, state_of

TICK = "while :; do echo tick; echo tick >> ticks; sleep 0.02; done"
HOST, OTHER = "h003", "h004"


@pytest.fixture(
    params=[
        pytest.param("loopback_lab", marks=pytest.mark.lab),
        pytest.param("netns_lab", marks=pytest.mark.cluster),
    ]
)
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    lab: Lab = request.getfixturevalue(request.param)
    yield lab
    lab.heal()
    for host in (HOST, OTHER):
        procs.send([process.pid for process in lab.processes(host)], signal.SIGKILL)


@pytest.fixture
def ticker(lab: Lab) -> Iterator[subprocess.Popen[bytes]]:
    """A session that prints, and writes to a file, as long as it lives."""
    client = start_ssh(lab, HOST, f"rm -f ticks; {TICK}")
    assert client.stdout is not None
    assert client.stdout.readline() == b"tick\n"
    assert client.stdout.readline() == b"tick\n"  # so the file has its first
    os.set_blocking(client.stdout.fileno(), False)
    yield client
    end(client)


def ticks(lab: Lab) -> int:
    return (lab.home(HOST) / "ticks").stat().st_size


def read_all(client: subprocess.Popen[bytes]) -> bytes:
    """What is there to be read, without waiting; empty at a lull."""
    assert client.stdout is not None
    return client.stdout.read() or b""


def state(lab: Lab, host: str) -> str:
    return next(status.state for status in lab.status(probe_s=0.3) if status.host == host)


def connect(lab: Lab, host: str) -> str:
    """What a connection from the root comes to: `connected` (the server speaks), or the name of the error."""
    code = (
        "import socket, sys\ntry:\n socket.create_connection((sys.argv[1], int(sys.argv[2])), 0.5).recv(1)\n"
        "except OSError as error: print(type(error).__name__)\nelse: print('connected')"
    )
    argv = ["python3", "-c", code, lab.addresses[host], str(lab.port)]
    return lab.run_on_root(argv, check=True).stdout.strip()


def test_a_crash_kills_everything_on_a_host_at_once(lab: Lab, ticker: subprocess.Popen[bytes]) -> None:
    assert ssh(lab, HOST, "(env -i setsid sleep 1000 <&- >/dev/null 2>&1 &)").returncode == 0
    eventually(lambda: "sleep" in {p.name for p in lab.processes(HOST) if "1000" in p.argv}, "it daemonised")
    pids = [process.pid for process in lab.processes(HOST)]
    lab.crash(HOST)
    eventually(lambda: not any(state_of(pid) for pid in pids), "all of its processes are gone")
    eventually(lambda: ticker.poll() is not None, "the client lost its connection")
    assert ticker.returncode == 255
    assert state(lab, HOST) == "crashed"
    assert state(lab, OTHER) == "up"
    assert connect(lab, HOST) != "connected"
    with pytest.raises(LabError, match="crashed"):
        lab.freeze(HOST)


def test_a_host_that_crashed_starts_again_with_its_address_and_key(lab: Lab) -> None:
    lab.crash(HOST)
    lab.crash(HOST)  # no harm
    lab.mend(HOST)
    assert state(lab, HOST) == "up"
    assert ssh(lab, HOST, "echo here").stdout == b"here\n"


def test_a_frozen_host_does_nothing_until_it_thaws(lab: Lab, ticker: subprocess.Popen[bytes]) -> None:
    lab.freeze(HOST)
    before = ticks(lab)
    read_all(ticker)
    assert state(lab, HOST) == "frozen"  # the probe's wait is time for many ticks
    assert state(lab, OTHER) == "up"
    assert (ticks(lab), read_all(ticker), ticker.poll()) == (before, b"", None)
    lab.thaw(HOST)
    eventually(lambda: ticks(lab) > before, "it goes on")
    eventually(lambda: read_all(ticker), "the session goes on")
    assert state(lab, HOST) == "up"


def test_a_frozen_host_can_crash(lab: Lab, ticker: subprocess.Popen[bytes]) -> None:
    lab.freeze(HOST)
    lab.crash(HOST)
    assert state(lab, HOST) == "crashed"
    lab.mend(HOST)
    assert state(lab, HOST) == "up"


def test_a_cut_host_goes_on_and_says_nothing(lab: Lab, ticker: subprocess.Popen[bytes]) -> None:
    lab.cut(HOST)
    before = ticks(lab)
    eventually(lambda: not read_all(ticker), "what was under way arrived")
    eventually(lambda: ticks(lab) > before + 50, "its processes go on")
    assert (read_all(ticker), ticker.poll()) == (b"", None)  # no reset, no end
    assert state(lab, HOST) == "cut"
    assert connect(lab, HOST) == "TimeoutError"
    assert connect(lab, OTHER) == "connected"
    lab.mend(HOST)
    eventually(lambda: read_all(ticker), "the session goes on")
    assert state(lab, HOST) == "up"


def test_a_host_may_be_cut_and_frozen(lab: Lab) -> None:
    lab.cut(HOST)
    lab.freeze(HOST)
    assert state(lab, HOST) == "frozen, cut"
    lab.thaw(HOST)
    assert state(lab, HOST) == "cut"
    lab.freeze(HOST)
    lab.mend(HOST)
    assert state(lab, HOST) == "frozen"
    lab.thaw(HOST)
    assert state(lab, HOST) == "up"


def test_faults_take_host_sets(lab: Lab) -> None:
    lab.crash("h[003-004]")
    assert {status.host for status in lab.status() if status.state == "crashed"} == {HOST, OTHER}
    lab.heal()
    assert {status.state for status in lab.status()} == {"up"}


def test_a_host_that_dies_by_itself_is_seen(lab: Lab) -> None:
    os.kill(lab.pid(HOST), signal.SIGKILL)
    eventually(lambda: state(lab, HOST) == "crashed", "the supervisor noticed")
    lab.mend(HOST)
    assert ssh(lab, HOST, "echo here").stdout == b"here\n"


def test_a_host_that_is_booted_anew_comes_back_by_itself(lab: Lab, ticker: subprocess.Popen[bytes]) -> None:
    lab.crash(OTHER)
    lab.reboot("h[003-004]")
    eventually(lambda: ticker.poll() is not None, "the client lost its connection")
    eventually(lambda: (state(lab, HOST), state(lab, OTHER)) == ("up", "up"), "both are back")
    assert ssh(lab, HOST, "echo here").stdout == b"here\n"


def test_unknown_hosts_are_refused(lab: Lab) -> None:
    with pytest.raises(LabError, match="h099") as caught:
        lab.crash("h099")
    assert caught.value.where == "crash"


@pytest.mark.lab
def test_a_frozen_loopback_host_cannot_be_cut(loopback_lab: Lab) -> None:
    loopback_lab.freeze(HOST)
    with pytest.raises(LabError, match="frozen"):
        loopback_lab.cut(HOST)


@pytest.mark.lab
def test_without_its_supervisor_a_lab_says_what_to_do(tmp_path: Path) -> None:
    with Lab.up(LabSpec(hosts=1), tmp_path / "orphan", tied=True) as lab:
        os.kill(lab.supervisor, signal.SIGKILL)
        with pytest.raises(LabError, match="doesn't answer") as caught:
            lab.status()
        assert "nile lab down --name orphan" in str(caught.value)


@pytest.mark.cluster
def test_hosts_freeze_without_cgroups_too(tmp_path: Path) -> None:
    from nile.lab.netns import NetnsBackend

    with Lab.up(LabSpec(hosts=1, backend=BackendName.NETNS), tmp_path / "lab", tied=True) as lab:
        pid = lab.pid("h001")
        inside = peopled({"pid": {procs.namespace(pid, "pid") or 0}})
        NetnsBackend._stop_or_continue(pid, signal.SIGSTOP)
        eventually(lambda: {state_of(each) for each in inside} == {"T"}, "all stand still")
        NetnsBackend._stop_or_continue(pid, signal.SIGCONT)
        eventually(lambda: "T" not in {state_of(each) for each in inside}, "all go on")


@pytest.mark.lab
def test_delayed_logins_wait_before_the_command(tmp_path: Path) -> None:
    with Lab.up(LabSpec(hosts=1, delay_login_s=0.4), tmp_path / "lab", tied=True) as lab:
        client = start_ssh(lab, "h001", "echo $0 $HOME; cat")
        eventually(lambda: "sleep" in {p.name for p in lab.processes("h001")}, "the delay")
        printed = client.communicate(b"in", timeout=20)[0]
        assert printed.decode() == f"{_shell_name()} {lab.home('h001')}\nin"


def _shell_name() -> str:
    from nile.lab.login import lab_user

    return lab_user()[1]


@pytest.mark.lab
def test_two_labs_live_side_by_side(tmp_path: Path) -> None:
    with (
        Lab.up(LabSpec(hosts=2), tmp_path / "one", tied=True) as one,
        Lab.up(LabSpec(hosts=2), tmp_path / "two", tied=True) as two,
    ):
        assert not set(one.addresses.values()) & set(two.addresses.values())
        one.crash("h001")
        assert state(two, "h001") == "up"
        assert two.run_on("h001", ["sh", "-c", "pwd"]).stdout.strip() == str(two.home("h001"))


@pytest.mark.lab
def test_a_taken_network_is_passed_over_unless_it_was_asked_for(tmp_path: Path) -> None:
    from nile.lab.loopback import addresses_in, bind_all

    names = ("h001", "h002")
    with socket.socket() as taken:
        taken.bind(("127.213.1.2", 0))
        taken.listen()
        port = taken.getsockname()[1]
        bound = bind_all(["127.213", "127.214"], names, port)
        assert {name: sock.getsockname()[0] for name, sock in bound.items()} == addresses_in("127.214", names)
        for sock in bound.values():
            sock.close()
        with pytest.raises(LabError, match="taken"):
            Lab.up(LabSpec(hosts=2, network="127.213", port=port), tmp_path / "lab")
    assert not (tmp_path / "lab").exists()
