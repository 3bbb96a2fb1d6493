"""Workers that agents can't end are told to end, before their hosts are judged."""

from __future__ import annotations

import itertools

from nile.cascade.work import Judge, Tell
from nile.sync import Elevated
from tests.simulation.trees import tree
from tests.sync.workers import Workers


def test_each_worker_is_told_to_end_just_before_its_verdict() -> None:
    it = Workers(tree([0, 0, 1]), {})
    job = Elevated(it.sync)
    errands = [*job.begin(0.0), *job.started(1, 0.0), *job.started(3, 0.0), *job.root_lost("killed", 1.0)]
    ends = [
        (before.node_id, before.message["do"], errand.node_id)
        for before, errand in itertools.pairwise(errands)
        if isinstance(errand, Judge) and isinstance(before, Tell)
    ]
    assert ends == [(1, "end", 1), (3, "end", 3)]
    late = list(job.started(2, 2.0))
    assert [type(errand) for errand in late] == [Tell, Judge]
