"""The exit code of a run, as the documentation has it."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest

from nile.cli import ending
from nile.errors import BugError, NileError, StoreError, UsageError
from nile.events import Code, HostResult, Verdict
from nile.report import exit_code, exits

OK = HostResult("a", Verdict.OK, rc=0)
FAILED = HostResult("b", Verdict.FAILED, rc=3)
KILLED = HostResult("c", Verdict.FAILED, signal=9)
LEFT = HostResult("d", Verdict.FAILED, rc=0)
CANCELLED = HostResult("e", Verdict.CANCELLED)
UNREACHED = [HostResult("f", verdict) for verdict in (Verdict.UNREACHABLE, Verdict.LOST, Verdict.TIMEOUT)]


@pytest.mark.parametrize(
    ("results", "code"),
    [
        ([], 0),
        ([OK], 0),
        ([OK, FAILED], 1),
        ([OK, KILLED], 1),
        ([OK, CANCELLED], 1),
        *[([OK, result], 4) for result in UNREACHED],
        *[([FAILED, result, CANCELLED], 4) for result in UNREACHED],
    ],
)
def test_the_worst_verdict_decides(results: list[HostResult], code: int) -> None:
    for order in itertools.permutations(results):
        assert exit_code(order) == code


@pytest.mark.parametrize(
    ("results", "code"),
    [
        ([], 0),
        ([OK], 0),
        ([OK, FAILED, HostResult("g", Verdict.FAILED, rc=2)], 3),
        ([FAILED, KILLED], 255),
        ([OK, CANCELLED], 255),
        ([OK, UNREACHED[0]], 255),
        ([OK, LEFT], 1),
        ([HostResult("g", Verdict.FAILED, rc=3 << 30)], 255),
        ([HostResult("g", Verdict.OK, code=Code.GONE_AWAY)], 0),
        ([HostResult("g", Verdict.FAILED, rc=0, code=Code.NOT_REBOOTED)], 1),
    ],
)
def test_largest_status(results: list[HostResult], code: int) -> None:
    assert exit_code(results, largest_rc=True) == code


def test_an_interrupt_wins_over_everything() -> None:
    assert exit_code([OK, FAILED, *UNREACHED], interrupted=True) == 130
    assert exit_code([OK], largest_rc=True, interrupted=True) == 130


def test_the_documentation_has_every_code() -> None:
    text = (Path(__file__).parents[2] / "docs" / "reference" / "exit-codes.md").read_text()
    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", text, flags=re.MULTILINE)}
    ours = {exits.OK, exits.FAILED, exits.UNREACHED, exits.INTERRUPTED}
    shell = {ending.EXIT_FAILED, ending.EXIT_BUG, ending.EXIT_INTERRUPTED, ending.EXIT_BROKEN_PIPE}
    errors = {error.exit_code for error in (NileError, UsageError, StoreError, BugError)}
    assert documented == ours | shell | errors
