"""`nile simulate`: what a run is going to take, and what happens when hosts die in the midst of it."""

from __future__ import annotations

import dataclasses
import json
import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from nile.cli.common import Seconds, Selection, SelectionOptions, select, selection_options
from nile.errors import UsageError

if TYPE_CHECKING:
    from nile.simulation.forecast import Death, Dying, Forecast, Question

    _PercentType = click.ParamType[float]
else:
    _PercentType = click.ParamType  # which older clicks don't let one subscribe

SCHEMA = 1
"""Of the JSON output; a change that can break a reader raises it."""
FEWEST_TIMES = 10
"""Of fewer recorded logins, nobody can say how they spread."""
QUARTILES = 1.349
"""So many standard deviations are between the quartiles of a normal distribution."""
MOST_SHOWN = 15
MOST_NAMES_SHOWN = 5

EXAMPLES = """\b
Examples:
  nile simulate nile.yaml                        how long a run over all its hosts takes
  nile simulate nile.yaml --kill 3               and what happens if any three of them die
  nile simulate nile.yaml --kill 'gw[1-2]' --t-command 60    if these two do
  nile simulate -w 'n[1-5000]' --t-ssh 0.3 --loss 1% --runs 20
"""


class Percent(_PercentType):
    """A part of a hundred: `1%` or `1`, at most `most`; it becomes a fraction."""

    name = "percent"

    def __init__(self, most: float) -> None:
        self._most = most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The fraction."""
        if isinstance(value, float):
            return value
        try:
            number = float(str(value).removesuffix("%"))
        except ValueError:
            number = -1.0
        if not 0.0 <= number <= self._most:
            self.fail(f"'{value}' is not a percentage from 0 to {self._most:g}", param, ctx)
        return number / 100


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


@click.command(epilog=EXAMPLES, short_help="Predict a run, and what happens when hosts die.")
@click.argument("file", metavar="[ROUTEFILE]", required=False)
@selection_options
@click.option(
    "--t-ssh",
    "t_ssh_s",
    metavar="S",
    type=Seconds(),
    help="One login until its agent answers (median). Default: that of recorded runs, else 0.2.",
)
@click.option(
    "--t-command", "t_command_s", metavar="S", type=Seconds(), default=1.0, help="The command. Default: 1."
)
@click.option(
    "--spread",
    metavar="P%",
    type=Percent(100),
    help="By how much logins differ (most by no more). Default: as in recorded runs, else 15.",
)
@click.option("--loss", metavar="P%", type=Percent(50), default=0.0, help="Packets that get lost.")
@click.option(
    "--kill", metavar="N|N%|HOSTS", help="So many hosts, or these, lose their power at random moments."
)
@click.option("--seed", metavar="N", type=int, default=1, show_default=True, help="What chance decides.")
@click.option(
    "--runs",
    metavar="K",
    type=click.IntRange(1),
    default=1,
    help="So many runs, of this seed and the next ones: median and worst.",
)
@click.option(
    "--cores", metavar="N", type=click.IntRange(1), help="All hosts share one machine, as a lab's do."
)
@click.option("--cpu", "cpu_s", metavar="S", type=Seconds(), help="With --cores: what a login takes of one.")
@click.option("--json", "as_json", is_flag=True, help="For programs: one JSON object.")
def command(
    file: str | None, selection: SelectionOptions, seed: int, runs: int, as_json: bool, **given: Any
) -> int:
    """Simulate a run: predict its time, and what happens when hosts die in the midst of it.

    ROUTEFILE is the same as -r. Without -w, -g or -a all of its hosts are meant: nothing is
    logged in to. Hosts, logins and the network are simulated; what decides is Nile itself.
    """
    from nile.cli.recorded import screen

    chosen = select(_selection(file, selection))
    dying = _dying(given["kill"], chosen)
    question, source = _question(chosen, given)
    out = screen()
    out.err.write(f"{chosen.routes.describe()}\n")
    out.flush()
    done = [_simulate(question, dying, each) for each in range(seed, seed + runs)]
    if as_json:
        out.out.write(json.dumps(as_dict(chosen, question, source, done)) + "\n")
    else:
        for line in _lines(question, source, done):
            out.out.write(f"{line}\n")
    out.flush()
    return 0


def _selection(file: str | None, options: SelectionOptions) -> SelectionOptions:
    """The file may stand without -r; nothing is logged in to, so all hosts are meant where none are named."""
    if file is not None and options.routes is not None:
        raise UsageError("two files are named", remedy="give ROUTEFILE or -r, not both")
    named = options.everything or options.groups or options.hosts
    return dataclasses.replace(
        options, routes=file or options.routes, everything=options.everything or not named
    )


def _dying(text: str | None, chosen: Selection) -> Dying | None:
    """Who is to die: a number, a percentage of all nodes of the plan, or a host set."""
    from nile.simulation.forecast import Dying
    from nile.topology.refusal import Refusal

    if text is None:
        return None
    nodes = [node.host for node in chosen.plan.nodes]
    where = f"--kill {text}"
    number = text.removesuffix("%")
    if number.isascii() and number.isdigit():
        count = int(number) if number == text else round(int(number) * len(nodes) / 100)
        if count > len(nodes):
            raise UsageError(f"the plan has {len(nodes)} hosts", where=where, remedy="kill fewer")
        return Dying(count) if count else None
    try:
        hosts = chosen.routes.host_sets(relays_too=True).expand(text)
    except Refusal as refusal:
        raise refusal.usage_error(where) from refusal
    if unknown := [host for host in hosts if host not in nodes]:
        remedy = "`nile plan` shows who is"
        raise UsageError(f"{unknown[0]} is not in the plan", where=where, remedy=remedy)
    return Dying(hosts=hosts)


def _question(chosen: Selection, given: dict[str, Any]) -> tuple[Question, str]:
    """What to simulate, and where its login time is from: `option`, `store` or `default`."""
    from nile.simulation.forecast import SPREAD, Question
    from nile.topology.predict import T_NILE_S, T_SSH_S

    if (given["cores"] is None) != (given["cpu_s"] is None):
        raise UsageError("--cores and --cpu go together", remedy="give both, or none")
    login_s, spread, source = given["t_ssh_s"], SPREAD, "option"
    if login_s is None:
        times = _recorded_logins(chosen.hosts)
        source = "store" if times else "default"
        login_s = statistics.median(times) if times else T_SSH_S + T_NILE_S
        spread = _spread_of(times) if len(times) >= FEWEST_TIMES else SPREAD
    if given["spread"] is not None:
        spread = given["spread"]
    question = Question(
        chosen.plan,
        login_s,
        spread,
        given["t_command_s"],
        given["loss"],
        given["cores"],
        given["cpu_s"] or 0.0,
    )
    return question, source


def _recorded_logins(hosts: Sequence[str]) -> list[float]:
    """What logins to these hosts took, as far as recorded, in seconds."""
    from nile.cli.recorded import store_path
    from nile.store import Store

    if not store_path().exists():
        return []
    with Store(store_path()) as store:
        return [seconds for seconds in store.logins(hosts) if seconds > 0]


def _spread_of(times: Sequence[float]) -> float:
    """The standard deviation of their logarithm, by the middle half of them: stragglers don't count."""
    low, _, high = statistics.quantiles(map(math.log, times), n=4)
    return (high - low) / QUARTILES


