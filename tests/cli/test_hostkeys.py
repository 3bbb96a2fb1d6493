"""`nile hostkeys` for hosts that only a gateway reaches, over real logins."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nile.lab import Lab

pytestmark = pytest.mark.lab

GROUPS = """
groups:
  inner: {hosts: "h[002-004]", via: "h[006,001]"}
  innermost: {hosts: h005, via: h003}
"""


def routes(lab: Lab, directory: Path) -> Path:
    """The lab's hosts with gateways before some, and a known_hosts that is empty."""
    addresses = "".join(f"  {name}: {{address: {lab.addresses[name]}}}\n" for name in lab.names[:6])
    file = directory / "nile.yaml"
    file.write_text(
        f"version: 1\nssh: {{user: {lab.user}, port: {lab.port}, identity: {lab.key_file},"
        f" options: {{UserKnownHostsFile: {directory / 'known_hosts'}, HashKnownHosts: no}}}}\n"
        f"{GROUPS}hosts:\n{addresses}"
    )
    return file


def nile(file: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "nile", words[0], "-r", str(file), *words[1:]],
        env={**os.environ, "XDG_STATE_HOME": str(file.parent / "state")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_keys_behind_gateways_are_collected_level_by_level(loopback_lab: Lab, tmp_path: Path) -> None:
    file = routes(loopback_lab, tmp_path)
    done = nile(file, "hostkeys", "-w", "h[001-006]", "--yes")
    assert done.returncode == 0, done.stderr
    keys = loopback_lab.known_hosts_file.read_text()
    written = (tmp_path / "known_hosts").read_text().splitlines()
    assert len(written) == 6
    assert all(line.split()[2] in keys for line in written)
    ran = nile(file, "exec", "-w", "h005", "--", "echo $NILE_PARENT")
    assert (ran.returncode, ran.stdout) == (0, "h005: h003\n"), ran.stderr


def test_the_next_gateway_is_tried_where_one_is_dead(loopback_lab: Lab, tmp_path: Path) -> None:
    file = routes(loopback_lab, tmp_path)
    assert nile(file, "hostkeys", "-w", "h[001,006]", "--yes").returncode == 0
    loopback_lab.crash("h006")
    done = nile(file, "hostkeys", "-w", "h[002-004]", "--yes")
    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "known_hosts").read_text().splitlines()) == 5


def test_a_gateway_whose_own_key_is_unknown_is_not_used(loopback_lab: Lab, tmp_path: Path) -> None:
    done = nile(routes(loopback_lab, tmp_path), "hostkeys", "-w", "h002", "--yes")
    assert done.returncode == 4
    assert "h002: no key" in done.stderr
    assert "no host key of it is in known_hosts" in done.stderr
    assert not (tmp_path / "known_hosts").exists()
