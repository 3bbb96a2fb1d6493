"""Requests for signatures: what the root decides goes to whoever asked, and the end waits for none."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from nile.agent.worker.signatures import Statement
from nile.cascade import Attest, Attested, Sign, Signed, Vouch, Vouched
from nile.cascade.actions import COUNTS_S
from nile.controller import signatures
from nile.controller.attesting import LIKELY, MOST_KEYS
from nile.controller.prepare import neighbours
from nile.controller.signatures import Signatures
from nile.errors import CredentialsError
from nile.options import Kex, Signing, SshClient
from nile.topology.model import HostSpec, RelayRole
from nile.transport.agentwire import REFUSAL
from nile.transport.base import PublicKey, ResolvedLogin
from nile.transport.signing import SignReply
from nile.transport.wire import string
from tests.simulation.trees import tree

KEY = PublicKey(string(b"ssh-ed25519") + b"key", "me@here")
OTHER = PublicKey(string(b"ssh-ed25519") + b"other", "")
CERTIFICATE = PublicKey(string(b"ssh-ed25519-cert-v01@openssh.com") + b"key", "")


def login(name: str) -> ResolvedLogin:
    where = (name, f"{name}.out", f"{name}.in", 2222, "me", name, (f"{name} ssh-ed25519 AAAA",), (KEY,))
    return ResolvedLogin(*where, ("Compression=no",), SshClient.ASYNCSSH, Kex.FAST, Signing.AUTO)


def by_id(node_id: int) -> ResolvedLogin:
    return login(f"h{node_id}")


class Signatory:
    """Signs what it is asked to, once it is `let`. `logins`: the keys by which hosts were logged in to."""

    def __init__(self, logins: dict[str, PublicKey] | None = None, silent: Sequence[PublicKey] = ()) -> None:
        self.logins, self.silent = logins or {}, silent
        self.asked: list[tuple[str, Sequence[bytes], bytes, int]] = []
        self.let = asyncio.Event()

    async def sign(
        self, child: ResolvedLogin, binds: Sequence[bytes], request: bytes, budget_left: int
    ) -> SignReply:
        self.asked.append((child.host, binds, request, budget_left))
        await self.let.wait()
        return SignReply(b"signed " + request, note="so", spent=1)

    async def attest(self, key: PublicKey, namespace: str, body: bytes) -> bytes:
        if key == OTHER:
            raise CredentialsError("it is locked", where="a token")
        if key in self.silent:
            await self.let.wait()
        return b"%b in %b of %b" % (key.blob, namespace.encode(), body)

    def opened(self, login: ResolvedLogin) -> bytes | None:
        key = self.logins.get(login.host)
        return None if key is None else key.blob


def numbered(count: int) -> tuple[PublicKey, ...]:
    return tuple(PublicKey(string(b"ssh-ed25519") + bytes([number]), "") for number in range(count))


async def attested(
    *identities: tuple[PublicKey, ...],
    opened: dict[int, PublicKey] | None = None,
    silent: Sequence[PublicKey] = (),
) -> Attested:
    """What comes of it that these keys may be used for host 1, these for 2, and so on.

    `opened`: those by which some were logged in to; the `silent` ones don't answer.
    """
    given = list[Any]()

    def find(node_id: int) -> ResolvedLogin:
        return replace(login(f"h{node_id}"), identities=identities[node_id - 1])

    async with asyncio.TaskGroup() as tasks:
        takers = tuple(range(1, len(identities) + 1))
        signatory = Signatory({f"h{number}": key for number, key in (opened or {}).items()}, silent)
        made = Signatures(signatory, find, tasks.create_task, given.append, 60.0)
        made.attest(Attest(9, takers, "r1", b"/srv", b"h" * 20, b"d" * 32))
    (answer,) = given
    assert isinstance(answer, Attested)
    return answer


async def test_what_is_delivered_is_signed_for_a_day_with_the_keys_of_most_logins() -> None:
    many = numbered(4)
    answer = await attested((many[0], KEY), (KEY, many[1]), (many[2], many[3], KEY), (KEY,))
    stated = Statement.unpack(answer.body)
    assert stated[:4] == ("r1", b"/srv", b"h" * 20, b"d" * 32)
    assert stated.serial >= (time.time() - 60) * 1000
    assert 0 < stated.until - time.time() <= COUNTS_S
    assert len(answer.signatures) == LIKELY
    assert answer.signatures[0] == b"%b in nile-swarm of %b" % (KEY.blob, answer.body)
    assert (answer.number, answer.refused) == (9, "")
    assert answer.certified == (2, 3), "they may have been logged in to by a key that didn't sign"


def signers(answer: Attested) -> list[bytes]:
    """By whom it is signed."""
    return [each.partition(b" in nile-swarm")[0] for each in answer.signatures]


async def test_it_is_signed_by_the_keys_that_let_us_in_wherever_these_stand() -> None:
    many = numbered(9)
    answer = await attested(*[many] * 3, opened={1: many[7], 2: many[7], 3: many[8]})
    assert signers(answer) == [many[7].blob, many[8].blob]
    assert answer.certified == ()


async def test_each_host_has_its_signature_where_each_has_a_key_of_its_own() -> None:
    many = numbered(MOST_KEYS + 2)
    answer = await attested(*[(each,) for each in many[:MOST_KEYS]])
    assert (set(signers(answer)), answer.certified) == ({each.blob for each in many[:MOST_KEYS]}, ())
    answer = await attested(*[(each,) for each in many])
    assert len(answer.signatures) == MOST_KEYS
    assert answer.certified == (MOST_KEYS + 1, MOST_KEYS + 2), "no more than that"


async def test_a_host_whose_key_doesnt_sign_cant_tell() -> None:
    answer = await attested((OTHER,), (KEY, OTHER), (KEY, OTHER), (KEY, OTHER), opened={2: KEY, 3: OTHER})
    assert (signers(answer), answer.certified) == ([KEY.blob], (1, 3, 4))
    assert answer.opened == ((2, KEY.blob),)


async def test_one_that_was_logged_in_to_by_a_certificate_cant_tell_and_by_the_key_beside_it_can() -> None:
    both = (CERTIFICATE, KEY)
    answer = await attested(both, both, both, opened={1: CERTIFICATE, 2: KEY})
    assert answer.certified == (1, 3)


async def test_a_key_that_doesnt_answer_keeps_none_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signatures, "REST_S", 0.01)
    many = numbered(3)
    async with asyncio.timeout(10):
        answer = await attested(*[(each,) for each in many], silent=many[:2])
    assert (signers(answer), answer.certified, answer.refused) == ([many[2].blob], (1, 2), "")


async def test_no_key_that_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signatures, "ATTEST_S", 0.05)
    async with asyncio.timeout(10):
        answer = await attested(numbered(3), silent=numbered(3))
    assert (answer.signatures, answer.certified) == ((), (1,))
    assert "there was no answer" in answer.refused


async def test_where_one_logs_in_by_a_certificate() -> None:
    answer = await attested((CERTIFICATE, KEY), (KEY,), (CERTIFICATE,))
    assert (len(answer.signatures), answer.certified) == (1, (1, 3))


async def test_why_nothing_is_signed() -> None:
    assert (await attested((), ())).refused == "there is no ssh key to sign with"
    assert "it is locked" in (await attested((OTHER,))).refused
    assert (await attested((OTHER, KEY))).refused == ""


async def test_both_kinds_are_answered() -> None:
    signatory, given = Signatory(), list[Any]()
    asked = Sign(1, 2, 3, 4, (b"bind",), b"one", 5)
    async with asyncio.TaskGroup() as tasks:
        made = Signatures(signatory, by_id, tasks.create_task, given.append, 60.0)
        made.sign(asked)
        made.vouch(Vouch(7, 3, (b"bound",), b"two", 1))
        made.vouch(Vouch(8, 4, (), b"three", 0))
        signatory.let.set()
    assert signatory.asked == [
        ("h2", (b"bind",), b"one", 5),
        ("h3", (b"bound",), b"two", 1),
        ("h4", (), b"three", 0),
    ]
    assert given == [
        Signed(asked, b"signed one", "so", "", 1),
        Vouched(7, b"signed two", "so", "", 1),
        Vouched(8, b"signed three", "so", "", 1),
    ]


async def test_whoever_asks_anew_has_given_up_what_was_asked_before() -> None:
    signatory, given = Signatory(), list[Any]()
    async with asyncio.TaskGroup() as tasks:
        made = Signatures(signatory, by_id, tasks.create_task, given.append, 60.0)
        made.sign(Sign(1, 2, 3, 4, (), b"one", 5))
        await asyncio.sleep(0)
        made.sign(again := Sign(1, 2, 3, 5, (), b"two", 5))
        signatory.let.set()
    assert [each.asked for each in given] == [again]


async def test_what_takes_longer_than_a_login_is_refused() -> None:
    """An ssh-agent that never answers would have all its turns taken by those who are gone."""
    given = list[Any]()
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        made = Signatures(Signatory(), by_id, tasks.create_task, given.append, 0.05)
        made.sign(Sign(1, 2, 3, 4, (), b"one", 5))
        made.vouch(Vouch(7, 3, (), b"two", 1))
    assert [(each.answer, each.spent) for each in given] == [(REFUSAL, 0)] * 2
    assert {each.refused for each in given} == {
        f"no signature for {host}: there was none within 0.05 s" for host in ("h2", "h3")
    }


async def test_nothing_is_waited_for_in_the_end() -> None:
    signatory, given = Signatory(), list[Any]()
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        made = Signatures(signatory, by_id, tasks.create_task, given.append, 60.0)
        made.sign(Sign(1, 2, 3, 4, (), b"one", 5))
        made.vouch(Vouch(7, 3, (), b"two", 1))
        await asyncio.sleep(0)
        made.close()
    assert given == []


def test_who_finds_whom_where_and_by_what_login() -> None:
    plan = tree([0, 1, 1])
    gate, leaf, behind = (node.host for node in plan.nodes)
    specs = {
        gate: HostSpec(gate, gate, gate),
        leaf: HostSpec(leaf, leaf, leaf, relay=RelayRole.NO),
        behind: HostSpec(behind, behind, behind, via=(gate,)),
    }
    plan = replace(plan, specs=specs)
    logins = {name: login(name) for name in specs}
    it = neighbours(plan, logins)
    assert it.address(0, 2) == f"{leaf}.out"
    assert it.address(1, 2) == f"{leaf}.in"
    found = it.login(1, 3)
    assert found is not None
    assert (found["address"], found["port"], found["user"]) == (f"{behind}.in", 2222, "me")
    assert found["known_hosts"] == [f"{behind} ssh-ed25519 AAAA"]
    assert found["identities"] == [[KEY.blob, "me@here"]]
    assert found["connect"] == plan.timeouts.connect_s
    assert it.login(3, 1) is not None, "to whom there is a way from anywhere"
    assert it.login(2, 1) is None, "a leaf logs in nowhere"
    assert it.login(2, 3) is None
    assert neighbours(replace(plan, flat=True), logins).login(1, 3) is None
