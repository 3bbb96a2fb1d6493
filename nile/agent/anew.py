"""What an agent says when it is attached anew, and what is said to it alone: pure.

Sent as source, for in a quiet run nobody needs it.
"""

from nile.agent import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict

    from nile.agent.core import Core, Effects


def resume(core: "Core", trace: str, have: "Dict[str, Any]") -> "Effects":
    """Say where it stands, and again what the root hasn't got; `have` are absolute offsets by stream."""
    effects: "Effects" = [
        ("state", {"trace": trace, "held": core.state == "held", "ask": have.get("ask", 0)})
    ]
    effects += _again(core, core.spawn_said)
    effects += core.input_taken(core.taken) if core.taken else []
    for name, kept in core.kept.items():
        start = core.acked[name]
        for at in range(max(have[name], start), start + len(kept), wire.CHUNK):
            effects.append(core.output_frame(name, at, bytes(kept[at - start : at - start + wire.CHUNK])))
    return effects + _again(core, core.result_said)


def tell(core: "Core", body: bytes) -> "Effects":
    """More for this command's standard input: 8 bytes of offset, bytes. What got lost is said again."""
    if int.from_bytes(body[:8], "big") != core.told_to or len(body) <= 8:
        return []
    core.told_to += len(body) - 8
    return [("input", body[8:])]


def _again(core: "Core", said: "Effects") -> "Effects":
    """The same frames, in the name of the attachment that there is now."""
    return [("up", wire.Frame(frame.type, core.id, core.epoch, (), frame.body)) for _, frame in said]
