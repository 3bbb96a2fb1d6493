"""The password of the user's logins: which of them gets it, and when. Pure.

The user gave one before the run. A login to a host that asks for it waits for
its turn: one alone gets it first, others once it was taken there, more and more
at a time (see `nile.cascade.waves`), for each user name apart: that one account
takes it says nothing of another. Where it is refused nobody else gets it, and
where nobody can tell what became of it before it was ever taken, neither: many
wrong ones would lock the account. A host that took it gets it again.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from nile.cascade.waves import Waves

REFUSED = "the password was refused"


@dataclass(frozen=True, slots=True)
class Turn:
    """What a login that waits is told: `why` it doesn't get the password; "" where it does."""

    number: int
    why: str = ""


@dataclass(frozen=True, slots=True)
class _Login:
    host: str
    user: str


class LoginTries:
    """Each login has a number of its own; what it returns are answers to logins that wait."""

    def __init__(self) -> None:
        self._logins: dict[int, _Login] = {}
        self._waiting: dict[int, None] = {}
        self._waves: defaultdict[str, Waves] = defaultdict(Waves)
        self._took: set[_Login] = set()
        self._spent: dict[_Login, str] = {}
        """Where it isn't tried again, and why."""
        self._why = ""

    def asks(self, number: int, host: str, user: str) -> list[Turn]:
        """A host asks for the password of `user`."""
        login = self._logins[number] = _Login(host, user)
        if login in self._took:
            return [Turn(number)]
        if login in self._spent:
            return [Turn(number, self._spent[login])]
        self._waiting[number] = None
        return self._answer()

    def took(self, number: int) -> list[Turn]:
        """The password was right there."""
        login = self._logins[number]
        self._took.add(login)
        self._waves[login.user].took(number)
        return self._answer()

    def refused(self, number: int) -> list[Turn]:
        """It was wrong there."""
        login = self._logins[number]
        self._took.discard(login)
        self._spent[login] = REFUSED
        self._waves[login.user].left(number)
        return self._stop(f"the password was refused on {login.host}, so it was tried on no other host")

    def over(self, number: int, *, sent: bool) -> list[Turn]:
        """The login is over, and it wasn't told what came of the password, if that was `sent`."""
        login = self._logins.pop(number, None)
        self._waiting.pop(number, None)
        if login is None:
            return []
        waves = self._waves[login.user]
        if waves.left(number) and sent:
            self._spent[login] = said = f"nobody knows whether the password was taken on {login.host}"
            if not waves.proven:
                return self._stop(f"{said}, so it was tried on no other host")
        return self._answer()

    def _stop(self, why: str) -> list[Turn]:
        self._why = self._why or why
        return self._answer()

    def _answer(self) -> list[Turn]:
        turns = []
        for number in list(self._waiting):
            waves = self._waves[self._logins[number].user]
            if self._why:
                turns.append(Turn(number, self._why))
            elif waves.room():
                waves.give(number)
                turns.append(Turn(number))
            else:
                continue
            del self._waiting[number]
        return turns
