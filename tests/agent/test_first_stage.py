"""The first stage for real: every shell, every Python, and Pythons that aren't there or can't start."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

import pytest

from nile.agent import wire
from nile.agent.handshake import Bundle, HandshakeError, command_line
from nile.agent.wire import Frame
from nile.bootstrap import agent_bundle
from tests.agent.parent import DEADLINE_S, PYTHONS, Parent, alive, host_environment, parent_of, wait_until

SHELLS = [shell for shell in ("sh", "bash", "dash", "zsh", "csh", "tcsh", "fish") if shutil.which(shell)]


def version(python: Path) -> str:
    return python.parents[1].name


@pytest.fixture(params=PYTHONS, ids=version)
def python(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def program(directory: Path, name: str, text: str) -> None:
    path = directory / name
    path.write_text(text)
    path.chmod(0o755)


def only(directory: Path, *names: str) -> dict[str, str]:
    """An environment in which these programs alone are in the PATH."""
    programs = directory / "only"
    programs.mkdir()
    for name in names:
        found = shutil.which(name)
        assert found is not None
        (programs / name).symlink_to(Path(found).resolve())
    return {**host_environment(directory), "PATH": str(programs)}


@pytest.mark.parametrize("shell", SHELLS)
def test_every_login_shell(shell: str, tmp_path: Path) -> None:
    path = shutil.which(shell)
    assert path is not None
    with Parent(host_environment(tmp_path), (path, "-c")) as parent:
        result = parent.run("echo here; exit 3")
        assert (result["rc"], parent.output()) == (3, b"here\n")


@pytest.mark.parametrize("relay", [False, True], ids=["leaf", "relay"])
def test_every_python(python: Path, relay: bool, tmp_path: Path) -> None:
    with Parent(host_environment(tmp_path, python), relay=relay) as parent:
        result = parent.run("echo here; echo there >&2; exit 3")
        assert result["rc"] == 3
        assert (parent.output("stdout"), parent.output("stderr")) == (b"here\n", b"there\n")
        assert parent.python == parent.wait_for(wire.HELLO).fields()["python"]
        assert parent.python.startswith(version(python).rpartition(".")[0])


@pytest.mark.parametrize(
    "broken",
    [
        "exit 127",
        "exit 1",
        "echo 'cannot open shared object file' >&2; exit 126",
        "printf 'Python 2.7.18 of this host\\n'; exit 90",
    ],
)
def test_a_python_that_cannot_start_falls_through(broken: str, tmp_path: Path) -> None:
    environment = host_environment(tmp_path)
    shims = tmp_path / "shims"
    shims.mkdir()
    program(shims, "python3", f"#!/bin/sh\n{broken}\n")
    newer = next((python for python in PYTHONS if version(python).startswith("3.9")), PYTHONS[-1])
    (shims / "python3.9").symlink_to(newer)
    environment["PATH"] = f"{shims}:/bin"
    with Parent(environment) as parent:
        assert parent.run("true")["rc"] == 0


def test_a_python_that_is_too_old_falls_through(tmp_path: Path) -> None:
    old = Path("~/.pyenv/versions/2.7.18/bin/python2.7").expanduser()
    if not old.exists():
        old = tmp_path / "python2"
        program(tmp_path, "python2", "#!/bin/sh\nexit 90\n")
    environment = only(tmp_path, "sh")
    (tmp_path / "only" / "python3").symlink_to(old)
    (tmp_path / "only" / "python3.6").symlink_to(PYTHONS[-1])
    with Parent(environment) as parent:
        assert parent.run("true")["rc"] == 0
        assert parent.python.startswith(version(PYTHONS[-1]).rpartition(".")[0])


def test_no_python_at_all(tmp_path: Path) -> None:
    environment = only(tmp_path, "sh")
    if Path("/usr/libexec/platform-python").exists():
        pytest.fail("this machine has a platform-python: the test needs one without")
    with Parent(environment) as parent, pytest.raises(HandshakeError) as caught:
        parent.wait_for(wire.HELLO)
    assert caught.value.code == "no-python"


def test_a_python_that_was_killed_has_no_successor(tmp_path: Path) -> None:
    """It had become an agent: nobody else may begin."""
    shims = tmp_path / "shims"
    shims.mkdir()
    program(shims, "python3", "#!/bin/sh\nkill -9 $$\n")
    environment = {**host_environment(tmp_path), "PATH": f"{shims}:/usr/bin:/bin"}
    with Parent(environment) as parent:
        parent.wait_closed()
        assert not parent.frames


def test_noise_of_the_profile_before_it(tmp_path: Path) -> None:
    noise = "printf 'Welcome\\r\\n\\377\\376'; head -c 300000 /dev/zero; "
    with Parent(host_environment(tmp_path), prefix=noise) as parent:
        assert parent.run("echo here")["rc"] == 0
        assert parent.output() == b"here\n"


def test_a_parent_that_hangs_up_before_it_answered(tmp_path: Path) -> None:
    with Parent(host_environment(tmp_path)) as parent:
        parent.hang_up()
        parent.process.wait(DEADLINE_S)
        assert parent.process.returncode == 0


@pytest.mark.parametrize("said", [b"", b"12", b"1000\nonly a part"])
def test_a_bundle_that_is_cut_short_ends_quietly(said: bytes, tmp_path: Path) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", command_line("nonce")],
        input=said,
        capture_output=True,
        env=host_environment(tmp_path),
        timeout=DEADLINE_S,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_nothing_is_written_to_the_disk(tmp_path: Path) -> None:
    with Parent(host_environment(tmp_path)) as parent:
        assert parent.run("true")["rc"] == 0
    assert list(tmp_path.iterdir()) == []


class TestCost:
    """What counts once for every host."""

    FORBIDDEN = {"asyncio", "subprocess", "json", "re", "signal", "socket", "enum", "threading", "logging"}

    def test_a_leaf_imports_nothing_that_costs(self, python: Path, tmp_path: Path) -> None:
        """What agent and warden have imported in the end, told by a module that goes along."""
        log = tmp_path / "imported"
        probe = f"""
