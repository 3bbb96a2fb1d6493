"""Verdicts on hosts that can't have a copy, and on workers of no use. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nile.cascade.verdicts import Judgement, code_of
from nile.events import Code, Verdict
from nile.sync.options import SyncOptions
from nile.sync.targets import Difference, Target, too_deep, words
from nile.topology.amounts import size

OWN_FAULT = frozenset({Code.DISK_FULL, Code.NOT_WRITABLE})
"""Why a copy comes to nothing at a host, whichever way it takes."""
SILENT_S = 60.0
"""A worker that looks at files says every few seconds that it lives; one that hangs says nothing."""
MOST_TO_RSYNC = 2**31 - 1
"""What rsync takes for a number of files."""
INSTALL = "install rsync (3.1 or later) there"
STALLED_S = 240.0
"""Two rsyncs hear from each other more often, and end where they don't: then it is a worker that hangs."""

HAS_MORE = Judgement(
    Verdict.FAILED, Code.DIFFERS, "it has files that the source doesn't have", "--delete takes them away"
)
STANDS_STILL = Judgement(
    Verdict.FAILED, Code.AGENT, "its worker says that it is at it, but doesn't get on: its disk may hang"
)


def unfit(
    target: Target, estimate: Difference, room: int, unpackable: str, options: SyncOptions
) -> Judgement | None:
    """Why nothing can be copied to a host.

    `room` is how many bytes the source takes on a disk, `unpackable` why no archive can have all of it.
    """
    coming = min(estimate.move, room)
    most = options.max_delete
    if target.whole:
        reason = f"release {options.release} is there already, and isn't as the source is"
        return Judgement(Verdict.FAILED, Code.RELEASE, reason, "give it another name")
    needs_rsync = _why_rsync(target, estimate, unpackable, options)
    if target.rsync is None and needs_rsync is not None:
        return Judgement(Verdict.FAILED, Code.NO_RSYNC, f"no rsync there{needs_rsync}", INSTALL)
    if coming > target.free:
        reason = f"{size(coming)} are to come, and {size(target.free)} are free"
        return Judgement(Verdict.FAILED, Code.DISK_FULL, reason)
    if options.delete and most is not None and estimate.extra > most:
        reason = f"{estimate.extra} files would be deleted, and {most} may be"
        return Judgement(Verdict.FAILED, Code.MAX_DELETE, reason)
    return None


def _why_rsync(target: Target, estimate: Difference, unpackable: str, options: SyncOptions) -> str | None:
    """Why an archive won't do, as it goes on; None where it will."""
    if options.swarms and (estimate.only_more or not too_deep(estimate.paths)):
        return None  # what is in the torrent depends on what others lack
    if not (options.streams or options.swarms):
        return ""
    if options.streams and not target.has_nothing:
        return ", and it has something already"
    return f", and no archive of the source: {unpackable}" if unpackable else None


def not_unpacked(code: str, reason: str, left_out: str) -> Judgement:
    """Why a host without rsync got nothing by an archive; `left_out`: why the stream passed it by, or ""."""
    if left_out:
        return Judgement(Verdict.FAILED, Code.NO_RSYNC, f"no rsync there, and no stream: {left_out}", INSTALL)
    return Judgement(Verdict.FAILED, code_of(code, Code.COPY), reason, "" if code in OWN_FAULT else INSTALL)


def source_changed(reason: str) -> Judgement:
    """Nobody can get what isn't any more as it was."""
    return Judgement(Verdict.FAILED, Code.SOURCE_CHANGED, reason, "run it again once nobody writes there")


def no_other_way(reason: str) -> Judgement:
    """Why a host without rsync got nothing by a swarm."""
    return Judgement(Verdict.FAILED, Code.NO_RSYNC, f"no rsync there, and no swarm: {reason}", INSTALL)


def came_from_nowhere(extra: int, before: int) -> Judgement:
    """Of a host that got a part of a stream that may have been forged: nothing is deleted, so this stays."""
    reason = (
        f"{extra} files are there that the source doesn't have, and {before} were: "
        "whoever passed a stream on to it may have made up the others"
    )
    remedy = "look at them, and take away what isn't yours; a second run takes for given what is left"
    return Judgement(Verdict.FAILED, Code.DIFFERS, reason, remedy)


def told(message: Mapping[str, Any], code: Code | None = None) -> Judgement:
    """Why a worker can't do what it was asked, by its own code or by ours."""
    word, reason, remedy = words(message["code"]), words(message["reason"]), words(message.get("remedy", ""))
    return Judgement(Verdict.FAILED, code or code_of(word, Code.COPY), reason, remedy)


def broke_rules(reason: str) -> Judgement:
    """A worker that says what it may not say is of no use."""
    return Judgement(Verdict.FAILED, Code.AGENT, f"its worker broke the rules: {reason}")


def silent(
    target: Target, t: float, what: str, still: bool = False, patience_s: float = SILENT_S
) -> Judgement | None:
    """Of one that has to speak: where it hasn't for too long, `what` may hang there; or it stands `still`."""
    if t - target.heard_s <= patience_s:
        return STANDS_STILL if still else None
    reason = f"its worker has said nothing for {patience_s:.0f} s: {what} may hang"
    return Judgement(Verdict.FAILED, Code.AGENT, reason)


def stalled(of: str, seconds: float, why: str = "") -> Judgement:
    """Nothing was heard for so long `of` what a host gives or gets."""
    return Judgement(Verdict.FAILED, Code.AGENT, f"nothing was heard of {of} for {seconds:.0f} s{why}")


def hangs(why: str) -> Judgement:
    """Of a worker that doesn't say what it has to say."""
    return Judgement(Verdict.FAILED, Code.AGENT, f"its worker hangs: {why}")
