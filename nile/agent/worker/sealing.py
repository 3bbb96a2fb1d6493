"""Connections between workers that nobody else can read or change: TLS, with an identity that the root made.

All workers of a run are given the same identity: a private key and a
certificate of it, of which no authority knows. Each shows it, and trusts
nothing else; what names and dates are in it doesn't matter. Who it is that
comes is proved afterwards, within, by the meeting's secret.

TLS 1.3 where Python's OpenSSL has it, else 1.2. What is loaded of it, only here and only once somebody makes
a `Tls`, is `_ssl`, and not `ssl`: that makes enumerations of its numbers, which takes each host 5 ms of CPU,
and more for what has to be loaded for that. All that is used here is the same in Python 3.6 to 3.14.
"""

import _socket as socket
import errno
import os
import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Optional, Union

    Data = Union[bytes, bytearray, memoryview]

SHARED = "/dev/shm"  # a file system in memory
RECORD = 16384  # bytes: what TLS takes at a time
REFUSED = errno.EPROTO  # the errno of whatever TLS doesn't like
_BEGIN = b"-----BEGIN CERTIFICATE-----"
_CIPHERS_1_3 = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
_CIPHERS_1_2 = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305"


class Tls:
    """What this worker needs to meet others that have the same identity."""

    def __init__(self, identity: bytes) -> None:
        """`identity`: a private key and its certificate, both PEM.

        Raises OSError where this Python has no TLS, the identity is none, or there is no memory to put it.
        """
        try:
            import _ssl as ssl
        except ImportError:
            raise OSError(errno.ENOSYS, "this Python has no ssl, which encryption needs") from None
        self._ssl: "Any" = ssl
        try:
            self._client = self._context(ssl.PROTOCOL_TLS_CLIENT, identity)
            self._server = self._context(ssl.PROTOCOL_TLS_SERVER, identity)
        except (ssl.SSLError, ValueError) as error:
            raise OSError(REFUSED, "TLS can't use the run's identity: %s" % _why(error)) from None

    def client(self, connection: socket.socket) -> "Sealed":
        """The side that dialled; `connection` is connected, doesn't block, and is used up. Raises OSError."""
        return Sealed(self._ssl, self._client, connection, False)

    def server(self, connection: socket.socket) -> "Sealed":
        """The side that listened. As `client`."""
        return Sealed(self._ssl, self._server, connection, True)

    def _context(self, protocol: int, identity: bytes) -> "Any":
        module = self._ssl
        context = module._SSLContext(protocol)
        context.check_hostname = False  # it is this very certificate that is trusted
        context.verify_mode = module.CERT_REQUIRED
        if hasattr(context, "minimum_version"):
            context.minimum_version = module.PROTO_TLSv1_2
        else:
            context.options |= module.OP_NO_SSLv3 | module.OP_NO_TLSv1 | module.OP_NO_TLSv1_1
        # Before Python 3.15 the ciphers of 1.3 can't be chosen.
        if hasattr(context, "set_ciphersuites"):
            context.set_ciphersuites(_CIPHERS_1_3)
        context.set_ciphers(_CIPHERS_1_2)
        context.options |= module.OP_NO_COMPRESSION | module.OP_CIPHER_SERVER_PREFERENCE
        context.options |= getattr(module, "OP_NO_RENEGOTIATION", 0)
        if protocol == module.PROTOCOL_TLS_SERVER and hasattr(context, "num_tickets"):
            context.num_tickets = 0  # nobody comes back
        context.load_verify_locations(cadata=identity[max(0, identity.find(_BEGIN)) :].decode("ascii"))
        fd = in_memory(identity)
        try:
            context.load_cert_chain("/proc/self/fd/%d" % fd)
        finally:
            os.close(fd)
        return context


