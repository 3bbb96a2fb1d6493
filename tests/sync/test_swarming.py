"""A swarm: who takes part, who is told of whom, who is left to rsync, and when it ends."""

from __future__ import annotations

from typing import Any

import pytest

from nile.cascade.tree import Tree
from nile.events import Code, Verdict
from nile.sync.introducing import LONELY_S, Introducing
from nile.sync.launching import AT_ONE_TIME, START_S
from nile.sync.swarmers import ENOUGH, MOST, NEIGHBOURS, Swarmer, Swarmers
from nile.sync.swarming import HASHING_S
from nile.sync.targets import Difference, Target
from nile.sync.torrents import MOST_NAMED, contents
from nile.sync.watching import END_S, MERGE_S, STILL_S, STUCK_S
from nile.sync.wording import not_checked, some_hosts
from nile.topology.model import ROOT_ID
from tests.simulation.trees import tree
from tests.sync.many import wide
from tests.sync.simulated import Message
from tests.sync.swarmed import PEER, Swarmed
from tests.sync.test_course import codes
from tests.sync.test_streaming import FIVE, all_ok, notices
from tests.sync.workers import SIZE


def swarm(plan: Any = FIVE, had: dict[int, str] | None = None, **options: Any) -> Swarmed:
    return Swarmed(plan, had, **options)


