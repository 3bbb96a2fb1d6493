"""A release that is brought, by the real rsync: as its source in the end, and the one before it as it was."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from nile.agent.worker.delivery import Delivery
from nile.agent.worker.lock import Lock
from nile.agent.worker.manifest import Terms
from nile.agent.worker.patterns import Patterns
from nile.agent.worker.place import Place
from nile.agent.worker.releases import Refused
from nile.agent.worker.scanning import scan
from tests.agent.worker.copying import NAME, copy, tree, well

TERMS = Terms()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Some files, two of them hard-linked."""
    top = tmp_path / "source"
    (top / "deep").mkdir(parents=True)
    for name in ("a", "b", "deep/c"):
        (top / name).write_text(name * 1000)
    (top / "link").symlink_to("a")
    (top / "twin").hardlink_to(top / "b")
    return top


@pytest.fixture
def dest(tmp_path: Path, source: Path) -> Path:
    """The source, as release 1, which is current."""
    made = tmp_path / "dest"
    finish(bring(made, "1", source))
    (made / "current").symlink_to("releases/1")
    return made


def taken(dest: Path, name: str) -> Delivery:
    delivery = Delivery(os.fsencode(dest), NAME, name)
    assert delivery.take() is None
    return delivery


def bring(dest: Path, name: str, source: Path, *excludes: bytes, linked: bool = True) -> Delivery:
    """Copy once, as a run does."""
    delivery = taken(dest, name)
    delivery.make_ready(Patterns(excludes))
    where = Path(os.fsdecode(delivery.dest))
    basis = delivery.basis if linked else b""
    well(copy(f"{source}/", where, delete=True, hard_links=True, excludes=excludes, link_dest=basis))
    return delivery


def finish(delivery: Delivery) -> None:
    delivery.seal()
    delivery.close()


def equal(source: Path, dest: Path) -> bool:
    prints = [scan([(os.fsencode(place), b"")], Patterns()).fingerprint(TERMS) for place in (source, dest)]
    return prints[0] == prints[1]


def same_file(dest: Path, name: str) -> bool:
    one, two = ((dest / "releases" / each / name).lstat() for each in "12")
    return one.st_ino == two.st_ino


class TestBesideThePreviousOne:
    def test_what_is_equal_is_the_same_file(self, dest: Path, source: Path) -> None:
        (source / "a").write_text("new")
        finish(bring(dest, "2", source))
        assert equal(source, dest / "releases/2")
        assert same_file(dest, "b")
        assert same_file(dest, "deep/c")
        assert not same_file(dest, "a")

    @pytest.mark.parametrize("times", [1, 2])
    def test_nothing_of_the_previous_one_changes(self, dest: Path, source: Path, times: int) -> None:
        """Neither content nor mode nor time, also where an earlier try had linked the files already."""
        before = tree(dest / "releases/1")
        if times == 2:
            bring(dest, "2", source).abandon()
            assert (dest / "releases/.nile-making-2/a").stat().st_nlink == 2
        (source / "a").chmod(0o600)
        os.utime(source / "b", ns=(1, 2))
        (source / "deep/c").write_text("new")
        (source / "link").unlink()
        finish(bring(dest, "2", source))
        assert equal(source, dest / "releases/2")
        assert tree(dest / "releases/1") == before

    def test_what_was_linked_together_and_is_not_any_more(self, dest: Path, source: Path) -> None:
        """rsync links both to the same file; so the second try is made without links."""
        seen = (source / "b").stat()
        (source / "twin").unlink()
        (source / "twin").write_text("b" * 1000)
        os.utime(source / "twin", ns=(seen.st_atime_ns, seen.st_mtime_ns))
        os.utime(source, ns=(1, 1))
        delivery = bring(dest, "2", source)
        where = Path(os.fsdecode(delivery.dest))
        assert not equal(source, where)
        delivery.abandon()
        finish(bring(dest, "2", source, linked=False))
        assert equal(source, dest / "releases/2")
        assert (dest / "releases/1/b").stat().st_nlink == 2


