"""known_hosts as OpenSSH reads it: compared with ssh-keygen -F, and with what ssh itself trusts."""

from __future__ import annotations

import hashlib
import hmac
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nile.errors import KnownHostsError
from nile.transport import hashednames
from nile.transport.hosttrust import HostKeys, Trust
from nile.transport.knownhosts import KnownHosts, known_names, read_revoked
from tests.transport.servers import Sshd, keygen, public_line

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE" + "A" * 41 + "x"
OTHER = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE" + "B" * 41 + "w"


def index(text: str) -> KnownHosts:
    known = KnownHosts()
    known.add(text, "kh")
    return known


def keygen_finds(text: str, name: str, directory: Path) -> list[str]:
    """The lines (without the name) that `ssh-keygen -F` finds."""
    file = directory / "known_hosts"
    file.write_text(text)
    done = subprocess.run(
        ["ssh-keygen", "-F", name, "-f", str(file)], capture_output=True, text=True, check=False
    )
    return [" ".join(line.split()[-2:]) for line in done.stdout.splitlines() if not line.startswith("#")]


def hashed(text: str, directory: Path) -> str:
    """The same text with its names hashed by ssh-keygen."""
    file = directory / "to_hash"
    file.write_text(text)
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(file)], check=True, capture_output=True)
    return file.read_text()


def keys(lines: tuple[str, ...]) -> list[str]:
    return [" ".join(line.split()[-2:]) for line in lines]


NAMES = st.sampled_from(["a", "b", "ab", "a.b", "n1", "n12", "[a]:2222", "[n1]:22", "10.0.0.1", "A"])
PATTERNS = st.sampled_from(["a", "b", "*", "a*", "?", "n?", "!a", "!n1*", "[a]:*", "n1", "[n1]:22", "*.b"])


@settings(max_examples=60, deadline=None)
@given(
    lines=st.lists(st.tuples(st.lists(PATTERNS, min_size=1, max_size=3), st.sampled_from([KEY, OTHER]))),
    name=NAMES,
)
def test_patterns_match_as_ssh_keygen_has_it(
    tmp_path_factory: pytest.TempPathFactory, lines: list[tuple[list[str], str]], name: str
) -> None:
    text = "".join(f"{','.join(patterns)} {key}\n" for patterns, key in lines)
    wanted = keygen_finds(text, name, tmp_path_factory.mktemp("kh"))
    assert sorted(set(keys(index(text).lookup([name], "x")))) == sorted(set(wanted))


def test_hashed_names(tmp_path: Path) -> None:
    text = hashed(f"alpha {KEY}\n[beta]:2222 {OTHER}\n", tmp_path)
    assert "alpha" not in text
    known = index(text)
    for _ in range(2):  # an entry that was found once is found again
        assert known.lookup(["alpha"], "x") == (f"x {KEY}",)
        assert known.lookup(["[beta]:2222", "beta"], "x") == (f"x {OTHER}",)
    assert known.lookup(["gamma"], "x") == ()
    assert known.notices == []


def test_markers_are_kept_and_names_rewritten() -> None:
    known = index(f"@cert-authority *.example.org {KEY} a comment\n@revoked * {OTHER}\n")
    assert known.lookup(["n1.example.org"], "n1") == (f"@cert-authority n1 {KEY}", f"@revoked n1 {OTHER}")
    assert known.lookup(["elsewhere"], "n1") == (f"@revoked n1 {OTHER}",)


def test_case_does_not_matter() -> None:
    assert index(f"Alpha {KEY}\nBETA* {KEY}\n").lookup(["aLPHA"], "x")
    assert index(f"BETA* {KEY}\n").lookup(["beta1"], "x")


def test_names_of_a_host() -> None:
    assert known_names("h", 22, None) == ("h",)
    assert known_names("h", 2222, None) == ("[h]:2222", "h")
    assert known_names("h", 2222, "alias") == ("alias",)


def test_the_bare_name_counts_only_without_a_key_for_the_port() -> None:
    both = index(f"[h]:2222 {KEY}\nh {OTHER}\n")
    assert both.lookup(known_names("h", 2222, None), "x") == (f"x {KEY}",)
    bare = index(f"@cert-authority [h]:* {KEY}\nh {OTHER}\n")
    assert bare.lookup(known_names("h", 2222, None), "x") == (f"@cert-authority x {KEY}", f"x {OTHER}")


def test_malformed_lines_are_skipped_and_told() -> None:
    text = "\n".join(
        [
            "# a comment",
            "",
            "   ",
            "alone",
            "two words",
            f"@nonsense h {KEY}",
            f"|1|notbase64 {KEY}",
            f"|2|AAAA|AAAA {KEY}",
            "h ssh-ed25519 notakey",
            f"h ssh-rsa {KEY.split()[1]}",
            f"  h {KEY}  ",
        ]
    )
    known = index(text)
    assert known.lookup(["h"], "x") == (f"x {KEY}",)
    told = [notice.split(":")[1] for notice in known.notices]
    assert sorted(map(int, told)) == [4, 5, 6, 7, 8, 9, 10]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert KnownHosts.read([tmp_path / "missing"]).lookup(["h"], "x") == ()
    with pytest.raises(KnownHostsError, match=str(tmp_path)):
        KnownHosts.read([tmp_path])


