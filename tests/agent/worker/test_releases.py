"""Releases side by side: real directories, and a stop at every step of a flip."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from nile.agent.worker import naming, releases
from nile.agent.worker.inuse import in_use
from nile.agent.worker.releases import Flip, Refused, Releases
from tests.agent.worker.conftest import as_nobody

RUN = "run1"


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    """Releases 1, 2 and 3, in this order; 2 is current, 1 was before."""
    made = tmp_path / "dest"
    for name in "123":
        deliver(made, name)
    link(made, "current", "2")
    link(made, "previous", "1")
    return made


def at(dest: Path) -> Releases:
    return Releases(os.fsencode(dest))


def half(dest: Path, name: str) -> Path:
    path = dest / "releases" / f".nile-making-{name}"
    path.mkdir(parents=True)
    (path / "file").write_text(name)
    return path


def deliver(dest: Path, name: str) -> None:
    half(dest, name)
    at(dest).seal(name)


def there(dest: Path) -> list[str]:
    """What is in `releases`, but for what is written down of the releases."""
    return sorted(path.name for path in (dest / "releases").iterdir() if path.name != ".nile-made")


def change(dest: Path, name: str) -> None:
    """Have the directory of this release be the one that was changed last, as the kernel's clock has it."""
    changed = dest / "releases" / name
    latest = max(path.lstat().st_ctime_ns for path in (dest / "releases").iterdir())
    while changed.stat().st_ctime_ns <= latest:
        for mode in (0o711, 0o700):
            changed.chmod(mode)


def link(dest: Path, which: str, name: str) -> None:
    (dest / which).unlink(missing_ok=True)
    (dest / which).symlink_to(f"releases/{name}")


def now(dest: Path) -> tuple[str, str]:
    """What is current, and what was before, as whoever follows the links finds it."""
    found = []
    for which in ("current", "previous"):
        path = dest / which
        found.append((path / "file").read_text() if path.is_symlink() else "")
    return found[0], found[1]


def flip(dest: Path, to: str, run: str = RUN, back: bool = False) -> None:
    here = at(dest)
    here.stage(to, run, back)
    here.switch()
    here.confirm()


@pytest.mark.parametrize("name", ["1", "2.0-rc1", "v1_a+b", "x" * 100])
def test_names(name: str) -> None:
    assert naming.is_name(name)


@pytest.mark.parametrize("name", ["", ".", "..", ".x", "-x", "a/b", "a b", "a\n", "ä", "x" * 101, b"1", None])
def test_no_names(name: object) -> None:
    assert not naming.is_name(name)


