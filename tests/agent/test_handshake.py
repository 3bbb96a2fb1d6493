"""The parent's side of the first stage: whatever a login prints, and in whatever pieces."""

from __future__ import annotations

import marshal
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nile.agent.handshake import MOST_NOISE, Bundle, Handshake, HandshakeError, command_line

NONCE = "nile00112233445566778899aabb"
BUNDLE = Bundle(
    [("nile", b""), ("nile.leaf", b"x = 1\n"), ("nile.relay", b"y = 2\n")], ["nile.relay"], "a70d"
)
HELLO = f"\n{NONCE} py ffff 3.9.2\n".encode()


def feed(data: bytes, sizes: list[int] | None = None, relay: bool = False) -> tuple[bytes, bytes]:
    """(answer, rest) once it has announced itself; `sizes` says in which pieces it came."""
    shake, answer = Handshake(NONCE, BUNDLE, relay), b""
    for size in sizes or [len(data)]:
        piece, data = data[:size], data[size:]
        if answer:
            return answer, shake.rest + piece + data
        answer = shake.feed(piece) or b""
    return answer or shake.feed(data) or b"", shake.rest


def modules(answer: bytes) -> list[str]:
    length, _, packed = answer.partition(b"\n")
    assert int(length) == len(packed)
    _, modules, _, _ = marshal.loads(zlib.decompress(packed))
    return [name for name, _ in modules]


noise = st.binary(max_size=300).filter(lambda data: NONCE.encode() not in data)


@given(noise, st.lists(st.integers(1, 40), max_size=30))
def test_noise_before_and_any_split(before: bytes, sizes: list[int]) -> None:
    answer, _ = feed(before + HELLO, sizes)
    assert modules(answer) == ["nile", "nile.leaf"]


def test_byte_by_byte() -> None:
    data = b"Last login: today\r\nYou have mail.\r\n" + HELLO
    assert modules(feed(data, [1] * len(data))[0]) == ["nile", "nile.leaf"]


def test_what_follows_is_kept() -> None:
    answer, rest = feed(b"motd" + HELLO + b"\0\0\0\x0afirst frame")
    assert answer
    assert rest == b"\0\0\0\x0afirst frame"


def test_relays_get_more_and_the_python_is_known() -> None:
    shake = Handshake(NONCE, BUNDLE, relay=True)
    answer = shake.feed(HELLO)
    assert answer is not None
    assert modules(answer) == ["nile", "nile.leaf", "nile.relay"]
    assert shake.python == "3.9.2"


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (f"\n{NONCE} sh\n", "no-python"),
        (f"\n{NONCE} py\n", "agent"),
        (f"\n{NONCE} py ffff 3.9.2 more\n", "agent"),
        (f"\n{NONCE} perl ffff 5\n", "agent"),
        (f"\n{NONCE} " + "x" * 1000, "agent"),
    ],
)
def test_what_is_no_announcement(said: str, code: str) -> None:
    with pytest.raises(HandshakeError) as caught:
        feed(b"motd\n" + said.encode())
    assert caught.value.code == code
    assert caught.value.reason


def test_endless_noise_is_given_up_and_fills_no_memory() -> None:
    shake = Handshake(NONCE, BUNDLE, relay=False)
    for _ in range(MOST_NOISE // 65536):
        shake.feed(b"." * 65536)
        assert len(shake._buffer) < 100
    with pytest.raises(HandshakeError, match="without end"):
        shake.feed(b"." * 65536)


@given(st.lists(st.binary(max_size=200), max_size=10))
def test_any_bytes_give_an_answer_or_a_handshake_error(pieces: list[bytes]) -> None:
    shake = Handshake(NONCE, BUNDLE, relay=False)
    try:
        for piece in [*pieces, NONCE.encode(), *pieces, b"\n"]:
            if shake.feed(piece):
                break
    except HandshakeError:
        pass


def test_a_login_that_echoes_its_command_line_is_noise_too() -> None:
    """A forced command may print what it was asked to run, the nonce at its end."""
    answer, _ = feed(f"running: {command_line(NONCE)}\n".encode() + HELLO)
    assert answer


def test_the_line_can_be_read_by_every_shell() -> None:
    line = command_line(NONCE)
    assert "\n" not in line
    assert "!" not in line
    assert "\\" not in line
    assert line.count("'") == 4
