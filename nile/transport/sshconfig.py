"""From hosts to logins: everything that ssh needs, resolved at the root once and for all.

The route file's settings win over the user's and the system's ssh_config,
which count at the root alone; what relays need travels in `ResolvedLogin`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nile.errors import CredentialsError, SshConfigError
from nile.options import Kex, Signing, SshClient
from nile.topology.model import HostSpec
from nile.transport.base import PublicKey, ResolvedLogin
from nile.transport.keys import DEFAULT_FILES, IdentityQuery, KeyRing
from nile.transport.knownhosts import KnownHosts, known_names, read_revoked
from nile.transport.proxy import jump_command
from nile.transport.sshquery import Effective, Query, SshQuery, Values
from nile.transport.sshtables import (
    ASYNCSSH,
    NOT_BY_ASYNCSSH,
    RELAYS,
    RESOLVED_AT_ROOT,
    SWITCHES_CHECKS_OFF,
    WITHOUT_EFFECT,
)
from nile.transport.tokens import expand

SNTRUP = "sntrup761"
FILE_KEYWORDS = (
    "certificatefile",
    "globalknownhostsfile",
    "identityagent",
    "identityfile",
    "revokedhostkeys",
    "userknownhostsfile",
)


def resolve_logins(
    specs: Sequence[HostSpec],
    ring: KeyRing,
    *,
    query: SshQuery | None = None,
    notices: list[str] | None = None,
) -> dict[str, ResolvedLogin]:
    """The logins of `specs` by host name; the command line's ssh options must stand in `spec.ssh` already.

    Runs `ssh -G`, reads known_hosts, and may ask for passphrases through the
    ring; so call it before a run. Raises SshConfigError, KnownHostsError or
    CredentialsError. Lines for the user are appended to `notices`.
    """
    resolver = _Resolver(ring, query or SshQuery())
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
    def __init__(self, ring: KeyRing, query: SshQuery) -> None:
        self._ring = ring
        self._query = query
        self._known: dict[tuple[Path, ...], KnownHosts] = {}
        self._profiles: dict[object, _Profile] = {}

    def resolve(self, specs: Sequence[HostSpec]) -> dict[str, ResolvedLogin]:
        for spec in specs:
            check_route_options(spec)
        effective = self._query.ask([route_query(spec) for spec in specs])
        return {spec.name: self._resolve_one(spec, effective[spec.name]) for spec in specs}

    def notices(self) -> list[str]:
        """What the user should know of known_hosts files and keys."""
        lines = [line for known in self._known.values() for line in known.notices]
        return lines + self._ring.notices

    def _resolve_one(self, spec: HostSpec, effective: Effective) -> ResolvedLogin:
        profile = self._profile(spec, effective)
        alias = spec.host_key_alias or effective.one("hostkeyalias") or None
        port = int(effective.one("port", "22"))
        name = alias or effective.hostname
        names = known_names(effective.hostname, port, alias)
        lines = self._known_hosts(profile.files).lookup(names, name)
        return ResolvedLogin(
            host=spec.name,
            hostname_root=effective.hostname,
            hostname_inside=_inside(spec, effective),
            port=port,
            user=effective.one("user"),
            host_key_alias=name,
            known_hosts=lines + tuple(f"@revoked {name} {key}" for key in profile.revoked),
            identities=profile.identities,
            relay_options=profile.relay_options,
            client=spec.ssh.client or SshClient.ASYNCSSH,
            kex=spec.ssh.kex or Kex.FAST,
            signing=spec.ssh.signing or Signing.AUTO,
            root_options=profile.root_options,
            known_hosts_name=names[0],
            known_hosts_file=str(profile.files[0]) if profile.files else "",
        )

    def _profile(self, spec: HostSpec, effective: Effective) -> _Profile:
        ssh = spec.ssh
        own = spec.name if _has_tokens(effective) else ""
        key = (id(effective.values), own, ssh.identity, ssh.client, ssh.kex)
        if key not in self._profiles:
            self._profiles[key] = self._make_profile(spec, effective)
        return self._profiles[key]

    def _make_profile(self, spec: HostSpec, effective: Effective) -> _Profile:
        check_effective(spec, effective)
        kex = spec.ssh.kex or Kex.FAST
        if spec.ssh.client is SshClient.OPENSSH:
            root = openssh_options(spec, effective, self._query.defaults)
        else:
            root = asyncssh_options(effective, self._query.defaults, self._query.config)
        revoked = effective.one("revokedhostkeys")
        return _Profile(
            identities=self._identities(spec, effective),
            relay_options=relay_options(effective.values, self._query.defaults, kex),
            root_options=root,
            files=known_hosts_files(spec, effective),
            revoked=read_revoked(_path(revoked, spec, effective)) if revoked not in ("", "none") else (),
        )

    def _identities(self, spec: HostSpec, effective: Effective) -> tuple[PublicKey, ...]:
        keys = self._ring.identities(identity_query(spec, effective, self._query.defaults))
        if not keys and spec.ssh.client is not SshClient.OPENSSH:
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


def route_query(spec: HostSpec) -> Query:
    """What `ssh -G` is told of a host: the route file's settings, over its own files."""
    settings = dict(spec.ssh.options)
    if spec.ssh.user is not None:
        settings["User"] = spec.ssh.user
    if spec.ssh.port is not None:
        settings["Port"] = str(spec.ssh.port)
    words = [word for keyword, value in settings.items() for word in ("-o", f"{keyword}={value}")]
    return Query(spec.name, tuple(words), spec.address_root if spec.address_root != spec.name else None)


