"""Host sets: what they expand to, and what they refuse."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nile.topology.hostsets import HostSetError, HostSets, fold

SETS = HostSets(
    groups={"rack1": ("a", "b"), "rack2": ("c",), "gws": ("gw",)}, hosts=("a", "b", "c", "db1", "db2", "gw")
)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("n1", ["n1"]),
        ("n[001-003]", ["n001", "n002", "n003"]),
        ("n[1-2]p[1-2]", ["n1p1", "n1p2", "n2p1", "n2p2"]),
        ("n3,n1,n3", ["n3", "n1"]),
        ("n[1-5]!n[2-3]", ["n1", "n4", "n5"]),
        ("n[1-5]!n[2-3],n2", ["n1", "n4", "n5", "n2"]),
        ("n[1-3]&n[2-9]", ["n2", "n3"]),
        ("n[1-3]^n[3-4]", ["n1", "n2", "n4"]),
        (" n1 , n2 ", ["n1", "n2"]),
        ("@rack1", ["a", "b"]),
        ("@rack[1-2]", ["a", "b", "c"]),
        ("@rack[1-2]!a", ["b", "c"]),
        ("@*", ["a", "b", "c", "db1", "db2", "gw"]),
        ("db*", ["db1", "db2"]),
        ("db?!db2", ["db1"]),
        ("10.0.0.[1-2]", ["10.0.0.1", "10.0.0.2"]),
        ("::1,fe80::1%eth0", ["::1", "fe80::1%eth0"]),
    ],
)
def test_expands(text: str, names: list[str]) -> None:
    assert list(SETS.expand(text)) == names


@pytest.mark.parametrize(
    ("text", "message", "remedy"),
    [
        ("", "empty", "at least one"),
        ("@rack9", "group @rack9 is unknown", "did you mean"),
        ("n1,@nothing", "group @nothing is unknown", "nile hosts"),
        ("n1!n1", "is empty", "taken out"),
        ("n1!@rack1,n1!n1", "is empty", "taken out"),
        ("x*", "no host of the route file matches 'x*'", "nile hosts"),
        ("n1,x*", "no host of the route file matches 'x*'", "nile hosts"),
        ("n[1-", "missing bracket", "n[1-3,5]"),
        ("n[3-1]", "no host set", "n[1-3,5]"),
        ("a,,b", "lacks a name", ""),
        ("!a", "lacks a name", ""),
        ("n[1-9999999999]", "names 9999999999 hosts", "at most"),
        ("n[1-1000]p[1-1000]", "names 1000000 hosts", "at most"),
        ("-oProxyCommand=x", "can't be a host's name", "begin with a letter"),
        ("bob@n1", "can't be a host's name", "-l"),
        ("n1:2222", "can't be a host's name", "-o Port=N"),
        ("n1 n2", "can't be a host's name", "commas"),
        ("n1\x1b[2J", "unprintable characters: 'n1\\x1b[2J'", "take them out"),
        ("n1\nn2", "unprintable characters", "take them out"),
        ("größe", "can't be a host's name", "xn--"),
        ("n1;reboot", "can't be a host's name", ""),
        ("root", "can't be called 'root'", "address: root"),
        ("a" * 254, "can't be a host's name", ""),
    ],
)
def test_refuses(text: str, message: str, remedy: str) -> None:
    with pytest.raises(HostSetError) as caught:
        SETS.expand(text)
    assert message in caught.value.message
    assert remedy in caught.value.remedy
    assert caught.value.message.isprintable()


def test_an_empty_group_is_an_error() -> None:
    with pytest.raises(HostSetError, match="@none is empty"):
        HostSets(groups={"none": ()}).expand("n1,@none")


def test_groups_leave_out_hosts_that_only_relay() -> None:
    sets = HostSets({"g": ("a", "gw"), "gws": ("gw",)}, ("a", "gw"), in_groups=lambda name: name != "gw")
    assert sets.expand("@g") == ("a",)
    assert sets.expand("*") == ("a",)
    assert sets.expand("@g,gw") == ("a", "gw")
    with pytest.raises(HostSetError, match="all hosts of @gws are `relay: only`"):
        sets.expand("a,@gws")


def test_groups_of_other_sources() -> None:
    table: dict[tuple[str, str | None], list[str]]
    table = {("x", "slurm"): ["n[1-2]", "@y"], ("y", "slurm"): ["n9"], ("*", "slurm"): ["all[1-2]"]}
    table |= {("default", None): ["d1"], ("loop", "slurm"): ["@loop"]}
    sets = HostSets(groups={"y": ("own",)}, source=lambda group, source: table.get((group, source), []))
    assert sets.expand("@slurm:x") == ("n1", "n2", "n9")  # @y is looked up where @x came from
    assert sets.expand("@slurm:*") == ("all1", "all2")
    assert sets.expand("@default,@y") == ("d1", "own")
    with pytest.raises(HostSetError, match="contains itself"):
        sets.expand("@slurm:loop")
    with pytest.raises(HostSetError, match="@slurm:z is unknown"):
        sets.expand("@slurm:z")


@given(st.lists(st.integers(0, 2000), min_size=1, unique=True))
def test_fold_and_expand_are_inverse(numbers: list[int]) -> None:
    names = [f"n{number:04}" for number in numbers]
    assert set(SETS.expand(fold(names))) == set(names)


def test_many_hosts_with_operators_are_quick() -> None:
    groups = {f"r{rack}": tuple(f"r{rack}n{host}" for host in range(100)) for rack in range(100)}
    sets = HostSets(groups)
    text = (
        ",".join(f"@r{rack}" for rack in range(100)) + "!" + "!".join(f"r{rack}n[0-9]" for rack in range(100))
    )
    began = time.process_time()
    assert len(sets.expand(text)) == 9000
    assert time.process_time() - began < 1
