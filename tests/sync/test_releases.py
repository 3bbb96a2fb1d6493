"""Releases on hosts that are directories here, by real workers and the real rsync."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from nile.bootstrap.identity import make_identity
from nile.cascade import Neighbours
from nile.cascade.tree import Tree
from nile.events import Code, Verdict
from nile.sync import Deed, Method, Paths, Purpose, Quorum, Releases, ReleasesOptions, Sync, SyncOptions
from tests.sync.local import DEST, Local, Message

HOSTS = (1, 2, 3)
RUN = iter(range(1000))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    top = tmp_path / "source"
    top.mkdir()
    (top / "same").write_text("same\n")
    (top / "version").write_text("?\n")
    return top


class Site:
    """Three hosts that get releases; the file `version` in each has its name."""

    def __init__(self, place: Path, source: Path) -> None:
        self.place = place
        self.source = source

    def deliver(self, name: str, down: tuple[int, ...] = (), dies: Any = None, **options: Any) -> Local:
        (self.source / "version").write_text(f"{name}\n")
        os.utime(self.source / "version", (int(name), int(name)))
        return self.copy(DEST, down, dies, release=name, delete=True, max_delete=10**9, **options)

    def copy(self, dest: bytes, down: tuple[int, ...] = (), dies: Any = None, **options: Any) -> Local:
        """As it is, to any place."""
        how = {"method": Method.RSYNC_TCP, **options}
        what = SyncOptions((os.fsencode(f"{self.source}/"),), dest, **how)
        run = f"run{next(RUN)}"

        def job(hosts: Tree) -> Sync:
            return Sync(
                what,
                run,
                hosts,
                Paths(Neighbours(lambda *_: "127.0.0.1")),
                lambda: os.urandom(32),
                make_identity,
            )

        return self._run(job, down, dies)

    def releases(
        self, deed: Deed = Deed.LIST, down: tuple[int, ...] = (), dies: Any = None, **options: Any
    ) -> Local:
        what = ReleasesOptions(DEST, deed, **options)
        run = f"run{next(RUN)}"
        return self._run(lambda hosts: Releases(what, run, hosts), down, dies)

    def _run(self, job: Any, down: tuple[int, ...], dies: Any) -> Local:
        return Local(self.place, len(HOSTS), job, down, *([dies] if dies else []))

    def on(self, host: int, path: str) -> Path:
        return self.place / str(host) / path

    def now(self, which: str = "current") -> list[str]:
        """What is current, host by host, as whoever follows the link finds it."""
        places = [self.on(host, which) for host in HOSTS]
        return [(path / "version").read_text().strip() if path.is_symlink() else "-" for path in places]


@pytest.fixture
def site(tmp_path: Path, source: Path) -> Site:
    return Site(tmp_path / "hosts", source)


def well(it: Local) -> Local:
    assert {judgement.verdict for judgement in it.judged.values()} == {Verdict.OK}, it.judged
    return it


def turn(site: Site, host: int) -> None:
    """Somebody leads its `current` to release 1, by hand."""
    site.on(host, "current").unlink()
    site.on(host, "current").symlink_to("releases/1")


def codes(it: Local) -> list[Code | None]:
    return [it.judged[host].code for host in HOSTS]


def after(number: int, do: str) -> Any:
    """The root dies when so many hosts were told that."""
    told = 0

    def dies(_: int, message: Message) -> bool:
        nonlocal told
        told += message["do"] == do
        return bool(told > number)

    return dies


def test_deliver_patch_and_roll_back(site: Site) -> None:
    well(site.deliver("1"))
    assert (site.now(), site.now("previous")) == (["1"] * 3, ["-"] * 3)
    well(site.deliver("2"))
    assert (site.now(), site.now("previous")) == (["2"] * 3, ["1"] * 3)
    for host in HOSTS:
        files = [site.on(host, f"releases/{name}/same") for name in "12"]
        assert files[0].samefile(files[1])
    listed = well(site.releases())
    assert set(listed.said.values()) == {"current  2\nprevious 1\n"}
    back = well(site.releases(Deed.FLIP))
    assert (site.now(), site.now("previous")) == (["1"] * 3, ["2"] * 3)
    assert set(back.said.values()) == {"current  1\nprevious 2\n"}
    assert back.notices == ["1 is current on 3 of 3 hosts"]
    again = well(site.releases(Deed.FLIP))
    assert (site.now(), site.now("previous")) == (["1"] * 3, ["2"] * 3)
    assert "went back to 1 before; --to" in again.notices[0]
    well(site.releases(Deed.FLIP, to="2"))
    assert site.now() == ["2"] * 3
    assert well(site.deliver("2")).notices[-1] == "2 is current on 3 of 3 hosts"


def test_a_patch_whose_quorum_fails_changes_nothing_and_is_there_for_the_next_try(site: Site) -> None:
    well(site.deliver("1"))
    it = site.deliver("2", down=(3,))
    assert codes(it)[:2] == [Code.QUORUM] * 2
    assert site.now() == ["1"] * 3
    assert site.on(1, "releases/2/version").read_text() == "2\n"
    assert well(site.releases()).said["h0001"] == "current  1\nother    2\n".replace("\no", "\nprevious -\no")
    again = well(site.deliver("2"))
    assert site.now() == ["2"] * 3
    assert sum("sent in" in text for text in again.notices) == 1  # to the one that was down


def test_one_that_a_quorum_does_without_is_left_behind_and_named(site: Site) -> None:
    well(site.deliver("1"))
    it = site.deliver("2", down=(3,), quorum=Quorum(6600))
    assert codes(it)[:2] == [None, None]
    assert site.now() == ["2", "2", "1"]


@pytest.mark.parametrize("deed", [Deed.FINISH, Deed.UNDO])
@pytest.mark.parametrize(
    ("number", "do"), [(0, "flip"), (1, "flip"), (0, "confirm"), (1, "confirm"), (2, "stage")]
)
def test_a_root_that_dies_amid_a_flip(site: Site, deed: Deed, number: int, do: str) -> None:
    well(site.deliver("1"))
    died = site.deliver("2", dies=after(number, do))
    assert len(died.judged) < 3
    flipped = {"flip": number, "confirm": 3, "stage": 0}[do]
    assert sorted(site.now()) == ["1"] * (3 - flipped) + ["2"] * flipped
    told = site.releases()
    for host, version in zip(HOSTS, site.now(), strict=True):
        judgement = told.judged[host]
        flip_known = told.said[f"h{host:04}"].splitlines()[-1].startswith("flip ")
        assert (judgement.code is Code.RELEASE) is flip_known
        if flip_known:
            assert judgement.reason.endswith("it flipped" if version == "2" else "it did not flip")
    assert codes(told).count(Code.RELEASE) == (number if do == "stage" else 3 - number * (do == "confirm"))
    assert set(codes(site.releases(Deed.FLIP))) - {Code.RELEASE} <= {Code.QUORUM}
    well(site.releases(deed))
    finished = ["2"] * (2 if do == "stage" else 3) + ["1"] * (do == "stage")
    assert sorted(site.now(), reverse=True) == (finished if deed is Deed.FINISH else ["1"] * 3)
    well(site.releases())


def test_the_same_delivery_once_more_ends_it_too(site: Site) -> None:
    well(site.deliver("1"))
    site.deliver("2", dies=after(1, "flip"))
    assert codes(site.deliver("3")) == [Code.RELEASE] * 3
    well(site.deliver("2"))
    assert (site.now(), site.now("previous")) == (["2"] * 3, ["1"] * 3)
    well(site.releases())


@pytest.mark.parametrize("deed", [Deed.FINISH, Deed.UNDO, Deed.LEAVE])
def test_nobody_is_told_to_end_it_before_that_is_in_the_store(site: Site, deed: Deed) -> None:
    for name in "12":
        well(site.deliver(name))
    site.deliver("3", dies=after(1, "flip"))
    for host in HOSTS if deed is Deed.LEAVE else ():
        turn(site, host)
    before = site.now()
    it = site.releases(deed, dies=lambda _, message: message["do"] in ("decide", "settle"))
    assert (it.judged, site.now()) == ({}, before)
    (text,) = well(site.releases(deed)).decided
    assert text.endswith("h[0001-0003] (3)")


@pytest.mark.parametrize("deed", [Deed.FLIP, None])
def test_nor_to_flip(site: Site, deed: Deed | None) -> None:
    for name in "12":
        well(site.deliver(name))
    dies = lambda _, message: message["do"] in ("decide", "flip")  # noqa: E731
    it = site.releases(deed, dies=dies) if deed else site.deliver("3", dies=dies)
    assert (it.judged, site.now()) == ({}, ["2"] * 3)


@pytest.mark.parametrize("how", [{}, {"release": "3"}, {"purpose": Purpose.REPAIR}])
@pytest.mark.parametrize("where", [b"/current", b"/releases/2"])
def test_a_release_is_not_copied_to(site: Site, source: Path, where: bytes, how: dict[str, Any]) -> None:
    well(site.deliver("1"))
    well(site.deliver("2"))
    (source / "same").chmod(0o600)  # rsync would set the mode of the file that both have
    it = site.copy(DEST + where, **how)
    assert codes(it) == [Code.DESTINATION] * 3
    assert "a release is never changed" in it.judged[1].reason
    assert site.on(1, "releases/1/same").stat().st_mode & 0o777 == 0o644
    assert codes(site.copy(DEST + where, purpose=Purpose.VERIFY)) == [Code.DIFFERS] * 3


def test_what_was_interrupted_twice_is_taken_back_on_all_hosts_that_either_run_flipped(site: Site) -> None:
    well(site.deliver("1"))
    site.deliver("2", dies=after(1, "confirm"))  # over on one host
    site.deliver("2", dies=after(2, "confirm"))
    told = site.releases()
    assert codes(told).count(Code.RELEASE) == 1
    back = well(site.releases(Deed.UNDO))
    assert (site.now(), site.now("previous")) == (["1"] * 3, ["-"] * 3)
    assert back.notices[0].startswith("the flip to 2 is taken back also where it was over: ")


def test_what_brought_a_release_to_one_that_was_away_is_taken_back_there_alone(site: Site) -> None:
    well(site.deliver("1"))
    site.deliver("2", down=(3,), quorum=Quorum(6600))
    site.deliver("2", dies=after(2, "flip"))
    assert site.now() == ["2", "2", "1"]
    back = well(site.releases(Deed.UNDO))
    assert site.now() == ["2", "2", "1"]
    assert "2 stays current on h[0001-0002] (2)" in back.notices[0]
    well(site.releases(Deed.FLIP))
    assert site.now() == ["1", "1", "1"]


@pytest.mark.parametrize(("first", "second"), [(Deed.FINISH, Deed.UNDO), (Deed.UNDO, Deed.FINISH)])
def test_of_two_roots_that_end_one_flip_the_second_is_refused(site: Site, first: Deed, second: Deed) -> None:
    """It comes when the first one has decided, and is about to tell the hosts."""
    well(site.deliver("1"))
    site.deliver("2", dies=after(1, "flip"))
    others: list[Local] = []

    def meanwhile(_: int, message: Message) -> bool:
        if message["do"] == "settle" and not others:
            others.append(site.releases(second))
        return False

    well(site.releases(first, dies=meanwhile))
    assert site.now() == [{Deed.FINISH: "2", Deed.UNDO: "1"}[first]] * 3
    assert codes(others[0]) == [Code.BUSY] * 3
    assert "another run writes there" in others[0].judged[1].reason
    after_it = well(site.releases(second))
    assert "no flip was interrupted" in after_it.notices[0]


class TestGone:
    """A flip was interrupted, and then somebody removed the release that it leads to."""

    @pytest.fixture
    def gone(self, site: Site) -> Site:
        well(site.deliver("1"))
        site.deliver("2", dies=after(1, "flip"))
        shutil.rmtree(site.on(1, "releases/2"))
        return site

    def test_to_go_through_with_it_names_what_works(self, gone: Site) -> None:
        it = gone.releases(Deed.FINISH)
        assert codes(it) == [Code.RELEASE, None, None]
        remedy = it.judged[1].remedy
        assert "--finish" not in remedy
        assert "nile releases --rollback" in remedy
        assert "nile sync --release 2" in remedy

    def test_to_take_it_back_works(self, gone: Site) -> None:
        well(gone.releases(Deed.UNDO))
        assert gone.now() == ["1"] * 3

    def test_so_does_to_bring_it_again(self, gone: Site) -> None:
        well(gone.deliver("2"))
        assert gone.now() == ["2"] * 3

    def test_where_both_are_gone_it_can_only_be_brought(self, gone: Site) -> None:
        shutil.rmtree(gone.on(1, "releases/1"))
        it = gone.releases(Deed.UNDO)
        assert it.judged[1].remedy == "bring 2 by `nile sync --release 2`"
        gone.deliver("2")
        assert gone.now()[0] == "2"


class TestTurnedByHand:
    """A flip was interrupted, and then somebody led `current` elsewhere on host 2."""

    @pytest.fixture
    def crossed(self, site: Site) -> Site:
        for name in "12":
            well(site.deliver(name))
        site.deliver("3", dies=after(1, "flip"))
        turn(site, 2)
        return site

    def test_it_is_said(self, crossed: Site) -> None:
        told = crossed.releases()
        assert codes(told) == [Code.RELEASE] * 3
        assert "2 -> 3 was interrupted, and current is 1: somebody" in told.judged[2].reason
        assert "--as-is" in told.judged[2].remedy
        assert told.said["h0002"].endswith("2 -> 3: crossed\n")

    @pytest.mark.parametrize(("deed", "version"), [(Deed.FINISH, "3"), (Deed.UNDO, "2")])
    def test_others_are_ended_and_it_is_named_and_left_alone(
        self, crossed: Site, deed: Deed, version: str
    ) -> None:
        ended = crossed.releases(deed)
        assert codes(ended) == [None, Code.RELEASE, None]
        assert "current is 1: somebody has changed it" in ended.judged[2].reason
        assert "--as-is" in ended.judged[2].remedy
        assert crossed.now() == [version, "1", version]

    def test_it_is_ended_as_it_is_and_then_all_can_be_led_anywhere(self, crossed: Site) -> None:
        crossed.releases(Deed.FINISH)
        well(crossed.releases(Deed.LEAVE))
        assert crossed.now() == ["3", "1", "3"]
        well(crossed.releases())
        assert crossed.releases(Deed.UNDO).notices[0].startswith("no flip was interrupted")
        well(crossed.releases(Deed.FLIP, to="3"))
        assert crossed.now() == ["3"] * 3

    def test_others_that_are_half_way_are_left_to_be_ended(self, crossed: Site) -> None:
        """All may be named: whether they flipped or not, what they have written down of it stays."""
        before = crossed.now()
        left = crossed.releases(Deed.LEAVE)
        assert codes(left) == [Code.RELEASE, None, Code.RELEASE]
        assert "nile releases --finish" in left.judged[1].remedy
        assert crossed.now() == before
        assert codes(crossed.releases()) == [Code.RELEASE, None, Code.RELEASE]
        well(crossed.releases(Deed.FINISH))
        assert crossed.now() == ["3", "1", "3"]

    def test_also_where_there_is_none_any_more(self, crossed: Site) -> None:
        crossed.on(2, "current").unlink()
        assert "current is none" in crossed.releases(Deed.FINISH).judged[2].reason
        well(crossed.releases(Deed.LEAVE))
        well(crossed.deliver("3"))
        assert crossed.now() == ["3"] * 3


def test_what_was_left_as_it_is_is_not_taken_back_with_the_others_of_its_run(site: Site) -> None:
    for name in "12":
        well(site.deliver(name))
    site.deliver("3", dies=after(1, "flip"))
    for host in (2, 3):
        turn(site, host)
    assert codes(site.releases(Deed.LEAVE, down=(1,)))[1:] == [None, None]
    well(site.releases(Deed.UNDO))
    assert site.now() == ["2", "1", "1"]


def test_what_was_taken_back_is_not_led_forward_by_taking_it_back_again(site: Site) -> None:
    well(site.deliver("1"))
    site.deliver("2", dies=after(1, "flip"))
    one = site.on(1, "releases/.nile-flip")
    kept = one.read_bytes()
    well(site.releases(Deed.UNDO))
    one.write_bytes(kept)
    well(site.releases(Deed.UNDO))
    assert site.now() == ["1"] * 3
    assert well(site.releases(Deed.PRUNE, keep=0)).said["h0001"] == "current  1\nprevious -\n"


def test_nothing_to_end(site: Site) -> None:
    well(site.deliver("1"))
    for deed in (Deed.FINISH, Deed.UNDO):
        assert "no flip was interrupted" in well(site.releases(deed)).notices[0]
    assert site.now() == ["1"] * 3


class TestRollback:
    def test_one_that_has_none_before_holds_up_all(self, site: Site) -> None:
        for name in "12":
            well(site.deliver(name))
        site.on(2, "previous").unlink()
        assert codes(site.releases(Deed.FLIP)) == [Code.QUORUM, Code.RELEASE, Code.QUORUM]
        assert site.now() == ["2"] * 3
        assert codes(site.releases(Deed.FLIP, quorum=Quorum(5000))) == [None, Code.RELEASE, None]
        assert site.now() == ["1", "2", "1"]

    def test_once_more_takes_those_back_that_did_not_go_and_nobody_forward(self, site: Site) -> None:
        for name in "12":
            well(site.deliver(name))
        site.releases(Deed.FLIP, down=(2,))
        assert site.now() == ["1", "2", "1"]
        well(site.releases(Deed.FLIP))
        assert site.now() == ["1"] * 3
        assert site.now("previous") == ["2"] * 3

    def test_nor_where_the_one_that_did_not_go_is_down_again(self, site: Site) -> None:
        for name in "12":
            well(site.deliver(name))
        for _ in range(2):
            it = site.releases(Deed.FLIP, down=(2,))
            assert site.now() == ["1", "2", "1"]
            assert it.notices[-1] == "1 is current on 2 of 3 hosts"

    @pytest.mark.parametrize("number", [0, 1, 2])
    @pytest.mark.parametrize("do", ["stage", "flip", "confirm"])
    def test_one_that_was_interrupted_is_ended_by_once_more(self, site: Site, number: int, do: str) -> None:
        for name in "12":
            well(site.deliver(name))
        site.releases(Deed.FLIP, dies=after(number, do))
        well(site.releases(Deed.FLIP))
        assert (site.now(), site.now("previous")) == (["1"] * 3, ["2"] * 3)
        well(site.releases())

    def test_a_delivery_that_was_interrupted_is_not_ended_by_it(self, site: Site) -> None:
        for name in "12":
            well(site.deliver(name))
        site.deliver("1", dies=after(1, "flip"))  # leads to where going back would lead
        before = site.now()
        assert set(codes(site.releases(Deed.FLIP))) <= {Code.RELEASE, Code.QUORUM}
        assert site.now() == before

    def test_after_another_delivery_it_goes_back_again(self, site: Site) -> None:
        for name in "12":
            well(site.deliver(name))
        well(site.releases(Deed.FLIP))
        well(site.deliver("3"))
        well(site.releases(Deed.FLIP))
        assert site.now() == ["1"] * 3

    def test_one_that_is_down_holds_up_nobody(self, site: Site) -> None:
        for name in "12":
            well(site.deliver(name))
        site.releases(Deed.FLIP, down=(2,))
        assert site.now() == ["1", "2", "1"]

    def test_unless_that_is_asked_for(self, site: Site) -> None:
        for name in "12":
            well(site.deliver(name))
        it = site.releases(Deed.FLIP, down=(2,), quorum=Quorum())
        assert codes(it)[0] is Code.QUORUM
        assert site.now() == ["2"] * 3

    def test_hosts_that_would_go_back_to_different_ones_go_to_none_unless_it_is_named(
        self, site: Site
    ) -> None:
        well(site.deliver("1"))
        site.deliver("2", down=(2,), quorum=Quorum(5000))
        well(site.deliver("3"))
        assert site.now("previous") == ["2", "1", "2"]
        it = site.releases(Deed.FLIP)
        assert codes(it) == [Code.RELEASE] * 3
        assert "1, 2" in it.judged[1].reason
        assert site.now() == ["3"] * 3
        well(site.releases(Deed.FLIP, to="1"))
        assert site.now() == ["1"] * 3

    def test_where_there_are_no_releases(self, site: Site) -> None:
        it = site.releases(Deed.FLIP)
        assert codes(it) == [Code.RELEASE] * 3
        assert "there are no releases in" in it.judged[1].reason


def test_what_an_earlier_try_left_is_taken_up_without_its_litter(site: Site) -> None:
    """It had all of the source, and something beside it that nobody looks at."""
    site.deliver("1", down=(3,), dies=after(0, "seal"))
    making = site.on(1, "releases/.nile-making-1")
    file = (making / "version").stat().st_ino
    (making / ".nile-sync-dead").mkdir()
    (making / "x.log").touch()
    well(site.deliver("1", excludes=(b"*.log",)))
    assert (site.on(1, "current/version")).stat().st_ino == file
    assert sorted(path.name for path in site.on(1, "current/").iterdir()) == ["same", "version"]


def test_old_ones_are_removed_once_the_new_one_is_current(site: Site) -> None:
    for name in "123":
        well(site.deliver(name))
    well(site.deliver("4", keep=1))
    assert set(well(site.releases()).said.values()) == {"current  4\nprevious 3\n"}
    assert sorted(path.name for path in site.on(1, "releases").iterdir()) == [
        ".nile-flip",
        ".nile-made",
        "3",
        "4",
    ]


def test_and_when_that_is_asked_for(site: Site) -> None:
    for name in "123":
        well(site.deliver(name))
    site.on(1, "releases/.nile-making-9").mkdir()
    assert "half     9" in well(site.releases()).said["h0001"]
    pruned = well(site.releases(Deed.PRUNE, keep=0))
    assert set(pruned.said.values()) == {"current  3\nprevious 2\n"}


def test_a_current_that_is_not_ours_is_left_alone_and_nothing_is_copied(site: Site) -> None:
    well(site.deliver("1"))
    site.on(2, "current").unlink()
    site.on(2, "current").mkdir()
    it = site.deliver("2")
    assert codes(it) == [Code.QUORUM, Code.RELEASE, Code.QUORUM]
    assert not list(site.on(2, "releases").glob("*2*"))
    assert site.on(2, "current").is_dir()
