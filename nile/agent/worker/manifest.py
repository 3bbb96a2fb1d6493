"""What is in a tree: the values, and the fingerprint by which two trees are found equal.

A path is bytes, within the transfer, without a slash at either end; the top
directory of a transfer with a trailing slash is b".", as in rsync's lists.
"""

import _operator
import struct

from nile.agent.worker.hashing import blake2b, digest
from nile.agent.worker.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Iterable, List, Sequence, Tuple

    # (ctime in ns, mtime in ns, size, inode, device): what can't stay the same when somebody writes.
    Mark = Tuple[int, int, int, int, int]

TEMPORARY = b".nile-sync-"  # how the names of Nile's own temporary directories begin; never listed
TOP = b"."
FILE, DIRECTORY, SYMLINK, FIFO, SOCKET, BLOCK, CHARACTER = b"f", b"d", b"l", b"p", b"s", b"b", b"c"
KINDS = (FILE, DIRECTORY, SYMLINK, FIFO, SOCKET, BLOCK, CHARACTER)
OWNERS = ("none", "names", "numbers")
ASPECTS = ("kind", "size", "mode", "owner", "mtime", "target", "device", "content", "link")
DIGEST_BYTES = 32
MOST_DEEP = 256  # components of a path that an archive may have: more could be made, but hardly be removed
_AT_ONCE = 4096  # entries


class Entry(NamedTuple):
    """One file, directory or whatever it is; the size in bytes is 0 for all but files."""

    path: bytes
    kind: bytes
    mode: int  # permission bits, with set-id and sticky
    size: int
    mtime_ns: int
    uid: int
    gid: int
    target: bytes = b""  # of a symlink
    device: int = 0  # st_rdev of a device
    group: bytes = b""  # the smallest path of those hard-linked to it within the transfer; b"": none
    digest: bytes = b""  # BLAKE2b-256 of the content, where it was asked for and could be read


class Terms(NamedTuple):
    """What counts when two trees are compared; kind, size, link targets and device numbers always do.

    `owner` is "none", "names" (numbers for those without one; 0 always by
    number, as in rsync) or "numbers"; `links` is which names are hard-linked;
    `whole_seconds` is for an rsync that can't tell times within a second apart
    (before 3.1.3, or without `--modify-window=-1`): it leaves them as they are.
    """

    owner: str = "numbers"
    times: bool = True
    perms: bool = True
    links: bool = True
    checksum: bool = False
    whole_seconds: bool = False


class Totals(NamedTuple):
    """How much is in a manifest; `bytes` are apparent, those of hard-linked names once."""

    entries: int
    files: int
    directories: int
    bytes: int


class Manifest:
    """The entries of a transfer, sorted by path, and what couldn't be listed.

    `missing` are the roots that don't exist, as they were given; `mounts` the
    paths where another file system begins; `unreadable` (path, reason) of what
    couldn't be looked at. Where that isn't empty, equal fingerprints prove nothing.
    `users` and `groups` are the names of the ids that occur, where they have
    one. `marks` are by path, and stay where they were taken.
    """

    def __init__(self, entries: "Iterable[Entry]", checksum: bool = False) -> None:
        # By the path alone, which no two have in common: entries as a whole take three times as long.
        self.entries: "List[Entry]" = sorted(entries, key=_operator.itemgetter(0))
        self.checksum = checksum
        self.users: "Dict[int, bytes]" = {}
        self.groups: "Dict[int, bytes]" = {}
        self.missing: "List[bytes]" = []
        self.mounts: "List[bytes]" = []
        self.unreadable: "List[Tuple[bytes, str]]" = []
        self.marks: "Dict[bytes, Mark]" = {}

    def totals(self) -> Totals:
        """Count."""
        files = [entry for entry in self.entries if entry.kind == FILE]
        once = sum(entry.size for entry in files if entry.group in (b"", entry.path))
        directories = sum(entry.kind == DIRECTORY for entry in self.entries)
        return Totals(len(self.entries), len(files), directories, once)

    def fingerprint(self, terms: Terms) -> bytes:
        """32 bytes, equal for trees that are equal on these terms.

        Raises ValueError if the terms ask for contents that weren't read.
        """
        return self.fingerprints(terms)[0]

    def fingerprints(self, terms: Terms) -> "Tuple[bytes, bytes]":
        """That of the tree, and one that is equal also where only attributes of directories differ.

        A directory's time is seldom that of another host's, and no file has to be sent for it.
        """
        compared = Comparable(self, terms)
        files, directories, names = (blake2b(digest_size=DIGEST_BYTES) for _ in range(3))
        for start in range(0, len(self.entries), _AT_ONCE):
            part = self.entries[start : start + _AT_ONCE]
            inner = [entry for entry in part if entry.kind == DIRECTORY]
            outer = [entry for entry in part if entry.kind == FILE]
            others = [entry for entry in part if entry.kind not in (DIRECTORY, FILE)]
            # What repr gives of bytes, numbers and None is the same in every Python, and never ambiguous.
            files.update(compared.columns(outer))
            files.update(repr([(entry.path, compared.aspects(entry)) for entry in others]).encode())
            directories.update(compared.columns(inner))
            names.update(repr([entry.path for entry in inner]).encode())
        words = repr(tuple(terms)).encode()
        return joined(words, files.digest(), directories.digest()), joined(
            words, files.digest(), names.digest()
        )

    def owned_as(self, users: "Dict[int, int]", groups: "Dict[int, int]") -> "Manifest":
        """This tree as it is where these ids are other numbers: what a target should look like there."""
        entries = [
            entry._replace(uid=users.get(entry.uid, entry.uid), gid=groups.get(entry.gid, entry.gid))
            for entry in self.entries
        ]
        other = Manifest(entries, self.checksum)
        other.missing, other.mounts, other.unreadable = self.missing, self.mounts, self.unreadable
        return other


