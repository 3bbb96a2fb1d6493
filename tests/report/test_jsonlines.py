"""JSON Lines keep the documented contract, and lose no byte."""

from __future__ import annotations

import base64
import copy
import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nile.events import (
    Code,
    CopyProgress,
    Event,
    HostCopy,
    HostOutput,
    HostResult,
    HostStarted,
    HostUp,
    Leftover,
    Notice,
    RunEnded,
    RunStarted,
    Stall,
    SwarmHost,
    SwarmLimits,
    SwarmProgress,
    SwarmState,
    Verdict,
)
from nile.options import ExecOptions
from nile.options import Leftover as LeftoverPolicy
from nile.report import JsonLines, jsonlines
from tests.report.schemacheck import violations
from tests.report.screens import Caught

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
SCHEMA: dict[str, Any] = json.loads((REFERENCE / "events.schema.json").read_text())
Line = dict[str, Any]


class Recorded(dict[tuple[str, str], bytes]):
    """What a store would have: output by host and stream."""

    def read(self, host: str, stream: str, limit: int) -> tuple[bytes, bool]:
        data = self.get((host, stream), b"")
        return data[:limit], len(data) > limit


def test_settings_are_as_published() -> None:
    """Of a run with a scratch of its own size, and whose leftovers are to stay."""
    told = ExecOptions("uptime", leftover=LeftoverPolicy.DETACH, scratch_bytes=512 << 20).told()
    (line,) = rendered(RunStarted("5eed", "uptime", None, ("n1",), (), 0.0, settings=told))
    assert line["settings"] == {"scratch": 512 << 20, "detach": True}
    assert violations(line, SCHEMA) == []


def rendered(*events: Event) -> list[Line]:
    caught, recorded = Caught(), Recorded()
    renderer = JsonLines(caught.screen, recorded.read)
    for event in events:
        if isinstance(event, HostOutput):
            key = (event.host, event.stream)
            recorded[key] = recorded.get(key, b"") + event.data
        renderer.handle(event)
    renderer.finish()
    assert caught.err == b""
    assert caught.out.isascii()
    assert not re.search(rb"[\x00-\x09\x0b-\x1f\x7f]", caught.out)
    lines = [json.loads(line) for line in caught.out.splitlines()]
    for line in lines:
        assert violations(line, SCHEMA) == []
    return lines


def decoded(line: Line, name: str = "data", encoding: str = "encoding") -> bytes:
    text: str = line[name]
    return base64.b64decode(text, validate=True) if line.get(encoding) == "base64" else text.encode()


def out(data: bytes, host: str = "n1", stream: str = "stdout") -> HostOutput:
    return HostOutput(host, stream, 0, data)


RESULT = HostResult(
    "n1",
    Verdict.FAILED,
    rc=None,
    signal=9,
    code=Code.SIGNAL,
    reason="killed by SIGKILL",
    remedy="look who did it",
    leftover=(Leftover(7, "sleep", killed=True), Leftover(8, "sudo", survived=True)),
    peer="libtorrent 2.1.1, carried",
    path=("root", "gw", "n1"),
    stage=2,
    t_connect_s=0.25,
    t_ready_s=0.5,
    t_end_s=1.0,
)


def test_a_whole_run_is_written_as_documented() -> None:
    lines = rendered(
        RunStarted("5eed", "uptime", None, ("n1", "n2"), ("gw",), 0.0),
        HostUp("n1", "gw", 2, 0.25, 0.5),
        HostStarted("n1", 0.6),
        out(b"text\n"),
        Notice("odd", "n2"),
        RESULT,
        RunEnded("5eed", {Verdict.FAILED: 1, Verdict.OK: 1}, 1.25),
    )
    assert lines == [
        {
            "event": "run",
            "schema": 1,
            "run": "5eed",
            "command": "uptime",
            "settings": {},
            "routes": None,
            "hosts": ["n1", "n2"],
        },
        {"event": "output", "host": "n1", "stream": "stdout", "data": "text\n"},
        {"event": "notice", "host": "n2", "text": "odd"},
        {
            "event": "result",
            "host": "n1",
            "verdict": "failed",
            "rc": None,
            "signal": 9,
            "code": "signal",
            "reason": "killed by SIGKILL",
            "leftover": [
                {"pid": 7, "name": "sleep", "killed": True, "survived": False},
                {"pid": 8, "name": "sudo", "killed": False, "survived": True},
            ],
            "peer": "libtorrent 2.1.1, carried",
            "command": None,
            "path": ["root", "gw", "n1"],
            "stage": 2,
            "t_connect_s": 0.25,
            "t_ready_s": 0.5,
            "t_end_s": 1.0,
            "stdout": "text\n",
            "stderr": "",
        },
        {
            "event": "summary",
            "hosts": 2,
            "ok": 1,
            "failed": 1,
            "timeout": 0,
            "unreachable": 0,
            "lost": 0,
            "cancelled": 0,
            "wall_s": 1.25,
        },
    ]


