"""Looking at trees: the manifest of what is there, and what of it changed since.

Nothing is followed but the top of a transfer with a trailing slash, and no
other file system is entered (rsync's `-x`). What can't be read or vanishes
meanwhile is listed; nothing here raises for it.
"""

import errno
import grp
import os
import pwd
import stat
import sys
import time
from itertools import repeat

from nile.agent.worker.hashing import blake2b
from nile.agent.worker.manifest import (
    BLOCK,
    CHARACTER,
    DIGEST_BYTES,
    DIRECTORY,
    FIFO,
    FILE,
    SOCKET,
    SYMLINK,
    TOP,
    Entry,
    Manifest,
)
from nile.agent.worker.walking import KIND, Walker, mark, said
from nile.agent.worker.working import PIECE, WORK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Iterable, List, Tuple

    from nile.agent.worker.manifest import Mark
    from nile.agent.worker.patterns import Patterns
    from nile.agent.worker.walking import Part, Roots

BUFFER = 1 << 20  # bytes read at once
TICK_S = 0.02  # more than the step of the clock that the kernel stamps files by
_ROUNDS = 3
_KINDS = {
    stat.S_IFREG: FILE,
    stat.S_IFDIR: DIRECTORY,
    stat.S_IFLNK: SYMLINK,
    stat.S_IFIFO: FIFO,
    stat.S_IFSOCK: SOCKET,
    stat.S_IFBLK: BLOCK,
    stat.S_IFCHR: CHARACTER,
}
_new: "Callable[[Any, Any], Entry]" = tuple.__new__  # without a look at the fields


class TooManyError(Exception):
    """There is more than can be in a manifest: the rest isn't looked at."""


def scan(
    roots: "Roots",
    patterns: "Patterns",
    checksum: bool = False,
    source: bool = False,
    most: int = sys.maxsize,
) -> Manifest:
    """The manifest of these roots: (path on disk, name within the transfer).

    The name is one component, or b"": then the directory's contents are at the
    top (rsync's trailing slash). Of several things with one path, a directory
    is taken before all others, else the first; directories are merged.
    With `checksum` contents are hashed. With `source` it is also seen to that
    files can be read, and that whoever writes to one later leaves a mark.
    Raises TooManyError where there are more than `most`.
    """
    scanner = _Scanner(roots, patterns, source, most)
    if checksum:
        scanner.read()
    return scanner.manifest(checksum)


def changed_since(manifest: Manifest, roots: "Roots", patterns: "Patterns") -> "List[bytes]":
    """Paths that were written to, vanished or appeared since the manifest was taken here; sorted."""
    if manifest.entries and not manifest.marks:
        raise ValueError("a manifest from elsewhere has no marks to tell changes by")
    walker = Walker(roots, patterns)
    now: "Dict[bytes, Mark]" = {}
    for part, _ in walker.parts():
        now.update(zip(part.paths, part.marks()))  # noqa: B905 - 3.6 has no strict
    before = manifest.marks
    changed = {path for path, mark in now.items() if before.get(path) != mark}
    known = {path for path, _ in manifest.unreadable}
    return sorted(changed.union(before.keys() - now.keys(), {path for path, _ in walker.unreadable} - known))


