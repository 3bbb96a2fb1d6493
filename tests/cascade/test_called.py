"""A gateway that is called in a pause, while its relay had begun to log in to it already."""

from __future__ import annotations

from nile.agent import wire
from nile.cascade.actions import Publish, Send
from nile.events import HostStarted
from nile.options import Pacing, Timeouts
from tests.cascade.driven import Driven, placed
from tests.simulation.trees import tree, with_gateways

TIMES = Timeouts(connect_s=5.0, lease_s=15.0)
OTHER_WAY = 3


def called() -> tuple[Driven, int]:
    """1 > 2, which 3 could reach, too; its epoch once it is placed as a way in the pause."""
    run = Driven(with_gateways(tree([0, 1, 0], timeouts=TIMES), {2: (1, OTHER_WAY)}))
    for node_id in (1, 2):
        run.up(node_id)
        run.runs(node_id)
    run.steer(Pacing(paused=True))
    actions = run.broke(0, 1) + run.pass_time(8.0)
    return run, max(epoch for _, child, epoch in placed(actions) if child == OTHER_WAY)


def test_what_began_by_itself_is_heard() -> None:
    """A login that crossed the call brought the plan of before: that agent waits for no start."""
    run, epoch = called()
    run.up(OTHER_WAY, epoch)
    said = run.stands(OTHER_WAY, epoch, {})
    sent = [each.frame for each in said if isinstance(each, Send)]
    assert (wire.RESUME, OTHER_WAY) in [(frame.type, frame.path[-1]) for frame in sent]
    (event,) = [each.event for each in run.runs(OTHER_WAY, epoch) if isinstance(each, Publish)]
    assert isinstance(event, HostStarted), event
