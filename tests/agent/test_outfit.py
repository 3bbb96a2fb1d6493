"""Commands that are given more than a line: by a real agent, under the oldest and the newest Python."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nile.agent import forked, outfit, wire
from nile.agent.wire import Frame
from nile.bootstrap.bundle import command_code
from nile.cascade.orders import outfit_body
from nile.options import Outfit
from tests.agent.parent import BY_AGE, Parent, alive, host_environment
from tests.support.deadmount import dead_directory


@pytest.fixture(params=[BY_AGE[0], BY_AGE[-1]], ids=["oldest", "newest"])
def parent(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Parent]:
    with Parent({**host_environment(tmp_path, request.param), "SECRETIVE": "yes"}) as ready:
        ready.wait_for(wire.HELLO)
        yield ready


def run(parent: Parent, command: str, what: Outfit, **how: Any) -> dict[str, Any]:
    return parent.run(command, code=command_code(outfit=True), outfit=outfit_body(what), **how)


def test_variables_go_over_those_of_the_login(parent: Parent) -> None:
    given = Outfit(env={"LANG": "mine", "ADDED": "a b'c\"$HOME"})
    assert run(parent, 'printf "%s|" "$LANG" "$ADDED" "$SECRETIVE"', given)["rc"] == 0
    assert parent.output() == b"mine|a b'c\"$HOME|yes|"


def test_words_that_arent_ascii_in_a_locale_that_is(parent: Parent) -> None:
    assert parent.run("printf %s 'größe'")["rc"] == 0
    assert parent.output().decode() == "größe"


def test_an_outfit_that_isnt_ascii_in_a_locale_that_is(parent: Parent, tmp_path: Path) -> None:
    (tmp_path / "größe").mkdir()
    result = run(parent, 'printf %s "$ADDED|ä|"; pwd', Outfit(env={"ADDED": "ö"}, cwd="größe"))
    assert (result["rc"], result["error"]) == (0, None)
    assert parent.output().decode() == f"ö|ä|{tmp_path}/größe\n"


def test_a_clean_environment_has_what_every_login_has_and_what_nile_says(parent: Parent) -> None:
    run(parent, "env -0", Outfit(clean_env=True, env={"ADDED": "1"}))
    found = dict(item.split("=", 1) for item in parent.output().decode().split("\0") if item)
    own = {name for name in found if name.startswith("NILE_")}
    assert {"NILE_HOST", "NILE_RUN", "NILE_SCRATCH"} <= own
    assert found.keys() - own - {"_", "SHLVL", "PWD", "OLDPWD"} == {"HOME", "USER", "SHELL", "PATH", "ADDED"}
    assert found["PATH"] == outfit.PATH


def test_a_directory_from_the_root_or_from_the_logins(parent: Parent, tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    run(parent, "pwd", Outfit(cwd="inner"))
    assert parent.output().decode() == f"{tmp_path}/inner\n"


def test_a_directory_that_isnt_there(parent: Parent) -> None:
    result = run(parent, "echo never", Outfit(cwd="/no where"))
    assert (result["rc"], result["error"]) == (None, "--cwd /no where: No such file or directory")
    assert parent.output() == b""


def test_limits_of_each_process(parent: Parent) -> None:
    given = Outfit(rlimits={"nofile": 100, "mem": 1 << 30, "cpu": 3})
    run(parent, "ulimit -Sn; ulimit -Hn; ulimit -Sv; ulimit -Hv; ulimit -St; ulimit -Ht", given)
    assert parent.output().split() == [b"100", b"100", b"1048576", b"1048576", b"3", b"8"]


def test_cpu_time_that_is_used_up_ends_it_by_a_signal_that_says_so(parent: Parent) -> None:
    result = run(parent, "while :; do :; done", Outfit(rlimits={"cpu": 1}))
    assert (result["rc"], result["signal"]) == (None, 24)


@pytest.mark.parametrize("error", [MemoryError(), ValueError("why")])
def test_whatever_keeps_it_from_being_started_is_said(error: Exception) -> None:
    def prepare() -> None:
        raise error

    with pytest.raises(OSError, match="Invalid argument") as caught:
        forked.spawn("/bin/true", ["true"], {}, (0, 1, 2), (), prepare)
    assert caught.value.filename == repr(error)


def test_one_that_hangs_before_it_is_its_program_holds_up_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And says itself why it fails, once it does."""
    monkeypatch.setattr(forked, "READY_S", 0.05)
    held, release = os.pipe()
    said, err = os.pipe()

    def prepare() -> None:
        os.read(held, 1)
        raise OSError(errno.ESTALE, "", "--cwd /nfs")

    pid = forked.spawn("/bin/true", ["true"], {}, (0, 1, err), (signal.SIGPIPE,), prepare)
    os.close(err)
    os.write(release, b"x")
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 127
    assert os.read(said, 100) == b"nile: --cwd /nfs: Stale file handle\n"
    os.close(said)
    os.close(held)
    os.close(release)


@pytest.mark.skipif(os.getuid() != 0, reason="only root mounts")
def test_a_directory_whose_server_is_gone_hangs_its_command_and_nothing_else(
    parent: Parent, tmp_path: Path
) -> None:
    with dead_directory(str(tmp_path / "dead")) as dead:
        given = outfit_body(Outfit(cwd=dead))
        parent.start("echo never", code=command_code(outfit=True), outfit=given)
        pid = parent.wait_for(wire.STARTED).fields()["pid"]
        assert "D (disk sleep)" in Path(f"/proc/{pid}/status").read_text()
        parent.send(Frame(wire.CANCEL, body=wire.dumps({"grace": 0.1})))
        result = parent.result()
        assert (result["cause"], result["rc"], parent.output()) == ("cancelled", None, b"")
        assert not alive(pid)


def test_a_limit_that_the_host_doesnt_allow(tmp_path: Path) -> None:
    shell = ("setpriv", "--bounding-set=-all", "/bin/sh", "-c")
    with Parent(host_environment(tmp_path), shell, prefix="ulimit -n 200; ") as parent:
        result = run(parent, "echo never", Outfit(rlimits={"nofile": 500}))
    assert result["error"] == "--rlimit nofile=500 (the host allows 200 at most): Operation not permitted"


def test_words_in_the_line(parent: Parent) -> None:
    line = "echo %h '%g' \"%u\" %r %s 100%% %%h %%%h"
    run(parent, line, Outfit(subst=True), host="n-1.x", group="web", rank=7, stage=2)
    assert parent.output() == b"n-1.x web nile 7 2 100% %h %n-1.x\n"


def test_a_percent_is_one_unless_words_are_asked_for(parent: Parent) -> None:
    run(parent, "echo %h %%", Outfit(clean_env=True))
    assert parent.output() == b"%h %%\n"


@pytest.mark.parametrize("user", ["a b", "$(touch x)", "o'neil", 'x"y', ""])
def test_no_word_goes_into_a_line_that_a_shell_could_read_as_more(user: str) -> None:
    with pytest.raises(OSError, match="--subst: %u is "):
        outfit.substitute("echo '%u'", {"u": user})
