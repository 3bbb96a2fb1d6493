"""Fingerprints: equal trees have one, whatever the order; any difference that counts makes another."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nile.agent.worker.manifest import Entry, Manifest, Terms, Totals
from tests.agent.worker.values import manifests, paths

FILE = Entry(b"a/f", b"f", 0o644, 7, 1_600_000_000_000_000_001, 1000, 100, digest=b"d" * 32)
DIRECTORY = Entry(b"a", b"d", 0o755, 0, 1_600_000_000_000_000_002, 1000, 100)
SYMLINK = Entry(b"a/l", b"l", 0o777, 0, 1_600_000_000_000_000_003, 1000, 100, b"f")
DEVICE = Entry(b"a/z", b"b", 0o600, 0, 1_600_000_000_000_000_004, 1000, 100, b"", 259)
FIFO = Entry(b"p", b"p", 0o600, 0, 1_600_000_000_000_000_005, 1000, 100)
ALL = Terms("numbers", checksum=True)

orders = st.randoms(use_true_random=False)
terms = st.builds(
    Terms, st.sampled_from(["none", "names", "numbers"]), *[st.booleans()] * 3, st.just(False), st.booleans()
)


def manifest(*entries: Entry, checksum: bool = True, **names: Any) -> Manifest:
    made = Manifest(entries, checksum)
    made.users, made.groups = names.get("users", {}), names.get("groups", {})
    return made


def same(one: Manifest, other: Manifest, terms: Terms) -> bool:
    return one.fingerprint(terms) == other.fingerprint(terms)


@settings(deadline=None)
@given(manifests(), terms, orders)
def test_the_order_does_not_matter(found: Manifest, terms: Terms, order: random.Random) -> None:
    shuffled = list(found.entries)
    order.shuffle(shuffled)
    again = manifest(*shuffled, users=found.users, groups=found.groups)
    assert same(found, again, terms)
    assert len(found.fingerprint(terms)) == 32


@settings(deadline=None)
@given(manifests(), paths, terms)
def test_one_entry_more_or_less_matters(found: Manifest, path: bytes, terms: Terms) -> None:
    fewer = [entry for entry in found.entries if entry.path != path]
    more = manifest(*fewer, DIRECTORY._replace(path=path), users=found.users, groups=found.groups)
    less = manifest(*fewer, users=found.users, groups=found.groups)
    assert not same(more, less, terms)


# Which field counts for which kind on all terms; every other one is one that doesn't.
COUNTS = {
    b"f": {"path", "kind", "mode", "size", "mtime_ns", "uid", "gid", "group", "digest"},
    b"d": {"path", "kind", "mode", "mtime_ns", "uid", "gid", "group"},
    b"l": {"path", "kind", "uid", "gid", "target", "group"},
    b"b": {"path", "kind", "mode", "uid", "gid", "device", "group"},
    b"p": {"path", "kind", "mode", "uid", "gid", "group"},
}
OTHERWISE: dict[str, Any] = {
    "path": b"a/g",
    "kind": b"s",
    "mode": 0o640,
    "size": 8,
    "mtime_ns": 1_600_000_000_000_000_009,
    "uid": 1001,
    "gid": 101,
    "target": b"g",
    "device": 260,
    "group": b"a",
    "digest": b"e" * 32,
}


@pytest.mark.parametrize("field", Entry._fields)
@pytest.mark.parametrize(
    "entry", [FILE, DIRECTORY, SYMLINK, DEVICE, FIFO], ids=lambda entry: entry.kind.decode()
)
def test_every_field_counts_where_it_has_to_and_only_there(entry: Entry, field: str) -> None:
    changed = entry._replace(**{field: OTHERWISE[field]})
    assert changed != entry
    assert same(manifest(entry), manifest(changed), ALL) == (field not in COUNTS[entry.kind])


@pytest.mark.parametrize(
    ("terms", "fields"),
    [
        (Terms("none", checksum=True), {"uid", "gid"}),
        (Terms(times=False, checksum=True), {"mtime_ns"}),
        (Terms(perms=False, checksum=True), {"mode"}),
        (Terms(links=False, checksum=True), {"group"}),
        (Terms(checksum=False), {"digest"}),
        (Terms(checksum=True, whole_seconds=True), {"mtime_ns"}),
    ],
)
def test_terms_leave_out_what_they_say_and_nothing_else(terms: Terms, fields: set[str]) -> None:
    for field in COUNTS[b"f"]:
        changed = FILE._replace(**{field: OTHERWISE[field]})
        assert same(manifest(FILE), manifest(changed), terms) == (field in fields), field


def test_whole_seconds_are_compared_all_the_same() -> None:
    later = FILE._replace(mtime_ns=FILE.mtime_ns + 10**9)
    assert not same(manifest(FILE), manifest(later), Terms(whole_seconds=True))


def test_fingerprints_on_different_terms_are_never_equal() -> None:
    assert manifest().fingerprint(ALL) != manifest().fingerprint(Terms())


def test_owners_by_name() -> None:
    names = Terms("names")
    here = manifest(FILE, users={1000: b"ann"}, groups={100: b"users"})
    there = manifest(FILE._replace(uid=2000, gid=200), users={2000: b"ann"}, groups={200: b"users"})
    assert same(here, there, names)
    assert not same(here, there, Terms("numbers"))
    assert not same(here, manifest(FILE, users={1000: b"bob"}, groups={100: b"users"}), names)
    assert same(manifest(FILE), manifest(FILE), names)
    assert not same(manifest(FILE), there, names)
    roots = [
        manifest(FILE._replace(uid=0, gid=0), users={0: name}, groups={0: name})
        for name in (b"root", b"toor")
    ]
    assert same(roots[0], roots[1], names)


def test_a_tree_as_it_has_to_be_where_the_ids_are_others() -> None:
    here = manifest(FILE, DIRECTORY._replace(uid=0, gid=5))
    there = manifest(FILE._replace(uid=2000, gid=5), DIRECTORY._replace(uid=0, gid=100))
    assert not same(here, there, Terms())
    assert same(here.owned_as({1000: 2000}, {100: 5, 5: 100}), there, Terms())
    assert here.entries[1].uid == 1000


def test_no_field_runs_into_another() -> None:
    one = SYMLINK._replace(path=b"a", target=b"bc")
    other = SYMLINK._replace(path=b"ab", target=b"c")
    assert not same(manifest(one), manifest(other), Terms())


def test_more_than_are_hashed_at_once_count() -> None:
    many = [FILE._replace(path=b"%05d" % number) for number in range(4097)]
    changed = [*many[:-1], many[-1]._replace(size=8)]
    assert not same(manifest(*many), manifest(*changed), Terms())


def test_terms_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="weren't read"):
        manifest(FILE, checksum=False).fingerprint(ALL)
    with pytest.raises(ValueError, match="by none, names or numbers"):
        manifest(FILE).fingerprint(Terms("name"))


def test_totals() -> None:
    linked = [FILE._replace(path=path, group=b"x") for path in (b"x", b"y")]
    assert manifest(FILE, DIRECTORY, SYMLINK, *linked).totals() == Totals(5, 3, 1, 14)
    assert manifest().totals() == Totals(0, 0, 0, 0)
