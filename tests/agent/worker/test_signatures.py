"""What an operator signed, and whether it is what is delivered: with real keys and the real ssh-keygen."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nile.agent.worker import bencode, naming, sealing, signatures
from nile.agent.worker.loop import Loop
from nile.agent.worker.messages import CantError
from nile.agent.worker.running import Ending
from nile.agent.worker.signatures import (
    CLOCKS_OFF_S,
    MOST_BYTES,
    NAMESPACE,
    UNDECIDED,
    Serials,
    Statement,
    key_of,
    remedy,
    verify,
)
from nile.agent.worker.signers import Signer, listed
from nile.transport.keys import IdentityQuery, KeyRing
from nile.transport.sshsig import sign, signing_keys
from tests.agent.parent import PYTHONS
from tests.agent.worker.chaining import descriptors
from tests.agent.worker.copying import a_loop
from tests.transport.servers import DEADLINE_S, keygen

NOW = 1_800_000_000
STATED = Statement("r1", b"/srv/data", bytes(range(20)), bytes(range(32)), 7, NOW + 3600)
BODY = STATED.pack()
KINDS = [("ed25519", ()), ("ecdsa", ()), ("rsa", ("-b", "2048"))]


@pytest.fixture
def loop() -> Iterator[Loop]:
    with a_loop() as loop:
        yield loop


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An operator's key."""
    return keygen(tmp_path_factory.mktemp("key") / "key")


def signed(key: Path, body: bytes = BODY, namespace: str = NAMESPACE) -> bytes:
    ring = KeyRing()
    (public,) = signing_keys(ring, IdentityQuery(files=(str(key),), named=True))
    return asyncio.run(sign(ring, public, namespace, body))


def known(*keys: Path) -> dict[bytes, Signer]:
    lines = b"".join(key.with_name(key.name + ".pub").read_bytes() for key in keys)
    return {signer.blob: signer for signer in listed(lines, NOW)}


def judged(loop: Loop, body: bytes, signature: bytes, signers: dict[bytes, Signer]) -> Ending:
    """How a verification ends."""
    before = descriptors()
    endings: list[Ending] = []

    def over(ending: Ending) -> None:
        endings.append(ending)
        loop.stop()

    verify(loop, body, signature, signers, over)
    assert not endings, "not before it was asked"
    loop._stopped = False
    loop.run()
    assert descriptors() == before
    return endings[0]


def code(caught: pytest.ExceptionInfo[CantError]) -> str:
    assert caught.value.fields["remedy"]
    return str(caught.value.fields["code"])


# The signature.


@pytest.mark.parametrize(("kind", "more"), KINDS)
def test_an_operators_signature_is_good(loop: Loop, tmp_path: Path, kind: str, more: tuple[str, ...]) -> None:
    path = keygen(tmp_path / "key", *more, kind=kind)
    other = keygen(tmp_path / "other")
    ending = judged(loop, BODY, signed(path), known(other, path))
    assert (ending.code, ending.status) == ("", 0), ending.words


def test_what_ssh_keygen_signs_is_good_too(loop: Loop, key: Path) -> None:
    argv = ["ssh-keygen", "-q", "-Y", "sign", "-n", NAMESPACE, "-f", str(key)]
    done = subprocess.run(argv, input=BODY, capture_output=True, timeout=DEADLINE_S, check=True)
    assert judged(loop, BODY, done.stdout, known(key)).code == ""


def test_another_body_isnt_what_was_signed(loop: Loop, key: Path) -> None:
    other = STATED._replace(info_hash=bytes(20)).pack()
    ending = judged(loop, other, signed(key), known(key))
    assert ending.code == "bad-signature"
    assert remedy(ending.code)
    assert ending.code not in UNDECIDED


def test_who_may_not_log_in_cant_sign(loop: Loop, tmp_path: Path, key: Path) -> None:
    other = keygen(tmp_path / "other")
    with pytest.raises(CantError, match="may not log in") as caught:
        judged(loop, BODY, signed(other), known(key))
    assert code(caught) == "unsigned"


