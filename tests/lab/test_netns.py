"""What a netns lab's hosts are: their namespaces, files, logins, wires and Pythons."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nile.errors import LabError
from nile.lab import BackendName, Lab, LabSpec, links, procs
from nile.lab.netns import PACKAGES, find_programs, inspect_python
from tests.lab.helpers import end, eventually, ssh, start_ssh
from tests.lab.test_server import LAB_ONLY

NETNS = BackendName.NETNS
REBOOT_CALL = "import ctypes; ctypes.CDLL(None).reboot(0x1234567)"
"""LINUX_REBOOT_CMD_RESTART, reboot(2)."""
cluster = pytest.mark.cluster


@pytest.fixture(scope="module")
def shaped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab with every option: slow ports and slower uplinks, delayed logins, Pythons, sshd's own limits."""
    spec = LabSpec(
        hosts=6,
        backend=NETNS,
        port=2200,
        switches=2,
        rate="40mbit",
        uplink="20mbit",
        delay_login_s=0.3,
        python={"h[002-003]": sys.executable},
        no_python="h001",
        max_startups="10:30:100",
    )
    with Lab.up(spec, tmp_path_factory.mktemp("labs") / "shaped", tied=True) as lab:
        yield lab


@cluster
def test_a_host_has_its_own_name_processes_and_files(netns_lab: Lab) -> None:
    command = (
        "hostname; cat /etc/hostname; cat /proc/1/comm; ls -A /tmp /srv /dev/shm; ls /run; echo $HOME; pwd"
    )
    lines = ssh(netns_lab, "h002", command).stdout.decode().split()
    masks = ["/dev/shm:", "/srv:", "/tmp:"]
    assert lines == ["h002", "h002", "lab-h002", *masks, "lab", "lock", "sshd", "/root", "/root"]
    assert ssh(netns_lab, "h002", "touch /tmp/mine /srv/mine /root/mine /dev/shm/mine").returncode == 0
    assert not ssh(netns_lab, "h003", "ls -A /tmp /srv /dev/shm /root | grep mine").stdout
    assert not any(Path(place, "mine").exists() for place in ("/tmp", "/srv", "/root", "/dev/shm"))
    assert (netns_lab.home("h002") / "mine").exists()


LOOK = "cat /proc/sys/kernel/random/boot_id /proc/uptime; ls -A /dev/shm /tmp /root | grep mine"


def look(lab: Lab, host: str) -> tuple[str, float, int]:
    """A host's boot id, its uptime in seconds, and how many files of ours are in its memory."""
    boot_id, uptime_s, _, *mine = ssh(lab, host, LOOK).stdout.decode().split()
    return boot_id, float(uptime_s), len(mine)


@cluster
@pytest.mark.parametrize("how", ["reboot", f"exec python3 -c '{REBOOT_CALL}'"])
def test_a_host_reboots_itself(netns_lab: Lab, how: str) -> None:
    """By its `reboot`, or by reboot(2): then it is another boot, with nothing left of the one before."""
    assert ssh(netns_lab, "h002", "touch /dev/shm/mine /tmp/mine /root/mine").returncode == 0
    others, before = look(netns_lab, "h003"), look(netns_lab, "h002")
    first, begun = netns_lab.pid("h002"), time.monotonic()
    ssh(netns_lab, "h002", how)

    def back() -> bool:
        hosts = {status.host: status for status in netns_lab.status(probe_s=0.3)}
        return hosts["h002"].answers and hosts["h002"].pid != first

    eventually(back, "it is up again")
    after = look(netns_lab, "h002")
    assert (before[2], after[2]) == (3, 0)
    assert after[0] not in (before[0], others[0])
    assert after[1] <= time.monotonic() - begun
    assert look(netns_lab, "h003")[0] == others[0]


@cluster
def test_a_host_stays_away_for_as_long_as_its_boot_takes(tmp_path: Path) -> None:
    with Lab.up(LabSpec(hosts=1, backend=NETNS, boot_s=600), tmp_path / "slow", tied=True) as lab:
        ssh(lab, "h001", "reboot")
        eventually(lambda: lab.status(probe_s=0.1)[0].state == "crashed", "it is down")
        lab.mend("h001")  # in a hurry
        assert lab.status()[0].state == "up"
        lab.reboot("h001")
        assert lab.status(probe_s=0.1)[0].state == "crashed"


