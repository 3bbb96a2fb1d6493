"""Logins by a password: what a host is told, when, and what it means that it lets nobody in.

The servers are asyncssh's, which remember what they were told; a real sshd with PAM is in tests/cluster.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import asyncssh
import pytest

from nile.cascade import Secret
from nile.events import Code
from nile.transport.asyncssh_client import AsyncsshTransport
from nile.transport.base import KEYS, PASSWORD, QUESTIONS, LoginFailed, ResolvedLogin
from nile.transport.passwordlogin import MORE, PasswordLogin
from nile.transport.passwords import Passwords, Ticket
from nile.transport.remedies import remedy_for
from tests.transport.running import ring_of, run
from tests.transport.servers import PIPE, Sshd, keygen, public_key, public_line
from tests.transport.sinks import Sink

RIGHT = "Right: ü 'n $HOME"
ASKED = [("Password: ", False)]
Challenge = list[tuple[str, bool]]


@dataclass
class Host:
    """How a server asks, and what it was told."""

    by_password: bool = True
    questions: Sequence[Challenge] = ()
    """What it asks one after another, in keyboard-interactive."""
    keys: str | None = None
    most_keys: int = 0
    """Of so many it hangs up, if it isn't 0."""
    expired: bool = False
    once: bool = False
    """It takes one try alone, and offers no more afterwards."""
    partly: bool = False
    """What is right isn't enough."""
    hangs: asyncio.Event | None = None
    """Nobody is answered before."""
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    """It was told something."""
    told: list[str] = field(default_factory=list)
    ways: list[str] = field(default_factory=list)


class Server(asyncssh.SSHServer):
    def __init__(self, host: Host) -> None:
        self._host = host
        self._left: list[Challenge] = []

    def connection_made(self, conn: Any) -> None:
        send = conn.send_userauth_failure
        conn.send_userauth_failure = lambda part: send(
            part or (self._host.partly and RIGHT in self._host.told)
        )

    def begin_auth(self, username: str) -> bool:
        return True

    def public_key_auth_supported(self) -> bool:
        return self._host.keys is not None

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        self._host.ways.append("publickey")
        if self._host.most_keys and len(self._host.ways) >= self._host.most_keys:
            raise asyncssh.ProtocolError("Too many authentication failures")
        return " ".join(key.export_public_key().decode().split()[:2]) == self._host.keys

    def password_auth_supported(self) -> bool:
        return self._host.by_password and not (self._host.once and self._host.told)

    async def validate_password(self, username: str, password: str) -> bool:
        self._host.told.append(password)
        self._host.ways.append("password")
        self._host.asked.set()
        if self._host.hangs is not None:
            await self._host.hangs.wait()
        if self._host.expired:
            raise asyncssh.PasswordChangeRequired("Your password has expired")
        return password == RIGHT and not self._host.partly

    def kbdint_auth_supported(self) -> bool:
        return bool(self._host.questions)

    def get_kbdint_challenge(
        self, username: str, lang: str, submethods: str
    ) -> tuple[str, str, str, Challenge]:
        self._host.ways.append("questions")
        first, *self._left = self._host.questions
        return "", "", "", first

    def validate_kbdint_response(
        self, username: str, responses: Sequence[str]
    ) -> bool | tuple[str, str, str, Challenge]:
        self._host.told += responses
        if responses and responses != [RIGHT]:
            return False
        return ("", "", "", self._left.pop(0)) if self._left else True


@asynccontextmanager
async def serving(sshd: Sshd, *hosts: Host) -> AsyncIterator[list[ResolvedLogin]]:
    """A server for each of them; logins to these, whose host key is known."""
    servers = [
        await asyncssh.listen(
            "127.0.0.1",
            0,
            server_host_keys=[str(sshd.host_key)],
            server_factory=lambda host=host: Server(host),
            process_factory=lambda process: process.exit(0),
        )
        for host in hosts
    ]
    try:
        yield [
            sshd.login(port=server.get_port(), host=f"h{number}", user="ada")
            for number, server in enumerate(servers, 1)
        ]
    finally:
        for server in servers:
            server.close()
            await server.wait_closed()


def entitling(password: str) -> Passwords:
    """For all hosts of a test."""
    given = Passwords(Secret(password), ["ada"])
    given.entitle((f"h{number}", "ada") for number in range(1, 50))
    return given


@asynccontextmanager
async def transport(password: str | None, *keys: Path) -> AsyncIterator[AsyncsshTransport]:
    made = AsyncsshTransport(ring_of(*keys), None if password is None else entitling(password))
    try:
        yield made
    finally:
        await made.close()


async def outcome(made: AsyncsshTransport, login: ResolvedLogin) -> LoginFailed | None:
    sink = Sink()
    try:
        async with asyncio.timeout(20):
            await made.login(login, "true", sink)
            await sink.wait_closed()
    except LoginFailed as failure:
        return failure
    return None


