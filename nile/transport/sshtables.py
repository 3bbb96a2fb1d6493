"""What becomes of each ssh_config keyword: which client honours it, and what travels to relays.

Nile speaks in three voices: asyncssh at the root, `ssh` at the root
(`client: openssh`), and `ssh` on relays, which reads no file there.
"""

from __future__ import annotations

RESOLVED_AT_ROOT = frozenset(
    [
        "CanonicalDomains",
        "CanonicalizeFallbackLocal",
        "CanonicalizeHostname",
        "CanonicalizeMaxDots",
        "CanonicalizePermittedCNAMEs",
        "CertificateFile",
        "GlobalKnownHostsFile",
        "HashKnownHosts",
        "IdentitiesOnly",
        "IdentityAgent",
        "IgnoreUnknown",
        "KbdInteractiveAuthentication",
        "PasswordAuthentication",
        "RevokedHostKeys",
        "UserKnownHostsFile",
    ]
)
"""Honoured by Nile itself, whatever the client."""

ASYNCSSH = frozenset(
    [
        "AddressFamily",
        "BindAddress",
        "Ciphers",
        "Compression",
        "HostKeyAlgorithms",
        "KexAlgorithms",
        "MACs",
        "ProxyCommand",
        "ProxyJump",
        "PubkeyAcceptedAlgorithms",
        "RekeyLimit",
        "TCPKeepAlive",
    ]
)
"""Handed to asyncssh, where they differ from OpenSSH's default."""

WITHOUT_EFFECT = frozenset(
    [
        "AddKeysToAgent",
        "BatchMode",
        "CheckHostIP",
        "ClearAllForwardings",
        "ConnectionAttempts",
        "ControlMaster",
        "ControlPath",
        "ControlPersist",
        "EnableEscapeCommandline",
        "EscapeChar",
        "ExitOnForwardFailure",
        "FingerprintHash",
        "ForkAfterAuthentication",
        "ForwardAgent",
        "ForwardX11",
        "ForwardX11Timeout",
        "ForwardX11Trusted",
        "GatewayPorts",
        "GSSAPIDelegateCredentials",
        "GSSAPIKeyExchange",
        "NoHostAuthenticationForLocalhost",
        "NumberOfPasswordPrompts",
        "PermitLocalCommand",
        "RemoteCommand",
        "RequestTTY",
        "ServerAliveCountMax",
        "ServerAliveInterval",
        "SessionType",
        "StdinNull",
        "StrictHostKeyChecking",
        "SyslogFacility",
        "Tunnel",
        "UpdateHostKeys",
        "VerifyHostKeyDNS",
        "VisualHostKey",
        "XAuthLocation",
    ]
)
"""A route file may say them: its values for them are what Nile does anyway, or concern people only."""

RELAYS: tuple[tuple[str, str], ...] = (
    ("addressfamily", "AddressFamily"),
    ("ciphers", "Ciphers"),
    ("macs", "MACs"),
    ("hostkeyalgorithms", "HostKeyAlgorithms"),
    # The name before OpenSSH 8.5, which newer ones still take: relays may be old.
    ("pubkeyacceptedalgorithms", "PubkeyAcceptedKeyTypes"),
    ("casignaturealgorithms", "CASignatureAlgorithms"),
    ("compression", "Compression"),
    ("ipqos", "IPQoS"),
    ("rekeylimit", "RekeyLimit"),
    ("tcpkeepalive", "TCPKeepAlive"),
)
"""Keyword as `ssh -G` prints it, and as a relay's ssh gets it; key exchange has a rule of its own."""

SWITCHES_CHECKS_OFF = {
    "stricthostkeychecking": ("no", "off", "false"),
    "userknownhostsfile": ("none",),
    "nohostauthenticationforlocalhost": ("yes", "true"),
}
"""Values by which ssh_config would have host keys go unchecked: an error with every client."""

NOT_BY_ASYNCSSH = {
    "bindinterface": ("BindInterface", ("",)),
    "knownhostscommand": ("KnownHostsCommand", ("", "none")),
    "pkcs11provider": ("PKCS11Provider", ("", "none")),
    "proxyusefdpass": ("ProxyUseFdpass", ("", "no", "false")),
    "pubkeyauthentication": ("PubkeyAuthentication", ("", "yes", "true", "unbound", "host-bound")),
}
"""Keyword -> (its spelling, values that do no harm): set in ssh_config, they decide whether a login works."""
