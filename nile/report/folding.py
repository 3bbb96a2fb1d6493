"""Host names folded into node sets: n1, n2, n3 -> n[1-3]."""

from __future__ import annotations

from collections.abc import Iterable


def folded(hosts: Iterable[str]) -> str:
    """A folded host set, in NodeSet order."""
    from nile.topology.hostsets import fold  # brings ClusterShell, 17 ms: only when something is folded

    return fold(hosts)


def in_order(hosts: Iterable[str]) -> list[str]:
    """In NodeSet order, by numbers: n2 before n10."""
    from nile.topology.hostsets import in_order

    return in_order(hosts)


def heading(hosts: Iterable[str]) -> str:
    """A folded host set and the number of its hosts: `n[1-5] (5)`."""
    names = set(hosts)
    return f"{folded(names)} ({len(names)})"
