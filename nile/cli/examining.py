"""What `nile doctor` makes of a look at hosts: for each of its checks, how each host fared. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from nile.cascade.verdicts import BY_A_SHELL
from nile.events import Code, HostResult, Verdict

PROBE = (
    'echo "python $("$NILE_PYTHON" -V 2>&1)"; '
    'echo "rsync $(rsync --version 2>/dev/null | head -n 1)"; '
    'echo "ssh $(command -v ssh)"; echo "uid $(id -u)"; '
    "if command -v sudo >/dev/null 2>&1; then "
    'if sudo -n env true </dev/null >/dev/null 2>&1; then echo "sudo yes"; else echo "sudo asks"; fi; '
    'else echo "sudo none"; fi'
)
"""For sh; in one line and without single quotes, so that any login shell hands it over: see `probe_line`."""
MOST_SAID = 4096
"""Bytes of what a host answers that are looked at."""


def probe_line() -> str:
    """The line for the hosts' login shells."""
    return f"exec sh -c '{PROBE}'"


class Check(StrEnum):
    """What is tried, in this order; who fails one of the first five can't be used."""

    NAME = "name"
    PORT = "port"
    HOST_KEY = "host key"
    LOGIN = "login"
    PYTHON = "Python"
    RSYNC = "rsync"
    SUDO = "sudo"
    INNER = "each other"


NEEDED = (Check.NAME, Check.PORT, Check.HOST_KEY, Check.LOGIN, Check.PYTHON)
FAILS_AT = {
    Code.NAME: Check.NAME,
    **dict.fromkeys((Code.REFUSED, Code.NO_ROUTE, Code.CONNECT_TIMEOUT, Code.OPEN_FILES), Check.PORT),
    **dict.fromkeys((Code.PARENT, Code.NO_SSH), Check.PORT),
    **dict.fromkeys((Code.HOST_KEY_UNKNOWN, Code.HOST_KEY_CHANGED, Code.HOST_KEY_REVOKED), Check.HOST_KEY),
    **dict.fromkeys((Code.AUTHENTICATION, Code.PASSWORD, Code.SIGNING, Code.LOGIN_SHELL), Check.LOGIN),
    **dict.fromkeys((Code.STARTUPS, Code.DROPPED), Check.LOGIN),
}
"""The check at which a login ends with a code; what isn't here fails where the agent starts."""

NO_PYTHON = "none: a shell runs its commands, nothing is copied there, and it is no relay"
BY_PASSWORD = "by a password, of which only the root has any: no other host can log in there"
RSYNC_REMEDY = "Install rsync there: `nile sync` needs it for what can't come as one stream."
SUDO_REMEDY = (
    "Only for --sudo: Nile asks you for the password, once. Where nobody can be asked, let the user run env "
    "there with NOPASSWD (see sudoers(5))."
)
INNER_REMEDY = (
    "See that they reach each other's sshd by the names or addresses that the route file has (`address: "
    "{inside: ...}`), or write `tree: flat`: then the root logs in to each host itself."
)
_PYTHON = re.compile(r"Python (\d+\.\d+(?:\.\d+)?)")
_RSYNC = re.compile(r"version v?(\d+\.\d+(?:\.\d+)?)")


@dataclass(frozen=True, slots=True)
class Finding:
    """How a check went; `ok` is None where it couldn't be made."""

    ok: bool | None
    said: str = ""
    """What was found, or what is wrong."""
    remedy: str = ""
    cause: str = ""
    """One word by which failures are alike, whatever is said of each."""


UNTRIED = Finding(None)


@dataclass
class Look:
    """What one run over the hosts brought."""

    results: dict[str, HostResult] = field(default_factory=dict)
    said: dict[str, bytes] = field(default_factory=dict)
    """The beginning of each host's standard output."""
    parents: dict[str, str] = field(default_factory=dict)
    """Who logged in to a host at last."""
    notices: list[str] = field(default_factory=list)
    by_password: frozenset[str] = frozenset()
    """Hosts that took the user's password."""


Findings = dict[Check, Finding]


def examine(look: Look) -> dict[str, Findings]:
    """All checks but the last one, for every host."""
    found = {host: _of(result, look.said.get(host, b"")) for host, result in look.results.items()}
    for host in look.by_password.intersection(found):
        if found[host][Check.LOGIN].ok:
            found[host][Check.LOGIN] = Finding(True, BY_PASSWORD)
    return found


