"""The Python API from outside: scripts in an interpreter of their own that only `import nile`."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

import nile as api
from nile.lab import Lab
from tests.cluster.running import LONGEST_S, Nile
from tests.lab.helpers import eventually

HOSTS = ["h001", "h002", "h003"]


@pytest.fixture
def nile(loopback_lab: Lab, tmp_path: Path) -> Nile:
    return Nile(loopback_lab, tmp_path)


def run_script(nile: Nile, script: str, *args: str) -> Any:
    """What a script prints, as JSON; it has `nile` and ROUTES, and must end well and say nothing else."""
    text = f"import nile\nROUTES = {str(nile.routes)!r}\n{textwrap.dedent(script)}"
    argv = [*nile.lab.root_argv([sys.executable]), "-W", "error", "-c", text, *args]
    done = subprocess.run(argv, capture_output=True, timeout=LONGEST_S, check=False, env=nile.environment())
    assert (done.returncode, done.stderr.decode()) == (0, "")
    return json.loads(done.stdout)


def in_scripts_words(nile: Nile, *words: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in nile.command(*words).lines()]


@pytest.mark.lab
def test_events_as_they_come(nile: Nile) -> None:
    told = run_script(
        nile,
        """
        import asyncio, json

        async def main():
            seen, out = [], {}
            run = nile.run("h[001-003]!h002", 'echo "$NILE_HOST"; exit 3', routes=ROUTES)
            async for event in run:
                seen.append(type(event).__name__)
                match event:
                    case nile.RunStarted():
                        assert (event.run, event.hosts) == (run.id, ("h001", "h003"))
                    case nile.HostOutput(host, "stdout", offset, data):
                        assert offset == len(out.setdefault(host, b""))
                        out[host] += data
                    case nile.HostResult(host, verdict, rc):
                        assert (verdict, rc) == (nile.Verdict.FAILED, 3)
                    case nile.RunEnded():
                        assert event.counts[nile.Verdict.FAILED] == 2
            print(json.dumps([seen, {host: data.decode() for host, data in out.items()}, run.id]))

        asyncio.run(main())
        """,
    )
    seen, out, run = told
    assert (seen[0], seen[-1]) == ("RunStarted", "RunEnded")
    assert sorted(seen[1:-1]) == sorted(["HostUp", "HostStarted", "HostOutput", "HostResult"] * 2)
    assert out == {"h001": "h001\n", "h003": "h003\n"}
    (recorded,) = in_scripts_words(nile, "runs", "--json")
    assert (recorded["run"], recorded["failed"], recorded["state"]) == (run, 2, "ended")


@pytest.mark.lab
def test_the_same_without_an_event_loop(nile: Nile) -> None:
    told = run_script(
        nile,
        """
        import json
        events = list(nile.run(["h001", "h002"], "echo x", routes=ROUTES, store=False))
        print(json.dumps(sorted(event.host for event in events if isinstance(event, nile.HostResult))))
        """,
    )
    assert told == ["h001", "h002"]
    assert not (nile.state / "nile" / "runs.db").exists(), "nothing was to be recorded"


@pytest.mark.lab
def test_scripts_and_what_each_host_runs(nile: Nile, tmp_path: Path) -> None:
    (tmp_path / "tell.sh").write_text('echo "$NILE_HOST $# $1"; exit 3')
    (tmp_path / "commands.yaml").write_text("h001: {script: tell.sh, args: ['a b']}\ndefault: echo other\n")
    told = run_script(
        nile,
        """
        import json, pathlib, sys
        here = pathlib.Path(sys.argv[1])

        def outcome(*args, **how):
            out, ends = {}, {}
            for event in nile.run(*args, routes=ROUTES, **how):
                match event:
                    case nile.HostOutput(host, "stdout", _, data):
                        out[host] = out.get(host, "") + data.decode()
                    case nile.HostResult(host, _, rc):
                        ends[host] = [rc, event.command, out.get(host)]
            return ends

        memory = nile.Script.of("memory.py", b"import sys; print(sys.argv[1:])", ["x"])
        print(json.dumps([
            outcome("h001", script=here / "tell.sh", args=["a  b"]),
            outcome("h001", script=memory),
            outcome(per_host={"h001": memory, "h[002-003]!h002": "echo mine"}, fanout=1),
            outcome(["h001", "h002"], per_host=here / "commands.yaml"),
            outcome("h[001-002]", per_host={"h001": "echo one", "default": "echo two"}),
        ]))
        """,
        str(tmp_path),
    )
    assert told == [
        {"h001": [3, "", "h001 1 a  b\n"]},
        {"h001": [0, "", "['x']\n"]},
        {"h001": [0, "memory.py x", "['x']\n"], "h003": [0, "echo mine", "mine\n"]},
        {"h001": [3, "tell.sh 'a b'", "h001 1 a b\n"], "h002": [0, "echo other", "other\n"]},
        {"h001": [0, "echo one", "one\n"], "h002": [0, "echo two", "two\n"]},
    ]
    newest = in_scripts_words(nile, "runs", "--json")
    assert [run["command"] for run in newest[-2:]] == ["memory.py x", "tell.sh 'a  b'"]


@pytest.mark.parametrize(
    ("what", "where", "says"),
    [
        ({}, "command", "no command given"),
        ({"command": " "}, "command", "no command given"),
        ({"command": "a", "script": "b"}, "script", "can't go together"),
        ({"script": "b", "per_host": {"h001": "a"}}, "per_host", "can't go together"),
        ({"command": "a", "args": ["b"]}, "args", "only a script from a file"),
        ({"script": "/no/such/file"}, "script /no/such/file", "No such file"),
        ({"script": "-"}, "script", "standard input"),
        ({"script": api.Script.of("s", b"")}, "script", "there is nothing in it"),
        ({"per_host": {"h001": ""}}, "per_host['h001']", "no command given"),
        ({"per_host": {"h[1-": "a"}}, "per_host['h[1-']", ""),
        ({"per_host": {"h001": "a", "h[001-002]": "b"}}, "per_host", "h001 is in 'h[001-002]' and in 'h001'"),
        ({"per_host": {"h002": "a"}, "hosts": "h001"}, "per_host", "it has no command for h001"),
        ({"per_host": {"default": "a"}}, "hosts", "no hosts given"),
        ({"command": "x" * (1 << 17)}, "command", "longer than hosts can take"),
        ({"command": "true", "scratch_bytes": 1}, "scratch_bytes", "no scratch can have 1 bytes"),
        ({"command": "date +%F", "subst": True}, "subst", "%F stands for nothing"),
    ],
)
def test_what_can_not_be_run_is_said_by_the_first_step(
    what: dict[str, Any], where: str, says: str, tmp_path: Path
) -> None:
    routes = tmp_path / "nile.yaml"
    routes.write_text("version: 1\ngroups:\n  all: h[001-003]\n")
    what = {"hosts": () if "per_host" in what else "h001", **what}
    with pytest.raises(api.errors.UsageError) as caught:
        next(iter(api.run(**what, routes=routes, store=False)))
    assert says in str(caught.value)
    assert (caught.value.where, bool(caught.value.remedy)) == (where, True)


LEAVING = {
    "async, by break": """
        async def main():
            async for event in nile.run(*WHAT, routes=ROUTES, grace_s=1):
                if isinstance(event, nile.HostOutput):
                    break

        asyncio.run(main())
        while any(one.name.startswith("nile") for one in threading.enumerate()):
            time.sleep(0.05)  # it ends by itself, and not only with the interpreter
        """,
    "async, by the end of its task": """
        async def main():
            begun = asyncio.Event()

            async def look():
                async for event in nile.run(*WHAT, routes=ROUTES, grace_s=1):
                    if isinstance(event, nile.HostOutput):
                        begun.set()

            task = asyncio.create_task(look())
            await begun.wait()
            task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                assert not [one.name for one in threading.enumerate() if one.name.startswith("nile")]

        asyncio.run(main())
        """,
    "async, at the end of its context": """
        async def main():
            async with nile.run(*WHAT, routes=ROUTES, grace_s=1) as run:
                async for event in run:
                    if isinstance(event, nile.HostOutput):
                        break
            assert not [one.name for one in threading.enumerate() if one.name.startswith("nile")]

        asyncio.run(main())
        """,
    "async, by the end of the interpreter": """
        async def main():
            global events
            events = aiter(nile.run(*WHAT, routes=ROUTES, grace_s=1))
            async for event in events:
                if isinstance(event, nile.HostOutput):
                    return

        asyncio.run(main())
        """,
    "sync, by the end of the interpreter": """
        events = iter(nile.run(*WHAT, routes=ROUTES, grace_s=1))
        while not isinstance(next(events), nile.HostOutput):
            pass
        """,
    "sync": """
        for event in nile.run(*WHAT, routes=ROUTES, grace_s=1):
            if isinstance(event, nile.HostOutput):
                break
        """,
    "by cancel": """
        run = nile.run(*WHAT, routes=ROUTES, grace_s=1)
        verdicts = []
        for event in run:
            if isinstance(event, nile.HostOutput):
                run.cancel()
            elif isinstance(event, nile.HostResult):
                verdicts.append(event.verdict)
        assert verdicts == [nile.Verdict.CANCELLED] * 3, verdicts
        """,
    "cancelled before": """
        run = nile.run(*WHAT, routes=ROUTES, grace_s=1)
        run.cancel()
        assert [event.verdict for event in run if isinstance(event, nile.HostResult)] == ["cancelled"] * 3
        """,
}


@pytest.mark.lab
@pytest.mark.parametrize("way", LEAVING)
def test_nothing_stays_behind_however_it_is_left(nile: Nile, way: str) -> None:
    told = run_script(
        nile,
        f"""
        import asyncio, json, threading, time
        WHAT = ("h[001-003]", "echo begun; exec sleep 1000")
        {LEAVING[way].strip()}
        print(json.dumps([one.name for one in threading.enumerate() if one.name.startswith("nile")]))
        """,
    )
    assert told == [] or way.endswith("the interpreter")
    eventually(lambda: not any(nile.lab.processes(host) for host in HOSTS), "nothing is left")
    (recorded,) = in_scripts_words(nile, "runs", "--json")
    assert (recorded["state"], recorded["cancelled"]) == ("interrupted", 3)


@pytest.mark.lab
def test_a_program_that_is_slow_makes_hosts_wait(nile: Nile) -> None:
    """Far more than is held anywhere comes whole, and only as fast as it is taken."""
    told = run_script(
        nile,
        """
        import asyncio, json, resource

        async def main():
            size = 0
            async for event in nile.run("h001", "yes | head -c 60000000", routes=ROUTES, store=False):
                if isinstance(event, nile.HostOutput):
                    if not size:
                        await asyncio.sleep(1)
                        at_first = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
                    size += len(event.data)
            print(json.dumps([size, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - at_first]))

        asyncio.run(main())
        """,
    )
    size, more_kib = told
    assert size == 60_000_000
    assert more_kib < 40_000, "it was not gathered in memory"


@pytest.mark.lab
def test_a_run_is_seen_and_stopped_from_another_terminal(nile: Nile) -> None:
    """As any run is, while a program looks on."""
    told = run_script(
        nile,
        """
        import json, subprocess, sys
        run = nile.run("h001", "echo begun; exec sleep 1000", routes=ROUTES, grace_s=1, fanout=1)
        told = []
        for event in run:
            if isinstance(event, nile.HostOutput):
                for words in (["pause"], ["parallel", "7"], ["fanout", "2"], ["status", "--json"]):
                    ctl = [sys.executable, "-m", "nile", "ctl", run.id, *words]
                    told.append(subprocess.run(ctl, stdout=-1, text=True).stdout)
                stop = subprocess.Popen([sys.executable, "-m", "nile", "stop", run.id], stdout=-3, stderr=-3)
            elif isinstance(event, nile.RunEnded):
                interrupted = event.interrupted
        print(json.dumps([interrupted, stop.wait(), json.loads(told[-1])]))
        """,
        "a secret word",
    )
    interrupted, code, status = told
    assert (interrupted, code) == (True, 0)
    assert status["pace"] == {"parallel": 7, "fanout": 2, "paused": True}
    (run,) = in_scripts_words(nile, "runs", "--json")
    assert run["argv"] == ["-c"], "what the program was given is nobody else's business"


def test_what_its_scratch_may_take() -> None:
    """In what is recorded and sent, as `nile exec --scratch` has it."""
    assert api.run("h001", "true", scratch_bytes=2 << 30)._options.told() == {"scratch": 2 << 30}
    assert api.run("h001", "true")._options.told() == {}


def test_importing_it_costs_nothing() -> None:
    script = (
        "import sys; before = set(sys.modules); import nile; print(*(set(sys.modules) - before));"
        "assert nile.API_VERSION == 1 and 'run' in dir(nile);"
        "nile.Verdict, nile.errors.UsageError, nile.events"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["nile"]


def test_everything_that_is_named_is_there() -> None:
    for name in api.__all__:
        assert getattr(api, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'gone'"):
        _ = api.gone  # type: ignore[attr-defined]


def refusals() -> list[tuple[dict[str, Any], str]]:
    return [
        ({"hosts": ()}, "hosts: no hosts given"),
        ({"hosts": "@gone"}, "hosts: group @gone is unknown"),
        ({"hosts": "n1", "exclude": "n1"}, "hosts: no hosts given"),
        ({"hosts": "n1", "routes": "gone.yaml"}, "the route file is missing"),
        (
            {"hosts": "n1", "ssh_options": ["StrictHostKeyChecking=no"]},
            "StrictHostKeyChecking=no is not taken",
        ),
        ({"hosts": "n1", "command": "  "}, "no command given"),
    ]


@pytest.mark.parametrize(("given", "says"), refusals())
def test_what_is_wrong_is_raised_by_the_first_step(
    given: dict[str, Any], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    words = {"command": "true", "store": False, **given}
    with pytest.raises(api.NileError, match=says):
        list(api.run(**words))

    async def look() -> None:
        async for _ in api.run(**words):
            pass

    with pytest.raises(api.NileError, match=says):
        asyncio.run(look())


def test_a_run_is_begun_once() -> None:
    run = api.run("@gone", "true", store=False)
    for says in ("unknown", "was begun before"):
        with pytest.raises(api.NileError, match=says):
            next(iter(run))


SECRET = "hush-0815"


@pytest.mark.parametrize(
    ("words", "where", "says"),
    [
        ({"leftover": "x"}, "leftover", "'x' is none of its words"),
        ({"on_orphan": "x"}, "on_orphan", "'x' is none of its words"),
        ({"sandbox": "x"}, "sandbox", "'x' is none of its words"),
        ({"sudo": "a b"}, "sudo", "'a b' is no user name"),
        ({"env": {"A B": SECRET}}, "env['A B']", "that is no name of a variable"),
        ({"env": {"NILE_HOST": SECRET}}, "env['NILE_HOST']", "Nile sets those itself"),
        ({"env": {"A": SECRET + "\0"}}, "env['A']", "no value can have a NUL in it"),
        ({"env": {"A": SECRET * 20000}}, "env['A']", "longer than hosts can take"),
        ({"rlimits": {"procs": 1}}, "rlimits['procs']", "there is no limit 'procs'"),
        ({"rlimits": {"mem": 1024}}, "rlimits['mem']", "no program could start with 1024"),
        ({"rlimits": {"cpu": 0}}, "rlimits['cpu']", "no whole number of seconds"),
        ({"cwd": ""}, "cwd", "no directory is named"),
        ({"fanout": 0}, "fanout", "no number of hosts is 0"),
        ({"batch": 0}, "batch", "no number of hosts is 0"),
        ({"canary": -1}, "canary", "no number of hosts is -1"),
        ({"max_failures": -1}, "max_failures", "no number of hosts is -1"),
        ({"sudo_password": SECRET + "\nagain"}, "sudo_password", "the end of a line"),
        ({"sudo_password": SECRET + "\0"}, "sudo_password", "a NUL"),
        ({"sudo_password": SECRET + "\ud800"}, "sudo_password", "no UTF-8"),
        ({"sudo_password": SECRET * 200}, "sudo_password", "at most 1024 bytes"),
        ({"sudo_password": SECRET.encode()}, "sudo_password", "type bytes"),
        ({"grace_s": float("nan")}, "grace_s", "no grace can take nan s"),
        ({"grace_s": -3}, "grace_s", "no grace can take -3 s"),
        ({"grace_s": None}, "grace_s", "no grace can take None s"),
        ({"sudo": ""}, "sudo", "'' is no user name"),
        ({"sudo": 1}, "sudo", "of type int"),
        ({"rlimits": {"cpu": 1.5}}, "rlimits['cpu']", "1.5 is no whole number"),
        ({"rlimits": {"cpu": "1"}}, "rlimits['cpu']", "'1' is no whole number"),
        ({"canary": 1.5}, "canary", "no number of hosts is 1.5"),
        ({"fanout": True}, "fanout", "no number of hosts is True"),
        ({"timeout_s": "5"}, "timeout_s", "nobody can wait for '5' s"),
        ({"timeout_s": float("nan")}, "timeout_s", "nobody can wait for nan s"),
        ({"scratch_bytes": "1M"}, "scratch_bytes", "no scratch can have '1M' bytes"),
        ({"env": {"A": 1}}, "env['A']", "of type int"),
        ({"env": {1: SECRET}}, "env", "of type int"),
        ({"env": {"A": SECRET + "\ud800"}}, "env['A']", "no host could be told this text"),
        ({"cwd": Path("/")}, "cwd", "of type PosixPath"),
        ({"timeout_s": 0}, "timeout_s", "nobody can wait for 0 s"),
        ({"wait_back_s": -1.0}, "wait_back_s", "nobody can wait for -1.0 s"),
        ({"sudo": True, "sandbox": "strict"}, "sandbox", "can't go together"),
        ({"leftover": "detach", "sandbox": "pidns"}, "leftover", "can't go together"),
        ({"idempotent": True, "disruptive": True}, "idempotent", "can't go together"),
    ],
)
def test_words_that_it_doesnt_take(words: dict[str, Any], where: str, says: str) -> None:
    with pytest.raises(api.UsageError) as caught:
        api.run("n1", "true", **words)
    assert says in str(caught.value)
    assert (caught.value.where, bool(caught.value.remedy)) == (where, True)
    assert SECRET not in str(caught.value)


WRONG_TYPES: list[tuple[str, Any, str]] = [
    ("hosts", None, "of type NoneType"),
    ("hosts", 5, "several texts are wanted, and this is of type int"),
    ("hosts", [1, 2], "of type int"),
    ("hosts", b"n1", "of type bytes"),
    ("exclude", 5, "of type int"),
    ("inventories", 5, "several paths are wanted, and this is of type int"),
    ("inventories", "hosts.ini", "of type str"),
    ("inventories", [5], "of type int"),
    ("routes", 5, "of type int"),
    ("command", 5, "a text is wanted, and this is of type int"),
    ("command", "\ud800", "no host could be told this text"),
    ("script", 5, "of type int"),
    ("args", 5, "of type int"),
    ("args", "-v", "several texts are wanted, and this is of type str"),
    ("args", [1], "of type int"),
    ("per_host", 5, "values by names are wanted, and this is of type int"),
    ("per_host", {1: "true"}, "of type int"),
    ("env", [("A", SECRET)], "values by names are wanted, and this is of type list"),
    ("rlimits", [("cpu", 1)], "of type list"),
    ("ssh_options", [5], "of type int"),
    ("ssh_options", "Port=22", "of type str"),
    ("user", 5, "of type int"),
    ("port", "22", "no port is '22'"),
    ("port", 0, "no port is 0"),
    ("port", 99999, "no port is 99999"),
    ("port", True, "no port is True"),
    ("timeout_s", 10**400, "nobody can wait for so large a number s"),
    ("timeout_s", 1e300, "nobody can wait for 1e+300 s"),
    ("connect_timeout_s", 10**5000, "nobody can wait for so large a number s"),
    ("grace_s", 10**400, "no grace can take so large a number s"),
    ("fanout", 10**5000, "no number of hosts is so large a number"),
    ("scratch_bytes", 10**5000, "no scratch can have so large a number bytes"),
    ("leftover", 10**5000, "so large a number is none of its words"),
    *(
        (name, "no", "yes or no is wanted, and this is of type str")
        for name in ("clean_env", "subst", "fail_fast", "idempotent", "disruptive", "store")
    ),
]


@pytest.mark.parametrize(
    ("name", "value", "says"),
    WRONG_TYPES,
    ids=[f"{name} {number}" for number, (name, *_) in enumerate(WRONG_TYPES)],
)
def test_an_argument_of_another_type_is_refused_at_once(name: str, value: Any, says: str) -> None:
    with pytest.raises(api.UsageError) as caught:
        api.run(**{"hosts": "n1", name: value})
    assert says in str(caught.value)
    assert (caught.value.where, bool(caught.value.remedy)) == (name, True)
    assert SECRET not in str(caught.value)


def test_what_one_host_runs_is_a_text_or_a_script() -> None:
    with pytest.raises(api.UsageError) as caught:
        api.run(per_host={"n1": 5})  # type: ignore[dict-item]
    assert caught.value.where == "per_host['n1']"


@pytest.mark.parametrize(
    ("gives", "answer"),
    [
        ("s3cret", ("s3cret", "")),
        ("", (None, "")),
        (None, (None, "")),
        (b"s3cret", (None, "what sudo_password gave is none: no password is of type bytes")),
        ("a\nb", (None, "what sudo_password gave is none: no password has a NUL or the end of a line in it")),
        ("\ud800", (None, "what sudo_password gave is none: this is no UTF-8")),
    ],
)
def test_what_a_function_gives_for_sudos_password(gives: Any, answer: tuple[str | None, str]) -> None:
    """A wrong one ends no run under way: hosts that ask are told that there is none, and why."""
    assert api.run("n1", "true", sudo=True, sudo_password=lambda host: gives)._password("n1") == answer


def test_what_cuts_hosts_off_is_not_killed_for_it() -> None:
    """As with `nile exec --disruptive`."""
    options = api.run("n1", "reboot", wait_back_s=60.0)._options
    assert (options.disruptive, options.wait_back_s, options.on_orphan) == (True, 60.0, "finish")
    assert api.run("n1", "reboot", disruptive=True, on_orphan="kill")._options.on_orphan == "kill"
    assert api.run("n1", "true")._options.on_orphan == "adopt"


@pytest.mark.lab
def test_what_a_command_is_given(nile: Nile) -> None:
    """On real hosts, and no value of a variable is in the store."""
    told = run_script(
        nile,
        """
        import json

        def outcome(command, **how):
            out, ends = {}, {}
            for event in nile.run("h[001-003]", command, routes=ROUTES, **how):
                match event:
                    case nile.HostOutput(host, "stdout", _, data):
                        out[host] = out.get(host, "") + data.decode()
                    case nile.HostResult(host, verdict):
                        ends[host] = verdict
            return [out, ends]

        line = 'pwd; echo "${#A} ${LC_ALL-none} %h"; ulimit -n'
        how = dict(env={"A": "hush-0815"}, clean_env=True, cwd="/usr", rlimits={"nofile": 77}, subst=True)
        given = outcome(line, **how)
        pidns = outcome("echo $$", sandbox=nile.Sandbox.PIDNS)
        second = '[ "$NILE_HOST" != h002 ]'
        print(json.dumps([
            given, pidns[0], outcome(second, canary=2)[1], outcome(second, canary=1, batch=1)[1],
            sorted(outcome("false", fanout=1, max_failures=0)[1].values()),
        ]))
        """,
    )
    given, pidns, canaries, waves, failures = told
    assert given == [
        {host: f"/usr\n{len(SECRET)} none {host}\n77\n" for host in HOSTS},
        dict.fromkeys(HOSTS, "ok"),
    ]
    assert all(int(pid) < 10 for pid in pidns.values()), pidns
    assert canaries == {"h001": "ok", "h002": "failed", "h003": "cancelled"}
    assert waves == {"h001": "ok", "h002": "failed", "h003": "ok"}
    assert failures == ["cancelled", "cancelled", "failed"]
    kept = [path for path in nile.state.rglob("*") if path.is_file()]
    assert "runs.db" in {path.name for path in kept}
    assert not [path for path in kept if SECRET.encode() in path.read_bytes()]


@pytest.mark.lab
def test_the_store_keeps_its_cap(nile: Nile) -> None:
    """What a program's runs leave there is bounded as what others leave."""
    script = "print(len(list(nile.run('h001', 'head -c 700000 /dev/urandom', routes=ROUTES))))"
    for _ in range(2):
        run_script(nile, script)
    nile.command("prune", "--cap", "1M")
    assert len(in_scripts_words(nile, "runs", "--json")) == 1
    run_script(nile, script)
    assert len(in_scripts_words(nile, "runs", "--json")) == 1
