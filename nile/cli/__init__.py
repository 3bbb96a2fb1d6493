"""The command line: one file a command, found by name and loaded only when used.

`nile --help` must stay quick, so this file imports click and nothing else of
weight; what the commands are and say of themselves in one line stands in
`COMMANDS`. A command's file defines `command`, a click command. It ends by
returning its exit code (an int; None means 0), or by raising a `NileError`.
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
import sys
from collections.abc import Sequence
from typing import NamedTuple, NoReturn

import click

from nile import __version__

YOUNG_OBJECTS = 20_000
"""New objects between two collections of garbage; with Python's 700, importing alone makes hundreds."""


class Entry(NamedTuple):
    """Where a command's code is, and what the list of commands says of it."""

    module: str
    summary: str


COMMANDS = {
    "exec": Entry("nile.cli.exec_cmd", "Run a command on hosts, over a tree of agents."),
    "sync": Entry("nile.cli.sync", "Copy files and directories to hosts, what differs of them."),
    "swarm": Entry("nile.cli.swarm", "Copy with a BitTorrent swarm, which is launched and ended."),
    "verify": Entry("nile.cli.verify", "Say how what hosts have differs from a source."),
    "releases": Entry("nile.cli.releases", "Say which releases hosts have; end a flip, remove old ones."),
    "rollback": Entry("nile.cli.rollback", "Make the release before current again, on all hosts together."),
    "gather": Entry("nile.cli.gather", "Bring files back from hosts, into a directory for each."),
    "attach": Entry("nile.cli.attach", "Go on with a run whose root died."),
    "ctl": Entry("nile.cli.ctl", "See where a run under way stands, or slow it down, from another terminal."),
    "stop": Entry("nile.cli.stop", "End a run under way, from another terminal."),
    "plan": Entry("nile.cli.plan", "Show the tree that a run would take, and its predicted time."),
    "simulate": Entry("nile.cli.simulate", "Predict a run's time, and what happens when hosts die."),
    "hosts": Entry("nile.cli.hosts", "List the hosts and groups of a route file."),
    "check": Entry("nile.cli.check", "Validate a route file."),
    "doctor": Entry("nile.cli.doctor", "Try what Nile needs of hosts, and say what to do about it."),
    "hostkeys": Entry("nile.cli.hostkeys", "Collect host keys, behind gateways too, and write known_hosts."),
    "runs": Entry("nile.cli.runs", "List the runs in the store."),
    "show": Entry("nile.cli.show", "Show one run: its hosts, verdicts, paths and times."),
    "logs": Entry("nile.cli.logs", "Print what the hosts of a run wrote."),
    "prune": Entry("nile.cli.prune", "Remove old runs from the store."),
    "completion": Entry("nile.cli.completion", "Have a shell complete Nile's command lines."),
    "man": Entry("nile.cli.man", "Print the manual page."),
    "lab": Entry("nile.cli.lab", "Make, use and remove a cluster on this machine."),
}

EXAMPLES = """\b
Examples:
  nile exec -w 'n[1-40]' -- uptime         run a command on 40 hosts
  nile exec -r nile.yaml -g rack1 -b -- uname -r
                                           a group of a route file, equal output folded
  nile plan -r nile.yaml -a                show the tree for all its hosts
  nile exec -r nile.yaml -a --json -- id   JSON Lines, for programs
  nile logs --failed RUN                   read again what failed hosts wrote
  nile lab up                              a cluster on this machine, to try all this
"""


class CommandGroup(click.Group):
    """The commands of `COMMANDS`, each imported when it is called and not before."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the commands, in the order of `COMMANDS`."""
        return [name for name, entry in COMMANDS.items() if importlib.util.find_spec(entry.module)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; None where there is none of that name."""
        if cmd_name not in self.list_commands(ctx):
            return None
        command = importlib.import_module(COMMANDS[cmd_name].module).command
        assert isinstance(command, click.Command), f"{COMMANDS[cmd_name].module}.command is no click command"
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing any of them."""
        if rows := [(name, COMMANDS[name].summary) for name in self.list_commands(ctx)]:
            with formatter.section("Commands"):
                formatter.write_dl(rows)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or fail with the nearest name."""
        if args and not args[0].startswith("-") and args[0] not in self.list_commands(ctx):
            ctx.fail(f"there is no command {args[0]!r}{_nearest(args[0], self.list_commands(ctx))}")
        return super().resolve_command(ctx, args)


def _nearest(word: str, names: Sequence[str]) -> str:
    """'; did you mean ...?', or nothing. Loads difflib only for someone who mistyped."""
    from difflib import get_close_matches

    found = get_close_matches(word, names, n=1)
    return f"; did you mean {found[0]!r}?" if found else ""


@click.group(
    cls=CommandGroup,
    epilog=EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="nile", message="%(prog)s %(version)s")
def commands() -> None:
    """Run commands on many Linux hosts over a self-replicating tree of SSH logins.

    The root logs in to a few hosts and plants an agent in their memory; each agent logs in to
    the next ones. Nothing is installed on a host, and nothing is left on it.

    Exit codes: 0 all hosts ok, 1 a command failed, 2 usage, 4 a host unreachable, lost or timed
    out, 70 a bug in Nile, 130 interrupted.
    """


def main(args: Sequence[str] | None = None) -> NoReturn:
    """The entry point: run a command line (by default sys.argv's) and exit with its code."""
    from nile.cli import ending

    gc.set_threshold(YOUNG_OBJECTS)
    code = ending.run(commands, list(sys.argv[1:] if args is None else args))
    gc.freeze()  # what modules consist of lies in cycles: leave it to the kernel
    sys.exit(code)