def test_lines_beyond_ascii(tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    file.write_bytes(b"h\xff " + KEY.encode() + b"\nh " + KEY.encode() + b" caf\xe9\x85more\n")
    assert KnownHosts.read([file]).lookup(["h"], "x") == (f"x {KEY}",)


def test_revoked_lists(tmp_path: Path) -> None:
    key = keygen(tmp_path / "bad")
    assert read_revoked(key.with_name("bad.pub")) == (public_line(key),)
    with pytest.raises(KnownHostsError, match="can't be read"):
        read_revoked(tmp_path / "missing")
    krl = tmp_path / "krl"
    subprocess.run(["ssh-keygen", "-q", "-k", "-f", str(krl), f"{key}.pub"], check=True, capture_output=True)
    with pytest.raises(KnownHostsError, match="binary"):
        read_revoked(krl)


@pytest.mark.parametrize(
    "template",
    [
        "target {good}",
        "target {bad}",
        "other {good}",
        "",
        "target {bad}\ntarget {good}",
        "*,!target {good}",
        "t?rg* {good}",
        "target {good}\n@revoked * {good}",
        "@cert-authority target {good}",
        "@cert-authority target {bad}\ntarget {good}",
    ],
)
def test_trusts_what_real_ssh_trusts(sshd: Sshd, user_key: Path, tmp_path: Path, template: str) -> None:
    text = template.format(good=public_line(sshd.host_key), bad=OTHER) + "\n"
    file = tmp_path / "known_hosts"
    file.write_text(text)
    settings = ["BatchMode=yes", "StrictHostKeyChecking=yes", "HostKeyAlias=target"]
    settings += [f"UserKnownHostsFile={file}", "GlobalKnownHostsFile=/dev/null", f"IdentityFile={user_key}"]
    settings += ["KexAlgorithms=curve25519-sha256", "LogLevel=ERROR"]
    arguments = [word for setting in settings for word in ("-o", setting)]
    done = subprocess.run(
        ["ssh", "-F", "none", *arguments, "-p", str(sshd.port), "127.0.0.1", "true"],
        capture_output=True,
        text=True,
        check=False,
    )
    blob = HostKeys.parse((f"x {public_line(sshd.host_key)}",)).plain
    judgement = HostKeys.parse(index(text).lookup(["target"], "target")).judge_key(next(iter(blob)))
    assert (judgement.trust is Trust.TRUSTED) == (done.returncode == 0), done.stderr
    changed = "IDENTIFICATION HAS CHANGED" in done.stderr
    assert (judgement.trust is Trust.CHANGED) == changed, done.stderr


def test_a_hashed_entry_is_compared_until_it_is_found_and_never_again(tmp_path: Path) -> None:
    """What keeps thousands of hosts in a hashed file affordable."""
    names = [f"n{number}" for number in range(300)]
    known = index(hashed("".join(f"{name} {KEY}\n" for name in names), tmp_path))
    for number, name in enumerate(names[:20], start=1):
        assert known.lookup([name], name) == (f"{name} {KEY}",)
        assert len(known._hashed) == 300 - number
    known._hashed.clear()
    assert known.lookup([names[0]], "x") == (f"x {KEY}",)


@settings(max_examples=40, deadline=None)
@given(
    text=st.lists(
        st.tuples(
            st.sampled_from(["", "", "@revoked ", "@cert-authority "]),
            st.sampled_from(["n1", "[n1]:2222", "n2", "*", "!n2,n*", "[n*]:2222"]),
            st.sampled_from([KEY, OTHER]),
        ),
        min_size=1,
    ),
    hosts=st.lists(st.sampled_from([("n1",), ("[n1]:2222", "n1"), ("N2",), ("gone",)])),
)
def test_many_hosts_at_once_get_what_each_gets_alone(
    tmp_path_factory: pytest.TempPathFactory,
    text: list[tuple[str, str, str]],
    hosts: list[tuple[str, ...]],
) -> None:
    lines = "".join(f"{marker}{names} {key}\n" for marker, names, key in text)
    lines = hashed(lines, tmp_path_factory.mktemp("kh"))
    together = index(lines)
    together.prepare(hosts)
    for names in hosts:
        assert together.lookup(names, "x") == index(lines).lookup(names, "x")


def test_hosts_that_were_prepared_for_are_not_compared_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = index(hashed(f"alpha {KEY}\n[beta]:2222 {OTHER}\ngamma {KEY}\n", tmp_path))
    hosts = [("alpha",), ("[beta]:2222", "beta"), ("[gamma]:22", "gamma"), ("gone",)]
    known.prepare(hosts)

    def compare(entries: Sequence[hashednames.Hashed], names: Iterable[bytes]) -> dict[int, bytes]:
        raise AssertionError(f"compared again: {list(names)}")

    monkeypatch.setattr("nile.transport.knownhosts.find", compare)
    found = [keys(known.lookup(names, "x")) for names in hosts]
    assert found == [[KEY], [OTHER], [KEY], []]


def entries_of(names: Iterable[bytes]) -> list[hashednames.Hashed]:
    """Hashed entries with salts as long as ssh's, shorter and longer than a block of SHA-1."""
    salts = [hashlib.sha256(name).digest() * (1 + number % 3) for number, name in enumerate(names)]
    return [(salt, hmac.digest(salt, name, "sha1")) for salt, name in zip(salts, names, strict=True)]


def test_much_work_is_shared_among_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as there are cores, each with a part of the entries, and nothing is left for this one."""
    names = [b"n%d" % number for number in range(50)]
    entries = [entry for entry in entries_of(names) for _ in range(2)]  # two keys a host
    alone = hashednames.find(entries, names[::2])
    assert alone == {number: names[number // 2] for number in range(100) if number % 4 < 2}
    monkeypatch.setattr(hashednames, "ALONE", 100)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2})
    with monkeypatch.context() as patch:
        patch.setattr(hashednames, "compare", None)
        assert hashednames.find(entries, names[::2]) == alone
    monkeypatch.setattr("sys.executable", "/no/such/python")
    assert hashednames.find(entries, names[::2]) == alone
    monkeypatch.setattr("sys.executable", "/bin/false")
    assert hashednames.find(entries, names[::2]) == alone
