"""A release that is brought to this host, while a run has it: made beside the others, under a hidden name.

Files that are as in the current release are linked to it, by rsync
(--link-dest): it makes a file of its own wherever one differs, be it in its
mode only, and never writes to one that was there. But what it finds at the
name of a file, left by an earlier try, it would change in place, with all names
that this file has. So before a copy begins, names are taken away of files that
have others elsewhere: they are linked anew, which costs next to nothing.

What a copy has to bring depends on both then: on what is in the current
release, and on what stays of an earlier try. Where both are the same on several
hosts, one recording serves them all (see recording): an rsync that reads it
links files as one does that talks to the source. So that a try that was broken
off leaves nothing that would make hosts differ, files go too that are as in the
current release but for owner, mode and the like: these are copied within the host.
"""

import os
import stat

from nile.agent.worker import naming, target
from nile.agent.worker.lock import Lock
from nile.agent.worker.manifest import DIRECTORY, FILE, TEMPORARY, TOP, Comparable, Manifest, joined
from nile.agent.worker.naming import END_IT
from nile.agent.worker.place import Place, said
from nile.agent.worker.receiving import as_owner
from nile.agent.worker.releases import Refused, Releases
from nile.agent.worker.removing import remove_tree
from nile.agent.worker.scanning import scan
from nile.agent.worker.trees import has_attributes
from nile.agent.worker.working import WORK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Iterator, List, Optional, Set, Tuple

    from nile.agent.worker.manifest import Entry, Terms
    from nile.agent.worker.patterns import Patterns
    from nile.agent.worker.place import Looked


class Delivery(Place):
    """Where one release goes: `dest` is the hidden directory or, where it is `whole` already, its own.

    `basis` is the current release, and `current` its name, if there is one and this one isn't whole.
    """

    def __init__(self, dest: bytes, temporary: bytes, name: str) -> None:
        super().__init__(naming.making(dest, name), temporary, True)
        self.releases = Releases(dest)
        self.signed_in = dest
        self.name = name
        self.current = ""
        self.whole = False
        self._untidy = False
        self._beside: "Optional[Manifest]" = None
        self._begun = False

    def take(self) -> "Optional[Tuple[str, str]]":
        """As that of a Place. Raises Refused where what is there isn't as Nile leaves it."""
        self._prepared = target.prepare(self.releases.place, True)
        self._lock = Lock(self.releases.dest)
        busy = self._lock.acquire()
        if busy is not None:
            return said(busy)
        current = self.releases.current()
        self.releases.previous()
        flip = self.releases.interrupted()
        if flip is not None and flip.to != self.name:
            raise Refused("a flip %s was interrupted" % flip.words(), END_IT)
        self.whole = self.releases.is_whole(self.name)
        if self.whole:
            self.dest = naming.whole(self.releases.dest, self.name)
            return None
        if current and self.releases.is_whole(current):
            self.current = current
            self.basis = naming.whole(self.releases.dest, current)
        for path in (self.releases.place, self.dest):
            if os.path.islink(path):
                raise Refused("'%s' is a symbolic link" % os.fsdecode(path), "move it away")
        self._untidy = os.path.isdir(self.dest)
        self._prepared.made += target.prepare(self.dest, True).made
        return None

    def about(self) -> "Dict[str, Any]":
        """The release that files are linked to, and whether this one is there already."""
        return {"current": self.current, "whole": self.whole}

    def tidy(self, patterns: "Patterns") -> None:
        """Remove what nobody looks at, and what would become part of the release: left by an earlier try."""
        if self._untidy:
            self._untidy = False
            for _ in self._found(patterns):
                pass

    def fingerprints(self, found: Manifest, looked: "Looked", terms: "Terms") -> "Tuple[bytes, bytes]":
        """As those of a Place. What is in the current release is looked at once."""
        fingerprint, like = found.fingerprints(terms)
        if not self.basis or self._begun:
            return fingerprint, like
        beside = self._look_beside([name for _, name in looked[0]], looked[1])
        staying = self._sorted(looked[1])[1]
        kept = Manifest([entry for entry in found.entries if entry.path in staying], found.checksum)
        for manifest in (beside, kept):  # as the source calls them
            manifest.users.update(found.users)
            manifest.groups.update(found.groups)
        # No contents are read here: where they count, rsync compares them, and lacks what it can't link.
        like = beside.fingerprints(terms._replace(checksum=False))[1]
        attributes = [_attributes(self.basis, beside), _attributes(self.dest, kept)]
        return fingerprint, joined(kept.fingerprint(terms), like, *attributes)

    def _look_beside(self, names: "List[bytes]", patterns: "Patterns") -> Manifest:
        if self._beside is None:
            self._beside = scan([(os.path.join(self.basis, name), name) for name in names], patterns)
        return self._beside

    def here(self, found: Manifest) -> "List[Entry]":
        """As that of a Place: what is to be linked anew is gone, and is in the current release."""
        if not self.basis or self._beside is None:
            return found.entries
        still = [each for each in found.entries if os.path.lexists(os.path.join(self.dest, each.path))]
        return self._beside.entries + still

    def make_ready(self, patterns: "Patterns", recorded: bool = False) -> None:
        """Take away what a copy would spoil. Raises Refused for a release that is whole."""
        if self.whole:
            raise Refused("release %s is there already" % self.name, "give it another name")
        self._begun = True
        for path in self._sorted(patterns)[0]:
            WORK.done += 1
            _take_away(path)
        if recorded and self._beside is not None:
            self._outline(self._beside)

    def _sorted(self, patterns: "Patterns") -> "Tuple[List[bytes], Set[bytes]]":
        """Which names are taken away before a copy begins, and which files stay (as in a manifest)."""
        going: "List[bytes]" = []
        staying: "Set[bytes]" = set()
        linked: "Dict[Tuple[int, int], Tuple[int, List[bytes]]]" = {}
        again: "Optional[Dict[bytes, Tuple[int, int]]]" = None
        for path, about in self._found(patterns):
            again = _by_path(self._beside) if again is None else again
            inside = os.path.relpath(path, self.dest)
            if about.st_nlink > 1:
                linked.setdefault((about.st_dev, about.st_ino), (about.st_nlink, []))[1].append(path)
            elif stat.S_ISREG(about.st_mode):
                if again.get(inside) == (about.st_size, about.st_mtime_ns):
                    going.append(path)
                else:
                    staying.add(inside)
        for count, paths in linked.values():
            if count > len(paths):
                going += paths
            else:
                staying.update(os.path.relpath(path, self.dest) for path in paths)
        return going, staying

    def _outline(self, beside: Manifest) -> None:
        """Have the directories of the current release, empty.

        An rsync that only says what it lacks makes none, and yet some of them want to give a new
        directory the attributes of the one beside it, and fail. No link is followed.
        """
        made = {b""}
        for entry in beside.entries:  # parents first
            parent = os.path.dirname(entry.path)
            if entry.kind == DIRECTORY and entry.path != TOP and parent in made:
                WORK.done += 1
                if _directory(os.path.join(self.dest, entry.path)):
                    made.add(entry.path)

    def _found(self, patterns: "Patterns") -> "Iterator[Tuple[bytes, os.stat_result]]":
        """All that isn't a directory; what has no place there is removed on the way."""
        for place, directories, files in os.walk(self.dest):
            for name in list(directories) + files:
                WORK.done += 1
                path = os.path.join(place, name)
                about = os.lstat(path)
                directory = stat.S_ISDIR(about.st_mode)
                inside = os.path.relpath(path, self.dest)
                if name.startswith(TEMPORARY) or patterns.excludes(inside, directory):
                    _take_away(path)
                    if name in directories:
                        directories.remove(name)
                elif not directory:
                    yield path, about

    def coming(
        self,
        source: "Manifest",
        found: "Manifest",
        names: "List[bytes]",
        patterns: "Patterns",
        terms: "Terms",
    ) -> int:
        """Bytes that the source needs here, of which so much was `found`."""
        return coming(source, found, self._look_beside(names, patterns), terms)

    def abandon(self) -> None:
        """It isn't: what of it came whole stays, for the next try."""
        if not self.whole:
            super().abandon()
        elif self._lock is not None:
            self._lock.release()

    def seal(self) -> None:
        """It is whole. Raises Refused where it isn't the directory any more that was filled."""
        if os.path.islink(self.dest):
            raise Refused("'%s' is a symbolic link" % os.fsdecode(self.dest), "move it away")
        self.releases.seal(self.name)
        self.whole = True