def _simulate(question: Question, dying: Dying | None, seed: int) -> Run:
    from nile.simulation.forecast import undisturbed, with_deaths

    calm = undisturbed(question, seed)
    return Run(calm, None if dying is None else with_deaths(question, dying, seed, calm.wall_s))


# For programs.


def as_dict(chosen: Selection, question: Question, source: str, runs: Sequence[Run]) -> dict[str, Any]:
    """The contract of `nile simulate --json`; times are seconds, those of a run from its beginning."""
    return {
        "schema": SCHEMA,
        "routes": chosen.plan.source,
        "tree": str(chosen.routes.tree),
        "hosts": len(chosen.hosts),
        "t_ssh_s": question.login_s,
        "t_ssh_from": source,
        "spread": question.spread,
        "t_command_s": question.command_s,
        "loss": question.loss,
        "cores": question.cores,
        "cpu_s": question.cpu_s if question.cores else None,
        "runs": [
            {
                "seed": run.calm.seed,
                "undisturbed": _forecast(run.calm),
                "with_deaths": run.rough and _forecast(run.rough),
            }
            for run in runs
        ],
    }


def _forecast(forecast: Forecast) -> dict[str, Any]:
    from nile.events import Verdict

    slowest = forecast.slowest
    return {
        "ended": forecast.ended,
        "wall_s": forecast.wall_s,
        "up_s": forecast.up_s,
        "stages": [dataclasses.asdict(stage) for stage in forecast.stages],
        **{str(verdict): forecast.counts.get(verdict, 0) for verdict in Verdict},
        "deaths": [dataclasses.asdict(death) for death in forecast.deaths],
        "slowest": slowest and {"host": slowest.host, "path": slowest.path, "t_end_s": slowest.t_end_s},
        "not_ok": [
            {"host": each.host, "verdict": each.verdict, "reason": each.reason} for each in forecast.not_ok
        ],
    }


# For people.


def _lines(question: Question, source: str, runs: Sequence[Run]) -> Iterator[str]:
    yield _what(question, source, runs)
    yield ""
    if len(runs) == 1:
        yield from _one(runs[0])
        return
    yield from _several(runs)
    worst = max(runs, key=lambda run: (len(run.end.not_ok), run.slowest_s))
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
    seeds = f"seed {runs[0].calm.seed}" + (f" to {runs[-1].calm.seed}" if len(runs) > 1 else "")
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
    ends = "" if set(calm.counts) <= {"ok"} else f": {totals(calm.counts)}"
    yield f"predicted: all up after {duration(calm.up_s)}, the run ends after {duration(calm.wall_s)}{ends}"
    if run.rough is not None:
        yield ""
        yield from _rough(run.rough)
    elif calm.not_ok:
        yield from _not_ok(calm)


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
    yield f"{end}: {totals(forecast.counts)}, after {duration(forecast.wall_s)}"
    if forecast.counts.get(Verdict.LOST):
        yield "(the verdict of a lost host waits until lease and grace are over: it might have come back)"
    if (slowest := forecast.slowest) is not None:
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

    if not forecast.not_ok:
        yield "all that were spared are ok"
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
    most = max(len(run.end.not_ok) for run in runs)
    yield f"spared hosts that aren't ok: {(most and f'at worst {most} of a run') or 'none'}"


def _spread(title: str, runs: Sequence[Run], times: Sequence[float]) -> tuple[str, str, str, str]:
    from nile.report.wording import duration

    worst = max(range(len(times)), key=lambda index: times[index])
    return title, duration(statistics.median(times)), duration(times[worst]), str(runs[worst].calm.seed)
