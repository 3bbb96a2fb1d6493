"""What an ssh client's last words mean: driven by a table.

Relays pass them on as they are, so they don't carry the table. They know by
themselves only what to try again (`nile.agent.sshlogin.passes_by`).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a login failed: `code` as in `nile.events.Code`; `retry`: it says nothing about the host."""

    code: str
    reason: str
    retry: bool = False


# The first row that matches decides: (words in ssh's message, code, says nothing about the host, what to
# tell instead of ssh's last line). Host keys first: what follows those messages is always the same.
# Words are ssh's own phrases: a banner, which may speak of denied access, is among what it says. Relays have
# a copy of the rows up to the last that is tried again.
_TABLE = (
    ("REVOKED HOST KEY DETECTED", "host-key-revoked", False, "its host key is marked @revoked"),
    (
        "REMOTE HOST IDENTIFICATION HAS CHANGED",
        "host-key-changed",
        False,
        "its host key isn't the one in known_hosts",
    ),
    ("Host key verification failed", "host-key-unknown", False, "no host key of it is in known_hosts"),
    ("Could not resolve hostname", "name", False, ""),
    ("Connection refused", "refused", False, ""),
    ("No route to host", "no-route", False, ""),
    ("Network is unreachable", "no-route", False, ""),
    ("Connection timed out", "connect-timeout", False, ""),
    ("Operation timed out", "connect-timeout", False, ""),
    ("agent refused operation", "signing", False, ""),
    ("Permission denied (", "authentication", False, ""),
    ("Too many authentication failures", "authentication", False, ""),
    ("kex_exchange_identification", "startups", True, ""),
    ("ssh_exchange_identification", "startups", True, ""),
    ("Connection reset", "startups", True, ""),
    ("Connection closed by", "startups", True, ""),
    ("ssh_dispatch_run_fatal", "startups", True, ""),
    ("Unable to negotiate", "dropped", False, ""),
)


def classify(said: str, status: int | None) -> Failure:
    """What the client's standard error and exit status say of a login that never became an agent.

    ssh's own failures end with 255; anything else comes from the host, whatever it printed.
    """
    if status != 255:
        return ended(said, status)
    for words, code, retry, reason in _TABLE:
        if words in said:
            return Failure(code, reason or _line_with(words, said), retry)
    return Failure("dropped", last_line(said) or "the connection ended before the agent spoke")


def ended(said: str, status: int | None) -> Failure:
    """What it means that a login succeeded and ended with this status before any agent spoke.

    The first stage tells that there is no Python, and ends with 0 else; so
    what ended with another status isn't the first stage, but what was to start it.
    """
    said = last_line(said)
    if not status:
        return Failure("agent", said or f"the first stage ended with status {status}")
    reason = f"the login shell ended with status {status} and ran nothing"
    return Failure("login-shell", reason + (said and ": " + said))


def _line_with(words: str, said: str) -> str:
    return [line.strip() for line in said.splitlines() if words in line][-1]


def last_line(said: str) -> str:
    """The last line that isn't empty, nor one of OpenSSH 10's warnings (`** ... post-quantum ...`)."""
    lines = [line.strip() for line in said.splitlines() if line.strip() and line[:3] != "** "]
    return lines[-1] if lines else ""
