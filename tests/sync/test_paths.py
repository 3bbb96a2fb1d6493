"""Whether the one reaches the other by a port of its own or through ssh."""

from __future__ import annotations

import pytest

from nile.cascade import Neighbours
from nile.sync import Paths
from nile.sync.wording import said_by_ssh, through_ssh
from nile.topology.model import ROOT_ID


def paths(*apart: tuple[int, int]) -> Paths:
    """Each may log in to each, but for these."""
    return Paths(Neighbours(lambda _, taker: f"h{taker}", lambda *way: None if way in apart else {}))


def fail(it: Paths, giver: int, taker: int, code: str = "refused") -> bool:
    return it.failed(giver, taker, code, f"{giver} to {taker}", by_ssh=False)


def test_a_port_of_its_own_comes_first() -> None:
    it = paths()
    assert not it.by_ssh(1, 2)
    assert not it.by_ssh(ROOT_ID, 1)


@pytest.mark.parametrize("code", ["refused", "no-route", "timeout"])
def test_what_a_firewall_closes_goes_on_through_ssh(code: str) -> None:
    it = paths()
    assert fail(it, 1, 2, code)
    assert it.by_ssh(1, 2)
    assert not it.failed(1, 2, code, "so", by_ssh=True), "there is no third way"


@pytest.mark.parametrize("code", ["name", "tls", "secret", "dropped"])
def test_what_no_ssh_can_mend_doesnt(code: str) -> None:
    it = paths()
    assert not fail(it, 1, 2, code)
    assert not it.by_ssh(1, 2)


def test_others_begin_with_ssh_once_more_needed_it_than_not() -> None:
    it = paths()
    it.found(1, 2, by_ssh=False)
    fail(it, 2, 3)
    assert not it.by_ssh(3, 4), "one of two"
    fail(it, 3, 4)
    assert it.by_ssh(4, 5)
    it.found(4, 5, by_ssh=True)
    it.found(5, 6, by_ssh=False)
    assert not it.by_ssh(6, 7), "two of four"
    assert it.by_ssh(2, 3), "as it was"
    it.found(2, 3, by_ssh=False)
    assert not it.by_ssh(2, 3), "it isn't any more"
    assert fail(it, 1, 2), "nor is this"
    fail(it, 1, 2)
    assert not it.by_ssh(6, 7), "who fails twice is one: two of four"


def test_what_the_root_reaches_says_nothing_of_hosts() -> None:
    it = paths()
    fail(it, ROOT_ID, 1)
    assert it.by_ssh(ROOT_ID, 2)
    assert not it.by_ssh(1, 2)
    fail(it, 1, 2)
    assert it.why(ROOT_ID) == (ROOT_ID, 1, "0 to 1")
    assert it.why(2) == (1, 2, "1 to 2")


def test_nobody_is_led_to_whom_it_may_not_log_in_to() -> None:
    it = paths((1, 2))
    assert not fail(it, 1, 2)
    assert not it.by_ssh(1, 2)
    assert (it.apart(1, 2), it.apart(2, 1), it.apart(ROOT_ID, 2)) == (True, False, False)
    assert it.by_ssh(2, 1), "of those that are known no port is open"


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (
            "channel 0: open failed: administratively prohibited: open failed\nstdio forwarding failed\n",
            "its sshd forwards to no port (AllowTcpForwarding, DisableForwarding)",
        ),
        ("hello\nme@h2: Permission denied (publickey).\n", "me@h2: Permission denied (publickey)."),
        ("Host key verification failed.\n", "no host key of it is in known_hosts"),
        ("ssh ended without a word", "ssh ended without a word"),
    ],
)
def test_what_the_last_words_of_an_ssh_mean(said: str, reason: str) -> None:
    assert said_by_ssh(said) == reason


def test_how_the_data_went() -> None:
    assert through_ssh(3, 4, ("h1", "h2"), "Connection refused") == (
        "3 of 4 hosts got the stream through ssh: h1 reaches no other port of h2 (Connection refused)"
    )
