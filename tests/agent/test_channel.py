"""What may flow of a channel: both ends, under any traffic, and one that does as it likes."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nile.agent.channel import (
    GRANT_STEP,
    MOST_QUEUED,
    PIECE,
    WINDOW,
    Channel,
    number_of,
    pack_opened,
    unpack_opened,
)
from nile.agent.link import BULK_WINDOW, Link
from nile.agent.wire import CARRY, CLOSE, GRANT, MAX_FRAME_UP, Frame, WireError


def grant(offset: int, number: int = 7) -> bytes:
    return struct.pack("!IQ", number, offset)


def give_all(channel: Channel) -> list[bytes]:
    """As much as there is room for, each piece gone at once."""
    bodies = []
    while room := channel.room():
        bodies.append(channel.give(bytes(room)))
        channel.left(room)
    return bodies


class TestWindow:
    def test_no_more_than_was_granted_is_given(self) -> None:
        near, far = Channel(7), Channel(7)
        first = give_all(near)
        assert sum(len(far.receive(body)) for body in first) == WINDOW
        assert near.room() == 0
        told = far.took(GRANT_STEP)
        assert told is not None
        near.grant(told)
        assert sum(len(far.receive(body)) for body in give_all(near)) == GRANT_STEP

    def test_grants_come_in_steps(self) -> None:
        far = Channel(7)
        for body in give_all(Channel(7)):
            far.receive(body)
        assert far.took(GRANT_STEP - 1) is None
        assert far.took(1) == grant(GRANT_STEP + WINDOW)

    def test_only_so_much_waits_for_the_link(self) -> None:
        near = Channel(7)
        waiting = 0
        while room := near.room():
            assert room <= PIECE
            near.give(bytes(room))
            waiting += room
        assert waiting == MOST_QUEUED
        near.left(10)
        assert near.room() == 10

    def test_bytes_beyond_the_window_are_a_breach(self) -> None:
        far = Channel(7)
        for body in give_all(Channel(7)):
            far.receive(body)
        with pytest.raises(WireError, match="more bytes"):
            far.receive(b"\0\0\0\7x")

    def test_who_grants_what_wasnt_sent_gets_nothing_for_it(self) -> None:
        """Or bytes would pile up here that it never takes."""
        near = Channel(7)
        near.give(b"12345")
        near.grant(grant(WINDOW + 5))
        with pytest.raises(WireError, match="weren't sent"):
            near.grant(grant(WINDOW + 6))

    def test_a_grant_takes_nothing_back(self) -> None:
        near = Channel(7)
        near.grant(grant(0))
        assert near.room() == PIECE

    @pytest.mark.parametrize("body", [b"\0\0\0\7", grant(1)[:-1], grant(1) + b"x"])
    def test_a_grant_of_another_size_is_none(self, body: bytes) -> None:
        with pytest.raises(WireError, match="cut short"):
            Channel(7).grant(body)


def test_a_piece_may_be_the_last_that_a_link_lets_through() -> None:
    """Its window ends one byte behind the beginning of the frame."""
    near, far = Link(MAX_FRAME_UP, 0.0), Link(MAX_FRAME_UP, 0.0)
    for size in (BULK_WINDOW - 1, PIECE + 4):
        near.send(Frame(CARRY, 1, 1, (), bytes(size)))
    data = b""
    while near.pending():
        data += near.pull(0.0)
    assert len(far.receive(data, 0.0)) == 2


def test_a_link_keeps_the_order_of_bytes_and_their_end() -> None:
    """All other frames may overtake them: nothing is lost by that."""
    near, far = Link(MAX_FRAME_UP, 0.0), Link(MAX_FRAME_UP, 0.0)
    for kind in (CARRY, CLOSE, GRANT):
        near.send(Frame(kind, 1, 1, (), b"\0\0\0\7"))
    data = b""
    while near.pending():
        data += near.pull(0.0)
    assert [frame.type for frame in far.receive(data, 0.0)] == [GRANT, CARRY, CLOSE]


class TestEnds:
    def test_each_direction_has_its_own(self) -> None:
        near, far = Channel(7), Channel(7)
        assert far.receive(near.give(b"")) == b""
        assert (near.gives, near.takes, far.gives, far.takes) == (False, True, True, False)
        assert near.room() == 0
        assert near.receive(far.give(b"late")) == b"late"
        assert near.receive(far.give(b"")) == b""
        assert not near.takes

    def test_nothing_follows_the_end(self) -> None:
        near, far = Channel(7), Channel(7)
        far.receive(near.give(b""))
        with pytest.raises(WireError):
            far.receive(b"\0\0\0\7x")

    def test_nothing_is_granted_behind_the_end(self) -> None:
        near, far = Channel(7), Channel(7)
        for body in give_all(near):
            far.receive(body)
        far.receive(near.give(b""))
        assert far.took(WINDOW) is None

    def test_a_closed_one_neither_gives_nor_takes(self) -> None:
        near = Channel(7)
        assert near.close() == b"\0\0\0\7"
        assert (near.room(), near.gives, near.takes) == (0, False, False)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3), st.integers(1, 2 * PIECE)), max_size=150))
def test_honest_ends_lose_nothing_and_never_break_a_rule(steps: list[tuple[bool, int, int]]) -> None:
    """Each step: which end is the giver, what happens, how much. Links keep the order."""
    ends = {True: Channel(7), False: Channel(7)}
    links: dict[bool, list[bytes]] = {True: [], False: []}
    grants: dict[bool, list[bytes]] = {True: [], False: []}
    held = {True: 0, False: 0}
    given_, taken = {True: 0, False: 0}, {True: 0, False: 0}

    def took(who: bool, size: int) -> None:
        size = min(size, held[who])
        held[who] -= size
        taken[who] += size
        told = ends[who].took(size)
        if told is not None:
            grants[not who].append(told)

    def deliver(who: bool) -> None:
        body = links[who].pop(0)
        ends[who].left(len(body) - 4)
        held[not who] += len(ends[not who].receive(body))

    for who, what, size in steps:
        if what == 0 and ends[who].room():
            piece = bytes(min(size, ends[who].room()))
            links[who].append(ends[who].give(piece))
            given_[who] += len(piece)
        elif what == 1 and links[who]:
            deliver(who)
        elif what == 2:
            took(who, size)
        elif what == 3 and grants[who]:
            ends[who].grant(grants[who].pop(0))
        for each in (True, False):
            in_flight = sum(len(body) - 4 for body in links[each])
            assert in_flight <= MOST_QUEUED
            assert in_flight + held[not each] <= WINDOW
    for who in (True, False):
        while links[who]:
            deliver(who)
        took(not who, WINDOW)
        for told in grants[who]:
            ends[who].grant(told)
        assert taken[not who] == given_[who]
        assert ends[who].room() == PIECE, "it can go on"


def test_a_frame_has_its_channels_number_in_front() -> None:
    assert number_of(Channel(1 << 31).give(b"x")) == 1 << 31
    with pytest.raises(WireError):
        number_of(b"abc")


def test_how_connecting_went() -> None:
    assert unpack_opened(pack_opened(1, "refused", "no")) == ("refused", "no")
    assert len(unpack_opened(pack_opened(1, "refused", "n" * 1000))[1]) == 200
    for body in (b"\0\0\0\1", b"\0\0\0\1n", b"\0"):
        with pytest.raises(WireError):
            unpack_opened(body)


@given(st.lists(st.tuples(st.sampled_from(["grant", "receive", "took", "left"]), st.binary(max_size=20))))
def test_whatever_comes_is_refused_or_stays_within_bounds(frames: list[tuple[str, bytes]]) -> None:
    channel = Channel(7)
    held = 0
    for kind, body in frames:
        try:
            if kind == "grant":
                channel.grant(body)
            elif kind == "receive" and len(body) >= 4:
                held += len(channel.receive(body))
            elif kind == "took":
                channel.took(held)
                held = 0
        except WireError:
            return
        assert 0 <= held <= WINDOW
        assert 0 <= channel.room() <= PIECE
