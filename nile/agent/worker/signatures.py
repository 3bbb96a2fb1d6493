"""Whether what is delivered is what an operator signed, before anything of it is put in place.

The root states what it delivers: the run, the destination, the torrent's info
hash, the digest of the metadata that goes with it, a serial that rises with
each statement, and until when it counts. An operator's ssh key signs that
(SSHSIG, nile.transport.sshsig), and each host checks it by `ssh-keygen -Y verify`
against those who may log in there (nile.agent.worker.signers). So no peer, no
relay and no tracker decides what is put in place, unless it could log in anyway.

An old statement could be brought again until it has expired. Below a
destination with releases its serial is kept (`Serials`), and a lower one is
refused; elsewhere nothing of Nile stays on a host, and the expiry has to do.
"""

import binascii
import fcntl
import os
import time
from typing import NamedTuple

from nile.agent import processes
from nile.agent.worker import bencode, durable, naming, rsync
from nile.agent.worker.messages import CantError
from nile.agent.worker.running import Ending, Running
from nile.agent.worker.sealing import in_memory
from nile.agent.worker.signers import NOBODY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, List, Optional, Sequence, Tuple

    from nile.agent.worker.loop import Loop
    from nile.agent.worker.running import Over
    from nile.agent.worker.signers import Signer

NAMESPACE = "nile-swarm"  # a signature made for anything else counts for nothing
VERSION = 1
CLOCKS_OFF_S = 600.0  # so much may a host's clock be ahead of the root's
LATEST_S = 20.0  # for ssh-keygen, on a host that is busy
MOST_BYTES = 10000  # of a statement, and of a signature

NO_PROGRAM, OLD_PROGRAM = "no-ssh-keygen", "old-ssh-keygen"
UNSIGNED, GARBLED = "unsigned", "bad-signature"
OTHER, EXPIRED, ROLLBACK = "other-payload", "expired", "rollback"
UNDECIDED = (NO_PROGRAM, OLD_PROGRAM, NOBODY)
"""Codes that say nothing against the signature: this host can't tell. All others do."""

_REMEDIES = {
    NO_PROGRAM: "install OpenSSH's client there (package openssh-client or openssh-clients)",
    OLD_PROGRAM: "install OpenSSH 8.1 or later there",
    UNSIGNED: "sign with a key that may log in there, or add it to ~/.ssh/authorized_keys of that user",
    GARBLED: "begin the run again; if it happens again, somebody changes what is sent",
    EXPIRED: "begin the run again; if it is new, set this host's clock",
    OTHER: "begin the run again; if it happens again, somebody changes what is sent",
    ROLLBACK: "begin the run again; if it is new, set the root's clock",
}
_BEGIN, _END = b"-----BEGIN SSH SIGNATURE-----", b"-----END SSH SIGNATURE-----"
_MAGIC = b"SSHSIG"
_TAG = b"nile-swarm"


def refused(code: str, reason: str) -> CantError:
    """With what to do about it."""
    return CantError(code, reason, _REMEDIES.get(code, ""))


class Statement(NamedTuple):
    """What an operator signs. `until`: seconds since the epoch; `digest`: of the metadata, by SHA-256."""

    run: str
    dest: bytes
    info_hash: bytes
    digest: bytes
    serial: int
    until: int

    def pack(self) -> bytes:
        """The one way to write it."""
        return bencode.encode(
            {
                b"dest": self.dest,
                b"digest": self.digest,
                b"info hash": self.info_hash,
                b"kind": _TAG,
                b"run": self.run.encode(),
                b"serial": self.serial,
                b"until": self.until,
                b"version": VERSION,
            }
        )

    @classmethod
    def unpack(cls, body: bytes) -> "Statement":
        """Raises CantError for what `pack` doesn't write."""
        try:
            said = bencode.decode(body[: MOST_BYTES + 1])
            if not isinstance(said, dict):
                raise ValueError
            texts = [said[name] for name in (b"run", b"dest", b"info hash", b"digest")]
            serial, until = said[b"serial"], said[b"until"]
            numbers = all(isinstance(number, int) and 0 <= number < 1 << 63 for number in (serial, until))
            if not numbers or not all(isinstance(text, bytes) for text in texts):
                raise ValueError
            statement = cls(texts[0].decode(), texts[1], texts[2], texts[3], serial, until)
            if statement.pack() != body:
                raise ValueError
        except (ValueError, KeyError):
            raise refused(OTHER, "this is no statement of version %d" % VERSION) from None
        return statement

    def check(self, wanted: "Statement", now: float, last: int = -1) -> None:
        """Is it about what is `wanted` (its serial and time don't count), now, and none that is outdated?

        `now` is this host's time; `last` the serial that was seen last, -1 for
        none. Raises CantError: `other-payload`, `expired`, `rollback`.
        """
        for name in ("run", "dest", "info_hash", "digest"):
            if getattr(self, name) != getattr(wanted, name):
                raise refused(OTHER, "another %s is signed than is delivered" % name.replace("_", " "))
        if now > self.until + CLOCKS_OFF_S:
            shape = "%Y-%m-%d %H:%M:%S"
            words = tuple(time.strftime(shape, time.gmtime(when)) for when in (self.until, now))
            raise refused(EXPIRED, "the signature counts until %s, and here it is %s (UTC)" % words)
        if self.serial < last:
            reason = "the signature has serial %d, and one with %d was there before"
            raise refused(ROLLBACK, reason % (self.serial, last))


