"""What files have beside their content, given to what is made and to what is there: owner, mode, times."""

import os
import stat
import time
from typing import NamedTuple

from nile.agent.worker import attributes
from nile.agent.worker.manifest import BLOCK, CHARACTER, FIFO, SOCKET, SYMLINK
from nile.agent.worker.ownership import Ownership

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Tuple, Union

    from nile.agent.worker.archive import Attributes, Item, Looked, Owners
    from nile.agent.worker.manifest import Entry

_KINDS = {FIFO: stat.S_IFIFO, SOCKET: stat.S_IFSOCK, BLOCK: stat.S_IFBLK, CHARACTER: stat.S_IFCHR}


class Terms(NamedTuple):
    """Whose files are to be: see `ownership`."""

    numeric_ids: bool = False
    chown: str = ""


class There(NamedTuple):
    """Something that is there already.

    `place` is a path at which it is for sure, also if somebody changes its name meanwhile; if that is the
    path of a link to it in /proc, `follow`.
    """

    place: bytes
    seen: os.stat_result
    follow: bool


class Dressing:
    """Makes things, and gives them what an archive says of them. Raises Failure as `Ownership` does."""

    def __init__(self, terms: Terms) -> None:
        self.root = os.geteuid() == 0
        self._owners = Ownership(terms.numeric_ids, terms.chown)

    def learn(self, owners: "Owners") -> None:
        """What ids are called at the source."""
        self._owners.learn(owners)

    def may(self, entry: "Entry") -> bool:
        """Only root makes devices; rsync leaves them out where it isn't, and they are missed in the end."""
        return self.root or entry.kind not in (BLOCK, CHARACTER)

    def make(self, path: bytes, entry: "Entry") -> None:
        """What is neither a file nor a directory, at a path that is free. Raises OSError."""
        if entry.kind == SYMLINK:
            os.symlink(entry.target, path)
        else:
            os.mknod(path, _KINDS[entry.kind] | 0o600, entry.device)

    def undress(self, fd: int) -> None:
        """It was made elsewhere, and may have inherited what it isn't to have."""
        attributes.without_any(fd, self.root)

    def dress(self, place: "Union[bytes, int]", item: "Item") -> None:
        """Owner, attributes, mode and times, in the order in which none takes away another."""
        entry, link = item.entry, item.entry.kind == SYMLINK
        self._owners.give(place, entry)
        acls, others = self._parted(item.attributes)
        attributes.put(place, others, self.root)
        if not link:
            os.chmod(place, entry.mode)
        attributes.put(place, acls, self.root)
        now = int(time.time() * 1e9)
        if isinstance(place, int):
            os.utime(place, ns=(now, entry.mtime_ns))
        else:
            os.utime(place, ns=(now, entry.mtime_ns), follow_symlinks=False)

    def _parted(self, wanted: "Attributes") -> "Tuple[Attributes, Attributes]":
        """ACLs, with the numbers of here, and the others."""
        acls = [(name, self._owners.acl(value)) for name, value in wanted if name in attributes.ACLS]
        return acls, [pair for pair in wanted if pair[0] not in attributes.ACLS]

    # What is there already: it has things to lose, too.

    def is_right(self, there: There, item: "Item", looked: "Looked") -> bool:
        """Has it all that, and nothing else? Of attributes counts what the source was `looked` at for."""
        entry, seen = item.entry, there.seen
        if entry.kind != SYMLINK and stat.S_IMODE(seen.st_mode) != entry.mode:
            return False
        if seen.st_mtime_ns != entry.mtime_ns or not self._owners.is_right(entry, seen):
            return False
        if not (looked.xattrs or looked.acls):
            return True
        found = attributes.there(there.place, self.root, there.follow)
        if not found and not item.attributes:
            return True
        acls, others = self._parted(item.attributes)
        return not attributes.differing(found, acls + others, self.root, looked)

    def mend(self, there: There, item: "Item", looked: "Looked") -> None:
        """Have it so."""
        place, seen, follow = there
        entry, link = item.entry, item.entry.kind == SYMLINK
        if not self._owners.is_right(entry, seen):
            self._owners.give(place, entry, follow)
        if not (self.root or link) and seen.st_mode & 0o600 != 0o600:
            os.chmod(place, stat.S_IMODE(seen.st_mode) | 0o600)  # else its attributes would be closed to us
        found = attributes.there(place, self.root, follow)
        acls, others = self._parted(item.attributes)
        wrong = attributes.differing(found, acls + others, self.root, looked)
        attributes.without(place, wrong.intersection(found).difference(dict(acls + others)), follow)
        attributes.put(place, [pair for pair in others if pair[0] in wrong], self.root, follow)
        if not link:
            os.chmod(place, entry.mode)
        attributes.put(place, [pair for pair in acls if pair[0] in wrong], self.root, follow)
        if seen.st_mtime_ns != entry.mtime_ns:
            os.utime(place, ns=(seen.st_atime_ns, entry.mtime_ns), follow_symlinks=follow)
