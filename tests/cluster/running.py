"""Nile on a lab's root machine, and what it told; used by the tests of loopback labs too."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from nile.lab import Lab
from tests.report.schemacheck import violations

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/reference/events.schema.json").read_text())
LONGEST_S = 60.0
Json = dict[str, Any]


@dataclass(frozen=True)
class Done:
    """A `nile` that ended: exit code, and what it wrote."""

    code: int
    stdout: bytes
    stderr: bytes

    @property
    def out(self) -> str:
        return self.stdout.decode()

    @property
    def err(self) -> str:
        return self.stderr.decode()

    def lines(self) -> list[str]:
        return self.out.splitlines()

    @cached_property
    def events(self) -> list[Json]:
        """What `--json` wrote: every line keeps the published schema; the run first, its summary last."""
        events = [json.loads(line) for line in self.stdout.splitlines()]
        for event in events:
            assert violations(event, SCHEMA) == []
        assert events, self.err
        assert events[0]["event"] == "run"
        assert [event["event"] for event in events].count("summary") == (events[-1]["event"] == "summary")
        return events

    @cached_property
    def results(self) -> dict[str, Json]:
        """Host -> its `result`; every host that was asked for has one, no other has."""
        told = [event for event in self.events if event["event"] == "result"]
        assert sorted(result["host"] for result in told) == sorted(self.events[0]["hosts"])
        summary = self.events[-1]
        for verdict in ("ok", "failed", "timeout", "unreachable", "lost", "cancelled"):
            assert summary[verdict] == sum(result["verdict"] == verdict for result in told)
        assert summary["hosts"] == len(told)
        return {result["host"]: result for result in told}

    @property
    def verdicts(self) -> dict[str, str]:
        return {host: result["verdict"] for host, result in self.results.items()}

    @property
    def notices(self) -> list[str]:
        return [event["text"] for event in self.events if event["event"] == "notice"]

    def all_ok(self) -> Done:
        """Itself, once it is sure that all is well."""
        bad = {host: result for host, result in self.results.items() if result["verdict"] != "ok"}
        assert (self.code, bad) == (0, {}), (self.err, list(bad.values())[:2])
        return self

    def stdout_of(self, host: str) -> str:
        """What a host's command wrote, as text."""
        text = self.results[host]["stdout"]
        assert "stdout_encoding" not in self.results[host]
        return str(text)


def pieces(events: list[Json], host: str, stream: str = "stdout") -> bytes:
    """A host's stream put together from `output` lines."""
    mine = [e for e in events if e["event"] == "output" and (e["host"], e["stream"]) == (host, stream)]
    return b"".join(
        base64.b64decode(e["data"]) if e.get("encoding") == "base64" else e["data"].encode() for e in mine
    )


class Running:
    """A `nile` that runs on a lab's root machine; `pid` is its own."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.pid = process.pid

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def said(self, words: bytes) -> None:
        """Wait until it has said this on standard error, in one line."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if words in line:
                return
        raise AssertionError(f"it ended without {words!r}")

    def wait(self, timeout_s: float = LONGEST_S) -> Done:
        stdout, stderr = self.process.communicate(timeout=timeout_s)
        return Done(self.process.returncode, stdout, stderr)


class Nile:
    """The command line, with a state directory of its own; `routes` is the file that `exec` uses."""

    def __init__(self, lab: Lab, state: Path, routes: Path | None = None) -> None:
        self.lab = lab
        self.state = state
        self.routes = routes or lab.routes_file

    def with_routes(self, name: str = "routes", **changes: Any) -> Nile:
        """The same with another route file: the lab's, with some top-level keys replaced or merged."""
        content = yaml.safe_load(self.routes.read_text())
        for key, value in changes.items():
            merge = isinstance(value, dict) and isinstance(content.get(key), dict) and key != "tree"
            content[key] = {**content[key], **value} if merge else value
        path = self.state / f"{name}.yaml"
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return Nile(self.lab, self.state, path)

    def argv(self, *words: str) -> list[str]:
        return self.lab.root_argv([sys.executable, "-m", "nile", *words])

    def environment(self, changes: Mapping[str, str] | None = None) -> dict[str, str]:
        own = {"XDG_STATE_HOME": str(self.state), "HOME": str(self.state), "NO_COLOR": "1"}
        kept = {name: value for name, value in self.lab.root_environment().items() if name != "SSH_AUTH_SOCK"}
        return {**kept, **own, **(changes or {})}

    def exec_words(self, *words: str) -> tuple[str, ...]:
        return ("exec", "-r", str(self.routes), *words)

    def exec(self, *words: str, stdin: bytes = b"", timeout_s: float = LONGEST_S, **env: str) -> Done:
        """`nile exec` with these words, to its end."""
        return self.command(*self.exec_words(*words), stdin=stdin, timeout_s=timeout_s, **env)

    def json(self, *words: str, stdin: bytes = b"", timeout_s: float = LONGEST_S, **env: str) -> Done:
        """`nile exec --json`."""
        return self.exec("--json", *words, stdin=stdin, timeout_s=timeout_s, **env)

    def command(self, *words: str, stdin: bytes = b"", timeout_s: float = LONGEST_S, **env: str) -> Done:
        """Any command of `nile`, to its end."""
        done = subprocess.run(
            self.argv(*words),
            input=stdin,
            capture_output=True,
            check=False,
            timeout=timeout_s,
            env=self.environment(env),
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def lost(self) -> list[tuple[str, str]]:
        """Hosts (each with the run) that may not have heard that it is over: lost, or the root died."""
        runs = [json.loads(line) for line in self.command("runs", "--json").lines()]
        shown = {run["run"]: json.loads(self.command("show", run["run"], "--json").out) for run in runs}
        unfinished = {run["run"] for run in runs if run["state"] == "unfinished"}
        return [
            (node["host"], run)
            for run, told in shown.items()
            for node in told["nodes"]
            if node["verdict"] == "lost" or run in unfinished
        ]

    @contextlib.contextmanager
    def started(self, *words: str, **options: Any) -> Iterator[Running]:
        """`nile exec` in the background; killed at the end if it still runs."""
        with self.begun(*self.exec_words(*words), **options) as running:
            yield running

    @contextlib.contextmanager
    def begun(self, *words: str, **options: Any) -> Iterator[Running]:
        """Any command of `nile`, in the same way."""
        settings: Json = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen(self.argv(*words), env=self.environment(), **{**settings, **options})
        try:
            yield Running(process)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGCONT)
            if process.poll() is None:
                process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    stream.close()