class TestAllGoesWell:
    def test_each_host_gets_it_without_a_copy(self) -> None:
        it = swarm()
        it.run()
        all_ok(it)
        assert it.copies == []
        assert it.numbers == {}

    def test_hosts_that_have_it_take_no_part(self) -> None:
        it = swarm(had={1: "new", 2: "new"})
        it.run()
        all_ok(it)
        assert {node for node, do, _ in it.asked if do == "peer"} == {3, 4, 5}

    def test_nothing_begins_where_nobody_lacks_anything(self) -> None:
        it = swarm(had=dict.fromkeys(range(1, 6), "new"))
        it.run()
        all_ok(it)
        assert it.torrents == []

    def test_they_go_when_all_have_all_and_the_seed_last(self) -> None:
        it = swarm()
        it.slow = {3: 4}
        it.run()
        all_ok(it)
        ends = [(node, t) for node, do, t in it.asked if do == "unpeer"]
        assert ends[-1][0] == ROOT_ID
        assert sorted(node for node, _ in ends) == [0, 1, 2, 3, 4, 5]
        assert ends[-1][1] - ends[0][1] < 1, "no sooner than that, and no later"
        ways = [do for _, do, _ in it.asked if do in ("close", "unpeer")]
        assert ways[-1] == "close", "all is known that was sent"
        assert "10 bytes by the root" in notices(it)

    def test_one_that_hangs_in_the_end_keeps_no_others_from_being_ok(self) -> None:
        """Nor would it if the root ended meanwhile; but what the seed sent is said of all of it."""
        it = swarm()
        it.mute, it.TICKS = {2}, int(END_S) // 2
        it.run()
        assert len(it.judged) == 4, "all but it"
        assert {each.verdict for each in it.judged.values()} == {Verdict.OK}
        assert "the swarm served" not in notices(it)
        it.go_on()
        it.go_on()
        assert {node_id: code for node_id, code in codes(it).items() if code} == {2: Code.AGENT}
        assert len(it.judged) == 5
        assert "the swarm served 5 of 5 hosts" in notices(it)
        assert "10 bytes by the root" in notices(it)

    def test_one_that_is_lost_in_the_end_is_the_last_and_all_is_said(self) -> None:
        it = swarm()
        it.mute, it.TICKS = {2}, 20
        it.run()
        assert len(it.judged) == 4
        it.die(2)
        assert len(it.judged) == 5, "and the seed isn't waited for"
        assert "the swarm served 5 of 5 hosts" in notices(it)
        assert "10 bytes by the root" in notices(it)

    def test_it_goes_when_nobody_is_left_that_it_could_serve(self) -> None:
        it = swarm()
        it.mute, it.at_it, it.TICKS = {2}, {2: 5.0}, 30
        it.run()
        all_ok(it)
        ended = {node: t for node, do, t in it.asked if do == "unpeer"}
        assert ended[ROOT_ID] >= ended[2] + 5

    def test_a_seed_that_doesnt_say_that_it_has_ended_isnt_waited_for_for_ever(self) -> None:
        it = swarm()
        it.mute, it.TICKS = {ROOT_ID}, int(END_S) + 30
        it.run()
        all_ok(it)
        assert "the swarm served 5 of 5 hosts" in notices(it)
        closed = it.when("close")
        assert min(closed) < END_S < max(closed) < END_S + 20

    def test_who_is_complete_is_looked_at_at_once_and_serves_on(self) -> None:
        it = swarm()
        it.slow = {3: 5}
        it.run()
        all_ok(it)
        scans = {node: t for node, do, t in it.asked if do == "scan"}
        unpeered = {node: t for node, do, t in it.asked if do == "unpeer"}
        assert scans[1] < scans[3] - 5
        assert unpeered[1] >= scans[3]

    def test_it_says_the_way_and_the_share_of_the_seed(self) -> None:
        it = swarm()
        it.run()
        said = notices(it)
        assert "a swarm of 5 hosts, and a seed at the root" in said
        assert "the swarm served 5 of 5 hosts: 9.8 KiB sent, 0.1 % by the seed" in said
        assert "9.8 KiB sent in" in said
        assert "10 bytes by the root" in said

    def test_how_far_hosts_are_is_told(self) -> None:
        it = swarm()
        it.run()
        told = [event for event in it.published if hasattr(event, "behind")]
        assert told[-1].complete == told[-1].hosts == 5
        assert [event.got for event in told] == sorted(event.got for event in told)
        assert 0 < told[0].got < 5 * SIZE

    def test_one_host_alone(self) -> None:
        it = swarm(tree([0]))
        it.run()
        all_ok(it)
        assert it.copies == []

    @pytest.mark.parametrize("mute", [set(), {2}])
    def test_a_release_gets_its_name_once_the_swarm_is_over(self, mute: set[int]) -> None:
        it = swarm(release="r1", delete=True, max_delete=10**6)
        it.refuses = {each: {"release": {"current": "", "whole": False}} for each in it.has}
        it.mute, it.TICKS = mute, 20
        it.run()
        assert bool(it.when("seal")) is not bool(mute)

    @pytest.mark.parametrize("rsync", [{}, {"rsync": None}])
    def test_hosts_that_have_a_release_get_another_one(self, rsync: Any) -> None:
        it = swarm(release="r1", delete=True, max_delete=10**6)
        it.refuses = {each: {**rsync, "release": {"current": "r0", "whole": False}} for each in it.has}
        it.TICKS = 20
        it.run()
        assert {node for node, do, _ in it.asked if do == "seal"} == {1, 2, 3, 4, 5}
        assert (it.copies, len(it.torrents)) == ([], 1)
        assert {node for node, do, _ in it.asked if do == "peer"} == {1, 2, 3, 4, 5}


class TestWhoMayTakePart:
    @staticmethod
    def identities(it: Swarmed) -> dict[int, list[str]]:
        """What each peer was given to show, by node."""
        return {node: message["tls"] for node, message in it.begun}

    def test_each_host_has_a_certificate_of_its_own_that_goes_to_nobody_else(self) -> None:
        it = swarm()
        it.run()
        all_ok(it)
        given = self.identities(it)
        assert sorted(given) == [0, 1, 2, 3, 4, 5]
        assert len({key for _, key, _ in given.values()}) == 6
        assert "CERTIFICATE" in it.torrents[0]["certificate"]
        assert "the root, encrypted" in notices(it)

    def test_in_the_clear_there_are_none(self) -> None:
        it = swarm(plain=True)
        it.run()
        all_ok(it)
        assert set(map(tuple, self.identities(it).values())) == {()}
        assert it.torrents[0]["certificate"] == ""
        assert "the root, in the clear" in notices(it)


