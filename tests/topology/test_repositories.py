"""The file of `--repos`: what it says, and errors that name the place."""

from __future__ import annotations

from pathlib import Path

import pytest

from nile.errors import RouteFileError
from nile.topology.hostsets import HostSets
from nile.topology.repositories import read_repositories

GOOD = """
- source: [site/, "a b"]
  dest: /srv/site
  exclude: "*.tmp"
  hosts: [n1, "n[3-4]"]
- {source: /etc/x, dest: /srv/site2}
"""


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "repos.yaml"
    file.write_text(text)
    return file


def test_what_a_file_says(tmp_path: Path) -> None:
    first, second = read_repositories(written(tmp_path, GOOD))
    assert [word.text for word in first.source] == ["site/", "a b"]
    assert [word.text for word in first.exclude] == ["*.tmp"]
    assert (first.dest.text, second.dest.text) == ("/srv/site", "/srv/site2")
    expand = HostSets({}, ()).expand
    assert first.names(expand, ["n1", "n2", "n3"]) == {"n1", "n3"}
    assert second.names(expand, ["n1", "n2"]) == {"n1", "n2"}


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("", 1, "the file is empty"),
        ("a: b\n", 1, "this is no list of repositories"),
        ("[]\n", 1, "this is no list of repositories"),
        ("- {source: x}\n", 1, "dest"),
        ("- {source: x, dest: /x}\n- {source: y, dest: /y, hsots: n1}\n", 2, "hsots"),
        ("- {source: [], dest: /x}\n", 1, "the list is empty"),
        ("- {source: 12, dest: /x}\n", 1, "12 is not a string"),
        ("- {source: x, dest: ''}\n", 1, "can't be a path on the hosts"),
        ("- {source: x, dest: /x}\n- {source: y, dest: /x/}\n", 2, "/x/ and /x are not apart"),
        ("- {source: x, dest: /x}\n- {source: y, dest: /x/y}\n", 2, "are not apart"),
        ("- {source: x, dest: /x/y}\n- {source: y, dest: /x}\n", 2, "are not apart"),
        ("- {source: x, dest: /x/z}\n- {source: y, dest: /x/y/../z}\n", 2, "are not apart"),
        ("- {source: x, dest: //x}\n- {source: y, dest: /x/./y///}\n", 2, "are not apart"),
        ("- {source: x, dest: /}\n- {source: y, dest: /x}\n", 2, "are not apart"),
        ("- {source: x\n", 2, "not YAML"),
    ],
)
def test_errors_name_the_place(tmp_path: Path, text: str, line: int, reason: str) -> None:
    file = written(tmp_path, text)
    with pytest.raises(RouteFileError) as caught:
        read_repositories(file)
    assert reason in str(caught.value)
    assert (caught.value.where or "").startswith(f"{file}:{line}:")
    assert caught.value.remedy


def test_a_host_set_that_is_none_is_named(tmp_path: Path) -> None:
    (one,) = read_repositories(written(tmp_path, "- {source: x, dest: /x, hosts: 'n[1-'}\n"))
    with pytest.raises(RouteFileError) as caught:
        one.names(HostSets({}, ()).expand, ["n1"])
    assert (caught.value.where or "").endswith("repos.yaml:1:32")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RouteFileError, match="No such file"):
        read_repositories(tmp_path / "none")
