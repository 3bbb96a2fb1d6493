"""Manifests for tests, from hypothesis."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from nile.agent.worker.manifest import KINDS, Entry, Manifest

names = st.binary(min_size=1, max_size=6).filter(
    lambda name: not {0, 0x2F} & set(name) and name not in (b".", b"..")
)
paths = st.lists(names, min_size=1, max_size=3).map(b"/".join)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
ids = st.sampled_from([0, 1, 1000, 1001, 2**32 - 1])


@st.composite
def entries(draw: st.DrawFn, path: bytes, checksum: bool) -> Entry:
    kind = draw(st.sampled_from(KINDS))
    is_file = kind == b"f"
    digests = st.binary(min_size=32, max_size=32).filter(any) | st.just(b"")
    return Entry(
        path,
        kind,
        draw(st.integers(0, 0o7777)),
        draw(st.integers(0, 2**63 - 1)) if is_file else 0,
        draw(st.integers(-(2**63), 2**63 - 1)),
        draw(ids),
        draw(ids),
        draw(st.binary(min_size=1, max_size=9).filter(lambda target: 0 not in target))
        if kind == b"l"
        else b"",
        draw(st.integers(0, 2**64 - 1)) if kind in b"bc" else 0,
        b"",
        draw(digests) if is_file and checksum else b"",
    )


@st.composite
def manifests(draw: st.DrawFn, most: int = 12) -> Manifest:
    """One with sorted entries, of any kinds, some of them hard-linked."""
    checksum = draw(st.booleans())
    found = sorted(draw(st.sets(paths, max_size=most)) | draw(st.sampled_from([set(), {b"."}])))
    listed = [draw(entries(path, checksum)) for path in found]
    linkable = [number for number, entry in enumerate(listed) if entry.kind != b"d"]
    if linkable:
        group = sorted(draw(st.sets(st.sampled_from(linkable))))
        for number in group if len(group) > 1 else []:
            listed[number] = listed[number]._replace(group=listed[group[0]].path)
    manifest = Manifest(listed, checksum)
    manifest.users = draw(st.dictionaries(ids, names, max_size=3))
    manifest.groups = draw(st.dictionaries(ids, names, max_size=3))
    manifest.missing = draw(st.lists(paths, max_size=2))
    manifest.mounts = draw(st.lists(paths, max_size=2))
    manifest.unreadable = draw(st.lists(st.tuples(paths, texts), max_size=3))
    return manifest


def fields(manifest: Manifest) -> dict[str, Any]:
    """All that travels."""
    kept = ("entries", "checksum", "users", "groups", "missing", "mounts", "unreadable")
    return {name: getattr(manifest, name) for name in kept}
