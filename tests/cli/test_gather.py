"""What `nile gather` takes for paths, before anything is done."""

from __future__ import annotations

from pathlib import Path

import pytest

from nile.cli.gather import check_name, places
from nile.errors import UsageError


@pytest.mark.parametrize(
    ("given", "source"),
    [
        ("/var/log/app", b"/var/log/app"),
        ("/var/log/app/", b"/var/log/app/"),
        ("/var//log/./app/.", b"/var/log/app/"),
        ("//etc/x/../app.conf", b"/etc/app.conf"),
        ("/", b"/"),
    ],
)
def test_paths_are_plain_and_keep_their_slash(given: str, source: bytes, tmp_path: Path) -> None:
    assert places((given, str(tmp_path / "x/../new"))) == ((source,), str(tmp_path / "new").encode())


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("/var/log",), "paths on the hosts and a directory here are wanted"),
        (("log", "x"), "log is no absolute path"),
        (("/var/log/app", "/srv/app", "x"), "/var/log/app and /srv/app would be one thing in DIR/HOST"),
        (("/var/log/app/", "/etc/conf", "x"), "/var/log/app/ would be mixed with the other files"),
        (("/", "/etc/conf", "x"), "/ would be mixed with the other files"),
        (("/var/log", "/dev/null"), "/dev/null is no directory"),
    ],
)
def test_what_can_not_be_is_refused(words: tuple[str, ...], reason: str) -> None:
    with pytest.raises(UsageError) as caught:
        places(words)
    assert reason in str(caught.value)
    assert caught.value.remedy


@pytest.mark.parametrize("name", ["..", ".", ".nile-sync-x", "-x", "a/b", "a\nb", "", "a" * 255])
def test_a_host_that_no_directory_can_be_named_like_is_refused(name: str) -> None:
    with pytest.raises(UsageError):
        check_name(name)


@pytest.mark.parametrize("name", ["h001", "db-1.example.org", "fe80::1", "_x"])
def test_usual_names_are_fine(name: str) -> None:
    check_name(name)
