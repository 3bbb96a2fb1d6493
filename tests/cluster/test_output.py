"""Output of real hosts: complete, bounded in memory, in the published form, and harmless on a terminal."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from nile.lab import Lab
from tests.bench.flood import Peaks, peak_kb, printing, take
from tests.cluster.hosts import commands, names_of, root_of
from tests.cluster.running import Done, Nile, pieces
from tests.cluster.terminal import Terminal, on_terminal
from tests.lab.helpers import eventually

pytestmark = pytest.mark.cluster

MB = 1 << 20
TREE = ("--branches", "3", "--stages", "3")
CHATTER = "i=0; while [ ! -e ~/stop ]; do echo line $i; i=$((i+1)); done; echo over $i"


def test_bytes_of_any_kind_arrive_as_they_were(nile: Nile) -> None:
    """Binary rubbish is flagged as such, text cut anywhere stays text, and both streams are apart."""
    command = (
        "printf '\\377\\376 raw \\000'; printf 'gr\\303\\274n \\033[31mred\\n' >&2; "
        "[ $NILE_HOST = h001 ] || { sleep 0.05; printf 'x\\303'; sleep 0.2; printf '\\251y'; } >&2"
    )
    done = nile.json("-w", "h[001-004]", *TREE, "--", command).all_ok()
    for host, result in done.results.items():
        assert (result["stdout"], result["stdout_encoding"]) == ("//4gcmF3IAA=", "base64")
        rest = "" if host == "h001" else "xéy"
        assert result["stderr"] == "grün \x1b[31mred\n" + rest
        assert "stderr_encoding" not in result
        assert pieces(done.events, host) == b"\xff\xfe raw \x00"
        assert pieces(done.events, host, "stderr").decode() == result["stderr"]
    assert b"\xff" not in done.stdout


def test_much_output_of_many_hosts_is_complete(nile: Nile) -> None:
    command = (
        "seq 100000 | tee /dev/stderr | sha256sum > $NILE_SCRATCH/sum; cat $NILE_SCRATCH/sum; seq 300000"
    )
    done = nile.json("-w", "h[001-012]", *TREE, "--", command).all_ok()
    numbers = "".join(f"{n}\n" for n in range(1, 300001)).encode()
    first = numbers[: numbers.index(b"\n100001\n") + 1]
    head = f"{hashlib.sha256(first).hexdigest()}  -\n".encode()
    for host in done.results:
        assert pieces(done.events, host) == head + numbers
        assert pieces(done.events, host, "stderr") == first


CHAIN: dict[str, object] = {"h001": {"h002": "h003"}}
"""Through two relays; what the root does with it is the same without any."""


@pytest.mark.parametrize(("way", "tree"), [((), CHAIN), (("-b",), {"h003": []}), (("--json",), {"h003": []})])
def test_a_line_of_100_mb_needs_little_memory(
    nile: Nile, way: tuple[str, ...], tree: dict[str, object]
) -> None:
    drawn = nile.with_routes(tree=tree)
    command = "head -c 100000000 /dev/zero | tr '\\0' x"
    with drawn.started(*way, "-w", "h003", "--", command, stderr=subprocess.DEVNULL) as run:
        assert run.process.stdout is not None
        total, peak = 0, 0
        while data := os.read(run.process.stdout.fileno(), MB):
            total += data.count(b"x")
            if run.process.poll() is None:
                peak = max(peak, peak_kb(run.pid))
        assert run.process.wait() == 0
    assert total >= 100_000_000
    assert 10_000 < peak < 150_000


def test_live_lines_come_as_they_are_written(nile: Nile, fleet: Lab) -> None:
    """Each host's second line is written only after its first was read here."""
    command = "echo first; while [ ! -e ~/stop ]; do sleep 0.05; done; rm ~/stop; echo second >&2; exit 3"
    with nile.started("-w", "h[001-004]", *TREE, "--", command, bufsize=0) as run:
        assert run.process.stdout is not None
        first = {run.process.stdout.readline() for _ in range(4)}
        assert first == {f"h{n:03}: first\n".encode() for n in range(1, 5)}
        for number in range(1, 5):
            (root_of(fleet, f"h{number:03}") / "root/stop").touch()
        done = run.wait()
    assert (done.code, done.stdout) == (1, b"")
    for number in range(1, 5):
        assert f"h{number:03}: second\n" in done.err
    assert "nile: failed: h[001-004] (4): exit status 3\n" in done.err


