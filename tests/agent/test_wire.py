"""Values and frames: what goes in comes out, in whatever pieces; and whatever comes in, only WireError."""

from __future__ import annotations

import math
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nile.agent import wire
from nile.agent.wire import Decoder, Frame, WireError
from nile.cascade.inputs import FRAME_NAMES, frame_name

texts = st.text(st.characters(exclude_categories=["Cs"])) | st.binary(max_size=20).map(
    lambda data: data.decode("utf-8", "surrogateescape")
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | st.binary(max_size=50)
    | texts
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(texts, inner, max_size=5)
)
frames = st.builds(
    Frame,
    st.integers(0, 255),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
    st.lists(st.integers(0, 2**32 - 1), max_size=wire.MAX_HOPS).map(tuple),
    st.binary(max_size=300),
)


def parts(frame: Frame) -> tuple[object, ...]:
    return frame.type, frame.origin, frame.epoch, frame.path, frame.body


class TestValues:
    @given(values)
    def test_round_trip(self, value: object) -> None:
        assert repr(wire.loads(wire.dumps(value))) == repr(value)

    def test_tuples_become_lists(self) -> None:
        assert wire.loads(wire.dumps((1, ("a", b"b")))) == [1, ["a", b"b"]]

    def test_kinds_are_kept_apart(self) -> None:
        back = wire.loads(wire.dumps([True, 1, 1.0, "1", b"1"]))
        assert [type(item) for item in back] == [bool, int, float, str, bytes]
        assert math.isnan(wire.loads(wire.dumps(math.nan)))

    @settings(deadline=None)
    @given(values)
    def test_no_value_is_another_ones_beginning(self, value: object) -> None:
        encoded = wire.dumps(value)
        for size in range(len(encoded)):
            with pytest.raises(WireError):
                wire.loads(encoded[:size])
        with pytest.raises(WireError, match="behind"):
            wire.loads(encoded + b"n")

    def test_depth_is_bounded(self) -> None:
        def nested(depth: int) -> Any:
            return [nested(depth - 1)] if depth else None

        assert wire.loads(wire.dumps(nested(wire.MAX_DEPTH))) == nested(wire.MAX_DEPTH)
        with pytest.raises(WireError, match="deep"):
            wire.loads(wire.dumps(nested(wire.MAX_DEPTH + 1)))
        with pytest.raises(WireError, match="deep"):
            wire.loads(b"l\0\0\0\1" * 200_000)

    @pytest.mark.parametrize("kind", [b"l", b"d", b"s", b"b"])
    @pytest.mark.parametrize("count", [2, 1000, 2**32 - 1])
    def test_counts_that_are_too_large_cost_nothing(self, kind: bytes, count: int) -> None:
        with pytest.raises(WireError):
            wire.loads(kind + struct.pack("!I", count) + b"n")

    @pytest.mark.parametrize("value", [object(), {1, 2}, 1j, {1: "key is no text"}, range(3)])
    def test_only_these_kinds_are_encoded(self, value: object) -> None:
        with pytest.raises(WireError):
            wire.loads(wire.dumps(value))

    def test_a_key_has_to_be_text(self) -> None:
        with pytest.raises(WireError, match="key"):
            wire.loads(b"d\0\0\0\1" + wire.dumps(1) + wire.dumps(2))

    def test_a_body_that_has_to_be_a_mapping(self) -> None:
        assert Frame(wire.ACK, body=wire.dumps({"a": 1})).fields() == {"a": 1}
        with pytest.raises(WireError, match="type 13"):
            Frame(wire.ACK, body=wire.dumps([1])).fields()


class TestFrames:
    @given(st.lists(frames, max_size=6), st.data())
    def test_round_trip_in_any_pieces(self, sent: list[Frame], data: st.DataObject) -> None:
        stream = b"".join(frame.encode() for frame in sent)
        decoder, got, at = Decoder(wire.MAX_FRAME_UP), [], 0
        while at < len(stream):
            size = data.draw(st.integers(1, len(stream) - at))
            got += decoder.feed(stream[at : at + size])
            at += size
        assert [parts(frame) for frame in got] == [parts(frame) for frame in sent]

    @given(st.lists(frames, min_size=1, max_size=3))
    def test_byte_by_byte_as_all_at_once(self, sent: list[Frame]) -> None:
        stream = b"".join(frame.encode() for frame in sent)
        slow, fast = Decoder(wire.MAX_FRAME_UP), Decoder(wire.MAX_FRAME_UP)
        one_by_one = [frame for byte in stream for frame in slow.feed(bytes([byte]))]
        assert [parts(frame) for frame in one_by_one] == [parts(frame) for frame in fast.feed(stream)]

    def test_a_frame_at_the_limit_and_one_above(self) -> None:
        limit = 5000
        fits = Frame(wire.RESULT, body=b"x" * (limit - 10)).encode()
        assert len(Decoder(limit).feed(fits)) == 1
        with pytest.raises(WireError, match="5001 bytes"):
            Decoder(limit).feed(Frame(wire.RESULT, body=b"x" * (limit - 9)).encode())

    def test_a_giant_length_is_refused_before_its_bytes_come(self) -> None:
        with pytest.raises(WireError, match="a frame of 4294967295 bytes"):
            Decoder(wire.MAX_FRAME_UP).feed(b"\xff\xff\xff\xff")

    @pytest.mark.parametrize("size", range(10))
    def test_a_length_below_the_header_is_refused(self, size: int) -> None:
        with pytest.raises(WireError):
            Decoder(1000).feed(struct.pack("!I", size))

    def test_a_path_beyond_the_frame_or_too_long_is_refused(self) -> None:
        with pytest.raises(WireError, match="path"):
            Decoder(1000).feed(struct.pack("!IBBII", 10, wire.START, 1, 0, 1) + bytes(50))
        hops = wire.MAX_HOPS + 1
        with pytest.raises(WireError, match="path"):
            Decoder(1000).feed(struct.pack("!IBBII", 10 + 4 * hops, wire.START, hops, 0, 1) + bytes(4 * hops))


class TestOutput:
    @given(st.integers(0, 1), st.integers(0, 2**64 - 1), st.binary(max_size=100))
    def test_round_trip(self, stream: int, offset: int, data: bytes) -> None:
        assert wire.unpack_output(wire.pack_output(stream, offset, data)) == (stream, offset, data)


def test_types_have_one_name_each_and_one_direction() -> None:
    assert set(FRAME_NAMES) == wire.UP_TYPES | wire.DOWN_TYPES | wire.LINK_TYPES
    assert len(set(FRAME_NAMES.values())) == len(FRAME_NAMES)
    assert (frame_name(wire.PLAN), frame_name(wire.STATE)) == ("PLAN", "STATE")
    odd: list[object] = [0, -1, 1 << 40, None, [], "PLAN"]
    assert {frame_name(kind) for kind in odd} == {"a frame of no type"}
    both = {wire.CARRY, wire.CLOSE, wire.GRANT}
    assert both == wire.UP_TYPES & wire.DOWN_TYPES
    assert not wire.LINK_TYPES & (wire.UP_TYPES | wire.DOWN_TYPES)
    assert wire.BROADCAST < wire.DOWN_TYPES
    assert wire.RELAY_TYPES < wire.DOWN_TYPES