class TestLooking:
    def test_what_there_is(self, dest: Path) -> None:
        half(dest, "4")
        (dest / "releases/notes.txt").write_text("somebody's own")
        (dest / "releases/odd").symlink_to("2")
        assert at(dest).look() == releases.Look("2", "1", ["3", "2", "1"], ["4"], None)

    def test_where_there_is_nothing(self, tmp_path: Path) -> None:
        assert at(tmp_path / "none").look() == releases.Look("", "", [], [], None)

    def test_a_link_may_name_the_whole_path(self, dest: Path) -> None:
        (dest / "current").unlink()
        (dest / "current").symlink_to(dest / "releases/3")
        assert at(dest).current() == "3"

    @pytest.mark.parametrize("leads", ["/etc", "releases/../../etc", "releases", "releases/a/b", "1"])
    def test_a_link_that_leads_elsewhere_is_not_ours(self, dest: Path, leads: str) -> None:
        (dest / "current").unlink()
        (dest / "current").symlink_to(leads)
        with pytest.raises(Refused, match="no release below"):
            at(dest).look()
        with pytest.raises(Refused):
            at(dest).stage("3", RUN)
        assert str((dest / "current").readlink()) == leads

    def test_nor_is_a_directory(self, dest: Path) -> None:
        (dest / "current").unlink()
        (dest / "current").mkdir()
        with pytest.raises(Refused, match="no symbolic link"):
            at(dest).stage("3", RUN)

    def test_what_cannot_be_understood_is_not_acted_upon(self, dest: Path) -> None:
        for text in (
            "",
            "[]",
            "{}",
            '{"origin": "../x", "to": "1", "before": "", "run": "r", "done": false}',
        ):
            (dest / "releases/.nile-flip").write_text(text)
            with pytest.raises(Refused, match="understood"):
                at(dest).switch()

    @pytest.mark.parametrize("kind", ["pipe", "link", "socket", "directory", "device"])
    def test_nor_is_what_is_no_file_waited_for(self, dest: Path, kind: str) -> None:
        flip(dest, "3")
        written = dest / "releases/.nile-flip"
        if kind == "link":
            written.rename(dest / "kept")
            written.symlink_to(dest / "kept")
        else:
            written.unlink()
        if kind == "pipe":
            os.mkfifo(written)
        elif kind == "socket":
            with socket.socket(socket.AF_UNIX) as waiting:
                waiting.bind(str(written))
        elif kind == "directory":
            written.mkdir()
        elif kind == "device":
            written.symlink_to("/dev/zero")
        with pytest.raises(Refused, match="can't be understood"):
            at(dest).look()

    def test_what_another_run_removes_meanwhile_is_not_there(
        self, dest: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lstat = os.lstat

        def late(path: bytes) -> os.stat_result:
            if path.endswith(b"/1"):
                os.rename(path, path + b"-gone")  # noqa: PTH104  (bytes)
            return lstat(path)

        monkeypatch.setattr(os, "lstat", late)
        assert at(dest).names() == ["3", "2"]


class TestSealing:
    def test_twice_is_once(self, dest: Path) -> None:
        at(dest).seal("3")
        assert at(dest).names() == ["3", "2", "1"]

    def test_what_is_not_there_is_not_sealed(self, dest: Path) -> None:
        with pytest.raises(FileNotFoundError):
            at(dest).seal("9")

    def test_a_file_of_that_name_stays(self, dest: Path) -> None:
        half(dest, "9")
        (dest / "releases/9").write_text("a file")
        with pytest.raises(Refused, match="no directory"):
            at(dest).seal("9")
        assert (dest / "releases/9").read_text() == "a file"


class TestFlipping:
    def test_current_is_the_new_one_and_previous_the_old_one(self, dest: Path) -> None:
        flip(dest, "3")
        assert now(dest) == ("3", "2")
        assert at(dest).flip() == Flip("2", "3", "1", RUN, True)
        assert at(dest).interrupted() is None

    def test_the_first_one_has_none_before_it(self, tmp_path: Path) -> None:
        deliver(tmp_path, "1")
        flip(tmp_path, "1")
        assert now(tmp_path) == ("1", "")

    def test_back_and_forth(self, dest: Path) -> None:
        flip(dest, "1", back=True)
        assert now(dest) == ("1", "2")
        assert at(dest).flip() == Flip("2", "1", "1", RUN, True, True)
        flip(dest, "2", back=True)
        assert now(dest) == ("2", "1")

    def test_to_what_is_current_changes_nothing(self, dest: Path) -> None:
        flip(dest, "2")
        assert now(dest) == ("2", "1")
        assert at(dest).flip() is None

    def test_whoever_looks_sees_one_or_the_other(self, dest: Path) -> None:
        """Never nothing: a thousand flips beside a process that opens the file again and again."""
        script = 'while [ ! -e "$1/stop" ]; do cat "$1/current/file" || exit 9; done >/dev/null'
        looker = subprocess.Popen(["sh", "-c", script, "looker", str(dest)])
        here = at(dest)
        for number in range(1000):
            here._lead(naming.CURRENT, "12"[number % 2])
        (dest / "stop").touch()
        assert looker.wait(timeout=20) == 0

    def test_without_being_staged_nothing_is_flipped(self, dest: Path) -> None:
        at(dest).switch()
        assert now(dest) == ("2", "1")

    @pytest.mark.parametrize("to", ["9", "4"])
    def test_only_to_what_is_whole(self, dest: Path, to: str) -> None:
        half(dest, "4")
        with pytest.raises(Refused, match="no release"):
            at(dest).stage(to, RUN)
        assert at(dest).flip() is None

    def test_back_to_nothing_is_refused(self, dest: Path) -> None:
        (dest / "previous").unlink()
        with pytest.raises(Refused, match="no previous"):
            at(dest).stage("1", RUN, back=True)
        with pytest.raises(Refused, match="no previous"):
            at(dest).stage("", RUN, back=True)
        flip(dest, "1")  # by name it can be

    def test_nor_is_it_gone_back_to_another_one_than_that_before(self, dest: Path) -> None:
        with pytest.raises(Refused, match="before is 1, and not 3"):
            at(dest).stage("3", RUN, back=True)
        assert at(dest).flip() is None

    def test_one_that_is_back_already_stays(self, dest: Path) -> None:
        flip(dest, "2", back=True)
        assert now(dest) == ("2", "1")

    def test_where_somebody_changed_current_meanwhile_it_stays(self, dest: Path) -> None:
        here = at(dest)
        here.stage("3", RUN)
        link(dest, "current", "1")
        with pytest.raises(Refused, match="current is 1"):
            here.switch()
        assert now(dest) == ("1", "1")

    def test_what_was_staged_can_be_taken_back(self, dest: Path) -> None:
        here = at(dest)
        here.stage("3", RUN)
        assert here.interrupted() == Flip("2", "3", "1", RUN)
        here.unstage()
        assert here.interrupted() is None
        here.switch()
        assert now(dest) == ("2", "1")


def stopped_after(dest: Path, steps: int, monkeypatch: pytest.MonkeyPatch) -> bool:
    """A flip to 3 whose process dies after so many changes of the disk; False where it came to its end."""
    left = steps

    class Died(BaseException):
        pass

    def counted(change: Callable[..., None]) -> Callable[..., None]:
        def counting(*words: object) -> None:
            nonlocal left
            if not left:
                raise Died
            left -= 1
            change(*words)

        return counting

    with monkeypatch.context() as patch:
        for name in ("rename", "symlink", "unlink"):
            patch.setattr(os, name, counted(getattr(os, name)))
        try:
            flip(dest, "3")
        except Died:
            return True
    return False


class TestInterrupted:
    """Whatever it had done: it can be told, and be ended either way, and the next flip works."""

    STEPS = range(20)

    @pytest.mark.parametrize("forward", [True, False])
    def test_it_can_be_ended_either_way(
        self, tmp_path: Path, forward: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ends = 0
        for steps in self.STEPS:
            dest = tmp_path / str(steps)
            for name in "123":
                deliver(dest, name)
            link(dest, "current", "2")
            link(dest, "previous", "1")
            died = stopped_after(dest, steps, monkeypatch)
            ends += not died
            look = at(dest).look()
            assert look.current in ("2", "3")
            known = at(dest).interrupted()
            assert known is not None or look.current == ("2" if died else "3")
            assert known in (None, Flip("2", "3", "1", RUN))
            if forward:
                at(dest).switch()
                at(dest).confirm()
                assert now(dest) == (("3", "2") if known or not died else ("2", "1"))
            elif at(dest).flip() is not None:
                at(dest).undo(RUN)
                assert now(dest) == ("2", "1")
            assert at(dest).interrupted() is None
            flip(dest, "1")
            assert now(dest)[0] == "1"
        assert 3 < ends < len(self.STEPS) - 5

    def test_another_flip_is_refused_until_then(self, dest: Path) -> None:
        at(dest).stage("3", RUN)
        for to, back in (("1", False), ("1", True), ("3", True)):
            with pytest.raises(Refused, match="from 2 to 3 was interrupted") as refused:
                at(dest).stage(to, "run2", back)
            assert "--finish" in refused.value.fields["remedy"]

    def test_the_same_one_is_taken_up(self, dest: Path) -> None:
        here = at(dest)
        here.stage("3", RUN)
        here.switch()
        flip(dest, "3", "run2")
        assert now(dest) == ("3", "2")
        assert at(dest).flip() == Flip("2", "3", "1", "run2", True, first=RUN)

    def test_so_is_one_that_was_taken_up_before(self, dest: Path) -> None:
        """It goes on to be the flip of the run that began it."""
        for run in (RUN, "run2", "run3"):
            at(dest).stage("3", run)
        assert at(dest).flip() == Flip("2", "3", "1", "run3", first=RUN)

    def test_and_where_it_is_not_gone_on_with_it_is_as_it_was(self, dest: Path) -> None:
        at(dest).stage("3", RUN)
        again = at(dest)
        again.stage("3", "run2")
        again.unstage()
        assert at(dest).interrupted() == Flip("2", "3", "1", RUN)

    def test_nor_is_one_that_is_over_forgotten_for_one_that_came_to_nothing(self, dest: Path) -> None:
        flip(dest, "3")
        again = at(dest)
        again.stage("2", "run2", back=True)
        again.unstage()
        assert at(dest).flip() == Flip("2", "3", "1", RUN, True)

    def test_of_one_that_is_over_only_that_of_the_same_run_is_taken_back(self, dest: Path) -> None:
        flip(dest, "3")
        with pytest.raises(Refused, match="no flip of that run"):
            at(dest).undo("other")
        at(dest).undo(RUN)
        assert now(dest) == ("2", "1")

    @pytest.mark.parametrize("forward", [True, False])
    def test_no_link_is_led_to_what_is_gone(self, dest: Path, forward: bool) -> None:
        here = at(dest)
        here.stage("3", RUN)
        shutil.rmtree(dest / "releases" / ("2" if forward else "1"))
        if forward:
            here.switch()
        else:
            here.undo(RUN)
        assert now(dest) == ("3" if forward else "2", "")

    def test_the_first_one_of_all_is_taken_back_to_none(self, tmp_path: Path) -> None:
        deliver(tmp_path, "1")
        flip(tmp_path, "1")
        at(tmp_path).undo(RUN)
        assert now(tmp_path) == ("", "")

    def test_not_where_somebody_has_changed_it_since(self, dest: Path) -> None:
        flip(dest, "3")
        link(dest, "current", "1")
        with pytest.raises(Refused, match="current is 1"):
            at(dest).undo(RUN)


class TestPruning:
    def test_the_latest_are_kept_and_current_and_previous(self, dest: Path) -> None:
        for name in "456":
            deliver(dest, name)
        half(dest, "7")
        assert sorted(at(dest).prune(1)) == ["3", "4", "5"]
        assert at(dest).look() == releases.Look("2", "1", ["6", "2", "1"], [], None)
        assert there(dest) == ["1", "2", "6"]

    def test_the_latest_are_those_that_became_whole_last_whatever_happens_to_them(self, dest: Path) -> None:
        change(dest, "1")
        assert at(dest).names() == ["3", "2", "1"]
        shutil.rmtree(dest / "releases/1")
        deliver(dest, "1")
        assert at(dest).names() == ["1", "3", "2"]

    def test_also_where_the_clock_was_set_back(self, dest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(time, "time", lambda: 1.0)
        deliver(dest, "0")
        assert at(dest).names() == ["0", "3", "2", "1"]

    @pytest.mark.parametrize("text", ["", "{", "[]", '{"1": "late", "2": -1, "3": true}', "[" * 100_000])
    def test_where_that_is_not_known_the_change_of_their_directories_counts(
        self, dest: Path, text: str
    ) -> None:
        (dest / "releases/.nile-made").write_text(text)
        assert at(dest).names() == ["3", "2", "1"]
        change(dest, "1")
        assert at(dest).names() == ["1", "3", "2"]
        deliver(dest, "4")  # from now on it is known
        change(dest, "3")
        assert at(dest).names() == ["4", "1", "3", "2"]

    def test_a_link_there_is_not_followed(self, dest: Path, tmp_path: Path) -> None:
        written = dest / "releases/.nile-made"
        written.replace(tmp_path / "elsewhere")
        written.symlink_to(tmp_path / "elsewhere")
        before = (tmp_path / "elsewhere").read_text()
        change(dest, "1")
        assert at(dest).names() == ["1", "3", "2"]
        deliver(dest, "4")
        assert (tmp_path / "elsewhere").read_text() == before

    def test_what_a_flip_speaks_of_is_kept_until_it_is_over(self, dest: Path) -> None:
        here = at(dest)
        here.stage("3", RUN)
        here.switch()
        (dest / "current").unlink()
        assert here.prune(0) == []
        at(dest)._forget()
        assert at(dest).prune(0) == ["3", "1"]

    def test_what_an_earlier_try_left_of_one_of_the_same_name_goes_first(self, dest: Path) -> None:
        left = dest / "releases/.nile-gone-3"
        left.mkdir()
        (left / "file").touch()
        assert at(dest).prune(0) == ["3"]
        assert there(dest) == ["1", "2"]

    @pytest.mark.parametrize("how", ["works in it", "has a file open", "runs from it", "has it in memory"])
    def test_one_in_use_is_kept(self, dest: Path, how: str) -> None:
        link(dest, "current", "1")
        place = dest / "releases/3"
        (place / "deep").mkdir()
        (place / "deep/data").write_bytes(bytes(10000))
        program, words, cwd = "/bin/sh", "echo ready; read line", Path("/")
        if how == "works in it":
            cwd = place / "deep"
        elif how == "has a file open":
            words = f"exec 5<{place}/deep/data; {words}"
        elif how == "runs from it":
            program = str(place / "deep/sh")
            subprocess.run(["cp", "/bin/sh", program], check=True)
        argv = [program, "-c", words]
        if how == "has it in memory":
            text = (
                "import mmap,sys; f=open(sys.argv[1],'rb'); m=mmap.mmap(f.fileno(),0,access=mmap.ACCESS_READ)"
            )
            argv = [
                "python3",
                "-c",
                f"{text}; f.close(); print('ready',flush=True); input()",
                f"{place}/deep/data",
            ]
        user = subprocess.Popen(argv, cwd=cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            assert user.stdout is not None
            assert user.stdout.readline() == b"ready\n"
            assert at(dest).prune(0) == ["2"]
            assert at(dest).names() == ["3", "1"]
        finally:
            user.communicate(b"\n", timeout=20)
        assert at(dest).prune(0) == ["3"]

    @pytest.mark.cluster
    def test_a_place_of_the_same_name_in_another_mount_namespace_is_another(
        self, dest: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "elsewhere").mkdir()
        script = 'mount --bind "$1" "$2" && cd "$2" && echo ready && read line'
        words = ["sh", "-c", script, "it", str(tmp_path / "elsewhere"), str(dest / "releases/3")]
        pipe = subprocess.PIPE
        other = subprocess.Popen(["unshare", "-m", *words], stdin=pipe, stdout=pipe)
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == b"ready\n"
            assert in_use([os.fsencode(dest / "releases/3")]) == set()
        finally:
            other.communicate(b"\n", timeout=20)

    @pytest.mark.cluster
    def test_what_has_something_mounted_in_it_is_kept(self, dest: Path, tmp_path: Path) -> None:
        precious = tmp_path / "precious"
        precious.mkdir()
        (precious / "data").touch()
        below = dest / "releases/3/deep"
        below.mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "--bind", precious, below], check=True)
        try:
            at(dest).prune(0)
            assert (precious / "data").exists()
            assert "3" in at(dest).names()
        finally:
            subprocess.run(["umount", below], check=True)

    @pytest.mark.cluster
    def test_directories_that_are_read_only_go_too(self, open_path: Path) -> None:
        def check() -> None:
            mine = open_path / "mine"
            for name in "12":
                deliver(mine, name)
                (mine / "releases" / name / "deep/er").mkdir(parents=True)
                (mine / "releases" / name / "deep/er/file").touch()
                for path in ("deep/er", "deep", "."):
                    (mine / "releases" / name / path).chmod(0o555)
            assert sorted(at(mine).prune(0)) == ["1", "2"]
            assert there(mine) == []

        open_path.chmod(0o777)
        as_nobody(check)


def test_a_directory_where_it_is_written_when_they_were_made_holds_up_none(dest: Path) -> None:
    made = dest / "releases" / os.fsdecode(naming.MADE)
    made.unlink()
    (made / "inside").mkdir(parents=True)
    deliver(dest, "x1")
    deliver(dest, "x2")
    assert {"x1", "x2"} <= set(at(dest).names())
    assert not made.with_name(made.name + "-new").exists()