import posix, sys
def leave(status, leave=posix._exit):
    with open({str(log)!r}, "a") as file:
        file.write(" ".join(sys.modules) + " ")
    leave(status)
posix._exit = leave
"""
        whole = agent_bundle()
        sources = [*whole.sources[:2], ("nile.agent.probe", probe.encode()), *whole.sources[2:]]
        bundle = Bundle(sources, whole.relay_only, whole.magic, None, whole.late)
        with Parent(host_environment(tmp_path, python), bundle=bundle) as parent:
            assert parent.run("true")["rc"] == 0
            parent.send(Frame(wire.END, 0, 1, (), wire.dumps({})))
            parent.wait_closed()
        imported = set(log.read_text().split())
        assert {"nile.agent.loop", "select"} <= imported
        assert not imported & self.FORBIDDEN
        assert ("os" in imported) == parent.python.startswith(("3.6.", "3.7."))  # they fork to start it

    def test_it_is_small_in_memory(self, python: Path, tmp_path: Path) -> None:
        with Parent(host_environment(tmp_path, python)) as parent:
            assert parent.run("true")["rc"] == 0
            status = Path(f"/proc/{parent.agent_pid}/status").read_text()
            resident_kb = int(status.partition("VmRSS:")[2].split()[0])
            assert resident_kb < 15 * 1024

    def test_the_warden_holds_nothing_of_the_login(self, tmp_path: Path) -> None:
        with Parent(host_environment(tmp_path)) as parent:
            parent.wait_for(wire.HELLO)
            warden = parent_of(parent.agent_pid)
            held = [Path(f"/proc/{warden}/fd/{number}") for number in (0, 1, 2)]
            wait_until(lambda: {path.readlink() for path in held} == {Path("/dev/null")}, "its letting go")
            started = time.monotonic()
            parent.hang_up()
            parent.wait_closed()
            assert time.monotonic() - started < DEADLINE_S / 2
            wait_until(lambda: not alive(warden), "the warden's end")
