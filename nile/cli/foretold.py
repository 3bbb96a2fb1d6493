"""What `nile simulate` tells people of the runs that it foresees."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nile.simulation.forecast import Death, Forecast, Question

MOST_SHOWN = 15
MOST_NAMES_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Run:
    """One seed: the run as it goes by itself, and when hosts die (None where none were to)."""

    calm: Forecast
    rough: Forecast | None

    @property
    def end(self) -> Forecast:
        """The one that was asked for."""
        return self.rough or self.calm

    @property
    def slowest_s(self) -> float:
        """When the last spared host was done."""
        slowest = self.end.slowest
        return (slowest.t_end_s or 0.0) if slowest else 0.0


def lines(question: Question, source: str, runs: Sequence[Run]) -> Iterator[str]:
    """All that is told of some runs; `source` is where the login time is from."""
    yield _what(question, source, runs)
    yield ""
    if len(runs) == 1:
        yield from _one(runs[0])
        return
    yield from _several(runs)
    worst = max(runs, key=lambda run: (_badly(run), run.slowest_s))
    yield ""
    yield f"The worst of them, seed {worst.calm.seed}:"
    yield ""
    yield from _one(worst)


def _what(question: Question, source: str, runs: Sequence[Run]) -> str:
    from nile.report.wording import duration, plural

    asked = sum(node.asked for node in question.plan.nodes)
    origin = {"option": "", "store": ", as recorded", "default": ", for want of recorded runs"}[source]
    parts = [
        f"a login takes {duration(question.login_s)} (median{origin}; ± {100 * question.spread:.0f} %)",
        f"the command {duration(question.command_s)}",
    ]
    parts += [f"{100 * question.loss:g} % of packets get lost"] * bool(question.loss)
    if question.cores:
        parts.append(
            f"all share {plural(question.cores, 'core')}, of which a login takes {question.cpu_s:g} s"
        )
    first, last = runs[0].calm.seed, runs[-1].calm.seed
    seeds = f"seed {first}" if first == last else f"seeds {first} to {last}"
    return f"simulated: {plural(asked, 'host')}; {', '.join(parts)}; {seeds}"


def _one(run: Run) -> Iterator[str]:
    from nile.report.table import table
    from nile.report.wording import duration, totals

    rows = [
        (str(each.stage), str(each.hosts), *map(duration, (each.first_s, each.half_s, each.last_s)))
        for each in run.calm.stages
    ]
    yield from table(STAGE_HEADINGS, rows, STAGE_HEADINGS)
    yield ""
    calm = run.calm
    ends = f"{'the run ends' if calm.ended else 'not over yet'} after {duration(calm.wall_s)}"
    counts = totals(calm.counts, len(calm.without_verdict))
    plain = calm.ended and set(calm.counts) <= {"ok"}
    yield f"predicted: {_up(calm)}, {ends}{'' if plain else f': {counts}'}"
    if run.rough is not None:
        yield ""
        yield from _rough(run.rough)
    elif calm.not_ok:
        yield from _not_ok(calm)


def _up(forecast: Forecast) -> str:
    from nile.report.wording import duration

    if not forecast.up:
        return "no host is up"
    some = "all" if forecast.up == forecast.nodes else f"{forecast.up} of {forecast.nodes}"
    return f"{some} up after {duration(forecast.up_s)}"


STAGE_HEADINGS = ("STAGE", "HOSTS", "FIRST UP", "HALF UP", "ALL UP")
DEATH_HEADINGS = ("DEAD", "AT", "BELOW IT", "NOTICED AFTER", "VERDICT", "BACK AFTER", "TAKEN OVER BY")


def _rough(forecast: Forecast) -> Iterator[str]:
    """The deaths, those with most hosts below them first, and what became of all others."""
    from nile.events import Verdict
    from nile.report.table import table
    from nile.report.wording import duration, plural, totals

    deaths = sorted(forecast.deaths, key=lambda death: (-death.below, death.at_s))
    shown = deaths[:MOST_SHOWN]
    yield f"{plural(len(deaths), 'host')} {'dies' if len(deaths) == 1 else 'die'}:"
    yield ""
    yield from table(DEATH_HEADINGS, [_death(death) for death in shown], DEATH_HEADINGS[1:4])
    if len(deaths) > len(shown):
        yield f"and {len(deaths) - len(shown)} more (--json has all)"
    yield ""
    end = "then" if forecast.ended else "not over yet"
    counts = totals(forecast.counts, len(forecast.without_verdict))
    yield f"{end}: {counts}, after {duration(forecast.wall_s)}"
    if forecast.counts.get(Verdict.LOST):
        yield "(the verdict of a lost host waits until lease and grace are over: it might have come back)"
    if (slowest := forecast.slowest) is not None and not forecast.not_over:
        path = " > ".join(slowest.path)
        yield f"slowest of those that were spared: {duration(slowest.t_end_s or 0.0)} ({path})"
    yield from _not_ok(forecast)


def _death(death: Death) -> tuple[str, ...]:
    from nile.report.wording import duration

    def after(seconds: float | None) -> str:
        return "-" if seconds is None else duration(seconds)

    heirs = [f"{name} ({count})" for name, count in death.taken_over.items()]
    more = [f"and {len(heirs) - MOST_NAMES_SHOWN} more"] if len(heirs) > MOST_NAMES_SHOWN else []
    return (
        death.host,
        duration(death.at_s),
        str(death.below),
        after(death.noticed_s),
        str(death.verdict or "relays only"),
        after(death.again_s),
        ", ".join(heirs[:MOST_NAMES_SHOWN] + more) or "-",
    )


def _not_ok(forecast: Forecast) -> Iterator[str]:
    """Spared hosts that fared badly, those of one cause on one line."""
    from nile.report import heading
    from nile.report.wording import plural, reason

    if forecast.not_over:
        yield f"{plural(len(forecast.not_over), 'host')} without a verdict although spared"
    elif not forecast.not_ok:
        yield "all that were spared are ok"
    if not forecast.not_ok:
        return
    yield f"{plural(len(forecast.not_ok), 'host')} not ok although spared:"
    causes: dict[str, list[str]] = {}
    for each in forecast.not_ok:
        causes.setdefault(f"{each.verdict}: {reason(each)}", []).append(each.host)
    for cause, hosts in list(causes.items())[:MOST_SHOWN]:
        yield f"  {heading(hosts)}: {cause}"
    if len(causes) > MOST_SHOWN:
        yield f"  and {len(causes) - MOST_SHOWN} causes more (--json has all)"


def _several(runs: Sequence[Run]) -> Iterator[str]:
    from nile.report.table import table
    from nile.report.wording import duration

    headings = (f"{len(runs)} RUNS", "MEDIAN", "WORST", "SEED")
    rows = [_spread("all up", runs, [run.calm.up_s for run in runs])]
    rows.append(_spread("the run ends", runs, [run.calm.wall_s for run in runs]))
    if any(run.rough for run in runs):
        rows.append(_spread("when hosts die, the run ends", runs, [run.end.wall_s for run in runs]))
        rows.append(_spread("the slowest spared host is done", runs, [run.slowest_s for run in runs]))
    yield from table(headings, rows, headings[1:])
    for title, times in (
        ("a death is noticed", [death.noticed_s for run in runs for death in run.end.deaths]),
        ("the branch is back", [death.again_s for run in runs for death in run.end.deaths]),
    ):
        if known := [seconds for seconds in times if seconds is not None]:
            yield f"{title} after {duration(statistics.median(known))}, at worst {duration(max(known))}"
    if late := sum(not run.end.ended for run in runs):
        yield f"not over in the time that was simulated: {late} of {len(runs)} runs"
    most = max(map(_badly, runs))
    yield f"spared hosts that aren't ok: {(most and f'at worst {most} of a run') or 'none'}"


def _badly(run: Run) -> int:
    """Spared hosts that aren't ok, or not yet."""
    return len(run.end.not_ok) + len(run.end.not_over)


def _spread(title: str, runs: Sequence[Run], times: Sequence[float]) -> tuple[str, str, str, str]:
    from nile.report.wording import duration

    worst = max(range(len(times)), key=lambda index: times[index])
    return title, duration(statistics.median(times)), duration(times[worst]), str(runs[worst].calm.seed)
