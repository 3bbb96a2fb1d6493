"""Which digest a stream gets: what this machine makes sooner."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from nile.agent.worker.hashing import BLAKE2B, DIGEST, SHA256, hasher, quicker


@pytest.mark.parametrize(
    ("about", "name"),
    [
        ("processor : 0\nflags\t\t: fpu aes sha_ni avx2\n", SHA256),
        ("processor : 0\nFeatures\t: fp asimd sha1 sha2 crc32\n", SHA256),
        ("processor : 0\nflags\t\t: fpu aes avx2\n", BLAKE2B),
        ("processor : 0\nFeatures\t: fp asimd sha1 crc32\n", BLAKE2B),
        ("cpu : POWER9\n", BLAKE2B),
    ],
)
def test_sha_256_is_taken_where_there_are_instructions_for_it(tmp_path: Path, about: str, name: str) -> None:
    (tmp_path / "cpuinfo").write_text(about)
    assert quicker(str(tmp_path / "cpuinfo")) == name


def test_a_machine_that_says_nothing_of_itself(tmp_path: Path) -> None:
    assert quicker(str(tmp_path / "none")) == BLAKE2B


@pytest.mark.parametrize("name", [SHA256, BLAKE2B])
def test_both_are_as_long_as_a_digest_is(name: str) -> None:
    made = hasher(name)
    made.update(b"it")
    whole = hashlib.sha256(b"it") if name == SHA256 else hashlib.blake2b(b"it", digest_size=DIGEST)
    assert made.digest() == whole.digest()
