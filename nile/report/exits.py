"""The exit code of a run."""

from __future__ import annotations

from collections.abc import Iterable

from nile.events import HostResult, Verdict

OK = 0
FAILED = 1
UNREACHED = 4
INTERRUPTED = 130
NO_STATUS = 255

UNREACHED_VERDICTS = frozenset({Verdict.UNREACHABLE, Verdict.LOST, Verdict.TIMEOUT})


def exit_code(results: Iterable[HostResult], *, largest_rc: bool = False, interrupted: bool = False) -> int:
    """What a run's verdicts amount to.

    130 where the run was interrupted, whatever else; 4 where a host was
    unreachable, lost or timed out; 1 where a command failed, or was cancelled
    in a run that nobody interrupted (it was asked for and wasn't carried
    out); else 0. With `largest_rc` (`-S`): the largest exit status of all
    hosts, 255 where a host has none.
    """
    if interrupted:
        return INTERRUPTED
    if largest_rc:
        return max((_status(result) for result in results), default=OK)
    verdicts = {result.verdict for result in results}
    if verdicts & UNREACHED_VERDICTS:
        return UNREACHED
    return FAILED if verdicts - {Verdict.OK} else OK


def _status(result: HostResult) -> int:
    """A host's exit status as a process can end with it; 255 stands for none.

    A host whose command ended with 0 and that isn't ok all the same (what it
    left behind was forbidden) must not pass for one that is.
    """
    if result.rc is None and result.verdict is Verdict.OK:
        return OK  # it went away, as it was to
    if result.rc is None or not 0 <= result.rc <= NO_STATUS:
        return NO_STATUS
    return FAILED if result.rc == OK and result.verdict is not Verdict.OK else result.rc