def coming(source: "Manifest", found: "Manifest", basis: "Manifest", terms: "Terms") -> int:
    """Bytes of the files that take room of their own: what is as in `found` or in `basis` takes none."""
    terms = terms._replace(links=False, checksum=False)
    basis.users.update(found.users)  # as the source calls them
    basis.groups.update(found.groups)
    there: "Dict[bytes, Any]" = {}
    for manifest in (basis, found):
        compared = Comparable(manifest, terms)
        there.update((entry.path, compared.aspects(entry)) for entry in manifest.entries)
    ours = Comparable(source, terms)
    total, counted = 0, {b""}
    for entry in source.entries:
        if entry.kind == FILE and there.get(entry.path) != ours.aspects(entry):
            if not entry.group or entry.group not in counted:
                total += entry.size
                counted.add(entry.group)
    return total


def _attributes(top: bytes, manifest: Manifest) -> bytes:
    """Which of these have which extended attributes and ACLs.

    They are in no manifest. But where a long one isn't what it is where a recording was made, an
    rsync that reads that has no value to put in its place, and says nothing.
    """
    found = []
    for entry in manifest.entries:
        WORK.done += 1
        place = os.path.join(top, entry.path)
        if entry.kind in (FILE, DIRECTORY) and has_attributes(place):
            from nile.agent.worker.attributes import taken  # few trees have any

            found.append((entry.path, sorted(taken(place, True, True))))
    return repr(found).encode()


def _by_path(beside: "Optional[Manifest]") -> "Dict[bytes, Tuple[int, int]]":
    entries = beside.entries if beside is not None else []
    return {entry.path: (entry.size, entry.mtime_ns) for entry in entries if entry.kind == FILE}


def _directory(path: bytes) -> bool:
    """Is it one, now at the latest?"""
    parent = os.path.dirname(path)
    try:
        as_owner(parent, os.stat(parent), lambda: os.mkdir(path, 0o700))
    except FileExistsError:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    return True


def _take_away(path: bytes) -> None:
    parent = os.path.dirname(path)
    directory = stat.S_ISDIR(os.lstat(path).st_mode)
    as_owner(parent, os.stat(parent), lambda: remove_tree(path) if directory else os.unlink(path))
