"""Whose signatures count on this host: theirs who may log in here, by the authorized_keys that sshd reads.

A key counts if it may do as it likes here. One that is bound to a command
(`command=`), an authority (`cert-authority`), and one with an option that isn't
known to leave the user free, isn't an operator's. A file that others could
write counts for nothing, as with sshd's StrictModes.

Keys that sshd finds elsewhere (AuthorizedKeysFile, AuthorizedKeysCommand,
TrustedUserCAKeys) aren't known: which these are, only root may ask it.
"""

import binascii
import os
import pwd
import re
import stat
import time
from typing import NamedTuple

from nile.agent.worker.messages import CantError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, Iterator, Optional

FILES = (".ssh/authorized_keys", ".ssh/authorized_keys2")  # below the home directory: sshd's own default
MOST_FILE = 1 << 20  # bytes
NOBODY = "no-signers"
REMEDY = (
    "put the public key that signs into ~/.ssh/authorized_keys of the user who logs in here, "
    "which nobody else may be able to write"
)
_KINDS = (
    b"ssh-ed25519",
    b"ssh-rsa",
    b"ecdsa-sha2-nistp256",
    b"ecdsa-sha2-nistp384",
    b"ecdsa-sha2-nistp521",
    b"sk-ssh-ed25519@openssh.com",
    b"sk-ecdsa-sha2-nistp256@openssh.com",
)
# What such a key may do, beside forwarding and terminals, is what the user may.
_FREE = (
    b"agent-forwarding",
    b"environment",
    b"expiry-time",
    b"from",
    b"no-agent-forwarding",
    b"no-port-forwarding",
    b"no-pty",
    b"no-touch-required",
    b"no-user-rc",
    b"no-x11-forwarding",
    b"permitlisten",
    b"permitopen",
    b"port-forwarding",
    b"pty",
    b"restrict",
    b"tunnel",
    b"user-rc",
    b"verify-required",
    b"x11-forwarding",
)
_OPTION = re.compile(rb'([A-Za-z0-9-]+)(?:="((?:[^"\\]|\\.)*)")?')
_TIMES = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}


class Signer(NamedTuple):
    """A public key: what kind, its bytes, what it is called."""

    kind: str
    blob: bytes
    comment: str


class User(NamedTuple):
    """Who logged in: a uid and a home directory."""

    uid: int
    home: str


def who_logged_in() -> User:
    """This worker's user, or whoever became it by sudo. Raises CantError where that is nobody."""
    asked = os.environ.get("SUDO_UID", "")
    uid = int(asked) if asked.isdigit() and os.geteuid() != int(asked) else os.geteuid()
    try:
        return User(uid, pwd.getpwuid(uid).pw_dir)
    except KeyError:
        raise CantError(NOBODY, "there is no user %d here" % uid, REMEDY) from None


def signers(user: User, now: float) -> "Dict[bytes, Signer]":
    """Who may log in as this user at that time (seconds since the epoch), by the key's bytes.

    Raises CantError, `no-signers`, where that is nobody.
    """
    found: "Dict[bytes, Signer]" = {}
    troubles = []
    for name in FILES:
        path = os.path.join(user.home, name)
        try:
            found.update((signer.blob, signer) for signer in listed(_read(path, user), now))
        except FileNotFoundError:
            continue
        except OSError as error:
            troubles.append("%s: %s" % (path, error.strerror))
    if not found:
        why = "; ".join(troubles) or "%s has no key of an operator" % os.path.join(user.home, FILES[0])
        raise CantError(NOBODY, "nobody is known whose signature counts here: " + why, REMEDY)
    return found


def is_listed(user: User, blob: bytes) -> bool:
    """Does a file of this user have that key, with whatever options?"""
    for name in FILES:
        try:
            text = _read(os.path.join(user.home, name), user)
        except OSError:  # nor does sshd read it
            continue
        if binascii.b2a_base64(blob, newline=False) in text:
            return True
    return False


def _read(path: str, user: User) -> bytes:
    """What is in a file that only this user or root can write. Raises OSError."""
    path = os.path.realpath(path)
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as file:
        about = os.fstat(fd)
        if not stat.S_ISREG(about.st_mode):
            raise OSError(0, "it is no file")
        if about.st_size > MOST_FILE:
            raise OSError(0, "it has more than %d bytes" % MOST_FILE)
        _check(about, user)
        above, top = os.path.dirname(path), os.path.realpath(user.home)
        while above not in ("/", ""):
            _check(os.stat(above), user)
            if above == top:
                break
            above = os.path.dirname(above)
        return file.read(MOST_FILE)


def _check(about: os.stat_result, user: User) -> None:
    if about.st_uid not in (0, user.uid) or about.st_mode & 0o022:
        raise OSError(0, "others can write it, or a directory above it")


def listed(text: bytes, now: float) -> "Iterator[Signer]":
    """The keys of operators in an authorized_keys file (sshd(8)). Pure."""
    for line in text.splitlines():
        line = line.strip(b" \t")
        if line and not line.startswith(b"#"):
            signer = _signer(line, now)
            if signer is not None:
                yield signer


def _signer(line: bytes, now: float) -> "Optional[Signer]":
    words = line.split(None, 2)
    if words[0] not in _KINDS:
        rest = _behind_options(line, now)
        words = rest.split(None, 2) if rest else []
    if len(words) < 2 or words[0] not in _KINDS:
        return None
    try:
        blob = binascii.a2b_base64(words[1])
    except binascii.Error:
        return None
    kind = words[0]
    if not blob.startswith(len(kind).to_bytes(4, "big") + kind):
        return None
    return Signer(kind.decode(), blob, b"".join(words[2:]).decode("utf-8", "replace"))


def _behind_options(line: bytes, now: float) -> bytes:
    """The key behind its options; b"" where these aren't understood, or don't leave the user free."""
    at = 0
    while True:
        option = _OPTION.match(line, at)
        if option is None or option.group(1).lower() not in _FREE:
            return b""
        if option.group(1).lower() == b"expiry-time" and not _lasts(option.group(2) or b"", now):
            return b""
        at = option.end()
        if line[at : at + 1] != b",":
            return line[at:].lstrip(b" \t") if line[at : at + 1] in (b" ", b"\t") else b""
        at += 1


def _lasts(until: bytes, now: float) -> bool:
    """Is it before this time: YYYYMMDD[HHMM[SS]], of this host's zone or, with a Z, of UTC?"""
    text = until.decode("ascii", "replace")
    digits = text.rstrip("Zz")
    shape = _TIMES.get(len(digits))
    if shape is None or not digits.isdigit():
        return False
    try:
        parsed = time.strptime(digits, shape)
        if digits == text:
            return now < time.mktime(parsed)
        import calendar

        return now < calendar.timegm(parsed)
    except (ValueError, OverflowError):
        return False
