"""What there is in trees, as lstat has it: directory by directory, a thousand names at a time.

Each host of a patch looks twice, at each of its files. So whatever can be done for many at once is: in Python
each step that is made for each name takes as long as a tenth of what the system does for it.
"""

import _operator
import errno
import itertools
import os
import stat

from nile.agent.worker.manifest import TEMPORARY, TOP
from nile.agent.worker.working import WORK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, Iterable, Iterator, List, Optional, Sequence, Tuple

    from nile.agent.worker.manifest import Mark
    from nile.agent.worker.patterns import Patterns

    Roots = Sequence[Tuple[bytes, bytes]]
    Found = Tuple[bytes, bytes, os.stat_result]

AT_ONCE = 1000  # names that are listed, and then looked at
KIND = 0o170000  # the bits of a mode that say so (S_IFMT)
_FIELDS = "st_mode st_size st_mtime_ns st_uid st_gid st_ctime_ns st_ino st_dev st_nlink".split()
_fields = _operator.attrgetter(*_FIELDS)


class Part:
    """Some of what is in a directory; all lists are of one length, and in one order."""

    __slots__ = ("columns", "paths", "places", "seen")

    def __init__(self, paths: "List[bytes]", places: "List[bytes]", seen: "List[os.stat_result]") -> None:
        """There has to be something."""
        self.paths = paths
        self.places = places
        self.seen = seen
        # Modes, sizes, mtimes, users, groups, ctimes, inodes, devices, links.
        self.columns: "List[Tuple[int, ...]]" = list(zip(*map(_fields, seen)))  # noqa: B905 - 3.6 has no strict

    def found(self) -> "Iterable[Found]":
        """One by one."""
        return zip(self.paths, self.places, self.seen)  # noqa: B905 - 3.6 has no strict

    def is_plain(self, device: int) -> bool:
        """Are all of them files of one name, in this file system?"""
        modes, devices, links, count = self.columns[0], self.columns[7], self.columns[8], len(self.paths)
        regular = all(mode & KIND == stat.S_IFREG for mode in set(modes))
        return regular and devices.count(device) == count and links.count(1) == count

    def marks(self) -> "Iterable[Mark]":
        """Of each what can't stay the same when somebody writes (see manifest)."""
        _, sizes, mtimes, _, _, ctimes, inodes, devices, _ = self.columns
        return zip(ctimes, mtimes, sizes, inodes, devices)  # noqa: B905


def listing(place: bytes) -> "List[os.DirEntry[bytes]]":
    """What is in a directory; raises OSError."""
    found: "List[os.DirEntry[bytes]]" = []
    with os.scandir(place) as entries:
        while True:
            part = list(itertools.islice(entries, AT_ONCE))
            WORK.done += len(part)
            found += part
            if len(part) < AT_ONCE:
                return found