def logs_in(sshd: Sshd, host: Host, password: str | None = RIGHT) -> LoginFailed | None:
    found: list[LoginFailed | None] = []

    async def main() -> None:
        async with serving(sshd, host) as (login,), transport(password) as made:
            found.append(await outcome(made, login))

    run(main())
    return found[0]


def test_by_the_method_of_that_name(sshd: Sshd) -> None:
    host = Host()
    assert logs_in(sshd, host) is None
    assert host.told == [RIGHT]


@pytest.mark.parametrize("before", [[], [[]], [[], []]], ids=["at once", "after a word", "after two"])
def test_by_one_hidden_question(sshd: Sshd, before: list[Challenge]) -> None:
    """What only says something is no question. PAM's last words may come behind it."""
    host = Host(by_password=False, questions=[*before, ASKED, []])
    assert logs_in(sshd, host) is None
    assert host.told == [RIGHT]


def test_by_a_question_where_both_ways_are_offered_and_once_alone_where_it_is_wrong(sshd: Sshd) -> None:
    host = Host(questions=[ASKED])
    problem = logs_in(sshd, host, "wrong")
    assert problem is not None
    assert (problem.code, problem.reason, problem.retry) == (Code.PASSWORD, "the password was refused", False)
    assert "ssh-copy-id" in problem.remedy
    assert host.told == ["wrong"]
    assert host.ways == ["questions"], "a conversation that ends without an answer counts as a try for PAM"


def test_by_way_of_a_proxy_command(sshd: Sshd) -> None:
    host = Host()

    async def main() -> None:
        async with serving(sshd, host) as (login,), transport(RIGHT) as made:
            login = replace(login, root_options=(PIPE,))
            assert await outcome(made, login) is None

    run(main())
    assert host.told == [RIGHT]


def test_a_key_that_the_host_takes_comes_first(sshd: Sshd, user_key: Path) -> None:
    host = Host(keys=public_line(user_key))

    async def main() -> None:
        async with serving(sshd, host) as (login,), transport(RIGHT, user_key) as made:
            login = replace(login, identities=(public_key(user_key),))
            assert await outcome(made, login) is None

    run(main())
    assert host.told == []
    assert "publickey" in host.ways


def test_the_password_comes_after_the_keys(sshd: Sshd, user_key: Path, tmp_path: Path) -> None:
    host = Host(keys=public_line(keygen(tmp_path / "other")))

    async def main() -> None:
        async with serving(sshd, host) as (login,), transport(RIGHT, user_key) as made:
            login = replace(login, identities=(public_key(user_key),))
            assert await outcome(made, login) is None

    run(main())
    assert host.ways == ["publickey", "password"]


def test_keys_that_exhaust_a_host_before_it_asks_are_counted_and_named(sshd: Sshd, tmp_path: Path) -> None:
    """As sshd does with six (MaxAuthTries)."""
    host = Host(keys="none of these", most_keys=2)
    found: list[tuple[LoginFailed | None, ResolvedLogin]] = []

    async def main() -> None:
        keys = [keygen(tmp_path / f"key{number}") for number in range(3)]
        async with serving(sshd, host) as (login,), transport(RIGHT, *keys) as made:
            login = replace(login, identities=tuple(map(public_key, keys)))
            found.append((await outcome(made, login), login))

    run(main())
    (problem, login) = found[0]
    assert problem is not None
    assert (problem.code, host.told) == (Code.AUTHENTICATION, [])
    assert problem.reason == "2 keys were offered, and the host hung up before it asked for the password"
    assert "IdentitiesOnly yes" in remedy_for(problem.code, login, problem.reason)


class Asked:
    """A ticket that is always its turn."""

    def __init__(self) -> None:
        self.sent, self.withheld, self.ends = False, "", list[str]()

    async def password(self) -> str | None:
        self.sent = True
        return RIGHT

    def took(self) -> None:
        self.ends.append("took")

    def refused(self) -> None:
        self.ends.append("refused")


