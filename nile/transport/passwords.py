"""The user's password for logins that the root makes itself: who gets it is decided by `LoginTries`.

It is held in this process alone. A login that has to wait for its turn says so,
for its deadline isn't to run meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable
from itertools import count

from nile.cascade import Secret
from nile.cascade.logintries import LoginTries, Turn
from nile.transport.base import ResolvedLogin

Entitled = tuple[str, str]
"""A host, and the user as whom the root logs in to it."""


class Passwords:
    """One password, for hosts that ask for it and were said to. Not for several event loops at once.

    `users` are those whose password it is: nobody else's login gets it.
    """

    def __init__(self, secret: Secret, users: Collection[str]) -> None:
        self._secret = secret
        self._users = frozenset(users)
        self._entitled: frozenset[Entitled] = frozenset()
        self._tries = LoginTries()
        self._numbers = count(1)
        self._waiting: dict[int, asyncio.Future[str]] = {}
        self.waits: Callable[[str, bool], None] = lambda host, waits: None
        """Told that the login to a host begins to wait for its turn, and that it waits no more."""
        self.taken: set[str] = set()
        """Hosts that took it."""

    def entitle(self, entitled: Iterable[Entitled]) -> None:
        """From now on these may have it, and no others: however the tree comes to grow, whoever logs in."""
        self._entitled = frozenset(each for each in entitled if each[1] in self._users)

    def ticket(self, login: ResolvedLogin) -> Ticket | None:
        """What one login needs to ask for it; None where it isn't to have it."""
        if (login.host, login.user) not in self._entitled:
            return None
        return Ticket(self, login, next(self._numbers))

    # Called by tickets.

    async def turn(self, number: int, login: ResolvedLogin) -> str:
        """Wait for this login's turn; why it doesn't get the password, "" where it does."""
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        self.tell(self._tries.asks(number, login.host, login.user))
        if answer.done():
            return answer.result()
        self.waits(login.host, True)
        try:
            return await answer
        finally:
            self.waits(login.host, False)

    def reveal(self) -> str:
        """The password itself."""
        return self._secret.text

    def tell(self, turns: Iterable[Turn]) -> None:
        """Answer those that wait."""
        for turn in turns:
            answer = self._waiting.pop(turn.number, None)
            if answer is not None and not answer.done():
                answer.set_result(turn.why)

    def took(self, number: int, host: str) -> None:
        """It was right there."""
        self.taken.add(host)
        self.tell(self._tries.took(number))

    def refused(self, number: int) -> None:
        """It was wrong there."""
        self.tell(self._tries.refused(number))

    def over(self, number: int, *, sent: bool) -> None:
        """That login is over."""
        self._waiting.pop(number, None)
        self.tell(self._tries.over(number, sent=sent))


class Ticket:
    """One login's hold on the password, which it gets once at most."""

    def __init__(self, passwords: Passwords, login: ResolvedLogin, number: int) -> None:
        self._passwords = passwords
        self._login = login
        self._number = number
        self.sent = False
        self.withheld = ""
        """Why this login doesn't get it."""

    async def password(self) -> str | None:
        """The password, once it is this login's turn; None where it doesn't get it."""
        if self.sent or self.withheld:
            return None
        self.withheld = await self._passwords.turn(self._number, self._login)
        if self.withheld:
            return None
        self.sent = True
        return self._passwords.reveal()

    def took(self) -> None:
        """The host let us in, or took the password and wants something else yet."""
        if self.sent:
            self._passwords.took(self._number, self._login.host)

    def refused(self) -> None:
        """The host refused it."""
        if self.sent:
            self._passwords.refused(self._number)

    def over(self) -> None:
        """The login is over, however it went."""
        self._passwords.over(self._number, sent=self.sent)
