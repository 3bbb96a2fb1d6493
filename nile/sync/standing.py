"""How far each host is with a flip, as far as anybody knows: to be said where it is broken off. Pure."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping

from nile.sync.targets import Target
from nile.sync.wording import some_hosts


class Standing:
    """Hosts by id. Whoever is `open` has, or may have, written a flip down that isn't over there."""

    def __init__(self) -> None:
        self._open: set[int] = set()
        self._told: set[int] = set()
        self._flipped: set[int] = set()

    def asked(self, node_id: int, what: str) -> None:
        """It is told to do that."""
        if what == "stage":
            self._open.add(node_id)
        elif what == "flip":
            self._told.add(node_id)

    def answered(self, node_id: int, what: str, *, well: bool) -> None:
        """It has done it; or couldn't, and then it isn't `well`."""
        if what == "flip" and well:
            self._flipped.add(node_id)
        elif (what in ("confirm", "unstage") and well) or (what == "stage" and not well):
            self._open.discard(node_id)

    def said(self, targets: Mapping[int, Target], to: str, dest: bytes) -> Iterator[str]:
        """Who has flipped, who hasn't, of whom nobody knows, and what ends it; nothing where it is over."""
        if not self._open:
            return

        def named(ids: Collection[int]) -> str:
            return some_hosts([target.name for target in targets.values() if target.id in ids])

        unknown = self._told - self._flipped
        yield f"the flip to {to or 'the release before'} isn't over on {named(self._open)}"
        for what, ids in (
            ("flipped", self._flipped),
            ("not flipped", self._open - self._told),
            ("it isn't known whether they flipped", unknown),
        ):
            if ids:
                yield f"{what}: {named(ids)}"
        where = os.fsdecode(dest)
        if not self._told:  # to go through with it would flip these, and nobody else
            yield f"`nile releases --rollback {where}` ends it: nobody was told to flip"
            return
        ways = f"`nile releases --finish {where}` flips all of these hosts, `--rollback` takes it back on all"
        yield f"{ways}; `nile releases {where}` says how they stand"
