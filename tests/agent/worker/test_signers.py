"""Who may sign: what an authorized_keys file says, and when it counts for nothing."""

from __future__ import annotations

import base64
import calendar
import os
import pwd
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nile.agent.worker import signers
from nile.agent.worker.messages import CantError
from nile.agent.worker.signers import User, listed
from tests.agent.worker.conftest import NOBODY, as_nobody

NOW = float(calendar.timegm((2026, 6, 15, 12, 0, 0)))


def key(number: int = 1, kind: bytes = b"ssh-ed25519") -> bytes:
    """A line for a key, without its comment."""
    return kind + b" " + base64.b64encode(blob(number, kind))


def blob(number: int = 1, kind: bytes = b"ssh-ed25519") -> bytes:
    return len(kind).to_bytes(4, "big") + kind + bytes([0, 0, 0, 32, *([number] * 32)])


def numbers(text: bytes, now: float = NOW) -> list[int]:
    """Which keys count."""
    return [signer.blob[-1] for signer in listed(text, now)]


@pytest.mark.parametrize(
    "line",
    [
        key(),
        b"  \t" + key() + b" me@here",
        b"no-pty " + key(),
        b'from="10.0.0.*,!10.0.0.1",no-pty ' + key() + b" with words behind",
        b'restrict,pty,Port-Forwarding,environment="A=\\"b c\\",d",permitopen="x:1"\t' + key(),
        b"verify-required " + key(),
        b'expiry-time="20260616" ' + key(),
        b'expiry-time="202606151201Z" ' + key(),
        b'expiry-time="20260615120001Z" ' + key(),
        key(1, b"ssh-rsa"),
        key(1, b"sk-ssh-ed25519@openssh.com"),
    ],
)
def test_a_key_that_counts(line: bytes) -> None:
    assert numbers(b"# the first\n\n%b\n%b\n" % (line, key(2))) == [1, 2]


@pytest.mark.parametrize(
    "line",
    [
        b'command="rrsync /srv" ' + key(),
        b'no-pty,COMMAND="x" ' + key(),
        b'from="a,command=b",command="x" ' + key(),
        b"cert-authority " + key(),
        b'cert-authority,principals="me" ' + key(),
        b'principals="me" ' + key(),
        b"unheard-of " + key(),
        b'from="unended ' + key(),
        b'from="a"no-pty ' + key(),
        b"no-pty,, " + key(),
        b"no-pty, " + key(),
        b"no-pty",
        b'expiry-time="20260614" ' + key(),
        b'expiry-time="202606151159Z" ' + key(),
        b'expiry-time="20261399" ' + key(),
        b'expiry-time="soon" ' + key(),
        b"expiry-time " + key(),
        b"ssh-ed25519",
        b"ssh-ed25519 !",
        b"ssh-ed25519 AAAA",
        b"ssh-rsa " + base64.b64encode(blob()),
        key(1, b"ssh-dss"),
        key(1, b"ssh-ed25519-cert-v01@openssh.com"),
        b"#" + key(),
    ],
)
def test_a_key_that_doesnt(line: bytes) -> None:
    assert numbers(b"%b\n%b\n" % (line, key(2))) == [2]


@given(st.lists(st.sampled_from([b'"', b"\\", b",", b" ", b"=", b"no-pty", b"command", b"x", key(), b"\n"])))
def test_whatever_is_in_the_file_a_command_binds(words: list[bytes]) -> None:
    text = b"".join(words)
    assert all(signer.blob.startswith(blob()) for signer in listed(text, NOW))
    assert numbers(b'command="x",' + text.replace(b"\n", b"")) == []


def test_a_time_is_of_this_hosts_zone_if_no_other_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC+5")
    time.tzset()
    try:
        assert numbers(b'expiry-time="202606150701" ' + key()) == [1]
        assert numbers(b'expiry-time="202606150659" ' + key()) == []
    finally:
        monkeypatch.undo()
        time.tzset()


# The file.


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home directory with one key."""
    (tmp_path / "home" / ".ssh").mkdir(parents=True, mode=0o700)
    (tmp_path / "home" / ".ssh" / "authorized_keys").write_bytes(key() + b" me\n")
    return tmp_path / "home"


def user(home: Path) -> User:
    return User(os.getuid(), str(home))


def why(home: Path) -> str:
    """Nobody may sign: the reason."""
    with pytest.raises(CantError) as caught:
        signers.signers(user(home), NOW)
    assert caught.value.fields["code"] == "no-signers"
    assert "authorized_keys" in caught.value.fields["remedy"]
    return str(caught.value)


def test_both_files_count(home: Path) -> None:
    (home / ".ssh" / "authorized_keys2").write_bytes(key(2))
    found = signers.signers(user(home), NOW)
    assert sorted(found) == [blob(1), blob(2)]
    assert (found[blob(1)].kind, found[blob(1)].comment) == ("ssh-ed25519", "me")


@pytest.mark.parametrize("place", [".", ".ssh", ".ssh/authorized_keys"])
@pytest.mark.parametrize("mode", [0o020, 0o002])
def test_what_others_can_write_counts_for_nothing(home: Path, place: str, mode: int) -> None:
    (home / place).chmod((home / place).stat().st_mode | mode)
    assert "others can write it" in why(home)


@pytest.mark.parametrize("place", [".ssh", ".ssh/authorized_keys"])
def test_what_belongs_to_another_counts_for_nothing(home: Path, place: str) -> None:
    os.chown(home / place, NOBODY, -1)
    assert "others can write it" in why(home)


def test_a_link_leads_to_what_is_looked_at(home: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o755)
    (home / ".ssh" / "authorized_keys").rename(elsewhere / "keys")
    (home / ".ssh" / "authorized_keys").symlink_to(elsewhere / "keys")
    tmp_path.chmod(0o777)
    assert "others can write it" in why(home)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "no key of an operator"), (b"", "no key of an operator"), (b"pipe", "no file")],
)
def test_no_keys(home: Path, content: bytes | None, reason: str) -> None:
    path = home / ".ssh" / "authorized_keys"
    path.unlink()
    if content == b"pipe":
        os.mkfifo(path)
    elif content is not None:
        path.write_bytes(content)
    assert reason in why(home)


def test_a_file_without_end_isnt_read(home: Path) -> None:
    os.truncate(home / ".ssh" / "authorized_keys", signers.MOST_FILE + 1)
    assert "more than" in why(home)


def test_who_logged_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUDO_UID", raising=False)
    assert signers.who_logged_in() == User(os.geteuid(), pwd.getpwuid(os.geteuid()).pw_dir)
    nobody = pwd.getpwuid(NOBODY)
    monkeypatch.setenv("SUDO_UID", str(NOBODY))
    assert signers.who_logged_in() == User(NOBODY, nobody.pw_dir)
    monkeypatch.setenv("SUDO_UID", "123456789")
    with pytest.raises(CantError, match="no user 123456789"):
        signers.who_logged_in()


def test_a_home_that_cant_be_entered_is_named(home: Path) -> None:
    def check() -> None:
        with pytest.raises(CantError, match="Permission denied"):
            signers.signers(User(NOBODY, str(home)), NOW)

    as_nobody(check)