def usable(findings: Findings) -> bool:
    """Whether Nile can run commands on a host."""
    return all(findings[check].ok for check in NEEDED)


def _of(result: HostResult, said: bytes) -> Findings:
    found: Findings = dict.fromkeys(Check, UNTRIED)
    if result.verdict is Verdict.UNREACHABLE:
        code = result.code or Code.AGENT
        failed = FAILS_AT.get(code, Check.PYTHON)
        for check in NEEDED[: NEEDED.index(failed)]:
            found[check] = Finding(True)
        found[failed] = Finding(False, result.reason or str(code), result.remedy, str(code))
        return found
    found |= dict.fromkeys(NEEDED, Finding(True))
    answers = dict(line.split(" ", 1) for line in said.decode(errors="replace").splitlines() if " " in line)
    if result.verdict is not Verdict.OK and not answers:
        found[Check.PYTHON] = Finding(False, result.reason or str(result.verdict), result.remedy)
        return found
    if python := _PYTHON.search(answers.get("python", "")):
        found[Check.PYTHON] = Finding(True, python[1])
    elif BY_A_SHELL in result.reason:
        found[Check.PYTHON] = Finding(True, NO_PYTHON)
    rsync = _RSYNC.search(answers.get("rsync", ""))
    found[Check.RSYNC] = Finding(True, rsync[1]) if rsync else Finding(False, "there is none", RSYNC_REMEDY)
    found[Check.SUDO] = _sudo(answers)
    if result.verdict is not Verdict.OK:  # it got no further than its answers
        unanswered = [check for check in (Check.RSYNC, Check.SUDO) if check.lower() not in answers]
        found |= dict.fromkeys(unanswered, UNTRIED)
        if unanswered:
            found[unanswered[0]] = Finding(False, result.reason or str(result.verdict), result.remedy)
    return found


def _sudo(answers: Mapping[str, str]) -> Finding:
    if answers.get("uid") == "0":
        return Finding(True, "not needed: the user is root")
    word = answers.get("sudo", "")
    if word == "yes":
        return Finding(True, "without a password")
    return Finding(
        False, "there is none" if word == "none" else "refused, or with a password or a terminal", SUDO_REMEDY
    )


def can_relay(look: Look, host: str) -> bool:
    """Whether a host has what it takes to log in to others: a Python for the agent, and an ssh client."""
    result = look.results.get(host)
    if result is None or BY_A_SHELL in result.reason:
        return False
    return any(line.startswith(b"ssh /") for line in look.said.get(host, b"").splitlines())


def inner(look: Look, root: str) -> dict[str, Finding]:
    """Whether hosts were logged in to from another host; `root` is what the root is called."""
    why = "; ".join(dict.fromkeys(notice for notice in look.notices if "can't log in" in notice))
    reason = "no other host could log in" + (f" ({why})" if why else "")
    found = {}
    for host, result in look.results.items():
        parent = look.parents.get(host)
        if result.verdict is not Verdict.OK or parent is None:
            found[host] = Finding(False, result.reason or str(result.verdict), result.remedy)
        else:
            found[host] = Finding(True) if parent != root else Finding(False, reason, INNER_REMEDY)
    return found


def rounds(hosts: Sequence[str], relays: Sequence[str], most: int) -> list[dict[str, list[str]]]:
    """Trees of two stages in which every host is once below another one: relay -> those below it.

    `relays` are those of the hosts that may have others below them; `most` is how many each may have.
    """
    if len(hosts) < 2 or not relays:
        return []
    number = min(len(relays), max(1, round(len(hosts) ** 0.5), -(-len(hosts) // (most + 1))))
    first = list(relays[:number])
    trees = [_spread(first, [host for host in hosts if host not in set(first)])]
    if others := [host for host in relays if host not in set(first)]:
        trees.append(_spread(others[:number], first))
    elif number > 1:  # they all relay: each below its neighbour, by turns
        trees.append({first[index]: [first[index + 1]] for index in range(0, number - 1, 2)})
        trees.append({first[index]: [first[index - 1]] for index in range(1, number, 2)})
    return [tree for tree in trees if any(tree.values())]


def _spread(relays: Sequence[str], hosts: Iterable[str]) -> dict[str, list[str]]:
    tree: dict[str, list[str]] = {relay: [] for relay in relays}
    for index, host in enumerate(hosts):
        tree[relays[index % len(relays)]].append(host)
    return {relay: below for relay, below in tree.items() if below}
