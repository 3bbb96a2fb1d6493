"""Whether a host takes what is said to be signed: with real keys, and the real ssh-keygen."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import pytest

from nile.agent.worker import checking
from nile.agent.worker.checking import Check
from nile.agent.worker.manifest import TEMPORARY
from nile.agent.worker.place import Place
from nile.agent.worker.signatures import NAMESPACE, Statement, key_of
from nile.agent.worker.signers import User
from nile.transport.keys import IdentityQuery, KeyRing
from nile.transport.sshsig import sign, signing_keys
from tests.agent.worker.copying import a_loop
from tests.transport.servers import keygen

Message = dict[str, Any]
HASH = bytes(20)


class Host:
    """One to which `keys` may log in, and to which a swarm brings what is to be checked."""

    def __init__(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._place = place
        self._dest = os.fsencode(place / "dest")
        self.listed = place / ".ssh/authorized_keys"
        self.keys = [keygen(place / name) for name in ("one", "other", "third")]
        monkeypatch.setattr(checking, "who_logged_in", lambda: User(os.geteuid(), str(place)))
        stated = Statement("r1", self._dest, HASH, bytes(32), 1, int(time.time()) + 60)
        self.body = stated.pack()

    def lists(self, *keys: Path, options: str = "") -> None:
        """In authorized_keys."""
        (self._place / ".ssh").mkdir(mode=0o700, exist_ok=True)
        self.listed.write_text("".join(f"{options} {self.public(key)}" for key in keys))
        self.listed.chmod(0o600)

    def public(self, key: Path) -> str:
        """Its line."""
        return key.with_name(key.name + ".pub").read_text()

    def signed(self, key: Path, body: bytes = b"") -> bytes:
        """By that key: what came, or another body."""
        ring = KeyRing()
        (public,) = signing_keys(ring, IdentityQuery(files=(str(key),), named=True))
        return asyncio.run(sign(ring, public, NAMESPACE, body or self.body))

    def judge(self, *signatures: bytes, **how: Any) -> tuple[str, str]:
        """What the trouble is, and why it can't be told."""
        signed: Message = {"statement": self.body, "signatures": list(signatures)}
        message: Message = {**signed, "certified": False, "opened": b"", **how}
        place = Place(self._dest, TEMPORARY + b"r1", True)
        said = list[tuple[Message, str]]()
        with a_loop() as loop:

            def over(trouble: Message, note: str) -> None:
                said.append((trouble, note))
                loop.stop()

            check = Check(loop, message, HASH, place, over)
            loop.run()
            check.close()
        ((trouble, note),) = said
        return trouble.get("reason", ""), note


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, monkeypatch)


def test_a_key_that_sshd_has_from_elsewhere(host: Host) -> None:
    """It opened this host, and signed: that it is in no list says nothing against it."""
    one, other, third = host.keys
    host.lists(one)
    ours, theirs = host.signed(other), host.signed(third)
    unknown = ("it is signed with no key that is known here", "")
    assert host.judge(ours) == unknown
    assert "sshd has it elsewhere" in host.judge(ours, opened=key_of(ours))[1]
    host.lists(one, other)
    assert host.judge(theirs, opened=key_of(ours)) == unknown
    host.lists(one, other, options='command="x"')
    assert host.judge(ours, opened=key_of(ours))[1].startswith("nobody is known")
    host.listed.write_text(host.listed.read_text() + host.public(third))
    assert host.judge(ours, opened=key_of(ours)) == unknown, "it may do one thing here, and no other"


def test_one_signature_that_is_good_is_enough(host: Host) -> None:
    one, other, third = host.keys
    host.lists(one, other)
    bad, good, strange = host.signed(one, b"?"), host.signed(other), host.signed(third)
    assert host.judge(bad, strange, good) == ("", "")
    assert host.judge(good, bad) == ("", "")
    assert host.judge(bad, strange) == ("the signature isn't of what came with it", "")
    assert host.judge(strange) == ("it is signed with no key that is known here", "")