def check_route_options(spec: HostSpec) -> None:
    """The route file's options for a host are such as its client honours; raises SshConfigError."""
    if spec.ssh.client is SshClient.OPENSSH:
        return
    for keyword in spec.ssh.options:
        if keyword not in ASYNCSSH and keyword not in RESOLVED_AT_ROOT and keyword not in WITHOUT_EFFECT:
            raise SshConfigError(
                f"the asyncssh client can't honour {keyword}",
                where=f"ssh options of {spec.name}",
                remedy="Take it out, or use OpenSSH's client for this host: `ssh: {client: openssh}`.",
            )


def check_effective(spec: HostSpec, effective: Effective) -> None:
    """What ssh_config says can be honoured, and leaves host keys checked; raises SshConfigError."""
    where = f"ssh configuration of {spec.name}"
    for keyword, values in SWITCHES_CHECKS_OFF.items():
        said = effective.one(keyword).lower().split()
        if any(value in said for value in values):
            raise SshConfigError(
                f"{keyword} {' '.join(said)}: Nile always checks host keys",
                where=where,
                remedy="Take it out of ssh_config for this host; `nile hostkeys` collects missing keys.",
            )
    if spec.ssh.client is SshClient.OPENSSH:
        return
    for keyword, (spelling, harmless) in NOT_BY_ASYNCSSH.items():
        if effective.one(keyword).lower() not in harmless:
            raise SshConfigError(
                f"the asyncssh client can't honour {spelling} {effective.one(keyword)}",
                where=where,
                remedy="Use OpenSSH's client for this host: `ssh: {client: openssh}` in the route file.",
            )


def identity_query(spec: HostSpec, effective: Effective, defaults: Values) -> IdentityQuery:
    """Which keys a host may be offered: the route file's alone, else as ssh_config says."""
    agent = agent_socket(effective.one("identityagent", "SSH_AUTH_SOCK"), spec, effective)
    certificates = tuple(
        str(_path(name, spec, effective)) for name in effective.many("certificatefile") if name != "none"
    )
    if spec.ssh.identity is not None:
        return IdentityQuery(
            spec.ssh.identity, certificates, named=True, only=True, agent=agent, required=True
        )
    only = effective.one("identitiesonly") == "yes"
    files = effective.many("identityfile")
    if not files or files == defaults.get("identityfile"):
        return IdentityQuery(DEFAULT_FILES, certificates, only=only, agent=agent)
    named = tuple(str(_path(name, spec, effective)) for name in files if name != "none")
    return IdentityQuery(named, certificates, named=True, only=only, agent=agent)


def agent_socket(said: str, spec: HostSpec, effective: Effective) -> str | None:
    """The path that IdentityAgent means: the environment's, a variable, a file, or none."""
    if said == "none":
        return None
    if said in ("", "SSH_AUTH_SOCK"):
        return os.environ.get("SSH_AUTH_SOCK") or None
    if said.startswith("$") and not said.startswith("${"):
        return os.environ.get(said[1:]) or None
    return str(_path(said, spec, effective))


