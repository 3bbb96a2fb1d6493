"""`--ask-pass` and `--pass-fd`: a password for hosts that take no key, where the root itself logs in."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from nile.errors import CredentialsError, UsageError

if TYPE_CHECKING:
    from nile.controller import AskPassword
    from nile.transport.passwords import Entitled, Passwords

F = TypeVar("F", bound=Callable[..., Any])

PASSWORD_OPTIONS = ("ask_pass", "pass_fd")
MOST = 4096
"""So many bytes are read in search of the end of the line."""
_KEY = "nile.password"
_REMEDY = "type it at a terminal, or hand it in: --pass-fd 3 3< <(pass show cluster)"


def _is_open(context: click.Context, _: click.Parameter, fd: int | None) -> int | None:
    """Looked at before Nile opens anything, which might get that very number.

    A recorded command line, which is read again below no other, had a descriptor that is long closed.
    """
    try:
        if fd is not None and context.parent is not None:
            os.fstat(fd)
    except OSError as error:
        raise click.BadParameter(f"descriptor {fd} isn't open: {_REMEDY}") from error
    return fd


_OPTIONS = (
    click.option(
        "--ask-pass",
        is_flag=True,
        help="Ask for a password, for hosts that the root logs in to itself and that take no key. One host "
        "gets it first, the others once that one took it.",
    ),
    click.option(
        "--pass-fd",
        metavar="N",
        type=click.IntRange(3, 2**31 - 1),
        callback=_is_open,
        help="The same, for programs: it is the first line that file descriptor N has.",
    ),
)


def password_options(function: F) -> F:
    """By what a login may be done beside keys."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def login_password(given: Mapping[str, Any]) -> AskPassword | None:
    """What gives the password that the options want; None where they want none. Raises UsageError.

    It is asked for once, however many runs the command line comes to.
    """
    if not given.get("ask_pass") and given.get("pass_fd") is None:
        return None
    if given.get("ask_pass") and given.get("pass_fd") is not None:
        remedy = "a password is typed, or read: leave one of the two out"
        raise UsageError("--ask-pass and --pass-fd can't go together", remedy=remedy)
    once: _Once = click.get_current_context().meta.setdefault(_KEY, _Once(given["pass_fd"]))
    return once


class _Once:
    """An `AskPassword`."""

    def __init__(self, fd: int | None) -> None:
        self._fd = fd
        self._passwords: Passwords | None = None
        self._users: frozenset[str] = frozenset()
        self._left_out: set[Entitled] = set()
        """Who was named already."""

    def __call__(self, entitled: Collection[Entitled]) -> Passwords:
        from nile.cascade import Secret
        from nile.transport.passwords import Passwords

        if self._passwords is None:
            self._users = frozenset(user for _, user in entitled)
            self._passwords = Passwords(Secret(self._text(sorted(self._users))), self._users)
        self._name_left_out(entitled)
        self._passwords.entitle(entitled)
        return self._passwords

    def _name_left_out(self, entitled: Collection[Entitled]) -> None:
        """A later tree, as of `nile hostkeys`, may have users for whom nobody was asked."""
        from nile.report import heading
        from nile.report.text import visible

        new = {each for each in entitled if each[1] not in self._users} - self._left_out
        self._left_out |= new
        for user in sorted({user for _, user in new}):
            hosts = heading(sorted(host for host, whose in new if whose == user))
            text = (
                f"nile: no password is given to {hosts}: the login there is {user}'s, and the password "
                f"that of {_whose(sorted(self._users))}; run it for these hosts by themselves"
            )
            click.echo(visible(text), err=True)

    def _text(self, users: Sequence[str]) -> str:
        where = "--ask-pass" if self._fd is None else "--pass-fd"
        if not users:
            raise UsageError(
                "no host that the root logs in to can be given a password",
                where=where,
                remedy="leave it out, or see that they have `ssh: {client: asyncssh}`, and that ssh_config "
                "has no `PasswordAuthentication no` for them",
            )
        return _checked(_typed(users) if self._fd is None else _read(self._fd), where)


def _typed(users: Sequence[str]) -> str:
    from nile.cli.secrets import ask_secret

    prompt = f"nile: password for logins as {_whose(users)} (what you type isn't shown): "
    return ask_secret(prompt, "a password is wanted", _REMEDY)


def _whose(users: Sequence[str]) -> str:
    return ", ".join(users) if len(users) <= 3 else f"{users[0]} and {len(users) - 1} others"


def _read(fd: int) -> str:
    """The first line, and no byte behind it is waited for."""
    text = b""
    try:
        with os.fdopen(fd, "rb", buffering=0) as file:
            while b"\n" not in text and len(text) <= MOST and (data := file.read(MOST)):
                text += data
    except OSError as error:
        where = f"--pass-fd {fd}"
        raise CredentialsError(f"it can't be read: {error.strerror}", where=where, remedy=_REMEDY) from error
    return text.partition(b"\n")[0].decode(errors="surrogateescape")


def _checked(text: str, where: str) -> str:
    from nile.cascade import unfit

    if not text:
        raise CredentialsError(
            "no password was given", where=where, remedy="leave it out, to log in by keys alone"
        )
    if why := unfit(text):
        raise CredentialsError("this is no password that a host could take", where=where, remedy=why)
    return text