class TestMakingReady:
    def test_links_within_the_release_stay(self, tmp_path: Path, source: Path) -> None:
        delivery = bring(tmp_path / "dest", "1", source)
        before = tree(Path(os.fsdecode(delivery.dest)))
        delivery.make_ready(Patterns())
        assert tree(Path(os.fsdecode(delivery.dest))) == before

    def test_what_an_earlier_try_left_and_this_one_leaves_out_goes(self, dest: Path, source: Path) -> None:
        (source / "deep/key.pem").write_text("secret")
        (source / "log").mkdir()
        (source / "log/x").touch()
        bring(dest, "2", source).abandon()
        making = dest / "releases/.nile-making-2"
        (making / "deep/.nile-sync-dead").mkdir()
        before = (making / "deep").stat().st_mtime_ns
        delivery = taken(dest, "2")
        delivery.tidy(Patterns([b"*.pem", b"/log/"]))
        assert (making / "deep").stat().st_mtime_ns == before
        finish(delivery)
        found = {str(path.relative_to(dest / "releases/2")) for path in (dest / "releases/2").rglob("*")}
        assert found == {"a", "b", "twin", "link", "deep", "deep/c"}

    def test_what_is_whole_is_not_written_to(self, dest: Path) -> None:
        with pytest.raises(Refused, match="there already"):
            taken(dest, "1").make_ready(Patterns())


class TestTaking:
    def test_what_nothing_came_of_leaves_nothing(self, tmp_path: Path) -> None:
        taken(tmp_path / "a/b", "1").abandon()
        assert list(tmp_path.iterdir()) == []

    def test_what_came_of_it_stays_for_the_next_try(self, tmp_path: Path, source: Path) -> None:
        bring(tmp_path, "1", source).abandon()
        assert (tmp_path / "releases/.nile-making-1/a").exists()
        assert not (tmp_path / "releases/1").exists()

    def test_one_run_at_a_time_whatever_its_release(self, dest: Path) -> None:
        first = taken(dest, "2")
        for name in ("1", "2", "3"):
            busy = Delivery(os.fsencode(dest), NAME, name).take()
            assert busy is not None
            assert "another run writes there" in busy[0]
        plain = Place(os.fsencode(dest), NAME, True).take()
        assert plain is not None
        first.abandon()
        taken(dest, "3").abandon()
        assert Lock(os.fsencode(dest)).acquire() is None

    def test_one_that_is_whole_is_known(self, dest: Path) -> None:
        delivery = taken(dest, "1")
        assert delivery.about() == {"current": "", "whole": True}
        assert delivery.dest == os.fsencode(dest / "releases/1")
        assert delivery.basis == b""

    def test_where_current_is_nothing_of_ours_it_is_refused(self, dest: Path) -> None:
        (dest / "current").unlink()
        (dest / "current").mkdir()
        with pytest.raises(Refused, match="no symbolic link"):
            Delivery(os.fsencode(dest), NAME, "2").take()
        assert not (dest / "releases/.nile-making-2").exists()

    def test_a_flip_that_was_interrupted_comes_first(self, dest: Path) -> None:
        flip = {"origin": "1", "to": "2", "before": "", "run": "r", "done": False}
        (dest / "releases/.nile-flip").write_text(json.dumps(flip))
        refused = Delivery(os.fsencode(dest), NAME, "3")
        with pytest.raises(Refused, match="from 1 to 2 was interrupted"):
            refused.take()
        refused.abandon()
        taken(dest, "2").abandon()

    @pytest.mark.parametrize("current", ["", "releases/9"])
    def test_without_a_current_one_nothing_is_linked(self, dest: Path, current: str) -> None:
        (dest / "current").unlink()
        if current:
            (dest / "current").symlink_to(current)
        delivery = taken(dest, "2")
        assert delivery.basis == b""
        assert delivery.about() == {"current": "", "whole": False}

    def test_with_one_that_is(self, dest: Path) -> None:
        assert taken(dest, "2").about() == {"current": "1", "whole": False}


