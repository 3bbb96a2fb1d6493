"""Workers that take part in a swarm: who is connected to somebody who has something gets on, step by step."""

from __future__ import annotations

from typing import Any

from nile.cascade import Attest
from nile.sync import Method
from nile.topology.model import ROOT_ID, Plan
from tests.sync.simulated import Message
from tests.sync.workers import SIZE, Workers

STEPS = 4
"""In which a host gets all of it; one a second."""
HASH = b"torrent"
PEER = "libtorrent 2.1.1.0"


class Swarmed(Workers):
    """A run by a swarm. What goes wrong is set by name.

    `lacks`: hosts without libtorrent; `still`: hosts that get nothing; `mute`: those that don't say that
    their peer has ended; `away`: those that never listen; `unlike`: of what the swarm brings something is
    missing; `trouble`: why hosts can't put in place what came; `stuck`: those that say they do, and don't;
    `slow`: hosts that get something only every so many seconds; `at_it`: those that look at files
    for so many seconds after they were told that it is over, and only then say more than that.
    """

    TICKS = 60

    def __init__(self, plan: Plan, had: dict[int, str] | None = None, **options: Any) -> None:
        super().__init__(plan, had or {}, **{"method": Method.SWARM, **options})
        self.lacks: set[int] = set()
        self.still: set[int] = set()
        self.mute: set[int] = set()
        self.away: set[int] = set()
        self.unlike = False
        self.unsigned = ""
        """Why nobody signs."""
        self.signs_later = False
        """Only when `sign` is called."""
        self.attested: list[Attest] = []
        self.refuses_it: dict[int, str] = {}
        """Hosts that don't take what was signed, and why."""
        self.unchecked: set[int] = set()
        self.trouble: dict[int, str] = {}
        self.stuck: set[int] = set()
        self.slow: dict[int, int] = {}
        self.at_it: dict[int, float] = {}
        self.made: Message = {}
        self.tracked: list[Message] = []
        self.elsewhere: dict[int, tuple[list[str], list[str]]] = {}
        """Who may look where else."""
        self.only_seem: set[int] = set()
        """Hosts that have something else of the same size and time."""
        self.addresses: dict[str, list[str]] = {}
        self.slow_names = False
        """Whoever looks them up doesn't come to an end."""
        self.limits: dict[int, list[Message]] = {}
        """What peers were told to keep to while they ran."""
        self.deaf: set[int] = set()
        """Those that don't say that they do."""
        self.no_tracker = ""
        self.strangers: list[str] = []
        self.hashes_for_ever = False
        self.torrent_asked = 0
        self.seed_ends: Message | None = None
        """How the seed ends in the midst of it."""
        self.numbers: dict[int, int] = {}
        """By host, of the question to which its peer answers; those that take part."""
        self.got: dict[int, int] = {}
        self.links: set[frozenset[int]] = set()
        self.told: list[tuple[int, list[int]]] = []
        self.shares: dict[int, tuple[int, int]] = {}
        """By host: which part it gets first, of how many."""
        self.torrents: list[Message] = []
        self.begun: list[tuple[int, Message]] = []
        self.pushed: list[Message] = []
        self.asked: list[tuple[int, str, float]] = []
        self.unpeered: set[int] = set()
        self.most_starting = 0
        self._chunks: dict[int, bytes] = {}

    def go_on(self) -> None:
        for _ in range(self.TICKS):
            self.all_said()
            self.advance()
            self.all_said()
            self.t += 1.0
            self._carry_out(self.job.tick(self.t))

    def all_said(self) -> None:
        while self.step():
            pass

    def die(self, node_id: int) -> None:
        self.numbers.pop(node_id, None)
        super().die(node_id)

    def _end(self, node_id: int) -> None:
        self.numbers.pop(node_id, None)
        super()._end(node_id)

    def _tell(self, node_id: int, message: Message) -> None:
        self.asked.append((node_id, message["do"], self.t))
        super()._tell(node_id, message)

    def when(self, what: str) -> list[float]:
        """When it was asked, of whomever."""
        return [t for _, do, t in self.asked if do == what]

    def advance(self) -> None:
        """A second passes in the swarm."""
        for node_id in self.at_it.keys() & self.unpeered & self.numbers.keys():
            self.at_it[node_id] -= 1
            self._is_at_it(node_id)
            if self.at_it[node_id] <= 0:
                self.mute.discard(node_id)
                self._unpeer(node_id, {"what": self.numbers[node_id]})
        if ROOT_ID in self.numbers and self.seed_ends is not None:
            self._say(ROOT_ID, self.numbers.pop(ROOT_ID), **{"sent": 0, **self.seed_ends})
        reached = self._reached()
        for node_id, number in list(self.numbers.items()):
            before = self.got.get(node_id, 0)
            slow = self.slow.get(node_id, 0)
            gets = node_id in reached - self.still and (not slow or int(self.t) % slow == 0)
            if node_id != ROOT_ID and gets and before < SIZE:
                self.got[node_id] = min(SIZE, before + SIZE // STEPS)
            got = self.got.get(node_id, 0)
            connected = sum(node_id in link and link <= self.numbers.keys() for link in self.links)
            told = {"at": got, "whole": SIZE, "got": got, "sent": 2 * got or 10, "peers": connected}
            self._say(node_id, number, progress=told, more=True)
            if before < got == SIZE:
                self._say(node_id, number, merging=True, more=True)
                if node_id not in self.stuck:
                    self._merge(node_id, number)

    def _merge(self, node_id: int, number: int) -> None:
        trouble = self.trouble.get(node_id, "")
        if not trouble:
            self._became(node_id)
        if self.unlike:
            self.has[node_id] = "new but"
        self._say(node_id, number, complete=True, trouble=trouble, more=True)

    def _is_at_it(self, node_id: int) -> None:
        self._say(node_id, 1, alive=True, done=100 * int(self.t), more=True)

    def _reached(self) -> set[int]:
        """Those that are connected to one that has something."""
        found = {node_id for node_id in self.numbers if node_id == ROOT_ID or self.got.get(node_id)}
        todo = list(found)
        while todo:
            at = todo.pop()
            for link in self.links:
                if at in link and link <= self.numbers.keys():
                    todo += link - found
                    found |= link
        return found

    def _attest(self, errand: Attest) -> None:
        self.attested.append(errand)
        if not self.signs_later:
            self.sign(errand)

    def sign(self, errand: Attest) -> None:
        """As the operator."""
        signed: Message = {
            "body": b"body",
            "signatures": [b"one"],
            "certified": [3],
            "opened": {2: b"key"},
            "refused": self.unsigned,
        }
        self._say(ROOT_ID, errand.number, **signed)

    # What workers do.

    def _torrent(self, node_id: int, message: Message) -> None:
        assert node_id == ROOT_ID
        self.torrents.append(message)
        if self.hashes_for_ever:
            self.torrent_asked = message["n"]
            return
        if not self.made.get("code"):
            self._say(node_id, message["n"], chunk=HASH[:3], more=True)
            self._say(node_id, message["n"], chunk=HASH[3:], more=True)
        self._say(node_id, message["n"], **{"hash": b"h" * 20, "digest": b"d" * 32, **self.made})

    def _addresses(self, node_id: int, message: Message) -> None:
        """Of host hN it is 10.0.0.N, unless it has others."""
        assert node_id == ROOT_ID
        own = {f"h{each}": [f"10.0.0.{each}"] for each in self.has}
        if not self.slow_names:
            known = {**own, **self.addresses}
            self._say(node_id, message["n"], found={name: known[name] for name in message["names"]})

    def _seed(self, node_id: int, message: Message) -> None:
        assert node_id == ROOT_ID
        self.begun.append((node_id, message))
        if ROOT_ID in self.lacks:
            self._say(node_id, message["n"], code="no-libtorrent", reason="no Python has it", sent=0)
            return
        self.numbers[node_id] = message["n"]
        if ROOT_ID not in self.away:
            self._say(node_id, message["n"], port=4000, peer=PEER, more=True)

    def _track(self, node_id: int, message: Message) -> None:
        assert node_id == ROOT_ID
        self.tracked.append(message)
        if self.no_tracker:
            self._say(node_id, message["n"], code="copy", reason=self.no_tracker)
            return
        self._say(node_id, message["n"], port=6969, hash="ab" * 20, more=True)
        for address in self.strangers:
            self._say(node_id, message["n"], stranger=address, more=True)

    def _introduce(self, node_id: int, message: Message) -> None:
        assert node_id == ROOT_ID
        self.tracked.append(message)

    _dismiss = _untrack = _introduce

    def _metainfo(self, node_id: int, message: Message) -> None:
        self._chunks[node_id] = self._chunks.get(node_id, b"") + message["chunk"]

    def _peer(self, node_id: int, message: Message) -> None:
        assert self._chunks.pop(node_id) == HASH, "it hasn't got the torrent"
        assert node_id not in self._receiving
        self.begun.append((node_id, message))
        self.most_starting = max(self.most_starting, len(self.sync._swarm._all._all) - len(self.numbers) + 1)
        if node_id in self.lacks:
            self._say(node_id, message["n"], code="no-libtorrent", reason="no Python has it", sent=0)
        elif node_id in self.refuses_it:
            reason = self.refuses_it[node_id]
            self._say(node_id, message["n"], code="signature", reason=reason, remedy="begin again", sent=0)
        elif message["keep"] and node_id in self.only_seem:
            self._say(node_id, message["n"], code="differs", reason="it only seems to be", sent=0)
        elif node_id not in self.away:
            self.numbers[node_id] = message["n"]
            if node_id in self.unchecked:
                self._say(node_id, message["n"], unchecked="nobody is known", more=True)
            if message["keep"]:
                self.got[node_id] = SIZE
            self._say(node_id, message["n"], port=4000 + node_id, peer=PEER, more=True)

    def _peers(self, node_id: int, message: Message) -> None:
        others = [port - 4000 for _, port in message["peers"]]
        assert [host for host, _ in message["peers"]] == [f"h{other}" for other in others]
        assert node_id not in others
        self.told.append((node_id, others))
        if self.numbers.get(node_id) == message["what"]:
            self.links |= {frozenset({node_id, other}) for other in others}

    def _share(self, node_id: int, message: Message) -> None:
        assert self.numbers[node_id] == message["what"]
        assert not any(node_id in link for link in self.links), "it gets something already"
        self.shares[node_id] = (message["part"], message["parts"])

    def _elsewhere(self, node_id: int, message: Message) -> None:
        assert self.numbers[node_id] == message["what"]
        self.elsewhere[node_id] = (message["trackers"], message["webs"])

    def _limit(self, node_id: int, message: Message) -> None:
        assert self.numbers[node_id] == message["what"]
        self.limits.setdefault(node_id, []).append(message)
        if node_id not in self.deaf:
            self._say(node_id, message["n"])

    def _unpeer(self, node_id: int, message: Message) -> None:
        self.unpeered.add(node_id)
        if self.numbers.get(node_id) == message["what"] and node_id not in self.mute:
            del self.numbers[node_id]
            self._say(node_id, message["what"], sent=2 * self.got.get(node_id, 0) or 10)

    def _push(self, node_id: int, message: Message) -> None:
        self.pushed.append(message)
        super()._push(node_id, message)

    def _seal(self, node_id: int, message: Message) -> None:
        """What is brought gets its name; these go no further."""
        assert not self.numbers, "something of a swarm is still there"

    def _close(self, node_id: int, message: Message) -> None:
        serving = self.numbers.keys() - self.unpeered - self.trouble.keys()
        assert node_id not in serving, "others still need it"
        super()._close(node_id, message)
