"""The file of `--per-host`: what it says, and errors that name the place."""

from __future__ import annotations

from pathlib import Path

import pytest

from nile.errors import RouteFileError, UsageError
from nile.options import Script
from nile.topology.hostsets import HostSets
from nile.topology.perhost import PerHost, read_per_host, read_tasks

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


def test_scripts_are_seen_from_the_directory_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "warm.py").write_bytes(b"print(1)")
    text = (
        "'@web': {script: warm.py, args: [--fast, 'two words', '']}\nn1:\n  script: warm.py\ndefault: date\n"
    )
    file = read(tmp_path, text)
    tasks = read_tasks(file.of(["w1", "w2", "n1", "x"], file.named(EXPAND)), tmp_path)
    fast = Script.of("warm.py", b"print(1)", ["--fast", "two words", ""])
    assert tasks == {"w1": fast, "w2": fast, "n1": Script.of("warm.py", b"print(1)"), "x": "date"}
    assert tasks["w1"] is tasks["w2"]
    assert fast.called == "warm.py --fast 'two words' ''"


@pytest.mark.parametrize(("content", "says"), [(None, "No such file"), (b"", "there is nothing in it")])
def test_a_script_that_can_not_be_run_is_told_with_its_place(
    tmp_path: Path, content: bytes | None, says: str
) -> None:
    if content is not None:
        (tmp_path / "x.sh").write_bytes(content)
    file = read(tmp_path, "n1: uptime\nn2: {script: x.sh}\n")
    with pytest.raises(UsageError, match=says) as caught:
        read_tasks(file.of(["n1", "n2"], file.named(EXPAND)), tmp_path)
    assert caught.value.where == f"{tmp_path}/commands.yaml:2:14: script {tmp_path}/x.sh"
    assert read_tasks(file.of(["n1"], file.named(EXPAND)), tmp_path) == {"n1": "uptime"}


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
        ("n1: {}", "1:5", "this names no script"),
        ("n1: {args: [a]}", "1:5", "this names no script"),
        ("n1: {script: x, argv: [a]}", "1:17", "a script has no 'argv'"),
        ("n1: {script: [x]}", "1:14", "a list stands here"),
        ("n1: {script: '-'}", "1:14", "'-' can't be a file"),
        ("n1: {script: x, args: a}", "1:23", "the arguments are no list"),
        ("n1: {script: x, args: [a, 5]}", "1:27", "5 is not a string in YAML"),
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
