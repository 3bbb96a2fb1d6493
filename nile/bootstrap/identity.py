"""What the workers of one run know each other by, when what they say to each other is encrypted."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime


def made_ahead() -> Callable[[], bytes]:
    """What gives one identity, made in a thread from now on: by when it is asked for, it is there.

    To load what makes it takes 25 ms, for which otherwise all hosts would wait.
    """
    pool = ThreadPoolExecutor(1)
    identity = pool.submit(make_identity)
    pool.shutdown(wait=False)
    return identity.result


def make_identity() -> bytes:
    """A new private key (EC P-256) and a certificate of it, signed with itself, both PEM: for `sealing.Tls`.

    Nobody needs it once the run is over, so it is kept nowhere. It is trusted
    because the root gave it out; a host whose clock is years off shall trust
    it too, so it is valid at any time that OpenSSL can think of (RFC 5280,
    4.1.2.5, has 9999 for "no end").
    """
    # It takes 15 ms to load, which only those runs need that encrypt.
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "nile")])
    builder = x509.CertificateBuilder(
        issuer_name=name,
        subject_name=name,
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=datetime(1950, 1, 1),  # UTC
        not_valid_after=datetime(9999, 12, 31, 23, 59, 59),
    )
    certificate = builder.sign(key, hashes.SHA256())
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private + certificate.public_bytes(Encoding.PEM)
