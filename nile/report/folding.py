"""Host names folded into node sets: n1, n2, n3 -> n[1-3]."""

from __future__ import annotations

import re
from collections.abc import Iterable

# What NodeSet takes as an operator, a group, a range or a separator is no part of a plain name.
_PLAIN = re.compile(r"[^\[\]\s,!&^@*%]+")


def folded(hosts: Iterable[str]) -> str:
    """A folded host set, in NodeSet order; names that node sets can't hold stand unfolded at its end."""
    from ClusterShell.NodeSet import RESOLVER_NOGROUP, NodeSet  # 17 ms: only when something is folded

    names = set(hosts)
    plain = {name for name in names if _PLAIN.fullmatch(name)}
    parts = [str(NodeSet.fromlist(sorted(plain), resolver=RESOLVER_NOGROUP))] if plain else []
    return ",".join(parts + sorted(names - plain))


def heading(hosts: Iterable[str]) -> str:
    """A folded host set and the number of its hosts: `n[1-5] (5)`."""
    names = set(hosts)
    return f"{folded(names)} ({len(names)})"
