"""The root's known_hosts files, read once, asked for thousands of hosts.

The format is sshd(8)'s, the semantics those of OpenSSH's hostfile.c: names may
be hashed, patterns with wildcards, or negated; markers say `@cert-authority`
and `@revoked`; what is malformed is skipped (and told). What comes out are
lines for one host alone, fit for a relay that checks strictly and has nothing
else to go by.

Plain names stand in a dictionary. A hashed name can only be compared: one
HMAC per entry and host (see `hashednames`). So whoever has many hosts to look
up says so at once (`prepare`), and an entry that found its host isn't tried
again.
"""

from __future__ import annotations

import binascii
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nile.errors import KnownHostsError
from nile.transport.hashednames import find
from nile.transport.patterns import Patterns
from nile.transport.wire import WireError, algorithm

MARKERS = ("@cert-authority", "@revoked")
HASHED = "|1|"
MAX_FILE = 256 << 20


@dataclass(frozen=True, slots=True)
class Entry:
    """One line: `marker` is empty or one of `MARKERS`; the key isn't decoded yet."""

    marker: str
    kind: str
    key: str
    where: str
    """File and line number."""

    def line(self, name: str) -> str:
        """The line for one plain name."""
        return f"{self.marker} {name} {self.kind} {self.key}".lstrip()

    def problem(self) -> str:
        """Why the key is no key; empty if it is one."""
        try:
            blob = binascii.a2b_base64(self.key, strict_mode=True)
            return "" if algorithm(blob) == self.kind else f"the key isn't of type {self.kind}"
        except (binascii.Error, WireError):
            return "the key is garbled"


@dataclass(frozen=True, slots=True)
class _HashedName:
    """The name in a hashed line, to be compared with."""

    salt: bytes
    wanted: bytes
    entry: Entry


