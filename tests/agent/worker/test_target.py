"""The directory that is written to: real directories, real mounts, another user where rights matter."""

from __future__ import annotations

import os
import pwd
import subprocess
from pathlib import Path

import pytest

from nile.agent.worker import target
from nile.agent.worker.lock import Lock
from nile.agent.worker.removing import remove_tree
from nile.agent.worker.target import clean, prepare, refuse, space, temporary
from tests.agent.worker.conftest import NOBODY, as_nobody

PRECIOUS = """
/bin /boot /dev /etc /home /lib /lib64 /media /mnt /opt /proc /root /run /sbin /srv /sys /tmp /usr /var
/usr/local /usr/local/bin /usr/bin /usr/lib /usr/share /var/lib /var/log /var/tmp
"""
root_only = pytest.mark.cluster  # mounts, and becomes other users


def code(dest: Path | str | bytes, delete: bool = False) -> str | None:
    refusal = refuse(os.fsencode(dest), delete)
    if refusal is None:
        return None
    assert refusal.text
    assert refusal.remedy
    return refusal.code


# Where nothing is written, or nothing is deleted


@pytest.mark.parametrize(
    ("dest", "why"),
    [
        ("", "path"),
        ("opt/tool", "path"),
        ("./opt", "path"),
        ("/opt/../etc", "path"),
        ("/opt/./tool", "path"),
        ("/opt//tool", "path"),
        ("//opt/tool", "path"),
        ("/opt/tool/", "path"),
        ("/opt/to\0ol", "path"),
        ("/", "root"),
        ("//", "root"),
        ("/..", "root"),
        ("/opt/..", "root"),
    ],
)
@pytest.mark.parametrize("delete", [False, True])
def test_a_destination_has_to_be_a_plain_absolute_path(dest: str, why: str, delete: bool) -> None:
    assert code(dest, delete) == why


@pytest.mark.parametrize(
    "dest",
    PRECIOUS.split(),
)
def test_nothing_is_deleted_in_system_directories(dest: str) -> None:
    assert code(dest, delete=True) == "system"


@pytest.mark.parametrize(
    "dest", ["/opt/nile-tool", "/srv/www/x", "/usr/local/nile-tool", "/var/lib/nile-x/y"]
)
def test_below_system_directories_is_fine(dest: str) -> None:
    assert target._precious(os.fsencode(dest)) is None


def test_system_directories_may_be_added_to() -> None:
    assert code("/tmp") is None


class TestReleases:
    """What is current is changed by a delivery beside it, and never in place."""

    @pytest.fixture
    def app(self, tmp_path: Path) -> Path:
        app = tmp_path / "app"
        (app / "releases/2/lib").mkdir(parents=True)
        (app / "releases/.nile-flip").touch()
        (app / "current").symlink_to("releases/2")
        (app / "previous").symlink_to(app / "releases/2/")
        return app

    @pytest.mark.parametrize("path", ["current", "previous", "current/lib", "current/lib/new/deep"])
    def test_not_through_the_links_of_releases(self, app: Path, path: str) -> None:
        refusal = refuse(os.fsencode(app / path), False)
        assert refusal
        assert refusal.code == "release"
        assert f"leads to the release '{app}/releases/2'" in refusal.text
        assert "--release NAME" in refusal.remedy

    def test_nor_through_a_link_that_leads_there(self, app: Path, tmp_path: Path) -> None:
        (tmp_path / "www").symlink_to("app/../app/current/lib")
        (tmp_path / "srv").symlink_to(tmp_path)
        assert code(tmp_path / "www") == "release"
        assert code(tmp_path / "srv/www/x") == "release"
        assert code(tmp_path / "srv/app/current") == "release"

    @pytest.mark.parametrize(
        "path", ["releases/2", "releases/2/lib", "releases/3", "releases/.nile-making-3", "releases", "old"]
    )
    def test_nor_by_their_own_names(self, app: Path, path: str) -> None:
        """Their files have names in other releases: a mode that is set in one is set in all."""
        (app / "old").symlink_to("releases/2")
        refusal = refuse(os.fsencode(app / path), False)
        assert refusal
        assert refusal.code == "release"
        assert f"'{app / path}' " in refusal.text
        assert "a release is never changed" in refusal.text
        assert refusal.remedy == f"deliver a new one to '{app}', by --release NAME"

    @pytest.mark.parametrize(
        "path", [".", "other/current", "other/releases/1", "shared", "new", "releases2/1"]
    )
    def test_others_may_be_written_to(self, app: Path, path: str) -> None:
        (app / "other/v1").mkdir(parents=True)
        (app / "other/current").symlink_to("v1")
        (app / "shared").symlink_to("other")
        assert code(app / path) is None

    def test_links_that_are_called_so_and_are_not_ours_do_not_matter(self, app: Path) -> None:
        (app / "releases/.nile-flip").unlink()
        assert code(app / "current") is None
        assert code(app / "releases/2") is None

    def test_a_circle_is_not_gone_round_for_ever(self, tmp_path: Path) -> None:
        (tmp_path / "a").symlink_to("b")
        (tmp_path / "b").symlink_to("a")
        assert code(tmp_path / "a") == "file"


