"""What becomes of those that take part in a swarm as time passes: who gets nothing, and who hangs. Pure.

A host that gets nothing is served otherwise only while others get something: else there is nothing yet that
it could get, or the network is at fault, and what is to become of all is the swarm's to say.
"""

from __future__ import annotations

from collections.abc import Callable

from nile.cascade.verdicts import Judgement
from nile.sync.asking import Errands
from nile.sync.introducing import Introducing
from nile.sync.judging import hangs
from nile.sync.lateness import MOST_LAST_S
from nile.sync.limiting import Limiting
from nile.sync.means import Means
from nile.sync.swarmers import Swarmer, Swarmers
from nile.sync.targets import Target

STILL_S = 10.0
"""Who doesn't get on for so long, while others do, is left to rsync."""
STUCK_S = 30.0
"""And so are all, if nobody gets anything for so long."""
MERGE_S = 240.0
"""For a worker to say that it gets on with what came: it looks itself whether it stands still."""
END_S = 60.0
"""For a worker to say that its peer has ended."""


class Watch:
    """Over all of one swarm. `leave_out(peer, reason)`: it gets nothing more there.

    `stalled(id, t)` says why a host gets nothing, or "".
    """

    def __init__(
        self,
        means: Means,
        all_of_them: Swarmers,
        introducing: Introducing,
        limiting: Limiting,
        leave_out: Callable[[Swarmer, str], Errands],
        fail: Callable[[Target, Judgement], Errands],
        stalled: Callable[[int, float], str],
    ) -> None:
        self._means = means
        self._all = all_of_them
        self._introducing = introducing
        self._limiting = limiting
        self._leave_out = leave_out
        self._fail = fail
        self._stalled = stalled
        self.served = 0
        """How many have all."""
        self.moved_s = 0.0
        """When anybody last got anything, or began to listen."""

    # What happens.

    def gets(self, peer: Swarmer, at: int, whole: int, t: float) -> None:
        """It has so much of all that it wants."""
        if peer.gets_on(at, whole, STILL_S * self._limiting.least or whole, t):
            self.moved_s = t

    def puts_in_place(self, peer: Swarmer, t: float) -> None:
        """It has all, and says now and then that it gets on with that; not for ever."""
        if not peer.port or peer.complete or peer.target is None:
            raise ValueError("it puts in place what it hasn't got")
        if peer.most_s is None:
            peer.most_s = t + MOST_LAST_S + self._means.work_s(peer.target.may_delete)
        peer.due_s = min(t + MERGE_S, peer.most_s)

    # Time passes.

    def is_stuck(self, t: float, moved_s: float) -> bool:
        """Does nobody get anything? `moved_s`: when something went to any host that isn't of the torrent.

        A swarm that lasts, and has served hosts, is there for others, too: who gets nothing goes alone.
        """
        lasts = self.served and self._means.options.serve_s > 0
        since_s = t - max(self.moved_s, moved_s)
        return bool(self._all.listening and self._all.getting and not lasts and since_s > STUCK_S)

    def look_after(self, t: float) -> Errands:
        """Who gets nothing, and who knows too few others?"""
        for peer in self._all.new_gateways():
            yield from self._leads_outside(peer)
        yield from self._limiting.share()
        for peer in [*self._all.wanting, *self._all.looking]:
            yield from self._look_after(peer, t)

    def _look_after(self, peer: Swarmer, t: float) -> Errands:
        others_get = self.served or t - self.moved_s < STILL_S
        if peer.due_s is not None and t > peer.due_s:
            trouble = "what came isn't put in place" if peer.port else "its peer doesn't start"
            yield from self._leave_out(peer, trouble)
        elif not peer.port or peer.due_s is not None:
            return
        elif others_get and t - peer.moved_s > STILL_S:
            why = self._stalled(peer.id, t)
            yield from self._leave_out(peer, f"it got nothing for {STILL_S:.0f} s{why and f': {why}'}")
        elif others_get and self._all.racks.help(peer.id, peer.moved_s, t):
            yield from self._leads_outside(peer)
        else:
            yield from self._introducing.more(peer, t)

    def _leads_outside(self, peer: Swarmer) -> Errands:
        """It has become a gateway of its rack: first it hears what it may take over the uplink."""
        yield from self._limiting.keep(peer)
        yield from self._introducing.outside(peer)

    def look_after_leaving(self, t: float) -> Errands:
        """Who was told to take part no more, and doesn't answer?"""
        for peer in self._all:
            if not peer.inside and peer.due_s is not None and t > peer.due_s and not self._at_it(peer, t):
                yield from self._judge_hanging(peer)

    def _at_it(self, peer: Swarmer, t: float) -> bool:
        """Does its worker look at files? Then it says nothing of its peer."""
        return self._means.asking.is_at_it(peer.id, t, self._means.bulk.entries)

    def _judge_hanging(self, peer: Swarmer) -> Errands:
        if peer.target is not None and self._means.hosts.attached(peer.id):
            yield from self._fail(peer.target, hangs("it doesn't say that its peer has ended"))
