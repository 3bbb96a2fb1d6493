"""How output differs from what most hosts wrote."""

from __future__ import annotations

from collections.abc import Iterator

from nile.events import HostOutput, HostResult, Verdict
from nile.report import Diff
from nile.report.diff import MOST_BYTES, MOST_LINES
from tests.report.screens import Caught


def shown(
    outputs: dict[str, bytes],
    *,
    errors: dict[str, bytes] | None = None,
    caught: Caught | None = None,
    verdict: Verdict = Verdict.OK,
    quiet: bool = False,
) -> Caught:
    caught, streams = caught or Caught(), {"stdout": outputs, "stderr": errors or {}}

    def chunks(host: str, stream: str) -> Iterator[bytes]:
        data = streams[stream][host]
        yield data[:3]
        yield data[3:]

    diff = Diff(caught.screen, chunks, quiet=quiet)
    for stream, by_host in streams.items():
        for host, data in by_host.items():
            if data:
                diff.handle(HostOutput(host, stream, 0, data))
    for host in outputs:
        diff.handle(HostResult(host, verdict))
    diff.finish()
    return caught


def test_each_set_of_hosts_is_compared_with_the_largest() -> None:
    most = dict.fromkeys(("n1", "n2", "n3"), b"kernel\n6.1\n")
    out = shown({**most, "n4": b"kernel\n5.10", "n5": b"kernel\n5.10\n", "n6": b"new\nkernel\n6.1\n"}).out
    assert out.decode().splitlines() == [
        "--- n[1-3] (3)",
        "+++ n[4-5] (2)",
        "@@ -1,2 +1,2 @@",
        " kernel",
        "-6.1",
        "+5.10",
        "--- n[1-3] (3)",
        "+++ n6 (1)",
        "@@ -1,2 +1,3 @@",
        "+new",
        " kernel",
        " 6.1",
    ]


def test_that_nothing_differs_is_said() -> None:
    caught = shown({"n1": b"a\n", "n2": b"a"})
    assert (caught.out, caught.err) == (b"", b"nile: 2 hosts printed the same\n")
    assert shown({"n1": b""}).err == b"nile: 1 host printed nothing\n"
    assert shown({"n1": b"a"}, quiet=True).err == b""


def test_who_printed_nothing_is_compared() -> None:
    out = shown({"n1": b"a\n", "n2": b"a\n", "n3": b""}).out.decode()
    assert out.splitlines() == ["--- n[1-2] (2)", "+++ n3 (1)", "@@ -1 +0,0 @@", "-a"]


def test_who_never_ran_isnt() -> None:
    assert shown({"n1": b"a\n", "n2": b""}, verdict=Verdict.UNREACHABLE).out == b""


def test_standard_error_is_compared_apart() -> None:
    caught = shown({"n1": b"a\n", "n2": b"a\n", "n3": b"a\n"}, errors={"n3": b"oops\n"})
    assert caught.out == b""
    assert caught.err.decode().splitlines() == [
        "--- n[1-2] (2) stderr",
        "+++ n3 (1) stderr",
        "@@ -0,0 +1 @@",
        "+oops",
    ]


def test_what_is_too_long_is_only_said_to_differ() -> None:
    for long in (b"x" * (MOST_BYTES + 1), b"\n" * (MOST_LINES + 2)):
        out = shown({"n1": b"a\n", "n2": long}).out
        assert out.splitlines()[2:] == [b"@@ they differ, and are too long to be compared @@"]


def test_a_pipe_gets_bytes_and_a_terminal_colours_that_nothing_can_forge() -> None:
    outputs = {"n1": b"a\n", "n2": b"a\n", "n3": b"\xff\x1b[2J\n"}
    assert shown(outputs).out.splitlines()[-1] == b"+\xff\x1b[2J"
    coloured = shown(outputs, caught=Caught(terminal=True, colour=True)).out.splitlines()
    assert coloured[-1] == b"\x1b[32m+\\xff\\x1b[2J\x1b[0m"
