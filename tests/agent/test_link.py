"""One connection, both ends: windows, turns, priorities and pings, under any traffic."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nile.agent import wire
from nile.agent.link import BULK_WINDOW, PING_S, Link
from nile.agent.wire import CHUNK, Frame, WireError, pack_output

LIMIT = wire.MAX_FRAME_UP


def output(origin: int, size: int, offset: int = 0) -> Frame:
    return Frame(wire.OUTPUT, origin, 1, (), pack_output(0, offset, b"." * size))


def drain(link: Link) -> bytes:
    data = b""
    while link.pending():
        data += link.pull(0.0)
    return data


class TestWindow:
    def test_bulk_stops_at_the_window_and_goes_on_when_granted(self) -> None:
        near, far = Link(LIMIT, 0.0), Link(LIMIT, 0.0)
        for serial in range(20):
            near.send(output(1, CHUNK, serial * CHUNK))
        first = far.receive(drain(near), 0.0)
        assert not near.pending()
        assert BULK_WINDOW <= sum(len(frame.body) for frame in first) <= BULK_WINDOW + 2 * CHUNK

        far.take(sum(len(frame.body) for frame in first))
        near.receive(drain(far), 0.0)
        assert near.pending()
        rest = far.receive(drain(near), 0.0)
        assert len(rest) == len(first)

    @given(st.lists(st.integers(1, CHUNK), min_size=1, max_size=60), st.integers(0, 60))
    def test_an_honest_sender_never_breaks_the_rule(self, sizes: list[int], taken: int) -> None:
        """Whatever the sizes of its frames, and however slowly room is given back."""
        near, far = Link(LIMIT, 0.0), Link(LIMIT, 0.0)
        for size in sizes:
            near.send(output(1, size))
        received: list[int] = []
        for _ in sizes:
            received += [len(frame.body) for frame in far.receive(drain(near), 0.0)]
            if received and taken:
                far.take(received.pop(0))
                near.receive(drain(far), 0.0)
        assert near._sent - near.granted <= 2 * CHUNK

    def test_a_last_frame_that_begins_just_before_the_window_ends(self) -> None:
        near, far = Link(LIMIT, 0.0), Link(LIMIT, 0.0)
        head = len(pack_output(0, 0, b""))
        sizes = [CHUNK] * 7 + [BULK_WINDOW - 1 - 7 * (CHUNK + head) - head, CHUNK]
        for size in sizes:
            near.send(output(1, size))
        assert len(far.receive(drain(near), 0.0)) == len(sizes)

    def test_more_than_the_window_is_refused(self) -> None:
        far = Link(LIMIT, 0.0)
        with pytest.raises(WireError, match="window"):
            far.receive(b"".join(output(1, CHUNK).encode() for _ in range(20)), 0.0)

    @pytest.mark.parametrize("granted", [None, "x", 1.5, [], {}])
    def test_a_window_has_to_be_a_number(self, granted: object) -> None:
        with pytest.raises(WireError):
            Link(LIMIT, 0.0).receive(Frame(wire.WINDOW, body=wire.dumps(granted)).encode(), 0.0)

    def test_windows_only_grow(self) -> None:
        link = Link(LIMIT, 0.0)
        link.receive(Frame(wire.WINDOW, body=wire.dumps(0)).encode(), 0.0)
        link.receive(Frame(wire.WINDOW, body=wire.dumps(-(2**62))).encode(), 0.0)
        link.send(output(1, 10))
        assert link.pending()


class TestTurns:
    def test_control_frames_go_first(self) -> None:
        link = Link(LIMIT, 0.0)
        link.send(output(1, 100))
        link.send(Frame(wire.RESULT, 1))
        link.send(Frame(wire.STARTED, 2))
        frames = Link(LIMIT, 0.0).receive(drain(link), 0.0)
        assert [frame.type for frame in frames] == [wire.RESULT, wire.STARTED, wire.OUTPUT]

    def test_control_frames_go_though_the_window_is_full(self) -> None:
        near, far = Link(LIMIT, 0.0), Link(LIMIT, 0.0)
        for _ in range(20):
            near.send(output(1, CHUNK))
        far.receive(drain(near), 0.0)
        near.send(Frame(wire.RESULT, 1))
        assert [frame.type for frame in far.receive(drain(near), 0.0)] == [wire.RESULT]

    def test_origins_take_turns(self) -> None:
        link = Link(LIMIT, 0.0)
        for _ in range(5):
            link.send(output(1, 100))
        for origin in (2, 3):
            link.send(output(origin, 100))
        origins = [frame.origin for frame in Link(LIMIT, 0.0).receive(drain(link), 0.0)]
        assert origins == [1, 2, 3, 1, 1, 1, 1]

    @given(st.lists(st.tuples(st.integers(1, 4), st.integers(0, 3000)), max_size=60))
    def test_each_origin_keeps_its_order(self, traffic: list[tuple[int, int]]) -> None:
        near, far = Link(LIMIT, 0.0), Link(LIMIT, 0.0)
        left: list[int] = []
        for serial, (origin, size) in enumerate(traffic):
            near.send(output(origin, size, serial), lambda serial=serial: left.append(serial))  # type: ignore[misc]
        got = [(f.origin, wire.unpack_output(f.body)[1]) for f in far.receive(drain(near), 0.0)]
        assert sorted(offset for _, offset in got) == list(range(len(traffic)))
        for origin in range(1, 5):
            mine = [offset for each, offset in got if each == origin]
            assert mine == sorted(mine)
        assert left == [offset for _, offset in got]


class TestPings:
    def test_a_silent_direction_sends_a_ping_and_a_busy_one_none(self) -> None:
        link = Link(LIMIT, 0.0)
        link.tick(PING_S - 0.1)
        assert not link.pending()
        link.tick(PING_S)
        assert link.pull(PING_S)
        link.tick(PING_S + 0.5)
        assert not link.pending()
        link.send(Frame(wire.RESULT))
        link.pull(PING_S + 0.9)
        link.tick(2 * PING_S + 0.5)
        assert not link.pending()

    def test_pings_are_not_for_those_above_and_any_byte_is_life(self) -> None:
        link = Link(LIMIT, 0.0)
        assert link.receive(Frame(wire.PING).encode(), 5.0) == []
        assert link.last_in == 5.0
        assert link.receive(b"\0", 6.0) == []
        assert link.last_in == 6.0

    def test_pings_do_not_pile_up(self) -> None:
        link = Link(LIMIT, 0.0)
        for second in range(100):
            link.tick(float(second))
        assert len(link.pull(100.0)) == len(Frame(wire.PING).encode())
