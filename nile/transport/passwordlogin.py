"""One login by a password: what the host asks, what it is told, and what it means that it lets nobody in.

The password goes out at most once in a login, by whichever way the host asks
for it first: the `password` method (RFC 4252, 8), or one hidden question of
`keyboard-interactive` (RFC 4256) that asks for a password and nothing else.
Keys come before all that, and the host key before anything: asyncssh sees to it.
"""

from __future__ import annotations

from nile.cascade.logintries import REFUSED
from nile.events import Code
from nile.transport.base import PASSWORD, QUESTIONS, LoginFailed, ResolvedLogin
from nile.transport.passwords import Ticket
from nile.transport.prompts import Prompts, described, is_for_password

MORE = "the host took the password, and wants more than that: by"


class PasswordLogin:
    """Asked by asyncssh's callbacks. Without a ticket there is no password, and only `offers` are kept."""

    def __init__(self, login: ResolvedLogin, ticket: Ticket | None) -> None:
        self._login = login
        self._ticket = ticket
        self._odd = ""
        """What it asks that Nile doesn't answer."""
        self._expired = False
        self._by = ""
        """The method by which the host was told the password, and behind that what it offered afterwards."""
        self._behind: dict[str, None] = {}
        self._took_part = False
        """The host said that what it was told was right, and isn't enough."""
        self.offers: dict[str, None] = {}
        """The ways by which the host lets anybody in, as far as it was asked (RFC 4250, 4.11.2)."""

    @property
    def unasked(self) -> bool:
        """It could have the password, and the host didn't come to ask for it."""
        return self._ticket is not None and not (self._ticket.sent or self._ticket.withheld)

    def may(self, method: str) -> bool:
        """The host offers this: may it go on to ask by it?"""
        self.offered(method)
        ticket = self._ticket
        if ticket is None or method not in self._login.password_methods or self._odd:
            return False
        return not (ticket.sent or ticket.withheld)

    def offered(self, method: str) -> None:
        """The host offers this way."""
        self.offers[method] = None
        if self._by:
            self._behind[method] = None

    async def password(self) -> str | None:
        """The password, once it is this login's turn; None where it doesn't get it."""
        return await self._told(PASSWORD)

    async def answers(self, prompts: Prompts) -> list[str] | None:
        """What the host is told; None: nothing, and the login comes to nothing by these questions."""
        if not prompts:
            return []  # it only has something to say
        assert self._ticket is not None
        asks_again = self._ticket.sent and is_for_password(prompts)
        if self._ticket.sent or not is_for_password(prompts):
            self._odd = "" if asks_again else described(prompts)
            self.offered(QUESTIONS)  # as a host does that refused it; what asyncssh tries next is no offer
            return None
        word = await self._told(QUESTIONS)
        return None if word is None else [word]

    async def _told(self, by: str) -> str | None:
        word = await self._ticket.password() if self._ticket is not None else None
        self._by = self._by if word is None else by
        return word

    def took_part(self) -> None:
        """The host took the password, and wants more than that: a "partial success" (RFC 4252, 5.1).

        What it offers afterwards says nothing of that: it may leave a method out that failed. A
        conversation without a question succeeds too, and says nothing of the password.
        """
        self._took_part = bool(self._by)

    def has_expired(self) -> None:
        """The password is right, and the host wants another one."""
        self._expired = True
        if self._ticket is not None:
            self._ticket.took()

    def let_in(self) -> None:
        """The login succeeded."""
        if self._ticket is not None:
            self._ticket.took()

    def refused(self) -> LoginFailed | None:
        """The host lets us in by no way that there is: what befell the password; None where nothing did."""
        ticket = self._ticket
        if ticket is None:
            return None
        if self._expired:
            return _failed("the password has expired there, and Nile changes none")
        if self._odd:
            return _failed(f"it asks {self._odd}, and Nile answers one question for a password alone")
        if self._took_part:
            ticket.took()
            return _failed(f"{MORE} {' or '.join(self._behind) or 'other ways'}")
        if ticket.sent:
            ticket.refused()
            return _failed(REFUSED)
        return _failed(ticket.withheld) if ticket.withheld else None

    def over(self) -> None:
        """The login is over, however it went."""
        if self._ticket is not None:
            self._ticket.over()


def _failed(why: str) -> LoginFailed:
    return LoginFailed(Code.PASSWORD, why)
