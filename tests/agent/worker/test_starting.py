"""What a worker costs before it does anything: counted in what it compiles and imports, not in time."""

from __future__ import annotations

import io
import json
import marshal
import os
import subprocess
import sys
import zlib
from collections.abc import Iterator
from functools import partial
from importlib.util import MAGIC_NUMBER
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

from nile.agent.worker import begin, messages, peering
from nile.agent.worker.archiving import FEATURES
from nile.agent.worker.compare import compare
from nile.agent.worker.manifest import Comparable, Entry, Manifest, Terms
from nile.bootstrap.identity import make_identity
from nile.bootstrap.program import PYTHON, compiled, worker_program
from tests.agent.parent import PYTHONS
from tests.agent.worker.copying import installed

WITHIN_S = 30.0
HERE = Path(__file__).parents[3]
# Says at the end what it compiled of ours, and what it has imported.
_WATCHED = f"""
import os, sys
compiled = []
sys.addaudithook(lambda event, args: compiled.append(str(args[1])) if event == "compile" else None)
def report(status, exit=os._exit):
    imported = sorted(sys.modules)
    import json
    print(json.dumps([[name for name in compiled if "nile/" in name], imported]), file=sys.stderr, flush=True)
    exit(status)
os._exit = report
{PYTHON}
"""
HEAVY = {"subprocess", "tempfile", "shutil", "random", "hashlib", "_hashlib", "hmac", "ssl", "asyncio"}
"""Of the standard library, 3 to 15 ms each: by the clock of 600 hosts on two cores."""
LIGHTER = {"typing", "collections", "contextlib", "enum", "re", "signal", "socket", "encodings.idna"}
"""Others that a patch can do without: 20 ms together."""
NOT_FOR_A_PATCH = {"archiving", "attributes", "gathering", "recording", "releases", "restoring", "taping"}


def messages_of_a_patch(dest: Path, identity: bytes = b"") -> bytes:
    """All that a host is asked that gets a stream, in the clear where there is no identity."""
    found = installed()
    recorded = {"version": list(found.version), "has": sorted(FEATURES & found.has)}
    copy: dict[str, Any] = dict.fromkeys(("delete", "checksum", "whole", "numeric_ids", "bwlimit"), False)
    look = {"do": "scan", "roots": [b""], "excludes": [], "checksum": False, "owner": "names"}
    asked = [
        {"do": "open", "dest": os.fsencode(dest), "write": True, "delete": False, "run": "r1"},
        {**look, "users": [[0, b"root"]], "groups": [[0, b"root"]]},
        {
            "do": "join",
            "temporary": b".nile-sync-r1",
            "copy": {**copy, "excludes": [], "chown": b"", "max_delete": None},
            "recorded": recorded,
            "ring": 1 << 20,
            "hashed": False,
            "identity": identity,
            "secret": bytes(32),
        },
    ]
    return b"".join(messages.pack({"n": number, **each}) for number, each in enumerate(asked))


def patched(
    program: bytes, dest: Path, python: Path = Path(sys.executable), identity: bytes = b""
) -> tuple[list[str], set[str]]:
    """The files of ours that a worker compiled for that, and the modules that it has then."""
    dest.mkdir()
    done = subprocess.run(
        [str(python), "-BISc", _WATCHED],
        input=program + messages_of_a_patch(dest, identity),
        capture_output=True,
        timeout=WITHIN_S,
        check=True,
    )
    answers = list(messages.unpack(bytearray(), done.stdout))
    assert {answer["n"]: answer.get("code", "") for answer in answers[:3]} == {0: "", 1: "", 2: ""}
    assert answers[2]["port"] > 0
    compiled, modules = json.loads(done.stderr)
    return compiled, set(modules)


@pytest.fixture(scope="module")
def other() -> bytes:
    """The program as it is for a Python that is none of the root's."""
    magic = MAGIC_NUMBER.hex().encode()
    program = worker_program()
    assert program.count(b"%b " % magic) == 1
    return program.replace(magic, b"0" * len(magic))


def test_a_host_of_the_roots_python_compiles_nothing(tmp_path: Path) -> None:
    compiled, modules = patched(worker_program(), tmp_path / "d")
    assert compiled == []
    assert "nile.agent.worker.chain" in modules


def test_a_host_of_another_python_gets_the_source(other: bytes, tmp_path: Path) -> None:
    compiled, modules = patched(other, tmp_path / "d")
    assert "nile/agent/worker/chain.py" in compiled
    assert modules == patched(worker_program(), tmp_path / "e")[1]


@pytest.mark.parametrize("python", [each for each in PYTHONS if "/3.13" in str(each)] or PYTHONS[-1:])
def test_a_real_one_does(python: Path, tmp_path: Path) -> None:
    assert "nile/agent/worker/chain.py" in patched(worker_program(), tmp_path / "d", python)[0]


