"""The source as one value, and the ways in which two trees are held against each other."""

import os
import sys

from nile.agent.worker.compare import MOST_NAMED, compare
from nile.agent.worker.manifest import DIRECTORY, FILE, MOST_DEEP, TOP, Manifest
from nile.agent.worker.messages import CantError
from nile.agent.worker.scanning import TooManyError, changed_since, numbers_here, scan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Iterator, List, Optional, Sequence, Set, Tuple

    from nile.agent.worker.compare import Difference
    from nile.agent.worker.manifest import Entry, Terms
    from nile.agent.worker.patterns import Patterns

HOLES_FROM = 1 << 20  # bytes
MOST_PATHS = 20 * 1000
MOST_PATHS_BYTES = 512 * 1024
MOST_LINES = 100 * 1024  # bytes of a difference that travel, and are shown


class Source:
    """What is to be copied: `paths` as rsync takes them, `roots` as they are scanned."""

    def __init__(self, paths: "Sequence[bytes]", patterns: "Patterns") -> None:
        self.paths = list(paths)
        self.roots = [(path, b"" if path.endswith(b"/") else os.path.basename(path)) for path in paths]
        self._patterns = patterns
        self.manifest = Manifest([])
        self._attributed: "Optional[Set[bytes]]" = None

    def read(self, checksum: bool, most: int = sys.maxsize) -> None:
        """Look at all of it. Raises CantError where it has more than `most` files and directories."""
        try:
            self.manifest = scan(self.roots, self._patterns, checksum, source=True, most=most)
        except TooManyError:
            reason = "it has more than %d files and directories, which is the most that one copy can have"
            remedy = "split it by --repos, or leave some of it out by --exclude"
            raise CantError("source", reason % most, remedy) from None

    def why_not(self) -> "Tuple[str, str]":
        """Why it can't be copied, and the remedy."""
        if self.manifest.missing:
            return "%s isn't there any more" % os.fsdecode(self.manifest.missing[0]), ""
        path, reason = self.manifest.unreadable[0]
        more = len(self.manifest.unreadable) - 1
        others = ", and %d more" % more if more else ""
        return "%s can't be read: %s%s" % (os.fsdecode(path), reason, others), "leave it out with --exclude"

    @property
    def empty(self) -> bool:
        """Is there nothing in its directories, and nothing beside them?"""
        tops = {name or TOP for _, name in self.roots}
        return all(entry.path in tops and entry.kind == DIRECTORY for entry in self.manifest.entries)

    @property
    def unpackable(self) -> str:
        """Why no archive can have all of it; "" where one can."""
        deep = any(entry.path.count(b"/") >= MOST_DEEP for entry in self.manifest.entries)
        return "it is more than %d directories deep" % MOST_DEEP if deep else ""

    def room(self) -> int:
        """How many bytes it takes on a disk: of large files with holes, what there is of them."""
        return max(0, self.manifest.totals().bytes - self.holes())

    def holes(self) -> int:
        """How many bytes of large files are holes: an archive leaves them out, and rsync sends them."""
        return sum(size - there for size, there in self._holed())

    def sparse(self) -> int:
        """How many bytes there are in those: a copy with its holes made again takes as much once more."""
        return sum(there for _, there in self._holed())

    def _holed(self) -> "Iterator[Tuple[int, int]]":
        """Sizes of large files with holes, and how much of it there is."""
        for entry in self.manifest.entries:
            if entry.kind == FILE and entry.size >= HOLES_FROM and entry.group in (b"", entry.path):
                there = self._blocks(entry.path)
                if there < entry.size:
                    yield entry.size, there

    def _blocks(self, path: bytes) -> int:
        try:
            return os.lstat(self.place(path)).st_blocks * 512
        except OSError:
            return 0

    @property
    def base(self) -> bytes:
        """The directory to which all paths of the manifest are relative; b"" where there are several."""
        bases = {(root[: -len(name)] if name else root).rstrip(b"/") + b"/" for root, name in self.roots}
        return bases.pop() if len(bases) == 1 else b""

    def named(self, paths: bytes) -> bytes:
        """What of these (a zero byte between them) there is, and all that can't be done without it.

        All directories are in it, since their times differ where their contents don't, and of hard
        links all names. Extended attributes and ACLs aren't compared, so all that have any are in it, too.
        Each has a zero byte behind it, and something before it, so that none looks like a comment: a "/"
        means nothing, and a "./" brings the top along. (By its own name that would come with all that is
        in it. Where it is none of the source's, but the directory that this is in, it must not come.)
        """
        top = any(not name for _, name in self.roots)
        form = b"./%s\0" if top else b"/%s\0"
        below = [entry.path for entry in self.chosen(paths) if entry.path != TOP]
        # Nothing at all would be taken for everything.
        return b"".join(form % path for path in below) or (
            b".\0" if top else form % self.manifest.entries[0].path
        )

    def chosen(self, paths: bytes) -> "List[Entry]":
        """The entries of what is `named`, in order."""
        wanted = set(paths.split(b"\0")).union(self.attributed)
        entries = self.manifest.entries
        groups = {entry.group for entry in entries if entry.group and entry.path in wanted}
        return [
            entry
            for entry in entries
            if entry.kind == DIRECTORY or entry.path in wanted or (entry.group and entry.group in groups)
        ]

    @property
    def attributed(self) -> "Set[bytes]":
        """Paths of files that have extended attributes or ACLs; known once it was read."""
        if self._attributed is None:
            self._attributed = {
                entry.path
                for entry in self.manifest.entries
                if entry.kind == FILE and has_attributes(self.place(entry.path))
            }
        return self._attributed

    def place(self, path: bytes) -> bytes:
        """Where it is on the disk; of several roots the first one that has it."""
        places = list(self.places(path))
        return next((place for place in places[:-1] if os.path.lexists(place)), places[-1])

    def places(self, path: bytes) -> "Iterator[bytes]":
        """Where on the disk a path of the transfer may be; more than one where its roots overlap."""
        for root, name in self.roots:
            if path in (name, name or TOP):
                yield root
            elif not name or path.startswith(name + b"/"):
                yield os.path.join(root, path[len(name) :].lstrip(b"/"))

    def changed(self) -> "List[bytes]":
        """What isn't any more as it was."""
        return changed_since(self.manifest, self.roots, self._patterns)


