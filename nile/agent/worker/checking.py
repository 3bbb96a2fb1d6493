"""Whether an operator signed what a swarm brings to this host: asked before any of it is put in place.

The statement that came with the torrent has to be about this run, this
destination, this torrent and the archive in it, and signed by one who may log
in here (see signatures, signers). Where that can't be told here at all, since
this user has no list of keys or there is no ssh-keygen, it is taken for what the
tree brought, which is said: so it is with all other ways to copy. The same goes
for a key that isn't in the list where one logs in by certificate (`certified`),
or by that very key (`opened`), which sshd then has from elsewhere.
"""

import hashlib
import os
import time

from nile.agent.worker.manifest import TEMPORARY
from nile.agent.worker.messages import CantError
from nile.agent.worker.signatures import (
    GARBLED,
    OTHER,
    UNDECIDED,
    UNSIGNED,
    Serials,
    Statement,
    key_of,
    refused,
    remedy,
    verify,
)
from nile.agent.worker.signers import NOBODY, is_listed, signers, who_logged_in
from nile.agent.worker.working import PIECE, WORK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Optional

    from nile.agent.worker.loop import Loop
    from nile.agent.worker.place import Place
    from nile.agent.worker.running import Ending
    from nile.agent.worker.signatures import Verification
    from nile.agent.worker.signers import Signer

    Message = Dict[str, Any]

CODE = "signature"
_BUFFER = 1 << 20


class Check:
    """`over(trouble, note)` is called once, later: `trouble` is {} or has a code, a reason and a remedy.

    `note`: why it can't be told who signed it, which is no trouble; else "".
    """

    def __init__(
        self,
        loop: "Loop",
        message: "Message",
        info_hash: bytes,
        place: "Place",
        over: "Callable[[Message, str], None]",
    ) -> None:
        self._loop = loop
        self._message = message
        self._info_hash = info_hash
        self._place = place
        self._over = over
        self._verification: "Optional[Verification]" = None
        self._known: "Dict[bytes, Signer]" = {}
        self._ours: "List[bytes]" = []  # signatures by them that are yet to be looked at
        self.statement: "Optional[Statement]" = None
        self._timer = loop.at(loop.now(), self._begin)

    def close(self) -> None:
        """Nobody is to hear of it any more."""
        self._loop.forget(self._timer)
        self._over = lambda trouble, note: None
        if self._verification is not None:
            self._verification.kill()

    def _begin(self) -> None:
        body = self._message["statement"]
        try:
            self.statement = said = Statement.unpack(body)
            run = os.fsdecode(self._place.temporary[len(TEMPORARY) :])
            now = time.time()
            wanted = Statement(run, self._place.dest, self._info_hash, said.digest, 0, 0)
            kept = self._place.signed_in
            said.check(wanted, now, Serials(kept).last() if kept else -1)
            user = who_logged_in()
            self._known = known = signers(user, now)
            self._ours = [each for each in self._message["signatures"] if key_of(each) in known]
            opened = self._message["opened"]
            if not self._ours and opened and not is_listed(user, opened):
                raise CantError(
                    NOBODY, "the key of this login is in no list of this user: sshd has it elsewhere", ""
                )
            if not self._ours:
                raise refused(UNSIGNED, "it is signed with no key that is known here")
            self._verify_next()
        except CantError as error:
            self._say(error.fields)
        except OSError as error:
            self._say({"code": OTHER, "reason": "what was signed before can't be told: %s" % error.strerror})

    def _verify_next(self) -> None:
        """One that counts is enough. Raises CantError."""
        body, signature = self._message["statement"], self._ours.pop(0)
        self._verification = verify(self._loop, body, signature, self._known, self._verified)

    def _verified(self, ending: "Ending") -> None:
        self._verification = None
        if ending.code == GARBLED and self._ours:
            try:
                self._verify_next()
            except CantError as error:
                self._say(error.fields)
            return
        self._say({"code": ending.code, "reason": ending.reason, "remedy": remedy(ending.code)})

    def _say(self, said: "Message") -> None:
        code = said["code"]
        taken = code in UNDECIDED or (code == UNSIGNED and self._message["certified"])
        if not code or taken:
            self._over({}, said["reason"])
        else:
            self._over(dict(said, code=CODE), "")

    def is_of(self, archive: bytes) -> bool:
        """Is it about the archive at this path? Raises OSError."""
        assert self.statement is not None
        with open(archive, "rb") as file:
            return self.statement.digest == digest(file.fileno())

    def note(self) -> None:
        """It was delivered: where that is kept, nothing older is taken now. Raises CantError, OSError."""
        if self._place.signed_in and self.statement is not None:
            Serials(self._place.signed_in).note(self.statement.serial)


def other_archive() -> "Message":
    """What is wrong where it isn't of what came."""
    return dict(refused(OTHER, "another archive is signed than came").fields, code=CODE)


def digest(fd: int) -> bytes:
    """Of a file's content, by SHA-256. Raises OSError."""
    value, at = hashlib.sha256(), 0
    while True:
        data = os.pread(fd, _BUFFER, at)
        if not data:
            return value.digest()
        value.update(data)
        at += len(data)
        WORK.done += len(data) // PIECE