def test_a_patch_imports_nothing_that_is_slow_and_not_needed(tmp_path: Path) -> None:
    _, modules = patched(worker_program(), tmp_path / "d")
    assert not (HEAVY | LIGHTER) & modules
    assert not {f"nile.agent.worker.{name}" for name in NOT_FOR_A_PATCH} & modules


def test_nor_does_one_that_is_encrypted(tmp_path: Path) -> None:
    _, modules = patched(worker_program(), tmp_path / "d", identity=make_identity())
    assert not (HEAVY | LIGHTER) & modules
    assert "_ssl" in modules


def watched(program: bytes, asked: dict[str, Any]) -> tuple[list[str], set[str]]:
    """The files of ours that a worker compiled for this one message, and the modules that it has then."""
    done = subprocess.run(
        [sys.executable, "-BISc", _WATCHED],
        input=program + messages.pack({"n": 1, **asked}),
        capture_output=True,
        timeout=WITHIN_S,
        check=True,
    )
    compiled, modules = json.loads(done.stderr)
    return compiled, set(modules)


def test_who_takes_part_in_a_swarm_compiles_neither_its_peer_nor_what_comes_after_the_last_piece() -> None:
    compiled, modules = watched(worker_program(), {"do": "unpeer", "what": 7})
    assert "nile/agent/worker/taking.py" in compiled
    late = {"archive", "archiving", "lacking", "merging", "peerprogram", "placing", "recording", "restoring"}
    assert not {f"nile/agent/worker/{name}.py" for name in late} & set(compiled)
    assert not (HEAVY | {"bz2", "lzma", "zipfile"}) - {"hashlib", "_hashlib"} & modules


def test_the_roots_worker_compiles_nothing_of_what_records() -> None:
    record = {"do": "record", "hashed": "blake2b", "limit": 0, "archive": False, "address": "", "port": 0}
    read = {"do": "read", "excludes": [], "checksum": False, "numeric_ids": True, "streams": True}
    asked = {**read, "sources": [os.fsencode(HERE / "nile/agent") + b"/"]}
    program = worker_program(root=True) + messages.pack({"n": 1, **asked})
    compiled, modules = watched(program, {**record, "n": 2, "only": b""})
    assert compiled == []
    assert "nile.agent.worker.taping" in modules
    compiled, _ = watched(worker_program() + messages.pack({"n": 1, **asked}), {**record, "n": 2})
    assert "nile/agent/worker/taping.py" in compiled, "no host is sent the code of what it hardly needs"


def test_in_a_swarm_of_the_roots_python_nothing_is_compiled() -> None:
    assert watched(worker_program(swarms=True), {"do": "unpeer", "what": 7})[0] == []


@pytest.mark.parametrize("came", ["code", "source"])
def test_a_peer_gets_what_its_worker_got(came: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = io.BytesIO(worker_program(swarms=came == "code"))
    program.read(int(program.readline()))
    finder = begin.Finder(begin.parts(program, begin.magic()))
    for module in peering.PROGRAM:
        assert finder.find_spec(f"nile.agent.{module}") is not None
    monkeypatch.setattr(peering, "_loader", lambda _: finder)
    watch = _WATCHED.replace(PYTHON, peering._READ)
    done = subprocess.run([sys.executable, "-BISc", watch], input=peering.program(), capture_output=True)
    compiled, modules = json.loads(done.stderr.splitlines()[-1])
    assert "nile.agent.worker.peerprogram" in modules
    assert bool(compiled) is (came == "source"), compiled


@pytest.mark.parametrize("led", [False, True])
def test_libtorrent_is_found_where_packages_are_or_where_files_there_lead_to(
    led: bool, tmp_path: Path
) -> None:
    """What such files do at a Python's start is done only where it has to be."""
    where = "import site; print(site.getusersitepackages())"
    alone = {"PYTHONUSERBASE": str(tmp_path / "base"), "PATH": os.environ["PATH"], "PYTHONPATH": str(HERE)}
    python = str(Path(sys.base_prefix) / "bin/python3")
    run = partial(subprocess.run, env=alone, capture_output=True, check=True, text=True, timeout=WITHIN_S)
    packages = Path(run([python, "-Sc", where]).stdout.strip())
    packages.mkdir(parents=True)
    other = tmp_path / "other"
    other.mkdir()
    ((other if led else packages) / "libtorrent.py").write_text("__version__ = '2.0.9'")
    (packages / "a.pth").write_text(f"import sys; sys.led = True\n{other}\n")
    code = "import sys; from nile.agent.worker import peerprogram as p; print(p._installed().__file__)"
    said = run([python, "-Sc", f"{code}; print(hasattr(sys, 'led'))"]).stdout.split()
    assert said == [str((other if led else packages) / "libtorrent.py"), str(led)]


def test_a_peer_that_has_libtorrent_imports_nothing_of_what_brings_one() -> None:
    code = "import sys; from nile.agent.worker import peerprogram; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-ISc", f"import sys; sys.path.append({str(HERE)!r}); {code}"],
        stdout=subprocess.PIPE,
        check=True,
        timeout=WITHIN_S,
    )
    modules = set(done.stdout.decode().split())
    assert "nile.agent.worker.peerprogram" in modules
    assert not (HEAVY | {"bz2", "lzma", "zipfile", "nile.agent.worker.lacking"}) & modules