class _Scanner:
    """From what the walker finds to the entries of a manifest."""

    def __init__(self, roots: "Roots", patterns: "Patterns", source: bool, most: int) -> None:
        self._entries: "Dict[bytes, Entry]" = {}
        self._marks: "Dict[bytes, Mark]" = {}
        self._places: "Dict[bytes, bytes]" = {}
        self._linked: "Dict[bytes, Tuple[int, int]]" = {}
        began = time.time()
        self._walker = Walker(roots, patterns)
        self._unreadable = self._walker.unreadable
        self._add_all(most)
        if source:
            self._settle(began)
            self._try_reading()

    def _add_all(self, most: int) -> None:
        """All that there is; raises TooManyError."""
        for part, plain in self._walker.parts():
            if len(self._entries) > most:
                raise TooManyError
            if plain:
                self._add_files(part)
            else:
                for found in part.found():
                    self._add(*found)
        if len(self._entries) > most:
            raise TooManyError

    def _add_files(self, part: "Part") -> None:
        """As `_add` does it, of many files at once: most there is are such."""
        modes, sizes, mtimes, users, groups = part.columns[:5]
        plain = [mode & 0o7777 for mode in modes]
        no_target, no_device, none = repeat(b""), repeat(0), repeat(b"")
        rows = zip(
            part.paths, repeat(FILE), plain, sizes, mtimes, users, groups, no_target, no_device, none, none
        )
        self._entries.update(zip(part.paths, map(_new, repeat(Entry), rows)))  # noqa: B905 - 3.6 has no strict
        self._marks.update(zip(part.paths, part.marks()))  # noqa: B905
        self._places.update(zip(part.paths, part.places))  # noqa: B905

    def _add(self, path: bytes, place: bytes, seen: os.stat_result) -> None:
        mode = seen.st_mode
        kind = kind_of(mode)
        size, target, device = 0, b"", 0
        if kind == FILE:
            size = seen.st_size
        elif kind == SYMLINK:
            try:
                target = os.readlink(place)
            except OSError as error:
                self._unreadable.append((path, said(error)))
                return
        elif kind in (BLOCK, CHARACTER):
            device = seen.st_rdev
        self._entries[path] = Entry(
            path, kind, mode & 0o7777, size, seen.st_mtime_ns, seen.st_uid, seen.st_gid, target, device
        )
        self._marks[path] = mark(seen)
        self._places[path] = place
        if seen.st_nlink > 1 and kind != DIRECTORY:
            self._linked[path] = (seen.st_dev, seen.st_ino)
        elif self._linked:
            self._linked.pop(path, None)

    def _settle(self, since: float) -> None:
        """Look again at what was written just now, until the clock that stamps files has gone on.

        Two writes within one step of that clock leave the same time.
        """
        for _ in range(_ROUNDS):
            limit = int((since - TICK_S) * 1e9)
            young = [path for path, mark in self._marks.items() if mark[0] >= limit]
            if not young:
                return
            time.sleep(TICK_S)
            since = time.time()
            for path in young:
                try:
                    self._add(path, self._places[path], self._look(path))
                except OSError as error:
                    self._unreadable.append((path, said(error)))
                    del self._entries[path], self._marks[path]

    def _look(self, path: bytes) -> os.stat_result:
        place = self._places[path]
        return os.stat(place) if path == TOP else os.lstat(place)

    def _try_reading(self) -> None:
        """Find the files that this user may not read, before they are to be sent."""
        if os.geteuid() == 0:
            return
        for path, entry in self._entries.items():
            if entry.kind == FILE and entry.mode & 0o444 != 0o444 and not _may_read(self._places[path]):
                self._unreadable.append((path, os.strerror(errno.EACCES)))

    def read(self) -> None:
        """Hash the contents of the files, those of hard-linked ones once."""
        done: "Dict[Tuple[int, int], bytes]" = {}
        buffer = bytearray(BUFFER)
        for path, entry in self._entries.items():
            if entry.kind != FILE:
                continue
            identity = self._marks[path][3:]
            if identity not in done:
                try:
                    done[identity] = digest(self._places[path], identity, buffer)
                except OSError as error:
                    self._unreadable.append((path, said(error)))
                    continue
            self._entries[path] = entry._replace(digest=done[identity])

    def manifest(self, checksum: bool) -> Manifest:
        """What was found, with hard links grouped and names looked up."""
        same: "Dict[Tuple[int, int], List[bytes]]" = {}
        for path, identity in self._linked.items():
            same.setdefault(identity, []).append(path)
        for paths in same.values():
            if len(paths) > 1:
                smallest = min(paths)
                for path in paths:
                    self._entries[path] = self._entries[path]._replace(group=smallest)
        made = Manifest(self._entries.values(), checksum)
        made.marks = self._marks
        made.users = user_names({entry.uid for entry in made.entries})
        made.groups = group_names({entry.gid for entry in made.entries})
        made.missing, made.mounts = self._walker.missing, sorted(set(self._walker.mounts))
        made.unreadable = sorted(set(self._unreadable))
        return made


def digest(place: bytes, identity: "Tuple[int, ...]", buffer: bytearray) -> bytes:
    """BLAKE2b-256 of a file, which has to be the one with this (inode, device); raises OSError."""
    fd = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(fd, "rb", buffering=0) as file:
        seen = os.fstat(fd)
        if (seen.st_ino, seen.st_dev) != identity:
            raise OSError(errno.ESTALE, "replaced while it was looked at")
        hasher = blake2b(digest_size=DIGEST_BYTES)
        view = memoryview(buffer)
        while True:
            count = file.readinto(buffer)
            if not count:
                return hasher.digest()
            hasher.update(view[:count])
            WORK.done += 1 + count // PIECE


def numbers_here(
    users: "Dict[int, bytes]", groups: "Dict[int, bytes]"
) -> "Tuple[Dict[int, int], Dict[int, int]]":
    """Which of the ids with these names are other numbers here, for `Manifest.owned_as`, as rsync maps them.

    A name that doesn't exist here keeps its number, and so does 0.
    """
    uids = _elsewhere(users, lambda name: pwd.getpwnam(name).pw_uid)
    return uids, _elsewhere(groups, lambda name: grp.getgrnam(name).gr_gid)


def _elsewhere(names: "Dict[int, bytes]", find: "Callable[[str], int]") -> "Dict[int, int]":
    found = {}
    for number, name in names.items():
        try:
            here = find(os.fsdecode(name)) if number else 0
        except KeyError:
            continue
        if here != number:
            found[number] = here
    return found


def user_names(uids: "Iterable[int]") -> "Dict[int, bytes]":
    """What these users are called here, as far as they have names."""
    return _names(uids, lambda uid: pwd.getpwuid(uid).pw_name)


def group_names(gids: "Iterable[int]") -> "Dict[int, bytes]":
    """What these groups are called here, as far as they have names."""
    return _names(gids, lambda gid: grp.getgrgid(gid).gr_name)


def _names(numbers: "Iterable[int]", find: "Callable[[int], str]") -> "Dict[int, bytes]":
    found = {}
    for number in numbers:
        try:
            found[number] = os.fsencode(find(number))
        except KeyError:
            pass  # it has none
    return found


def kind_of(mode: int) -> bytes:
    """One of KINDS."""
    return _KINDS[mode & KIND]


def _may_read(place: bytes) -> bool:
    return os.access(place, os.R_OK, effective_ids=True)
