"""Syslog is told of every run, at the root and on its hosts."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nile.lab import Lab
from tests.cluster.hosts import root_of
from tests.cluster.running import Nile

pytestmark = pytest.mark.cluster

HOSTS = ("h001", "h002")
LOG = "/dev/log"
COMMAND = 'echo "$TOKEN"; [ $NILE_HOST = h001 ] || kill -9 $$; exit 3'
COVER = """
at=$(readlink -m "$1")
mkdir -p "${at%/*}"
[ -e "$at" ] || : > "$at"
mount --bind "$2/run/heard/log" "$at"
"""
UNCOVER = 'umount "$(readlink -m "$1")"'
Heard = Callable[[], dict[str, list[str]]]


@contextlib.contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    """A syslog that is heard at this path, however long."""
    path.parent.mkdir(parents=True, exist_ok=True)
    directory = os.open(path.parent, os.O_PATH)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.setblocking(False)
        try:
            log.bind(f"/proc/self/fd/{directory}/{path.name}")
            yield log
        finally:
            os.close(directory)
            path.unlink(missing_ok=True)
            path.parent.rmdir()


def lines(log: socket.socket) -> list[str]:
    found = []
    with contextlib.suppress(BlockingIOError):
        while True:
            found.append(log.recv(65536).decode())
    return found


def sh(lab: Lab, name: str, script: str, *words: str) -> None:
    """On a host or the root; $1 is where syslog is."""
    argv = ["sh", "-euc", script, "sh", LOG, *words]
    done = lab.run_on_root(argv) if name == "root" else lab.run_on(name, argv)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def heard(fleet: Lab, tmp_path: Path) -> Iterator[Heard]:
    """What two hosts' syslog and the root's heard meanwhile.

    All of a lab's machines have this one's /dev. So one is put over its /dev/log, if there is one, where only
    they see it; by one test at a time, as where the file goes, what is put over it does.
    """
    with contextlib.ExitStack() as stack:
        turns = stack.enter_context(Path(tempfile.gettempdir(), "nile-test-audit").open("w"))
        fcntl.flock(turns, fcntl.LOCK_EX)
        if not os.path.lexists(LOG):
            Path(LOG).touch()  # nothing listens there, so others that look meanwhile find none either
            stack.callback(Path(LOG).unlink, missing_ok=True)
        logs = {}
        for name in (*HOSTS, "root"):
            top = tmp_path if name == "root" else root_of(fleet, name)
            logs[name] = stack.enter_context(listening(top / "run/heard/log"))
            sh(fleet, name, COVER, str(top) if name == "root" else "")
            stack.callback(sh, fleet, name, UNCOVER)
        yield lambda: {name: lines(log) for name, log in logs.items()}


def test_who_ran_what_where_and_how_it_ended(nile: Nile, heard: Heard) -> None:
    done = nile.json("-w", "h[001-002]", "--env", "TOKEN=hush-0815", "--", COMMAND)
    run, digest = done.events[0]["run"], hashlib.sha256(COMMAND.encode()).hexdigest()
    told = heard()
    assert done.stdout_of("h001") == "hush-0815\n"
    assert "hush-0815" not in str(told)

    (own,) = told.pop("root")
    head = r"<86>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d nile\[\d+\]: "
    by = r"by=(\w+(?:\(\w+\))?@\S+) "
    said = re.fullmatch(rf"{head}run={run} root {by}hosts=2 sha256={digest} run command=(.*)", own)
    assert said, own
    assert said[2] == '"echo \\"$TOKEN\\"; [ $NILE_HOST = h001 ] || kill -9 $$; exit 3"'
    for host, how in (("h001", "rc=3"), ("h002", "signal=9")):
        first, last = told[host]
        each = rf"{head}run={run} host={host} by={re.escape(said[1])} uid=0 pid=(\d+) sha256={digest} "
        begin, end = re.fullmatch(each + "start", first), re.fullmatch(each + f"end {how}", last)
        assert begin, first
        assert end, last
        assert begin[1] == end[1]


def test_what_was_stopped_is_said_to_be(nile: Nile, heard: Heard) -> None:
    nile.json("-w", "h001", "-u", "0.5", "--grace", "20", "--", "sleep 60")
    assert heard()["h001"][-1].endswith(" end signal=15 stopped")


def test_a_route_file_may_have_none_of_it(nile: Nile, heard: Heard) -> None:
    done = nile.with_routes(audit="off").json("-w", "h[001-002]", "--", "true").all_ok()
    assert done.code == 0
    assert set(map(tuple, heard().values())) == {()}
