"""BLAKE2b, which Python has built in: `hashlib` would load OpenSSL for it, and take 5 ms on every host.

And SHA-256 for streams, where processors have instructions for it: half the time then, else twice as much.
"""

try:
    from _blake2 import blake2b
except ImportError:  # a Python that was built without its own
    from hashlib import blake2b
from _operator import _compare_digest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Union

DIGEST = 32  # bytes
MOST_KEY = 64  # bytes
BLAKE2B, SHA256 = "blake2b", "sha256"
CPU = "/proc/cpuinfo"
_INSTRUCTIONS = frozenset(["sha_ni", "sha2"])  # of x86_64, of ARM

__all__ = ["blake2b", "digest", "hasher", "proof", "quicker", "same"]


def digest(data: bytes) -> bytes:
    """BLAKE2b-256 of it."""
    return blake2b(data, digest_size=DIGEST).digest()


def quicker(about: str = CPU) -> str:
    """Which of the two this machine makes sooner."""
    try:
        with open(about) as lines:
            flags = next((line for line in lines if line.lower().startswith(("flags", "features"))), "")
    except OSError:
        return BLAKE2B
    return BLAKE2B if _INSTRUCTIONS.isdisjoint(flags.split()) else SHA256


def hasher(name: str) -> "Any":
    """One with `update` and `digest`, of DIGEST bytes: SHA-256 if that is its name, else BLAKE2b."""
    if name == SHA256:
        import hashlib  # whoever speaks TLS has loaded OpenSSL already

        return hashlib.sha256()
    return blake2b(digest_size=DIGEST)


def proof(secret: bytes, data: "Union[bytes, bytearray]") -> bytes:
    """What only those can make of it who know the secret, of at most MOST_KEY bytes (RFC 7693, 2.9)."""
    return blake2b(data, digest_size=DIGEST, key=secret).digest()


def same(one: bytes, other: bytes) -> bool:
    """Whether they are equal; how long it takes doesn't tell how much of them is."""
    return _compare_digest(one, other)