def test_source_that_is_unpacked_is_not_unpacked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it takes 2 ms, and a peer's program is a dozen modules."""
    parts = [
        zlib.compress(marshal.dumps({"nile.a": b"code"})),
        zlib.compress(marshal.dumps({"nile.a": "A", "nile.b": "B"})),
    ]
    finder = begin.Finder(parts)
    assert finder.get_source("nile.a") == "A"
    assert finder.find_spec("nile.b") is not None
    monkeypatch.setattr(zlib, "decompress", None)
    assert finder.get_source("nile.b") == "B"


def test_a_traceback_has_files_and_lines_whether_it_was_compiled_here_or_there(
    other: bytes, tmp_path: Path
) -> None:
    wrong = messages.pack({"n": 1, "do": "scan"})
    said = []
    for program in (worker_program(), other):
        done = subprocess.run(
            [sys.executable, "-BISc", PYTHON],
            input=program + wrong,
            capture_output=True,
            timeout=WITHIN_S,
            check=True,
        )
        (answer,) = messages.unpack(bytearray(), done.stdout)
        said.append(answer["reason"])
    assert said[0] == said[1]
    assert "(nile/agent/worker/service.py:" in said[0]


def codes(code: CodeType) -> Iterator[CodeType]:
    """It, and all that are in it."""
    yield code
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from codes(const)


def lines(code: CodeType) -> list[int | None]:
    """The line of each of its instructions."""
    return [line for start, end, line in code.co_lines() for _ in range(start, end, 2)]


@pytest.mark.parametrize("module", ["rsync", "service", "chain", "packing"])
def test_code_has_the_lines_of_its_source_and_nothing_more_of_it(module: str) -> None:
    file = f"nile/agent/worker/{module}.py"
    source = (Path(__file__).parents[3] / file).read_text()
    sent = list(codes(compiled(file.removesuffix(".py").replace("/", "."), source)))
    whole = list(codes(compile(source, file, "exec", dont_inherit=True)))
    assert [lines(code) for code in sent] == [lines(code) for code in whole]
    assert {code.co_filename for code in sent} == {file}
    assert sum(len(code.co_linetable) for code in sent) < sum(len(code.co_linetable) for code in whole) / 2


def test_what_is_alike_is_not_looked_at_file_by_file(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = []
    aspects = Comparable.aspects

    def look(compared: Comparable, entry: Entry) -> tuple[Any, ...]:
        looked.append(entry)
        return aspects(compared, entry)

    monkeypatch.setattr(Comparable, "aspects", look)
    entries = [Entry(b"%04d" % number, b"f", 0o644, 7, number, 0, 0) for number in range(1000)]
    entries += [Entry(b"d%03d" % number, b"d", 0o755, 0, number, 0, 0) for number in range(100)]
    source, found = Manifest(entries), Manifest([entries[0]._replace(mtime_ns=7), *entries[1:]])
    assert source.fingerprint(Terms()) != found.fingerprint(Terms())
    assert not looked
    assert compare(source, found, Terms()).changed == [(b"0000", ("mtime",))]
    assert len(looked) == 2


def test_an_address_of_numbers_needs_no_codec_for_names() -> None:
    """Each host of a chain dials one: to load what encodes names costs more than to meet it."""
    code = f"""if 1:
        import sys
        sys.path.append({str(HERE)!r})
        from nile.agent.worker.lookup import LookUp
        from nile.agent.worker.loop import Loop
        loop, found = Loop(), []
        def end(places, reason):
            found.extend(places)
            loop.stop()
        for address in ("127.0.0.1", "::1"):
            LookUp(loop, address, 7, end)
        loop.run()
        loop._stopped = False
        loop.run()
        print([place[:2] for _, place in found], "encodings.idna" in sys.modules)
    """
    done = subprocess.run(
        [sys.executable, "-ISc", code], stdout=subprocess.PIPE, check=True, timeout=WITHIN_S
    )
    assert done.stdout.decode().strip() == "[('127.0.0.1', 7), ('::1', 7)] False"
