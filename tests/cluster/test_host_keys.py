"""Host keys are checked strictly at every hop, against the root's known_hosts and nothing else.

h001 is a relay; what holds for a host right below the root holds for one below a relay.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nile.lab import Lab
from tests.cluster.hosts import root_of, sshd_with
from tests.cluster.running import Done, Nile

pytestmark = pytest.mark.cluster

GROUPS = {"below": {"hosts": "h[004-006]", "via": "h001"}}
STAGES = {1: "h003", 2: "h004"}
Edit = Callable[[dict[str, str]], list[str]]


@pytest.fixture(params=STAGES, ids="stage {}".format)
def stage(request: pytest.FixtureRequest) -> int:
    number: int = request.param
    return number


@pytest.fixture
def host(stage: int) -> str:
    """The host whose key is at stake."""
    return STAGES[stage]


def knowing(nile: Nile, edit: Edit, hosts: dict[str, object] | None = None) -> Nile:
    """Nile whose known_hosts are the lab's, name -> line, as `edit` makes them."""
    lines = nile.lab.known_hosts_file.read_text().splitlines()
    path = nile.state / "known_hosts"
    path.write_text("\n".join([*edit({line.split(",")[0]: line for line in lines}), ""]))
    options = {"options": {"UserKnownHostsFile": str(path), "GlobalKnownHostsFile": "/dev/null"}}
    return nile.with_routes("knowing", ssh=options, groups=GROUPS, hosts=hosts or {})


def try_both(nile: Nile, host: str) -> Done:
    """A run on the host at stake and another one of its stage, which must always be reached."""
    other = {"h003": "h002", "h004": "h005"}[host]
    done = nile.json("-w", f"{host},{other}", "--stages", "2", "--", "echo ran >> ~/ran; echo reached")
    assert done.stdout_of(other) == "reached\n"
    (root_of(nile.lab, other) / "root/ran").unlink()
    return done


def refused(nile: Nile, done: Done, host: str) -> dict[str, object]:
    """The host's result, once it is sure that nothing ran there."""
    assert done.code == 4
    assert done.verdicts[host] == "unreachable"
    assert not (root_of(nile.lab, host) / "root/ran").exists()
    return done.results[host]


def remedy(nile: Nile, host: str) -> str:
    return nile.exec("-w", host, "--", "true").err


def test_an_unknown_key(nile: Nile, host: str, stage: int) -> None:
    which = knowing(nile, lambda lines: [line for name, line in lines.items() if name != host])
    result = refused(nile, try_both(which, host), host)
    assert result["code"] == "host-key-unknown"
    assert result["path"] == (["root", host] if stage == 1 else ["root", "h001", host])
    assert f"nile hostkeys -w {host}" in remedy(which, host)


def test_a_changed_key(nile: Nile, host: str) -> None:
    def swap(lines: dict[str, str]) -> list[str]:
        lines[host] = lines[host].split()[0] + " " + lines["h010"].split(maxsplit=1)[1]
        return list(lines.values())

    which = knowing(nile, swap)
    result = refused(nile, try_both(which, host), host)
    assert result["code"] == "host-key-changed"
    assert "Somebody may be in between" in remedy(which, host)
    assert "ssh-keygen -R" in remedy(which, host)


def test_a_revoked_key(nile: Nile, host: str) -> None:
    def revoke(lines: dict[str, str]) -> list[str]:
        return [*lines.values(), "@revoked * " + lines[host].split(maxsplit=1)[1]]

    result = refused(nile, try_both(knowing(nile, revoke), host), host)
    assert result["code"] == "host-key-revoked"


def test_an_alias(nile: Nile, host: str) -> None:
    """Only under its alias is the host known: its name and address have somebody else's key."""

    def only(lines: dict[str, str]) -> list[str]:
        names, key = lines[host].split(maxsplit=1)
        lines[host] = f"gateway.example.org {key}"
        return [*lines.values(), f"{names} {lines['h010'].split(maxsplit=1)[1]}"]

    which = knowing(nile, only)
    assert refused(nile, try_both(which, host), host)["code"] == "host-key-changed"
    content = {"address": nile.lab.addresses[host], "host_key_alias": "gateway.example.org"}
    aliased = knowing(nile, only, {host: content})
    try_both(aliased, host).all_ok()
    (root_of(nile.lab, host) / "root/ran").unlink()


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    """A key pair that signs host keys."""
    path = tmp_path / "authority"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path


@pytest.fixture
def certified(fleet: Lab, host: str, authority: Path) -> Iterator[str]:
    """The authority's public key; the host at stake shows a certificate of it on port 2022."""
    key = root_of(fleet, host) / "run/lab/host_key"
    public = authority.with_name("host.pub")
    public.write_bytes(
        subprocess.run(["ssh-keygen", "-y", "-f", str(key)], check=True, capture_output=True).stdout
    )
    subprocess.run(
        [
            "ssh-keygen",
            "-q",
            "-s",
            str(authority),
            "-I",
            host,
            "-h",
            "-n",
            f"{host},{fleet.addresses[host]}",
            str(public),
        ],
        check=True,
    )
    certificate = root_of(fleet, host) / "run/lab/host_key-cert.pub"
    certificate.write_bytes(authority.with_name("host-cert.pub").read_bytes())
    with sshd_with(fleet, host, 2022, "HostCertificate /run/lab/host_key-cert.pub"):
        yield authority.with_suffix(".pub").read_text()


@pytest.mark.parametrize("trusted", [True, False])
def test_a_certificate_of_an_authority(nile: Nile, host: str, certified: str, trusted: bool) -> None:
    def certify(lines: dict[str, str]) -> list[str]:
        others = [line for name, line in lines.items() if name != host]
        key = " ".join(certified.split()[:2])
        return [*others, f"@cert-authority h00*,10.77.* {key}" if trusted else f"@revoked * {key}"]

    content = {"address": nile.lab.addresses[host], "port": 2022}
    which = knowing(nile, certify, {host: content})
    done = try_both(which, host)
    if trusted:
        done.all_ok()
        (root_of(nile.lab, host) / "root/ran").unlink()
    else:
        assert refused(nile, done, host)["code"] in ("host-key-unknown", "host-key-revoked")


def test_what_a_relay_knows_and_is_told_to_do_is_not_read(nile: Nile, fleet: Lab) -> None:
    """Its known_hosts lets nobody in whom the root doesn't know, and its ssh_config breaks nothing."""
    ssh = fleet.home("h001") / ".ssh"
    ssh.mkdir(mode=0o700, exist_ok=True)
    (ssh / "known_hosts").write_text(fleet.known_hosts_file.read_text())
    (ssh / "config").write_text(
        "Host *\n  Port 1\n  User nobody\n  ProxyCommand false\n  StrictHostKeyChecking no\n"
    )
    ignorant = knowing(nile, lambda lines: [line for name, line in lines.items() if name != "h004"])
    try:
        assert refused(nile, try_both(ignorant, "h004"), "h004")["code"] == "host-key-unknown"
        assert {path.name for path in ssh.iterdir()} == {"known_hosts", "config"}
    finally:
        for path in ssh.iterdir():
            path.unlink()
        ssh.rmdir()
