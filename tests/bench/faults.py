"""What becomes of a run that is interrupted, or that a relay is lost to: each tool meets each fault once.

The command appends a line to a file of its host (so that running twice shows),
starts a daemonised child (where the run is to end by the fault: what a command
that succeeds leaves behind may stay), sleeps, and says that it is done. It and
all its descendants bear a mark in their environment, by which they are found in
/proc of the machine that all hosts share.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

from ClusterShell.NodeSet import NodeSet

from nile.lab import Lab, procs
from tests.bench.site import Site
from tests.bench.tools import CLUSH_TREE, NILE, PDSH, TAKTUK, Tool
from tests.cluster.faults import Witness
from tests.cluster.hosts import Seen, processes, ssh_clients

LEASE_S, GRACE_S, SILENCE_S, CONNECT_S = 6.0, 2.0, 2.8, 5.0
AFTER_S = SILENCE_S + LEASE_S + GRACE_S + 2.0
"""Survivors are counted so long after the fault, where the run is to end by it."""
GOODBYE_S = 2.0
"""And so long after the tool's own end, where it is to go on."""
LONG_S, SHORT_S = 60, 12
"""How long the command sleeps: where the run is to end by the fault, and where it is to go on."""
LIMIT_S = 5
MOST_S = 45.0
"""A tool that hasn't ended so long after the fault is taken to hang."""
BEGIN_S = 40.0
WINDOW, DELAY_LOGIN_S = 64, 0.5
SSH_OPTIONS = {"ServerAliveInterval": "1", "ServerAliveCountMax": "3", "ConnectTimeout": "5"}
TIMEOUTS = {"lease": f"{LEASE_S:g}s", "silence": f"{SILENCE_S:g}s", "connect": f"{CONNECT_S:g}s"}
MARK = "BENCH_MARK"
DAEMON = "setsid sleep 600 < /dev/null > /dev/null 2>&1 &"
SCRIPT = """echo began >> /run/lab/ran
{daemon}
sleep "$1"
echo done
"""

Verdicts = Callable[[str], set[str]]


@dataclass(frozen=True, slots=True)
class Contender:
    """A tool with the options that serve it best here, and what its output says of hosts."""

    tool: Tool
    options: tuple[str, ...]
    before: str
    """The word of its command before which they go in."""
    verdicts: Verdicts
    """Hosts that the output gives a verdict: done, an exit status, or an error that names them."""
    counts: str
    """What counts as that, in words."""
    given: str
    """Its options, in words."""
    relays: bool = True
    window: int = 64
    """Logins (for flat tools: hosts) at a time."""


def said_by_nile(output: str) -> set[str]:
    """Hosts that have a `result` line."""
    events = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    return {str(event["host"]) for event in events if event["event"] == "result"}


_HOSTS = re.compile(r"\bh(?:\d{3}\b|\[[\d,-]+\])")


def named(output: str, but: str) -> set[str]:
    """Hosts that are named, alone or folded, in a line without the pattern `but`."""
    lines = (line for line in output.splitlines() if not re.search(but, line))
    return {str(host) for line in lines for token in _HOSTS.findall(line) for host in NodeSet(token)}


def said_by_pdsh(output: str) -> set[str]:
    """Hosts named in any line but those about what goes on."""
    return named(output, r"in progress|sending|connecting|canceled")


def said_by_clush(output: str) -> set[str]:
    """Hosts named in any line but those about what goes on."""
    return named(output, r"in progress|Keyboard|nterrupt")


def said_by_taktuk(output: str) -> set[str]:
    """Hosts with output, an exit status, or a message about their connection."""
    return named(output, r"$^")


TAKTUK_SAYS = (
    ("status", '"$host: status $line\\n"'),
    ("connector", '"$peer: $line\\n"'),
    # A lost connection (5) tells which hosts had been handed on over it, a failed one (3) only its own.
    ("state", '($line == 3 || $line == 5) ? "$peer $peers_given: ".event_msg($line)."\\n" : ""'),
)

