"""Who has seen what: acknowledgements follow the store, credits follow the display."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nile.cascade import Committed
from nile.cascade.ledger import Credit, Ledger
from nile.events import HostOutput, HostResult, Notice, Verdict


def output(host: str, offset: int, size: int, stream: str = "stdout") -> HostOutput:
    return HostOutput(host, stream, offset, b"." * size)


class TestStored:
    def test_a_host_is_told_once_how_far_all_of_a_batch_reaches(self) -> None:
        ledger = Ledger()
        ledger.add(output("a", 0, 10), 1, None)
        ledger.add(output("a", 10, 5), 1, None)
        ledger.add(output("a", 0, 7, "stderr"), 1, None)
        last = ledger.add(output("b", 0, 1), 2, None)
        assert ledger.stored(last) == [Committed(1, 15, 7, False), Committed(2, 1, 0, False)]
        assert ledger.stored(last) == []

    def test_offsets_stay_known_in_later_batches(self) -> None:
        ledger = Ledger()
        ledger.stored(ledger.add(output("a", 0, 10), 1, None))
        last = ledger.add(output("a", 0, 3, "stderr"), 1, None)
        assert ledger.stored(last) == [Committed(1, 10, 3, False)]

    def test_a_verdict_is_told_with_it(self) -> None:
        ledger = Ledger()
        ledger.add(output("a", 0, 10), 1, None)
        last = ledger.add(HostResult("a", Verdict.OK), 1, None)
        assert ledger.stored(last) == [Committed(1, 10, 0, True)]

    def test_nothing_beyond_what_is_stored(self) -> None:
        ledger = Ledger()
        first = ledger.add(output("a", 0, 10), 1, None)
        ledger.add(output("a", 10, 10), 1, None)
        assert ledger.stored(first) == [Committed(1, 10, 0, False)]
        assert not ledger.settled

    def test_other_events_are_told_to_nobody(self) -> None:
        ledger = Ledger()
        assert ledger.stored(ledger.add(Notice("a text"), 0, None)) == []


class TestShown:
    def test_credits_are_summed_by_child(self) -> None:
        ledger = Ledger()
        ledger.add(output("a", 0, 10), 1, Credit(1, 19))
        ledger.add(output("x", 0, 10), 9, Credit(1, 19))
        ledger.add(Notice("a text"), 0, None)
        last = ledger.add(output("b", 0, 1), 2, Credit(2, 10))
        assert ledger.shown(last) == [Credit(1, 38), Credit(2, 10)]
        assert ledger.shown(last) == []

    def test_storing_gives_no_credit_and_showing_no_acknowledgement(self) -> None:
        ledger = Ledger()
        last = ledger.add(output("a", 0, 10), 1, Credit(1, 19))
        assert ledger.stored(last)
        assert not ledger.settled
        assert ledger.shown(last) == [Credit(1, 19)]
        assert ledger.settled


@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(1, 50)), min_size=1, max_size=30),
    st.lists(st.integers(0, 31), max_size=20),
)
def test_every_byte_is_acknowledged_and_given_back_once(
    sent: list[tuple[int, int]], progress: list[int]
) -> None:
    ledger, ends = Ledger(), {1: 0, 2: 0, 3: 0}
    for node, size in sent:
        ledger.add(output("h", ends[node], size), node, Credit(node, size))
        ends[node] += size
    given_back, acknowledged = {1: 0, 2: 0, 3: 0}, {1: 0, 2: 0, 3: 0}
    for number in [*sorted(progress), len(sent)]:
        for committed in ledger.stored(number):
            assert committed.stdout > acknowledged[committed.node_id]
            acknowledged[committed.node_id] = committed.stdout
        for credit in ledger.shown(number):
            given_back[credit.child_id] += credit.size
    assert acknowledged == given_back == ends
    assert ledger.settled
