"""What may begin: slots for logins and starts, and before them what user and failures so far allow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from nile.cascade.actions import Action, Publish
from nile.cascade.caution import Caution
from nile.cascade.departing import start_slots
from nile.cascade.hosts import Host
from nile.cascade.mending import Mender
from nile.cascade.orders import CascadeOptions
from nile.cascade.pace import Pace
from nile.cascade.slots import Slots
from nile.cascade.tasks import Tasks
from nile.cascade.tree import Tree
from nile.events import Notice
from nile.options import Pacing
from nile.topology.model import Plan


class Reins:
    """`slots` are those for logins and those for starts. Nothing of it matters once the run is to end."""

    def __init__(self, plan: Plan, options: CascadeOptions, tree: Tree, tasks: Tasks) -> None:
        self._options = options.exec
        self._tree = tree
        paused = options.heritage is not None and options.heritage.paused
        now = Pacing(plan.limits.parallel, options.exec.fanout, paused)
        self.pace = Pace(now, known=options.heritage is None)
        self.caution = Caution(options.exec, plan, options.hosts, tree, self.pace)
        for host in tree.hosts.values():
            host.held = options.exec.held
        self._starts = start_slots(options.exec, plan, tree, self.caution)
        self.slots = (Slots(tasks.logins(plan.limits.logins), tasks.gate(self.pace)), self._starts)
        self._excused = False

    def inherit(self, mender: Mender, t: float) -> list[Action]:
        """The run goes on below this root."""
        mender.healer.hold(self.pace.paused, t)
        return [*self.pace.begin(), *self.caution.inherit()]

    def refuses(self, pacing: Pacing) -> str:
        """Why the user can't have it so; "" where that can be had."""
        if pacing.fanout is not None and not self._options.held:
            return "its command starts on each host as soon as that is reached: it has no -f"
        if pacing.paused and self.caution.ceased:
            return f"nobody starts any more: {self.caution.ceased}"
        return ""

    def steer(self, pacing: Pacing, mender: Mender, t: float) -> list[Action]:
        """The user wants it so from now on."""
        if pacing.paused and self.caution.ceased:
            return []  # what there is yet to do is to end
        if not self._options.held:
            pacing = replace(pacing, fanout=None)  # its hosts wait for no word
        actions = self.pace.steer(pacing)
        if pacing.fanout is not None:
            self._starts.resize(pacing.fanout)
        mender.healer.hold(self.pace.paused, t)
        return actions

    def judged(self, hosts: Sequence[Host], mender: Mender, t: float) -> list[Action]:
        """These have their verdicts; perhaps nobody starts any more."""
        actions = self.caution.judged(hosts) if hosts else []
        if self.ends or not self.caution.ceased:
            return actions
        waiting = self._starts.drain() if self._excused else list(self._tree.hosts.values())
        self._excused = True
        actions += self.steer(Pacing(paused=False), mender, t)
        return actions + mender.excuse(waiting, self.caution.ceased, t)

    @property
    def ends(self) -> list[Action]:
        """What is said where a host that isn't ok ends the whole run."""
        if not (self._options.fail_fast and self.caution.failed):
            return []
        return [Publish(Notice(f"{self.caution.failed}: all others are ended (fail fast)"))]
