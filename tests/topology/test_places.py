"""Where route files are looked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from nile.errors import UsageError
from nile.topology import places


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own, the current directory within it, and no system-wide file."""
    for variable in ("XDG_STATE_HOME", "XDG_CONFIG_HOME", "NILE_ROUTES"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(places, "SYSTEM_ROUTES", tmp_path / "etc/nile/routes.yaml")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path


def write(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("version: 1\n")
    return path


def test_the_order(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert places.find_route_file(None) is None
    system = write(home / "etc/nile/routes.yaml")
    assert places.find_route_file(None) == system
    user = write(home / ".config/nile/routes.yaml")
    assert places.find_route_file(None) == user
    here = write(home / "work/nile.yaml")
    assert places.find_route_file(None) == Path("nile.yaml")
    named = write(home / "named.yaml")
    monkeypatch.setenv("NILE_ROUTES", str(named))
    assert places.find_route_file(None) == named
    assert places.find_route_file(str(here)) == here


def test_xdg_directories(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert places.state_directory() == home / ".local/state/nile"
    assert places.lab_directory("x") == home / ".local/state/nile/lab/x"
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "s"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "c"))
    assert places.state_directory() == home / "s/nile"
    assert places.config_directory() == home / "c/nile"
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    assert places.state_directory() == home / ".local/state/nile"


def test_labs(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    default = write(places.lab_directory("lab") / "routes.yaml")
    other = write(places.lab_directory("other") / "routes.yaml")
    assert places.find_route_file("lab") == default
    assert places.find_route_file("lab:other") == other
    monkeypatch.setenv("NILE_ROUTES", "lab")
    assert places.find_route_file(None) == default
    assert places.find_route_file(str(write(home / "work/lab"))) == home / "work/lab"


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("none.yaml", "-r none.yaml: the route file is missing"),
        ("lab", "there is no lab lab"),
        ("lab:x", "nile lab up --name x"),
        ("lab:../x", "can't be a lab's name"),
        ("lab:", "the route file is missing"),
    ],
)
def test_what_isnt_there(option: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        places.find_route_file(option)
    assert message in str(caught.value)


def test_a_stale_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NILE_ROUTES", "gone.yaml")
    with pytest.raises(UsageError, match=r"\$NILE_ROUTES=gone.yaml: the route file is missing"):
        places.find_route_file(None)
