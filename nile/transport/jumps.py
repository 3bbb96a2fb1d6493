"""Jump hosts that ssh_config has reached through other jump hosts.

ssh makes such a login by a command of its own, in which none of the options
stands that Nile gives it: that one might ask things, or take any host key. So
the whole way is written out, and each hop of it is logged in to alike
(see `nile.transport.proxy.jump_command`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from nile.errors import SshConfigError
from nile.transport.proxy import DIRECT, host_and_port
from nile.transport.sshquery import Effective, Query, SshQuery, Values
from nile.transport.tokens import expand

MOST_HOPS = 16


def with_whole_ways(effective: Mapping[str, Effective], query: SshQuery) -> dict[str, Effective]:
    """The same answers, in which ProxyJump names every hop, the first one first.

    Hosts that shared `values` still do where their ways are the same. Raises SshConfigError.
    """
    jumps = _Jumps(query)
    firsts = {name: jumps.first(name, answer) for name, answer in effective.items() if _jump(answer)}
    jumps.look(firsts.values())
    shared: dict[tuple[int, str], Values] = {}
    found = dict(effective)
    for name, first in firsts.items():
        if before := jumps.before(first):
            answer = effective[name]
            way = ",".join([*before, _jump(answer)])
            values = shared.setdefault((id(answer.values), way), {**answer.values, "proxyjump": (way,)})
            found[name] = replace(answer, values=values)
    return found


def _jump(answer: Effective) -> str:
    """Its ProxyJump; empty where there is none."""
    said = answer.one("proxyjump")
    return "" if said == "none" else said


@dataclass(frozen=True, slots=True)
class _Hop:
    user: str
    host: str
    port: str

    @classmethod
    def of(cls, text: str) -> _Hop:
        user, _, place = text.strip().removeprefix("ssh://").rpartition("@")
        return cls(user, *host_and_port(place))

    def query(self) -> Query:
        said = (("User", self.user), ("Port", self.port))
        words = tuple(word for keyword, value in said if value for word in ("-o", f"{keyword}={value}"))
        return Query(self.host, words)


class _Jumps:
    """What ssh_config says of jump hosts."""

    def __init__(self, query: SshQuery) -> None:
        self._query = query
        self._ways: dict[_Hop, tuple[str, ...]] = {}
        """Each with the hops before it, as its own ProxyJump has them."""

    def first(self, name: str, answer: Effective) -> _Hop:
        """The first hop on the way to a host of that name."""
        return _Hop.of(_expanded(_jump(answer).split(",")[0], name, answer))

    def look(self, hops: Iterable[_Hop]) -> None:
        """Ask for these, and for those before them."""
        unknown = set(hops)
        for _ in range(MOST_HOPS + 2):  # a rule with tokens may name others without end
            self._ask(unknown)
            unknown = {_Hop.of(self._ways[hop][0]) for hop in unknown if self._ways[hop]} - self._ways.keys()

    def _ask(self, hops: set[_Hop]) -> None:
        """A name may stand there for several users or ports: one of them at a time."""
        left = hops
        while left:
            batch = {hop.host: hop for hop in left}
            answers = self._query.ask([hop.query() for hop in batch.values()])
            for host, hop in batch.items():
                words = _jump(answers[host]).split(",") if _jump(answers[host]) else []
                self._ways[hop] = tuple(_expanded(word.strip(), host, answers[host]) for word in words)
            left = left - set(batch.values())

    def before(self, hop: _Hop) -> list[str]:
        """All hops before this one, in order, as words for a command with tokens.

        A rule for all hosts may name a jump host for itself: then that one is logged in to directly.
        """
        found: list[str] = []
        seen, nearest = {hop.host}, hop.host
        while way := self._ways.get(hop):
            if not seen.isdisjoint(_Hop.of(word).host for word in way):
                found.insert(0, DIRECT)
                break
            found[:0] = [word.replace("%", "%%") for word in way]
            if len(found) > MOST_HOPS:
                raise SshConfigError(
                    f"there are more than {MOST_HOPS} jump hosts on the way to {nearest}",
                    where="ssh configuration, ProxyJump",
                    remedy="See whether they name each other.",
                )
            hop = _Hop.of(way[0])
            seen |= {_Hop.of(word).host for word in way}
        return found


def _expanded(text: str, name: str, answer: Effective) -> str:
    values = {"h": answer.hostname, "n": name, "p": answer.one("port", "22")}
    return expand(text, {**values, "r": answer.one("user")})
