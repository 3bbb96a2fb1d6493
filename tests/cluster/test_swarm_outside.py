"""A swarm and who isn't in it: a web server that has the files, and somebody who has only the torrent."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nile.lab import Lab
from nile.lab.links import ROOT_ADDRESS
from tests.cluster.hosts import patiently
from tests.cluster.running import Nile
from tests.cluster.test_swarm import HOSTS, WITHOUT, nile, nothing_unfinished, peers, wires
from tests.cluster.test_swarm_firewalled import listeners
from tests.cluster.test_swarm_losses import Begun, patient, seed, source
from tests.cluster.test_sync import copied
from tests.support import webserver

pytestmark = pytest.mark.cluster
__all__ = ["nile", "peers", "source", "wires"]  # fixtures

PORT = 6980
WEB_RATE = 700_000
"""Bytes a second: what it alone has would take it some seconds."""
ENOUGH = 300_000
"""Bytes of the seed's: hosts have the archive then, which is with no web server."""
HAVING = ("h001", "h002", "h003")
OUTSIDER = """
import sys, time
from urllib.request import urlopen
import libtorrent as lt
url, place, *hosts = sys.argv[1:]
params = lt.load_torrent_buffer(urlopen(url, timeout=5).read())
params.save_path = place
kinds = lt.alert.category_t
told = kinds.error_notification | kinds.peer_notification | kinds.connect_notification
tcp = {"enable_outgoing_utp": False, "enable_incoming_utp": False, "enable_dht": False, "enable_lsd": False}
session = lt.session({**tcp, "alert_mask": int(told), "min_reconnect_time": 1})
handle = session.add_torrent(params)
handle.resume()
refused, end = set(), time.monotonic() + 20
while len(refused) < len(hosts) and not handle.status().total_payload_download and time.monotonic() < end:
    for host in hosts:
        name, _, port = host.partition(":")
        handle.connect_peer((name, int(port)))
    session.wait_for_alert(200)
    for alert in session.pop_alerts():
        if alert.what() in ("peer_disconnected", "peer_error"):
            refused.add(str(alert.endpoint[0]))
print(len(refused), handle.status().total_payload_download)
"""


@contextmanager
def served(lab: Lab, top: Path) -> Iterator[str]:
    """The URL of a directory that the root machine serves by HTTP."""
    words = [ROOT_ADDRESS, str(PORT), str(top.parent), str(WEB_RATE)]
    argv = lab.root_argv([sys.executable, str(webserver.__file__), *words])
    with subprocess.Popen(argv) as process:
        try:
            patiently(lambda: PORT in listeners(process.pid), "it listens", 20.0)
            yield f"http://{ROOT_ADDRESS}:{PORT}/{top.name}/"
        finally:
            process.kill()


def test_what_no_host_has_comes_from_a_web_server_where_the_seed_is_gone(
    nile: Nile, source: Path, peers: Path
) -> None:
    nile = patient(nile)
    with served(nile.lab, source) as url:
        words = ("--seed-limit", 300, "--web-seed", url)
        with Begun(nile, source, peers, *words) as begun:
            patiently(lambda: begun.swarm()["seed_bytes_sent"] > ENOUGH, "it has begun", 30.0)
            os.kill(seed(begun.process.pid), signal.SIGKILL)
            states = {host["state"] for host in begun.swarm()["hosts"]}
            done = begun.wait()
    done.all_ok()
    assert states <= {"getting", "left-out"}, "it was over too soon"
    assert begun.swarm()["seed_bytes_sent"] < sum(each.stat().st_size for each in source.iterdir()) // 2
    copied(nile, source, "/srv/copy", HOSTS)
    nothing_unfinished(nile)
    said = " ".join(done.notices)
    assert "the seed at the root has ended" in said
    assert "the swarm served 5 of 6 hosts" in said


def test_who_has_only_the_torrent_gets_nothing_of_any_host(nile: Nile, source: Path, peers: Path) -> None:
    """Somebody on a host of the run, whom the tracker gives the torrent; others have something by then."""
    nile = patient(nile)
    at = f"{ROOT_ADDRESS}:{PORT + 1}"
    hosts = [host for host in HOSTS if host != WITHOUT]
    with Begun(nile, source, peers, "--tracker-at", at, "--bwlimit", 300, hosts=hosts) as begun:
        patiently(lambda: _having(begun) >= set(HAVING), "they have something", 30.0)
        said = " ".join(line["text"] for line in begun.lines() if line["event"] == "notice")
        (url,) = re.findall(r"the torrent (http\S+\.torrent)", said)
        where = [f"{nile.lab.addresses[host]}:{port}" for host in HAVING for port in _ports(nile, host)]
        program = [str(peers), "-c", OUTSIDER, url, "/dev/shm/outsider", *where]
        got = nile.lab.run_on("h005", program)
        assert nile.lab.run_on("h005", ["rm", "-rf", "/dev/shm/outsider"]).returncode == 0
        assert _having(begun) >= set(HAVING), "it was over too soon"
        nile.command("swarm", "limit", "--host", "none")
        begun.wait().all_ok()
    assert got.stdout.split() == [str(len(HAVING)), "0"], got.stderr
    copied(nile, source, "/srv/copy", hosts)
    nothing_unfinished(nile)


def _having(begun: Begun) -> set[str]:
    """Who gets it and has some of it."""
    hosts = begun.swarm()["hosts"]
    return {host["host"] for host in hosts if host["bytes"] and host["state"] == "getting"}


def _ports(nile: Nile, host: str) -> set[int]:
    return listeners(nile.lab.pid(host))
