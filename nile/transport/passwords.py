"""The user's password for logins that the root makes itself: who gets it is decided by `LoginTries`.

It is held in this process alone. A login that has to wait for its turn says so,
for its deadline isn't to run meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from itertools import count

from nile.cascade import Secret
from nile.cascade.logintries import LoginTries, Turn
from nile.transport.base import ResolvedLogin


class Passwords:
    """One password, for all hosts that ask for it. Not for several event loops at once."""

    def __init__(self, secret: Secret) -> None:
        self._secret = secret
        self._tries = LoginTries()
        self._numbers = count(1)
        self._waiting: dict[int, asyncio.Future[str]] = {}
        self.waits: Callable[[str, bool], None] = lambda host, waits: None
        """Told that the login to a host begins to wait for its turn, and that it waits no more."""
        self.taken: set[str] = set()
        """Hosts that took it."""

    def ticket(self, login: ResolvedLogin) -> Ticket:
        """What one login needs to ask for it."""
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
