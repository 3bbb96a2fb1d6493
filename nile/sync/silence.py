"""Whether the worker of a host that has to speak hangs. Pure."""

from __future__ import annotations

from nile.cascade.tree import Tree as Hosts
from nile.cascade.verdicts import Judgement
from nile.sync.asking import Asking
from nile.sync.judging import SILENT_S, silent
from nile.sync.targets import Target


class Silence:
    """It says nothing for too long, or for ever that it is at it; who is out of reach can't say anything.

    `what` is said to hang, perhaps, where it says nothing.
    """

    def __init__(self, hosts: Hosts, asking: Asking, what: str) -> None:
        self._hosts = hosts
        self._asking = asking
        self._what = what

    def judge(
        self, target: Target, t: float, known: int = 0, patience_s: float = SILENT_S
    ) -> Judgement | None:
        """The verdict on it, or None; to be asked every second. `known`: see `Asking.stands_still`."""
        if not self._hosts.attached(target.id):
            self._asking.expect(target.id)
        if self._asking.begins_anew(target.id):
            target.heard_s = t
        still = self._asking.stands_still(target.id, t, known)
        return silent(target, t, self._what, still, patience_s)
