"""A swarm of hosts of which some have no libtorrent: who is brought one, and what is said of it."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from typing import Any

import pytest

from nile.agent.worker import messages
from nile.cascade.work import WINDOW
from nile.sync import carrying
from nile.sync.carrying import AT_ONE_TIME, CHUNK, MOST_CARRIED, MOST_HOSTS
from nile.sync.wheels import Name, Wheel
from nile.topology.model import ROOT_ID
from tests.sync.many import wide
from tests.sync.swarmed import PEER, Swarmed
from tests.sync.test_course import codes
from tests.sync.test_sites import TWELVE, at_sites
from tests.sync.test_streaming import FIVE, all_ok, notices
from tests.sync.test_wheels import FACTS, PACKED
from tests.sync.workers import SIZE

Message = dict[str, Any]
DATA = bytes(range(256)) * (10 * CHUNK // 256)
LARGE = len(DATA) + 1


def a_wheel(file: str = PACKED, data: bytes = DATA) -> Wheel:
    return Wheel(
        file, Name.of(file), len(data), hashlib.sha256(data).digest(), lambda at, size: data[at : at + size]
    )


class Brought(Swarmed):
    """Hosts that have no libtorrent are `bare`: what their Pythons say that they are, by their ids."""

    def __init__(
        self, bare: dict[int, list[Message]], plan: Any = FIVE, wheels: Any = None, **options: Any
    ) -> None:
        super().__init__(plan, wheels=(a_wheel(),) if wheels is None else tuple(wheels), **options)
        self.bare = bare
        self.move = LARGE
        self.free = defaultdict(lambda: 2 * LARGE)
        self.deaf: set[int] = set()
        """Those that don't take what is brought,"""
        self.speechless: set[int] = set()
        """and those that then say nothing of it."""
        self.brought: dict[int, bytes] = {}
        self.on_their_way: dict[int, int] = {}
        self.loaded: dict[int, int] = {}
        self.most_at_one_time = 0
        self.whats: dict[int, int] = {}
        self.apart: set[int] = set()
        """Those that others don't reach,"""
        self.awaits: dict[int, Message] = {}
        """and those that wait for what they are handed."""
        self.handed: list[tuple[int, int]] = []
        self.aria: dict[int, str] = {}
        """Those that have an aria2, and of which version."""

    def _lacks(self, node_id: int, message: Message) -> None:
        self.whats[node_id] = message["n"]
        aria2 = self.aria.get(node_id, "")
        self._say(node_id, message["n"], lacks=self.bare[node_id], aria2=aria2, more=True)

    def _seed(self, node_id: int, message: Message) -> None:
        if node_id in self.bare:
            self._lacks(node_id, message)
        else:
            super()._seed(node_id, message)

    def _peer(self, node_id: int, message: Message) -> None:
        if node_id in self.bare:
            self._chunks.pop(node_id)
            self._lacks(node_id, message)
        else:
            super()._peer(node_id, message)

    def _tell(self, node_id: int, message: Message) -> None:
        if message["do"] in ("carry", "take"):
            self._look_at_loads()
        if message["do"] == "carry":
            self.on_their_way[node_id] = self.on_their_way.get(node_id, 0) + len(messages.pack(message))
            assert self.on_their_way[node_id] <= WINDOW + 1024
        super()._tell(node_id, message)

    def _look_at_loads(self) -> None:
        under_way = self.sync._swarm._carrying._under_way.values()
        carried = sum(load.giver is None for load in under_way)
        self.most_at_one_time = max(self.most_at_one_time, carried)
        givers = [load.giver.id for load in under_way if load.giver is not None and not load.led]
        assert len(givers) == len(set(givers)), "one hands it to two at one time"

    def _carry(self, node_id: int, message: Message) -> None:
        assert message["what"] == self.whats[node_id]
        if node_id in self.deaf:
            return
        self.brought[node_id] = self.brought.get(node_id, b"") + message["chunk"]
        self.on_their_way[node_id] -= len(messages.pack(message))
        if not self.on_their_way[node_id]:
            del self.on_their_way[node_id]
        self._say(node_id, message["n"])

    def _take(self, node_id: int, message: Message) -> None:
        assert message["what"] == self.whats[node_id]
        if node_id not in self.deaf:
            self.awaits[node_id] = message
            self._say(node_id, message["n"], port=5000 + node_id, more=True)

    def _hand(self, node_id: int, message: Message) -> None:
        taker = message["port"] - 5000
        assert (message["address"], message["what"]) == (f"h{taker}", self.whats[node_id])
        asked = self.awaits.pop(taker)
        assert message["secret"] == asked["secret"]
        assert hashlib.sha256(self.brought[node_id]).digest() == asked["digest"]
        failed = {"code": "copy", "reason": "nobody there"} if taker in self.apart else {}
        if not failed:
            self.brought[taker] = self.brought[node_id]
            self.handed.append((node_id, taker))
        for host, number in ((node_id, message["n"]), (taker, asked["n"])):
            self._say(host, number, **failed)

    def _load(self, node_id: int, message: Message) -> None:
        assert hashlib.sha256(self.brought[node_id]).digest() == message["digest"]
        self.loaded[node_id] = message["python"]
        number = self.whats[node_id]
        if node_id not in self.speechless:
            self.numbers[node_id] = number
            self._say(node_id, number, port=4000 + node_id, peer=PEER, more=True)

    def _aria(self, node_id: int, message: Message) -> None:
        assert message["what"] == self.whats[node_id]
        if node_id in self.speechless:
            return
        self.numbers[node_id] = message["what"]
        peer = f"aria2 {self.aria[node_id]}"
        self._say(node_id, message["what"], port=4000 + node_id, peer=peer, more=True)

    def _unpeer(self, node_id: int, message: Message) -> None:
        if node_id in self.bare and node_id not in {**self.loaded, **self.numbers}:
            self.unpeered.add(node_id)
            self._say(node_id, message["what"], sent=0)
        else:
            super()._unpeer(node_id, message)

    @property
    def peers(self) -> dict[int, str]:
        """By what each got its files."""
        return {node_id: judgement.peer for node_id, judgement in self.judged.items()}