def test_nobody_signs_in_anothers_name(loop: Loop, tmp_path: Path, key: Path) -> None:
    """The signature is of another key, but says that it is of ours."""
    import base64

    other = keygen(tmp_path / "other")
    ours, theirs = (next(iter(known(path))) for path in (key, other))
    lines = signed(other).split(b"\n")
    data = base64.b64decode(b"".join(lines[1:-2])).replace(theirs, ours)
    forged = b"\n".join([lines[0], base64.b64encode(data), lines[-2], b""])
    assert key_of(forged) == ours
    assert judged(loop, BODY, forged, known(key)).code == "bad-signature"


def test_a_signature_for_something_else_counts_for_nothing(loop: Loop, key: Path) -> None:
    with pytest.raises(CantError, match="something else") as caught:
        judged(loop, BODY, signed(key, namespace="file"), known(key))
    assert code(caught) == "bad-signature"


@pytest.mark.parametrize(
    "signature",
    [
        b"",
        b"nonsense",
        b"-----BEGIN SSH SIGNATURE-----\n-----END SSH SIGNATURE-----\n",
        b"-----BEGIN SSH SIGNATURE-----\nU1NIU0lH\n-----END SSH SIGNATURE-----\n",
        b"-----BEGIN SSH SIGNATURE-----\nU1NIU0lHAAAAAf////8=\n-----END SSH SIGNATURE-----\n",
        b"-----BEGIN SSH SIGNATURE-----\n!\n-----END SSH SIGNATURE-----\n",
        b"x" * (MOST_BYTES + 1),
    ],
)
def test_what_is_no_signature(loop: Loop, key: Path, signature: bytes) -> None:
    with pytest.raises(CantError) as caught:
        verify(loop, BODY, signature, known(key), lambda _: None)
    assert code(caught) == "bad-signature"


@given(st.binary(max_size=200))
def test_whatever_comes_as_a_signature_is_refused(data: bytes) -> None:
    for signature in (data, b"-----BEGIN SSH SIGNATURE-----\n%b\n-----END SSH SIGNATURE-----" % data):
        with pytest.raises(CantError):
            key_of(signature)


# The program.


def program(place: Path, monkeypatch: pytest.MonkeyPatch, text: str = "") -> None:
    """What is called ssh-keygen, and nothing else, is in the PATH."""
    monkeypatch.setenv("PATH", str(place))
    if text:
        (place / "ssh-keygen").write_text(text)
        (place / "ssh-keygen").chmod(0o755)


def test_without_ssh_keygen_nobody_can_tell(
    loop: Loop, tmp_path: Path, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signature = signed(key)
    program(tmp_path, monkeypatch)
    with pytest.raises(CantError, match="no ssh-keygen in") as caught:
        verify(loop, BODY, signature, known(key), lambda _: None)
    assert code(caught) == "no-ssh-keygen"
    assert code(caught) in UNDECIDED
    program(tmp_path, monkeypatch, "#!/no/such/interpreter\n")
    with pytest.raises(CantError, match="can't be run") as caught:
        verify(loop, BODY, signature, known(key), lambda _: None)
    assert code(caught) == "no-ssh-keygen"


def test_an_old_ssh_keygen_cant_tell(
    loop: Loop, tmp_path: Path, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signature = signed(key)
    text = "#!/bin/sh\necho 'unknown option -- Y' >&2\necho 'usage: ssh-keygen [-q]' >&2\nexit 1\n"
    program(tmp_path, monkeypatch, text)
    ending = judged(loop, BODY, signature, known(key))
    assert ending.code == "old-ssh-keygen"
    assert ending.code in UNDECIDED
    assert "8.1" in remedy(ending.code)


def test_an_ssh_keygen_that_hangs_is_ended(
    loop: Loop, tmp_path: Path, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signature = signed(key)
    monkeypatch.setattr(signatures, "LATEST_S", 0.2)
    program(tmp_path, monkeypatch, "#!/bin/sh\nwhile :; do read x </dev/tty || /bin/sleep 60; done\n")
    ending = judged(loop, BODY, signature, known(key))
    assert (ending.code, ending.retry) == ("no-ssh-keygen", True)


# The statement.


def test_a_statement_is_read_as_it_was_written() -> None:
    assert Statement.unpack(BODY) == STATED
    assert bencode.encode(bencode.decode(BODY)) == BODY


@pytest.mark.parametrize(
    "change",
    [
        {b"version": 2},
        {b"kind": b"other"},
        {b"more": 1},
        {b"serial": b"7"},
        {b"serial": -1},
        {b"until": 1 << 63},
        {b"dest": 1},
        {b"run": b"\xff"},
        {b"run": None},
    ],
)
def test_a_statement_of_another_shape_is_refused(change: dict[bytes, object]) -> None:
    said = bencode.decode(BODY)
    assert isinstance(said, dict)
    said = {name: value for name, value in {**said, **change}.items() if value is not None}
    with pytest.raises(CantError, match="no statement of version 1") as caught:
        Statement.unpack(bencode.encode(said))
    assert code(caught) == "other-payload"


@given(
    st.binary(max_size=200) | st.integers(0, len(BODY) - 1).map(lambda at: BODY[:at] + b"\0" + BODY[at + 1 :])
)
def test_whatever_comes_as_a_statement(body: bytes) -> None:
    try:
        stated = Statement.unpack(body)
    except CantError:
        return
    assert stated.pack() == body


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"run": "r2"}, "another run"),
        ({"dest": b"/srv/other"}, "another dest"),
        ({"info_hash": bytes(20)}, "another info hash"),
        ({"digest": bytes(32)}, "another digest"),
    ],
)
def test_a_statement_of_something_else(change: dict[str, object], word: str) -> None:
    STATED.check(STATED._replace(serial=0, until=0), NOW)
    with pytest.raises(CantError, match=word) as caught:
        STATED.check(STATED._replace(**change), NOW)  # type: ignore[arg-type]
    assert code(caught) == "other-payload"


