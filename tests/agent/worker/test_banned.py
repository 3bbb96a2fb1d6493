"""Whose fault a damaged piece is: only of whom it is sure, however many libtorrent bans."""

from __future__ import annotations

from typing import Any

import pytest

from nile.agent.worker.banned import BLOCK, BY_BLOCKS, MOST, MOST_PARDONS, SHARED, Banned


class Alert:
    """One of libtorrent's."""

    def __init__(self, address: str = "", piece: int = 0, block: int = 0, error: int = 0) -> None:
        self.endpoint = (address, 1)
        self.piece_index, self.block_index = piece, block
        self.error = self
        self._error = error

    def category(self) -> Alert:
        return self

    def name(self) -> str:
        return "libtorrent" if self._error else "system"

    def value(self) -> int:
        return self._error


class Sizes:
    def piece_size(self, piece: int) -> int:
        return 2 * BLOCK + 1


def heard(*said: tuple[str, Alert], it: Banned | None = None) -> list[str]:
    it = it or Banned()
    return [found for what, alert in said if (found := it.news(what, alert, Sizes()))]


def sent(*addresses: str, piece: int = 0) -> list[tuple[str, Alert]]:
    blocks: Any = enumerate(addresses)
    return [("block_finished", Alert(address, piece, block)) for block, address in blocks]


FAILED = ("hash_failed", Alert())


@pytest.mark.parametrize(
    ("senders", "guilty"),
    [("aaa", ["a"]), ("aab", []), ("aa", []), ("", [])],
)
def test_who_sent_all_of_a_damaged_piece(senders: str, guilty: list[str]) -> None:
    assert heard(*sent(*senders), FAILED) == guilty


def test_who_sent_another_one_or_it_before_is_not() -> None:
    assert heard(*sent("a", "a", "a", piece=1), FAILED) == []
    assert heard(*sent("a", "a"), FAILED, *sent("b", "b"), FAILED) == []
    assert heard(*sent("a", "a", "a"), ("piece_finished", Alert()), FAILED) == []


def test_whose_blocks_were_others_once_it_came_right() -> None:
    gone = ("peer_disconnected", Alert("a", error=BY_BLOCKS))
    assert heard(
        gone, gone, ("peer_disconnected", Alert("b", error=93)), ("peer_disconnected", Alert("c"))
    ) == ["a"]


def failed(times: int) -> list[tuple[str, Alert]]:
    return [("hash_failed", Alert(piece=each)) for each in range(times)]


BAN = ("peer_ban", Alert("a"))


def test_who_is_banned_when_few_pieces_were_damaged_sent_one_alone() -> None:
    """For a part in them one is banned only once there were several."""
    assert heard(*failed(SHARED - 2), BAN) == ["a"]


@pytest.mark.parametrize("banned", ["a", "ab"])
def test_who_is_banned_when_several_were_may_have_shared_them(banned: str) -> None:
    """Where the culprit is another one it is as likely the seed, which shared pieces with that one."""
    assert heard(*failed(SHARED - 1), *(("peer_ban", Alert(each)) for each in banned)) == []


def test_nobody_is_sure_of_anything_where_not_all_was_heard() -> None:
    assert heard(("alerts_dropped", Alert()), BAN) == []


def test_who_may_be_innocent_is_pardoned_a_few_times_and_who_is_guilty_never() -> None:
    it = Banned()
    assert [it.pardoned("b") for _ in range(MOST_PARDONS + 1)] == [True] * MOST_PARDONS + [False]
    assert heard(*sent("a", "a", "a"), FAILED, it=it) == ["a"]
    assert not it.pardoned("a")


@pytest.mark.parametrize("why", ["guilty", "pardoned"])
def test_who_shared_a_piece_with_somebody_that_is_forgotten_is_banned_as_if_alone(why: str) -> None:
    it = Banned()
    if why == "guilty":
        assert heard(BAN, FAILED, it=it) == ["a"]
    else:
        assert it.pardoned("a")
    seed = ("peer_ban", Alert("b"))
    assert heard(*sent("a", "b", "b"), seed, FAILED, it=it) == []
    assert heard(*sent("c", "c", "c"), ("peer_ban", Alert("c")), FAILED, it=it) == ["c"]


def test_no_more_than_so_many_are_told() -> None:
    addresses = [str(number) for number in range(MOST + 5)]
    assert (
        heard(*(("peer_disconnected", Alert(each, error=BY_BLOCKS)) for each in addresses))
        == addresses[:MOST]
    )
