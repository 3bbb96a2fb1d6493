"""The keywords of ssh_config(5), and those among them that Nile doesn't take, each with its reason.

Two kinds are refused: what would weaken Nile's promises (host keys checked at every hop, keys that
never leave the root, no prompt), and what would fight the way it uses ssh (one session, whose
standard input and output are the link). What has a setting of its own is refused with its name.
"""

from __future__ import annotations

from difflib import get_close_matches

from nile.topology.refusal import Refusal

_NAMES = """
AddKeysToAgent AddressFamily BatchMode BindAddress BindInterface CanonicalDomains
CanonicalizeFallbackLocal CanonicalizeHostname CanonicalizeMaxDots CanonicalizePermittedCNAMEs
CASignatureAlgorithms CertificateFile ChannelTimeout CheckHostIP Ciphers ClearAllForwardings Compression
ConnectionAttempts ConnectTimeout ControlMaster ControlPath ControlPersist DynamicForward
EnableEscapeCommandline EnableSSHKeysign EscapeChar ExitOnForwardFailure FingerprintHash
ForkAfterAuthentication ForwardAgent ForwardX11 ForwardX11Timeout ForwardX11Trusted GatewayPorts
GlobalKnownHostsFile GSSAPIAuthentication GSSAPIClientIdentity GSSAPIDelegateCredentials
GSSAPIKexAlgorithms GSSAPIKeyExchange GSSAPIRenewalForcesRekey GSSAPIServerIdentity GSSAPITrustDns
HashKnownHosts Host HostbasedAcceptedAlgorithms HostbasedAuthentication HostKeyAlgorithms HostKeyAlias
HostName IdentitiesOnly IdentityAgent IdentityFile IgnoreUnknown Include IPQoS
KbdInteractiveAuthentication KbdInteractiveDevices KexAlgorithms KnownHostsCommand LocalCommand
LocalForward LogLevel LogVerbose MACs Match NoHostAuthenticationForLocalhost NumberOfPasswordPrompts
ObscureKeystrokeTiming PasswordAuthentication PermitLocalCommand PermitRemoteOpen PKCS11Provider Port
PreferredAuthentications ProxyCommand ProxyJump ProxyUseFdpass PubkeyAcceptedAlgorithms
PubkeyAuthentication RefuseConnection RekeyLimit RemoteCommand RemoteForward RequestTTY RequiredRSASize
RevokedHostKeys SecurityKeyProvider SendEnv ServerAliveCountMax ServerAliveInterval SessionType SetEnv
StdinNull StreamLocalBindMask StreamLocalBindUnlink StrictHostKeyChecking SyslogFacility Tag TCPKeepAlive
Tunnel TunnelDevice UpdateHostKeys User UserKnownHostsFile VerifyHostKeyDNS VersionAddendum VisualHostKey
WarnWeakCrypto XAuthLocation
"""

KEYWORDS = tuple(_NAMES.split())
"""As of OpenSSH 10.2, in the spelling of its manual."""

_SPELLING = {keyword.lower(): keyword for keyword in KEYWORDS} | {
    # Older names that ssh still takes for the same setting (readconf.c).
    "challengeresponseauthentication": "KbdInteractiveAuthentication",
    "hostbasedkeytypes": "HostbasedAcceptedAlgorithms",
    "pubkeyacceptedkeytypes": "PubkeyAcceptedAlgorithms",
    "smartcarddevice": "PKCS11Provider",
}

_HOST_KEYS = "host keys are checked strictly at every hop; collect missing ones with `nile hostkeys`"
_PROMPT = "Nile logs in with keys and never prompts"
_PASSWORD = "Nile logs in with keys, and by a password only where --ask-pass is given"
_LINK = "standard input and output of the session are Nile's link to the host"
_FORWARD = "Nile forwards nothing through a host; keys stay at the root, which signs through the tree"
_SHARED = "a shared connection would outlive its link, and a lost parent would go unnoticed"
_LOCAL = "it would run a program at every login, on relays too"
_STRUCTURE = (
    "it structures a configuration file and is no setting; write hosts and groups into the route file"
)

