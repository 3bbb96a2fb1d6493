"""What the peers of a swarm are begun with."""

from __future__ import annotations

import pytest

from nile.sync.equipment import ASKED, LEAST_ASKED, asked
from nile.topology.model import ROOT_ID
from tests.simulation.trees import tree
from tests.sync.swarmed import Swarmed
from tests.sync.test_racks import in_racks


@pytest.mark.parametrize(
    ("takers", "each"),
    [(0, 0), (1, ASKED), (2, ASKED // 2), (12, 8), (20, LEAST_ASKED), (1000, LEAST_ASKED)],
)
def test_the_fewer_a_seed_goes_to_the_more_each_may_ask_it_for(takers: int, each: int) -> None:
    assert asked(takers) == each


@pytest.mark.parametrize(("racks", "takers"), [(1, 12), (3, 6), (6, 12)])
def test_a_seed_is_told_by_how_many_it_goes_to(racks: int, takers: int) -> None:
    it = Swarmed(in_racks(tree([0] * 12), racks))
    it.run()
    (told,) = [message for node_id, message in it.begun if node_id == ROOT_ID]
    assert told["asked"] == asked(takers)
