"""What a comparison found, as values: medians, ratios and targets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Protocol


class Measured(Protocol):
    """One run of a tool; `problem` is empty where it went well."""

    @property
    def wall_s(self) -> float: ...
    @property
    def cpu_s(self) -> float: ...
    @property
    def problem(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Target:
    """Nile's `measure` (wall or cpu) is to be at most `at_most` times that of `tool`."""

    tool: str
    measure: str
    at_most: float


@dataclass(frozen=True, slots=True)
class Scenario:
    """Conditions that are equal for all tools, and what Nile is to reach under them."""

    title: str
    text: str
    delay_login_s: float
    targets: tuple[Target, ...]


@dataclass(frozen=True, slots=True)
class Stage:
    """Times of one stage of the tree, (median, last) in seconds since the run began."""

    number: int
    connect: tuple[float, float]
    ready: tuple[float, float]
    end: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Result:
    """All runs of one scenario, by tool."""

    scenario: Scenario
    window: int
    samples: Mapping[str, Sequence[Measured]]

    def values(self, tool: str, measure: str) -> list[float]:
        """What was measured in the runs of a tool that went well."""
        return [getattr(run, f"{measure}_s") for run in self.samples.get(tool, []) if not run.problem]

    def middle(self, tool: str, measure: str) -> float | None:
        """The median, or None where no run went well."""
        values = self.values(tool, measure)
        return median(values) if values else None

    def ratio(self, tool: str, measure: str, of: str = "nile") -> float | None:
        """The median of `of` over that of `tool`."""
        ours, theirs = self.middle(of, measure), self.middle(tool, measure)
        return ours / theirs if ours is not None and theirs else None

    def failures(self) -> Iterator[str]:
        """The runs that went wrong, one line each."""
        for tool, runs in self.samples.items():
            yield from (f"{tool}: {run.problem}" for run in runs if run.problem)