OWN_SETTING = {
    "User": "`user:` (on the command line -l)",
    "Port": "`port:`",
    "IdentityFile": "`ssh: {identity: FILE}`",
    "HostName": "`address:` of a host",
    "HostKeyAlias": "`host_key_alias:` of a host",
    "ConnectTimeout": "`timeouts: {connect: 10s}` (on the command line -t)",
}
"""Keywords that have a setting of their own in Nile, and how that is written."""

_UNLESS: dict[str, tuple[tuple[str, ...], str]] = {
    "StrictHostKeyChecking": (("yes",), _HOST_KEYS),
    "NoHostAuthenticationForLocalhost": (("no",), _HOST_KEYS),
    "VerifyHostKeyDNS": (("no",), _HOST_KEYS),
    "UpdateHostKeys": (("no",), "a relay has no known_hosts file of its own that could be updated"),
    "BatchMode": (("yes",), _PROMPT),
    "PasswordAuthentication": (("no",), _PASSWORD),
    "KbdInteractiveAuthentication": (("no",), _PASSWORD),
    "NumberOfPasswordPrompts": (("0",), _PROMPT),
    "AddKeysToAgent": (("no",), "keys stay as they are"),
    "GSSAPIDelegateCredentials": (("no",), "credentials are delegated by `ssh: {delegate: yes}` alone"),
    "GSSAPIKeyExchange": (("no",), _HOST_KEYS),
    "RequestTTY": (("no", "auto"), _LINK),
    "SessionType": (("default",), _LINK),
    "StdinNull": (("no",), _LINK),
    "ForkAfterAuthentication": (("no",), _LINK),
    "EscapeChar": (("none",), _LINK),
    "EnableEscapeCommandline": (("no",), _LINK),
    "RemoteCommand": (("none",), _LINK),
    "ForwardAgent": (("no",), _FORWARD),
    "ForwardX11": (("no",), _FORWARD),
    "ForwardX11Trusted": (("no",), _FORWARD),
    "GatewayPorts": (("no",), _FORWARD),
    "Tunnel": (("no",), _FORWARD),
    "ClearAllForwardings": (("yes", "no"), _FORWARD),
    "LocalForward": ((), _FORWARD),
    "RemoteForward": ((), _FORWARD),
    "DynamicForward": ((), _FORWARD),
    "ControlMaster": (("no",), _SHARED),
    "ControlPath": (("none",), _SHARED),
    "ControlPersist": (("no",), _SHARED),
    "PermitLocalCommand": (("no",), _LOCAL),
    "LocalCommand": ((), _LOCAL),
    "LogLevel": ((), "Nile sets it, and tells failures apart by what ssh says"),
    "LogVerbose": ((), "Nile sets what ssh logs, and tells failures apart by what ssh says"),
    "RefuseConnection": ((), "it makes every login fail"),
    "Host": ((), _STRUCTURE),
    "Match": ((), _STRUCTURE),
    "Include": ((), _STRUCTURE),
    "Tag": ((), _STRUCTURE),
}
"""Keyword -> (values that do no harm, why others are refused)."""


def canonical(keyword: str) -> str:
    """The spelling of ssh_config(5) for a keyword in any case; raises `Refusal` for an unknown one."""
    if found := _SPELLING.get(keyword.lower()):
        return found
    near = get_close_matches(keyword.lower(), list(_SPELLING), n=1)
    remedy = f"did you mean {_SPELLING[near[0]]}?" if near else "see ssh_config(5) for those there are"
    raise Refusal(f"'{keyword}' is no ssh_config keyword", remedy)


def check_option(keyword: str, value: str) -> None:
    """Raise `Refusal` for an option that Nile doesn't take; `keyword` is canonical."""
    if not value.strip() or not value.isprintable():
        raise Refusal(f"{keyword} has no usable value", f"give one line of printable text: {keyword}=VALUE")
    if keyword in OWN_SETTING:
        raise Refusal(f"{keyword} has a setting of its own", f"write {OWN_SETTING[keyword]}")
    if keyword in _UNLESS and value.strip().lower() not in _UNLESS[keyword][0]:
        raise Refusal(f"{keyword}={value} is not taken: {_UNLESS[keyword][1]}", "take the option out")
    if keyword == "UserKnownHostsFile" and value.strip().lower() in ("none", "/dev/null"):
        raise Refusal(f"{keyword}={value} is not taken: {_HOST_KEYS}", "name a file, or take the option out")
