"""Which wheel a Python of a host can load: what the tags of names mean."""

from __future__ import annotations

from typing import Any

import pytest

from nile.sync.wheels import Name, Python, Wheel, choose
from tests.support import wheels

PACKED = "libtorrent-2.1.1-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"
FACTS: dict[str, Any] = {
    "version": [3, 11],
    "abi": "cp311",
    "machine": "x86_64",
    "libc": "glibc",
    "libc_version": [2, 36],
}


def python(**facts: Any) -> Python:
    return Python.of({**FACTS, **facts})


def wheel(file: str) -> Wheel:
    return Wheel(file, Name.of(file), 3, b"", lambda at, size: b"")


@pytest.mark.parametrize(
    ("file", "facts", "fits"),
    [
        (PACKED, {}, True),
        (PACKED, {"libc_version": [2, 17]}, True),
        (PACKED, {"libc_version": [2, 12]}, False),
        (PACKED, {"machine": "aarch64"}, False),
        (PACKED, {"libc": "musl", "libc_version": [1, 2]}, False),
        (PACKED, {"libc": "", "libc_version": [0, 0]}, False),
        (PACKED, {"version": [3, 12], "abi": "cp312"}, False),
        (PACKED, {"abi": "cp311d"}, False),
        (PACKED, {"abi": ""}, False),
        (
            "libtorrent-2.1.1-cp313-cp313-manylinux_2_28_x86_64.whl",
            {"version": [3, 13], "abi": "cp313t"},
            False,
        ),
        ("libtorrent-2.1.1-cp311-cp311-manylinux2014_x86_64.whl", {}, True),
        ("libtorrent-2.1.1-cp311-cp311-manylinux1_x86_64.whl", {"libc_version": [2, 5]}, True),
        ("libtorrent-2.1.1-cp311-cp311-manylinux2010_i686.whl", {"machine": "i686"}, True),
        (
            "libtorrent-2.0.9-cp37-cp37m-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
            {"version": [3, 7], "abi": "cp37m"},
            True,
        ),
        ("libtorrent-2.1.1-cp311-cp311-musllinux_1_2_x86_64.whl", {}, False),
        (
            "libtorrent-2.1.1-cp311-cp311-musllinux_1_2_x86_64.whl",
            {"libc": "musl", "libc_version": [1, 2]},
            True,
        ),
        (
            "libtorrent-2.1.1-cp311-cp311-musllinux_1_2_x86_64.whl",
            {"libc": "musl", "libc_version": [1, 1]},
            False,
        ),
        ("libtorrent-2.1.1-cp39-abi3-manylinux_2_17_x86_64.whl", {}, True),
        ("libtorrent-2.1.1-cp312-abi3-manylinux_2_17_x86_64.whl", {}, False),
        ("libtorrent-2.1.1-1-cp311-cp311-manylinux_2_17_x86_64.whl", {}, True),
        ("libtorrent-2.1.1-cp311-cp311-macosx_10_9_x86_64.whl", {}, False),
        ("libtorrent-2.1.1-cp311-cp311-win_amd64.whl", {}, False),
    ],
)
def test_which_fit(file: str, facts: dict[str, Any], fits: bool) -> None:
    assert Name.of(file).fits(python(**facts)) is fits


@pytest.mark.parametrize(
    "file", ["other-2.1.1-cp311-cp311-any.whl", "libtorrent-2.1.1.tar.gz", "x", "a-b.whl"]
)
def test_what_is_no_wheel_of_it(file: str) -> None:
    with pytest.raises(ValueError, match="no wheel"):
        Name.of(file)


def test_the_installed_one_is_one() -> None:
    assert Name.of(wheels.name()).rank >= (2, 0)


def test_the_latest_is_taken_and_the_first_python_for_it() -> None:
    other = "libtorrent-2.0.9-cp38-cp38-manylinux_2_17_x86_64.whl"
    later = PACKED.replace("2.1.1", "2.10.0")
    old = PACKED.replace("2.1.1", "1.2.19")
    three = [python(version=[3, 8], abi="cp38"), python(), python(libc_version=[2, 40])]
    found = choose(three, [wheel(other), wheel(PACKED), wheel(later), wheel(old)])
    assert found == (1, wheel(later))
    assert choose(three[:1], [wheel(PACKED), wheel(other)]) == (0, wheel(other))
    assert choose(three, [wheel(old)]) is None
    assert choose([], [wheel(PACKED)]) is None


@pytest.mark.parametrize(
    "facts",
    [
        {"version": [3]},
        {"version": "3.11"},
        {"version": [3, -1]},
        {"machine": "x86\n64"},
        {"machine": ""},
        {"machine": 7},
        {"abi": "cp311; rm"},
        {"libc": "other"},
        {"libc_version": [2, True]},
    ],
)
def test_a_python_that_is_none(facts: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError)):
        python(**facts)


def test_what_is_said_of_one_is_bounded() -> None:
    assert str(python(version=[3, 10**9])) == "Python 3.999 (x86_64, glibc 2.36)"


@pytest.mark.parametrize("said", [None, [], "x", 3])
def test_what_is_no_mapping_is_no_python(said: object) -> None:
    with pytest.raises(TypeError):
        Python.of(said)
