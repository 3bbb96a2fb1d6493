"""What a tracker understands, whom it tells of whom."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote_from_bytes, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nile.agent.worker import announcing, bencode
from nile.agent.worker.announcing import MOST_WANTED, WANTED, Asked, Refused
from nile.agent.worker.register import INTERVAL_S, MOST_AT_ADDRESS, PATIENCE, Register, packed

HASH = bytes(range(20))
OTHER = bytes(reversed(HASH))
METAINFO = b"d4:infod4:name1:xee"
HOSTS = {f"10.0.{rack}.{host}": ("a", f"r{rack}") for rack in range(4) for host in range(1, 40)}


def a_register(places: Mapping[str, Sequence[str]] | None = None) -> Register:
    register = Register(random.Random(1).sample)
    register.add(HASH, METAINFO)
    register.plan(HOSTS if places is None else places)
    return register


def peer_id(number: int) -> bytes:
    return b"-XX0000-%012d" % number


def asked(number: int = 1, **more: Any) -> Asked:
    plain = Asked(HASH, peer_id(number), 6881, 1, b"", WANTED, True, True)
    return plain._replace(**more)


def ends(peers: bytes) -> list[tuple[str, int]]:
    """The addresses and ports of a compact answer."""
    parts = [peers[at : at + 6] for at in range(0, len(peers), 6)]
    return [(".".join(map(str, part[:4])), int.from_bytes(part[4:], "big")) for part in parts]


def told(register: Register, address: str, ask: Asked, now: float = 0.0) -> list[str]:
    return [host for host, _ in ends(register.announce(ask, address, now)[b"peers"])]


def get(register: Register, target: str, address: str = "10.0.0.1", now: float = 0.0) -> announcing.Reply:
    return announcing.answer(register, f"GET {target} HTTP/1.1\r\nHost: x".encode(), address, now)


def query(**more: Any) -> str:
    said = {"info_hash": HASH, "peer_id": peer_id(1), "port": 6881, "left": 0} | more
    return urlencode({name: value for name, value in said.items() if value is not None})


def failure(reply: announcing.Reply) -> str:
    said = bencode.decode(reply.body)
    assert isinstance(said, dict)
    return str(said[b"failure reason"].decode())


# What is asked.


@given(
    st.binary(max_size=300) | st.text("GET /announce?infohs_%0f&=+ HTP1.\r\n", max_size=200).map(str.encode)
)
def test_whatever_comes_is_answered(head: bytes) -> None:
    reply = announcing.answer(a_register(), head, "10.0.0.1", 0.0)
    assert reply.status in {200, 400, 404, 405, 505}
    assert reply.head().startswith(b"HTTP/1.1 %d " % reply.status)


@given(
    st.dictionaries(
        st.sampled_from(
            ["info_hash", "peer_id", "port", "left", "event", "numwant", "compact", "no_peer_id", "ip", "x"]
        ),
        st.binary(max_size=24) | st.integers(-(10**25), 10**25) | st.just(HASH) | st.sampled_from(["0", "1"]),
    )
)
def test_whatever_is_announced_is_bounded(said: dict[str, Any]) -> None:
    register = a_register()
    reply = get(register, "/announce?" + urlencode(said))
    assert reply.status == 200
    answer = bencode.decode(reply.body)
    assert isinstance(answer, dict)
    assert (b"failure reason" in answer) != (b"interval" in answer)
    assert sum(register.scrape([HASH], 0.0)[b"files"][HASH].values()) <= 1


@given(st.binary(min_size=20, max_size=20), st.binary(min_size=20, max_size=20), st.integers(0, 65535))
def test_an_announce_says_what_was_meant(info_hash: bytes, own: bytes, port: int) -> None:
    words = f"info_hash={quote_from_bytes(info_hash, safe='')}&peer_id={quote_from_bytes(own)}&port={port}"
    said = announcing.announced(f"{words}&left=7&event=started&numwant=3&compact=0&no_peer_id=1".encode())
    assert said == Asked(info_hash, own, port, 7, b"started", 3, False, False)


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"info_hash": HASH[:19]}, "have 20 bytes"),
        ({"info_hash": None}, "have 20 bytes"),
        ({"peer_id": HASH * 2}, "have 20 bytes"),
        ({"port": 65536}, "no such port"),
        ({"port": None}, "no such port"),
        ({"port": "http"}, "port is no number"),
        ({"port": "\u0661"}, "port is no number"),
        ({"left": -1}, "nothing that can be left"),
        ({"left": "9" * 30}, "left is no number"),
        ({"info_hash": OTHER}, "isn't registered"),
    ],
)
def test_an_announce_that_cant_be_used(more: dict[str, Any], reason: str) -> None:
    reply = get(a_register(), "/announce?" + query(**more))
    assert reply.status == 200
    assert reason in failure(reply)


def test_what_is_there_twice_is_refused() -> None:
    assert "twice" in failure(get(a_register(), f"/announce?{query()}&port=1"))


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"GET /announce HTTP/1.1", 200),
        (b"GET http://tracker:80/scrape HTTP/1.0", 200),
        (b"GET /metainfo/" + HASH.hex().encode() + b".torrent HTTP/1.1", 200),
        (b"GET /metainfo/" + HASH.hex().upper().encode() + b".torrent HTTP/1.1", 200),
        (b"GET /metainfo/" + OTHER.hex().encode() + b".torrent HTTP/1.1", 404),
        (b"GET /metainfo/../../etc/passwd HTTP/1.1", 404),
        (b"GET / HTTP/1.1", 404),
        (b"POST /announce HTTP/1.1", 405),
        (b"GET /announce HTTP/2.0", 505),
        (b"GET /announce", 400),
        (b"GET /anno unce HTTP/1.1", 400),
        (b"GET /announce?x=%zz HTTP/1.1", 400),
        (b"GET /announce?%s HTTP/1.1" % (b"&" * 100), 400),
        (b"GET /\xff HTTP/1.1", 400),
        (b"", 400),
    ],
)
def test_requests(line: bytes, status: int) -> None:
    reply = announcing.answer(a_register(), line + b"\r\nHost: x", "10.0.0.1", 0.0)
    assert reply.status == status, reply


def test_who_isnt_planned_gets_nothing() -> None:
    register = a_register()
    for target in ("/announce?" + query(), "/scrape", f"/metainfo/{HASH.hex()}.torrent"):
        for address in ("10.0.9.9", "::1", "no address", ""):
            reply = get(register, target, address)
            assert reply.status == 403
            assert HASH not in reply.body
            assert METAINFO not in reply.body
    assert register.scrape([], 0.0)[b"files"][HASH][b"complete"] == 0


def test_the_plan_may_change() -> None:
    register = a_register()
    register.introduce(HASH, "192.0.2.1", 7000, True)
    register.announce(asked(1), "10.0.0.1", 0.0)
    register.announce(asked(2), "10.0.0.2", 0.0)
    register.plan({"10.0.0.2": (), "10.0.0.3": ()})
    assert not register.admits("10.0.0.1")
    assert sorted(told(register, "10.0.0.3", asked(3))) == ["10.0.0.2", "192.0.2.1"]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("10.0.0.1", "0a000001"),
        ("::ffff:10.0.0.1", "0a000001"),
        ("fe80::1%eth0", "fe80" + "00" * 13 + "01"),
        ("::1", "00" * 15 + "01"),
    ],
)
def test_an_address_has_one_form(text: str, wanted: str) -> None:
    assert packed(text) == bytes.fromhex(wanted)
    assert a_register({text: ()}).admits(text)


# Who is told of whom.


def test_a_peer_is_told_of_the_others_never_of_itself() -> None:
    register = a_register()
    assert told(register, "10.0.0.1", asked(1)) == []
    assert told(register, "10.0.0.2", asked(2, port=7)) == ["10.0.0.1"]
    assert told(register, "10.0.0.1", asked(1)) == ["10.0.0.2"]
    assert told(register, "10.0.0.1", asked(1, port=7)) == ["10.0.0.2"], "with another port, but its own id"
    assert told(register, "10.0.0.2", asked(9, port=7)) == ["10.0.0.1", "10.0.0.1"], "the same port"


def test_the_address_is_where_it_comes_from() -> None:
    register = a_register()
    for field in ("ip", "ipv4", "ipv6"):
        assert get(register, f"/announce?{query(**{field: '10.0.0.9'})}").status == 200
    assert told(register, "10.0.0.2", asked(2)) == ["10.0.0.1"]


def test_addresses_of_both_kinds() -> None:
    register = a_register({"10.0.0.1": (), "2001:db8::1": (), "2001:db8::2": ()})
    register.announce(asked(1), "::ffff:10.0.0.1", 0.0)
    register.announce(asked(2, port=258), "2001:db8::1", 0.0)
    answer = register.announce(asked(3), "2001:db8::2", 0.0)
    assert ends(answer[b"peers"]) == [("10.0.0.1", 6881)]
    assert answer[b"peers6"] == packed("2001:db8::1") + b"\x01\x02"
    spelt = register.announce(asked(3, compact=False), "2001:db8::2", 0.0)[b"peers"]
    assert sorted(spelt, key=str) == [
        {b"ip": b"10.0.0.1", b"port": 6881, b"peer id": peer_id(1)},
        {b"ip": b"2001:db8::1", b"port": 258, b"peer id": peer_id(2)},
    ]
    bare = register.announce(asked(3, compact=False, with_ids=False), "2001:db8::2", 0.0)[b"peers"]
    assert all(b"peer id" not in peer for peer in bare)


def test_sites_that_dont_peer_arent_told_of_each_other() -> None:
    places = {"10.0.0.1": ("a",), "10.0.1.1": ("b", "r1"), "10.0.1.2": ("b", "r2"), "10.0.2.1": ("c",)}
    register = a_register()
    register.plan({**places, "10.0.3.1": ("",), "10.0.9.9": ()}, [["c", "a"]])
    for number, host in enumerate([*places, "10.0.3.1", "10.0.9.9"]):
        register.announce(asked(number), host, 0.0)
    known = {host: set(told(register, host, asked(99, port=1))) - {host} for host in places}
    assert known == {
        "10.0.0.1": {"10.0.2.1", "10.0.9.9"},
        "10.0.1.1": {"10.0.1.2", "10.0.9.9"},
        "10.0.1.2": {"10.0.1.1", "10.0.9.9"},
        "10.0.2.1": {"10.0.0.1", "10.0.9.9"},
    }
    assert set(told(register, "10.0.3.1", asked(99, port=1))) == {"10.0.3.1", "10.0.9.9"}
    assert {*places, "10.0.3.1"} <= set(told(register, "10.0.9.9", asked(99, port=1)))


def test_events() -> None:
    register = a_register()

    def counts() -> list[int]:
        said = register.scrape([HASH], 0.0)[b"files"][HASH]
        return [said[b"complete"], said[b"incomplete"], said[b"downloaded"]]

    register.announce(asked(1, event=b"started"), "10.0.0.1", 0.0)
    assert counts() == [0, 1, 0]
    for _ in range(3):
        register.announce(asked(1, left=0, event=b"completed"), "10.0.0.1", 0.0)
        assert counts() == [1, 0, 1], "however often it says so"
    register.announce(asked(2, left=0, event=b"completed"), "10.0.0.2", 0.0)
    assert counts() == [2, 0, 1], "it had it all from the beginning"
    assert told(register, "10.0.0.1", asked(1, event=b"stopped")) == []
    assert counts() == [1, 0, 1]
    register.announce(asked(3, port=0), "10.0.0.3", 0.0)
    assert counts() == [1, 0, 1], "nobody can connect to it"


def test_who_has_all_is_told_of_those_who_dont() -> None:
    register = a_register()
    register.announce(asked(1, left=0), "10.0.0.1", 0.0)
    register.announce(asked(2), "10.0.0.2", 0.0)
    assert told(register, "10.0.0.3", asked(3, left=0)) == ["10.0.0.2"]


def test_who_says_nothing_is_forgotten() -> None:
    register = a_register()
    register.announce(asked(1), "10.0.0.1", 0.0)
    later = PATIENCE * INTERVAL_S
    assert told(register, "10.0.0.2", asked(2), later - 20) == ["10.0.0.1"]
    assert told(register, "10.0.0.3", asked(3), later) == ["10.0.0.2"]
    assert register.scrape([HASH], later + 1)[b"files"][HASH][b"incomplete"] == 2


def test_who_is_introduced_stays_until_it_is_dismissed() -> None:
    register = a_register()
    register.introduce(HASH, "192.0.2.1", 7000, True)
    assert told(register, "10.0.0.1", asked(1), 1e9) == ["192.0.2.1"]
    assert register.announce(asked(1, compact=False), "10.0.0.1", 1e9)[b"peers"] == [
        {b"ip": b"192.0.2.1", b"port": 7000}
    ]
    register.dismiss(HASH, "192.0.2.1", 7000)
    assert told(register, "10.0.0.1", asked(1), 1e9) == []


def test_who_is_introduced_and_announces_itself_stays_too() -> None:
    register = a_register()
    register.introduce(HASH, "10.0.0.1", 6881, False)
    register.announce(asked(1, left=0), "10.0.0.1", 0.0)
    assert told(register, "10.0.0.2", asked(2), 1e9) == ["10.0.0.1"]


def test_the_nearest_come_first_and_some_from_elsewhere() -> None:
    register = a_register()
    for number, host in enumerate(HOSTS):
        register.announce(asked(number + 1), host, 0.0)
    found = told(register, "10.0.2.1", asked(0, wanted=40))
    racks = [host.split(".")[2] for host in found]
    assert racks[:30] == ["2"] * 30
    assert len(racks) == len(set(found)) == 40
    assert set(racks[30:]) <= {"0", "1", "3"}
    few = told(register, "10.0.2.1", asked(0, wanted=MOST_WANTED))
    assert [host.split(".")[2] for host in few[:38]] == ["2"] * 38
    assert len(few) == len(HOSTS) - 1


def test_a_site_is_nearer_than_another() -> None:
    places = {"10.0.0.1": ("a", "1"), "10.0.0.2": ("a", "2"), "10.0.0.3": ("b", "1"), "10.0.0.4": ("a", "1")}
    register = a_register()
    register.plan(places, [["a", "b"]])
    for number, host in enumerate(["10.0.0.3", "10.0.0.2", "10.0.0.1"]):
        register.announce(asked(number + 1), host, 0.0)
    assert told(register, "10.0.0.4", asked(0)) == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]


@pytest.mark.parametrize(
    ("said", "wanted"), [("0", 0), ("3", 3), ("-1", WANTED), ("100000", 90), (None, WANTED)]
)
def test_as_many_as_are_wanted(said: str | None, wanted: int) -> None:
    register = a_register({f"10.1.{host // 200}.{host % 200}": () for host in range(91)})
    for number, host in enumerate(list(register._places)[:90]):
        register.announce(asked(number + 1), ".".join(map(str, host)), 0.0)
    reply = get(register, "/announce?" + query(numwant=said, left=1, peer_id=peer_id(0)), "10.1.0.90")
    answer = bencode.decode(reply.body)
    assert isinstance(answer, dict)
    assert len(ends(answer[b"peers"])) == wanted


def test_one_address_has_few_peers() -> None:
    register = a_register()
    for number in range(MOST_AT_ADDRESS * 3):
        register.announce(asked(number, port=1000 + number), "10.0.0.1", float(number))
    said = register.announce(asked(99), "10.0.0.2", 50.0)
    ports = [port for _, port in ends(said[b"peers"])]
    assert sorted(ports) == list(range(1000 + MOST_AT_ADDRESS * 2, 1000 + MOST_AT_ADDRESS * 3))


def test_many_peers_announce_less_often() -> None:
    hosts = [f"10.{host >> 8}.{host & 255}.1" for host in range(1600)]
    register = a_register(dict.fromkeys(hosts, ()))
    intervals = [
        register.announce(asked(n, wanted=0), host, 0.0)[b"interval"] for n, host in enumerate(hosts)
    ]
    assert (intervals[0], intervals[-1]) == (INTERVAL_S, 79)


def test_scrape() -> None:
    register = a_register()
    register.add(OTHER, METAINFO)
    register.announce(asked(1, left=0), "10.0.0.1", 0.0)
    empty = {b"complete": 0, b"downloaded": 0, b"incomplete": 0}
    one = {b"complete": 1, b"downloaded": 0, b"incomplete": 0}
    both = get(register, "/scrape")
    assert bencode.decode(both.body) == {b"files": {HASH: one, OTHER: empty}}
    named = get(register, "/scrape?" + urlencode([("info_hash", OTHER), ("info_hash", bytes(20))]))
    assert bencode.decode(named.body) == {b"files": {OTHER: empty}}


def test_a_torrent_that_is_removed_is_gone() -> None:
    register = a_register()
    assert register.metainfo(HASH) == METAINFO
    register.remove(HASH)
    with pytest.raises(Refused):
        register.metainfo(HASH)
    assert register.scrape([], 0.0) == {b"files": {}}