def test_room_is_needed_for_what_is_in_no_release(dest: Path, source: Path) -> None:
    (source / "a").write_text("x" * 70)
    (source / "deep/c").chmod(0o600)
    (source / "twin").unlink()
    (source / "twin").write_text("y" * 500)
    (source / "third").hardlink_to(source / "twin")
    delivery = taken(dest, "2")
    found = scan([(delivery.dest, b"")], Patterns())
    size = delivery.coming(
        scan([(os.fsencode(source), b"")], Patterns(), source=True), found, [b""], Patterns(), TERMS
    )
    assert size == 70 + len("deep/c" * 1000) + 500


def looked(dest: Path, name: str = "2") -> tuple[Delivery, bytes]:
    """As a run begins: it is tidied, and looked at; the fingerprint of what a copy finds."""
    delivery = taken(dest, name)
    where, patterns = [(delivery.dest, b"")], Patterns()
    delivery.tidy(patterns)
    found = scan(where, patterns)
    delivery.abandon()
    return delivery, delivery.fingerprints(found, (where, patterns), TERMS)[1]


class TestWhatACopyFinds:
    """It is the same where the current release is the same, and what stays of an earlier try."""

    def test_what_is_current_matters_and_not_what_it_is_called(self, dest: Path, source: Path) -> None:
        like = looked(dest)[1]
        (dest / "releases/1").rename(dest / "releases/0")
        (dest / "current").unlink()
        (dest / "current").symlink_to("releases/0")
        assert looked(dest)[1] == like
        (dest / "releases/0").chmod(0o700)  # rsync makes a directory with the attributes of the source's
        assert looked(dest)[1] == like
        (dest / "releases/0/a").chmod(0o600)
        assert looked(dest)[1] != like
        (dest / "current").unlink()
        assert looked(dest)[1] != like

    def test_of_an_earlier_try_only_what_is_nowhere_else(self, dest: Path, source: Path) -> None:
        like = looked(dest)[1]
        (source / "a").chmod(0o600)
        bring(dest, "2", source).abandon()
        making = dest / "releases/.nile-making-2"
        assert (making / "a").stat().st_nlink == 1
        assert (making / "b").stat().st_nlink == 4
        delivery, found = looked(dest)
        assert found == like
        delivery.make_ready(Patterns())
        assert [path for path in making.rglob("*") if path.is_file() and not path.is_symlink()] == []
        (making / "a").write_text("own")
        own = looked(dest)[1]
        assert own != like
        (making / "again").hardlink_to(making / "a")
        assert looked(dest)[1] not in (own, like)
        delivery.make_ready(Patterns())
        assert (making / "again").samefile(making / "a")

    def test_once_a_copy_has_begun_only_what_came_of_it(self, dest: Path, source: Path) -> None:
        delivery = bring(dest, "2", source)
        where, patterns = [(delivery.dest, b"")], Patterns()
        found = scan(where, patterns)
        assert delivery.fingerprints(found, (where, patterns), TERMS) == found.fingerprints(TERMS)

    def test_for_a_recording_directories_are_there_and_nothing_in_them(
        self, dest: Path, source: Path, tmp_path: Path
    ) -> None:
        making = dest / "releases/.nile-making-2"
        for name in ("deep/er", "closed/below", "led/away"):
            (dest / "releases/1" / name).mkdir(parents=True)
        (making / "closed").mkdir(parents=True)
        (making / "closed").chmod(0o500)
        (making / "led").symlink_to(tmp_path)
        delivery, _ = looked(dest)
        delivery.make_ready(Patterns(), recorded=True)
        assert {str(path.relative_to(making)) for path in making.rglob("*")} == {
            "deep",
            "deep/er",
            "closed",
            "closed/below",
            "led",
        }
        assert (making / "closed").stat().st_mode & 0o777 == 0o500
        assert not (tmp_path / "away").exists()