@cluster
def test_every_kind_of_namespace_is_a_host_s_own(netns_lab: Lab) -> None:
    kinds = ("net", "mnt", "pid", "uts", "ipc")
    command = "for kind in net mnt pid uts ipc; do readlink /proc/self/ns/$kind; done"
    seen = [ssh(netns_lab, host, command).stdout.decode().split() for host in ("h001", "h002")]
    machine = [str(Path(f"/proc/self/ns/{kind}").readlink()) for kind in kinds]
    for first, second, third in zip(*seen, machine, strict=True):
        assert len({first, second, third}) == 3


@cluster
def test_hosts_know_each_other_by_name(netns_lab: Lab) -> None:
    for host in ("h001", "h012", "root"):
        found = netns_lab.run_on("h005", ["getent", "hosts", host]).stdout.split()
        assert found[1:] == [host]
    # h001 is on the first switch, h012 on the second
    code = f"import socket; print(socket.create_connection(('h012', {netns_lab.port}), 5).recv(4).decode())"
    assert netns_lab.run_on("h001", ["/usr/bin/env", "python3", "-c", code]).stdout == "SSH-\n"


@cluster
def test_the_root_has_the_caller_s_files_and_the_lab_s_network(
    netns_lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "note").write_text("mine")
    monkeypatch.chdir(tmp_path)
    done = netns_lab.run_on_root(
        ["sh", "-c", "pwd; cat note; echo; hostname; getent hosts h003; echo $NILE_ROUTES"]
    )
    directory, note, name, *rest = done.stdout.split()
    assert (directory, note, name) == (str(tmp_path), "mine", "root")
    assert rest == [netns_lab.addresses["h003"], "h003", str(netns_lab.routes_file)]
    assert socket.gethostname() != "root"
    assert "h003" not in Path("/etc/hosts").read_text()


@cluster
def test_the_machine_s_own_network_shows_nothing(netns_lab: Lab) -> None:
    links = {link["ifname"] for link in _links([])}
    assert not {name for name in links if name.startswith(("to-h", "sw", "core"))}
    inside = {link["ifname"] for link in _links(netns_lab.root_argv([]))}
    assert inside == {"lo", "eth0"}


def _links(prefix: list[str]) -> list[dict[str, str]]:
    done = subprocess.run([*prefix, "ip", "-json", "link"], capture_output=True, check=True)
    found: list[dict[str, str]] = json.loads(done.stdout)
    return found


@cluster
def test_the_embedded_server_gives_the_environment_that_openssh_gives(
    netns_lab: Lab, loopback_lab: Lab
) -> None:
    def environment(lab: Lab) -> dict[str, str]:
        text = ssh(lab, "h001", "cat /proc/$$/environ; exit").stdout.decode()
        return dict(pair.split("=", 1) for pair in text.split("\0") if pair)

    real, embedded = environment(netns_lab), environment(loopback_lab)
    assert set(embedded) - set(real) == LAB_ONLY
    assert set(real) - set(embedded) == set()
    same = {"USER", "LOGNAME", "SHELL", "PATH", "MAIL"}
    assert {name: embedded[name] for name in same} == {name: real[name] for name in same}
    limits = "umask; ps -o stat= -p $$; grep -E '^Sig(Blk|Ign)' /proc/$$/status; ulimit -n; nice; exit"
    assert ssh(loopback_lab, "h001", limits).stdout == ssh(netns_lab, "h001", limits).stdout


@cluster
def test_sshd_s_limits_are_generous_unless_asked_otherwise(netns_lab: Lab, shaped: Lab) -> None:
    def limit(lab: Lab) -> str:
        done = lab.run_on("h001", [find_programs(), "-T", "-f", "/run/lab/sshd_config"])
        return next(line for line in done.stdout.splitlines() if line.startswith("maxstartups"))

    assert limit(netns_lab) == "maxstartups 10000:30:20000"
    assert limit(shaped) == "maxstartups 10:30:100"


