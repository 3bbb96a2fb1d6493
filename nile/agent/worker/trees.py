"""The source as one value, and the ways in which two trees are held against each other."""

import os

from nile.agent.worker.compare import compare
from nile.agent.worker.manifest import DIRECTORY, FILE, TOP, Manifest
from nile.agent.worker.scanning import changed_since, numbers_here, scan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Sequence, Tuple

    from nile.agent.worker.manifest import Terms
    from nile.agent.worker.patterns import Patterns

HOLES_FROM = 1 << 20  # bytes
MOST_LINES = 100 * 1024  # bytes of a difference that travel, and are shown


class Source:
    """What is to be copied: `paths` as rsync takes them, `roots` as they are scanned."""

    def __init__(self, paths: "Sequence[bytes]", patterns: "Patterns") -> None:
        self.paths = list(paths)
        self.roots = [(path, b"" if path.endswith(b"/") else os.path.basename(path)) for path in paths]
        self._patterns = patterns
        self.manifest = Manifest([])

    def read(self, checksum: bool) -> None:
        """Look at all of it."""
        self.manifest = scan(self.roots, self._patterns, checksum, source=True)

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

    def room(self) -> int:
        """How many bytes it takes on a disk: of large files with holes, what there is of them."""
        total = self.manifest.totals().bytes
        for entry in self.manifest.entries:
            if entry.kind == FILE and entry.size >= HOLES_FROM:
                total -= max(0, entry.size - self._blocks(entry.path))
        return max(0, total)

    def _blocks(self, path: bytes) -> int:
        for root, name in self.roots:
            if not name or path == name or path.startswith(name + b"/"):
                place = os.path.join(root, path[len(name) :].lstrip(b"/")) if path != name else root
                try:
                    return os.lstat(place).st_blocks * 512
                except OSError:
                    continue
        return 0

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
    """Counts, and lines that name the first of what differs."""
    result = compare(source, found, terms)
    lines = [b"missing " + one_line(path) for path in result.missing]
    lines += [
        b"changed %s (%s)" % (one_line(path), ", ".join(what).encode()) for path, what in result.changed
    ]
    lines += [b"extra " + one_line(path) for path in result.extra]
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
    }


def one_line(path: bytes) -> bytes:
    """A path on one line; a line end in it is written out, and so is a backslash."""
    return path.replace(b"\\", b"\\\\").replace(b"\n", b"\\n")
