"""Sites: in a swarm their hosts are connected to nobody outside, unless both sites are said to peer. Pure.

The root is at no site. Hosts of which nobody said where they are, are at one site together, which peers with
no other; so where no site is named at all, everybody may be connected to everybody.
"""

from __future__ import annotations

from nile.topology.model import Plan


class Sites:
    """At which sites the hosts of a plan are, by id."""

    def __init__(self, plan: Plan) -> None:
        self._of = {
            node.id: spec.site if (spec := plan.specs.get(node.host)) else None
            for node in (*plan.nodes, *plan.spares)
        }
        self._peering = plan.peering
        self.several = len(set(self._of.values())) > 1
        """Is there more than one?"""

    def __getitem__(self, node_id: int) -> str | None:
        """Where a host is; None where nobody said."""
        return self._of[node_id]

    def place(self, node_id: int) -> list[str]:
        """The same as words, outermost first: none, where there is but one."""
        return [self._of[node_id] or ""] if self.several else []

    @property
    def peering(self) -> list[list[str]]:
        """The pairs that peer."""
        return sorted(map(sorted, self._peering))

    def together(self, one: str | None, other: str | None) -> bool:
        """May hosts of the one be connected to hosts of the other?"""
        return one == other or {one, other} in self._peering