def joined(*parts: bytes) -> bytes:
    """One fingerprint of several."""
    return digest(repr(parts).encode())


def _numbers(values: "Sequence[int]") -> bytes:
    """The same for the same numbers, and for no others: as 64 bits each, or written out if one has more."""
    try:
        return b"q" + struct.pack("!%dq" % len(values), *values)
    except struct.error:
        return repr(list(values)).encode()


class Comparable:
    """What of the entries of one manifest counts on some terms."""

    def __init__(self, manifest: Manifest, terms: Terms) -> None:
        """Raises ValueError for terms that make no sense here."""
        if terms.owner not in OWNERS:
            raise ValueError("owners are compared by none, names or numbers, not by %r" % terms.owner)
        if terms.checksum and not manifest.checksum:
            raise ValueError("contents can't be compared: they weren't read")
        self._terms = terms
        self._users, self._groups = (
            ({}, {}) if terms.owner == "numbers" else (manifest.users, manifest.groups)
        )

    @property
    def names(self) -> "Tuple[Dict[int, bytes], Dict[int, bytes]]":
        """What of the names of users and groups counts."""
        return self._users, self._groups

    def aspects(self, entry: Entry) -> "Tuple[Any, ...]":
        """Values in the order of ASPECTS; None where it doesn't count for this kind on these terms."""
        terms, kind = self._terms, entry.kind
        is_file = kind == FILE
        return (
            kind,
            entry.size if is_file else None,
            entry.mode if terms.perms and kind != SYMLINK else None,
            None if terms.owner == "none" else self._owner(entry.uid, entry.gid),
            self._time(entry.mtime_ns) if terms.times and (is_file or kind == DIRECTORY) else None,
            entry.target if kind == SYMLINK else None,
            entry.device if kind in (BLOCK, CHARACTER) else None,
            entry.digest if is_file and terms.checksum else None,
            entry.group if terms.links else None,
        )

    def columns(self, entries: "Sequence[Entry]") -> bytes:
        """What `aspects` gives of these, of which all are files or all directories: aspect by aspect.

        Most of what is in a tree is fingerprinted by it: it takes a fifth of the time.
        """
        if not entries:
            return b""
        terms = self._terms
        paths, kinds, modes, sizes, times, uids, gids, _, _, groups, digests = zip(*entries)  # noqa: B905
        is_file = kinds[0] == FILE
        columns = [kinds[0], b"\0".join(paths)]
        columns += [_numbers(modes)] if terms.perms else []
        columns += [_numbers(sizes)] if is_file else []
        columns += [self._owners(uids, gids)] if terms.owner != "none" else []
        if terms.times:
            columns.append(_numbers(list(map(self._time, times)) if terms.whole_seconds else times))
        columns += [repr(digests).encode()] if is_file and terms.checksum else []
        columns += [repr(groups).encode()] if terms.links and any(groups) else []
        return repr(list(map(len, columns))).encode() + b"".join(columns)

    def _owners(self, uids: "Sequence[int]", gids: "Sequence[int]") -> bytes:
        users = {uid: self._owner(uid, 0)[0] for uid in set(uids)}
        groups = {gid: self._owner(0, gid)[1] for gid in set(gids)}
        if len(users) == 1 and len(groups) == 1:  # as mostly
            return repr(self._owner(uids[0], gids[0])).encode()
        return repr([list(map(users.get, uids)), list(map(groups.get, gids))]).encode()

    def _time(self, mtime_ns: int) -> int:
        return mtime_ns // 10**9 if self._terms.whole_seconds else mtime_ns

    def _owner(self, uid: int, gid: int) -> "Tuple[Any, Any]":
        return (uid and self._users.get(uid, uid)), (gid and self._groups.get(gid, gid))
