"""The file of `--per-host`: what it says, and errors that name the place."""

from __future__ import annotations

from pathlib import Path

import pytest

from nile.errors import RouteFileError
from nile.topology.hostsets import HostSets
from nile.topology.perhost import PerHost, read_per_host

GOOD = """
"@web": systemctl reload nginx
n[3-4],m1: |
  echo one
  echo two
default: "true"
"""
EXPAND = HostSets({"web": ("w1", "w2")}, ()).expand


def read(tmp_path: Path, text: str) -> PerHost:
    file = tmp_path / "commands.yaml"
    file.write_text(text)
    return read_per_host(file)


def test_what_a_file_says(tmp_path: Path) -> None:
    file = read(tmp_path, GOOD)
    named = file.named(EXPAND)
    assert list(named) == ["w1", "w2", "n3", "n4", "m1"]
    lines = {host: line.text for host, line in file.of(["n4", "w1", "other"], named).items()}
    assert lines == {"n4": "echo one\necho two\n", "w1": "systemctl reload nginx", "other": "true"}


def test_a_host_without_a_command(tmp_path: Path) -> None:
    file = read(tmp_path, "n1: uptime\n")
    with pytest.raises(
        RouteFileError, match=r"commands\.yaml: it has no command for n2(.|\n)*default: COMMAND"
    ):
        file.of(["n1", "n2"], file.named(EXPAND))


@pytest.mark.parametrize(
    ("text", "place", "says"),
    [
        ("", "1:1", "the file is empty"),
        ("- n1", "1:1", "no mapping of host sets to commands"),
        ("{}", "1:1", "no mapping of host sets to commands"),
        ("n1: uptime\nn1: date", "2:1", "'n1' is given twice"),
        ("n1: true", "1:5", "true is not a string in YAML"),
        ("n1: ''", "1:5", "'' can't be a command"),
        ("n1: [a, b]", "1:5", "a list stands here"),
        ("n1: uptime\nn2: {a", "2:7", "not YAML"),
        ("'': uptime", "1:1", "a host set is empty"),
    ],
)
def test_what_can_not_be_read(tmp_path: Path, text: str, place: str, says: str) -> None:
    with pytest.raises(RouteFileError, match=says) as caught:
        read(tmp_path, text)
    if "not YAML" not in says:
        assert caught.value.where == f"{tmp_path}/commands.yaml:{place}"
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("text", "place", "says"),
    [
        ("n[1-3]: uptime\nn3,n4: date", "2:1", "n3 is in n3,n4 and in n[1-3]"),
        ("n1: uptime\n'@none': date", "2:1", "none"),
        ("n[1-: uptime", "1:1", ""),
    ],
)
def test_what_host_sets_can_not_mean(tmp_path: Path, text: str, place: str, says: str) -> None:
    with pytest.raises(RouteFileError) as caught:
        read(tmp_path, text).named(EXPAND)
    assert says in str(caught.value)
    assert caught.value.where == f"{tmp_path}/commands.yaml:{place}"
    assert caught.value.remedy
