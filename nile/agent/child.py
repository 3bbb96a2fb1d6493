"""A child as its parent sees it: pure."""

from nile.agent import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Iterable, Iterator, Optional, Tuple

    from nile.agent.handshake import Handshake
    from nile.agent.link import Link

WAITING, LOGIN, UP, GONE = "waiting", "login", "up", "gone"


class Child:
    """A child as its parent sees it. `entry` is its part of the plan."""

    def __init__(self, entry: "Dict[str, Any]", permitted: bool) -> None:
        self.entry = entry
        self.id: "int" = entry["id"]
        self.epoch: "int" = entry["epoch"]
        self.below = set(subtree(entry))
        self.permitted = permitted
        self.state = WAITING
        self.attempts = 0
        self.not_before = 0.0
        self.deadline: "Optional[float]" = None
        self.handshake: "Optional[Handshake]" = None
        self.link: "Optional[Link]" = None
        self.dismissed = False  # it was told to end
        self.dropped: "Optional[Tuple[str, str]]" = None  # how its last attempt ended, if one follows

    def speaks_for(self, frame: wire.Frame) -> bool:
        """May this frame come from this child?"""
        if frame.type not in wire.UP_TYPES or frame.path:
            return False
        if frame.type == wire.HELLO and frame.origin == 0:
            return True
        return frame.origin in self.below


def subtree(entry: "Dict[str, Any]") -> "Iterator[int]":
    """Whom a child may speak for: itself, and whatever is or may come to be below it."""
    yield entry["id"]
    for below in entry["below"]:
        yield below
    for child in entry["children"]:
        for below in subtree(child):
            yield below


def first_due(children: "Iterable[Child]", silence: float, now: float) -> float:
    """When something is due of a child, at the earliest, unless another login begins or is put off.

    Whatever is heard later only puts it off: most frames that come in need no other look at all children.
    """
    due = [now + silence]  # of links that are to be
    for child in children:
        if child.state == LOGIN:
            due += [at for at in (child.deadline, child.not_before) if at]
        elif child.link is not None:
            due.append(child.link.last_in + silence)
    return min(due)
