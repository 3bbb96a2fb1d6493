"""`nile exec`: run a command on hosts."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from nile.cli.caution import begin, cautious_options, exec_values
from nile.cli.common import Seconds, SelectionOptions, select, selection_options
from nile.cli.completing import run_ids
from nile.cli.elevating import sudo_options, sudo_user
from nile.cli.outfitting import outfit, outfit_options, redacted, scratch_bytes
from nile.cli.passwording import password_options
from nile.cli.showing import check_showing, showing_options
from nile.errors import UsageError

if TYPE_CHECKING:
    from nile.cli.common import Selection
    from nile.options import ExecOptions, Leftover, Script

EXAMPLES = """\b
Examples:
  nile exec -w 'n[1-40]' -- uptime
  nile exec -r nile.yaml -a -b -- uname -r       equal output folded
  nile exec -g rack1 -f 1 -- systemctl restart foo    one host after another
  nile exec -a -u 30s --json -- 'df -h | tail -1'
  nile exec -a -f 10 --wait-back 10m -- reboot
  nile exec -a --cwd /srv/app --env MODE=fast --rlimit mem=2G -- ./check
  nile exec -g web --sudo -- systemctl restart nginx
  nile exec -a --script ./check.py -- --fast 'two words'
  nile exec -a --sandbox strict --script ./look.sh    it writes nothing but its scratch
  nile exec --per-host commands.yaml             as that file says for each host
  nile exec -g web --subst -- 'echo %h has rank %r'
  nile exec --retry-failed last                  once more, where it wasn't ok
  nile exec -a --canary 2 --batch 50 --max-failures 5% -- ./update    two first, then ask
