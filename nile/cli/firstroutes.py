"""A first route file, made of what `nile doctor` found."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nile.cli.examining import Check, Findings, Look, can_relay, usable
from nile.errors import UsageError

if TYPE_CHECKING:
    from nile.cli.common import SelectionOptions
    from nile.topology.routes import Routes

HEAD = """\
# Written by `nile doctor`. What can stand here is in docs/reference/route-file.md; `nile check` validates it.
# A next step: a group for each rack or switch, so that the tree keeps it together.
"""


def check_first(file: str, routes: Routes) -> None:
    """Raise UsageError where there is something already: it is never written over."""
    where = f"--write {file}"
    if routes.source is not None:
        remedy = "add to that one what is missing, by hand"
        raise UsageError(f"there is a route file already, {routes.source}", where=where, remedy=remedy)
    if os.path.lexists(file):
        raise UsageError("that file is there already", where=where, remedy="name another one")


def write_first(
    file: str,
    selection: SelectionOptions,
    hosts: Sequence[str],
    look: Look,
    findings: Mapping[str, Findings],
) -> None:
    """Write it, to a new file; raises UsageError where that can't be."""
    text = first_text(selection, hosts, look, findings)
    try:
        with Path(file).open("x", encoding="utf-8") as out:
            out.write(text)
    except OSError as error:
        remedy = "name a file that isn't there yet, where you may write"
        raise UsageError(error.strerror or str(error), where=f"--write {file}", remedy=remedy) from error


def first_text(
    selection: SelectionOptions,
    hosts: Sequence[str],
    look: Look,
    findings: Mapping[str, Findings],
) -> str:
    """The file's text, which `nile check` takes."""
    import yaml

    from nile.report import folded
    from nile.topology.inventory import split_kind

    content: dict[str, Any] = {"version": 1}
    ssh, connect_s = _logins(selection)
    if ssh:
        content["ssh"] = ssh
    if connect_s:
        content["timeouts"] = {"connect": f"{connect_s:g}s"}
    if selection.inventories:
        kinds = [(split_kind(one)[0], Path(split_kind(one)[1]).absolute()) for one in selection.inventories]
        content["inventory"] = [f"{kind}:{path}" if kind else str(path) for kind, path in kinds]
    content["groups"] = {"hosts": folded(hosts)}
    good = [host for host in hosts if usable(findings[host])]
    if leaves := [host for host in good if not can_relay(look, host)]:
        content["groups"]["leaves"] = {"hosts": folded(leaves), "relay": "no"}
    tried = [host for host in good if findings[host][Check.INNER].ok is not None]
    text = HEAD + yaml.safe_dump(content, sort_keys=False, default_flow_style=False, width=100)
    if tried and not any(findings[host][Check.INNER].ok for host in tried):
        text += "tree: flat  # no host could log in to another one\n"
    return text


def _logins(selection: SelectionOptions) -> tuple[dict[str, Any], float | None]:
    """What the command line says of logins, and how long one may take, if it says that."""
    from nile.options import SshOptions
    from nile.topology.ssh_words import parse_ssh_options

    options, connect_s = parse_ssh_options(selection.ssh_options)
    ssh = SshOptions(user=selection.user).over(options)
    said = {
        "user": ssh.user,
        "port": ssh.port,
        "identity": [_full(path) for path in ssh.identity or ()],
        "options": dict(ssh.options),
    }
    found = {name: value for name, value in said.items() if value}
    return found, selection.connect_timeout_s or connect_s


def _full(path: str) -> str:
    """A key file as it is found from anywhere: ssh looks for it from where it was started."""
    if path.startswith("%d/"):  # the home directory (ssh_config(5), TOKENS)
        return f"~{path[2:]}"
    return path if path.startswith(("/", "~")) else str(Path.cwd() / path)