def test_a_statement_counts_for_some_time() -> None:
    STATED.check(STATED, STATED.until + CLOCKS_OFF_S)
    with pytest.raises(
        CantError, match=r"until 2027-01-15 09:00:00, and here it is 2027-01-15 09:10:01"
    ) as caught:
        STATED.check(STATED, STATED.until + CLOCKS_OFF_S + 1)
    assert code(caught) == "expired"


def test_an_older_statement_is_refused() -> None:
    STATED.check(STATED, NOW, last=7)
    with pytest.raises(CantError, match="serial 7, and one with 8 was there") as caught:
        STATED.check(STATED, NOW, last=8)
    assert code(caught) == "rollback"


def test_the_serial_is_kept_beside_releases(tmp_path: Path) -> None:
    dest = str(tmp_path).encode()
    serials = Serials(dest)
    assert serials.last() == -1
    (tmp_path / "releases").mkdir()
    for serial, last in ((7, 7), (9, 9), (8, 9)):
        serials.note(serial)
        assert Serials(dest).last() == last
    path = tmp_path / "releases" / naming.SIGNED.decode()
    for content in (b"", b"x\n", b"7", b"-7\n"):
        path.write_bytes(content)
        with pytest.raises(CantError, match="can't be understood"):
            serials.last()


# What hosts run.

BY_HAND = """
import sys
sys.path.insert(0, sys.argv[1])
from nile.agent.worker import signatures, signers
from nile.agent.worker.loop import Loop
loop = Loop()
body, signature, keys = (open(name, "rb").read() for name in sys.argv[2:])
signatures.Statement.unpack(body).check(signatures.Statement.unpack(body), 0, 0)
known = {signer.blob: signer for signer in signers.listed(keys, 0.0)}
def over(ending):
    print(ending.code or "good")
    loop.stop()
signatures.verify(loop, body, signature, known, over)
loop.run()
"""


@pytest.mark.parametrize("python", PYTHONS, ids=lambda path: path.parents[1].name)
def test_every_python_of_hosts_verifies(tmp_path: Path, key: Path, python: Path) -> None:
    (tmp_path / "body").write_bytes(BODY)
    (tmp_path / "signature").write_bytes(signed(key))
    root = Path(signatures.__file__).parents[3]
    files = [str(tmp_path / "body"), str(tmp_path / "signature"), f"{key}.pub"]
    argv = [str(python), "-BIS", "-c", BY_HAND, str(root), *files]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert (done.stdout, done.stderr) == ("good\n", "")


def test_where_there_are_no_files_in_memory_one_without_a_name_does(
    loop: Loop, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("os.memfd_create")
    assert sealing.SHARED == "/dev/shm"
    assert judged(loop, BODY, signed(key), known(key)).code == ""
    assert sys.platform == "linux"