class Sealed:
    """A connection through TLS, with the methods of a non-blocking socket that a worker uses.

    Where it would block it raises BlockingIOError, and `wants` is what to poll
    for; whatever TLS says against it is an OSError, and the connection is of
    no more use. What was sent in part, or not at all, must be sent again as it
    was: TLS may have begun to send it. Bytes that it has already read, `poll`
    doesn't know of: ask `pending`.
    """

    def __init__(self, module: "Any", context: "Any", connection: socket.socket, server: bool) -> None:
        """`module`: _ssl. Raises OSError, and then `connection` is closed."""
        self._ssl = module
        self.wants = select.POLLIN
        self.turned = False  # what was to be read last has to write first
        self._broken = ""
        self._socket = connection
        self._gone: "Optional[OSError]" = None
        try:
            try:
                connection.getpeername()
            except OSError as error:
                if error.errno != errno.ENOTCONN:
                    raise
                self._gone = error  # that is no matter of TLS
            self._tls = context._wrap_socket(connection, server, None)
        except (OSError, ValueError) as error:
            connection.close()
            raise OSError(REFUSED, _why(error)) from None

    def handshake(self) -> None:
        """Go on until both are sure of each other's identity. Raises BlockingIOError, OSError."""
        if self._gone is not None:
            raise self._gone
        self._try(self._tls.do_handshake)

    def send(self, data: "Data", _flags: int = 0) -> int:
        """Send some of it: how many bytes."""
        view, sent = memoryview(data), 0
        try:
            while sent < len(view):
                # Of more than a record it wouldn't tell us how much went before it blocked.
                sent += self._try(self._tls.write, view[sent : sent + RECORD])
        except OSError:
            if not sent:
                raise
        return sent

    def recv(self, size: int) -> bytes:
        """Some bytes, at most `size`; none at the end."""
        data: bytes = self._read(self._tls.read, size) or b""
        return data

    def recv_into(self, space: memoryview) -> int:
        """Fill as much as can be filled now: how many bytes, 0 at the end."""
        count = 0
        try:
            while count < len(space):
                rest = space[count:]
                came = self._read(self._tls.read, len(rest), rest)
                if not came:
                    break
                count += came
        except OSError:
            if not count:
                raise
        return count

    def pending(self) -> int:
        """Bytes that can be read, and that `poll` doesn't tell of."""
        try:
            return int(self._tls.pending())
        except (OSError, ValueError):
            return 0

    def version(self) -> str:
        """Which TLS: "TLSv1.3"."""
        return str(self._tls.version())

    def fileno(self) -> int:
        """The descriptor, or -1 once it is closed."""
        return int(self._socket.fileno())

    def getblocking(self) -> bool:
        """Does it block? It mustn't."""
        return bool(self._socket.gettimeout() != 0.0)

    def shutdown(self, how: int) -> None:
        """End the connection itself, without a word of TLS: who reads must know the end by what was said."""
        self._socket.shutdown(how)

    def close(self) -> None:
        """As a socket."""
        self._socket.close()

    def _read(self, act: "Callable[..., Any]", *args: "Any") -> "Any":
        self.turned = False
        try:
            return self._try(act, *args)
        except _HungUpError:  # without a word of TLS, as we do it
            return 0
        except BlockingIOError:
            self.turned = self.wants == select.POLLOUT
            raise

    def _try(self, act: "Callable[..., Any]", *args: "Any") -> "Any":
        """Do that, and say what comes of it as a socket would."""
        if self._broken:
            raise OSError(REFUSED, self._broken)
        try:
            return act(*args)
        except self._ssl.SSLWantReadError:
            self.wants = select.POLLIN
        except self._ssl.SSLWantWriteError:
            self.wants = select.POLLOUT
        except self._ssl.SSLEOFError:
            raise _HungUpError(errno.ECONNRESET, "it hung up") from None
        except (self._ssl.SSLError, ValueError) as error:
            self._broken = _why(error)
            raise OSError(REFUSED, self._broken) from None
        raise BlockingIOError(errno.EAGAIN, "it would block")


class _HungUpError(OSError):
    """It did, and who reads sees the end."""


def turned(connection: "Any") -> bool:
    """Has a plain or sealed connection to write before it can be read?"""
    return isinstance(connection, Sealed) and connection.turned


def pending(connection: "Any") -> int:
    """Bytes of a plain or sealed connection that `poll` doesn't tell of."""
    return connection.pending() if isinstance(connection, Sealed) else 0


def _why(error: Exception) -> str:
    """What OpenSSL says, without numbers of lines and libraries."""
    reason = getattr(error, "reason", None) or ""
    if reason == "CERTIFICATE_VERIFY_FAILED":
        return "it has another run's identity"
    if reason.endswith("ALERT_UNKNOWN_CA"):
        return "it doesn't accept our run's identity"
    return reason.replace("_", " ").lower() or getattr(error, "strerror", None) or str(error)


def in_memory(data: bytes) -> int:
    """A descriptor of a file that has no name, with this in it; it never touches a disk. Raises OSError."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("identity")
    else:
        import tempfile

        with tempfile.TemporaryFile(dir=SHARED) as file:  # of mode 0600, and without a name
            fd = os.dup(file.fileno())
    os.write(fd, data)
    return fd
