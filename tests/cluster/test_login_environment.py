"""A command gets what `ssh host command` would give it, whatever the login shell is and says.

Every run goes to one host of each kind at once: a run costs more than a host.
"""

from __future__ import annotations

import contextlib
import difflib
import shutil
from collections.abc import Iterator

import pytest

from nile.lab import Lab
from tests.cluster.hosts import login_shell, root_of
from tests.cluster.running import Nile, pieces
from tests.lab.helpers import ssh

pytestmark = pytest.mark.cluster

RELAY = "h001"
SHELLS = {"h002": "bash", "h003": "dash", "h004": "zsh", "h005": "csh", "h006": "fish"}
NOISES = {
    "banner": "cat /srv/noise; cat /srv/noise >&2",
    "no newline": "printf 'nothing ends this'",
    "1 MB": "head -c 1000000 /dev/zero | tr '\\0' x",
}
RC_FILES = {"bash": ".bashrc", "zsh": ".zshenv", "csh": ".cshrc", "fish": ".config/fish/config.fish"}
NOISY = {
    f"h{number:03}": (shell, noise)
    for number, (shell, noise) in enumerate(((s, n) for s in RC_FILES for n in NOISES), start=7)
}
# Of signals the first 28: posix_spawn of glibc leaves its own (32 and 33) ignored.
SIGNALS = "grep '^Sig[^Q]' /proc/self/status | cut -c1-7,18-"
LOOK = f"env | sort; umask; pwd; cat /proc/self/limits; {SIGNALS}; ls /proc/self/fd; nice"
RUBBISH = b"\x1b[2J\xff\xfe nile 0000 py sh \x00\r\n*** welcome ***\n"


def avoidable(text: str) -> list[str]:
    """Lines but those on the two ends of the connection, which differ from login to login, and Nile's own."""
    lines = text.splitlines()
    return [line for line in lines if not line.startswith(("SSH_CLIENT=", "SSH_CONNECTION=", "NILE_"))]


@pytest.fixture
def shells(fleet: Lab) -> Iterator[dict[str, str]]:
    """Host -> its login shell."""
    with contextlib.ExitStack() as stack:
        for host, shell in SHELLS.items():
            path = shutil.which(shell)
            assert path, f"install {shell}, which the tests want"
            stack.enter_context(login_shell(fleet, host, path))
        yield SHELLS


@pytest.fixture
def noisy(fleet: Lab) -> Iterator[dict[str, tuple[str, str]]]:
    """Host -> its login shell, and what that says at each login."""
    with contextlib.ExitStack() as stack:
        for host, (shell, noise) in NOISY.items():
            stack.enter_context(login_shell(fleet, host, str(shutil.which(shell))))
            root_of(fleet, host).joinpath("srv/noise").write_bytes(RUBBISH)
            rc = fleet.home(host) / RC_FILES[shell]
            rc.parent.mkdir(parents=True, exist_ok=True)
            rc.write_text(NOISES[noise] + "\n")
            stack.callback(rc.unlink)
        yield NOISY


def at_both_stages(nile: Nile, hosts: str) -> list[tuple[int, Nile]]:
    """Nile with these hosts right below the root, and below a relay."""
    below = nile.with_routes("below", groups={"below": {"hosts": hosts, "via": RELAY}})
    return [(1, nile), (2, below)]


def test_environment_directory_and_limits_are_those_of_ssh(
    nile: Nile, fleet: Lab, shells: dict[str, str]
) -> None:
    want = {host: avoidable(ssh(fleet, host, LOOK).stdout.decode()) for host in shells}
    for lines in want.values():
        assert {"HOME=/root", "USER=root", "/root"} <= set(lines)
        assert {"022", "0022", "22"} & set(lines)
    for stage, which in at_both_stages(nile, "h[002-006]"):
        done = which.json("-w", "h[002-006]", "--stages", str(stage), "--branches", "9", "--", LOOK).all_ok()
        for host in shells:
            assert list(difflib.unified_diff(want[host], avoidable(done.stdout_of(host)), n=0)) == []
        assert {result["stage"] for result in done.results.values()} == {stage}


