"""A run in the tree that is paused, slowed down and looked at from another terminal."""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest

from nile.lab import Lab
from tests.cluster.hosts import commands, names_of, root_of
from tests.cluster.running import Nile
from tests.cluster.terminal import Terminal, on_terminal
from tests.lab.helpers import eventually

pytestmark = pytest.mark.cluster

# h001 alone can log in to the others: one after another, and to h002, which is frozen, first.
TREE = {"h001": "h[002-008]"}
BELOW = {"below": {"hosts": "h[002-008]", "via": "h001"}}
WAITS = ("-w", "h[001-008]", "-t", "60", "--parallel", "1", "--grace", "1s")
OTHERS = [f"h{number:03}" for number in range(3, 9)]
AT_THE_FROZEN_ONE = {"h001": "command", "h002": "login", **dict.fromkeys(OTHERS, "queue")}
SOON_S = 60.0
"""Each look is a command of its own, and other tests may run."""
COMMAND = "echo begun; while [ ! -e ~/stop ]; do sleep 0.05; done; echo over"


def status(nile: Nile) -> dict[str, Any]:
    done = nile.command("ctl", "last", "status", "--json")
    return json.loads(done.out) if done.code == 0 else {}


def waits(nile: Nile) -> dict[str, str]:
    """What each host waits for that has no verdict."""
    return {host["host"]: host["waits"] for host in status(nile).get("open", ())}


@pytest.fixture
def stop(fleet: Lab) -> Any:
    files = [root_of(fleet, f"h{number:03}") / "root/stop" for number in range(1, 9)]

    def touch() -> None:
        for file in files:
            file.touch()

    yield touch
    for file in files:
        file.unlink(missing_ok=True)


def test_a_pause_reaches_every_node(nile: Nile, fleet: Lab, stop: Any) -> None:
    """Whom a relay hasn't begun with is kept back until it is over, also below the next root."""
    drawn = nile.with_routes("paused", tree=TREE, groups=BELOW, timeouts={"lease": "60s"})
    fleet.freeze("h002")
    with drawn.started(*WAITS, "--", COMMAND) as run:
        eventually(lambda: waits(drawn) == AT_THE_FROZEN_ONE, "the relay is at the frozen one", SOON_S)
        paused = drawn.command("ctl", "last", "pause")
        assert (paused.code, paused.err) == (0, "")
        fleet.thaw("h002")
        kept_back = {"h001": "command", "h002": "command", **dict.fromkeys(OTHERS, "pause")}
        eventually(lambda: waits(drawn) == kept_back, "what had begun is finished", SOON_S)
        run.signal(signal.SIGKILL)
        run.process.wait()
    assert names_of(commands(fleet)) == {"h001", "h002"}
    with drawn.begun("attach", "--json", "last") as run:
        eventually(lambda: waits(drawn) == kept_back, "its next root has it paused, too", SOON_S)
        assert status(drawn)["pace"] == {"parallel": 1, "fanout": None, "paused": True}
        assert drawn.command("ctl", "last", "parallel", "6").code == 0
        assert drawn.command("ctl", "last", "resume").code == 0
        eventually(lambda: set(waits(drawn).values()) == {"command"}, "all of them run", SOON_S)
        stop()
        assert run.wait().all_ok().verdicts.keys() == {"h001", "h002", *OTHERS}


def test_enter_shows_who_is_still_out(nile: Nile, fleet: Lab, terminal: Terminal, stop: Any) -> None:
    drawn = nile.with_routes("entered", tree=TREE, groups=BELOW)
    fleet.freeze("h002")
    run = on_terminal(drawn, terminal, *WAITS, "--", COMMAND)
    try:
        eventually(lambda: waits(drawn) == AT_THE_FROZEN_ONE, "the relay is at the frozen one", SOON_S)
        terminal.type(b"\n")
        eventually(lambda: b"being logged in to by h001" in terminal.shown, "it says so", SOON_S)
        shown = terminal.shown.decode()
        assert "stage 1, the command runs" in shown
        assert "stage 2, wait for their turn to be logged in to by h001" in shown
        assert "h[003-008] (6)" in shown
        fleet.thaw("h002")
        stop()
        assert run.process.wait(30) == 0
    finally:
        run.signal(signal.SIGKILL)
        run.process.wait()


def test_how_many_commands_run_is_set_where_they_wait_for_their_turn(
    nile: Nile, fleet: Lab, stop: Any
) -> None:
    words = ("-w", "h[001-008]", "--grace", "1s")
    with nile.started("--json", *words, "-f", "1", "--", COMMAND) as run:
        eventually(lambda: len(names_of(commands(fleet))) == 1, "one of them runs", SOON_S)
        assert nile.command("ctl", "last", "fanout", "3").code == 0
        eventually(lambda: len(names_of(commands(fleet))) == 3, "three of them run", SOON_S)
        stop()
        assert len(run.wait().all_ok().verdicts) == 8
    with nile.started(*words, "--", "sleep 60") as run:
        eventually(lambda: len(names_of(commands(fleet))) == 8, "all of them run", SOON_S)
        refused = nile.command("ctl", "last", "fanout", "3")
        assert refused.code == 2
        assert (
            "its root can't do that: its command starts on each host as soon as that is reached"
            in refused.err
        )
        assert nile.command("stop", "last", "--grace", "0.2s").code == 0
        assert run.process.wait(30) == 130
