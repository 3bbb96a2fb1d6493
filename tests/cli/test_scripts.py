"""`nile exec --script`: what is refused before any host is touched, and what comes of a script on hosts."""

from __future__ import annotations

import hashlib
import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from nile.errors import StoreError, UsageError
from nile.lab import Lab
from nile.options import ExecOptions, Outfit, Script
from nile.store import FILE_NAME, Handover, RunContext, Store
from nile.store.handover import with_scripts
from nile.topology.scriptfile import MOST_BYTES, read_script
from tests.cli.test_outfitting import plan
from tests.cluster.running import Nile
from tests.store import sample

PYTHON = (
    b"#!/usr/bin/env python3\nimport os, sys\nprint(os.environ['NILE_HOST'], sys.argv[1:])\nsys.exit(3)\n"
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "there is nothing in it"),
        (b"x" * (MOST_BYTES + 1), "longer than 1 MiB"),
        (b"#!/bin/sh\r\necho\r\n", "ends with \\r"),
    ],
    ids=["empty", "too long", "of DOS"],
)
def test_a_script_that_can_not_be_meant(text: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "s.sh"
    path.write_bytes(text)
    with pytest.raises(UsageError) as caught:
        read_script(str(path), ())
    assert said in str(caught.value)
    assert (caught.value.where, bool(caught.value.remedy)) == (f"--script {path}", True)


@pytest.mark.parametrize(("name", "said"), [("nowhere", "No such file"), (".", "Is a directory")])
def test_a_script_that_can_not_be_read(name: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=said):
        read_script(str(tmp_path / name), ())


def test_the_longest_one_and_what_is_known_of_it(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_bytes(b"x" * MOST_BYTES)
    script = read_script(str(path), ("a", "b c"))
    digest = hashlib.sha256(b"x" * MOST_BYTES).hexdigest()
    assert script.told() == {"name": "s", "size": MOST_BYTES, "sha256": digest, "args": ["a", "b c"]}
    with pytest.raises(UsageError, match="so long an argument"):
        read_script(str(path), ("x" * (1 << 17),))


def test_another_root_has_the_script_from_the_store(tmp_path: Path) -> None:
    """That of all hosts, and those that only some of them run."""
    (tmp_path / "s").write_bytes(PYTHON)
    own = Script.of("own", b"true", ["y"])
    alone = Outfit(script=read_script(str(tmp_path / "s"), ("x",)))
    options = ExecOptions("s", outfit=alone, per_host={"h001": own.called}, scripts={"h001": own})
    text = Handover(plan(), options, ("h001",)).dump()
    assert "import os" not in text
    with Store(tmp_path / FILE_NAME) as store:
        for run in ("5eed0001", "5eed0002"):
            with store.recorder(RunContext(), text) as recorder:
                texts = {script.sha256: script.text for script in options.all_scripts()}
                recorder.record([replace(sample.started(run), settings=options.told(), scripts=texts)])
        run_of = store.run("last")
        assert run_of.settings == options.told()
        assert run_of.settings["scripts"] == [own.told() | {"hosts": ["h001"]}]
        kept = store.handover(run_of)
        assert kept is not None
        assert with_scripts(kept.exec, store.with_text) == options
        assert store._rows("SELECT count(*) FROM script", ()) == [(2,)]  # the same one is kept once


def test_a_script_that_the_store_has_lost_is_an_error(tmp_path: Path) -> None:
    """Else an empty one would be run."""
    with Store(tmp_path / FILE_NAME) as store, pytest.raises(StoreError) as caught:
        store.with_text(Script.of("s.sh", b"true"))
    assert "the script s.sh are gone" in str(caught.value)
    assert (caught.value.where, bool(caught.value.remedy)) == (str(store.path), True)


@pytest.mark.lab
class TestOnHosts:
    @pytest.fixture
    def nile(self, loopback_lab: Lab, tmp_path: Path) -> Nile:
        return Nile(loopback_lab, tmp_path)

    def test_a_script_with_arguments(self, nile: Nile, tmp_path: Path) -> None:
        path = tmp_path / "look here.py"
        path.write_bytes(PYTHON)
        args = ("-v", "a  b", "$(id)", "*")
        done = nile.json("-w", "h[001-004]", "--branches", "2", "--script", str(path), "--", *args)
        assert set(done.verdicts.values()) == {"failed"}
        for host in done.results:
            assert (done.results[host]["rc"], done.stdout_of(host)) == (3, f"{host} {list(args)!r}\n")
        assert done.events[0]["command"] == shlex.join(("look here.py", *args))
        told = done.events[0]["settings"]["script"]
        digest = hashlib.sha256(PYTHON).hexdigest()
        assert told == {"name": "look here.py", "size": len(PYTHON), "sha256": digest, "args": list(args)}
        assert json.loads(nile.command("show", "last", "--json").out)["settings"]["script"] == told
        assert (
            f"script    look here.py, {len(PYTHON)} bytes, sha256 {digest}\n"
            in nile.command("show", "last").out
        )

    def test_from_standard_input(self, nile: Nile) -> None:
        done = nile.exec("-w", "h001", "--script", "-", "x y", stdin=b'echo "$# $1 $NILE_SCRIPT"; cat')
        assert done.out == "h001: 1 x y -\n"
        for other in (("-w", "h001", "--stdin"), ("--hostfile", "-")):
            refused = nile.exec(*other, "--script", "-", stdin=b"true")
            assert (refused.code, "can't go together" in refused.err) == (2, True)

    def test_the_largest_travels_once_over_each_link(self, nile: Nile, tmp_path: Path) -> None:
        path = tmp_path / "large"
        path.write_bytes(b'wc -c < "$0"\n'.ljust(MOST_BYTES, b"#"))
        done = nile.json("-w", "h[001-006]", "--branches", "2", "--script", str(path)).all_ok()
        assert {done.stdout_of(host) for host in done.results} == {f"{MOST_BYTES}\n"}

    def test_again_where_it_failed_as_it_was(self, nile: Nile, tmp_path: Path) -> None:
        path = tmp_path / "fails"
        path.write_text('echo "$1 $WORD"; [ "$NILE_HOST" = h001 ] || exit 3\n')
        words = ("-w", "h[001-002]", "--env", "WORD=sesame", "--script", str(path), "--", "a  b")
        assert nile.json(*words).verdicts == {"h001": "ok", "h002": "failed"}
        path.write_text("echo another one\n")
        refused = nile.command("exec", "--retry-failed", "last")
        assert (refused.code, "values aren't recorded: WORD" in refused.err) == (2, True)
        again = nile.command("exec", "--retry-failed", "last", "--env", "WORD", "--json", WORD="open")
        assert again.stdout_of("h002") == "a  b open\n"
        given = ("--env", "WORD=given", "--json")
        third = nile.command("exec", "--retry-failed", "last", *given)
        assert third.stdout_of("h002") == "a  b given\n"
        argv = json.loads(nile.command("runs", "--json", "-n", "1").out)["argv"]
        assert argv[-3:] == ["--env", "WORD", "--json"]
