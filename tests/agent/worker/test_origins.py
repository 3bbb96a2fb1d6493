"""From whom a peer got what, by what the ids of others begin with."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

from nile.agent.worker.origins import Origins

FLAGS = SimpleNamespace(interesting=1, remote_choked=8)
SEED, OWN, OTHER, STRANGER = b"-NLS0000", b"-NLH0001", b"-NLH0002", b"-AR1360-"


@dataclass
class Connection:
    """As libtorrent has it, of one whose id begins so."""

    word: bytes
    total_download: int = 0
    flags: int = 0
    port: int = 4000

    @property
    def ip(self) -> tuple[str, int]:
        return ("10.0.0.1", self.port)

    @property
    def pid(self) -> SimpleNamespace:
        return SimpleNamespace(to_bytes=lambda: self.word + b"x" * 12)


def looked(*looks: list[Connection], word: str = "-NLH0001") -> Origins:
    it = Origins(word, FLAGS)
    for each in looks:
        it.look(each)
    return it


def test_of_whom_it_came() -> None:
    all_of_them = [
        Connection(SEED, 1),
        Connection(OWN, 2),
        Connection(OTHER, 4),
        Connection(STRANGER, 8),
        Connection(b"\0" * 8, 16),  # it hasn't said who it is
    ]
    assert looked(all_of_them).bytes == [1, 2, 28]


def test_what_a_connection_brought_counts_when_it_is_gone() -> None:
    assert looked([Connection(SEED, 5), Connection(OWN, 7)], [Connection(OWN, 9)], []).bytes == [5, 9, 0]


def test_one_that_comes_again_begins_anew() -> None:
    looks = ([Connection(SEED, count)] for count in (5000, 2, 4))
    assert looked(*looks).bytes == [5004, 0, 0]


def test_one_that_comes_again_and_is_remembered_goes_on() -> None:
    """As whoever was connected to from here; libtorrent forgets bytes beyond whole KiB."""
    before, after = Connection(SEED, 5000), Connection(SEED, 4096)
    assert looked([before], [], [after], [], [Connection(SEED, 6000)]).bytes == [6000, 0, 0]


def test_two_at_one_address() -> None:
    assert looked([Connection(OWN, 5), Connection(OTHER, 2), Connection(OWN, 1, port=2)]).bytes == [0, 6, 2]


def test_hosts_of_no_rack_are_others_to_each_other() -> None:
    assert looked([Connection(b"-NLH0000", 5)], word="-NLH0000").bytes == [0, 0, 5]


def test_who_has_what_is_lacked_and_serves() -> None:
    it = looked([Connection(OWN, flags=1), Connection(OTHER, flags=1 + 8), Connection(SEED, flags=8)])
    assert (it.useful, it.serving) == (2, 1)