@pytest.mark.parametrize(
    "command",
    [
        """echo 'a  b' "c  d" e\\ \\ f '$HOME' "$HOME" | cat; exit 7""",
        "echo 'it is; fine' && false || sh -c 'echo no >&2; exit 3'",
        "printf 'no end'; nonsense-that-is-no-program",
        "exec sh -c 'kill -TERM $$'",
    ],
)
def test_a_line_means_what_it_means_to_ssh(
    nile: Nile, fleet: Lab, shells: dict[str, str], command: str
) -> None:
    done = nile.json("-w", "h[002-006]", "--tree", "flat", "--", command)
    for host in shells:
        want, result = ssh(fleet, host, command), done.results[host]
        assert (result["stdout"], result["stderr"]) == (want.stdout.decode(), want.stderr.decode())
        # The ssh client says 255 where a signal ended the command.
        assert (result["rc"] or 128 + (result["signal"] or 0)) in (want.returncode, 128 + 15)
        assert (result["signal"] == 15) == (want.returncode == 255)


def test_several_words_are_joined_as_ssh_does(nile: Nile, fleet: Lab) -> None:
    words = ("echo", "a  b", "'c  d'", "$HOME", "*", "|", "tr", "a-z", "A-Z")
    want = ssh(fleet, "h002", " ".join(words)).stdout.decode()
    assert nile.json("-w", "h002", "--", *words).stdout_of("h002") == want == "A B C  D /ROOT *\n"


def test_noise_of_logins_is_survived(nile: Nile, fleet: Lab, noisy: dict[str, tuple[str, str]]) -> None:
    """What the shell prints when it starts for the command is the command's output, as with ssh."""
    want = {host: ssh(fleet, host, "echo here") for host in noisy}
    for host, (_, noise) in noisy.items():
        assert want[host].stdout.endswith(b"here\n")
        assert len(want[host].stdout) > (1_000_000 if noise == "1 MB" else 20)
    for stage, which in at_both_stages(nile, "h[007-018]"):
        done = which.json(
            "-w", "h[007-018]", "--stages", str(stage), "--branches", "20", "--", "echo here"
        ).all_ok()
        assert {result["stage"] for result in done.results.values()} == {stage}
        for host in noisy:
            assert pieces(done.events, host) == want[host].stdout
            assert pieces(done.events, host, "stderr") == want[host].stderr


def test_a_noisy_relay_relays(nile: Nile, fleet: Lab, noisy: dict[str, tuple[str, str]]) -> None:
    relays = tuple(noisy)
    pairs = {relay: f"h{number:03}" for number, relay in enumerate(relays, start=20)}
    done = nile.with_routes(tree=pairs).json("-w", "h[020-031]", "--", "hostname").all_ok()
    assert {host: result["path"][1] for host, result in done.results.items()} == {
        below: relay for relay, below in pairs.items()
    }


def test_what_the_rc_file_sets_is_set(nile: Nile, fleet: Lab) -> None:
    rc = fleet.home("h002") / ".bashrc"
    rc.write_text(
        "export MINE=1 PATH=$HOME/bin:/usr/bin:/bin\numask 027\ncd /srv\nOLDPWD=\nf() { echo f; }\n"
    )
    try:
        command = "env | sort; umask; pwd; f"
        want = avoidable(ssh(fleet, "h002", command).stdout.decode())
        assert {"MINE=1", "PATH=/root/bin:/usr/bin:/bin", "0027", "/srv", "f"} <= set(want)
        for _, which in at_both_stages(nile, "h002"):
            assert avoidable(which.json("-w", "h002", "--", command).all_ok().stdout_of("h002")) == want
    finally:
        rc.unlink()
