"""From hosts to logins: everything that ssh needs, resolved at the root once and for all.

The route file's settings win over the user's and the system's ssh_config,
which count at the root alone; what relays need travels in `ResolvedLogin`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nile.errors import CredentialsError
from nile.options import Kex, Signing, SshClient
from nile.topology.model import HostSpec
from nile.transport.base import PublicKey, ResolvedLogin
from nile.transport.jumps import with_whole_ways
from nile.transport.keys import KeyRing
from nile.transport.knownhosts import KnownHosts, known_names, read_revoked
from nile.transport.sshconfig import (
    FILE_KEYWORDS,
    asyncssh_options,
    check_effective,
    check_route_options,
    file_path,
    identity_query,
    inside_address,
    known_hosts_files,
    openssh_options,
    password_methods,
    relay_options,
    route_query,
    ticket_options,
)
from nile.transport.sshquery import Effective, SshQuery


def resolve_logins(
    specs: Sequence[HostSpec],
    ring: KeyRing | None,
    *,
    query: SshQuery | None = None,
    notices: list[str] | None = None,
    keyless: bool = False,
) -> dict[str, ResolvedLogin]:
    """The logins of `specs` by host name; the command line's ssh options must stand in `spec.ssh` already.

    Runs `ssh -G`, reads known_hosts, and may ask for passphrases through the
    ring; so call it before a run. Without a ring the logins have no identities
    and can only be looked at; with `keyless` they may have none, for there is
    another way in. Raises SshConfigError, KnownHostsError or CredentialsError.
    Lines for the user are appended to `notices`.
    """
    resolver = _Resolver(ring, query or SshQuery(), keyless=keyless)
    logins = resolver.resolve(specs)
    if notices is not None:
        notices += resolver.notices()
    return logins


@dataclass(frozen=True, slots=True)
class _Profile:
    """What hosts with the same settings share."""

    identities: tuple[PublicKey, ...]
    relay_options: tuple[str, ...]
    root_options: tuple[str, ...]
    files: tuple[Path, ...]
    revoked: tuple[str, ...]


class _Resolver:
    def __init__(self, ring: KeyRing | None, query: SshQuery, *, keyless: bool) -> None:
        self._ring = ring
        self._keyless = keyless
        self._query = query
        self._known: dict[tuple[Path, ...], KnownHosts] = {}
        self._profiles: dict[object, _Profile] = {}

    def resolve(self, specs: Sequence[HostSpec]) -> dict[str, ResolvedLogin]:
        for spec in specs:
            check_route_options(spec)
        effective = with_whole_ways(self._query.ask([route_query(spec) for spec in specs]), self._query)
        self._prepare(specs, effective)
        return {spec.name: self._resolve_one(spec, effective[spec.name]) for spec in specs}

    def notices(self) -> list[str]:
        """What the user should know of known_hosts files and keys."""
        lines = [line for known in self._known.values() for line in known.notices]
        return lines + (self._ring.notices if self._ring is not None else [])

    def _prepare(self, specs: Sequence[HostSpec], effective: dict[str, Effective]) -> None:
        """Look for all hosts in known_hosts at once: one by one is slow where names are hashed."""
        names: defaultdict[tuple[Path, ...], list[tuple[str, ...]]] = defaultdict(list)
        for spec in specs:
            values = effective[spec.name]
            names[self._profile(spec, values).files].append(_known_names(spec, values))
        for files, hosts in names.items():
            self._known_hosts(files).prepare(hosts)

    def _resolve_one(self, spec: HostSpec, effective: Effective) -> ResolvedLogin:
        profile = self._profile(spec, effective)
        name = _alias(spec, effective) or effective.hostname
        names = _known_names(spec, effective)
        lines = self._known_hosts(profile.files).lookup(names, name)
        return ResolvedLogin(
            host=spec.name,
            hostname_root=effective.hostname,
            hostname_inside=inside_address(spec, effective),
            port=_port(effective),
            user=effective.one("user"),
            host_key_alias=name,
            known_hosts=lines + tuple(f"@revoked {name} {key}" for key in profile.revoked),
            identities=profile.identities,
            relay_options=profile.relay_options,
            client=spec.ssh.client or SshClient.ASYNCSSH,
            kex=spec.ssh.kex or Kex.FAST,
            signing=spec.ssh.signing or Signing.AUTO,
            root_options=profile.root_options,
            delegate=spec.ssh.delegate is True,
            known_hosts_name=names[0],
            known_hosts_file=str(profile.files[0]) if profile.files else "",
            password_methods=password_methods(effective),
            hash_known_hosts=effective.one("hashknownhosts") in ("yes", "true"),
        )

    def _profile(self, spec: HostSpec, effective: Effective) -> _Profile:
        ssh = spec.ssh
        own = spec.name if _has_tokens(effective) else ""
        key = (id(effective.values), own, ssh.identity, ssh.client, ssh.kex, ssh.delegate)
        if key not in self._profiles:
            self._profiles[key] = self._make_profile(spec, effective)
        return self._profiles[key]

    def _make_profile(self, spec: HostSpec, effective: Effective) -> _Profile:
        check_effective(spec, effective)
        kex = spec.ssh.kex or Kex.FAST
        if spec.ssh.client is SshClient.OPENSSH:
            root = openssh_options(spec, effective, self._query.defaults, self._query.config)
        else:
            root = asyncssh_options(effective, self._query.defaults, self._query.config)
        revoked = effective.one("revokedhostkeys")
        return _Profile(
            identities=self._identities(spec, effective),
            relay_options=relay_options(effective.values, self._query.defaults, kex) + ticket_options(spec),
            root_options=root,
            files=known_hosts_files(spec, effective),
            revoked=read_revoked(file_path(revoked, spec, effective)) if revoked not in ("", "none") else (),
        )

    def _identities(self, spec: HostSpec, effective: Effective) -> tuple[PublicKey, ...]:
        if self._ring is None:
            return ()
        keys = self._ring.identities(identity_query(spec, effective, self._query.defaults))
        if not (keys or self._keyless) and spec.ssh.client is not SshClient.OPENSSH:
            raise CredentialsError(
                "there is no key to log in with",
                where=f"ssh identity of {spec.name}",
                remedy="Start an ssh-agent and ssh-add a key, or name a file: `ssh: {identity: FILE}`.",
            )
        return keys

    def _known_hosts(self, files: tuple[Path, ...]) -> KnownHosts:
        if files not in self._known:
            self._known[files] = KnownHosts.read(files)
        return self._known[files]


def _alias(spec: HostSpec, effective: Effective) -> str | None:
    return spec.host_key_alias or effective.one("hostkeyalias") or None


def _port(effective: Effective) -> int:
    return int(effective.one("port", "22"))


def _known_names(spec: HostSpec, effective: Effective) -> tuple[str, ...]:
    return known_names(effective.hostname, _port(effective), _alias(spec, effective))


def _has_tokens(effective: Effective) -> bool:
    """A file's name may differ from host to host: `ssh -G` prints some tokens as they stand."""
    return any("%" in value for keyword in FILE_KEYWORDS for value in effective.many(keyword))