@pytest.mark.parametrize(
    ("by", "part", "then", "ends", "reason"),
    [
        (PASSWORD, True, (QUESTIONS,), "took", f"{MORE} keyboard-interactive"),
        (PASSWORD, True, (KEYS, QUESTIONS), "took", f"{MORE} publickey or keyboard-interactive"),
        (QUESTIONS, True, (PASSWORD,), "took", f"{MORE} password"),
        (PASSWORD, True, (), "took", f"{MORE} other ways"),
        (PASSWORD, False, (KEYS, QUESTIONS, PASSWORD), "refused", "the password was refused"),
        (PASSWORD, False, (KEYS,), "refused", "the password was refused"),
        (QUESTIONS, False, (QUESTIONS, PASSWORD), "refused", "the password was refused"),
        (PASSWORD, False, (), "refused", "the password was refused"),
    ],
)
def test_what_it_means_that_a_host_goes_on(
    sshd: Sshd, by: str, part: bool, then: Sequence[str], ends: str, reason: str
) -> None:
    """A host with `AuthenticationMethods password,...` took it, which says nothing against others."""
    ticket = Asked()
    login = PasswordLogin(sshd.login(), cast(Ticket, ticket))

    async def main() -> None:
        login.took_part()  # what came before the password
        assert login.may(by)
        assert await (login.answers(ASKED) if by == QUESTIONS else login.password())
        if part:
            login.took_part()
        for method in then:
            assert method == KEYS or not login.may(method)
            login.offered(method)

    run(main())
    problem = login.refused()
    assert problem is not None
    assert (ticket.ends, problem.reason, problem.code) == ([ends], reason, Code.PASSWORD)


@pytest.mark.parametrize(
    ("password", "partly", "reason"),
    [(RIGHT, True, f"{MORE} publickey"), ("wrong", False, "the password was refused")],
)
def test_a_host_that_allows_one_try_goes_on_by_keys_whether_it_was_right_or_not(
    sshd: Sshd, password: str, partly: bool, reason: str
) -> None:
    """It offers what is of use alone, and says apart whether the password was right (RFC 4252, 5.1)."""
    first, second = Host(keys="none", once=True, partly=partly), Host()

    async def main() -> None:
        async with serving(sshd, first, second) as (one, two), transport(password) as made:
            problem = await outcome(made, one)
            assert problem is not None
            assert problem.reason == reason
            withheld = await outcome(made, two)
            assert (withheld is None) is partly

    run(main())
    assert (first.told, second.told) == ([password], [RIGHT] if partly else [])


@pytest.mark.parametrize("questions", [(), (ASKED,)])
def test_a_host_with_another_host_key_is_never_told(
    sshd: Sshd, tmp_path: Path, questions: tuple[Challenge, ...]
) -> None:
    host = Host(questions=questions)
    other = f"target {public_line(keygen(tmp_path / 'other'))}"

    async def main() -> None:
        async with serving(sshd, host) as (login,), transport(RIGHT) as made:
            for known, code in (((other,), Code.HOST_KEY_CHANGED), ((), Code.HOST_KEY_UNKNOWN)):
                login = replace(login, known_hosts=known)
                problem = await outcome(made, login)
                assert problem is not None
                assert problem.code is code

    run(main())
    assert host.told == host.ways == []


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ([("Verification code: ", False)], "'Verification code:'"),
        ([("Password: ", True)], "'Password:'"),
        ([("Password: ", False), ("Code: ", False)], "'Password:' and 'Code:'"),
    ],
)
def test_other_questions_are_not_answered_nor_is_the_other_way_tried(
    sshd: Sshd, asked: Challenge, said: str
) -> None:
    host = Host(questions=[asked])
    problem = logs_in(sshd, host)
    assert problem is not None
    assert problem.code is Code.PASSWORD
    assert problem.reason == f"it asks {said}, and Nile answers one question for a password alone"
    assert host.told == []


def test_a_second_factor_is_named_and_nobody_is_told_the_password_after_that(sshd: Sshd) -> None:
    first, second = Host(questions=[ASKED, [("Code: ", False)]]), Host()

    async def main() -> None:
        async with serving(sshd, first, second) as (one, two), transport(RIGHT) as made:
            problem = await outcome(made, one)
            assert problem is not None
            assert "it asks 'Code:'" in problem.reason
            withheld = await outcome(made, two)
            assert withheld is not None
            assert withheld.reason.startswith("nobody knows whether the password was taken on h1")

    run(main())
    assert (first.told, second.told) == ([RIGHT], [])


def test_a_host_that_asks_for_it_once_more_refused_it(sshd: Sshd) -> None:
    host = Host(questions=[ASKED, ASKED])
    problem = logs_in(sshd, host)
    assert problem is not None
    assert problem.reason == "the password was refused"
    assert host.told == [RIGHT]


def test_an_expired_one_is_right_and_not_changed(sshd: Sshd) -> None:
    expired, other = Host(expired=True), Host()

    async def main() -> None:
        async with serving(sshd, expired, other) as (one, two), transport(RIGHT) as made:
            problem = await outcome(made, one)
            assert problem is not None
            assert "expired" in problem.reason
            assert await outcome(made, two) is None

    run(main())
    assert expired.told == [RIGHT]


def test_without_a_password_the_ways_of_the_host_are_named_with_the_option(sshd: Sshd) -> None:
    host = Host(questions=[ASKED])
    problem = logs_in(sshd, host, None)
    assert problem is not None
    assert problem.code is Code.AUTHENTICATION
    assert problem.reason.endswith("(keyboard-interactive,password)")
    assert "--ask-pass" in problem.remedy
    assert host.told == host.ways == []


