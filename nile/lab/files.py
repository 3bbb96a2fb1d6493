"""What `up` writes: keys, known_hosts, ssh_config, /etc/hosts and the route file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nile.lab.spec import LabSpec, python_groups
from nile.lab.state import LabFiles

ROOT_NAME = "root"


def fold(names: tuple[str, ...]) -> str:
    """h001, h002, h003 -> h[001-003]."""
    from ClusterShell.NodeSet import NodeSet

    return str(NodeSet.fromlist(list(names)))


def write_private(path: Path, data: bytes) -> None:
    """Write a file that only its owner may read, from the start."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as out:
        out.write(data)


def write_keys(files: LabFiles, spec: LabSpec) -> None:
    """The user's key pair and a host key for each host, all ed25519."""
    import asyncssh

    user = asyncssh.generate_private_key("ssh-ed25519", comment="nile lab")
    write_private(files.key, user.export_private_key())
    files.public_key.write_bytes(user.export_public_key())
    for name in spec.names:
        files.host(name).mkdir(parents=True)
        key = asyncssh.generate_private_key("ssh-ed25519", comment=name)
        write_private(files.host_key(name), key.export_private_key())
        files.host_key(name).with_suffix(".pub").write_bytes(key.export_public_key())


def write_addresses(files: LabFiles, spec: LabSpec, user: str, addresses: Mapping[str, str]) -> None:
    """Everything that names addresses: known_hosts, ssh_config and the route file."""
    files.known_hosts.write_text("".join(_known(files, spec, name, addresses[name]) for name in spec.names))
    files.ssh_config.write_text(_ssh_config(files, spec, user, addresses))
    files.routes.write_text(_routes_text(routes(files, spec, user, addresses)))


def etc_hosts(addresses: Mapping[str, str]) -> str:
    """The /etc/hosts of a lab: `addresses` with the root's own among them."""
    lines = [f"{address} {name}" for name, address in addresses.items()]
    return "\n".join(["127.0.0.1 localhost", *lines]) + "\n"


def _known(files: LabFiles, spec: LabSpec, name: str, address: str) -> str:
    port = spec.ssh_port
    names = [name, address] if port == 22 else [name, f"[{name}]:{port}", f"[{address}]:{port}"]
    algorithm, key = files.host_key(name).with_suffix(".pub").read_text().split()[:2]
    return f"{','.join(names)} {algorithm} {key}\n"


def _ssh_config(files: LabFiles, spec: LabSpec, user: str, addresses: Mapping[str, str]) -> str:
    hosts = "".join(f"Host {name}\n  HostName {addresses[name]}\n" for name in spec.names)
    return (
        f"{hosts}Host *\n  User {user}\n  Port {spec.ssh_port}\n  IdentitiesOnly yes\n"
        f'  IdentityFile "{files.key}"\n  UserKnownHostsFile "{files.known_hosts}"\n'
        "  StrictHostKeyChecking yes\n  LogLevel ERROR\n"
    )


def routes(files: LabFiles, spec: LabSpec, user: str, addresses: Mapping[str, str]) -> dict[str, Any]:
    """The route file's content, version 1."""
    groups: dict[str, Any] = {
        switch.replace("sw", "rack"): {"hosts": fold(names), "switch": switch}
        for switch, names in spec.racks().items()
    }
    groups.update({group: fold(names) for group, names in python_groups(spec).items()})
    return {
        "version": 1,
        "ssh": {
            "user": user,
            "port": spec.ssh_port,
            "identity": str(files.key),
            "options": {"UserKnownHostsFile": str(files.known_hosts)},
        },
        "groups": groups,
        "hosts": {name: {"address": addresses[name]} for name in spec.names},
    }


def _routes_text(content: Mapping[str, Any]) -> str:
    import yaml

    return "# Written by `nile lab up`; gone with `nile lab down`.\n" + yaml.safe_dump(
        dict(content), sort_keys=False, width=200
    )