def known_hosts_files(spec: HostSpec, effective: Effective) -> tuple[Path, ...]:
    """The user's files, then the system's."""
    names = [*effective.one("userknownhostsfile", "~/.ssh/known_hosts").split()]
    names += effective.one("globalknownhostsfile", "/etc/ssh/ssh_known_hosts").split()
    return tuple(
        _path(name.strip('"'), spec, effective) for name in names if name not in ("none", "/dev/null")
    )


def relay_options(values: Values, defaults: Values, kex: Kex) -> tuple[str, ...]:
    """`Keyword=value` for a relay's ssh, where the effective value isn't OpenSSH's own."""
    options = []
    kex_list = _kex_for_relays(values, defaults, kex)
    if kex_list:
        options.append(f"KexAlgorithms={kex_list}")
    for keyword, spelling in RELAYS:
        if value := _changed(keyword, values, defaults):
            options.append(f"{spelling}={value}")
    return tuple(options)


def asyncssh_options(effective: Effective, defaults: Values, config: Path | None) -> tuple[str, ...]:
    """`Keyword=value` for asyncssh, where they differ from OpenSSH's own."""
    options = []
    for keyword in sorted(ASYNCSSH):
        value = _changed(keyword.lower(), effective.values, defaults)
        if value and value != "none" and keyword != "ProxyJump":
            options.append(f"{keyword}={value}")
    jump = effective.one("proxyjump")
    if jump not in ("", "none"):
        options.append(f"ProxyCommand={jump_command(jump, config)}")
    return tuple(options)


def openssh_options(spec: HostSpec, effective: Effective, defaults: Values) -> tuple[str, ...]:
    """`Keyword=value` for the root's own ssh, which reads ssh_config itself: what the route file adds."""
    options = [f"{keyword}={value}" for keyword, value in spec.ssh.options.items()]
    if (spec.ssh.kex or Kex.FAST) is Kex.FAST and "KexAlgorithms" not in spec.ssh.options:
        options += [
            f"KexAlgorithms={names}" for names in [_kex_for_relays(effective.values, defaults, Kex.FAST)]
        ]
    options += [f"IdentityFile={name}" for name in spec.ssh.identity or ()]
    if spec.ssh.identity:
        options.append("IdentitiesOnly=yes")
    return tuple(option for option in options if not option.endswith("="))


def _kex_for_relays(values: Values, defaults: Values, kex: Kex) -> str:
    """The key exchange list, or a change of the relay's own default list; empty: leave it alone.

    A list of one's own is sent as it is, for what it leaves out must stay out
    on a relay whose ssh knows more.
    """
    default = defaults.get("kexalgorithms", ("",))[0]
    said = values.get("kexalgorithms", (default,))[0]
    if kex is Kex.SYSTEM:
        return said if said != default else ""
    if said == default:
        return f"-{SNTRUP}*"
    # A site that wants nothing else keeps it.
    return ",".join(name for name in said.split(",") if not name.startswith(SNTRUP)) or said


def _changed(keyword: str, values: Values, defaults: Values) -> str:
    said = values.get(keyword, ("",))
    return said[0] if said != defaults.get(keyword, ("",)) else ""


def _inside(spec: HostSpec, effective: Effective) -> str:
    """What other hosts connect to: the route file's, else HostName of ssh_config, else the name."""
    if spec.address_inside != spec.name or spec.address_root != spec.name:
        return spec.address_inside
    return effective.hostname


def _has_tokens(effective: Effective) -> bool:
    """A file's name may differ from host to host: `ssh -G` prints some tokens as they stand."""
    return any("%" in value for keyword in FILE_KEYWORDS for value in effective.many(keyword))


def _path(name: str, spec: HostSpec, effective: Effective) -> Path:
    return Path(expand(name, token_values(spec, effective))).expanduser()


def token_values(spec: HostSpec, effective: Effective) -> Mapping[str, str]:
    """Values of ssh_config's percent tokens for a host."""
    return {
        "h": effective.hostname,
        "n": spec.name,
        "k": spec.host_key_alias or effective.one("hostkeyalias") or effective.hostname,
        "p": effective.one("port", "22"),
        "r": effective.one("user"),
    }