def test_what_a_relays_ssh_says_of_it_names_the_option_too(sshd: Sshd) -> None:
    said = "ada@h1: Permission denied (publickey,password,keyboard-interactive)."
    assert "--tree flat" in remedy_for(Code.AUTHENTICATION, sshd.login(), said)
    assert "--ask-pass" not in remedy_for(
        Code.AUTHENTICATION, sshd.login(), "ada@password: Permission denied (publickey)."
    )


@pytest.mark.parametrize("allowed", [(), (QUESTIONS,), (PASSWORD,)])
def test_only_by_ways_that_ssh_config_allows(sshd: Sshd, allowed: tuple[str, ...]) -> None:
    host = Host(questions=[ASKED])

    async def main() -> None:
        async with serving(sshd, host) as (login,), transport(RIGHT) as made:
            login = replace(login, password_methods=allowed)
            problem = await outcome(made, login)
            assert (problem is None) is bool(allowed)

    run(main())
    assert host.ways == [{QUESTIONS: "questions", PASSWORD: "password"}[way] for way in allowed]


def test_a_wrong_one_is_tried_on_one_host_however_many_ask_at_a_time(sshd: Sshd) -> None:
    hosts = [Host(questions=[ASKED] if number % 2 else ()) for number in range(12)]

    async def main() -> None:
        async with (
            serving(sshd, *hosts) as logins,
            transport("wrong") as made,
            asyncio.TaskGroup() as tasks,
        ):
            ends = [tasks.create_task(outcome(made, login)) for login in logins]
        found = [end.result() for end in ends]
        reasons = sorted(problem.reason for problem in found if problem is not None)
        assert len(reasons) == 12
        assert reasons[0] == "the password was refused"
        assert len(set(reasons[1:])) == 1
        assert reasons[1].endswith("so it was tried on no other host")

    run(main())
    assert [told for host in hosts for told in host.told] == ["wrong"]


def test_a_login_that_waits_says_so_and_goes_on_once_the_first_took_it(sshd: Sshd) -> None:
    async def main() -> None:
        go = asyncio.Event()
        first, second = Host(hangs=go), Host()
        waits: list[tuple[str, bool]] = []
        waiting = asyncio.Event()
        async with serving(sshd, first, second) as (one, two), transport(RIGHT) as made:
            assert made._passwords is not None

            def told(host: str, begins: bool) -> None:
                waits.append((host, begins))
                waiting.set()

            made._passwords.waits = told
            async with asyncio.TaskGroup() as tasks:
                ends = [tasks.create_task(outcome(made, one))]
                async with asyncio.timeout(20):
                    await first.asked.wait()
                    ends.append(tasks.create_task(outcome(made, two)))
                    await waiting.wait()
                assert second.told == []
                go.set()
            assert [each.result() for each in ends] == [None, None]
            assert made._passwords.taken == {"h1", "h2"}
        assert waits == [("h2", True), ("h2", False)]
        assert second.told == [RIGHT]

    run(main())


def test_a_first_one_that_is_given_up_leaves_the_others_without(sshd: Sshd) -> None:
    async def main() -> None:
        first, second = Host(hangs=asyncio.Event()), Host()
        async with serving(sshd, first, second) as (one, two), transport(RIGHT) as made:
            async with asyncio.TaskGroup() as tasks:
                login = tasks.create_task(made.login(one, "true", Sink()))
                await first.asked.wait()
                login.cancel()
            assert login.cancelled()
            assert first.told == [RIGHT]
            problem = await outcome(made, two)
            assert problem is not None
            assert problem.reason.startswith("nobody knows whether the password was taken on h1")
        assert second.told == []

    run(main())


def test_a_host_or_user_that_it_wasnt_given_for_is_not_told_even_where_it_asks(sshd: Sshd) -> None:
    host, other, right = Host(), Host(), Host()

    async def main() -> None:
        async with serving(sshd, host, other, right) as logins, transport(None) as made:
            given = Passwords(Secret(RIGHT), ["ada"])
            given.entitle([("h2", "bob"), ("h3", "ada")])
            made._passwords = given
            for login in (logins[0], replace(logins[1], user="bob"), replace(logins[2], user="bob")):
                failure = await outcome(made, login)
                assert failure is not None
                assert failure.code is Code.AUTHENTICATION
            assert await outcome(made, logins[2]) is None
            given.entitle([("h1", "ada")])
            assert await outcome(made, logins[2]) is not None, "that was for another tree"

    run(main())
    assert (host.told, other.told, right.told) == ([], [], [RIGHT])


def test_it_is_in_no_text_of_what_holds_it() -> None:
    passwords = Passwords(Secret(RIGHT), ["ada"])
    assert RIGHT not in repr(vars(passwords))