OTHER = {**FACTS, "version": [3, 6], "abi": "cp36m"}


def test_it_is_brought_the_one_that_fits_and_takes_part() -> None:
    it = Brought({4: [OTHER, FACTS]})
    it.run()
    all_ok(it)
    assert it.copies == []
    assert it.loaded == {4: 1}
    assert it.brought[4] == DATA
    assert it.peers == {**dict.fromkeys((1, 2, 3, 5), "libtorrent 2.1.1"), 4: "libtorrent 2.1.1, carried"}
    assert "fetch-peers" not in notices(it)


def test_so_is_the_root() -> None:
    it = Brought({ROOT_ID: [FACTS]})
    it.run()
    all_ok(it)
    assert it.copies == []
    assert it.loaded == {ROOT_ID: 0}


@pytest.mark.parametrize("wheels", [(), (a_wheel(PACKED.replace("x86_64", "aarch64")),)])
def test_where_none_fits_rsync_serves_it_and_it_is_said_what_would_help(wheels: Any) -> None:
    it = Brought({4: [OTHER], 5: [FACTS], 2: [{**FACTS, "libc": "", "libc_version": [0, 0]}]}, wheels=wheels)
    it.run()
    all_ok(it)
    assert sorted(taker for _, taker in it.copies) == [2, 4, 5]
    assert it.peers == {1: PEER[:-2], 3: PEER[:-2], 2: "rsync", 4: "rsync", 5: "rsync"}
    said = notices(it)
    assert "none is here that fits its Python 3." in said
    assert "`nile swarm fetch-peers --python 3.11 --machine x86_64 --libc glibc` has one ready" in said


def test_a_root_for_which_none_fits() -> None:
    it = Brought({ROOT_ID: [OTHER]}, wheels=())
    it.run()
    all_ok(it)
    assert len(it.copies) == 5
    assert "no swarm: at the root: it has no libtorrent" in notices(it)
    assert set(it.peers.values()) == {"rsync"}