def test_homes_of_users_are_not_deleted_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "people" / "ann"
    home.mkdir(parents=True)
    entry = pwd.struct_passwd(("ann", "x", 1234, 1234, "", f"{home}/", "/bin/sh"))
    monkeypatch.setattr(pwd, "getpwall", lambda: [entry])
    refusal = refuse(os.fsencode(home), True)
    assert refusal is not None
    assert refusal.code == "home"
    assert "ann" in refusal.text
    assert code(home) is None
    assert code(home / "tool", delete=True) is None
    (tmp_path / "link").symlink_to(home)
    assert code(tmp_path / "link", delete=True) == "home"
    assert code("/home/somebody-else", delete=True) == "home"


def test_a_home_that_is_a_link_is_known_by_where_it_leads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "disk2").mkdir()
    (tmp_path / "ann").symlink_to("disk2")
    monkeypatch.setenv("HOME", str(tmp_path / "ann"))
    assert code(tmp_path / "disk2", delete=True) == "home"
    monkeypatch.setenv("HOME", "/nonexistent")
    assert code(tmp_path / "disk2", delete=True) is None


def test_a_link_is_judged_by_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "top").symlink_to("/")
    (tmp_path / "share").symlink_to("/usr/share")
    assert code(tmp_path / "top") == "root"
    assert code(tmp_path / "share", delete=True) == "system"
    assert code(tmp_path / "share" / "nile-tool", delete=True) is None


@root_only
def test_mount_points_are_not_deleted_in(mounted: Path) -> None:
    assert code(mounted, delete=True) == "mount"
    assert code(mounted) is None
    assert code(mounted / "tool", delete=True) is None


@root_only
def test_a_directory_bound_over_another_is_a_mount_point(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "the other"
    one.mkdir()
    other.mkdir()
    subprocess.run(["mount", "--bind", one, other], check=True, timeout=20)
    try:
        assert code(other, delete=True) == "mount"
        assert code(one, delete=True) is None
    finally:
        subprocess.run(["umount", "-l", other], check=True, timeout=20)


# What can't be written to


def test_a_file_is_no_destination(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "nowhere").symlink_to("gone")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "good").symlink_to(".")
    refusal = refuse(os.fsencode(tmp_path / "file"), False)
    assert refusal is not None
    assert refusal.code == "file"
    assert f"the destination '{tmp_path}/file' is a file" in refusal.text
    assert code(tmp_path / "file" / "below" / "it") == "file"
    assert code(tmp_path / "nowhere") == "file"
    assert code(tmp_path / "loop") == "file"
    assert code(tmp_path / "good") is None
    assert code(tmp_path / "to" / "be" / "made") is None


@root_only
def test_a_directory_that_this_user_may_not_write_to_is_refused(open_path: Path) -> None:
    (open_path / "mine").mkdir(mode=0o755)
    (open_path / "theirs").mkdir()
    os.chown(open_path / "theirs", NOBODY, NOBODY)

    def check() -> None:
        for dest in (open_path / "mine", open_path / "mine" / "new" / "one"):
            refusal = refuse(os.fsencode(dest), False)
            assert refusal is not None
            assert refusal.code == "unwritable"
            assert "Permission denied" in refusal.text
            assert pwd.getpwuid(NOBODY).pw_name in refusal.remedy
        assert code(open_path / "theirs") is None
        assert code(open_path / "theirs" / "new") is None

    as_nobody(check)