def seen_here(found: Manifest, users: "List[Tuple[int, bytes]]", groups: "List[Tuple[int, bytes]]") -> None:
    """Name the owners of a copy as the source has them: rsync keeps the number of a name not known here."""
    here = numbers_here(dict(map(tuple, users)), dict(map(tuple, groups)))  # type: ignore[arg-type]
    for names, source, numbers in ((found.users, users, here[0]), (found.groups, groups, here[1])):
        for number, name in source:
            names[numbers.get(number, number)] = name


def differences(source: Manifest, found: Manifest, terms: "Terms") -> "Dict[str, Any]":
    """Counts, lines that name the first of what differs, and `paths`: all that is to come, or b""."""
    result = compare(source, found, terms, MOST_PATHS)
    lines = [b"missing " + one_line(path) for path in result.missing[:MOST_NAMED]]
    lines += [
        b"changed %s (%s)" % (one_line(path), ", ".join(what).encode())
        for path, what in result.changed[:MOST_NAMED]
    ]
    lines += [b"extra " + one_line(path) for path in result.extra[:MOST_NAMED]]
    total = result.missing_count + result.changed_count + result.extra_count
    text, shown = b"", 0
    for line in lines:
        if len(text) + len(line) > MOST_LINES:
            break
        text += line + b"\n"
        shown += 1
    if shown < total:
        text += b"and %d more\n" % (total - shown)
    return {
        "missing": result.missing_count,
        "changed": result.changed_count,
        "extra": result.extra_count,
        "move": result.total_bytes,
        "lines": text,
        "paths": _all_paths(result),
        "touched": result.touched,
    }


def _all_paths(result: "Difference") -> bytes:
    """With a zero byte between them; b"" where they are too many to be named."""
    if len(result.missing) < result.missing_count or len(result.changed) < result.changed_count:
        return b""
    paths = b"\0".join(result.missing + [path for path, _ in result.changed])
    return paths if len(paths) <= MOST_PATHS_BYTES else b""


def has_attributes(place: bytes) -> bool:
    """Has it any that an rsync would copy, and that not every file has (as those of SELinux)?"""
    try:
        return bool(set(os.listxattr(place, follow_symlinks=False)) - {"security.selinux"})
    except (OSError, AttributeError):  # the file system knows none, or it is gone; or this Python can't tell
        return False


def one_line(path: bytes) -> bytes:
    """A path on one line; a line end in it is written out, and so is a backslash."""
    return path.replace(b"\\", b"\\\\").replace(b"\n", b"\\n")
