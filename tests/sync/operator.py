"""An operator whose key may log in to the hosts of a test, and workers that know it."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

from nile.agent.worker.signatures import NAMESPACE, Statement
from nile.bootstrap import program
from nile.cascade import Attest
from nile.transport.keys import IdentityQuery, KeyRing
from nile.transport.sshsig import sign, signing_keys
from tests.transport.servers import keygen


class Operator:
    """Signs what is delivered; `serial` is that of the next statement.

    `home` is the one of whoever logs in to hosts, with the key in it if this is `known`. What is signed can
    be made another: `says(statement)`.
    """

    def __init__(self, place: Path, known: bool = True) -> None:
        place.mkdir()
        self.key = keygen(place / "key")
        self.home = place / "home"
        self.home.mkdir()
        self.serial = 1000
        self.says: Callable[[Statement], Statement] = lambda stated: stated
        if known:
            self.may_log_in(self.key)

    def may_log_in(self, key: Path) -> None:
        """To hosts; nobody else may."""
        (self.home / ".ssh").mkdir(mode=0o700, exist_ok=True)
        listed = self.home / ".ssh/authorized_keys"
        listed.write_bytes(key.with_name(key.name + ".pub").read_bytes())
        listed.chmod(0o600)

    def attest(self, errand: Attest, dest: bytes) -> tuple[bytes, list[bytes]]:
        """What goes to a host that has the destination there."""
        until = int(time.time()) + 600
        stated = Statement(errand.run, dest, errand.info_hash, errand.digest, self.serial, until)
        body = self.says(stated).pack()
        ring = KeyRing()
        (key,) = signing_keys(ring, IdentityQuery(files=(str(self.key),), named=True))
        return body, [asyncio.run(sign(ring, key, NAMESPACE, body))]

    def worker(self) -> bytes:
        """The program of a worker on such a host."""
        stripped = program._stripped
        own = f"\ndef who_logged_in():\n return User({os.geteuid()},{str(self.home)!r})\n"

        def text(module: str) -> str:
            return stripped(module) + own * (module == "worker.signers")

        with patch.object(program, "_stripped", text):
            return program.worker_program.__wrapped__()
