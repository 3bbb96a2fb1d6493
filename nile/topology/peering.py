"""Which sites peer with each other, as a route file says it: read, and checked."""

# ruff: noqa: D102 - `read` and `schema` are documented once, at `Kind`.

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from itertools import combinations

from yaml.nodes import Node, SequenceNode

from nile.topology.kinds import Kind, Schema, Text
from nile.topology.yamltree import Located, Reader

SITE = Text("a site's name")
MOST_LISTS, MOST_SITES = 1000, 100
"""Of these lists, and of sites in one: aliases can make a short file endless."""
Written = Sequence[Sequence[Located]]
"""Sites that peer with each other, list by list."""


class Peering(Kind[tuple[tuple[Located, ...], ...]]):
    """A list of lists of sites, two or more in each."""

    what = "a list of lists of sites"

    def read(self, node: Node, reader: Reader) -> tuple[tuple[Located, ...], ...]:
        nodes = self._listed(node, reader)
        if len(nodes) > MOST_LISTS:
            reader.fail(node, "too many sites peer", f"write at most {MOST_LISTS} lists")
        return tuple(self._together(each, reader) for each in nodes)

    def _together(self, node: Node, reader: Reader) -> tuple[Located, ...]:
        nodes = self._listed(node, reader)
        if len(nodes) > MOST_SITES:
            reader.fail(
                node, "too many sites peer with each other", f"name at most {MOST_SITES} sites in a list"
            )
        sites = tuple(Located(SITE.read(each, reader), reader.place(each)) for each in nodes)
        if len({each.text for each in sites}) < max(2, len(sites)):
            reader.fail(node, "two or more sites peer with each other", "name each of them once")
        return sites

    def _listed(self, node: Node, reader: Reader) -> list[Node]:
        if not isinstance(node, SequenceNode):
            reader.fail(node, f"{self.what} is expected", "write [[geneva, lyon], [lyon, paris]], say")
        return list(node.value)

    def schema(self) -> Schema:
        together = {"type": "array", "items": SITE.schema(), "minItems": 2, "maxItems": MOST_SITES}
        together["uniqueItems"] = True
        return {"type": "array", "items": together, "maxItems": MOST_LISTS}


def pairs_of(written: Written) -> frozenset[frozenset[str]]:
    """Those that peer, two by two."""
    return frozenset(
        frozenset({one.text, other.text}) for sites in written for one, other in combinations(sites, 2)
    )


def check_peering(written: Written, sites: Iterable[str | None], reader: Reader) -> None:
    """Note each one that is no host's."""
    known = {site for site in sites if site is not None}
    for each in (site for together in written for site in together):
        if each.text not in known:
            near = get_close_matches(each.text, known, n=1)
            remedy = f"did you mean {near[0]}?" if near else f"say `site: {each.text}` of a group or a host"
            reader.note(each.place, f"no host is at the site {each.text}", remedy)
