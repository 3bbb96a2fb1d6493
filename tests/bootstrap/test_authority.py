"""The authority of a run: real libtorrent peers with its certificates share a torrent, others get nothing."""

from __future__ import annotations

import base64
import os
import socket
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from nile.bootstrap.authority import DH_PARAMETERS, Authority, PeerIdentity
from tests.support.torrents import NAME, Peer, peers, torrent

CONTENT = os.urandom(100_000)
OURS = Authority()
LISTEN = {"listen_interfaces": "127.0.0.1:0s"}


def sealed(place: Path, metainfo: bytes, identity: PeerIdentity | None, content: bytes | None = None) -> Peer:
    """A peer that shows this, and listens for TLS only."""
    peer = Peer(place, metainfo, content, **LISTEN)
    if identity is not None:
        peer.handle.set_ssl_certificate_buffer(identity.certificate, identity.key, DH_PARAMETERS)
    return peer


def shared(
    tmp_path: Path,
    seed_has: PeerIdentity | None,
    other_has: PeerIdentity | None,
    seed_dials: bool = False,
    name: str = NAME,
    authority: Authority = OURS,
) -> bytes | None:
    """What came of it: the content at the other peer, or None where it got nothing at all."""
    metainfo, _ = torrent(CONTENT, name, ssl_cert=authority.certificate.encode())
    makers: list[Callable[[], Peer]] = [
        lambda: sealed(tmp_path / "seed", metainfo, seed_has, CONTENT),
        lambda: sealed(tmp_path / "other", metainfo, other_has),
    ]
    with peers(*makers) as (seed, other):
        for peer in (seed, other):
            peer.start()
        seed.wait(lambda: seed.handle.status().is_seeding, "the seed has looked at what it has")
        dialler, listener = (seed, other) if seed_dials else (other, seed)
        dialler.handle.connect_peer(("127.0.0.1", listener.session.ssl_listen_port()))
        dialler.wait(lambda: parted(dialler) or other.handle.status().is_seeding, "they share, or part")
        whole = other.handle.status().is_seeding
        for peer in (seed, other):
            assert not (whole and peer.heard("torrent_error_alert")), peer.words()
        assert whole or other.handle.status().total_download == 0
        assert whole or seed.handle.status().total_payload_upload == 0
    return (tmp_path / "other" / name).read_bytes() if whole else None


def parted(peer: Peer) -> bool:
    return peer.heard("peer_error_alert") or peer.heard("peer_disconnected_alert")


@pytest.mark.parametrize("seed_dials", [True, False])
def test_two_peers_of_the_run_share(tmp_path: Path, seed_dials: bool) -> None:
    assert shared(tmp_path, OURS.issue(NAME), OURS.issue(NAME), seed_dials) == CONTENT


@pytest.mark.parametrize("name", ["x" * 200, "a name, with (signs)", "names with \u00e9", "1.0"])
def test_a_torrent_of_any_name(tmp_path: Path, name: str) -> None:
    assert shared(tmp_path, OURS.issue(name), OURS.issue(name), name=name) == CONTENT


STRANGERS: dict[str, Callable[[], PeerIdentity | None]] = {
    "another authority's": lambda: Authority().issue(NAME),
    "any name, of another authority": lambda: Authority().issue(""),
    "none": lambda: None,
    "another torrent's": lambda: OURS.issue("other"),
    "the authority's own, with another key": lambda: PeerIdentity(OURS.certificate, OURS.issue(NAME).key),
}


@pytest.mark.parametrize("seed_dials", [True, False])
@pytest.mark.parametrize("who", STRANGERS)
def test_nobody_else_gets_anything(tmp_path: Path, who: str, seed_dials: bool) -> None:
    assert shared(tmp_path, OURS.issue(NAME), STRANGERS[who](), seed_dials) is None


@pytest.mark.parametrize(("days", "wanted"), [(-40, None), (-28, CONTENT), (0.9, CONTENT), (2, None)])
def test_a_clock_may_be_a_day_behind_and_weeks_ahead(
    tmp_path: Path, days: float, wanted: bytes | None
) -> None:
    """The hosts' clock is ours; the root's is off by so many days."""
    theirs = Authority(datetime.now(UTC) + timedelta(days=days))
    assert shared(tmp_path, theirs.issue(NAME), theirs.issue(NAME), authority=theirs) == wanted


def test_nobody_else_gives_anything(tmp_path: Path) -> None:
    assert shared(tmp_path, Authority().issue(NAME), OURS.issue(NAME)) is None


def test_who_speaks_no_tls_gets_nothing(tmp_path: Path) -> None:
    metainfo, info_hash = torrent(CONTENT, ssl_cert=OURS.certificate.encode())
    with peers(lambda: sealed(tmp_path / "seed", metainfo, OURS.issue(NAME), CONTENT)) as (seed,):
        seed.start()
        seed.wait(lambda: seed.handle.status().is_seeding, "the seed has looked at what it has")
        with socket.create_connection(("127.0.0.1", seed.session.ssl_listen_port()), timeout=20) as plain:
            plain.sendall(b"\x13BitTorrent protocol" + bytes(8) + info_hash + b"-XX0000-123456789012")
            answer = plain.recv(4096)
        assert b"BitTorrent" not in answer
        assert seed.handle.status().total_payload_upload == 0


def test_how_long_certificates_are_valid() -> None:
    now = datetime(2030, 1, 31, tzinfo=UTC)
    authority = Authority(now)
    for text in (authority.certificate, authority.issue(NAME).certificate):
        certificate = x509.load_pem_x509_certificate(text.encode())
        assert certificate.not_valid_before_utc == now - timedelta(days=1)
        assert certificate.not_valid_after_utc == now + timedelta(days=29)


def test_the_parameters_are_those_of_the_rfc() -> None:
    """RFC 7919, A.1: p = 2^2048 - 2^1984 + (floor(2^1918 e) + 560316) 2^64 - 1."""
    guard = 128
    total, term, number = 0, 1 << (1918 + guard), 0
    while term:
        total += term
        number += 1
        term //= number
    wanted = 2**2048 - 2**1984 + ((total >> guard) + 560316) * 2**64 - 1
    parameters = base64.b64decode("".join(DH_PARAMETERS.splitlines()[1:-1]))
    assert b"\x02\x82\x01\x01\0" + wanted.to_bytes(256, "big") + b"\x02\x01\x02" in parameters


def test_every_peer_has_a_key_of_its_own() -> None:
    one, other = OURS.issue(NAME), OURS.issue(NAME)
    assert one.key != other.key
    serials = {
        x509.load_pem_x509_certificate(each.certificate.encode()).serial_number for each in (one, other)
    }
    assert len(serials) == 2
    assert OURS.certificate == OURS.certificate


def test_openssl_accepts_the_chain_and_a_peers_certificate_signs_no_other(tmp_path: Path) -> None:
    """By Python's ssl, which is stricter about extensions than libtorrent."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=OURS.certificate)
    identity = OURS.issue("some.host")
    (tmp_path / "peer.pem").write_text(identity.key + identity.certificate)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "peer.pem")
    ours, theirs = ssl.MemoryBIO(), ssl.MemoryBIO()
    client_end = context.wrap_bio(ours, theirs, server_hostname="some.host")
    server_end = server.wrap_bio(theirs, ours, server_side=True)
    for _ in range(3):
        for end in (client_end, server_end):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert client_end.version() == "TLSv1.3"
    certificate = x509.load_pem_x509_certificate(identity.certificate.encode())
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
