"""Bugs planted on purpose, one at a time: walks by chance have to find each, and to find nothing without."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from typing import Any

import pytest

from nile.agent import core, relay, wire
from nile.agent.child import Child
from nile.agent.core import Core
from nile.agent.link import Link
from nile.agent.relay import Relay
from nile.agent.wire import Decoder, Frame
from nile.cascade import Publish, machine
from nile.cascade.hosts import Contact, Host
from nile.cascade.machine import Cascade
from nile.cascade.mending import Mender
from nile.events import HostOutput
from tests.fuzz.soak import TARGETS

MOST_WALKS = 400
Patch = pytest.MonkeyPatch
Plant = Callable[[Patch], None]


def finds(target: str, walks: int) -> int | None:
    """The first of so many walks by chance that breaks a rule, or None."""
    walk, longest = TARGETS[target].load(), TARGETS[target].longest
    for seed in range(walks):
        try:
            walk(random.Random(seed).randbytes(longest))
        except Exception:  # whatever it is, it is a find
            return seed
    return None


# The wire and the link.


def decodes_frames_of_any_size(patch: Patch) -> None:
    decoder = Decoder.__init__
    patch.setattr(Decoder, "__init__", lambda self, limit: decoder(self, 1 << 40))


def lets_struct_errors_out(patch: Patch) -> None:
    patch.setattr(wire, "loads", lambda data: wire._load(data, 0, 0)[0])


def follows_paths_of_any_length(patch: Patch) -> None:
    def parse(buffer: bytearray, start: int, end: int) -> Frame:
        _, kind, hops, origin, epoch = wire._HEADER.unpack_from(buffer, start)
        path = struct.unpack_from(f"!{hops}I", buffer, start + wire._HEADER.size)
        return Frame(kind, origin, epoch, path, bytes(buffer[start + wire._HEADER.size + 4 * hops : end]))

    patch.setattr(wire, "_parse", parse)


def sends_beyond_the_window(patch: Patch) -> None:
    pull = Link.pull

    def unbounded(self: Link, now: float) -> bytes:
        self.granted = 1 << 60
        return pull(self, now)

    patch.setattr(Link, "pull", unbounded)


def takes_more_than_the_window(patch: Patch) -> None:
    patch.setattr(Link, "_is_for_above", lambda _, frame: frame.type not in wire.LINK_TYPES)


# The agent's core.


def starts_again(patch: Patch) -> None:
    start = Core._start

    def twice(self: Core, now: float) -> Any:
        self.state = core.HELD if self.state == core.RUNNING else self.state
        return start(self, now)

    patch.setattr(Core, "_start", twice)


def obeys_old_attachments(patch: Patch) -> None:
    frame = Core.frame
    patch.setattr(
        Core, "frame", lambda self, it, now: frame(self, Frame(it.type, it.origin, 0, it.path, it.body), now)
    )


def believes_any_acknowledgement(patch: Patch) -> None:
    def acknowledged(self: Core, offsets: dict[str, Any]) -> Any:
        for name in core.STREAMS:
            self.acked[name] = offsets.get(name, 0)
        return []

    patch.setattr(Core, "_acknowledged", acknowledged)


def starts_where_one_was_started(patch: Patch) -> None:
    claimed = Core.claimed
    patch.setattr(Core, "claimed", lambda self, trace, now: [*claimed(self, trace, now), *self._start(now)])


def outlives_its_lease(patch: Patch) -> None:
    patch.setattr(Core, "_lease_over", lambda *_: False)


def leaves_without_its_command(patch: Patch) -> None:
    patch.setattr(Core, "dissolve", lambda self, _: [self._leave()])


# The relay.


def lets_children_speak_for_others(patch: Patch) -> None:
    patch.setattr(Child, "speaks_for", lambda _, frame: frame.type in wire.UP_TYPES and not frame.path)


def lets_children_command(patch: Patch) -> None:
    patch.setattr(Child, "speaks_for", lambda self, frame: frame.origin in {*self.below, 0})


def logs_in_without_a_permit(patch: Patch) -> None:
    patch.setattr(Relay, "_wanted", lambda *_: True)
    child = Child.__init__
    patch.setattr(Child, "__init__", lambda self, entry, permitted: child(self, entry, True))


def complains_again_and_again(patch: Patch) -> None:
    report = Relay._report

    def again(self: Relay, child: Child, frame: Frame) -> Any:
        self._reported.clear()
        return report(self, child, frame)

    patch.setattr(Relay, "_report", again)


def forgets_to_hang_up(patch: Patch) -> None:
    adopt = Relay.adopt

    def kept(self: Relay, entries: Any, now: float) -> Any:
        return [each for each in adopt(self, entries, now) if each[0] != "hangup"]

    patch.setattr(Relay, "adopt", kept)


def shows_errors_of_the_handshake(patch: Patch) -> None:
    patch.setattr(relay, "HandshakeError", ZeroDivisionError)


def passes_its_own_channels_on(patch: Patch) -> None:
    patch.setattr(Relay, "_own_channel", lambda self, child, frame: [("pass", frame, child.id)])


def lets_any_child_into_a_channel(patch: Patch) -> None:
    def own(self: Relay, child: Child, frame: Frame) -> Any:
        known = int.from_bytes(frame.body[:4], "big") in self.channels
        return [("reached", frame)] * known + self.take(child.id, len(frame.body))

    patch.setattr(Relay, "_own_channel", own)


def keeps_the_room_of_a_channel_that_is_over(patch: Patch) -> None:
    own = Relay._own_channel

    def kept(self: Relay, child: Child, frame: Frame) -> Any:
        known = int.from_bytes(frame.body[:4], "big") in self.channels
        return own(self, child, frame) if known else []

    patch.setattr(Relay, "_own_channel", kept)


# The root; what is too rare for chance is told in test_found.


def heeds_no_epoch(patch: Patch) -> None:
    frame = Cascade._frame

    def current(self: Cascade, it: Frame, t: float) -> Any:
        host = self._tree.hosts.get(it.origin)
        return frame(self, Frame(it.type, it.origin, host.epoch if host else 0, it.path, it.body), t)

    patch.setattr(Cascade, "_frame", current)


def publishes_output_at_any_offset(patch: Patch) -> None:
    def output(self: Cascade, host: Host, body: bytes, t: float) -> Any:
        stream, offset, data = wire.unpack_output(body)
        host.received[core.STREAMS[stream]] = offset + len(data)
        event = HostOutput(host.name, core.STREAMS[stream], offset, data)
        return [*self._started(host, t), Publish(event, host.id)]

    patch.setattr(Cascade, "_output", output)


def takes_output_without_bound(patch: Patch) -> None:
    patch.setattr(machine, "WINDOW", 1 << 40)


def judges_twice(patch: Patch) -> None:
    patch.setattr(Host, "over", property(lambda self: not self.node.asked))


def chokes_on_values(patch: Patch) -> None:
    patch.setattr(machine, "WireError", ZeroDivisionError)


def judges_before_it_has_read_all(patch: Patch) -> None:
    """What an agent says of its children was looked at last, when the verdict was there and not yet told."""
    state, claimed = Cascade._state, Mender.claimed

    def late(self: Cascade, host: Host, frame: Frame, t: float) -> Any:
        body = frame.fields()
        if host.state_due and not host.ended and host.contact is Contact.UP:
            claimed(self._mender, host, str(body["trace"]), body["held"] is True, t)
        return state(self, host, frame, t)

    patch.setattr(Cascade, "_state", late)


PLANTS: dict[str, tuple[Plant, ...]] = {
    "wire": (decodes_frames_of_any_size, lets_struct_errors_out, follows_paths_of_any_length),
    "link": (sends_beyond_the_window, takes_more_than_the_window),
    "core": (
        starts_again,
        obeys_old_attachments,
        believes_any_acknowledgement,
        starts_where_one_was_started,
        outlives_its_lease,
        leaves_without_its_command,
    ),
    "relay": (
        lets_children_speak_for_others,
        lets_children_command,
        logs_in_without_a_permit,
        complains_again_and_again,
        forgets_to_hang_up,
        shows_errors_of_the_handshake,
        passes_its_own_channels_on,
        lets_any_child_into_a_channel,
        keeps_the_room_of_a_channel_that_is_over,
    ),
    "root": (
        heeds_no_epoch,
        publishes_output_at_any_offset,
        takes_output_without_bound,
        judges_twice,
        chokes_on_values,
        judges_before_it_has_read_all,
    ),
}
ALL = [
    pytest.param(target, plant, id=plant.__name__) for target, plants in PLANTS.items() for plant in plants
]


@pytest.mark.parametrize("target", PLANTS)
def test_without_a_planted_bug_nothing_is_found(target: str) -> None:
    assert finds(target, 100) is None


@pytest.mark.parametrize(("target", "plant"), ALL)
def test_a_planted_bug_is_found(target: str, plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    assert finds(target, MOST_WALKS) is not None
