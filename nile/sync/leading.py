"""Feeders of a chain are told where those wait whom they are to feed, and how they get there. Pure."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from nile.sync.asking import LOOPBACK, Errands
from nile.sync.means import Means
from nile.sync.member import Member
from nile.sync.targets import count, words
from nile.topology.model import ROOT_ID

MOST_UNBOUND = 1
"""Signatures that aren't bound to a host, for one feeder in one run: it may use it elsewhere."""


class Leading:
    """Ways of one stream, which the root serves under the number `recording`.

    `root_said(member, message, t)` hears the root's worker, of what it serves to one; `no_way(member,
    reason, t)`: the root has none to one.
    """

    def __init__(
        self,
        means: Means,
        recording: int,
        identity: bytes,
        root_said: Callable[[Member, dict[str, Any], float], Errands],
        no_way: Callable[[Member, str, float], Errands],
    ) -> None:
        self._asking = means.asking
        self._paths = means.paths
        self._recording = recording
        self._identity = identity
        self._root_said = root_said
        self._no_way = no_way
        self._links: dict[int, Member] = {}
        """By the number of the words by which its feeder was told of it, as long as these hold."""
        self._looking: set[Member] = set()

    @property
    def looking(self) -> bool:
        """Is a host about to find another one through ssh? It takes longer than to see a port closed."""
        return bool(self._looking)

    def holder(self, link: int) -> Member | None:
        """To whom words of that number lead still."""
        return self._links.get(link)

    def end(self, member: Member) -> None:
        """Words that led to it hold no more."""
        self._links.pop(member.link, None)
        member.link = 0
        self._looking.discard(member)

    def found(self, member: Member) -> None:
        """Its feeder has come."""
        member.found = True
        self._looking.discard(member)

    def lost(self, member: Member) -> None:
        """Its feeder hasn't come, or is gone."""
        self._looking.discard(member)

    def prepare(self, member: Member) -> dict[str, Any]:
        """It is to wait for its feeder: what it has to know of the way by which that comes."""
        member.found = member.signing = False
        member.by_ssh = self._paths.by_ssh(member.giver, member.target.id)
        if member.by_ssh and member.feeder is not None:
            self._looking.add(member)
        return {"loopback": member.by_ssh}

    def lead(self, member: Member, port: int) -> Errands:
        """It waits at that port."""
        if member.by_ssh and member.feeder is None:
            reach = self._asking.reach(ROOT_ID, member.target.id, port, partial(self._reached, member))
            member.asked = reach.number
            yield reach
        else:
            address = self._paths.address(member.giver, member.target.id)
            yield from self._tell(member, {"address": address, "port": port})

    def _reached(self, member: Member, message: dict[str, Any], t: float) -> Errands:
        """There is a port at the root that leads to it, or there is none."""
        if not member.inside or message["n"] != member.asked:
            return
        member.asked = 0
        if "port" in message:
            where = {"address": LOOPBACK, "port": count(message["port"]), "loopback": True}
            yield from self._tell(member, where)
        else:
            yield from self._no_way(member, words(message["reason"]), t)

    def _tell(self, member: Member, where: dict[str, Any]) -> Errands:
        feeder, fields = member.feeder, {**where, "secret": member.secret}
        if feeder is None:
            fields |= {"what": self._recording, "identity": self._identity}
            tell = self._asking.ask(ROOT_ID, "serve", fields, partial(self._root_said, member))
        else:
            fields["what"] = feeder.number
            if member.by_ssh:
                fields["login"] = self._paths.login(member.giver, member.target.id)
            tell = self._asking.ask(feeder.target.id, "successor", fields, None)
            feeder.told_last = False
        member.link = tell.message["n"]
        self._links[member.link] = member
        yield tell

    # Signatures for logins of feeders.

    def sign(self, feeder: Member, message: dict[str, Any]) -> Errands:
        """An ssh that leads to one asks for a signature; raises KeyError, TypeError or ValueError."""
        link, serial = count(message["link"]), count(message["serial"])
        binds, request = message["binds"], message["request"]
        if not isinstance(binds, list) or not all(isinstance(each, bytes) for each in (request, *binds)):
            raise TypeError("a request for a signature that is none")
        member = self._links.get(link)
        if member is None or member.feeder is not feeder:
            return  # nobody is to be led there any more
        if not member.by_ssh or member.found or member.signing:
            raise ValueError("a signature for no login")
        member.signing = True
        request_of = {"what": feeder.number, "link": link, "serial": serial}
        answer = partial(self._signed, member, feeder.target.id, request_of)
        left = MOST_UNBOUND - self._paths.unbound[feeder.target.id]
        yield self._asking.vouch(member.target.id, binds, request, left, answer)

    def _signed(
        self, member: Member, asked_by: int, request: dict[str, Any], message: dict[str, Any], t: float
    ) -> Errands:
        """The root has decided. (Who logs in there by now may be another one.)"""
        self._paths.unbound[asked_by] += count(message["spent"])
        feeder = member.feeder
        if request["link"] != member.link or feeder is None:
            return
        member.signing = False
        fields = {**request, "answer": message["answer"], "refused": message["refused"]}
        yield self._asking.ask(feeder.target.id, "signed", fields, None)