@cluster
def test_each_session_is_delayed_once(shaped: Lab) -> None:
    client = start_ssh(shaped, "h002", "echo ready; cat")
    try:
        eventually(lambda: any("0.3" in p.argv for p in shaped.processes("h002")), "the delay", most_s=0.01)
        assert client.stdout is not None
        assert client.stdout.readline() == b"ready\n"
        assert client.communicate(b"input stays the command's", timeout=20)[0] == b"input stays the command's"
    finally:
        end(client)
    began = time.monotonic()
    assert ssh(shaped, "h002", "true").returncode == 0
    assert time.monotonic() - began >= 0.3
    count = shaped.run_on("h002", ["sh", "-c", "cat /root/.ssh/rc"]).stdout
    assert count == "sleep 0.3\n"


@cluster
@pytest.mark.parametrize(("receiver", "bits_per_second"), [("h006", 20e6), ("h003", 40e6)])
def test_ports_and_uplinks_have_their_speeds(shaped: Lab, receiver: str, bits_per_second: float) -> None:
    size, burst = 1_000_000, 131_072
    took_s = _transfer(shaped, "h002", receiver, size)
    assert took_s > 0.9 * (size - burst) * 8 / bits_per_second
    assert took_s < 4 * size * 8 / bits_per_second  # nor is it much slower, on a busy machine


@cluster
@pytest.mark.parametrize("which", ["iptables", "ip6tables", "arptables"])
def test_nothing_between_ports_goes_through_a_firewall(shaped: Lab, which: str) -> None:
    path = f"/proc/sys/net/bridge/bridge-nf-call-{which}"
    inside = ["nsenter", "--net", "--target", str(shaped.supervisor), "cat", path]
    done = subprocess.run(inside, capture_output=True, text=True, check=False)
    assert done.stdout == "0\n" or not Path(path).exists()


def rates(prefix: list[str]) -> dict[str, int]:
    """What shapes the ports in a network namespace, in bits a second."""
    done = subprocess.run([*prefix, "tc", "-json", "qdisc"], capture_output=True, check=True)
    shapers = [queue for queue in json.loads(done.stdout) if queue["kind"] == "tbf"]
    return {queue["dev"]: queue["options"]["rate"] * 8 for queue in shapers}


@cluster
def test_ports_are_shaped_in_both_directions(shaped: Lab) -> None:
    switches = rates(["nsenter", "--target", str(shaped.supervisor), "--net"])
    for end_ in (*shaped.names, "root"):
        inside = shaped.root_argv([]) if end_ == "root" else shaped.host_argv(end_, [])
        assert rates(inside) == {"eth0": 40_000_000}
        assert switches.pop("root" if end_ == "root" else f"to-{end_}") == 40_000_000
    assert switches == dict.fromkeys(("sw1-up", "sw1-down", "sw2-up", "sw2-down"), 20_000_000)


@cluster
def test_a_slow_host_has_a_quarter_of_its_port_until_it_is_mended(shaped: Lab) -> None:
    def its_port() -> set[int]:
        switches = rates(["nsenter", "--target", str(shaped.supervisor), "--net"])
        return {switches["to-h002"], *rates(shaped.host_argv("h002", [])).values()}

    shaped.slow("h002")
    assert its_port() == {10_000_000}
    assert {host.state for host in shaped.status() if host.host == "h002"} == {"slow"}
    shaped.heal()
    assert its_port() == {40_000_000}
    assert {host.state for host in shaped.status() if host.host == "h002"} == {"up"}


@cluster
def test_ports_without_a_rate_have_no_quarter_of_it(netns_lab: Lab) -> None:
    with pytest.raises(LabError, match="no rate"):
        netns_lab.slow("h002")


@cluster
def test_what_waits_at_a_port_that_becomes_slow_still_leaves_it(tmp_path: Path) -> None:
    with Lab.up(LabSpec(hosts=2, backend=NETNS, rate="200mbit"), tmp_path / "fast", tied=True) as lab:
        _transfer(lab, "h002", "h001", 5_000_000, begun=lambda: lab.slow("h002"))