@pytest.mark.parametrize("verdict", Verdict)
@pytest.mark.parametrize("code", [None, *Code])
def test_every_verdict_and_code_keeps_the_schema(verdict: Verdict, code: Code | None) -> None:
    (line,) = rendered(HostResult("n1", verdict, code=code))
    assert (line["verdict"], line["code"]) == (str(verdict), code and str(code))


def test_controls_are_escaped() -> None:
    lines = rendered(out(b"\x1b[2J\x7f\r"), Notice("\x7f\x9b\u202e"))
    assert (lines[0]["data"], lines[1]["text"]) == ("\x1b[2J\x7f\r", "\x7f\x9b\u202e")


def test_what_is_not_utf8_is_flagged_and_whole() -> None:
    output, result = rendered(out(b"caf\xe9\n"), HostResult("n1", Verdict.OK, rc=0))
    assert (output["encoding"], base64.b64decode(output["data"])) == ("base64", b"caf\xe9\n")
    assert (result["stdout_encoding"], base64.b64decode(result["stdout"])) == ("base64", b"caf\xe9\n")
    assert "stderr_encoding" not in result


def test_a_character_that_is_cut_waits_for_its_rest() -> None:
    data = "é🐧".encode()
    lines = rendered(*(out(data[at : at + 1]) for at in range(len(data))))
    assert [line["data"] for line in lines] == ["é", "🐧"]


def test_a_character_without_its_rest_comes_before_the_verdict() -> None:
    lines = rendered(out(b"a\xc3"), HostResult("n1", Verdict.LOST), out(b"b\xc3", "n2"))
    assert [(line["event"], line["host"]) for line in lines] == [
        ("output", "n1"),
        ("output", "n1"),
        ("result", "n1"),
        ("output", "n2"),
        ("output", "n2"),
    ]
    assert [decoded(line) for line in lines if line["event"] == "output"] == [b"a", b"\xc3", b"b", b"\xc3"]


def test_hosts_and_streams_wait_apart() -> None:
    lines = rendered(out(b"\xc3"), out(b"x", "n2"), out(b"y", stream="stderr"), out(b"\xa9"))
    assert [line["data"] for line in lines] == ["x", "y", "é"]


@given(st.lists(st.binary(max_size=5) | st.sampled_from([b"\xc3", b"\xa9", b"\xf0\x9f", b"\x90\xa7"])))
def test_pieces_put_together_are_the_bytes(chunks: list[bytes]) -> None:
    lines = rendered(*map(out, chunks))
    assert b"".join(map(decoded, lines)) == b"".join(chunks)


@given(text=st.text(max_size=20), cuts=st.lists(st.integers(0, 80), max_size=6))
def test_utf8_is_text_however_it_is_cut(text: str, cuts: list[int]) -> None:
    data = text.encode()
    edges = sorted({0, len(data), *(min(cut, len(data)) for cut in cuts)})
    lines = rendered(*(out(data[a:b]) for a, b in itertools.pairwise(edges)))
    assert not [line for line in lines if "encoding" in line]
    assert "".join(line["data"] for line in lines) == text


@pytest.mark.parametrize(
    ("data", "kept", "truncated"),
    [
        (b"12345678", b"12345678", False),
        (b"123456789", b"12345678", True),
        ("1234567é".encode(), b"1234567", True),
        (b"123456\xff89", b"123456\xff8", True),
    ],
)
def test_a_result_has_at_most_so_much_output_and_says_what_it_left_out(
    monkeypatch: pytest.MonkeyPatch, data: bytes, kept: bytes, truncated: bool
) -> None:
    monkeypatch.setattr(jsonlines, "MAX_OUTPUT", 8)
    *_, result = rendered(out(data), HostResult("n1", Verdict.OK, rc=0))
    assert decoded(result, "stdout", "stdout_encoding") == kept
    assert result.get("stdout_truncated", False) is truncated
    assert "stderr_truncated" not in result


def test_a_result_carries_one_mebibyte_of_each_stream() -> None:
    assert jsonlines.MAX_OUTPUT == 2**20


def test_lines_come_at_once() -> None:
    caught = Caught()
    JsonLines(caught.screen, Recorded().read).handle(out(b"now"))
    assert caught.order.getvalue().endswith(b'"now"}\n')


# The contract's own papers


