"""What the source is, and what each host has of it: nobody writes before that is known. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from nile.agent.worker.hashing import BLAKE2B, SHA256
from nile.cascade import Publish, Tell
from nile.cascade.verdicts import Judgement
from nile.events import Code, Notice, Verdict
from nile.sync.asking import Errands
from nile.sync.judging import told
from nile.sync.means import Means
from nile.sync.targets import Step, Target, Tree, count, release_facts, rsync_facts, words
from nile.sync.wording import other_file_systems
from nile.topology.model import ROOT_ID


class Survey:
    """Reads the source, opens the destination of every host, and scans it.

    `fail(target, judgement)` gives a host its verdict, `stop(judgement)` all of them. `sources` is what
    the root has, by how owners are compared (empty as long as that isn't read), `room` how many bytes it
    takes on a disk, `unpackable` why no archive can have it, `rsync` which one the root has, and `hash` by
    what it hashes sooner. How much it is stands in the `bulk` of all.
    """

    def __init__(
        self,
        means: Means,
        targets: Mapping[int, Target],
        fail: Callable[[Target, Judgement], Errands],
        stop: Callable[[Judgement], Errands],
    ) -> None:
        self._means = means
        self._options = means.options
        self._asking = means.asking
        self._targets = targets
        self._fail = fail
        self._stop = stop
        self._owners: dict[str, Any] = {}
        self.sources: dict[str, Tree] = {}
        self.room = 0
        self.unpackable = ""
        self.based = False
        self.attributed = 0
        self.rsync: dict[str, Any] | None = None
        self.hash = BLAKE2B

    # The source.

    def begin(self) -> Tell:
        """Read the source."""
        options = self._options
        how = {"streams": options.streams, "numeric_ids": options.numeric_ids, **self._terms()}
        return self._asking.ask(ROOT_ID, "read", {"sources": list(options.sources), **how}, self._read)

    def _terms(self) -> dict[str, Any]:
        return {"excludes": list(self._options.excludes), "checksum": self._options.checksum}

    def _read(self, message: dict[str, Any], t: float) -> Errands:
        if message.get("code"):
            yield from self._stop(told(message, Code.SOURCE))
            return
        self._means.names.extend(message["names"])
        self._owners = {"users": message["users"], "groups": message["groups"]}
        for owner, fingerprint in message["fingerprints"].items():
            self.sources[owner] = Tree.of(message, fingerprint)
        self.room = count(message["room"])
        self.based = message["based"] is True
        self.unpackable = words(message["unpackable"])
        self.attributed = count(message["attributed"])
        bulk = self._means.bulk
        bulk.entries, bulk.size = count(message["entries"]), count(message["size"])
        bulk.sparse, bulk.unpackable = count(message["sparse"]), self.unpackable
        self.rsync = rsync_facts(message["rsync"])
        self.hash = words(message["hash"]) or BLAKE2B
        if mounts := list(message["mounts"]):
            yield Publish(Notice(other_file_systems(mounts)))
        if self._options.delete and message["empty"] is not False:
            remedy = "look at the source; to empty a directory, use `nile exec`"
            reason = "the source is empty" + ", and --delete is given" * (not self._options.release)
            yield from self._stop(Judgement(Verdict.FAILED, Code.SOURCE, reason, remedy))
            return
        for target in self._targets.values():
            if target.step is Step.OPENED:
                target.step = Step.SCANNING
                yield self._scan(target)

    # A host.

    def open(self, target: Target) -> Tell:
        """Have its worker take the destination."""
        target.step = Step.OPENING
        fields = {
            "dest": self._options.dest,
            "write": self._options.copies,
            "delete": self._options.delete and not self._options.release,
            "release": self._options.release,
            "run": self._means.run,
        }
        if self._options.streams and not self._options.plain:
            fields["streams"] = True
        if self._options.may_swarm:
            fields["python"] = self._options.peer_python
        return self._asking.ask(target.id, "open", fields, self._opened)

    def _opened(self, message: dict[str, Any], t: float) -> Errands:
        target = self._targets[message["from"]]
        if message.get("code") == Code.BUSY and t < self._options.wait_s:
            target.step = Step.WAITING
            return
        if message.get("code"):
            yield from self._fail(target, told(message))
            return
        target.owner = self._owner(count(message["uid"]))
        target.free = count(message["free"])
        target.rsync = rsync_facts(message["rsync"])
        target.able = message.get("able") is True
        target.hash = SHA256 if message.get("hash") == SHA256 else BLAKE2B
        if self._options.release:
            target.current, target.whole = release_facts(message["release"])
        target.step = Step.OPENED
        if self.sources:
            target.step = Step.SCANNING
            yield self._scan(target)

    def _owner(self, uid: int) -> str:
        if uid or self._options.chown:
            return "none"
        return "numbers" if self._options.numeric_ids else "names"

    def check(self, target: Target) -> Errands:
        """It got its copy: look at it."""
        target.step = Step.CHECKING
        yield self._scan(target)

    def _scan(self, target: Target) -> Tell:
        ask = {"roots": self._means.names, "owner": target.owner, **self._owners, **self._terms()}
        return self._asking.ask(target.id, "scan", ask, self._scanned)

    def _scanned(self, message: dict[str, Any], t: float) -> Errands:
        target = self._targets[message["from"]]
        if message.get("code"):
            yield from self._fail(target, told(message))
            return
        target.found = Tree.of(message, message["fingerprint"], message["like"])
        # Where the source is what is in a directory, the destination itself is listed.
        target.empty = target.found.entries <= (b"" in self._means.names)
        equal = target.found.fingerprint == self.sources[target.owner].fingerprint
        # Owners that are asked for aren't compared: a copy is made in any case.
        unsure = self._options.chown and target.step is Step.SCANNING and self._options.copies
        if equal and (not unsure or target.whole):
            target.step = Step.SAME
        else:
            target.step = Step.COMPARING if target.step is Step.CHECKING else Step.DIFFERS
