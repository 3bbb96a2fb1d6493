"""Broken branches: carries out what the healer decides, and takes stock of what it finds attached anew."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from nile.agent import wire
from nile.cascade.actions import Action, Publish
from nile.cascade.decisions import CallIn, CallUp, Decision, GiveUp, Moved, Place, Unheard
from nile.cascade.departing import Wakes
from nile.cascade.ends import Ends
from nile.cascade.healing import BY_CHANCE, UNHEARD_OF, Healer
from nile.cascade.heritage import REASON
from nile.cascade.hosts import Contact, Host
from nile.cascade.orders import CascadeOptions, Orders
from nile.cascade.placing import PENDING
from nile.cascade.slots import Slots, login_key
from nile.cascade.stdin import StdinBroadcast
from nile.cascade.tree import Tree
from nile.cascade.verdicts import judge_failed
from nile.events import Code, Notice
from nile.topology.model import ROOT_ID, Plan


class Mender:
    """Hosts out of contact, from the loss to the adoption or the verdict."""

    def __init__(
        self,
        plan: Plan,
        options: CascadeOptions,
        tree: Tree,
        orders: Orders,
        slots: tuple[Slots, Slots],
        stdin: StdinBroadcast,
    ) -> None:
        self._options = options
        self._tree = tree
        self._orders = orders
        self._logins, self._starts = slots
        self.healer = Healer(tree, plan, options.exec.grace_s)
        self._wakes = Wakes(plan.timeouts.silence_s)
        self.ends = Ends(options, plan.timeouts, tree, orders, self.healer, slots, stdin)

    def gone(self, host: Host, failed: bool, code: Code, reason: str, t: float) -> list[Action]:
        """A login failed, or a link was lost."""
        if self._options.relays_only:  # whoever waits for a host behind it is to hear of it at once
            return self.ends.dismiss(host, code, reason, t)
        host.lost_s = t
        if failed and code is Code.NO_PYTHON and self._can_do_without(host):
            return self._take_shell(host, reason, t)
        departed = self._departed(host, failed, code, reason, t)
        if failed:
            self.healer.failed(host, code, reason, t)
        else:
            self.healer.lost(host, code, reason, t)
        self._cut_off(host)
        if self._options.exec.stdin and host.started:
            # What it didn't hear of the standard input would be missing: its agent ends it.
            return self._give_up(host, code, reason, t)
        if departed:
            waited_for = self.healer.ending and host.absence is not None
            return self._give_up(host, Code.CANCELLED if waited_for else code, reason, t)
        return []

    def _can_do_without(self, host: Host) -> bool:
        return host.node.asked and not host.shell and self._options.takes_shells

    def _take_shell(self, host: Host, reason: str, t: float) -> list[Action]:
        """It has no Python, but a shell: logged in to anew it is a leaf, and nothing hangs below it."""
        host.shell = True
        self._cut_off(host)
        self.healer.over(host)
        self._logins.give_back(host)
        said = f"{reason}: it runs its command by a shell alone, and relays for nobody"
        actions: list[Action] = [Publish(Notice(said, host.name))]
        for child in [self._tree[each] for each in host.children]:
            if not child.ended and child.contact is not Contact.NONE:
                why = self.ends.why(host, Code.NO_PYTHON, reason)
                actions += self.gone(child, False, Code.PARENT, why, t)
        return [*actions, *self._place(host, host.parent, t)]

    def _departed(self, host: Host, failed: bool, code: Code, reason: str, t: float) -> bool:
        """Does a lost link, or a login that `failed`, end it for a host whose command may cut it off?

        One that has to come back is waited for. What befell others, so that it has to be
        logged in to anew, is no effect of its command: it is looked for as in any run. And
        silence is no sign: it is looked for once.
        """
        if not host.leaving or host.over:
            return False
        if self._options.exec.wait_back_s is None:
            if not failed:
                host.silent = code is Code.LINK and (reason.startswith(UNHEARD_OF) or self._wakes.lately(t))
                return host.started and not host.silent and code is not Code.PARENT
            return host.started and host.silent and code not in BY_CHANCE
        self.ends.expect_back(host, t, gone=True)
        return self.healer.ending

    def inherit(self, t: float) -> list[Action]:
        """Take over what a former root had: with it, all its links are gone."""
        self._wakes.since(t)
        for host in [self._tree[each] for each in self._tree.top]:
            if not host.ended:
                host.contact = Contact.NONE
                self.healer.lost(host, Code.LINK, REASON, t)
        return self.mend(t, ticked=False)

    def _cut_off(self, host: Host) -> None:
        """It is out of contact: no login below it can go on, they are placed anew."""
        host.contact = Contact.NONE
        for each in self._tree.below(host):
            if each.contact is not Contact.UP:
                self._logins.give_back(each)

    def mend(self, t: float, *, ticked: bool) -> list[Action]:
        """Do what there is to do."""
        actions: list[Action] = []
        if self._options.relays_only:
            return actions
        if ticked:
            self._wakes.tick(t)
            self._logins.tick()
        for _ in range(MOST_ROUNDS):
            decisions = self.healer.decide(t, ticked=ticked)
            if not decisions:
                break
            ticked = False
            for decision in decisions:
                actions += self._carry_out(decision, t)
        return actions

    def _carry_out(self, decision: Decision, t: float) -> list[Action]:
        match decision:
            case Place(host, parent, connect_s):
                host.connect_s = connect_s
                if host.ended:
                    return []
                if parent != ROOT_ID and self._tree[parent].ended:  # by what was decided just before
                    self.healer.stir()
                    return []
                return self._place(host, parent, t)
            case GiveUp(host, code, reason):
                return self._give_up(host, code, reason, t)
            case Unheard(host):
                reason = "its relay doesn't say what came of the login"
                forget = self._orders.forget(self._tree.link_parent(host), host)
                self._logins.move_on(host)
                host.silent = False  # that is its relay's silence
                return [forget, *self.gone(host, True, Code.CONNECT_TIMEOUT, reason, t)]
            case CallUp(host):
                return self._call_up(host, t)
            case CallIn(host):
                return self._call_in(host, t)
            case Moved(relay, count, code):
                return [Publish(Notice(_moved(count, code), relay.name))]

    def _call_up(self, host: Host, t: float) -> list[Action]:
        if host.id not in self._tree.spares:
            return []
        self._tree.call_up(host)
        self.ends.open += 1
        self.healer.lost(host, Code.PARENT, "it had no place in the tree", t)
        return [Publish(Notice("it is called up as a gateway: the others can't be reached", host.name))]

    def _call_in(self, host: Host, t: float) -> list[Action]:
        if host.called_s == t:
            return []
        host.called_s, host.held = t, True
        if host.contact is Contact.WAITING:  # below a parent that may not be there yet
            self.healer.lost(host, Code.PARENT, "a pause kept it back", t)
            self._cut_off(host)
        self.healer.stir()
        said = "it is logged in to in the pause, and starts nothing: others can be reached only through it"
        return [Publish(Notice(said, host.name))]

    def _place(self, host: Host, parent: int, t: float) -> list[Action]:
        former, linked = host.parent, self._tree.link_parent(host)
        leaves = (parent != former or host.carrier is not None) and self._tree.attached(linked)
        if host.contact is Contact.UP:  # the top of a subtree whose parent is gone
            self.healer.lost(host, Code.PARENT, f"its relay {self._tree.name(former)} is gone", t)
        self._tree.move(host, parent)
        actions: list[Action] = [self._orders.forget(linked, host)] if leaves else []
        host.may_have_started = host.in_doubt
        host.admitted = False
        host.attach_anew()
        host.state_due, host.ask = True, 0
        host.answer_due = host.t_ready_s is not None
        host.placed_s = t
        host.contact = Contact.WAITING
        for each in self._tree.below(host):
            each.links_lost()  # what got lost comes again
        host.permitted = not self._logins.bounded
        if leaves:
            self._logins.move_on(host)
        self._logins.give_back(host)
        if self._logins.bounded:
            self._logins.offer(login_key(host), host)
        code = False
        if parent != ROOT_ID:
            relay = self._tree[parent]
            code, relay.equipped = not relay.equipped, True
            self._tree.relays.add(parent)
            relay.give(host.id)
        actions.append(self._orders.place(host, code=code))
        return actions if former == ROOT_ID else [*actions, *self.ends.settle(self._tree[former])]

    def _give_up(self, host: Host, code: Code, reason: str, t: float) -> list[Action]:
        """It gets its verdict; what hangs below it has to look for another parent."""
        under_way = host.contact in PENDING
        linked = self._tree.link_parent(host)
        former = [self._orders.forget(linked, host)] if under_way and self._tree.attached(linked) else []
        actions = former + self.ends.give_up(host, code, reason, t)
        for child in [self._tree[each] for each in host.children]:
            if not child.ended and child.contact is not Contact.NONE:
                actions += self.gone(child, False, Code.PARENT, self.ends.why(host, code, reason), t)
        return actions

    def excuse(self, hosts: Iterable[Host], why: str, t: float) -> list[Action]:
        """These are to start no more: of them, whoever can't have started is cancelled."""
        actions: list[Action] = []
        for host in sorted(hosts, key=lambda host: (-self._tree.stage(host.id), host.id)):
            if host.over or host.in_doubt:
                continue
            actions += self.ends.judge(host, judge_failed(Code.CANCELLED, why, ""), t)
            # A login under way goes on: an agent that may be there already is to be told that it's over.
            away = host.contact in (Contact.WAITING, Contact.NONE)
            if away and not self._tree.needed(host):
                actions += self._give_up(host, Code.CANCELLED, why, t)
        return actions

    # What an agent says that was attached anew.

    def claimed(self, host: Host, trace: str, held: bool, t: float) -> list[Action]:
        """`trace` is what the agent found of one before it: dead or none; alive, once it had its start."""
        if host.over:
            return []
        if not held and host.outcome is None:
            host.absence = None  # its command goes on: only once that ends, or cuts it off, is it waited for
        if held and host.leaving and host.start_in != host.epoch:
            actions = self._returned(host, trace, t)
            if actions is not None:
                return actions
        if not held:
            return self._began_by_itself(host) if host.called and not host.may_have_started else []
        before = host.may_have_started and host.start_in != host.epoch  # by an agent that was there before
        ran = before and (trace == "dead" or host.started or not self._was_up(host))
        if trace != "alive" and ran and not self._options.exec.idempotent:
            what = "was booted anew" if trace == "none" else "lost its agent"
            return self.ends.give_up_alive(host, f"it {what} after its command may have started", t)
        if self.healer.ending:
            return []  # it hears with every heartbeat that the run is cancelled
        on_its_way = (host.start_in, host.start_ask) == (host.epoch, host.ask)
        if not (host.start_in and (ran or host.started or on_its_way)):
            self._line_up(host)
            return []
        return [self._orders.start(host, t)]

    def _began_by_itself(self, host: Host) -> list[Action]:
        """A login to it was under way when the pause had it called: its agent waits for no start."""
        host.may_have_started = True
        self._starts.give_back(host)
        return [self._orders.resume(host)]  # nothing was heard of what it said before

    def _line_up(self, host: Host) -> None:
        """No start got through to it, and none will: it waits for its turn, as if it had had none."""
        host.may_have_started, host.start_s, host.start_in = False, None, 0
        host.leaving, host.absence = False, None
        host.held = True
        self._starts.give_back(host)
        self._starts.offer(host.turn, host)

    def _returned(self, host: Host, trace: str, t: float) -> list[Action] | None:
        """It isn't the agent that was told to start: None where that one may not have started."""
        if host.started and host.booted_anew:
            return self.ends.back(host, t)
        if self._options.exec.wait_back_s is not None and (host.started or trace == "dead"):
            self.ends.expect_back(host, t)  # it may be on its way down
            return []
        if host.started:
            return self.ends.give_up_alive(host, "its agent is gone", t)
        return None

    @staticmethod
    def _was_up(host: Host) -> bool:
        """Was the host up before the run began, and ever since? Else memory may have forgotten a start."""
        return host.booted_s is not None and host.booted_s < 0

    def reconcile(self, host: Host, listed: Mapping[int, tuple[int, str]], t: float) -> list[Action]:
        """Whom an agent has below it, against whom it should have."""
        actions: list[Action] = []
        for child in [self._tree[each] for each in host.children]:
            epoch, state = listed.get(child.id, (0, ""))
            if child.carrier is not None:
                continue
            if child.inherited and state == "up" and 0 < epoch < child.least_epoch:
                child.epoch, child.inherited = epoch, False
            if child.ended:
                actions += [self._orders.send(child.id, wire.END, {})] if state == "up" else []
                continue
            if epoch == child.epoch and state == "up":
                child.attached_s = t
                actions.append(self._orders.resume(child))
            elif epoch == child.epoch and state in PENDING and child.contact is not Contact.UP:
                child.contact = Contact(state)
                if child.contact is Contact.LOGIN:  # it has as long for it as any other
                    self.healer.begun(child, t)
            elif child.contact is not Contact.NONE:
                self._departed(child, True, Code.PARENT, "", t)
                self._cut_off(child)
                self.healer.lost(child, Code.PARENT, f"its relay {host.name} lost it", t)
        # Whom it had once, it may not know to be elsewhere; of others it has nothing to say.
        gone = [each for each in sorted(listed.keys() & self._tree.hosts.keys()) if each not in host.children]
        once = [each for each in map(self._tree.__getitem__, gone) if host.id in each.former]
        return [*actions, *(self._orders.forget(host.id, each) for each in once)]


MOST_ROUNDS = 100
"""Giving up on one host may bring others to be decided about: as often as there are stages, and more."""


def _moved(count: int, code: Code | None) -> str:
    hosts = "host" if count == 1 else "hosts"
    if code is not None:
        return f"it can't log in to the hosts below it ({code}): {count} {hosts} are reached by other ways"
    return f"it keeps {count} {hosts} below it waiting: others take them over"
