"""Files of host sets."""

from __future__ import annotations

import pytest

from nile.errors import UsageError
from nile.topology.hostfile import read_hostfile
from nile.topology.hostsets import HostSets

SETS = HostSets({"web": ("w1", "w2")})


def test_a_host_set_a_line() -> None:
    text = "# all of them\nn[1-3]!n2   # but one\n\n  @web\nn1\n"
    assert read_hostfile(text, "f", SETS) == ("n1", "n3", "w1", "w2")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("n1\n\nn1 n2\n", "f:3: 'n1 n2' can't"),
        ("@gone", "f:1: group @gone is unknown"),
        ("# none\n", "f: there are no"),
    ],
)
def test_errors_name_the_line(text: str, expected: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_hostfile(text, "f", SETS)
    assert str(caught.value).startswith(expected)
