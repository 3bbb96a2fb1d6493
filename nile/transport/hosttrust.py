"""Which host keys are trusted: the judgement that the root passes, at its own logins and when it signs.

It follows OpenSSH's sshconnect.c: a revoked key or authority is refused first,
then a certificate counts if a trusted authority signed it for the host's name,
then the bare key counts if it is known. A key that isn't known where another
one is means "changed", else "unknown".
"""

from __future__ import annotations

import binascii
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from nile.transport.sshlib import public_key
from nile.transport.wire import WireError, algorithm

CERTIFICATE_SUFFIX = "-cert-v01@openssh.com"


class Trust(StrEnum):
    """What is to be thought of a host key."""

    TRUSTED = "trusted"
    UNKNOWN = "unknown"
    CHANGED = "changed"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class Judgement:
    """A `trust`, and in a few words why it isn't more."""

    trust: Trust
    why: str = ""


TRUSTED = Judgement(Trust.TRUSTED)


@dataclass(frozen=True, slots=True)
class HostKeys:
    """Public keys (wire form) that known_hosts holds for one host, by marker."""

    plain: frozenset[bytes]
    authorities: frozenset[bytes]
    revoked: frozenset[bytes]

    @classmethod
    def parse(cls, lines: Iterable[str]) -> HostKeys:
        """From known_hosts lines that all bear on the host; raises ValueError on one that is none."""
        sets: dict[str, set[bytes]] = {"": set(), "@cert-authority": set(), "@revoked": set()}
        for line in lines:
            words = line.split()
            marker = words.pop(0) if words and words[0].startswith("@") else ""
            if marker not in sets or len(words) < 3:
                raise ValueError(f"not a known_hosts line: {line!r}")
            sets[marker].add(binascii.a2b_base64(words[2]))
        return cls(frozenset(sets[""]), frozenset(sets["@cert-authority"]), frozenset(sets["@revoked"]))

    def judge(self, blob: bytes, name: str) -> Judgement:
        """What to think of a host that calls itself `name` and proved to hold `blob` (key or certificate)."""
        try:
            kind = algorithm(blob)
        except WireError as exc:
            return Judgement(Trust.UNKNOWN, f"its host key can't be read: {exc}")
        if kind.endswith(CERTIFICATE_SUFFIX):
            return self._judge_certificate(blob, name)
        return self.judge_key(blob)

    def judge_key(self, blob: bytes) -> Judgement:
        """The same for a bare key."""
        if blob in self.revoked:
            return Judgement(Trust.REVOKED, "its host key is marked @revoked")
        if blob in self.plain:
            return TRUSTED
        if self.plain:
            return Judgement(Trust.CHANGED, "its host key isn't the one in known_hosts")
        return Judgement(Trust.UNKNOWN, "no host key of it is in known_hosts")

    def judge_authority(self, blob: bytes) -> Judgement:
        """The same for an authority that signed a host certificate."""
        if blob in self.revoked:
            return Judgement(Trust.REVOKED, "the authority of its host certificate is marked @revoked")
        if blob in self.authorities:
            return TRUSTED
        return Judgement(Trust.UNKNOWN, "no trusted authority signed its host certificate")

    def _judge_certificate(self, blob: bytes, name: str) -> Judgement:
        try:
            certificate = public_key.decode_ssh_certificate(blob)
        except public_key.KeyImportError as exc:
            return Judgement(Trust.UNKNOWN, f"its host certificate is no good: {exc}")
        if not isinstance(certificate, public_key.SSHOpenSSHCertificate):
            return Judgement(Trust.UNKNOWN, "its host certificate is of an unknown kind")
        authority = self.judge_authority(certificate.signing_key.public_data)
        if authority.trust is Trust.REVOKED:
            return authority
        bare = self.judge_key(certificate.key.public_data)
        if bare.trust in (Trust.REVOKED, Trust.TRUSTED):
            return bare
        if authority.trust is not Trust.TRUSTED:
            return bare if bare.trust is Trust.CHANGED else authority
        try:
            certificate.validate(public_key.CERT_TYPE_HOST, name)
        except ValueError as exc:
            return Judgement(Trust.UNKNOWN, f"its host certificate isn't valid for {name}: {exc}")
        return TRUSTED