"""


@click.command(
    "exec",
    epilog=EXAMPLES,
    context_settings={"allow_interspersed_args": False},
    short_help="Run a command on hosts.",
)
@selection_options
@password_options
@click.option(
    "-f", "--fanout", metavar="N", type=click.IntRange(min=1), help="Commands at one time, over all hosts."
)
@click.option(
    "-u", "--command-timeout", "timeout_s", metavar="S", type=Seconds(), help="For the command on a host."
)
@showing_options
@click.option("--stdin", is_flag=True, help="Broadcast standard input to all hosts. Default: /dev/null.")
@click.option(
    "--leftover",
    type=click.Choice(["keep", "kill", "fail"]),
    show_default="keep",
    help="Processes that a successful command leaves behind.",
)
@click.option(
    "--detach",
    is_flag=True,
    help="What a successful command leaves running was started to stay: it stays, and isn't named.",
)
@click.option(
    "--grace", "grace_s", metavar="S", type=Seconds(), default=5.0, help="From SIGTERM to SIGKILL (5s)."
)
@click.option(
    "--on-orphan",
    type=click.Choice(["adopt", "kill", "finish"]),
    help="A host that loses its parent waits for another (adopt, the default), ends its command (kill), or "
    "lets it run to its end (finish; the default with --disruptive).",
)
@click.option("--idempotent", is_flag=True, help="Start it again where nobody knows how far it got.")
@click.option(
    "--disruptive",
    is_flag=True,
    help="COMMAND may cut hosts off: start it bottom-up; a host that goes away after its start is ok.",
)
@click.option(
    "--wait-back",
    "wait_back_s",
    metavar="S",
    type=Seconds(),
    help="As --disruptive, and a host is ok once it is back, booted anew, within this time.",
)
@click.option(
    "--outdir",
    metavar="DIR",
    type=click.Path(),
    help="Besides, write what each host prints to files there: HOST.out, HOST.err.",
)
@click.option("--no-store", is_flag=True, help="Record nothing: no show, logs, attach or stop afterwards.")
@click.option(
    "--retry-failed",
    metavar="RUN",
    shell_complete=run_ids,
    help="Run that run's command again, on its hosts that weren't ok (lost ones with --idempotent alone).",
)
@outfit_options
@sudo_options
@click.option(
    "--script",
    metavar="FILE",
    help="Run this file on the hosts, in memory, in place of a command: by its #! line, else by sh. "
    "The words are its arguments. - is standard input.",
)
@click.option(
    "--per-host",
    metavar="FILE",
    help="A YAML file of host sets and their commands or scripts, in place of a command; without -w, -g and "
    "-a the hosts are those that it names.",
)
@cautious_options
@click.argument("words", metavar="COMMAND...", nargs=-1, type=click.UNPROCESSED)
def command(
    selection: SelectionOptions, words: tuple[str, ...], timeout_s: float | None, **given: Any
) -> int:
    """Run COMMAND on hosts, over a tree of agents.

    Several words are joined with spaces and read by each host's login shell, as ssh does. With
    --script they are the script's arguments, and no shell reads them.
    """
    from dataclasses import replace

    if (run_again := given.pop("retry_failed")) is not None:
        from nile.cli.retrying import retry

        return retry(run_again)
    chosen, what = _what(selection, words, given)
    if timeout_s is not None:
        timeouts = replace(chosen.plan.timeouts, command_s=timeout_s)
        chosen = replace(chosen, plan=replace(chosen.plan, timeouts=timeouts))
    given["argv"] = redacted(given.get("argv") or sys.argv, words)
    _check_words(chosen, what)
    code = begin(chosen, what, given, everything=selection.everything)
    return run(chosen, what, given) if code is None else code


def _what(
    selection: SelectionOptions, words: tuple[str, ...], given: dict[str, Any]
) -> tuple[Selection, ExecOptions]:
    """The hosts, and what they run; raises UsageError."""
    from dataclasses import replace

    from nile.options import ExecOptions

    for other, reads in (("--stdin", given["stdin"]), ("--script -", given["script"] == "-")):
        if reads and "-" in selection.hostfiles:
            remedy = "put the hosts into a file, or the input"
            raise UsageError(f"{other} and --hostfile - can't go together", remedy=remedy)
    if given["per_host"] is not None:
        from nile.cli.perhost import choose, refuse_others

        refuse_others(given, words)
        chosen, tasks = choose(selection, given["per_host"])
        for line in {task for task in tasks.values() if isinstance(task, str)}:
            _check_length(line, given)
        fields = ExecOptions.by_host(tasks)
        return chosen, replace(options(fields["command"], given, len(chosen.hosts)), **fields)
    given["script"] = script = _script(given, words)
    line = script.called if script else " ".join(words)
    if not line.strip():
        raise UsageError("no command given", remedy="write it behind --, as in: nile exec -a -- uptime")
    if script is None:
        _check_length(line, given)
    chosen = select(selection)
    return chosen, options(line, given, len(chosen.hosts))


def _script(given: dict[str, Any], words: tuple[str, ...]) -> Script | None:
    from nile.options import Script
    from nile.topology.scriptfile import STDIN, read_script

    if given["script"] is None or isinstance(given["script"], Script):  # of a run that is tried again
        return given["script"]
    if given["script"] == STDIN and given["stdin"]:
        remedy = "standard input can be one of the two: name a file"
        raise UsageError("--script - and --stdin can't go together", remedy=remedy)
    return read_script(given["script"], words)


def options(line: str, given: dict[str, Any], hosts: int = 0) -> ExecOptions:
    """What the options say of the command, for so many hosts; UsageError where they contradict each other."""
    from nile.options import ExecOptions, OnOrphan

    if given["stdin"] and sys.stdin is None:
        raise UsageError("there is no standard input", where="--stdin", remedy="it was closed: give it one")
    if given["stdin"] and given["fanout"]:
        remedy = "all hosts read it at one time; leave one of the two out"
        raise UsageError("--stdin and -f can't go together", remedy=remedy)
    if given["stdin"] and given["on_orphan"] not in (None, "adopt"):
        remedy = "a host that loses its parent misses a part of the input, so its command ends"
        raise UsageError("--stdin and --on-orphan can't go together", remedy=remedy)
    check_showing(given)
    wait_back_s = given["wait_back_s"]
    disruptive = _is_disruptive(given)
    if disruptive:
        _check_disruptive(given)
    # What cuts a host off is not to be killed for having done so.
    default = OnOrphan.FINISH if disruptive else OnOrphan.ADOPT
    return ExecOptions(
        command=line,
        outfit=outfit(given),
        fanout=given["fanout"],
        leftover=_leftover(given),
        stdin=given["stdin"],
        grace_s=given["grace_s"],
        on_orphan=OnOrphan(given["on_orphan"] or default),
        idempotent=given["idempotent"],
        disruptive=disruptive,
        wait_back_s=wait_back_s,
        scratch_bytes=scratch_bytes(given["scratch"]),
        **exec_values(given, hosts),
    )


def _check_length(line: str, given: dict[str, Any]) -> None:
    """Hosts get it as one word, with what the shell does before a command that may cut them off."""
    from nile.cascade.orders import FIRST
    from nile.options import LONGEST_LINE

    before = len(FIRST) if _is_disruptive(given) else 0
    if before + len(line.encode(errors="surrogateescape")) < LONGEST_LINE:
        return
    remedy = "send it as a script: nile exec --script FILE"
    raise UsageError("the command is longer than hosts can take (128 KiB)", remedy=remedy)


def _check_words(chosen: Selection, options: ExecOptions) -> None:
    from nile.topology.outfits import check_words

    check_words(options, chosen.plan, "--subst")


def _leftover(given: dict[str, Any]) -> Leftover:
    """What becomes of processes that stay; raises UsageError."""
    from nile.options import Leftover, Sandbox

    if given["sandbox"] and sudo_user(given):
        remedy = (
            "what is in a sandbox gains no rights, and sudo is there to give some: leave one of the two out"
        )
        raise UsageError("--sudo and --sandbox can't go together", remedy=remedy)
    said, detach = given["leftover"], given["detach"]
    if said and detach:
        remedy = "--detach keeps what the command started, and doesn't name it: leave one of the two out"
        raise UsageError("--detach and --leftover can't go together", remedy=remedy)
    if given["sandbox"] == Sandbox.PIDNS and (detach or said in ("keep", "fail")):
        which = "--detach" if detach else f"--leftover {said}"
        remedy = (
            "whatever a command starts in a PID namespace of its own ends with it: leave one of the two out"
        )
        raise UsageError(f"{which} and --sandbox pidns can't go together", remedy=remedy)
    return Leftover.DETACH if detach else Leftover(said or "keep")


def _is_disruptive(given: dict[str, Any]) -> bool:
    return bool(given["disruptive"] or given["wait_back_s"] is not None)


def _check_disruptive(given: dict[str, Any]) -> None:
    which = "--disruptive" if given["wait_back_s"] is None else "--wait-back"
    if given["stdin"]:
        remedy = "hosts start bottom-up, and read it all at one time; put a script there first, then run it"
        raise UsageError(f"--stdin and {which} can't go together", remedy=remedy)
    if given["idempotent"]:
        remedy = "a host that went away after its start is ok, and never starts again"
        raise UsageError(f"--idempotent and {which} can't go together", remedy=remedy)


def run(chosen: Selection, options: ExecOptions, given: dict[str, Any]) -> int:
    """Carry it out; the exit code."""
    from nile.cli.carrying_out import carry_out
    from nile.report import heading
    from nile.store import Handover

    relays = [node.host for node in chosen.plan.nodes if not node.asked]
    said = f"relays: {heading(relays)}, not asked for: they run no command\n" if relays else ""
    handover = Handover(chosen.plan, options, chosen.hosts).dump()
    return carry_out(chosen, options, given, said=said, handover=handover)