def test_a_slow_reader_holds_up_no_heartbeat_and_loses_nothing(brisk: Nile, fleet: Lab) -> None:
    """The reader stands still for longer than lease and grace: hosts wait for it, and live."""
    with brisk.started("-w", "h[001-006]", *TREE, "--grace", "0.5", "--", CHATTER) as run:
        hosts = {f"h{n:03}" for n in range(1, 7)}
        eventually(lambda: names_of(commands(fleet)) == hosts, "the command runs everywhere")
        eventually(lambda: standing(fleet), "all hosts are throttled")
        still = time.monotonic() + 5
        while time.monotonic() < still:
            assert names_of(commands(fleet)) == hosts
            pause(0.5)
        assert peak_kb(run.pid) < 150_000
        for host in hosts:
            (root_of(fleet, host) / "root/stop").touch()
        done = run.wait()
    for host in hosts:
        (root_of(fleet, host) / "root/stop").unlink()
        lines = [line for line in done.lines() if line.startswith(f"{host}: ")]
        count = len(lines) - 1
        assert lines[-1] == f"{host}: over {count}"
        assert lines[:-1] == [f"{host}: line {i}" for i in range(count)]
    assert done.code == 0


FLOOD_LINES = 200_000
"""Of 87 bytes each."""


def test_a_flood_is_held_back_at_its_hosts(brisk: Nile, fleet: Lab) -> None:
    """Nobody reads: what credits don't hold back would be 200 MB at the root, or 17 at a leaf."""
    words = ("-w", "h[001-012]", *TREE, "--grace", "0.5", "--", printing(FLOOD_LINES))
    with brisk.started(*words) as run:
        hosts = {f"h{n:03}" for n in range(1, 13)}
        eventually(lambda: names_of(commands(fleet)) == hosts, "the command runs everywhere")
        eventually(lambda: standing(fleet), "all hosts are throttled")
        peaks = Peaks()
        peaks.look(run.pid, fleet)
        assert peaks.hosts == hosts
        assert 10_000 < peaks.root < 100_000
        assert 5_000 < peaks.relay < 24_000
        assert 5_000 < peaks.leaf < 18_000
        taken = take(run.process)
        assert run.process.wait(30) == 0
    assert taken.lines == 12 * FLOOD_LINES


TURNS = """
import array, fcntl, os, termios, time
for turn in range(100):
    fd = 1 + turn % 2
    os.write(fd, b"%d\\n" % turn)
    left = array.array("i", [1])
    while left[0]:
        fcntl.ioctl(fd, termios.FIONREAD, left)
        time.sleep(0.0005)
"""
"""Writes to its two streams by turns, each once what it wrote before has been read."""


def test_both_streams_keep_their_order(nile: Nile, tmp_path: Path) -> None:
    (tmp_path / "turns.py").write_text(TURNS)
    words = ("-w", "h[001-003]", "--branches", "1", "--stages", "3", "--script", str(tmp_path / "turns.py"))
    with nile.started(*words, stderr=subprocess.STDOUT) as run:
        done = run.wait()
    again = subprocess.run(
        nile.argv("logs", "last"),
        env=nile.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=True,
    )
    for lines in (done.lines(), again.stdout.decode().splitlines()):
        for host in ("h001", "h002", "h003"):
            mine = [line for line in lines if line.startswith(f"{host}: ")]
            assert mine == [f"{host}: {turn}" for turn in range(100)]


