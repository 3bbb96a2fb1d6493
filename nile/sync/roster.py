"""All hosts of a run, and who of them stands where. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from nile.cascade.tree import Tree as Hosts
from nile.sync.targets import DONE, Step, Target


class Roster(Mapping[int, Target]):
    """Hosts by id; `only` are the ids of those that it is for, None: all that are asked.

    Whatever is asked of it on every message costs the same for any number of hosts.
    """

    def __init__(self, hosts: Hosts, only: frozenset[int] | None = None) -> None:
        asked = [host for host in hosts.hosts.values() if host.node.asked]
        self._all = {
            host.id: Target(host.id, host.name, self._moved)
            for host in asked
            if only is None or host.id in only
        }
        self._at: dict[Step, dict[Target, None]] = {step: {} for step in Step}
        self._at[Step.ABSENT] = dict.fromkeys(self._all.values())
        self._told: list[Callable[[Target, Step], None]] = []

    def __getitem__(self, node_id: int) -> Target:
        return self._all[node_id]

    def __iter__(self) -> Iterator[int]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def watch(self, told: Callable[[Target, Step], None]) -> None:
        """`told(target, before)` hears of every one that has another step than before."""
        self._told.append(told)

    def at(self, *steps: Step) -> list[Target]:
        """Those that stand at one of these steps, by id."""
        return sorted((target for step in steps for target in self._at[step]), key=lambda each: each.id)

    def count(self, *steps: Step) -> int:
        """How many these are."""
        return sum(len(self._at[step]) for step in steps)

    @property
    def wanting(self) -> int:
        """For how many there is still something to be done."""
        return len(self) - self.count(*DONE)

    def _moved(self, target: Target, before: Step) -> None:
        del self._at[before][target]
        self._at[target.step][target] = None
        for told in self._told:
            told(target, before)