def test_it_isnt_worth_it_for_less_than_the_wheel_has() -> None:
    it = Brought({4: [FACTS]})
    it.move = SIZE
    it.run()
    all_ok(it)
    assert it.loaded == {}
    assert carrying.TOO_LARGE in notices(it)


def test_but_who_has_no_rsync_needs_it() -> None:
    it = Brought({ROOT_ID: [FACTS], 4: [FACTS]})
    it.move = SIZE
    it.refuses = {4: {"rsync": None}}
    it.run()
    all_ok(it)
    assert it.loaded == {ROOT_ID: 0, 4: 0}


def test_a_few_at_a_time_and_not_more_than_so_many() -> None:
    """Where hosts don't reach each other, so that all of it leaves the root."""
    count = MOST_CARRIED + 6
    hosts = range(2, count + 2)
    it = Brought({node_id: [FACTS] for node_id in hosts}, wide(count + 1))
    it.apart = set(hosts)
    it.run()
    all_ok(it)
    assert it.most_at_one_time == AT_ONE_TIME
    assert len(it.loaded) == MOST_CARRIED
    assert len(it.copies) == 6
    assert carrying.NOT_HANDED in notices(it)


class Stumbling(Brought):
    """The first two to whom it is handed can't be reached."""

    def _hand(self, node_id: int, message: Message) -> None:
        if len(self.apart) < 2:
            self.apart.add(message["port"] - 5000)
        super()._hand(node_id, message)


def test_two_that_cant_be_handed_it_keep_nobody_else_from_that() -> None:
    """Not even if they were the first, and there are more than the root brings it to."""
    count = MOST_CARRIED + 6
    it = Stumbling({node_id: [FACTS] for node_id in range(2, count + 2)}, wide(count + 1))
    it.run()
    all_ok(it)
    assert it.copies == []
    assert len(it.loaded) == count
    carried = {node_id for node_id, do, _ in it.asked if do == "carry"}
    assert it.apart < carried
    assert len(carried) < 8


def test_it_leaves_the_root_once_and_hosts_hand_it_on() -> None:
    count = MOST_HOSTS + 6
    it = Brought({node_id: [FACTS] for node_id in range(2, count + 2)}, wide(count + 1))
    it.run()
    all_ok(it)
    assert len(it.loaded) == MOST_HOSTS
    assert sum(do == "carry" for _, do, _ in it.asked) == len(DATA) // CHUNK
    assert len(it.handed) == MOST_HOSTS - 1
    assert len(it.copies) == 6
    assert carrying.TOO_MANY in notices(it)


def test_nobody_hands_it_to_another_site() -> None:
    ids = range(1, 13)
    it = Brought({each: [FACTS] for each in ids}, at_sites(TWELVE, "ab"))
    it.run()
    all_ok(it)
    assert len(it.handed) == 10, "the root brings it to the first of each"
    assert all((giver <= 6) == (taker <= 6) for giver, taker in it.handed)
    assert set(it.peers.values()) == {"libtorrent 2.1.1, carried"}


def test_the_root_brings_it_to_who_cant_be_handed_it() -> None:
    it = Brought({node_id: [FACTS] for node_id in range(2, 6)})
    it.apart = {5}
    it.run()
    all_ok(it)
    assert it.copies == []
    assert it.loaded.keys() == {2, 3, 4, 5}
    assert 5 not in [taker for _, taker in it.handed]
    assert (5, "carry") in [(node_id, do) for node_id, do, _ in it.asked]


def test_one_that_doesnt_say_where_it_waits_keeps_its_giver_from_nobody() -> None:
    it = Brought({node_id: [FACTS] for node_id in range(1, 5)}, wide(6))
    it.deaf = {2}
    it.TICKS = int(carrying.COME_S) + 60
    it.run()
    all_ok(it)
    assert it.loaded.keys() == {1, 3, 4}
    assert [taker for _, taker in it.copies] == [2]


@pytest.mark.parametrize("said", [{"port": "x"}, {"port": -1}])
def test_a_taker_that_says_nonsense(said: Message) -> None:
    it = Brought({4: [FACTS], 5: [FACTS]})
    it.deaf = {5}
    it.begin()
    it.all_said()
    number = max(number for number, (node, do, _) in it.sync._asking._waiting.items() if do == "take")
    it._say(5, number, **said, more=True)
    with pytest.raises((TypeError, ValueError)):
        it.all_said()


