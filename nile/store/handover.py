"""What another root needs to go on with a run, as JSON text: the plan, the options, the hosts asked for.

It is written where the run begins and read where its root died (see
`nile.cascade.heritage`). Nothing in it is secret: identities are named, not kept, and so are the variables
that a command is given: who goes on with the run gives their values again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

from nile.errors import StoreError
from nile.options import ExecOptions, Script
from nile.topology.model import Plan


@dataclass(frozen=True, slots=True)
class Handover:
    """`hosts` are the asked ones in the order of their ranks."""

    plan: Plan
    exec: ExecOptions
    hosts: tuple[str, ...]
    paused: bool = False
    """Its user had paused it."""

    def dump(self) -> str:
        """As ASCII text; values that are no part of JSON become objects and lists."""
        named = with_scripts(
            self.exec, lambda script: replace(script, text=b"")
        )  # the store has them already
        outfit = replace(named.outfit, env=dict.fromkeys(named.outfit.env, ""))
        kept = replace(self, exec=replace(named, outfit=outfit))
        return json.dumps(kept, default=_plain, separators=(",", ":"))

    @classmethod
    def load(cls, text: str, where: str) -> Handover:
        """What `dump` wrote. Raises StoreError, which names `where`."""
        import cattrs  # here: only who takes a run over pays for it

        try:
            return cattrs.structure(json.loads(text), cls)
        except (ValueError, cattrs.BaseValidationError) as error:
            raise StoreError(
                "what is needed to go on with this run can't be read",
                where=where,
                remedy="it was recorded by another version of Nile, or is damaged",
            ) from error


def with_scripts(options: ExecOptions, change: Callable[[Script], Script]) -> ExecOptions:
    """The same, with each of its scripts changed."""
    changed = {script: change(script) for script in options.all_scripts()}
    alone = options.outfit.script
    outfit = replace(options.outfit, script=changed[alone] if alone else None)
    return replace(
        options, outfit=outfit, scripts={host: changed[each] for host, each in options.scripts.items()}
    )


def _plain(value: object) -> dict[str, Any] | list[Any]:
    if is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, bytes):
        return list(value)
    if isinstance(value, frozenset):  # of names, or of sets of them
        return sorted(value, key=sorted)
    raise TypeError(f"no part of a handover: {type(value).__name__}")
