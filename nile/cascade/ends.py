"""How hosts end: one verdict each, kept until the store has it; agents are told to end bottom-up."""

from __future__ import annotations

from nile.agent import wire
from nile.cascade.actions import Action, Publish
from nile.cascade.departing import judge_absent, judge_away, judge_back, may_be_going_down
from nile.cascade.healing import Healer
from nile.cascade.hosts import Absence, Contact, Host
from nile.cascade.orders import CascadeOptions, Orders
from nile.cascade.slots import Slots
from nile.cascade.stdin import StdinBroadcast
from nile.cascade.tree import Tree
from nile.cascade.verdicts import UNSEEN, Judgement, judge_failed, judge_lost, judge_outcome, unseen_end
from nile.events import Code, Notice, RunEnded, Verdict
from nile.options import Timeouts

SUDO_S = 60.0
"""How long sudo may take to ask for a password, or to take it: PAM may ask a server that is slow."""


class Ends:
    """Verdicts and ends of all hosts. `open` counts hosts that aren't through yet."""

    def __init__(
        self,
        options: CascadeOptions,
        timeouts: Timeouts,
        tree: Tree,
        orders: Orders,
        healer: Healer,
        slots: tuple[Slots, Slots],
        stdin: StdinBroadcast,
    ) -> None:
        self._options = options
        self._timeouts = timeouts
        self._tree = tree
        self._orders = orders
        self._healer = healer
        self._logins, self._starts = slots
        self._stdin = stdin
        self.judged: list[Host] = []
        """Hosts that got their verdict, of which a job wasn't told yet."""
        for host in tree.hosts.values():
            host.committed = host.over
        self.open = sum(not host.ended for host in tree.hosts.values())

    # Verdicts.

    def conclude(self, host: Host, t: float) -> list[Action]:
        """The verdict, once the agent has said how it ended and all output has come."""
        if host.outcome is None or host.verdict is not None or not host.output_complete():
            return []
        judgement = judge_outcome(host.outcome, self._options.exec.leftover)
        if self._options.exec.wait_back_s is not None and may_be_going_down(judgement):
            self.expect_back(host, t)
            return []
        return self.judge(host, judgement, t)

    def expect_back(self, host: Host, t: float, *, gone: bool = False) -> None:
        """From now on it is waited for, if it wasn't before; `gone`: its link is lost."""
        if host.absence is None:
            host.absence = Absence(t, t + (self._options.exec.wait_back_s or 0.0))
        if gone and host.absence.gone_s is None:
            host.absence.gone_s = t

    def back(self, host: Host, t: float) -> list[Action]:
        """It was booted anew after its command had begun."""
        return [*self.judge(host, judge_back(host, t), t), *self.settle(host)]

    def judge(self, host: Host, judgement: Judgement, t: float) -> list[Action]:
        """Give the verdict, if none was given before."""
        if host.over:
            return []
        host.verdict, host.why = judgement.verdict, judgement.reason
        self.judged.append(host)
        self._starts.give_back(host)
        self._stdin.over(host.id)
        command = self._options.exec.per_host.get(host.name, "")
        result = Publish(judgement.result(host, self._tree.path(host.id), t, command), host.id)
        missing = host.output_missing()
        if not missing:
            return [result]
        lost = f"the last {missing} bytes that it printed were lost with the link"
        return [Publish(Notice(lost, host.name), host.id), result]

    def decide(self, host: Host, judgement: Judgement, t: float) -> list[Action]:
        """Give the verdict of a job; its agent ends as any."""
        return [*self.judge(host, judgement, t), *self.settle(host)]

    def give_up(self, host: Host, code: Code, reason: str, t: float) -> list[Action]:
        """Nothing more will be heard of it: the verdict from what is known."""
        return [*self.judge(host, self._judgement(host, code, reason), t), *self.end(host)]

    def give_up_alive(self, host: Host, reason: str, t: float) -> list[Action]:
        """The agent there has nothing to go on with."""
        lost = host.in_doubt and host.outcome is None
        judgement = judge_away(host, self._options.exec, Code.AGENT, reason)
        if judgement is None and lost:
            judgement = judge_lost(Code.AGENT, reason, UNSEEN)
        judgement = judgement or self._judgement(host, Code.AGENT, reason)
        return [*self.judge(host, judgement, t), *self.settle(host)]

    def _lost(self, code: Code, reason: str) -> Judgement:
        return judge_lost(code, reason, unseen_end(self._options.exec, self._timeouts.lease_s))

    def _judgement(self, host: Host, code: Code, reason: str) -> Judgement:
        away = judge_away(host, self._options.exec, code, reason)
        if away is not None:
            return away
        if host.outcome is not None:  # only the tail of its output is missing
            return judge_outcome(host.outcome, self._options.exec.leftover)
        if host.in_doubt:
            return self._lost(code, reason)
        if host.refused and code in (Code.AUTHENTICATION, Code.SIGNING):
            code, reason = Code.SIGNING, host.refused
        return judge_failed(code, reason, self._options.remedy(code, host.name, reason))

    def overdue(self, host: Host, held_back_s: float, t: float) -> list[Action]:
        """The backstop for an agent that lives and doesn't say what it has to.

        `held_back_s` is when the root's own store or terminal last held something back, and a host
        may have had to wait for that.
        """
        judgement: Judgement | None = None
        if host.over or not (host.may_have_started or host.answer_due):
            return []
        if host.may_have_started and host.absence is None and host.start_s is None:
            host.start_s = t
        if not host.alive:  # then it isn't attached, whatever is above it
            return []
        if not host.may_have_started:
            if t - max(host.attached_s, held_back_s) > self._timeouts.lease_s:
                judgement = self._judgement(host, Code.AGENT, "its agent doesn't say where it stands")
        elif host.absence is not None:
            judgement = judge_absent(host, self._options.exec, t)
        else:
            judgement = self._overdue(host, held_back_s, t)
        if judgement is None or not self._tree.attached(host.id):
            return []
        return [*self.judge(host, judgement, t), *self.settle(host)]

    def _overdue(self, host: Host, held_back_s: float, t: float) -> Judgement | None:
        begun_s = t if host.start_s is None else host.start_s
        lease_s, command_s = self._timeouts.lease_s, self._timeouts.command_s
        since_s = t - max(begun_s, host.attached_s, held_back_s)
        if host.outcome is not None:
            quiet_s = t - max(host.heard_s, host.attached_s, held_back_s)
            return self._judgement(host, Code.AGENT, "") if quiet_s > lease_s else None
        if not host.started and self._options.exec.outfit.sudo is not None:
            return self._overdue_by_sudo(host, since_s)
        if not host.started and since_s > lease_s:
            return self._lost(Code.AGENT, "its agent doesn't say whether the command began")
        if command_s is not None and since_s > command_s + self._options.exec.grace_s + 2 * lease_s:
            return self._lost(
                Code.AGENT, "its command should have been killed long ago, and its agent doesn't say so"
            )
        return None

    def _overdue_by_sudo(self, host: Host, since_s: float) -> Judgement | None:
        if host.wants_password or since_s <= max(self._timeouts.lease_s, SUDO_S):
            return None
        return self._lost(Code.SUDO, "sudo neither started the command nor asked for its password")

    def dismiss(self, host: Host, code: Code, reason: str, t: float) -> list[Action]:
        """A host is gone, and nobody goes after it, nor after what hangs below it."""
        actions = self.give_up(host, code, reason, t)
        for child in list(host.children):
            below = self._tree[child]
            if code is not Code.CANCELLED or below.in_doubt:
                actions += self.dismiss(below, Code.PARENT, self.why(host, code, reason), t)
            else:
                actions += self.dismiss(below, code, reason, t)
        return actions

    @staticmethod
    def why(relay: Host, code: Code, reason: str) -> str:
        """Why what hangs below a relay can't be reached, of which this was said."""
        if code is Code.CANCELLED:
            return f"its relay {relay.name} was not reached before the run was cancelled"
        what = "was not reached" if relay.t_ready_s is None else "is gone"
        return reason if reason.startswith("its relay ") else f"its relay {relay.name} {what}: {reason}"

    def cancelled(self, host: Host, t: float) -> list[Action]:
        """A cancelled host that doesn't report in time."""
        actions: list[Action] = []
        if not host.over and host.in_doubt:
            reason = "cancelled, and it didn't answer in time"
            actions = self.judge(host, self._judgement(host, Code.CANCELLED, reason), t)
        elif not host.over:
            actions = self.judge(host, judge_failed(Code.CANCELLED, "cancelled", ""), t)
        return actions if host.alive else [*actions, *self.end(host)]

    # Ends.

    def committed(self, host: Host) -> list[Action]:
        """Its verdict is in the store."""
        if host.committed:
            return []
        host.committed = True
        self._count_down(host)
        self._starts.give_back(host)  # it did; but who waits for this verdict may start now
        return [action for each in (host, *self._tree.through(host)) for action in self.settle(each)]

    def settle(self, host: Host) -> list[Action]:
        """Agents end bottom-up, each once its verdict is in the store and nobody needs it any more."""
        if host.ended or not (host.committed and host.over) or host.contact is not Contact.UP:
            return []
        if self._tree.needed(host):
            return []
        # One that is out of reach is told when it is attached again, else its lease ends it.
        told = [self._orders.send(host.id, wire.END, {})] if self._tree.attached(host.id) else []
        return [*told, *self.end(host)]

    def end(self, host: Host) -> list[Action]:
        """The agent was told to end, or is given up."""
        if host.ended:
            return []
        host.ended = True
        self._healer.over(host)
        self._logins.give_back(host)
        self._starts.give_back(host)
        self._count_down(host)
        above = [self._tree[node] for node in (host.parent, host.carrier) if node]
        return [action for each in above for action in self.settle(each)]

    def _count_down(self, host: Host) -> None:
        if host.ended and host.committed:
            self.open -= 1

    def summary(self, t: float, *, interrupted: bool) -> RunEnded:
        """What became of all hosts."""
        counts = dict.fromkeys(Verdict, 0)
        for host in self._tree.hosts.values():
            if host.verdict is not None:
                counts[host.verdict] += 1
        return RunEnded(self._options.run, counts, t, interrupted)
