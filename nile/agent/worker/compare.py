"""How two trees differ: what is to be brought, what would go, what is otherwise."""

from nile.agent.worker.manifest import ASPECTS, FILE, Comparable, Terms
from nile.agent.worker.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Set, Tuple

    from nile.agent.worker.manifest import Entry, Manifest

MOST_NAMED = 1000  # paths in each list
_MOVED = {"kind", "size", "mtime", "content"}  # what makes rsync copy a file, where it differs
_LINK = ASPECTS.index("link")


class Difference(NamedTuple):
    """From a source to a target; paths are sorted, and only the first ones of each sort are named.

    Bytes are apparent: those of files to bring (hard-linked ones once), of
    files that would go, and of files that would be copied anew. `changed`
    says of each path which of ASPECTS differ; `touched` counts
    files that aren't simply sent, since something of them is there.
    """

    missing: "List[bytes]"
    missing_count: int
    missing_bytes: int
    extra: "List[bytes]"
    extra_count: int
    extra_bytes: int
    changed: "List[Tuple[bytes, Tuple[str, ...]]]"
    changed_count: int
    changed_bytes: int
    touched: int = 0

    @property
    def equal(self) -> bool:
        """Whether nothing differs."""
        return not (self.missing_count or self.extra_count or self.changed_count)

    @property
    def total_bytes(self) -> int:
        """How much would be moved, at most."""
        return self.missing_bytes + self.changed_bytes


def compare(source: "Manifest", target: "Manifest", terms: Terms, most: int = MOST_NAMED) -> Difference:
    """What a target lacks, has too much of, or has otherwise; raises ValueError as `fingerprint` does.

    Of hard links only those between paths that both have are compared. A file
    whose content couldn't be read counts as changed, where contents count.
    """
    ours, theirs = Comparable(source, terms), Comparable(target, terms)
    there = {entry.path: entry for entry in target.entries}
    common = {entry.path for entry in source.entries if entry.path in there}
    our_links, their_links = _links(source, common), _links(target, common)
    missing = [entry for entry in source.entries if entry.path not in common]
    extra = [entry for entry in target.entries if entry.path not in common]
    changed: "List[Tuple[bytes, Tuple[str, ...]]]" = []
    moved: "List[Entry]" = []
    alike = ours.names == theirs.names
    for entry in source.entries:
        if entry.path not in common:
            continue
        other = there[entry.path]
        # Most are equal in all that there is to them: then it needn't be asked what of it counts.
        if alike and entry == other and not entry.group and _known(entry, terms):
            continue
        here, found = _aspects(ours, entry, our_links), _aspects(theirs, other, their_links)
        if here == found and _known(entry, terms):
            continue
        what = _differing(here, found)
        changed.append((entry.path, what))
        # Where rsync compares contents, those that are as they should be aren't sent for their time.
        if _MOVED.intersection(what) and not (terms.checksum and what == ("mtime",)):
            moved.append(entry)
    moving: "Set[bytes]" = set()
    return Difference(
        [entry.path for entry in missing[:most]],
        len(missing),
        _size(missing, moving),
        [entry.path for entry in extra[:most]],
        len(extra),
        _size(extra, set()),
        changed[:most],
        len(changed),
        _size(moved, moving),
        _touched(source, changed, {entry.path for entry in missing + moved}, common),
    )


def lacking(source: "Manifest", target: "Manifest") -> "List[Entry]":
    """Files of which a target needs the content, for `merging`; of hard-linked names it is the first one.

    Both have to be known in full. Contents count where both were read, else size and time have to do.
    """
    read = source.checksum and target.checksum

    def like(entry: "Entry") -> "Tuple[Any, ...]":
        return entry.size, entry.mtime_ns, entry.digest if read else b""

    there = {entry.path: like(entry) for entry in target.entries if entry.kind == FILE}
    return [
        entry
        for entry in source.entries
        if entry.kind == FILE
        and entry.size
        and entry.group in (b"", entry.path)
        and (there.get(entry.path) != like(entry) or (read and not entry.digest))
    ]


def _touched(
    source: "Manifest",
    changed: "List[Tuple[bytes, Tuple[str, ...]]]",
    coming: "Set[bytes]",
    common: "Set[bytes]",
) -> int:
    """Files that differ, and for which it matters what is there.

    Either their content is there, or something is under one of the names that they have beside their own: of
    hard links rsync sends the one that it comes to first, and which one that is depends on what is there.
    """
    differing = coming.union(path for path, _ in changed)
    there = {entry.group for entry in source.entries if entry.group and entry.path in common}
    return sum(
        entry.kind == FILE and entry.path in differing and (entry.path not in coming or entry.group in there)
        for entry in source.entries
    )


def _links(manifest: "Manifest", common: "Set[bytes]") -> "Dict[bytes, bytes]":
    """By path, the smallest one that it is linked to, among these paths."""
    together: "Dict[bytes, List[bytes]]" = {}
    for entry in manifest.entries:
        if entry.group and entry.path in common:
            together.setdefault(entry.group, []).append(entry.path)
    return {path: paths[0] for paths in together.values() if len(paths) > 1 for path in paths}


def _aspects(compared: Comparable, entry: "Entry", links: "Dict[bytes, bytes]") -> "Tuple[Any, ...]":
    aspects = compared.aspects(entry)
    if not entry.group or aspects[_LINK] is None:
        return aspects
    return (*aspects[:_LINK], links.get(entry.path, b""), *aspects[_LINK + 1 :])


def _known(entry: "Entry", terms: Terms) -> bool:
    return bool(entry.digest) or not terms.checksum or entry.kind != FILE


def _differing(here: "Tuple[Any, ...]", there: "Tuple[Any, ...]") -> "Tuple[str, ...]":
    if here[0] != there[0]:
        return ("kind",)
    aspects = zip(ASPECTS, here, there)  # noqa: B905 - 3.6 has no strict
    return tuple(name for name, a, b in aspects if a != b) or ("content",)


def _size(entries: "List[Entry]", counted: "Set[bytes]") -> int:
    """Bytes of these, those of hard-linked ones once; `counted` are the groups that were."""
    total = 0
    for entry in entries:
        if not entry.group or entry.group not in counted:
            total += entry.size
            counted.add(entry.group)
    return total
