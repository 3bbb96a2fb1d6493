"""`nile simulate`: what a run is going to take, and what happens when hosts die in the midst of it."""

from __future__ import annotations

import dataclasses
import json
import math
import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from nile.cli.common import Seconds, Selection, SelectionOptions, select, selection_options
from nile.cli.foretold import Run, lines
from nile.errors import UsageError

if TYPE_CHECKING:
    from nile.simulation.forecast import Dying, Forecast, Question

    _PercentType = click.ParamType[float]
else:
    _PercentType = click.ParamType  # which older clicks don't let one subscribe

SCHEMA = 1
"""Of the JSON output; a change that can break a reader raises it."""
FEWEST_TIMES = 10
"""Of fewer recorded logins, nobody can say how they spread."""
QUARTILES = 1.349
"""So many standard deviations are between the quartiles of a normal distribution."""

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
        for line in lines(question, source, done):
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
    from nile.store import Store, store_path

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
        "up": forecast.up,
        "stages": [dataclasses.asdict(stage) for stage in forecast.stages],
        **{str(verdict): forecast.counts.get(verdict, 0) for verdict in Verdict},
        "without_verdict": len(forecast.without_verdict),
        "deaths": [dataclasses.asdict(death) for death in forecast.deaths],
        "slowest": slowest and {"host": slowest.host, "path": slowest.path, "t_end_s": slowest.t_end_s},
        "not_ok": [
            {"host": each.host, "verdict": each.verdict, "reason": each.reason} for each in forecast.not_ok
        ],
    }