CONTENDERS = (
    Contender(
        NILE,
        ("--json", "--grace", f"{GRACE_S:g}s"),
        "-r",
        said_by_nile,
        "its `result` line",
        f"`--json --grace {GRACE_S:g}s`; lease {LEASE_S:g} s in the route file",
    ),
    Contender(
        PDSH,
        ("-S",),
        "-R",
        said_by_pdsh,
        "`done`, or a line about its time-out, exit or ssh",
        "`-S -f 64`",
        relays=False,
    ),
    Contender(
        CLUSH_TREE,
        (),  # with -S it would tell of exit codes only when it is told to be less quiet
        "-q",
        said_by_clush,
        "`done`, or a line about its time-out, exit or an error",
        "`-f 64`, a topology with as many gateways as the square root of the hosts",
    ),
    Contender(
        TAKTUK,
        tuple(word for stream, template in TAKTUK_SAYS for word in ("-o", f"{stream}={template}")),
        "-f",
        said_by_taktuk,
        "`done`, its status, a line of its connector, or the loss of a connection that it hung on",
        "its default window of 10; the streams status, connector and state (lost and failed connections)",
        window=10,
    ),
)


class Run:
    """One run of a tool, while it is under way."""

    def __init__(self, where: Site, process: subprocess.Popen[bytes], witness: Witness, mark: str) -> None:
        self.lab: Lab = where.lab
        self.process = process
        self._witness = witness
        self._mark = mark
        self.struck: set[str] = set()
        """Hosts that nothing can be asked of any more."""

    def begun(self) -> set[str]:
        """Hosts on which the command began."""
        return {host for host in self.lab.names if self._witness.ran(host)}

    def ran(self) -> dict[str, int]:
        """How often it began, by host."""
        return {host: self._witness.ran(host) for host in self.lab.names}

    def alive(self) -> int:
        """Processes of the run on all hosts."""
        return sum(procs.environment(seen.pid).get(MARK) == self._mark for seen in processes(self.lab))

    def relay(self) -> tuple[str, int] | None:
        """A host that has logged in to others, or begins to, and the process there that does it."""
        clients = ssh_clients(self.lab)
        if not clients:
            return None
        host = min(client.host for client in clients)
        return host, _above(next(client for client in clients if client.host == host))


def _above(client: Seen) -> int:
    """Who runs a client, shells between them left out."""
    process = procs.read(client.pid)
    while process is not None and (parent := procs.read(process.ppid)) is not None:
        if parent.name not in ("sh", "bash", "dash", "ssh"):
            return parent.pid
        process = parent
    raise RuntimeError("the client is gone")


# What befalls it.


def interrupt(run: Run) -> None:
    """Ctrl-C in a terminal, which tells the whole process group; and again, for who wants to be sure."""
    for _ in range(2):
        with suppress(ProcessLookupError):
            os.killpg(run.process.pid, signal.SIGINT)
        time.sleep(0.5)


def terminate(run: Run) -> None:
    run.process.terminate()


def kill(run: Run) -> None:
    run.process.kill()


def nothing(run: Run) -> None:
    """The tool's own limit does it."""


def kill_relay(run: Run) -> None:
    relay = run.relay()
    assert relay is not None
    os.kill(relay[1], signal.SIGKILL)


def crash_relay(run: Run) -> None:
    host = _victim(run)
    run.struck.add(host)
    run.lab.crash(host)


def cut_relay(run: Run) -> None:
    host = _victim(run)
    run.struck.add(host)
    run.lab.cut(host)


def _victim(run: Run) -> str:
    relay = run.relay()
    return relay[0] if relay is not None else run.lab.names[0]


@dataclass(frozen=True, slots=True)
class Fault:
    """`ends`: the run is to end by it. `early`: it comes as soon as a relay logs in to others."""

    title: str
    strike: Callable[[Run], None]
    ends: bool
    early: bool = False
    relays: bool = False
    """Only tools that have relays can meet it."""
    limit_s: int | None = None


FAULTS = (
    Fault("Ctrl-C, twice", interrupt, ends=True),
    Fault("SIGTERM to the tool", terminate, ends=True),
    Fault("`kill -9` of the tool", kill, ends=True),
    Fault(f"command time-out, {LIMIT_S} s", nothing, ends=True, limit_s=LIMIT_S),
    Fault("`kill -9` of a relay's process while it logs in", kill_relay, ends=False, early=True, relays=True),
    Fault("`kill -9` of a relay's process once all run", kill_relay, ends=False, relays=True),
    Fault("crash of a relay's host while it logs in", crash_relay, ends=False, early=True),
    Fault("cut of a relay's cable once all run", cut_relay, ends=False),
)


