"""What a user can do about a login that failed, per code: the same words for root and relays."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from nile.events import Code
from nile.options import SshClient
from nile.transport.base import PASSWORD, QUESTIONS, ResolvedLogin

MORE_FILES = "Raise the number of files that Nile may open there (`ulimit -n`), or lower `limits: branches`."
_PLAIN = {
    Code.NAME: "Check the name, or give the host an `address` in the route file.",
    Code.REFUSED: "Check that sshd runs there, and the `port`.",
    Code.NO_ROUTE: "Check the network, or name the gateways of the host with `via` in the route file.",
    Code.CONNECT_TIMEOUT: "Check that the host is up and its port open, or raise `timeouts: connect`.",
    Code.OPEN_FILES: MORE_FILES,
    Code.STARTUPS: "Lower `limits: parallel`, or raise MaxStartups in the host's sshd_config.",
    Code.NO_SSH: "Give that relay what it lacks (the OpenSSH client, room in /dev/shm), or say `relay: no`.",
    Code.PASSWORD: (
        "Run it again for these hosts, with --ask-pass and the right password, each kind of hosts by itself. "
        "A host that asks for more than a password needs one of your keys (ssh-copy-id)."
    ),
    Code.NO_PYTHON: "Install Python 3.6 or later on that host.",
}

HUNG_UP = "the host hung up before it asked for the password"
"""Where too many keys are offered first."""
_BY_PASSWORD = (
    "It takes passwords, too: `--ask-pass` gives one to hosts that the root itself logs in to by asyncssh "
    "(`--tree flat`, where it can reach them or has a ProxyJump)."
)
_WAYS = re.compile(r"\(([a-z,-]+)\)")
"""What a host offers, as ssh(1) writes it."""


def remedy_for(code: Code, login: ResolvedLogin, reason: str = "") -> str:
    """One or two lines for the user, or nothing where nothing general can be said.

    `reason` is why the login failed: a host that lets nobody in tells by which ways it would.
    """
    if code is Code.HOST_KEY_UNKNOWN:
        return f"Compare and store it with: nile hostkeys -w {shlex.quote(login.host)}"
    if code is Code.HOST_KEY_CHANGED:
        return (
            "Somebody may be in between. If the host was really given a new key: "
            f"{_forget(login)} && nile hostkeys -w {shlex.quote(login.host)}"
        )
    if code is Code.HOST_KEY_REVOKED:
        return "Don't use this host until it has a new key: somebody else may hold the old one."
    if code is Code.LOGIN_SHELL:
        return (
            f"Give {login.user} a login shell there that runs commands (see `getent passwd {login.user}`); "
            "its start-up files, or a forced command, may end it too."
        )
    if code is Code.AUTHENTICATION and login.client is SshClient.OPENSSH and not login.identities:
        return (
            "There is no key for it: load one (ssh-add). By Kerberos: get a ticket (kinit -f); a relay "
            "logs in by one if it was given it, see `ssh: {delegate: yes}`."
        )
    if code is Code.AUTHENTICATION and HUNG_UP in reason:
        return (
            "Have fewer keys offered there: `IdentitiesOnly yes` in ssh_config, or in the route file's "
            "`ssh: {options: ...}`, with the IdentityFile that is meant. sshd counts each (MaxAuthTries)."
        )
    if code is Code.AUTHENTICATION:
        keys = f"Check that {login.user}'s authorized_keys there has one of your keys ({_keys(login)})."
        return f"{keys} {_BY_PASSWORD}" if _takes_passwords(reason) else keys
    return _PLAIN.get(code, "")


def _takes_passwords(reason: str) -> bool:
    ways = {way for found in _WAYS.findall(reason) for way in found.split(",")}
    return not ways.isdisjoint((QUESTIONS, PASSWORD))


def known_hosts_name(login: ResolvedLogin) -> str:
    """The name under which `ssh-keygen -R` finds the host in known_hosts."""
    if login.known_hosts_name:
        return login.known_hosts_name
    return login.host_key_alias if login.port == 22 else f"[{login.host_key_alias}]:{login.port}"


def _forget(login: ResolvedLogin) -> str:
    command = f"ssh-keygen -R {shlex.quote(known_hosts_name(login))}"
    if login.known_hosts_file and Path(login.known_hosts_file) != Path("~/.ssh/known_hosts").expanduser():
        command += f" -f {shlex.quote(login.known_hosts_file)}"
    return command


def _keys(login: ResolvedLogin) -> str:
    return ", ".join(key.comment or "unnamed" for key in login.identities) or "there is none"