class KnownHosts:
    """An index over known_hosts files. `notices` names the lines that were skipped."""

    def __init__(self) -> None:
        self.notices: list[str] = []
        self._plain: defaultdict[str, list[Entry]] = defaultdict(list)
        self._patterns: list[tuple[Patterns, Entry]] = []
        self._hashed: list[_HashedName] = []
        self._unhashed: dict[str, list[Entry]] = {}
        self._good: dict[Entry, bool] = {}

    @classmethod
    def read(cls, files: Iterable[Path]) -> KnownHosts:
        """Index those of `files` that exist; one that can't be read raises KnownHostsError."""
        index = cls()
        for path in files:
            try:
                if path.stat().st_size > MAX_FILE:
                    raise KnownHostsError(f"more than {MAX_FILE >> 20} MiB", where=str(path))
                text = path.read_bytes().decode("utf-8", "surrogateescape")
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as exc:
                raise KnownHostsError(
                    f"can't be read: {exc.strerror}",
                    where=str(path),
                    remedy="Make it readable, or name other files by UserKnownHostsFile.",
                ) from exc
            index.add(text, str(path))
        return index

    def add(self, text: str, source: str) -> None:
        """Index the lines of one file's text."""
        for number, line in enumerate(text.split("\n"), start=1):
            words = line.split(None, 4)
            if not words or words[0].startswith("#"):
                continue
            problem = self._add_line(words, f"{source}:{number}")
            if problem:
                self.notices.append(f"{source}:{number}: skipped: {problem}")

    def prepare(self, hosts: Iterable[Sequence[str]]) -> None:
        """Compare hashed entries with many hosts at once, each given by its names as in `lookup`.

        `lookup` gives the same without it, but one host after another, on one core.
        """
        waiting = list(hosts)
        while waiting:
            self._unhash(names[0].lower() for names in waiting)
            waiting = [names[1:] for names in waiting if names[1:] and not _has_key(self._entries(names[0]))]

    def lookup(self, names: Sequence[str], rewritten: str) -> tuple[str, ...]:
        """The lines that bear on a host, under the name `rewritten`.

        `names` are what it is called in known_hosts, the best first: a later
        one counts only where the ones before have no host key of their own
        (OpenSSH looks for `[host]:port`, then for `host`).
        """
        found: dict[str, None] = {}
        for name in names:
            entries = self._entries(name)
            found.update((entry.line(rewritten), None) for entry in entries)
            if _has_key(entries):
                break
        return tuple(found)

    def _add_line(self, words: list[str], where: str) -> str:
        """Index a line; what is wrong with it, or nothing."""
        marker = ""
        if words[0].startswith("@"):
            marker = words.pop(0)
            if marker not in MARKERS:
                return f"unknown marker {marker}"
        if len(words) < 3:
            return "not a name, a key type and a key"
        names, kind, key = words[:3]
        entry = Entry(marker, kind, key, where)
        if names.startswith("|"):
            return self._add_hashed(names, entry)
        if any(char in names for char in "*?!"):
            self._patterns.append((Patterns(names.lower().split(",")), entry))
            return ""
        for name in names.lower().split(","):
            self._plain[name].append(entry)
        return ""

    def _add_hashed(self, names: str, entry: Entry) -> str:
        try:
            _, _, salt, wanted = names.split("|")
            if not names.startswith(HASHED):
                return "unknown kind of hash"
            hashed = _HashedName(binascii.a2b_base64(salt), binascii.a2b_base64(wanted), entry)
        except ValueError:
            return "garbled hash"
        self._hashed.append(hashed)
        return ""

    def _entries(self, name: str) -> list[Entry]:
        """The good entries of a name, in any case of letters."""
        name = name.lower()
        if name not in self._unhashed:
            self._unhash([name])
        entries = [*self._plain.get(name, ()), *self._unhashed[name]]
        entries += [entry for patterns, entry in self._patterns if patterns.match(name)]
        return [entry for entry in entries if self._is_good(entry)]

    def _unhash(self, names: Iterable[str]) -> None:
        """Find the hashed entries of names, which are taken out: no other name has the same hash."""
        by_bytes = {
            name.encode("utf-8", "surrogateescape"): name for name in names if name not in self._unhashed
        }
        found = find([(hashed.salt, hashed.wanted) for hashed in self._hashed], by_bytes)
        self._unhashed.update((name, []) for name in by_bytes.values())
        for number, name in found.items():
            self._unhashed[by_bytes[name]].append(self._hashed[number].entry)
        if found:
            self._hashed = [hashed for number, hashed in enumerate(self._hashed) if number not in found]

    def _is_good(self, entry: Entry) -> bool:
        if entry not in self._good:
            problem = entry.problem()
            self._good[entry] = not problem
            if problem:
                self.notices.append(f"{entry.where}: skipped: {problem}")
        return self._good[entry]


def _has_key(entries: Iterable[Entry]) -> bool:
    """Is there a host key among them, or are there only marked lines?"""
    return any(not entry.marker for entry in entries)


def known_names(hostname: str, port: int, alias: str | None) -> tuple[str, ...]:
    """What a host is called in known_hosts: OpenSSH's rule, an alias counting without a port."""
    if alias:
        return (alias,)
    if port == 22:
        return (hostname,)
    return (f"[{hostname}]:{port}", hostname)


def read_revoked(path: Path) -> tuple[str, ...]:
    """Keys (type and base64) in a RevokedHostKeys file; raises KnownHostsError for one that can't be used.

    A file that is named must be there: OpenSSH refuses every host otherwise.
    """
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise KnownHostsError(
            f"this list of revoked host keys can't be read: {exc.strerror}",
            where=str(path),
            remedy="Mend it, or take RevokedHostKeys out of the configuration.",
        ) from exc
    if data.startswith(b"SSHKRL\n\0"):
        raise KnownHostsError(
            "this is a binary key revocation list, which can't travel with a plan",
            where=str(path),
            remedy="Name a file of public keys, one a line, or use @revoked lines in known_hosts.",
        )
    lines = (line.split() for line in data.decode("utf-8", "replace").splitlines())
    return tuple(" ".join(words[:2]) for words in lines if len(words) >= 2 and not words[0].startswith("#"))