@root_only
def test_a_read_only_file_system_is_refused(mounted: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", mounted], check=True, timeout=20)
    for dest in (mounted, mounted / "new"):
        refusal = refuse(os.fsencode(dest), False)
        assert refusal is not None
        assert (refusal.code, refusal.remedy) == ("unwritable", "mount it for writing")
        assert "Read-only file system" in refusal.text


@root_only
def test_a_full_file_system_is_refused(mounted: Path) -> None:
    while space(os.fsencode(mounted)).inodes:
        (mounted / f"file{len(os.listdir(mounted))}").touch()  # noqa: PTH208
    refusal = refuse(os.fsencode(mounted), False)
    assert refusal is not None
    assert "No space left" in refusal.text
    assert "room" in refusal.remedy


def test_asking_leaves_nothing_and_no_trace(tmp_path: Path) -> None:
    os.utime(tmp_path, ns=(10**18, 10**18 + 1))
    assert code(tmp_path) is None
    assert list(tmp_path.iterdir()) == []
    assert tmp_path.stat().st_mtime_ns == 10**18 + 1


# Made, and undone


@pytest.mark.parametrize(("umask", "mode"), [(0, 0o755), (0o027, 0o750)])
def test_missing_directories_are_made_and_removed_again(tmp_path: Path, umask: int, mode: int) -> None:
    (tmp_path / "a").mkdir()
    old = os.umask(umask)
    try:
        made = prepare(os.fsencode(tmp_path / "a" / "b" / "c"), create=True)
    finally:
        os.umask(old)
    assert made.made == [os.fsencode(tmp_path / "a" / "b"), os.fsencode(tmp_path / "a" / "b" / "c")]
    assert (tmp_path / "a" / "b").stat().st_mode & 0o7777 == mode
    made.undo()
    assert list(tmp_path.rglob("*")) == [tmp_path / "a"]


def test_what_is_in_use_by_now_is_kept(tmp_path: Path) -> None:
    made = prepare(os.fsencode(tmp_path / "b" / "c"), create=True)
    (tmp_path / "b" / "file").touch()
    made.undo()
    assert sorted(tmp_path.rglob("*")) == [tmp_path / "b", tmp_path / "b" / "file"]


def test_a_dry_run_makes_nothing(tmp_path: Path) -> None:
    assert prepare(os.fsencode(tmp_path / "b" / "c"), create=False).made == []
    assert list(tmp_path.iterdir()) == []


def test_directories_that_were_there_are_never_removed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    prepare(os.fsencode(tmp_path / "a"), create=True).undo()
    assert (tmp_path / "a").is_dir()


@root_only
def test_when_one_of_them_cannot_be_made_none_is_left(mounted: Path) -> None:
    while (left := space(os.fsencode(mounted)).inodes or 0) > 1:
        (mounted / f"file{left}").touch()
    with pytest.raises(OSError, match="No space"):
        prepare(os.fsencode(mounted / "a" / "b"), create=True)
    assert not (mounted / "a").exists()
    (mounted / "file").touch()
    with pytest.raises(FileExistsError):
        prepare(os.fsencode(mounted / "file"), create=True)


def test_space_is_that_of_the_nearest_directory(tmp_path: Path) -> None:
    found = space(os.fsencode(tmp_path / "not" / "yet"))
    seen = os.statvfs(tmp_path)
    assert found.bytes == pytest.approx(seen.f_bavail * seen.f_frsize, rel=0.1)
    assert found.inodes is not None


@root_only
def test_space_is_exact_where_nobody_else_writes(mounted: Path) -> None:
    assert space(os.fsencode(mounted / "new")) == (1 << 20, 63)


# Temporary directories


def test_a_temporary_directory_is_private_empty_and_unnoticed(tmp_path: Path) -> None:
    os.utime(tmp_path, ns=(10**18, 10**18 + 1))
    path = Path(os.fsdecode(temporary(os.fsencode(tmp_path), "20261121-x.1")))
    assert path == tmp_path / ".nile-sync-20261121-x.1"
    assert path.stat().st_mode & 0o7777 == 0o700
    (path / "half").touch()
    assert temporary(os.fsencode(tmp_path), "20261121-x.1") == os.fsencode(path)
    assert list(path.iterdir()) == []
    assert tmp_path.stat().st_mtime_ns == 10**18 + 1


@pytest.mark.parametrize("run", ["", "../x", "a/b", ".", "..", "a\n", "x" * 200, "-a"])
def test_only_names_of_runs_make_temporary_directories(tmp_path: Path, run: str) -> None:
    with pytest.raises(ValueError, match="no name of a run"):
        temporary(os.fsencode(tmp_path), run)
    assert list(tmp_path.iterdir()) == []


def test_what_dead_runs_left_is_removed_at_any_depth_and_nothing_else(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    dest = tmp_path / "dest"
    for place in (
        outside / ".nile-sync-other",
        dest / "a" / "b" / ".nile-sync-1" / "x",
        dest / ".nile-sync-2",
    ):
        place.mkdir(parents=True)
        (place / "file").touch()
    (dest / ".nile-sync-3").symlink_to(outside)
    (dest / "a" / ".nile-sync-4").touch()
    (dest / "link").symlink_to(outside)
    (dest / ".nile-synced").touch()
    for place in (dest, dest / "a" / "b"):
        os.utime(place, ns=(10**18, 10**18 + 1))
    lock = Lock(os.fsencode(dest))
    assert lock.acquire() is None
    removed = clean(lock)
    lock.release()
    names = ["a/b/.nile-sync-1", ".nile-sync-2", ".nile-sync-3", "a/.nile-sync-4"]
    assert sorted(removed) == sorted(os.fsencode(dest / name) for name in names)
    left = {str(path.relative_to(dest)) for path in dest.rglob("*")}
    assert left == {"a", "a/b", "link", ".nile-synced"}
    assert (outside / ".nile-sync-other" / "file").exists()
    assert {place.stat().st_mtime_ns for place in (dest, dest / "a" / "b")} == {10**18 + 1}


def test_nothing_is_cleaned_without_the_lock(tmp_path: Path) -> None:
    (tmp_path / ".nile-sync-1").mkdir()
    with pytest.raises(RuntimeError):
        clean(Lock(os.fsencode(tmp_path)))
    assert (tmp_path / ".nile-sync-1").exists()


@pytest.mark.parametrize("other", ["", "dest/sub"])
def test_what_belongs_to_a_run_further_up_or_down_is_left_alone(tmp_path: Path, other: str) -> None:
    used = tmp_path / "dest" / "sub" / "x" / ".nile-sync-used"
    used.mkdir(parents=True)
    theirs, ours = Lock(os.fsencode(tmp_path / other)), Lock(os.fsencode(tmp_path / "dest"))
    assert theirs.acquire() is None
    assert ours.acquire() is None
    assert clean(ours) == []
    theirs.release()
    assert clean(ours) == [os.fsencode(used)]
    ours.release()


def test_what_cannot_be_removed_stays_and_the_rest_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("deep", "plain", "stuck"):
        (tmp_path / f".nile-sync-{name}").mkdir()

    def remove(path: bytes) -> None:
        if path.endswith(b"deep"):
            raise RecursionError
        if path.endswith(b"stuck"):
            raise PermissionError(1, "Operation not permitted")
        remove_tree(path)

    monkeypatch.setattr("nile.agent.worker.target.remove_tree", remove)
    lock = Lock(os.fsencode(tmp_path))
    assert lock.acquire() is None
    assert clean(lock) == [os.fsencode(tmp_path / ".nile-sync-plain")]
    lock.release()


@root_only
def test_other_file_systems_are_not_cleaned(tmp_path: Path, mounted: Path) -> None:
    (mounted / ".nile-sync-1").mkdir()
    lock = Lock(os.fsencode(tmp_path))
    assert lock.acquire() is None
    assert clean(lock) == []
    lock.release()
    assert (mounted / ".nile-sync-1").exists()
