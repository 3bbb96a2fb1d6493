"""The packed agent in the user's cache: the same bytes, and only what can be trusted."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nile.bootstrap import Kept, KeptBundle, agent_bundle, carrier_code, kept, program, reach_code
from nile.bootstrap import bundle as packer

OTHER = "another Python's"


@pytest.fixture(autouse=True)
def anew() -> Iterator[None]:
    """A process asks once what Nile it is made of; here each test does, and who comes after."""
    kept.own_key.cache_clear()
    yield
    kept.own_key.cache_clear()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Where the cache directory is to be; it isn't there yet."""
    return tmp_path / "home" / "cache"


def unmade(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever packs anew from here on fails."""

    def fail() -> None:
        raise AssertionError("packed anew")

    monkeypatch.setattr(kept, "agent_bundle", fail)


@pytest.mark.parametrize("relay", [True, False])
@pytest.mark.parametrize("own", [True, False])
def test_gives_what_the_bundle_gives(
    cache: Path, relay: bool, own: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = agent_bundle()
    magic = whole.magic if own else OTHER
    assert KeptBundle(Kept(cache)).packed(relay, magic) == whole.packed(relay, magic)
    unmade(monkeypatch)
    assert KeptBundle(Kept(cache)).packed(relay, magic) == whole.packed(relay, magic)


def test_nothing_is_packed_any_more_once_all_is_there(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = KeptBundle(Kept(cache))
    bundle.have_all()
    unmade(monkeypatch)
    for again in (bundle, KeptBundle(Kept(cache))):
        for relay in (True, False):
            for magic in (bundle.magic, OTHER):
                assert again.packed(relay, magic) == agent_bundle().packed(relay, magic)


def test_only_the_user_can_get_at_it(cache: Path) -> None:
    KeptBundle(Kept(cache)).packed(True, OTHER)
    (file,) = cache.iterdir()
    assert (cache.stat().st_mode & 0o777, file.stat().st_mode & 0o777) == (0o700, 0o600)


def garbled(file: Path) -> None:
    *kept_bytes, last = file.read_bytes()
    file.write_bytes(bytes([*kept_bytes, last ^ 1]))


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:20])


def writable_by_the_group(file: Path) -> None:
    file.chmod(0o660)


def in_a_directory_of_the_group(file: Path) -> None:
    file.parent.chmod(0o770)


def behind_a_link(file: Path) -> None:
    file.symlink_to(file.rename(file.with_name("elsewhere")))


def a_pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


SPOILT = [garbled, cut, writable_by_the_group, in_a_directory_of_the_group, behind_a_link, a_pipe]


@pytest.mark.parametrize("spoil", SPOILT)
def test_is_not_used_where_it_cannot_be_trusted(cache: Path, spoil: object) -> None:
    bundle = KeptBundle(Kept(cache))
    data = bundle.packed(True, OTHER)
    (file,) = cache.iterdir()
    assert kept.read(file) == data
    assert callable(spoil)
    spoil(file)
    assert kept.read(file) is None
    assert KeptBundle(Kept(cache)).packed(True, OTHER) == data


def test_belongs_to_somebody_else(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    KeptBundle(Kept(cache)).packed(True, OTHER)
    (file,) = cache.iterdir()
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    assert kept.read(file) is None


def test_a_directory_that_cannot_be_made_costs_time_only(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no directory")
    assert KeptBundle(Kept(tmp_path / "file" / "cache")).packed(True, OTHER) == agent_bundle().packed(
        True, OTHER
    )


def test_nothing_is_kept_of_files_that_are_not_there(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "__file__", "/no/nile.zip/nile/bootstrap/kept.py")
    assert KeptBundle(Kept(cache)).packed(True, OTHER) == agent_bundle().packed(True, OTHER)
    assert not cache.exists()


def test_another_agent_has_another_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = kept.content_key()
    assert kept.content_key() == before
    (tmp_path / "core.py").write_text("pass")
    monkeypatch.setattr("nile.agent.__path__", [str(tmp_path)])
    changed = kept.content_key()
    (tmp_path / "core.py").write_text("pass ")
    assert len({before, changed, kept.content_key()}) == 3


def test_old_ones_go(cache: Path) -> None:
    for number in range(kept.MOST_FILES + 3):
        kept.write(cache / f"agent-{number:02}", b"data")
        os.utime(cache / f"agent-{number:02}", (number, number))
    kept.write(cache / "agent-new", b"data")
    left = sorted(file.name for file in cache.iterdir())
    assert len(left) == kept.MOST_FILES
    assert left[0] == "agent-04", left
    assert left[-1] == "agent-new"


PACKERS: dict[str, Callable[[], object]] = {
    "program": program.worker_program,
    "carrier_code": carrier_code,
    "reach_code": reach_code,
    "second_warden": packer.second_warden,
    "shell_code": packer.shell_code,
    "command_code": packer.command_code,
}


@pytest.mark.parametrize("what", PACKERS)
def test_whatever_a_run_may_want_is_packed_once(
    cache: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = getattr(Kept(cache), what)()
    assert whole == PACKERS[what]()
    for name in ("worker_program", "carrier_code", "reach_code", "_packer"):
        monkeypatch.setattr(kept, name, None)
    assert getattr(Kept(cache), what)() == whole


def test_each_command_has_its_own(cache: Path) -> None:
    for what in ({}, {"feed": True}, {"outfit": True}, {"outfit": True, "sudo": True}):
        assert Kept(cache).command_code(**what) == packer.command_code(**what), what


def test_the_agents_modules_are_read_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are two hundred."""
    asked: list[str] = []

    def ask() -> str:
        asked.append("again")
        return "key"

    monkeypatch.setattr(kept, "content_key", ask)
    counts = []
    for _ in range(2):
        pieces = Kept(cache)
        KeptBundle(pieces).have_all()
        pieces.carrier_code()
        pieces.command_code()
        counts.append(len(asked))
    made = len(list(cache.iterdir()))
    assert counts == [1 + made, 1 + made], "once, and where something is made, behind that"


def test_what_another_version_makes_under_a_long_lived_program_isnt_kept_as_ours(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An upgrade in place changes the files that are packed, not the name that this process has for them."""
    whole = Kept(cache).shell_code()
    for file in cache.iterdir():
        file.unlink()
    monkeypatch.setattr(kept, "content_key", lambda: "another")
    assert Kept(cache).shell_code() == whole
    assert not list(cache.iterdir())
