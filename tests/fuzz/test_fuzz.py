"""The models under hypothesis, the same walks every time; `make soak` goes on from there with coverage."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nile.agent import wire
from nile.agent.wire import Decoder, Frame, WireError
from tests.fuzz.choices import Drawn
from tests.fuzz.core_model import CoreModel
from tests.fuzz.link_model import LinkModel
from tests.fuzz.model import state_machine
from tests.fuzz.relay_model import RelayModel
from tests.fuzz.root_model import RootModel
from tests.fuzz.soak import TARGETS
from tests.fuzz.wire_model import check_any

SAME = settings(derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))


@settings(SAME, max_examples=300)
@given(st.binary(max_size=400), st.data())
def test_the_decoder(data: bytes, choices: st.DataObject) -> None:
    check_any(Drawn(choices), data)


TestLink = state_machine(LinkModel).TestCase
TestLink.settings = settings(SAME, max_examples=60, stateful_step_count=40)
TestCore = state_machine(CoreModel).TestCase
TestCore.settings = settings(SAME, max_examples=150, stateful_step_count=40)
TestRelay = state_machine(RelayModel).TestCase
TestRelay.settings = settings(SAME, max_examples=100, stateful_step_count=50)
TestRoot = state_machine(RootModel).TestCase
TestRoot.settings = settings(SAME, max_examples=60, stateful_step_count=50)


def peak_of(data: bytes) -> int:
    """How many bytes it takes at most to decode a value, or to find that it is none."""
    tracemalloc.start()
    try:
        wire.loads(data)
    except WireError:
        pass
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return peak


@pytest.mark.parametrize(
    "data",
    [
        b"l" + (99_999).to_bytes(4, "big") + b"n" * 99_999,
        b"l" + (19_999).to_bytes(4, "big") + b"l\0\0\0\0" * 19_999,
        b"d" + (9_999).to_bytes(4, "big") + b"s\0\0\0\4abcdn" * 9_999,
        b"l\0\0\0\1" * 20_000,
        b"l\xff\xff\xff\xff" * 20_000,
        b"s\xff\xff\xff\xff" * 20_000,
    ],
)
def test_a_value_takes_no_more_than_a_few_times_its_bytes(data: bytes) -> None:
    assert peak_of(data) < 32 * len(data)


@pytest.mark.parametrize("limit", [wire.MAX_FRAME_UP, wire.MAX_FRAME_DOWN])
def test_a_length_alone_takes_no_memory(limit: int) -> None:
    """A header that promises a large frame, and then one byte of it after the other."""
    decoder = Decoder(limit)
    head = Frame(wire.RESULT, body=bytes(limit - 10)).encode()[:14]
    tracemalloc.start()
    try:
        for byte in head + bytes(1000):
            assert decoder.feed(bytes([byte])) == []
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20_000


@pytest.mark.parametrize("target", TARGETS)
def test_an_input_is_replayed_without_the_fuzzer(target: str, tmp_path: Path) -> None:
    """By the command that a failing one is named with."""
    file = tmp_path / "input"
    file.write_bytes(bytes(range(200)))
    command = [sys.executable, "-m", "tests.fuzz.soak", "--replay", target, str(file)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "no rule is broken\n")