class Serials:
    """The highest serial that was delivered below a destination with releases. Only under its lock."""

    def __init__(self, dest: bytes) -> None:
        self._path = os.path.join(dest, naming.RELEASES, naming.SIGNED)

    def last(self) -> int:
        """-1 where there is none. Raises CantError where it can't be told, OSError."""
        try:
            said = durable.read(self._path, 100)
        except (FileNotFoundError, NotADirectoryError):
            return -1
        if not said[:-1].isdigit() or said[-1:] != b"\n":
            shown = os.fsdecode(self._path)
            raise CantError(ROLLBACK, "'%s' can't be understood" % shown, "remove it, if that is no surprise")
        return int(said)

    def note(self, serial: int) -> None:
        """This one was delivered. Raises CantError, OSError."""
        if serial > self.last():
            durable.write(self._path, b"%d\n" % serial)


def key_of(signature: bytes) -> bytes:
    """The public key that a signature says it was made with. Raises CantError where it is none for us."""
    try:
        lines = signature[: MOST_BYTES + 1].split()  # its first and last line are of three words
        if b" ".join(lines[:3]) != _BEGIN or b" ".join(lines[-3:]) != _END:
            raise ValueError
        data = binascii.a2b_base64(b"".join(lines[3:-3]))
        if data[: len(_MAGIC)] != _MAGIC:
            raise ValueError
        key, at = _string(data, len(_MAGIC) + 4)
        namespace, _ = _string(data, at)
    except ValueError:
        raise refused(GARBLED, "this is no signature of an ssh key") from None
    if namespace != NAMESPACE.encode():
        raise refused(GARBLED, "the signature was made for something else")
    return key


def _string(data: bytes, at: int) -> "Tuple[bytes, int]":
    end = at + 4 + int.from_bytes(data[at : at + 4], "big")
    if end > len(data) or end < at + 4:
        raise ValueError
    return data[at + 4 : end], end


def verify(
    loop: "Loop", body: bytes, signature: bytes, known: "Dict[bytes, Signer]", over: "Over"
) -> "Verification":
    """Have it checked that one of these signed this body: `over(ending)` is called once, later.

    The ending's code is "", `bad-signature`, `old-ssh-keygen`, or `no-ssh-keygen`
    (it didn't answer); `remedy(code)` says what to do. Raises CantError where no
    program need be asked: `unsigned`, `bad-signature`, `no-ssh-keygen`.
    """
    if len(body) > MOST_BYTES or len(signature) > MOST_BYTES:
        raise refused(GARBLED, "a signature has %d bytes at most" % MOST_BYTES)
    signer = known.get(key_of(signature))
    if signer is None:
        raise refused(UNSIGNED, "it is signed with a key that may not log in here")
    program = rsync.which("ssh-keygen")
    if not program:
        raise refused(NO_PROGRAM, "there is no ssh-keygen in %s" % os.environ.get("PATH", "PATH"))
    line = 'nile namespaces="%s" %s %s' % (
        NAMESPACE,
        signer.kind,
        binascii.b2a_base64(signer.blob, newline=False).decode(),
    )
    try:
        return Verification(loop, program, [body, line.encode() + b"\n", signature], over)
    except OSError as error:
        raise refused(NO_PROGRAM, "%s can't be run: %s" % (program, error.strerror)) from None


def remedy(code: str) -> str:
    """What to do about an ending of a verification."""
    return _REMEDIES.get(code, "")


class Verification(Running):
    """`ssh-keygen -Y verify`, of files that are in memory only. Raises OSError where it can't be started."""

    def __init__(self, loop: "Loop", program: str, files: "Sequence[bytes]", over: "Over") -> None:
        """`files`: the body, who may have signed it, the signature."""
        argv = [program, "-Y", "verify", "-n", NAMESPACE, "-I", "nile"]
        argv += ["-f", "/proc/self/fd/3", "-s", "/proc/self/fd/4"]
        fds: "List[int]" = []
        try:
            for data in files:
                fds.append(_high(in_memory(data)))
            fds.append(_high(os.open(os.devnull, os.O_WRONLY)))
            os.lseek(fds[0], 0, os.SEEK_SET)
            super().__init__(loop, argv, [fds[0], fds[3], fds[1], fds[2]], over)
        finally:
            for fd in fds:
                os.close(fd)
        self._late = False
        self._latest = loop.at(loop.now() + LATEST_S, self._too_late)

    def _begin(self, argv: "List[str]", fds: "Sequence[int]") -> int:
        env = dict(os.environ, LC_ALL="C")
        return processes.spawn(argv, env, fds)

    def _too_late(self) -> None:
        self._late = True
        self.kill()

    def _meant(self, status: "Optional[int]", signum: "Optional[int]", said: bytes) -> Ending:
        self._loop.forget(self._latest)
        words = said.decode("utf-8", "replace").strip()[-500:]
        if status == 0:
            result = Ending("", "")
        elif self._late or signum is not None:
            why = "it didn't answer" if self._late else "it was killed by signal %d" % (signum or 0)
            result = Ending(NO_PROGRAM, "ssh-keygen came to no end: %s" % why, True)
        elif "option" in words or "usage:" in words:
            result = Ending(OLD_PROGRAM, "this ssh-keygen can't check signatures")
        else:
            result = Ending(GARBLED, "the signature isn't of what came with it")
        result.status, result.signal, result.words = status, signum, words
        return result


def _high(fd: int) -> int:
    """The same file, out of the way of the first few descriptors, which a child's become."""
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 16)
    finally:
        os.close(fd)
