"""What an effective ssh configuration means for Nile: what is honoured, refused, and sent on to relays."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from nile.errors import SshConfigError
from nile.options import Kex, SshClient
from nile.topology.model import HostSpec
from nile.transport.base import PASSWORD, QUESTIONS
from nile.transport.keys import DEFAULT_FILES, IdentityQuery
from nile.transport.proxy import jump_command
from nile.transport.sshquery import Effective, Query, Values
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
    if spec.ssh.delegate:
        raise SshConfigError(
            "the asyncssh client can't delegate credentials",
            where=f"ssh delegate of {spec.name}",
            remedy="Use OpenSSH's client for this host: `ssh: {client: openssh}`.",
        )
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
        _check_delegation(spec, effective)
        return
    for keyword, (spelling, harmless) in NOT_BY_ASYNCSSH.items():
        if effective.one(keyword).lower() not in harmless:
            raise SshConfigError(
                f"the asyncssh client can't honour {spelling} {effective.one(keyword)}",
                where=where,
                remedy="Use OpenSSH's client for this host: `ssh: {client: openssh}` in the route file.",
            )


def _check_delegation(spec: HostSpec, effective: Effective) -> None:
    """Nothing is delegated by a login that isn't by Kerberos: that is said, rather than nothing done."""
    if spec.ssh.delegate and not _on(effective.one("gssapiauthentication")):
        raise SshConfigError(
            "nothing can be delegated: logins by GSSAPI are off",
            where=f"ssh delegate of {spec.name}",
            remedy="Switch them on: `ssh: {options: {GSSAPIAuthentication: yes}}` (with an ssh that has it).",
        )


def check_relayed_delegation(spec: HostSpec) -> None:
    """A relay that logs in to this host can give it the ticket (`ticket_options`); raises SshConfigError."""
    if spec.ssh.delegate and not _on(spec.ssh.options.get("GSSAPIAuthentication", "")):
        raise SshConfigError(
            "a relay logs in to it, and not by GSSAPI: what ssh_config says of that is of the root only",
            where=f"ssh delegate of {spec.name}",
            remedy="Switch it on in the route file: `ssh: {options: {GSSAPIAuthentication: yes}}`.",
        )


def _on(value: str) -> bool:
    return value.lower() in ("yes", "true")


def password_methods(effective: Effective) -> tuple[str, ...]:
    """By which methods a host may be given the user's password: ssh_config may say that it may not."""
    switches = {QUESTIONS: "kbdinteractiveauthentication", PASSWORD: "passwordauthentication"}
    preferred = effective.one("preferredauthentications", ",".join(switches)).lower().split(",")
    return tuple(
        method
        for method, keyword in switches.items()
        if effective.one(keyword, "yes").lower() != "no" and method in preferred
    )


def identity_query(spec: HostSpec, effective: Effective, defaults: Values) -> IdentityQuery:
    """Which keys a host may be offered: the route file's alone, else as ssh_config says."""
    agent = agent_socket(effective.one("identityagent", "SSH_AUTH_SOCK"), spec, effective)
    certificates = tuple(
        str(file_path(name, spec, effective)) for name in effective.many("certificatefile") if name != "none"
    )
    if spec.ssh.identity is not None:
        return IdentityQuery(
            spec.ssh.identity, certificates, named=True, only=True, agent=agent, required=True
        )
    only = effective.one("identitiesonly") == "yes"
    files = effective.many("identityfile")
    if not files or files == defaults.get("identityfile"):
        return IdentityQuery(DEFAULT_FILES, certificates, only=only, agent=agent)
    named = tuple(str(file_path(name, spec, effective)) for name in files if name != "none")
    return IdentityQuery(named, certificates, named=True, only=only, agent=agent)


def agent_socket(said: str, spec: HostSpec, effective: Effective) -> str | None:
    """The path that IdentityAgent means: the environment's, a variable, a file, or none."""
    if said == "none":
        return None
    if said in ("", "SSH_AUTH_SOCK"):
        return os.environ.get("SSH_AUTH_SOCK") or None
    if said.startswith("$") and not said.startswith("${"):
        return os.environ.get(said[1:]) or None
    return str(file_path(said, spec, effective))


def known_hosts_files(spec: HostSpec, effective: Effective) -> tuple[Path, ...]:
    """The user's files, then the system's."""
    names = [*effective.one("userknownhostsfile", "~/.ssh/known_hosts").split()]
    names += effective.one("globalknownhostsfile", "/etc/ssh/ssh_known_hosts").split()
    return tuple(
        file_path(name.strip('"'), spec, effective) for name in names if name not in ("none", "/dev/null")
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


def ticket_options(spec: HostSpec) -> tuple[str, ...]:
    """`Keyword=value` for a relay's ssh where the route file has logins to this host go by Kerberos.

    What ssh_config says of it (in Debian, for every host) is of the root only.
    A key comes first: its signature is the root's permit.
    """
    if not _on(spec.ssh.options.get("GSSAPIAuthentication", "")):
        return ()
    options = ("GSSAPIAuthentication=yes", "PreferredAuthentications=publickey,gssapi-with-mic")
    return (*options, "GSSAPIDelegateCredentials=yes") if spec.ssh.delegate else options


def asyncssh_options(effective: Effective, defaults: Values, config: Path | None) -> tuple[str, ...]:
    """`Keyword=value` for asyncssh, where they differ from OpenSSH's own."""
    options = []
    for keyword in sorted(ASYNCSSH):
        value = _changed(keyword.lower(), effective.values, defaults)
        if value and value != "none" and keyword != "ProxyJump":
            options.append(f"{keyword}={value}")
    return (*options, *_jump_options(effective, config))


def _jump_options(effective: Effective, config: Path | None) -> tuple[str, ...]:
    """A ProxyJump as a command that asks nothing and trusts no unknown host."""
    jump = effective.one("proxyjump")
    if jump in ("", "none"):
        return ()
    named = "gssapikeyexchange" in effective.values  # an ssh without the patch refuses the keyword
    return (f"ProxyCommand={jump_command(jump, config, key_exchange=named)}",)


def openssh_options(
    spec: HostSpec, effective: Effective, defaults: Values, config: Path | None
) -> tuple[str, ...]:
    """`Keyword=value` for the root's own ssh, which reads ssh_config itself.

    That is what the route file adds, and what ssh would do otherwise than Nile
    has it: a jump host's ssh may ask things by $SSH_ASKPASS, and a key exchange
    by GSSAPI (of patched ones only, which name it) checks no host key.
    """
    said = [(keyword, value) for keyword, value in spec.ssh.options.items() if keyword != "ProxyJump"]
    options = [f"{keyword}={value}" for keyword, value in said]
    options += _jump_options(effective, config)
    if _on(effective.one("gssapikeyexchange")):
        options.append("GSSAPIKeyExchange=no")
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


def inside_address(spec: HostSpec, effective: Effective) -> str:
    """What other hosts connect to: the route file's, else HostName of ssh_config, else the name."""
    if spec.address_inside != spec.name or spec.address_root != spec.name:
        return spec.address_inside
    return effective.hostname


def file_path(name: str, spec: HostSpec, effective: Effective) -> Path:
    """A file that a keyword names, its tokens and ~ expanded."""
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
