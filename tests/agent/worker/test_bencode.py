"""Bencoding: what is written can be read, and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nile.agent.worker import bencode

VALUES = st.recursive(
    st.integers(-(10**18), 10**18) | st.binary(max_size=20),
    lambda below: st.lists(below, max_size=4) | st.dictionaries(st.binary(max_size=6), below, max_size=4),
    max_leaves=20,
)


@given(VALUES)
def test_what_is_written_is_read(value: object) -> None:
    assert bencode.decode(bencode.encode(value)) == value  # type: ignore[arg-type]


@given(st.binary(max_size=40) | st.text("dlie0123:-ab", max_size=40).map(str.encode))
def test_there_is_only_one_way_to_write_what_can_be_read(data: bytes) -> None:
    try:
        value = bencode.decode(data)
    except ValueError:
        return
    assert bencode.encode(value) == data


def test_keys_are_sorted() -> None:
    assert bencode.encode({b"b": 1, b"a": [b"x"]}) == b"d1:al1:xe1:bi1ee"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"i01e",
        b"i-0e",
        b"i1",
        b"5:abc",
        b"01:a",
        b"-1:a",
        b"i1ei2e",
        b"d1:bi1e1:ai2ee",
        b"d1:ai1e1:ai2ee",
        b"di1ei2ee",
        b"d1:ae",
        b"l" * 1000 + b"e" * 1000,
        b"i" + b"9" * 100 + b"e",
    ],
)
def test_what_is_odd_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"byte|deep"):
        bencode.decode(data)


@pytest.mark.parametrize("value", [True, None, "text", {"text": 1}, 1.5])
def test_what_has_no_bytes_is_refused(value: object) -> None:
    with pytest.raises(TypeError):
        bencode.encode(value)  # type: ignore[arg-type]