class TestWhoSignedIt:
    def test_it_is_signed_before_anybody_is_told_and_each_host_is_told_by_whom(self) -> None:
        it = swarm()
        it.run()
        all_ok(it)
        (errand,) = it.attested
        assert (errand.takers, errand.run, errand.dest) == ((1, 2, 3, 4, 5), "run", b"/dst")
        assert (errand.info_hash, errand.digest) == (b"h" * 20, b"d" * 32)
        told = {node: message for node, message in it.begun if node != ROOT_ID}
        assert {(each["statement"], *each["signatures"]) for each in told.values()} == {(b"body", b"one")}
        assert {node for node, each in told.items() if each["certified"]} == {3}
        assert {node: each["opened"] for node, each in told.items() if each["opened"]} == {2: b"key"}

    def test_where_nobody_signs_there_is_no_swarm(self) -> None:
        it = swarm()
        it.unsigned = "there is no key"
        it.run()
        all_ok(it)
        assert len(it.copies) == 5
        assert it.begun == []
        assert "no swarm: it isn't signed: there is no key" in notices(it)

    def test_a_host_that_refuses_it_gets_it_in_no_other_way(self) -> None:
        it = swarm()
        it.refuses_it = {2: "another dest is signed"}
        it.run()
        assert {node_id: code for node_id, code in codes(it).items() if code} == {2: Code.SIGNATURE}
        assert (it.judged[2].reason, it.judged[2].remedy) == ("another dest is signed", "begin again")
        assert it.copies == []

    def test_hosts_that_cant_tell_are_named(self) -> None:
        it = swarm()
        it.unchecked = {2, 4}
        it.run()
        all_ok(it)
        assert it.copies == []
        names = some_hosts([it.tree[2].name, it.tree[4].name])
        assert f"without a look at who signed it: {names}: nobody is known" in notices(it)

    def test_all_of_them_are_named_though_not_each_reason(self) -> None:
        said = not_checked([(f"n{number:02}", f"why {number // 2}") for number in range(20)])
        assert "; n[08-09] (2): why 4; n[10-19] (10): for other reasons" in said

    def test_who_signs_may_take_his_time(self) -> None:
        it = swarm()
        it.signs_later = True
        it.TICKS = int(HASHING_S) + 10
        it.begin()
        it.go_on()
        assert "no swarm" not in notices(it)
        it.sign(it.attested[0])
        it.go_on()
        all_ok(it)
        assert it.copies == []