class Walker:
    """(path, place on disk, what lstat says) of all there is, in no order; of one path the last counts."""

    def __init__(self, roots: "Roots", patterns: "Patterns") -> None:
        for _, name in roots:
            if b"/" in name or name in (b".", b".."):
                raise ValueError("%r isn't one component of a path" % name)
        self._roots = roots
        self._patterns = patterns
        self._taken: "Dict[bytes, bool]" = {}  # where roots may overlap: is it a directory?
        self.missing: "List[bytes]" = []
        self.mounts: "List[bytes]" = []
        self.unreadable: "List[Tuple[bytes, str]]" = []

    def __iter__(self) -> "Iterator[Found]":
        for part, _ in self.parts():
            yield from part.found()

    def parts(self) -> "Iterator[Tuple[Part, bool]]":
        """All that, some of it at one time; with each part whether it is plain."""
        for place, name in self._roots:
            try:
                seen = os.lstat(place) if name else os.stat(place)
            except (FileNotFoundError, NotADirectoryError):
                self.missing.append(place)
                continue
            except OSError as error:
                self.unreadable.append((name or TOP, said(error)))
                continue
            directory = stat.S_ISDIR(seen.st_mode)
            if not (name or directory):
                self.unreadable.append((TOP, os.strerror(errno.ENOTDIR)))
            elif not name or not self._patterns.excludes(name, directory):
                if self._take(name or TOP, directory):
                    yield Part([name or TOP], [place], [seen]), False
                if directory:
                    yield from self._below(place, name + b"/" if name else b"", seen.st_dev)

    def _take(self, path: bytes, directory: bool) -> bool:
        """Whether this one is to be listed, or an earlier one of its path stands."""
        if len(self._roots) == 1:
            return True
        before = self._taken.get(path)
        self._taken[path] = directory or bool(before)
        return before is None or directory > before

    def _below(self, place: bytes, prefix: bytes, device: int) -> "Iterator[Tuple[Part, bool]]":
        left = [(place, prefix)]
        alone = len(self._roots) == 1
        while left:
            place, prefix = left.pop()
            try:
                listed = listing(place)
            except OSError as error:
                self.unreadable.append((prefix[:-1] or TOP, said(error)))
                continue
            for start in range(0, len(listed), AT_ONCE):
                names = listed[start : start + AT_ONCE]
                WORK.done += len(names)
                part = self._look(prefix, names)
                if part is not None and alone and part.is_plain(device):
                    yield part, True
                elif part is not None:
                    yield from self._sort(part, device, left)

    def _look(self, prefix: bytes, listed: "List[os.DirEntry[bytes]]") -> "Optional[Part]":
        """At these; None if none of them counts, or is there any more."""
        ours = TEMPORARY
        listed = [entry for entry in listed if not entry.name.startswith(ours)]
        if self._patterns.texts:
            listed = [entry for entry in listed if not self._excludes(prefix + entry.name, entry)]
        try:
            seen = [entry.stat(follow_symlinks=False) for entry in listed]
        except OSError:
            listed, seen = self._look_singly(prefix, listed)
        if not listed:
            return None
        return Part([prefix + entry.name for entry in listed], [entry.path for entry in listed], seen)

    def _look_singly(
        self, prefix: bytes, listed: "List[os.DirEntry[bytes]]"
    ) -> "Tuple[List[os.DirEntry[bytes]], List[os.stat_result]]":
        """At each of these: one of them is gone, or can't be looked at."""
        there, seen = [], []
        for entry in listed:
            try:
                seen.append(entry.stat(follow_symlinks=False))
                there.append(entry)
            except OSError as error:
                self.unreadable.append((prefix + entry.name, said(error)))
        return there, seen

    def _sort(
        self, part: Part, device: int, left: "List[Tuple[bytes, bytes]]"
    ) -> "Iterator[Tuple[Part, bool]]":
        """What of it counts; see where other file systems begin, and which directories are `left`."""
        counts: "List[Found]" = []
        for path, place, seen in part.found():
            directory = stat.S_ISDIR(seen.st_mode)
            if self._take(path, directory):
                counts.append((path, place, seen))
            if seen.st_dev != device:
                self.mounts.append(path)
            elif directory:
                left.append((place, path + b"/"))
        if len(counts) == len(part.paths):
            yield part, False
        elif counts:
            paths, places, all_seen = map(list, zip(*counts))  # noqa: B905
            yield Part(paths, places, all_seen), False

    def _excludes(self, path: bytes, entry: "os.DirEntry[bytes]") -> bool:
        try:
            return self._patterns.excludes(path, entry.is_dir(follow_symlinks=False))
        except OSError:  # where the directory doesn't say what it is
            return False


def mark(seen: os.stat_result) -> "Mark":
    """What of a file can't stay the same when somebody writes."""
    return seen.st_ctime_ns, seen.st_mtime_ns, seen.st_size, seen.st_ino, seen.st_dev


def said(error: OSError) -> str:
    """Why something can't be looked at."""
    return error.strerror or "can't be read"