def _transfer(
    lab: Lab, sender: str, receiver: str, size: int, begun: Callable[[], object] = lambda: None
) -> float:
    """Seconds that so many bytes take; `begun` is called once a tenth of them has come."""
    listen = (
        "import socket, sys, time; s = socket.create_server(('', 5555)); print('ready', flush=True);"
        "c = s.accept()[0]; t = time.monotonic();"
        "n = len(c.recv(int(sys.argv[1]) // 10, socket.MSG_WAITALL));"
        "print('begun', flush=True); n += sum(iter(lambda: len(c.recv(65536)), 0));"
        "print(n, time.monotonic() - t)"
    )
    send = (
        "import socket, sys; s = socket.create_connection((sys.argv[1], 5555));"
        "s.sendall(bytes(int(sys.argv[2])))"
    )
    server = subprocess.Popen(
        lab.host_argv(receiver, ["python3", "-c", listen, str(size)]), stdout=subprocess.PIPE, text=True
    )
    client = None
    try:
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        client = subprocess.Popen(lab.host_argv(sender, ["python3", "-c", send, receiver, str(size)]))
        assert server.stdout.readline() == "begun\n"
        begun()
        received, took_s = server.communicate(timeout=20)[0].split()
        assert client.wait(timeout=20) == 0
    finally:
        for process in (server, client):
            if process is not None:
                procs.kill_tree(process.pid)
                process.communicate()
    assert int(received) == size
    return float(took_s)


@cluster
def test_a_host_without_python_has_none(shaped: Lab) -> None:
    found = "ls /usr/bin /usr/local/bin /usr/local/sbin /usr/libexec | grep -E '^(platform-)?python[0-9.]*$'"
    printed = ssh(shaped, "h001", f"command -v python3; {found}; python3; echo $?; command -v sh")
    assert printed.stdout.decode() in ("127\n/usr/bin/sh\n", "127\n/bin/sh\n")
    assert ssh(shaped, "h004", "command -v python3").returncode == 0


@cluster
def test_a_host_gets_the_python_that_was_asked_for(shaped: Lab) -> None:
    code = "import sys, json, ctypes; print(sys.prefix, '%d.%d' % sys.version_info[:2])"
    for host in ("h002", "h003"):
        done = ssh(shaped, host, f'command -v python3; python3 -I -c "{code}"')
        where, prefix, version = done.stdout.decode().split()
        assert where == "/usr/local/sbin/python3"
        assert Path(prefix) == Path(sys.base_prefix)
        assert version == f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert b"/usr/local/sbin" not in ssh(shaped, "h004", "command -v python3").stdout


@cluster
def test_the_route_file_tells_of_switches_and_pythons(shaped: Lab) -> None:
    import yaml

    content = yaml.safe_load(shaped.routes_file.read_text())
    assert content["groups"]["rack2"] == {"hosts": "h[004-006]", "switch": "sw2"}
    assert content["groups"]["no-python"] == "h001"
    assert content["ssh"]["port"] == 2200


def test_there_is_room_for_the_neighbours_of_many_hosts(tmp_path: Path) -> None:
    """Limits that are low are raised, and none is lowered."""
    before = {"gc_thresh1": 128, "gc_thresh2": 512, "gc_thresh3": 10**6}
    for name, entries in before.items():
        (tmp_path / name).write_text(f"{entries}\n")
    links.make_room(tmp_path)
    assert {name: int((tmp_path / name).read_text()) for name in before} == {
        **links.ROOM,
        "gc_thresh3": 10**6,
    }
    links.make_room(tmp_path / "none")


@cluster
@pytest.mark.usefixtures("netns_lab")
def test_a_lab_makes_it() -> None:
    assert int((links.NEIGHBOURS / "gc_thresh3").read_text()) >= links.ROOM["gc_thresh3"]


def test_what_is_no_python_is_refused() -> None:
    for path in ("/nonexistent/python3", "/bin/true"):
        with pytest.raises(LabError) as caught:
            inspect_python(path)
        assert caught.value.where == "--python"


@pytest.mark.parametrize("program", PACKAGES)
def test_a_missing_program_is_named_with_its_package(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(
        shutil, "which", lambda name, path=None: None if name == program else f"/usr/sbin/{name}"
    )
    with pytest.raises(LabError) as caught:
        find_programs()
    assert caught.value.remedy == f"apt-get install {PACKAGES[program]}"


def test_namespaces_need_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(LabError, match="root"):
        find_programs()