class TestWhatIsntPutInPlace:
    def test_rsync_brings_it(self) -> None:
        it = swarm()
        it.trouble = {2: "a directory is in the way"}
        it.run()
        all_ok(it)
        assert [taker for _, taker in it.copies] == [2]
        assert f"rsync: {it.tree[2].name} (a directory is in the way)" in notices(it)
        assert "served 4 of 5 hosts" in notices(it)

    def test_it_is_waited_for_longer_than_for_what_comes(self) -> None:
        it = swarm()
        it.stuck = {1, 2, 3, 4, 5}
        it.TICKS = int(STUCK_S) + 30
        it.begin()
        it.go_on()
        assert it.judged == {}
        assert it.when("unpeer") == []
        for node_id, number in list(it.numbers.items()):
            if node_id != ROOT_ID:
                it._merge(node_id, number)
        it.go_on()
        all_ok(it)
        assert it.copies == []

    def test_but_not_for_ever(self) -> None:
        it = swarm()
        it.stuck = {3}
        it.TICKS = int(MERGE_S) + 30
        it.begin()
        it.go_on()
        all_ok(it)
        assert [taker for _, taker in it.copies] == [3]
        assert "what came isn't put in place" in notices(it)

    def test_what_hosts_have_beside_the_source_stays(self) -> None:
        it = swarm()
        it.keeps = {2}
        it.run()
        assert set(codes(it).values()) == {None}
        assert it.has[2] == "new and more"
        assert it.copies == []

    def test_hosts_without_rsync_need_none(self) -> None:
        it = swarm()
        it.refuses = {each: {"rsync": None} for each in range(1, 6)}
        it.run()
        all_ok(it)

    @pytest.mark.parametrize("lacks", [{4}, {ROOT_ID}])
    def test_but_then_it_is_all_that_they_have(self, lacks: set[int]) -> None:
        it = swarm()
        it.refuses = {each: {"rsync": None} for each in range(1, 6)}
        it.lacks = lacks
        it.run()
        failed = {node_id for node_id, code in codes(it).items() if code == Code.NO_RSYNC}
        assert failed == ({4} if lacks == {4} else {1, 2, 3, 4, 5})
        assert it.copies == []
        assert "no Python has it" in it.judged[4].reason

    def test_what_still_differs_rsync_mends_and_compares_no_contents(self) -> None:
        it = swarm()
        it.unlike = True
        it.run()
        all_ok(it)
        assert len(it.copies) == 5
        assert {each["copy"]["checksum"] for each in it.pushed} == {False}

    def test_owners_that_are_asked_for(self) -> None:
        it = swarm(chown="me:us")
        it.run()
        all_ok(it)
        assert it.copies == []
        assert {each["chown"] for each in [message for _, message in it.begun if "delete" in message]} == {
            "me:us"
        }

    @pytest.mark.parametrize(
        ("delete", "extra", "whole"), [(True, 3, True), (True, 0, False), (False, 3, False)]
    )
    def test_all_of_it_is_named_where_something_may_have_to_go(
        self, delete: bool, extra: int, whole: bool
    ) -> None:
        it = swarm(delete=delete, max_delete=9)
        it.extra[4], it.paths = extra, b"a"
        it.has[4] = "older"
        it.run()
        all_ok(it)
        assert [(each["whole"], each["only"]) for each in it.torrents] == [(whole, b"a")]
        assert {
            (each["delete"], each["max_delete"])
            for each in [message for _, message in it.begun if "delete" in message]
        } == {(delete, 0), (delete, extra)}

    def test_one_without_room_for_it_is_left_to_rsync(self) -> None:
        it = swarm()
        it.source = {"room": SIZE // 2}
        it.free[2] = SIZE - 1
        it.run()
        all_ok(it)
        assert [taker for _, taker in it.copies] == [2]
        assert f"{it.tree[2].name} (no room there" in notices(it)

    @pytest.mark.parametrize("spare", [-1, 0])
    def test_of_what_has_holes_there_is_a_copy_for_a_while(self, spare: int) -> None:
        it = swarm()
        it.source = {"sparse": SIZE // 2}
        it.free[2] = SIZE + SIZE // 2 + spare
        it.run()
        all_ok(it)
        assert [taker for _, taker in it.copies] == ([2] if spare else [])

    def test_only_what_hosts_lack_by_name_is_in_it(self) -> None:
        it = swarm()
        it.paths = b"b\0a"
        it.run()
        assert [each["only"] for each in it.torrents] == [b"a\0b"]

    def test_what_many_hosts_lack_is_taken_apart_once(self) -> None:
        class Paths(bytes):
            split_s = 0

            def split(self, *args: Any) -> list[bytes]:
                Paths.split_s += 1
                return super().split(*args)

        found = Difference(1, 0, 0, 1, b"", paths=Paths(b"b\0a"))
        targets = [Target(number, f"h{number}", lambda *_: None) for number in range(100)]
        assert contents(swarm().options, dict.fromkeys(targets, found))["only"] == b"a\0b"
        assert Paths.split_s == 1

    def test_all_of_it_where_one_lacks_too_much_to_name(self) -> None:
        it = swarm()
        it.run()
        assert [each["only"] for each in it.torrents] == [b""]

    @pytest.mark.parametrize(
        ("paths", "release", "rsync", "comes"),
        [
            (b"a\0b", "", {}, (False, b"a\0b")),
            (b"a" * (MOST_NAMED + 1), "", {}, (True, b"")),
            (b"", "", {}, (True, b"")),
            (b"", "r1", {}, (False, b"")),
            (b"", "r1", {"rsync": None}, (True, b"")),
        ],
    )
    def test_by_contents_what_differs_comes_and_nothing_else(
        self, paths: bytes, release: str, rsync: Message, comes: tuple[bool, bytes]
    ) -> None:
        """Of a release what is beside it is compared in the end: where rsync can mend it."""
        it = swarm(checksum=True, release=release, delete=bool(release), max_delete=10**6)
        it.paths, it.TICKS = paths, 20
        if release:
            it.refuses = {each: {**rsync, "release": {"current": "r0", "whole": False}} for each in it.has}
        it.run()
        told = [each for node_id, each in it.begun if node_id != ROOT_ID]
        assert {(each["all"], each["differing"]) for each in told} == {comes}

    @pytest.mark.parametrize(("paths", "room"), [(b"a", SIZE // 2), (b"", SIZE)])
    def test_by_contents_there_has_to_be_room_for_what_comes(self, paths: bytes, room: int) -> None:
        """All of it, where it isn't known what differs."""
        for free, served in ((room - 1, 4), (room, 5)):
            it = swarm(checksum=True)
            it.paths, it.move, it.source = paths, SIZE // 2, {"room": SIZE // 4}
            it.free[4] = free
            it.run()
            all_ok(it)
            assert f"the swarm served {served} of {served} hosts" in notices(it)
            assert ("no room there" in notices(it)) is (served == 4)


class TestWhoIsLeftToRsync:
    def test_a_host_without_libtorrent(self) -> None:
        it = swarm()
        it.lacks = {4}
        it.run()
        all_ok(it)
        assert it.copies == [(0, 4)]
        left = f"left out of the swarm, to be served by rsync: {it.tree[4].name} (no Python has it)"
        assert left in notices(it)
        assert "served 4 of 5 hosts" in notices(it)

    def test_a_root_without_libtorrent(self) -> None:
        it = swarm()
        it.lacks = {ROOT_ID}
        it.run()
        all_ok(it)
        assert len(it.copies) == 5
        assert "no swarm: at the root: no Python has it" in notices(it)
        assert not [node for node, do, _ in it.asked if do == "peer"]

    def test_one_that_gets_nothing_while_others_do(self) -> None:
        it = swarm()
        it.still = {2}
        it.slow = {5: 4}
        it.run()
        all_ok(it)
        assert it.copies == [(1, 2)]
        (at,) = [t for node, do, t in it.asked if (node, do) == (2, "unpeer")]
        assert STILL_S < at < STILL_S + 4
        assert "it got nothing for 10 s" in notices(it)

    def test_nobody_gets_anything(self) -> None:
        it = swarm()
        it.still = {1, 2, 3, 4, 5}
        it.run()
        all_ok(it)
        assert len(it.copies) == 5
        assert min(it.when("unpeer")) > STUCK_S

    def test_one_whose_peer_doesnt_start(self) -> None:
        it = swarm()
        it.away = {3}
        it.TICKS = 90
        it.run()
        all_ok(it)
        assert it.copies == [(1, 3)]
        assert STUCK_S < min(it.when("unpeer")) < STUCK_S + 9

    def test_one_whose_peer_doesnt_start_while_others_get_on(self) -> None:
        it = swarm()
        it.away = {3}
        it.slow = dict.fromkeys((1, 2, 4, 5), 20)
        it.begin()
        it.go_on()
        assert min(it.when("unpeer")) > START_S

    def test_the_seed_is_lost_before_all_is_out(self) -> None:
        it = swarm()
        it.still = {1, 2, 3, 4, 5}
        it.seed_ends = {"code": "copy", "reason": "it was killed"}
        it.run()
        all_ok(it)

    def test_a_host_that_dies(self) -> None:
        it = swarm()
        it.slow = {1: 3, 2: 3, 3: 3, 4: 3, 5: 3}
        it.begin()
        for _ in range(4):
            it.all_said()
            it.advance()
            it.t += 1
            it._carry_out(it.job.tick(it.t))
        it.die(1)
        it.go_on()
        assert it.judged.pop(1).verdict == "lost"
        assert {each.verdict for each in it.judged.values()} == {Verdict.OK}
        assert it.copies == []

    def test_all_die(self) -> None:
        it = swarm()
        it.begin()
        it.all_said()
        for node_id in range(1, 6):
            it.die(node_id)
        it.go_on()
        assert it.numbers == {}
        assert not it.sync._swarm.active


class TestTroubleWithTheSource:
    def test_it_changes_while_the_torrent_is_made(self) -> None:
        it = swarm()
        it.made = {"code": "source-changed", "reason": "the source changed"}
        it.run()
        assert codes(it) == dict.fromkeys(range(1, 6), Code.SOURCE_CHANGED)
        assert it.wrote == set()

    def test_it_changes_while_it_is_served(self) -> None:
        it = swarm()
        it.seed_ends = {"code": "source-changed", "reason": "the source isn't as it was"}
        it.run()
        assert set(codes(it).values()) == {Code.SOURCE_CHANGED}

    def test_the_torrent_cant_be_made(self) -> None:
        it = swarm()
        it.made = {"code": "agent", "reason": "a bug"}
        it.run()
        all_ok(it)
        assert "no swarm: a bug" in notices(it)


class TestHostsThatLieOrHang:
    @pytest.mark.parametrize("port", [0, 1 << 16, -1, "x", None])
    def test_a_port_that_is_none(self, port: object) -> None:
        it = swarm()
        it.away = {2}
        it.begin()
        it.all_said()
        number = it.sync._swarm._all._all[2].number
        it._say(2, number, port=port, peer=PEER, more=True)
        with pytest.raises((TypeError, ValueError)):
            it.all_said()

    def test_complete_twice(self) -> None:
        it = swarm()
        it.still = {3}
        it.begin()
        for _ in range(5):
            it.all_said()
            it.advance()
        it.all_said()
        it._say(1, it.numbers[1], complete=True, trouble="", more=True)
        with pytest.raises(ValueError, match="again"):
            it.all_said()

    def test_one_that_doesnt_say_that_its_peer_has_ended(self) -> None:
        it = swarm()
        it.mute = {2}
        it.TICKS = int(END_S) + 30
        it.run()
        assert {node_id: code for node_id, code in codes(it).items() if code} == {2: Code.AGENT}

    def test_one_that_looks_at_its_files_for_long_says_so_and_has_time(self) -> None:
        it = swarm()
        it.mute, it.at_it = {2}, {2: 2 * END_S}
        it.TICKS = int(2 * END_S) + 90
        it.run()
        all_ok(it)

    def test_a_seed_that_doesnt_say_that_it_has_ended_holds_up_nobody_for_ever(self) -> None:
        it = swarm()
        it.mute = {ROOT_ID}
        it.TICKS = int(END_S) + 30
        it.run()
        all_ok(it)


class TestWhoIsToldOfWhom:
    @staticmethod
    def swarmers(count: int) -> tuple[Swarmers, list[Swarmer], dict[int, list[int]]]:
        it = Swarmers(Tree(wide(count), {}))
        all_of_them, told = [], {}
        for node_id in range(1, count + 1):
            peer = Swarmer(node_id, None, port=1)
            it.add(peer)
            it.listens(peer)
            all_of_them.append(peer)
            told[node_id] = [each.id for each in it.others_for(peer)]
        return it, all_of_them, told

    @pytest.mark.parametrize("count", [1, 2, 5, 21, 100, 700])
    def test_all_are_connected_and_nobody_is_told_of_too_many(self, count: int) -> None:
        _, _, told = self.swarmers(count)
        assert max(map(len, told.values())) <= MOST
        links = {frozenset({one, other}) for one, others in told.items() for other in others}
        found, todo = {1}, [1]
        neighbours: dict[int, set[int]] = {node_id: set() for node_id in told}
        for link in links:
            one, other = link
            neighbours[one].add(other)
            neighbours[other].add(one)
        while todo:
            new = neighbours[todo.pop()] - found
            found |= new
            todo += new
        assert found == set(told)

    def test_a_small_swarm_is_a_full_mesh(self) -> None:
        _, _, told = self.swarmers(MOST + 1)
        assert all(len(others) == node_id - 1 for node_id, others in told.items())

    def test_no_way_is_long(self) -> None:
        _, _, told = self.swarmers(700)
        far = {1: 0}
        links: dict[int, set[int]] = {node_id: set(others) for node_id, others in told.items()}
        for one, others in told.items():
            for other in others:
                links[other].add(one)
        todo = [1]
        for at in todo:
            for each in links[at] - far.keys():
                far[each] = far[at] + 1
                todo.append(each)
        assert max(far.values()) <= 5

    def test_neighbours_in_the_tree_come_first(self) -> None:
        it, all_of_them, _ = self.swarmers(300)
        hosts = it._hosts
        peer = all_of_them[199]
        near = [each.id for each in it.others_for(peer)][:NEIGHBOURS]
        parent = hosts[peer.id].parent
        assert near[0] == parent
        assert {hosts[each].parent for each in near[1:]} <= {parent, peer.id}

    def test_the_seed_goes_to_some_evenly(self) -> None:
        it = swarm(wide(100))
        it.run()
        all_ok(it)
        gone_to = [other for teller, others in it.told if teller == ROOT_ID for other in others]
        assert MOST <= len(gone_to) <= 2 * MOST

    def test_who_has_too_few_connections_is_told_of_others_in_turn(self) -> None:
        it, all_of_them, _ = self.swarmers(2 * MOST + 1)
        peer = all_of_them[-1]
        first, second = ({each.id for each in it.more_for(peer)} for _ in range(2))
        assert first | second == {each.id for each in all_of_them} - {peer.id}

    def test_of_who_gets_on_nothing_else_is_asked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """So a tick costs each host little, however many there are."""
        it, (peer, *_), _ = self.swarmers(2 * MOST)
        introducing: Any = Introducing(None, it)  # type: ignore[arg-type]
        counted: list[Swarmer] = []

        def enough(peer: Swarmer) -> int:
            counted.append(peer)
            return ENOUGH

        monkeypatch.setattr(it, "enough", enough)
        monkeypatch.setattr(it, "more_for", lambda _: [])
        peer.moved_s = 10.0
        assert list(introducing.more(peer, 10.0 + LONELY_S)) == []
        assert counted == []
        assert list(introducing.more(peer, 10.1 + LONELY_S)) == []
        assert counted == [peer]

    def test_a_lonely_host_is_connected_anew(self) -> None:
        it = swarm()
        it.slow = dict.fromkeys(range(1, 6), 3)
        it.begin()
        it.all_said()
        it.advance()
        it.links = {link for link in it.links if 5 not in link}
        it.go_on()
        all_ok(it)
        assert it.copies == []
        assert sum(5 in link for link in it.links) >= ENOUGH

    def test_only_so_many_are_started_at_one_time(self) -> None:
        it = swarm(wide(AT_ONE_TIME * 2))
        it.run()
        all_ok(it)
        assert it.copies == []
        assert it.most_starting <= AT_ONE_TIME
