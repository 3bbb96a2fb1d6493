"""`nile check`."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from nile.cli import commands
from nile.errors import NileError, UsageError
from nile.topology import places


def run(*args: str) -> Result:
    return CliRunner().invoke(commands, ["check", *args], catch_exceptions=False, standalone_mode=False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "r.yaml"


def test_a_good_file(file: Path) -> None:
    file.write_text('version: 1\ngroups: {a: "n[1-40]"}\n')
    result = run(str(file))
    assert (result.return_value, result.stderr) == (0, "")
    assert result.stdout == f"{file}: ok (40 hosts, 1 group, 2 stages)\n"
    assert run("-r", str(file)).return_value == 0


def test_every_error_is_printed(file: Path) -> None:
    file.write_text("version: 1\nssh: {port: 0}\nhosts: {010: {}}\n")
    result = run(str(file))
    assert (result.return_value, result.stdout) == (2, "")
    assert result.stderr.splitlines() == [
        f"{file}:2:13: '0' is not a port",
        "  write one from 1 to 65535",
        f"{file}:3:9: 010 is not a string in YAML",
        '  a key of hosts must be quoted: "010"',
        f"{file}: 2 errors",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('groups: {a: "n[1-40]"}\nlimits: {stages: 1}', "40 hosts don't fit"),
        (
            "groups: {a: {hosts: n1, via: g}, b: g}\ntree: [n1, g]",
            "r.yaml:3:8: n1 is reachable only through g",
        ),
        ("groups: {a: {hosts: n1, via: g}}\ntree: flat", "so not in a flat tree"),
    ],
)
def test_hosts_that_cant_be_planned(file: Path, text: str, message: str) -> None:
    file.write_text(f"version: 1\n{text}\n")
    result = run(str(file))
    assert result.return_value == 2
    assert message in result.stderr
    assert "can't be planned all together" in result.stderr


def test_the_file_that_others_would_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("NILE_ROUTES", raising=False)
    monkeypatch.setattr(places, "SYSTEM_ROUTES", tmp_path / "none.yaml")
    with pytest.raises(UsageError, match="there is no route file"):
        run()
    (tmp_path / "nile.yaml").write_text("version: 1\n")
    assert run().stdout == "nile.yaml: ok (0 hosts, 0 groups, 0 stages)\n"


def test_what_cant_be_read(tmp_path: Path) -> None:
    with pytest.raises(NileError, match="No such file"):
        run(str(tmp_path / "gone.yaml"))
    with pytest.raises(NileError, match="two files are named"):
        run("a", "-r", "b")
