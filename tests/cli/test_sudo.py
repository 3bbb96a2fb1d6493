"""`--sudo`: as whom workers run, and the line that starts them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from nile.bootstrap.program import COMMAND, PYTHON, command
from nile.cli.gather import command as gather
from nile.errors import UsageError

SUDO = """#!/bin/sh
[ "$1 $2 $3 $4" = "-n -u ada --" ] || exit 9
shift 4
[ -z "$FORBIDDEN" ] || { echo "sudo: no"; exit 1; }
[ -z "$UNABLE" ] || [ "$*" = "env true" ] || { echo "env: permission denied"; exit 126; }
exec env -i PATH="$PATH" BY_SUDO=1 "$@"
"""


@pytest.mark.parametrize("name", ["", "a b", "x;y", "$(id)", "a'b"])
def test_what_is_no_user_is_refused(name: str) -> None:
    result = CliRunner().invoke(gather, ["-w", "h1", "--sudo-user", name, "/x", "y"])
    assert isinstance(result.exception, UsageError)
    assert result.exception.where == "--sudo-user"


@pytest.mark.parametrize("shell", ["sh", "bash", "zsh", "csh", "fish"])
@pytest.mark.parametrize("trouble", ["", "FORBIDDEN", "UNABLE"])
def test_every_login_shell_starts_it_by_sudo_with_what_it_needs(
    shell: str, trouble: str, tmp_path: Path
) -> None:
    """The worker's Python is one that says what it got."""
    found = shutil.which(shell)
    assert found, f"install {shell}, which the tests want"
    (tmp_path / "sudo").write_text(SUDO)
    python = tmp_path / "a python"
    python.write_text(
        '#!/bin/sh\necho "$1|$2|$BY_SUDO|$NILE_RUN|$NILE_HOST|$NILE_REFUSED|$NILE_UNABLE"; head -c 5\n'
    )
    for program in (tmp_path / "sudo", python):
        program.chmod(0o755)
    path = f"{tmp_path}:/usr/bin:/bin"
    env = {
        "PATH": path,
        "NILE_PYTHON": str(python),
        "NILE_RUN": "r1",
        "NILE_HOST": "h1",
        "HOME": str(tmp_path),
    }
    done = subprocess.run(
        [found, "-c", command("ada")],
        env={**env, **({trouble: "yes"} if trouble else {})},
        input=b"input",
        capture_output=True,
        timeout=20,
    )
    wanted = {
        "": "1|r1|h1||",
        "FORBIDDEN": "|r1|h1|sudo: no|",
        "UNABLE": "|r1|h1|env: permission denied|ada",
    }
    assert done.stdout.decode() == f"-BISc|{PYTHON}|{wanted[trouble]}\ninput", done.stderr


def test_without_sudo_nothing_of_it_is_there() -> None:
    assert command() == COMMAND
