"""The effective ssh configuration of many hosts, by as few runs of `ssh -G` as are needed."""

from __future__ import annotations

import os
import pwd
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from shutil import which

from nile.errors import SshConfigError
from nile.transport.sshscan import ConfigScan, scan

AT_ONCE = 4
TIMEOUT_S = 60.0
SYSTEM = Path("/etc/ssh")

Values = Mapping[str, tuple[str, ...]]
"""Keyword in lower case -> its values, as `ssh -G` prints them (several for IdentityFile and its like)."""

_HOLE = "\0"


@dataclass(frozen=True, slots=True)
class Query:
    """A host and what the route file says over ssh_config: `arguments` for ssh, equal for equal settings."""

    name: str
    arguments: tuple[str, ...] = ()
    hostname: str | None = None
    """An address that the route file gives, as HostName."""


@dataclass(frozen=True, slots=True)
class Effective:
    """The answer for one host; hosts that the configuration can't tell apart share `values`."""

    hostname: str
    values: Values

    def one(self, keyword: str, default: str = "") -> str:
        """The value of a keyword that has one."""
        return self.values.get(keyword, (default,))[0]

    def many(self, keyword: str) -> tuple[str, ...]:
        """The values of a keyword that may have several."""
        return self.values.get(keyword, ())


class SshQuery:
    """Asks `ssh -G`. `config` is what `ssh -F` takes; None means the user's file and the system's."""

    def __init__(self, config: Path | None = None, ssh: str | None = None) -> None:
        self.config = config
        self._ssh = ssh or which("ssh")
        self.runs = 0
        """How many times ssh was run."""

    @cached_property
    def defaults(self) -> Values:
        """What OpenSSH itself would do, without any configuration."""
        if self._ssh is None:
            return {}
        return self._run(["-F", "/dev/null", "-G", "--", "nile.invalid"], "OpenSSH's defaults")

    @cached_property
    def scan(self) -> ConfigScan:
        """What the configuration can tell hosts apart by."""
        return scan(self._files())

    def ask(self, queries: Sequence[Query]) -> dict[str, Effective]:
        """The effective configuration of each host, by name; raises SshConfigError with ssh's complaint."""
        if self._ssh is None:
            return self._without_ssh(queries)
        classes: defaultdict[object, list[Query]] = defaultdict(list)
        for query in queries:
            classes[self._class(query)].append(query)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            pool.submit(getattr, self, "defaults")  # which whoever asks wants to know next
            for members in classes.values():  # a long name stands in no path or option by chance
                members.sort(key=lambda query: len(query.name), reverse=True)
            asked = {query.name: query for members in classes.values() for query in members[:2]}
            said = dict(zip(asked, pool.map(self._ask_one, asked.values()), strict=True))
            answers: dict[str, Effective] = {}
            for members in classes.values():
                answers |= self._of_class(members, said, pool)
        return answers

    def _class(self, query: Query) -> object:
        if self.scan.inexact or query.name != query.name.lower():
            return query.name
        if query.hostname is not None and self.scan.matches_hostname:
            return query.name
        return (query.arguments, self.scan.answers(query.name))

    def _of_class(
        self, members: list[Query], said: Mapping[str, Values], pool: Executor
    ) -> dict[str, Effective]:
        """From what was said of the first two; where more than their names differs, ask for all."""
        two, others = members[:2], members[2:]
        patterns = [_punch(said[query.name], query.name) for query in two]
        if patterns[0] == patterns[-1]:
            return _fill(members, patterns[0])
        found = [*(said[query.name] for query in two), *pool.map(self._ask_one, others)]
        return {query.name: _effective(query, values) for query, values in zip(members, found, strict=True)}

    def _ask_one(self, query: Query) -> Values:
        compared = query.hostname is not None and self.scan.matches_hostname
        override = ["-o", f"HostName={query.hostname}"] if compared else []
        where = f"ssh configuration of {query.name}"
        return self._run([*self._chosen(), "-G", *override, *query.arguments, "--", query.name], where)

    def _run(self, arguments: list[str], where: str) -> Values:
        assert self._ssh is not None
        self.runs += 1
        try:
            done = subprocess.run(
                [self._ssh, *arguments],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=TIMEOUT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as exc:
            raise SshConfigError(f"ssh can't be asked for it: {exc}", where=where) from exc
        if done.returncode != 0:
            raise SshConfigError(
                _complaint(done.stderr) or f"ssh -G ended with status {done.returncode}",
                where=where,
                remedy="Mend the ssh configuration, or the `options` of the route file.",
            )
        return _parse(done.stdout)

    def _chosen(self) -> list[str]:
        return ["-F", str(self.config)] if self.config is not None else []

    def _files(self) -> list[tuple[Path, Path]]:
        # As ssh does it: the home directory of the password file, whatever $HOME says.
        user = Path(pwd.getpwuid(os.getuid()).pw_dir) / ".ssh"
        if self.config is not None:
            return [(self.config, user)]
        return [(user / "config", user), (SYSTEM / "ssh_config", SYSTEM)]

    def _without_ssh(self, queries: Iterable[Query]) -> dict[str, Effective]:
        """No ssh client here: OpenSSH's defaults, unless there is a configuration that would be ignored."""
        if self.scan.says_something:
            files = " and ".join(str(path) for path, _ in self._files() if path.exists())
            raise SshConfigError(
                "there is an ssh configuration, and no ssh that could read it",
                where=files,
                remedy="Install the OpenSSH client (openssh-client or openssh-clients).",
            )
        user = pwd.getpwuid(os.getuid()).pw_name
        return {query.name: _from_arguments(query, user) for query in queries}


def _from_arguments(query: Query, user: str) -> Effective:
    """The route file's settings alone."""
    values: dict[str, tuple[str, ...]] = {"user": (user,), "port": ("22",)}
    for option in query.arguments[1::2]:
        keyword, _, value = option.partition("=")
        values[keyword.lower()] = (value,)
    return Effective(query.hostname or query.name.lower(), values)


def _effective(query: Query, values: Values) -> Effective:
    return Effective(query.hostname or values.get("hostname", (query.name,))[0], values)


def _punch(values: Values, name: str) -> dict[str, tuple[str, ...]]:
    """The values with holes where the host's name stands."""
    return {
        keyword: tuple(value.replace(name, _HOLE) for value in several) for keyword, several in values.items()
    }


def _fill(members: Sequence[Query], pattern: Values) -> dict[str, Effective]:
    shared = {keyword: several for keyword, several in pattern.items() if keyword not in ("host", "hostname")}
    own = [keyword for keyword, several in shared.items() if any(_HOLE in value for value in several)]
    hostname = pattern.get("hostname", (_HOLE,))[0]
    answers = {}
    for query in members:
        values: Values = shared
        if own:
            filled = {
                keyword: tuple(value.replace(_HOLE, query.name) for value in shared[keyword])
                for keyword in own
            }
            values = {**shared, **filled}
        answers[query.name] = Effective(query.hostname or hostname.replace(_HOLE, query.name), values)
    return answers


def _parse(output: bytes) -> Values:
    values: defaultdict[str, tuple[str, ...]] = defaultdict(tuple)
    for line in output.decode("utf-8", "surrogateescape").splitlines():
        keyword, _, value = line.partition(" ")
        values[keyword.lower()] += (value,)
    return dict(values)


def _complaint(stderr: bytes) -> str:
    """What ssh said, without the line about giving up."""
    lines = stderr.decode("utf-8", "replace").splitlines()
    kept = [line for line in lines if "terminating" not in line and "Pseudo-terminal" not in line]
    return "; ".join(line.strip() for line in kept if line.strip())