@pytest.mark.parametrize(
    "change",
    [
        {"rc": "3"},
        {"rc": True},
        {"verdict": "fine"},
        {"code": "bad luck"},
        {"leftover": [{"pid": 1}]},
        {"path": "root"},
        {"stage": -1},
        {"stdout_truncated": False},
        {"t_end_s": -0.5},
        {"more": 1},
        {"event": "results"},
    ],
)
def test_the_schema_bites(change: Line) -> None:
    (line,) = rendered(RESULT)
    assert violations({**line, **change}, SCHEMA) != []


def test_the_schema_misses_a_field() -> None:
    (line,) = rendered(RESULT)
    optional = {"stdout_encoding", "stderr_encoding", "stdout_truncated", "stderr_truncated"}
    for name in line.keys() - optional:
        less = copy.copy(line)
        del less[name]
        assert violations(less, SCHEMA) != [], name


def documented(section: str) -> set[str]:
    """The names in the first column of the tables of one section of json.md."""
    text = (REFERENCE / "json.md").read_text()
    body = re.split(r"^###? ", text.split(f"# `{section}`\n")[1], flags=re.MULTILINE)[0]
    cells = re.findall(r"^\| (`.*?) \|", body, flags=re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def in_schema(form: Line, prefix: str = "") -> set[str]:
    found = set()
    for name, value in form["properties"].items():
        found.add(f"{prefix}{name}")
        if value.get("items", {}).get("type") == "object":
            found |= in_schema(value["items"], f"{prefix}{name}[].")
        elif "properties" in value:
            found |= in_schema(value, f"{prefix}{name}.")
    return found


@pytest.mark.parametrize("form", SCHEMA["oneOf"], ids=lambda form: form["title"])
def test_every_field_is_documented_and_no_other(form: Line) -> None:
    fields = documented(form["title"])
    codes = {str(code) for code in Code} if form["title"] == "result" else set()
    assert fields - codes == in_schema(form) - codes
    assert codes <= fields


def test_the_examples_are_lines_of_the_contract() -> None:
    examples = re.findall(r"```json\n(.*?)```", (REFERENCE / "json.md").read_text(), flags=re.DOTALL)
    assert len(examples) == len(SCHEMA["oneOf"])
    for example in examples:
        assert violations(json.loads(example), SCHEMA) == []


def test_how_far_copies_are_is_a_line() -> None:
    behind = (HostCopy("n2", 10, 40, 2.4, 12.34), HostCopy("n3", 0, 40, 0.0, None))
    each = (HostCopy("n1", 40, 40, 0.0, 0.0, over=True), behind[0])
    (line,) = rendered(CopyProgress(3, 1, 50, 120, 0.416666, 10.6, 6.66, behind, each))
    assert line == {
        "event": "progress",
        "hosts": 3,
        "complete": 1,
        "bytes": 50,
        "bytes_whole": 120,
        "part": 0.4167,
        "bytes_per_s": 11,
        "eta_s": 6.7,
        "behind": [
            {"host": "n2", "bytes": 10, "bytes_whole": 40, "bytes_per_s": 2, "eta_s": 12.3},
            {"host": "n3", "bytes": 0, "bytes_whole": 40, "bytes_per_s": 0, "eta_s": None},
        ],
        "each": [
            {"host": "n1", "bytes": 40, "bytes_whole": 40, "bytes_per_s": 0, "eta_s": 0.0, "complete": True},
            {
                "host": "n2",
                "bytes": 10,
                "bytes_whole": 40,
                "bytes_per_s": 2,
                "eta_s": 12.3,
                "complete": False,
            },
        ],
    }


def test_where_a_swarm_stands() -> None:
    stalled = SwarmHost("n1", SwarmState.GETTING, 1, 4, by_seed=1, stall=Stall.CHOKED, still_s=3.04)
    left = SwarmHost("n2", SwarmState.LEFT_OUT, 0, 0, reason="it got nothing", banned_by=2)
    limits = SwarmLimits(5, 0, 4, 3, 2, 1)
    (line,) = rendered(SwarmProgress((stalled, left), True, 9, 8, 7, 6, limits=limits))
    rates = {"seed_bytes_per_s": 5, "host_bytes_per_s": None, "rack_bytes_per_s": 4}
    assert line["limits"] == {**rates, "racks": 3, "peers": 2, "keeping": 1}
    seed = ("seeding", "seed_bytes_sent", "seed_bytes_per_s", "seed_peers")
    assert [line[name] for name in seed] == [True, 9, 8, 7]
    assert (line["bytes_sent"], line["serving_on"]) == (6, False)
    one, other = line["hosts"]
    assert (one["state"], one["stall"], one["still_s"]) == ("getting", "choked", 3.0)
    assert one["bytes_from_seed"] == 1
    assert (other["state"], other["stall"], other["reason"]) == ("left-out", None, "it got nothing")
    assert (one["banned_by"], other["banned_by"]) == (0, 2)
