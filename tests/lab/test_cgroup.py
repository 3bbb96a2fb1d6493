"""Freezing by cgroup, in each hierarchy that this machine has."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from nile.lab.cgroup import Freezer, group_name, remove_all, roots, thaw_all
from tests.lab.helpers import state_of


@pytest.fixture(params=range(2))
def freezer(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Freezer]:
    found = roots()
    yield Freezer(found[request.param % len(found)] / group_name(tmp_path))
    remove_all(tmp_path)


@pytest.mark.cluster
def test_a_frozen_process_stands_still_and_can_be_killed(freezer: Freezer, tmp_path: Path) -> None:
    freezer.create("h001")
    join = f"echo $$ > {freezer.base}/h001/cgroup.procs; exec yes"
    with subprocess.Popen(["sh", "-c", f"{join} > /dev/null"]) as process:
        try:
            while not (freezer.base / "h001" / "cgroup.procs").read_text():
                assert process.poll() is None
            freezer.set("h001", True)
            assert freezer.frozen("h001")
            used = os.times().children_user, Path(f"/proc/{process.pid}/stat").read_text().split()[13]
            assert state_of(process.pid) in "SD"
            assert used[1] == Path(f"/proc/{process.pid}/stat").read_text().split()[13]
            freezer.set("h001", False)
            assert not freezer.frozen("h001")
            freezer.set("h001", True)
        finally:
            process.send_signal(signal.SIGKILL)
            thaw_all(tmp_path)
        assert process.wait(10) == -signal.SIGKILL
    remove_all(tmp_path)
    assert not freezer.base.exists()