def test_a_taker_that_says_its_port_again() -> None:
    it = Brought({4: [FACTS], 5: [FACTS]})
    it.deaf = {5}
    it.begin()
    it.all_said()
    (number,) = (number for number, (_, do, _) in it.sync._asking._waiting.items() if do == "take")
    it.awaits[5] = {"n": 0, "secret": b"", "digest": b""}
    it._hand = lambda node_id, message: None  # type: ignore[method-assign]
    it._say(5, number, port=5005, more=True)
    it._say(5, number, port=5005, more=True)
    with pytest.raises(ValueError, match="its port again"):
        it.all_said()


def test_one_that_takes_nothing_is_left_to_rsync_and_the_others_have_their_turn() -> None:
    hosts = range(1, AT_ONE_TIME + 3)
    it = Brought({node_id: [FACTS] for node_id in hosts}, wide(len(hosts) + 1))
    it.deaf = set(range(1, AT_ONE_TIME + 1))
    it.TICKS = 2 * int(carrying.START_S) + 60
    it.run()
    all_ok(it)
    assert it.loaded.keys() == {AT_ONE_TIME + 1, AT_ONE_TIME + 2}


class Slow(Brought):
    """Host 4 takes a part every so often."""

    EACH_S = 20
    seconds = 0
    taken = False

    def __init__(self, bare: dict[int, list[Message]]) -> None:
        super().__init__(bare)
        self.later: list[Message] = []

    def _carry(self, node_id: int, message: Message) -> None:
        if node_id != 4 or self.taken:
            super()._carry(node_id, message)
        else:
            self.later.append(message)

    def advance(self) -> None:
        super().advance()
        self.seconds += 1
        if self.later and self.seconds % self.EACH_S == 0 and 4 not in self.unpeered:
            self.taken = True
            self._carry(4, self.later.pop(0))
            self.taken = False


def test_one_that_takes_too_little_of_it_is_left_to_rsync() -> None:
    it = Slow({4: [FACTS]})
    it.TICKS = 120
    it.run()
    all_ok(it)
    assert [taker for _, taker in it.copies] == [4]
    (at,) = [t for node, do, t in it.asked if (node, do) == (4, "unpeer")]
    most_s = carrying.START_S + len(DATA) / carrying.LEAST_RATE
    assert most_s < at < most_s + 5


def test_one_that_takes_enough_of_it_has_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carrying, "LEAST_RATE", CHUNK / Slow.EACH_S)
    it = Slow({4: [FACTS]})
    it.TICKS = 12 * Slow.EACH_S
    it.run()
    all_ok(it)
    assert it.copies == []
    assert it.peers[4] == "libtorrent 2.1.1, carried"


def test_one_that_says_nothing_once_it_has_it() -> None:
    it = Brought({4: [FACTS]})
    it.speechless = {4}
    it.TICKS = int(carrying.START_S) + 60
    it.run()
    all_ok(it)
    assert [taker for _, taker in it.copies] == [4]


def test_one_that_dies_on_the_way() -> None:
    it = Brought({4: [FACTS], 5: [FACTS]})
    it.deaf = {4}
    it.begin()
    it.all_said()
    it.die(4)
    it.go_on()
    assert it.judged.pop(4).verdict == "lost"
    assert set(codes(it).values()) == {None}
    assert it.peers[5] == "libtorrent 2.1.1, carried"


@pytest.mark.parametrize("wheels", [[], [a_wheel(data=bytes(LARGE + 1))]])
def test_one_that_is_brought_none_has_its_aria2_take_part(wheels: list[Wheel]) -> None:
    """There is none that fits, or it is too large."""
    it = Brought({4: [FACTS]}, wheels=wheels, plain=True)
    it.aria = {4: "1.36.0"}
    it.run()
    all_ok(it)
    assert it.peers[4] == "aria2 1.36.0"
    assert not it.copies
    assert not it.brought
    assert "fetch-peers" not in notices(it)


