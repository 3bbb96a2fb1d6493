"""Who may take part in the swarm of a run: certificates for its peers, by an authority of its own.

libtorrent's SSL torrents have the authority's certificate in the metainfo
(`ssl-cert`). A peer is accepted if that authority signed its certificate, and
the info dictionary's name, or "*", is among the certificate's alternative names.
So nobody else gets a piece, and nobody in between can read one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

CLOCKS_OFF = timedelta(days=1)
"""So much may a host's clock be behind."""
VALID = timedelta(days=30)
ANY_NAME = "*"
DH_PARAMETERS = """\
-----BEGIN DH PARAMETERS-----
MIIBCAKCAQEA//////////+t+FRYortKmq/cViAnPTzx2LnFg84tNpWp4TZBFGQz
+8yTnc4kmz75fS/jY2MMddj2gbICrsRhetPfHtXV/WVhJDP1H18GbtCFY2VVPe0a
87VXE15/V8k1mE8McODmi3fipona8+/och3xWKE2rec1MKzKT0g6eXq8CrGCsyT7
YdEIqUuyyOP7uWrat2DX9GgdT0Kj3jlN9K5W7edjcrsZCwenyO4KbXCeAvzhzffi
7MA0BM0oNC9hkXL+nOmFg/+OTxIy7vKBg8P+OxtMb61zO7X8vC7CIAXFjvGDfRaD
ssbzSibBsu/6iGtCOGEoXJf//////////wIBAg==
-----END DH PARAMETERS-----
"""
"""What libtorrent's `set_ssl_certificate` wants besides: ffdhe2048 of RFC 7919, the same for all.

Nothing is encrypted by it, since peers agree on an elliptic curve. But without
it libtorrent says `torrent_error_alert`, though it goes on.
"""


@dataclass(frozen=True, slots=True)
class PeerIdentity:
    """What one peer shows: its certificate and the private key of it, both PEM; and what goes with them."""

    certificate: str
    key: str
    parameters: str = DH_PARAMETERS


class Authority:
    """The authority of one run. Its key is kept nowhere else, and is gone with it."""

    def __init__(self, now: datetime | None = None) -> None:
        """Certificates are valid from a day before `now` (default: the present) for 30 days."""
        from cryptography.hazmat.primitives.asymmetric import ec  # see make_identity

        self._begin = (now or datetime.now(UTC)) - CLOCKS_OFF
        self._key = ec.generate_private_key(ec.SECP256R1())

    @cached_property
    def certificate(self) -> str:
        """PEM: the `ssl-cert` of the metainfo."""
        return _pem(self._own)

    def issue(self, name: str) -> PeerIdentity:
        """A key and a certificate for a peer of the torrent with this name in its info dictionary."""
        from cryptography import x509
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
        from cryptography.x509.oid import ExtendedKeyUsageOID

        key = ec.generate_private_key(ec.SECP256R1())
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
        # A common name would do for libtorrent, too; it has 64 characters at most, so there is none.
        builder = (
            self._builder(x509.Name([]), key.public_key())
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(_fit(name))]), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        )
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return PeerIdentity(_pem(self._signed(builder)), private.decode())

    @cached_property
    def _own(self) -> x509.Certificate:
        from cryptography import x509

        usage = x509.KeyUsage(
            digital_signature=False,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=True,
            crl_sign=False,
            encipher_only=False,
            decipher_only=False,
        )
        builder = (
            self._builder(self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
        )
        return self._signed(builder)

    @cached_property
    def _name(self) -> x509.Name:
        from cryptography import x509

        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "nile")])

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        from cryptography import x509

        return x509.CertificateBuilder(
            issuer_name=self._name,
            subject_name=subject,
            public_key=key,
            serial_number=x509.random_serial_number(),
            not_valid_before=self._begin,
            not_valid_after=self._begin + VALID,
        )

    def _signed(self, builder: x509.CertificateBuilder) -> x509.Certificate:
        from cryptography.hazmat.primitives import hashes

        return builder.sign(self._key, hashes.SHA256())


def _fit(name: str) -> str:
    """An alternative name is ASCII, and not empty; for other torrents it is one that fits all of them."""
    return name if name and name.isascii() and name.isprintable() else ANY_NAME


def _pem(certificate: x509.Certificate) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM).decode()
