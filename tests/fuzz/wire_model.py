"""The frame decoder and the values: any bytes, in any pieces, give frames and values or a WireError."""

from __future__ import annotations

from nile.agent import wire
from nile.agent.wire import Decoder, Frame, WireError
from tests.fuzz.choices import Choices, FromBytes

LIMIT = 300


def parts(frame: Frame) -> tuple[object, ...]:
    """A frame as a value."""
    return frame.type, frame.origin, frame.epoch, frame.path, frame.body


def decode(pieces: list[bytes]) -> tuple[list[tuple[object, ...]], bool]:
    """The frames in these pieces, and whether a WireError ended them; what is kept stays bounded."""
    decoder, frames = Decoder(LIMIT), []
    for piece in pieces:
        try:
            frames += [parts(frame) for frame in decoder.feed(piece)]
        except WireError:
            return frames, True
        assert len(decoder.rest()) < 4 + LIMIT
    return frames, False


def check_stream(choices: Choices, data: bytes) -> None:
    """In any pieces it is the same."""
    pieces, rest = [], data
    while rest:
        size = choices.number(1, 40)
        pieces.append(rest[:size])
        rest = rest[size:]
    frames, broken = decode(pieces)
    at_once, broken_at_once = decode([data])
    assert broken == broken_at_once
    assert broken or frames == at_once
    for kind, origin, epoch, path, body in frames:
        again = Frame(kind, origin, epoch, path, body)  # type: ignore[arg-type]
        assert decode([again.encode()]) == ([parts(again)], False)


def check_value(data: bytes) -> None:
    """A value that was decoded travels on unchanged, and is nothing with a byte more behind it."""
    try:
        value = wire.loads(data)
    except WireError:
        return
    assert repr(wire.loads(wire.dumps(value))) == repr(value)
    try:
        wire.loads(data + b"n")
    except WireError:
        return
    raise AssertionError("bytes behind a value")


def check_output(data: bytes) -> None:
    """Output has a stream, an offset and bytes."""
    try:
        stream, offset, content = wire.unpack_output(data)
    except WireError:
        return
    assert stream in (0, 1)
    assert wire.pack_output(stream, offset, content) == data


def check_frames(choices: Choices) -> None:
    """Whole frames go through unchanged; with one byte changed they do no harm."""
    stream = b""
    for _ in range(choices.number(1, 3)):
        path = tuple(choices.number(0, 2**32 - 1) for _ in range(choices.number(0, 5)))
        body = wire.dumps(choices.value())
        check_value(body)
        stream += Frame(choices.number(0, 255), choices.number(0, 9), 1, path, body).encode()
    check_stream(choices, stream)
    at = choices.number(0, len(stream) - 1)
    check_stream(choices, stream[:at] + bytes([choices.number(0, 255)]) + stream[at + 1 :])


def check_any(choices: Choices, data: bytes) -> None:
    """All of it."""
    check_stream(choices, data)
    check_value(data)
    check_output(data)
    check_frames(choices)


def walk_wire(data: bytes) -> None:
    """The same for a fuzzer's bytes."""
    check_any(FromBytes(data[-48:]), data)
