"""The password of sudo: who gets it, and when. Pure.

A host that asks waits. The user is asked once, when the first one does. Then one
host alone gets the password; the others that ask get it once that one's sudo took
it, more and more of them at a time (see `nile.cascade.waves`).
Wherever it is refused, or more is asked for, or nobody can tell what became of it, no further host
gets it: many wrong ones would lock the account, where hosts share one.

    unknown --a host asks--> asking --the user's word--> trying --it runs there--> proven
                               |                           |                         |
                               +--none is given------------+--refused, or in doubt---+--refused--> over
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum

from nile.agent import wire
from nile.agent.sudowords import MORE, REFUSED
from nile.cascade.actions import Action, Publish, Send
from nile.cascade.hosts import Host
from nile.cascade.secret import Secret
from nile.cascade.waves import Waves
from nile.events import Code, SecretAsked

OPTION = "--sudo: "
REFUSES = "sudo refuses: "
REMEDY = "let the user who logs in run env by sudo there (sudoers(5)), or leave --sudo out"
REMEDY_MORE = (
    "nobody can give it: have sudo ask for no second factor there, or for nothing (NOPASSWD, sudoers(5))"
)
NONE_GIVEN = "sudo asks for a password, and none was given"
REMEDY_NONE = (
    "run it where it can be typed, or let the user who logs in run env by sudo without one (NOPASSWD)"
)
UNABLE = "user "
REMEDY_UNABLE = "let that user run it, or install python3 in /usr/bin there"
_OFFSET = bytes(8)
"""A host gets one answer, and before anything else that it is told alone."""


class Phase(Enum):
    """How far it is."""

    UNKNOWN = "unknown"
    ASKING = "asking"
    TRYING = "trying"
    PROVEN = "proven"
    OVER = "over"


class Elevation:
    """`send(host, kind, body)` makes a frame for one node; `user` is whom the command runs as."""

    def __init__(self, user: str | None, send: Callable[[int, int, bytes], Send]) -> None:
        self._user = user
        self._send = send
        self._phase = Phase.UNKNOWN
        self._secret = Secret("")
        self._why = ""
        self._waiting: dict[int, Host] = {}
        self._given: dict[int, int] = {}  # of which start (`Host.start_in`) the agent was that got it
        self._waves = Waves()

    def begun(self, host: Host, *, asks: bool, t: float) -> list[Action]:
        """sudo runs there, and not the command yet; with `asks` it wants the password, and had none."""
        if self._user is None or host.started:
            return []
        host.start_s, host.answered = t, 0
        host.wants_password = asks
        if not asks:
            return []
        self._waiting[host.id] = host
        if self._given.get(host.id, host.start_in) != host.start_in and self._phase is not Phase.OVER:
            self._doubt(host)  # an agent that is gone had it
        if self._phase is Phase.UNKNOWN:
            self._phase = Phase.ASKING
            return [Publish(SecretAsked(host.name, self._user))]
        return self._answer(t)

    def given(self, secret: Secret | None, why: str, t: float) -> list[Action]:
        """The user's word: the password, or why there is none."""
        if self._phase is not Phase.ASKING:
            return []
        self._phase = Phase.OVER if secret is None else Phase.TRYING
        self._secret, self._why = secret or Secret(""), f"{NONE_GIVEN}: {why}" if why else NONE_GIVEN
        return self._answer(t)

    def started(self, host: Host, t: float) -> list[Action]:
        """The command runs there."""
        if self._user is not None:
            host.start_s = t  # what went before was sudo's time, and the user's
        host.wants_password = False
        self._waiting.pop(host.id, None)
        if self._phase in (Phase.TRYING, Phase.PROVEN):
            self._prove(host)
        return self._answer(t)

    def judged(self, hosts: Iterable[Host], t: float) -> list[Action]:
        """These have their verdicts."""
        for host in hosts:
            host.wants_password = False
            self._waiting.pop(host.id, None)
            if host.id in self._given and not host.started:
                self._ended(host)
        return self._answer(t)

    def _ended(self, host: Host) -> None:
        """It had the password, and its command didn't begin."""
        if host.why.startswith(REFUSED):
            self._stop(f"the password was refused on {host.name}, so it was tried on no other host")
        elif host.why.startswith(MORE):
            self._stop(f"{MORE} on {host.name}, so it was tried on no other host")
        elif self._phase is Phase.OVER:
            pass
        elif host.outcome is not None and host.outcome.get("error"):
            self._prove(host)  # sudo took it, and refuses for another reason
        elif self._phase is Phase.TRYING and self._waves.has(host.id):
            self._doubt(host)
        self._waves.left(host.id)

    def _prove(self, host: Host) -> None:
        self._waves.took(host.id)
        if self._waves.proven:
            self._phase = Phase.PROVEN

    def _doubt(self, host: Host) -> None:
        said = f"nobody knows whether the password was taken on {host.name}"
        self._stop(f"{said}, so it was tried on no other host")

    def _stop(self, why: str) -> None:
        self._phase, self._why, self._secret = Phase.OVER, why, Secret("")

    def _answer(self, t: float) -> list[Action]:
        """Tell those that wait what there is to tell them now."""
        if self._phase in (Phase.UNKNOWN, Phase.ASKING):
            return []
        return [self._tell(host, t) for host in list(self._waiting.values()) if self._is_next(host)]

    def _is_next(self, host: Host) -> bool:
        """Is it told something now, by what those before it were told?"""
        return self._phase is Phase.OVER or self._waves.has(host.id) or self._waves.room()

    def _tell(self, host: Host, t: float) -> Send:
        """One that had it, and asks again, didn't get it: it would have asked no more."""
        self._waiting.pop(host.id, None)
        host.wants_password, host.start_s = False, t
        if self._phase is Phase.OVER:
            answer = b"-" + self._why.encode()
        else:
            self._given[host.id] = host.start_in
            self._waves.give(host.id)
            answer = b"+" + self._secret.text.encode(errors="surrogateescape")
        host.answered = len(answer)
        return self._send(host.id, wire.TELL, _OFFSET + answer)


def judged_of(error: str) -> tuple[Code, str, str] | None:
    """Code, reason and remedy where an agent says that sudo didn't start the command; else None."""
    if not error.startswith(OPTION):
        return None
    why = error.removeprefix(OPTION)
    remedies = {REFUSES: REMEDY, MORE: REMEDY_MORE, NONE_GIVEN: REMEDY_NONE, UNABLE: REMEDY_UNABLE}
    found = [remedy for begins, remedy in remedies.items() if why.startswith(begins)]
    return Code.SUDO, why, found[0] if found else ""
