"""Scripts in memory: by a real agent, under the oldest and the newest Python."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nile.agent import claims, script, wire
from nile.agent.wire import Frame
from nile.bootstrap.bundle import command_code
from nile.cascade.orders import FIRST, outfit_body
from nile.cascade.tasks import EXEC, script_body
from nile.options import Outfit, Script
from tests.agent.parent import BY_AGE, Parent, alive, host_environment, wait_until

ARGS = ("", "two  words", "*", "$HOME", "'\"\\", "-n", "caf\udce9", "line\nend")
PYTHON = b"""#!/usr/bin/env python3
import os, sys
os.write(1, "".join(arg + "|" for arg in sys.argv[1:]).encode() + sys.stdin.buffer.read())
"""


@pytest.fixture(params=[BY_AGE[0], BY_AGE[-1]], ids=["oldest", "newest"])
def parent(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Parent]:
    with Parent(host_environment(tmp_path, request.param)) as ready:
        ready.wait_for(wire.HELLO)
        yield ready


def begin(parent: Parent, text: bytes, *args: str, name: str = "s", first: str = "", **how: Any) -> None:
    body = outfit_body(Outfit(script=Script.of(name, text, args), **how.pop("outfit", {})))
    parent.start(first, code=command_code(outfit=True), outfit=body, **how)


def run(parent: Parent, text: bytes, *args: str, **how: Any) -> dict[str, Any]:
    begin(parent, text, *args, **how)
    return parent.result()


def test_arguments_are_passed_as_they_are(parent: Parent) -> None:
    assert run(parent, b'for a; do printf "%s|" "$a"; done', *ARGS)["rc"] == 0
    assert parent.output() == b"".join(os.fsencode(arg) + b"|" for arg in ARGS)


def test_an_interpreter_of_its_own(parent: Parent) -> None:
    assert run(parent, PYTHON, "a b", "")["rc"] == 0
    assert parent.output() == b"a b||"


def test_standard_input_is_free_for_something_else(parent: Parent) -> None:
    begin(parent, PYTHON, stdin=True)
    parent.send(Frame(wire.STDIN, body=b" and more"))
    parent.send(Frame(wire.STDIN))
    assert parent.result()["rc"] == 0
    assert parent.output() == b" and more"


def test_no_disk_has_it_and_no_descriptor_of_it_is_handed_on(parent: Parent) -> None:
    text = b'readlink "$0"; readlink -f "/proc/$PPID/exe" >/dev/null; ls /proc/self/fd; echo "$NILE_SCRIPT"'
    assert run(parent, text, name="tell.sh")["rc"] == 0
    file, *descriptors, name = parent.output().decode().splitlines()
    assert file.endswith(" (deleted)")
    assert file.startswith(("/memfd:", "/dev/shm/nile-"))
    assert name == "tell.sh"
    assert descriptors == ["0", "1", "2", "3"]  # the last one is the listing's own


def test_a_large_one(parent: Parent) -> None:
    text = b'echo $#; exec sha256sum < "$0"\n' + b"".join(b"# %d\n" % number for number in range(100_000))
    assert run(parent, text, "a", "b")["rc"] == 0
    assert parent.output().decode() == f"2\n{hashlib.sha256(text).hexdigest()}  -\n"


def test_without_a_first_line(parent: Parent) -> None:
    assert run(parent, b"echo ${0##*/} >/dev/null; readlink /proc/$$/exe")["rc"] == 0
    assert parent.output().decode().strip() == os.path.realpath("/bin/sh")


def test_python_by_its_name(parent: Parent) -> None:
    """The one that the agent runs on: the only one, perhaps."""
    assert run(parent, b"import sys\nprint('%d.%d.%d' % sys.version_info[:3])\n", name="x.py")["rc"] == 0
    assert parent.output().decode().strip() == parent.python


def test_an_interpreter_that_isnt_there(parent: Parent) -> None:
    result = run(parent, b"#!/no/such/shell -x\necho never\n")
    assert (result["rc"], result["error"]) == (
        None,
        "--script: its interpreter /no/such/shell: No such file or directory",
    )


def test_all_that_it_started_ends_with_it(parent: Parent) -> None:
    text = b"#!/usr/bin/env python3\nimport os, subprocess, time\n"
    text += b"child = subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
    text += b"print(child.pid, os.getpid(), flush=True)\ntime.sleep(600)\n"
    begin(parent, text, timeout=1.0, grace=0.2)
    result = parent.result()
    assert result["cause"] == "timeout"
    pids = [int(word) for word in parent.output().split()]
    assert len(pids) == 2
    wait_until(lambda: not any(alive(pid) for pid in pids))
    assert {entry[0] for entry in result["left"]} == set(pids)


def test_what_may_cut_the_host_off_waits_a_moment_first(parent: Parent) -> None:
    run(parent, b'printf "%s|" "$@"', *ARGS, first=FIRST.replace("1", "0.1") + EXEC)
    assert parent.output() == b"".join(os.fsencode(arg) + b"|" for arg in ARGS)


def test_words_in_arguments_need_no_care(parent: Parent) -> None:
    run(parent, b'printf "%s|" "$@"', "%h's", "100%%", outfit={"subst": True}, host="n 1")
    assert parent.output() == b"n 1's|100%|"


def test_a_script_of_its_own_goes_before_everybodys(parent: Parent) -> None:
    own = script_body(Script.of("own", b'printf "%s|" "$@" "$NILE_SCRIPT"', ["%h"]))
    begin(parent, b"echo of all", outfit={"subst": True}, host="n1", script=own)
    assert parent.result()["rc"] == 0
    assert parent.output() == b"n1|own|"


class TestWithoutAFileInMemory:
    """Neither memfd_create(2) nor a directory: the interpreter reads it from a pipe."""

    @pytest.fixture
    def bare(self, tmp_path: Path) -> Iterator[Parent]:
        there = [place for place in claims.MEMORY_DIRECTORIES if Path(place).is_dir()]
        mounts = "".join(f"mount -t tmpfs -o ro tmpfs {place} && " for place in there)
        shell = ("unshare", "-m", "/bin/sh", "-c", f'{mounts} exec /bin/sh -c "$0"')
        with Parent(host_environment(tmp_path, BY_AGE[0]), shell) as ready:
            ready.wait_for(wire.HELLO)
            yield ready

    @pytest.mark.parametrize("text", [b'printf "%s|" "$@"; cat', PYTHON], ids=["sh", "python"])
    def test_it_runs_with_its_arguments(self, bare: Parent, text: bytes) -> None:
        more = b"\n#" + b"x" * 300_000  # than a pipe holds
        assert run(bare, text + more, "a b", "")["rc"] == 0
        assert bare.output() == b"a b||"

    def test_what_is_read_of_it_is_not_standard_input(self, bare: Parent) -> None:
        begin(bare, PYTHON + b"\n#" + b"x" * 300_000, stdin=True)
        bare.send(Frame(wire.STDIN, body=b"more"))
        bare.send(Frame(wire.STDIN))
        assert bare.result()["rc"] == 0
        taken = [frame.value() for frame in bare.frames if frame.type == wire.TAKEN]
        assert (bare.output(), taken) == (b"more", [4, 1 << 62])

    def test_an_interpreter_that_isnt_there(self, bare: Parent) -> None:
        assert (
            run(bare, b"#!/no/such")["error"]
            == "--script: its interpreter /no/such: No such file or directory"
        )

    def test_one_that_reads_no_further_than_it_must(self, bare: Parent) -> None:
        assert run(bare, b"exit 7\n#" + b"x" * 300_000)["rc"] == 7


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"#!/bin/bash -eu -x", ["/bin/bash", "-eu -x"]),
        (b"#! /usr/bin/env  -S python3 -u ", ["/usr/bin/env", "-S python3 -u"]),
        (b"#!", ["/bin/sh"]),
        (b"echo", ["/bin/sh"]),
    ],
)
def test_the_first_line_is_read_as_the_kernel_does(line: bytes, words: list[str]) -> None:
    assert script.interpreter(line + b"\necho\n", "s") == words
