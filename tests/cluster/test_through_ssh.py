"""Streams where hosts reach each other at ssh's port only, behind a firewall of their own, by real ssh."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from nile.lab import Lab
from nile.lab.links import ROOT_ADDRESS
from tests.cluster.faults import Witness, cut, freeze
from tests.cluster.hosts import clear, only_ssh, patiently, processes, root_of, ssh_clients
from tests.cluster.running import Done, Nile
from tests.cluster.test_credentials import old_ssh  # noqa: F401 - a fixture
from tests.cluster.test_sync import (
    BIG,
    HOSTS,
    SET,
    SLOW,
    TREE,
    Started,
    copied,
    plain,  # noqa: F401 - a fixture
    source,  # noqa: F401 - a fixture
    sync,
    under_way,
)

pytestmark = pytest.mark.cluster

STREAM = ("-w", SET, "--method", "stream")


@pytest.fixture
def nile(fleet: Lab, tmp_path: Path) -> Iterator[Nile]:
    """Eight hosts in two stages, which let in nothing but ssh; what is in their /srv goes afterwards."""
    with only_ssh(fleet):
        yield Nile(fleet, tmp_path).with_routes(tree=TREE, timeouts={"lease": "4s", "connect": "5s"})
    fleet.heal()
    clear(fleet, HOSTS)


@contextlib.contextmanager
def without_forwarding(nile: Nile, hosts: Iterable[str]) -> Iterator[None]:
    """Their sshd forwards to no port."""
    files = [root_of(nile.lab, host) / "run/lab/authorized_keys" for host in hosts]
    before = files[0].read_bytes()
    for file in files:
        file.write_bytes(b"no-port-forwarding " + before)
    try:
        yield
    finally:
        for file in files:
            file.write_bytes(before)


def through_ssh(done: Done) -> list[str]:
    return [text for text in done.notices if "got the stream through ssh" in text]


def left_out(done: Done) -> list[str]:
    return [text for text in done.notices if "left out" in text]


def forwarding(nile: Nile) -> dict[str, str]:
    """Host -> where the ssh that runs there leads."""
    found = [seen for seen in ssh_clients(nile.lab) if "-W" in seen.argv]
    return {seen.host: seen.argv[-1] for seen in found}


@pytest.mark.parametrize("drops", [False, True])
def test_a_stream_goes_through_ssh(fleet: Lab, tmp_path: Path, source: Path, drops: bool) -> None:  # noqa: F811
    it = Nile(fleet, tmp_path).with_routes(tree=TREE)
    try:
        with only_ssh(fleet, drops=drops):
            done = sync(it, *STREAM, "--json", f"{source}/", "/srv/copy").all_ok()
            copied(it, source, "/srv/copy")
            (source / "hello").write_text("HELLO\n")
            again = sync(it, *STREAM, "--json", f"{source}/", "/srv/copy").all_ok()
            copied(it, source, "/srv/copy")
    finally:
        clear(fleet, HOSTS)
    why = "no answer in time" if drops else "Permission denied"
    for run in (done, again):
        (said,) = through_ssh(run)
        assert re.match(r"8 of 8 hosts got the stream through ssh: \w+ reaches no other port of h00\d", said)
        assert said.endswith(f" ({why})")
        assert left_out(run) == []


def test_it_isnt_used_where_other_ports_are_open(fleet: Lab, tmp_path: Path, source: Path) -> None:  # noqa: F811
    it = Nile(fleet, tmp_path).with_routes(tree=TREE)
    try:
        done = sync(it, *STREAM, "--json", f"{source}/", "/srv/copy").all_ok()
    finally:
        clear(fleet, HOSTS)
    assert through_ssh(done) == []


def test_data_flows_from_host_to_host(nile: Nile, plain: Path) -> None:  # noqa: F811
    with Started(nile, *STREAM, *SLOW, f"{plain}/", "/srv/copy") as started:
        under_way(nile, "h008", "/srv/copy", BIG // 4)
        leads = forwarding(nile)
        done = started.wait().all_ok()
    addresses = nile.lab.addresses
    order = ["h001", "h003", "h004", "h005", "h002", "h006", "h007", "h008"]
    assert leads == {giver: addresses[taker] for giver, taker in pairwise(order)}
    copied(nile, plain, "/srv/copy")
    assert len(through_ssh(done)) == 1


DEEDS = ["crash", "freeze", "cut", "ssh", "worker"]


@pytest.mark.parametrize("deed", DEEDS)
def test_whoever_is_lost_is_skipped_through_another_tunnel(nile: Nile, plain: Path, deed: str) -> None:  # noqa: F811
    lab = nile.lab
    how = (*STREAM, *SLOW, f"{plain}/", "/srv/copy")
    with Witness(lab) as witness, Started(nile, *how) as started:
        under_way(nile, "h008", "/srv/copy", BIG // 4)
        if deed == "crash":
            lab.crash("h004")
        elif deed == "freeze":
            freeze(lab, "h004")
        elif deed == "cut":
            cut(lab, "h004")
        elif deed == "ssh":
            (client,) = [each for each in ssh_clients(lab, ["h004"]) if "-W" in each.argv]
            os.kill(client.pid, signal.SIGKILL)
        else:
            # It may have a child, which is a copy of it.
            worker, *_ = [each for each in processes(lab, ["h004"]) if "io,zlib" in " ".join(each.argv)]
            os.kill(worker.pid, signal.SIGKILL)
        done = started.wait()
        let_in = witness.let_in("h005")
    lost = set() if deed == "ssh" else {"h004"}
    assert let_in.count(lab.addresses["h004"]) == (2 if deed == "ssh" else 1)
    assert let_in.count(lab.addresses["h003"]) == len(lost)
    assert {host for host, verdict in done.verdicts.items() if verdict != "ok"} == lost, done.err
    copied(nile, plain, "/srv/copy", [host for host in HOSTS if host not in lost])
    assert not [text for text in done.notices if "left out" in text and "h004" not in text]
    lab.heal()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_no_ssh_outlives_the_run(nile: Nile, plain: Path, number: signal.Signals) -> None:  # noqa: F811
    with Started(nile, *STREAM, *SLOW, f"{plain}/", "/srv/copy") as started:
        under_way(nile, "h008", "/srv/copy", BIG // 4)
        assert len(forwarding(nile)) == 7
        started.process.send_signal(number)
        started.wait()
    patiently(lambda: not processes(nile.lab), "nothing runs any more", 20.0)


def test_a_host_that_forwards_to_no_port_is_left_out(nile: Nile, source: Path) -> None:  # noqa: F811
    with without_forwarding(nile, ["h004"]):
        done = sync(nile, *STREAM, "--json", f"{source}/", "/srv/copy").all_ok()
    assert left_out(done) == [
        "left out of the stream, to be served by another host: "
        "h004 (its sshd forwards to no port (AllowTcpForwarding, DisableForwarding))"
    ]
    assert through_ssh(done)[0].startswith("7 of 7 hosts got ")
    copied(nile, source, "/srv/copy")


def test_where_none_forwards_hosts_are_copied_to(nile: Nile, source: Path) -> None:  # noqa: F811
    with without_forwarding(nile, HOSTS):
        done = sync(nile, "-w", SET, "--json", f"{source}/", "/srv/copy").all_ok()
    assert "its sshd forwards to no port" in left_out(done)[0]
    copied(nile, source, "/srv/copy")


def test_hosts_without_rsync_get_what_they_never_had(nile: Nile, source: Path) -> None:  # noqa: F811
    program = shutil.which("rsync")
    assert program
    bare = ("h004", "h005", "h007")
    for host in bare:
        nile.lab.run_on(host, ["mount", "--bind", "/dev/null", program])
    try:
        done = sync(nile, "-w", SET, "--json", f"{source}/", "/srv/copy").all_ok()
        copied(nile, source, "/srv/copy")
    finally:
        for host in bare:
            nile.lab.run_on(host, ["umount", program])
    assert [text.split(" hosts ")[0] for text in through_ssh(done)] == ["8 of 8"]


def test_nobody_logs_in_to_whom_the_route_file_keeps_apart(nile: Nile, source: Path) -> None:  # noqa: F811
    """In a flat tree only the root logs in."""
    flat = nile.with_routes("flat", tree="flat")
    with Witness(nile.lab) as witness:
        done = sync(flat, "-w", "h[001-004]", "--json", f"{source}/", "/srv/copy").all_ok()
        assert {address for host in HOSTS[:4] for address in witness.let_in(host)} == {ROOT_ADDRESS}
    assert through_ssh(done)[0].startswith("4 of 4 hosts "), "over the links of the tree"
    copied(nile, source, "/srv/copy", HOSTS[:4])


@pytest.mark.parametrize("signing", ["auto", "strict"])
def test_an_ssh_that_cant_bind_signatures_gets_one_for_each_login(
    nile: Nile,
    source: Path,  # noqa: F811
    old_ssh: Path,  # noqa: F811
    signing: str,
) -> None:
    """One host has an old ssh: the first, above all others."""
    few = nile.with_routes(signing, tree="auto", ssh={"signing": signing})
    few = few.with_routes(signing, tree={"h002": "h001", "h003": "h004"})
    done = sync(few, "-w", "h[001-004]", "--method", "stream", "--json", f"{source}/", "/srv/copy").all_ok()
    copied(nile, source, "/srv/copy", HOSTS[:4])
    if signing == "auto":
        assert old_ssh.read_text() == "login\n"
        assert len([text for text in done.notices if "older than OpenSSH 8.9" in text]) == 1
        assert left_out(done) == []
    else:
        assert "can't bind the signature" in left_out(done)[0]


def test_by_sudo(nile: Nile, source: Path) -> None:  # noqa: F811
    assert shutil.which("sudo"), "install sudo, which the tests want"
    done = sync(nile, *STREAM, "--sudo", "--json", f"{source}/", "/srv/copy").all_ok()
    assert len(through_ssh(done)) == 1
    copied(nile, source, "/srv/copy")
