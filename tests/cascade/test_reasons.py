"""Which of several failures a host's verdict tells of."""

from __future__ import annotations

import pytest

from tests.cascade.driven import Driven, placed, results
from tests.simulation.trees import tree


def told_of(*codes: str) -> str | None:
    """The code in the verdict of a host to which logins failed with these, one after the other."""
    run = Driven(tree([0, 0, 0, 1]))
    for node_id in (1, 2, 3):
        run.up(node_id)
    parent, epoch, told = 1, 1, results([])
    for code in codes:
        done = run.failed(parent, 4, epoch, code) + run.pass_time(1.0)
        told |= results(done)
        for parent, _, epoch in [each for each in placed(done) if each[1] == 4]:  # noqa: B007
            pass
    return told["h0004"].code


@pytest.mark.parametrize(
    "codes",
    [("refused", "link", "link"), ("link", "refused", "link"), ("connect-timeout", "refused", "link")],
)
def test_what_says_nothing_about_the_host_hides_nothing_that_does(codes: tuple[str, ...]) -> None:
    assert told_of(*codes) == "refused"


def test_the_last_one_that_says_something_counts() -> None:
    assert told_of("refused", "refused", "authentication") == "authentication"
