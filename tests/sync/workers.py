"""Workers of runs that copy: what hosts have is one word, and time is a step.

A worker that is asked for what it may not be asked for fails the test, not the run.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

from nile.bootstrap.authority import Authority
from nile.cascade import Vouch
from nile.cascade.hosts import Contact
from nile.cascade.tree import Tree
from nile.cascade.verdicts import Judgement
from nile.cascade.work import Neighbours, Reach
from nile.sync import Method, Paths, Sync, SyncOptions
from nile.sync.queues import AT_ONE_TIME
from nile.sync.targets import Step
from nile.topology.model import ROOT_ID, Plan
from tests.sync.seats import Seats
from tests.sync.simulated import Message, Simulated

SIZE = 1000
"""Bytes of the source."""


class Workers(Simulated):
    """A run: `had` is what hosts have at first, by id ("new" is what the source is).

    Things that go wrong are set by name: `refuses` (host -> what it answers when it is opened), `breaks`
    (copies, counted from 0 in the order in which they begin, -> code, retry), `garbles` (copies that leave
    something else than the source).
    """

    TICKS = 8

    def __init__(
        self,
        plan: Plan,
        had: dict[int, str],
        seed: int = 0,
        rack: Callable[[int], str] = lambda _: "",
        **options: Any,
    ) -> None:
        super().__init__(Tree(plan, {}), seed)
        what = {"sources": (b"/src/",), "dest": b"/dst", "method": Method.RSYNC, **options}
        self.job = self.sync = Sync(
            SyncOptions(**what),
            "run",
            self.tree,
            Paths(Neighbours(lambda _, taker: f"h{taker}", self._login, rack)),
            lambda: b"s" * 32,
            lambda: b"PEM",
            authority=Authority,
        )
        self.options = SyncOptions(**what)
        self.opened: list[Message] = []
        """What hosts were asked when they took their destinations."""
        self.has = {host.id: had.get(host.id, "old") for host in self.tree.hosts.values() if host.node.asked}
        self.has[ROOT_ID] = "new"
        self.entries: dict[int, int] = defaultdict(lambda: 100)
        self.extra: dict[int, int] = defaultdict(int)
        self.free: dict[int, int] = defaultdict(lambda: 10 * SIZE)
        self.refuses: dict[int, Message] = {}
        self.breaks: dict[int, tuple[str, bool]] = {}
        self.taker_says = ("link", True)
        """What the taker of a copy that breaks says: code, retry."""
        self.garbles: set[int] = set()
        self.misses: set[int] = set()
        """Copies whose giver finds no way to the taker, which goes on waiting."""
        self.silent = 0
        """So many requests for a way get no answer."""
        self.keeps: set[int] = set()
        """Hosts that have more than the source, and keep it where nothing is deleted."""
        self.all_is_new = True
        self.based = True
        self.move = SIZE
        self.attributed = 0
        self.paths = b""
        self.touched = 0
        """Hosts have no file of the source: what a stream brings is recorded against nothing."""
        self.source: Message = {}
        """What the root's worker says instead of what it read."""
        self.copies: list[tuple[int, int]] = []
        """(giver, taker) of all copies that were begun."""
        self.wrote: set[int] = set()
        self.logins: set[tuple[int, int]] | None = None
        """(giver, taker): who may log in to whom; None: each to all."""
        self.vouched: list[Vouch] = []
        self._receiving: dict[int, int] = {}
        self._recorded: dict[int, int] = {}
        """By host against which something is recorded, the number of what it was asked for that."""
        self.chain = Seats(self._say, self._became, self._dead)

    def _login(self, giver: int, taker: int) -> Message | None:
        return {"to": taker} if self.logins is None or (giver, taker) in self.logins else None

    def tick(self, t: float) -> None:
        """It is so late now."""
        self.t = t
        self._carry_out(self.sync.tick(t))
        self.go_on()

    def die(self, node_id: int) -> None:
        """A host is lost."""
        self._dead.add(node_id)
        self._queues[node_id].clear()
        self.tree[node_id].contact = Contact.NONE
        self.chain.die(node_id)
        for child in list(self.tree[node_id].children):  # the tree heals
            self.tree.move(self.tree[child], ROOT_ID)
        for taker, giver in [(taker, giver) for giver, taker in self.copies if giver == node_id]:
            del giver
            if taker in self._receiving:
                self._say(taker, self._receiving.pop(taker), code="link", reason="cut", retry=True)
        self.judged.setdefault(node_id, Judgement(verdict="lost"))  # type: ignore[arg-type]
        self._carry_out(self.sync.over(node_id, self.t))

    def time_out(self, node_id: int) -> None:
        """Nobody came to one that waits for a copy."""
        self._say(node_id, self._receiving.pop(node_id), code="timeout", reason="nobody came", retry=True)
        self.go_on()

    def interrupt(self) -> None:
        """The user wants the run to end."""
        self._carry_out(self.sync.interrupted(self.t))

    def answer(self, yes: bool) -> None:
        """What the user says."""
        self._carry_out(self.sync.answered(yes, self.t))
        self.go_on()

    def _reach(self, errand: Reach) -> None:
        assert errand.giver in (ROOT_ID, self.tree[errand.taker].parent), "there is no link"
        if self.silent:
            self.silent -= 1
        else:
            super()._reach(errand)

    def _end(self, node_id: int) -> None:
        self._dead.add(node_id)
        self.chain.die(node_id)
        super()._end(node_id)

    # What workers do.

    def _print(self, node_id: int) -> bytes:
        return self.has[node_id].encode().ljust(32, b".")

    def _like(self, node_id: int) -> bytes:
        return self._print(node_id)

    def _read(self, node_id: int, message: Message) -> None:
        assert node_id == ROOT_ID
        prints = dict.fromkeys(("none", "names", "numbers"), self._print(ROOT_ID))
        found = {
            "names": [b""],
            "fingerprints": prints,
            "entries": 10,
            "files": 9,
            "bytes": SIZE,
            "room": SIZE,
            "sparse": 0,
            "size": SIZE if self.all_is_new else 2 * SIZE,
        }
        found |= {
            "empty": False,
            "mounts": [],
            "based": self.based,
            "unpackable": "",
            "attributed": self.attributed,
            "hash": "sha256",
            "rsync": {"version": [3, 2, 7], "has": ["xattrs"]},
        }
        names: Message = {"users": [], "groups": []}
        self._say(node_id, message["n"], **{**names, **found, **self.source})

    def _open(self, node_id: int, message: Message) -> None:
        self.opened.append(message)
        assert message["write"] is (self.options.purpose in ("copy", "repair"))
        facts: Message = {"uid": 0, "free": self.free[node_id], "exists": True}
        facts["rsync"] = {"version": [3, 2, 7], "has": ["xattrs"]}
        self._say(node_id, message["n"], **{**facts, **self.refuses.get(node_id, {})})

    def _scan(self, node_id: int, message: Message) -> None:
        found: Message = {"entries": self.entries[node_id], "files": 9, "bytes": SIZE}
        found["like"] = self._like(node_id)
        self._say(node_id, message["n"], fingerprint=self._print(node_id), **found)

    def _pack(self, node_id: int, message: Message) -> None:
        self._say(node_id, message["n"], chunk=b"one", more=True)
        self._say(node_id, message["n"], chunk=b"two")

    def _source(self, node_id: int, message: Message) -> None:
        assert message["chunk"] in (b"one", b"two")

    def _compare(self, node_id: int, message: Message) -> None:
        lines = f"changed {self.has[node_id]}\nextra x\n".encode()
        more = self.has[node_id] == "new and more"
        counts = {"missing": 0 if more else 1, "changed": 0 if more else 1, "extra": self.extra[node_id]}
        counts["move"] = 0 if more else self.move
        counts["touched"] = self.touched
        self._say(node_id, message["n"], lines=lines, paths=self.paths, **counts)

    def _receive(self, node_id: int, message: Message) -> None:
        assert self.options.copies
        assert node_id not in self._receiving, "it receives already"
        under_way = self.sync._targets.at(Step.COPYING)
        assert max(Counter(each.giver for each in under_way).values(), default=0) <= AT_ONE_TIME
        assert not self.chain.of(node_id), "it still takes from a chain"
        self._receiving[node_id] = message["n"]
        self._say(node_id, message["n"], port=4000 + node_id, more=True)

    def _push(self, node_id: int, message: Message) -> None:
        taker = message["to"]
        assert self.has[node_id].startswith("new"), "it serves what isn't the source"
        tcp = self.options.method == "rsync-tcp"
        assert message["port"] == 4000 + taker + (0 if tcp else 1000)
        assert message["address"] == (f"h{taker}" if tcp else "127.0.0.1")
        number = len(self.copies)
        self.copies.append((node_id, taker))
        if number in self.misses:
            self._say(node_id, message["n"], code="refused", reason="no way there", retry=True, sent=0)
            return
        receiving = self._receiving.pop(taker, None)
        if receiving is None or taker in self._dead:
            self._say(node_id, message["n"], code="refused", reason="nobody listens", retry=True, sent=0)
            return
        if number in self.breaks:
            code, retry = self.breaks[number]
            self._say(node_id, message["n"], code=code, reason=f"so: {code}", retry=retry, sent=10)
            code, retry = self.taker_says
            self._say(taker, receiving, code=code, reason=f"so: {code}", retry=retry)
            return
        self.wrote.add(taker)
        kept = " and more" if taker in self.keeps and not self.options.delete else ""
        self.has[taker] = "garbled" if number in self.garbles else "new" + kept
        self._say(node_id, message["n"], sent=SIZE)
        self._say(taker, receiving)

    def _abandon(self, node_id: int, message: Message) -> None:
        if self._receiving.get(node_id) == message["what"]:
            self._say(
                node_id,
                self._receiving.pop(node_id),
                code="stopped",
                reason="it was told to stop",
                retry=False,
            )

    def _close(self, node_id: int, message: Message) -> None:
        assert node_id not in self._receiving
        self._say(node_id, message["n"])

    # Streams.

    def _became(self, node_id: int) -> None:
        self.wrote.add(node_id)
        kept = " and more" if node_id in self.keeps and not self.options.delete else ""
        self.has[node_id] = "new" + kept

    def _record(self, node_id: int, message: Message) -> None:
        assert node_id == ROOT_ID
        against = message["port"] - 1000 - 4000 if message["address"] else None
        number = self._receiving.pop(against, None) if against is not None else None
        if against is not None and number is not None:
            self._recorded[against] = number

        def ended() -> None:
            if against is not None and number is not None and against not in self._dead:
                self._say(against, number)

        if against is not None and number is None:
            self._say(node_id, message["n"], code="refused", reason="nobody listens", retry=True, sent=0)
            self.chain.recordings[message["n"]] = "refused"
            return
        self.chain.record(message, ended)

    def _serve(self, node_id: int, message: Message) -> None:
        assert node_id == ROOT_ID
        self.chain.serve(message)

    def _forget(self, node_id: int, message: Message) -> None:
        assert message["what"] in self.chain.recordings
        self.chain.forgotten.append(message["what"])

    def _join(self, node_id: int, message: Message) -> None:
        assert node_id not in self._receiving, "it receives already"
        busy = [each for each in self._queues[node_id] if each["n"] == self._recorded.get(node_id)]
        assert not busy, "it is still recorded against"
        self.chain.join(node_id, message)

    def _predecessor(self, node_id: int, message: Message) -> None:
        self.chain.predecessor(node_id, message)

    def _successor(self, node_id: int, message: Message) -> None:
        self.chain.successor(node_id, message)

    def _signed(self, node_id: int, message: Message) -> None:
        self.chain.signed(node_id, message)

    def _vouch(self, errand: Vouch) -> None:
        self.vouched.append(errand)
        super()._vouch(errand)

    def _last(self, node_id: int, message: Message) -> None:
        self.chain.last(node_id, message)

    def _leave(self, node_id: int, message: Message) -> None:
        self.chain.leave(node_id, message)

    def _approve(self, node_id: int, message: Message) -> None:
        self.chain.confirm(node_id, message)