def pause(seconds: float) -> None:
    """Let a known time pass, in which something is *not* to happen."""
    time.sleep(seconds)


def standing(lab: Lab) -> bool:
    """Do all commands stand still?"""
    before = spent(lab)
    pause(0.7)
    return spent(lab) == before


def spent(lab: Lab) -> int:
    """CPU time of all commands, in clock ticks: what stands still spends none."""
    total = 0
    for process in commands(lab):
        fields = Path(f"/proc/{process.pid}/stat").read_bytes().rpartition(b")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total


def test_what_hosts_print_cant_play_tricks_on_the_terminal(nile: Nile, terminal: Terminal) -> None:
    tricks = r"\033]0;title\007 \033[2J\033[1;1H \r%s \302\233 \342\200\256 \377 \010 \000 \033[31m"
    command = f"printf '{tricks}\\n' fake; printf '{tricks}\\n' fake >&2; exit 1"
    for words in (("-w", "h001"), ("-w", "h001", "-b")):
        run = on_terminal(nile, terminal, *words, "--", command)
        assert run.process.wait(30) == 1
    eventually(lambda: terminal.shown.count(b"1 failed") >= 2, "all is shown")
    text = terminal.shown.decode()
    own = re.sub(r"\r\x1b\[K|\r\n", "", text)  # the status line's own: to the line's beginning, and erase it
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u202e]", own)
    assert own.count(r"\x1b]0;title\x07") == 4


def test_ctrl_z_stops_the_display_only(brisk: Nile, fleet: Lab, terminal: Terminal) -> None:
    command = "echo begun; while [ ! -e ~/stop ]; do echo x >> ~/ticks; sleep 0.1; done; echo over"
    home = root_of(fleet, "h001") / "root"
    run = on_terminal(brisk, terminal, "-w", "h001", "--grace", "0.5", "--", command)
    try:
        eventually(lambda: b"h001: begun" in terminal.shown, "it runs")
        terminal.type(b"\x1a")
        eventually(lambda: b"stands still" in terminal.shown, "the display stands still")
        before = (home / "ticks").stat().st_size
        pause(5)  # longer than lease and grace
        assert (home / "ticks").stat().st_size > before + 20
        (home / "stop").touch()
        eventually(lambda: not commands(fleet), "the command ended")
        pause(0.5)
        assert b"over" not in terminal.shown
        terminal.type(b"\x1a")
        assert run.process.wait(30) == 0
        eventually(lambda: b"h001: over" in terminal.shown, "the rest is shown")
    finally:
        run.signal(signal.SIGKILL)
        run.process.wait()
        (home / "stop").unlink(missing_ok=True)
        (home / "ticks").unlink(missing_ok=True)


def test_ctrl_c_on_the_terminal(nile: Nile, fleet: Lab, terminal: Terminal) -> None:
    run = on_terminal(nile, terminal, "-w", "h[001-003]", "--", "echo begun; sleep 999")
    eventually(lambda: terminal.shown.count(b": begun") == 3, "it runs")
    terminal.type(b"\x03")
    assert run.process.wait(30) == 130
    eventually(lambda: b"3 cancelled" in terminal.shown, "the summary is shown")


def folded(done: Done) -> list[str]:
    return [line for line in done.lines() if not line.startswith("---")]


def test_equal_output_is_folded(nile: Nile) -> None:
    command = 'case $NILE_HOST in h00[2-3]) echo other;; *) echo same;; esac; echo "to err" >&2'
    done = nile.exec("-b", "-w", "h[001-009]", *TREE, "--", command)
    assert done.code == 0
    assert folded(done) == ["h[001,004-009] (7)", "same", "h[002-003] (2)", "other"]
    assert "---------------\nh[001-009] (9) stderr\n---------------\nto err\n" in done.err