def test_one_that_can_be_brought_a_libtorrent_has_that_rather_than_its_aria2() -> None:
    it = Brought({4: [FACTS]}, plain=True)
    it.aria = {4: "1.36.0"}
    it.run()
    all_ok(it)
    assert it.peers[4] == "libtorrent 2.1.1, carried"


def test_no_aria2_takes_part_in_a_swarm_that_is_encrypted() -> None:
    it = Brought({4: [FACTS]}, wheels=[])
    it.aria = {4: "1.36.0"}
    it.run()
    all_ok(it)
    assert it.peers[4] == "rsync"
    assert carrying.PLAIN_ALONE in notices(it)
    assert "fetch-peers" in notices(it)


def test_no_aria2_takes_part_where_there_are_several_sites() -> None:
    it = Brought({4: [FACTS]}, at_sites(FIVE, "ab"), wheels=[], plain=True)
    it.aria = {4: "1.36.0"}
    it.run()
    all_ok(it)
    assert it.peers[4] == "rsync"
    assert carrying.ONE_SITE_ALONE in notices(it)


def test_no_aria2_serves_what_a_seeder_has() -> None:
    """It would write to that."""
    it = Brought({4: [FACTS]}, had={4: "new"}, seeders=frozenset({"h0004"}), wheels=[], plain=True)
    it.aria = {4: "1.36.0"}
    it.run()
    all_ok(it)
    assert it.whats[4]
    assert not it.when("aria")
    assert "seeders that didn't serve what they had: h0004 (1)" in notices(it)


def test_an_aria2_of_which_nothing_is_heard() -> None:
    it = Brought({4: [FACTS]}, wheels=[], plain=True)
    it.aria = {4: "1.36.0"}
    it.speechless = {4}
    it.TICKS = int(carrying.START_S) + 60
    it.run()
    all_ok(it)
    assert [taker for _, taker in it.copies] == [4]


def test_one_whose_aria2_is_to_take_part_lacks_nothing_more() -> None:
    it = Brought({4: [FACTS]}, wheels=[], plain=True)
    it.aria = {4: "1.36.0"}
    it.speechless = {4}
    it.begin()
    it.all_said()
    it._say(4, it.whats[4], lacks=[FACTS], aria2="1.36.0", more=True)
    with pytest.raises(ValueError, match="lacks what it was brought"):
        it.all_said()


def test_a_cache_that_cant_be_read_any_more() -> None:
    name = Name.of(PACKED)
    it = Brought({4: [FACTS]}, wheels=[Wheel(PACKED, name, 10, b"", lambda at, size: b"")])
    it.run()
    all_ok(it)
    assert it.peers[4] == "rsync"
    assert carrying.UNREADABLE in notices(it)


@pytest.mark.parametrize("said", [None, [], [None], [{}], [{**FACTS, "abi": 3}], "x"])
def test_a_host_that_says_nonsense_has_failed_alone(said: Any) -> None:
    it = Brought({})
    it.away = {4}
    it.begin()
    it.all_said()
    number = it.sync._swarm._all._all[4].number
    it._say(4, number, lacks=said, more=True)
    with pytest.raises((KeyError, TypeError, ValueError)):
        it.all_said()


def test_one_that_lacks_what_it_was_brought() -> None:
    it = Brought({4: [FACTS]})
    it.speechless = {4}
    it.begin()
    it.all_said()
    it._say(4, it.whats[4], lacks=[FACTS], more=True)
    with pytest.raises(ValueError, match="lacks what it was brought"):
        it.all_said()


@pytest.mark.parametrize(
    "said", ["bittorrent 1.0", "libtorrent", "libtorrent 2.1\n", "libtorrent 2.1 x", "", 3, None]
)
def test_a_peer_that_isnt_known(said: Any) -> None:
    it = Brought({})
    it.away = {2}
    it.begin()
    it.all_said()
    it._say(2, it.sync._swarm._all._all[2].number, port=4002, peer=said, more=True)
    with pytest.raises((TypeError, ValueError)):
        it.all_said()