@dataclass(frozen=True, slots=True)
class Aftermath:
    """What was left of one run; `ended_s` is None for a tool that hung."""

    tool: str
    fault: str
    ends: bool
    alive: int
    unjudged: int
    twice: int
    never: int
    """Hosts that were there all the time, and on which it never began."""
    ended_s: float | None


def meet(where: Site, contender: Contender, fault: Fault, after_s: float = AFTER_S) -> Aftermath:
    """Have one tool meet one fault, and look at what is left."""
    with _running(where, contender, fault) as (run, output):
        _wait_for(run, fault, contender)
        struck_at = time.monotonic()
        fault.strike(run)
        ended_s = _await_end(run, struck_at, MOST_S)
        if fault.ends:
            _sleep_until(struck_at + (fault.limit_s or 0) + after_s)
        else:
            time.sleep(GOODBYE_S)
        alive, ran = run.alive(), run.ran()
        there = {host: times for host, times in ran.items() if host not in run.struck}
        judged = contender.verdicts(output()) & set(run.lab.names)
        return Aftermath(
            contender.tool.name,
            fault.title,
            fault.ends,
            alive,
            len(run.lab.names) - len(judged),
            sum(times > 1 for times in ran.values()),
            sum(times == 0 for times in there.values()),
            ended_s,
        )


@contextmanager
def _running(where: Site, contender: Contender, fault: Fault) -> Iterator[tuple[Run, Callable[[], str]]]:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # who runs this in the background has it ignored
    mark = secrets.token_hex(8)
    script = where.case.directory / "work.sh"
    script.write_text(SCRIPT.format(daemon=DAEMON if fault.ends else ""))
    command = f"env {MARK}={mark} sh {script} {LONG_S if fault.ends else SHORT_S}"
    case = replace(where.case, command=command, limit_s=fault.limit_s, window=contender.window)
    argv = contender.tool.command(case)
    at = argv.index(contender.before)
    argv[at:at] = contender.options
    with Witness(where.lab) as witness, tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            where.lab.root_argv(argv, case.directory), env=where.environment(contender.tool),
            stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip

        def output() -> str:
            said.seek(0)
            return said.read().decode(errors="replace")

        try:
            yield Run(where, process, witness, mark), output
        finally:
            _clear(where.lab, process)


def _wait_for(run: Run, fault: Fault, contender: Contender) -> None:
    """Until the fault is due: a relay logs in to others, or all hosts run the command."""
    deadline = time.monotonic() + BEGIN_S
    while time.monotonic() < deadline:
        begun = run.begun()
        due = (
            (run.relay() if contender.relays else begun) if fault.early else len(begun) == len(run.lab.names)
        )
        if due and (fault.ends or not contender.relays or run.relay() is not None):
            return
        if run.process.poll() is not None:
            break
        time.sleep(0.05)
    raise RuntimeError(f"{contender.tool.name} did not get so far that there could be: {fault.title}")


def _await_end(run: Run, since: float, most_s: float) -> float | None:
    try:
        run.process.wait(max(0.0, since + most_s - time.monotonic()))
    except subprocess.TimeoutExpired:
        return None
    return time.monotonic() - since


def _sleep_until(at: float) -> None:
    time.sleep(max(0.0, at - time.monotonic()))


def _clear(lab: Lab, process: subprocess.Popen[bytes]) -> None:
    """End all that is left, at the root and on the hosts, and have all hosts back."""
    for pid in procs.table():
        with suppress(ProcessLookupError):
            if os.getsid(pid) == process.pid:
                os.kill(pid, signal.SIGKILL)
    process.wait()
    lab.heal()
    deadline = time.monotonic() + BEGIN_S
    while left := processes(lab):
        if time.monotonic() > deadline:
            raise RuntimeError(f"{len(left)} processes stay on the hosts, {left[0].name} on {left[0].host}")
        for seen in left:
            with suppress(ProcessLookupError):
                os.kill(seen.pid, signal.SIGKILL)
        time.sleep(0.2)


def compare(where: Site, contenders: Sequence[Contender], faults: Sequence[Fault]) -> list[Aftermath]:
    """Every tool meets every fault that it can meet."""
    found = []
    for fault in faults:
        for contender in contenders:
            if contender.relays or not fault.relays:
                found.append(meet(where, contender, fault))
                print(found[-1], file=sys.stderr)
    return found
