"""BLAKE2b, which Python has built in: `hashlib` would load OpenSSL for it, and take 5 ms on every host."""

try:
    from _blake2 import blake2b
except ImportError:  # a Python that was built without its own
    from hashlib import blake2b
from _operator import _compare_digest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Union

DIGEST = 32  # bytes
MOST_KEY = 64  # bytes

__all__ = ["blake2b", "digest", "proof", "same"]


def digest(data: bytes) -> bytes:
    """BLAKE2b-256 of it."""
    return blake2b(data, digest_size=DIGEST).digest()


def proof(secret: bytes, data: "Union[bytes, bytearray]") -> bytes:
    """What only those can make of it who know the secret, of at most MOST_KEY bytes (RFC 7693, 2.9)."""
    return blake2b(data, digest_size=DIGEST, key=secret).digest()


def same(one: bytes, other: bytes) -> bool:
    """Whether they are equal; how long it takes doesn't tell how much of them is."""
    return _compare_digest(one, other)
