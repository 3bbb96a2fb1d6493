"""The signing socket of a relay: an ssh-agent (draft-miller-ssh-agent) whose keys are at the root.

It stands in a 0700 directory on a memory file system, and talks only to this
user's processes that this relay itself started to log in to a child. The list
of keys is answered from the plan; a session-bind (OpenSSH PROTOCOL.agent) is
kept and sent along with the request to sign, which travels up the tree. The
root alone decides.

The bare module _socket does: the module socket costs 10 ms more, on every relay.
"""

import _socket
import _struct as struct
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Dict, List, Optional, Sequence, Tuple

    from nile.agent.loop import Agent

FAILURE, SUCCESS = 5, 6
REQUEST_IDENTITIES, IDENTITIES_ANSWER, SIGN_REQUEST, EXTENSION = 11, 12, 13, 27
MOST_MESSAGE = 256 * 1024
MOST_BINDS = 16
_BIND = b"session-bind@openssh.com"
_POLLIN = 1


def string(data: bytes) -> bytes:
    """An SSH string (RFC 4251, 5)."""
    return struct.pack("!I", len(data)) + data


def message(data: bytes) -> bytes:
    """A message of the agent protocol, with its length before it."""
    return string(data)


class Conversation:
    """One ssh client's connection: pure. `identities` are (blob, comment) pairs."""

    def __init__(self, identities: "Sequence[Tuple[bytes, str]]") -> None:
        self._identities = identities
        self._buffer = b""
        self._binds: "List[bytes]" = []

    def feed(self, data: bytes) -> "Tuple[bytes, List[Tuple[List[bytes], bytes]]]":
        """(bytes to answer at once, requests to sign as (binds, body)); raises ValueError on rubbish."""
        self._buffer += data
        answer = b""
        requests = []
        while len(self._buffer) >= 4:
            (size,) = struct.unpack_from("!I", self._buffer)
            if not 0 < size <= MOST_MESSAGE:
                raise ValueError("a message of %d bytes" % size)
            if len(self._buffer) < 4 + size:
                break
            body, self._buffer = self._buffer[4 : 4 + size], self._buffer[4 + size :]
            if body[0] == SIGN_REQUEST:
                requests.append((list(self._binds), body))
            else:
                answer += message(self._answer(body))
        return answer, requests

    def _answer(self, body: bytes) -> bytes:
        if body[0] == REQUEST_IDENTITIES:
            listed = b"".join(string(blob) + string(comment.encode()) for blob, comment in self._identities)
            return struct.pack("!BI", IDENTITIES_ANSWER, len(self._identities)) + listed
        if body[0] == EXTENSION and body[1:].startswith(string(_BIND)) and len(self._binds) < MOST_BINDS:
            self._binds.append(body)
            return bytes([SUCCESS])
        return bytes([FAILURE])


class SignSocket:
    """The listening socket. `child_of(pid)` names the child that this process logs in to, or None."""

    def __init__(
        self,
        agent: "Agent",
        directory: str,
        child_of: "Callable[[int], Optional[int]]",
        identities: "Callable[[int], Sequence[Tuple[bytes, str]]]",
        request: "Callable[[int, int, List[bytes], bytes], None]",
    ) -> None:
        self.path = directory + "/agent"
        self._agent = agent
        self._child_of = child_of
        self._identities = identities
        self._request = request
        self._waiting: "Dict[int, _socket.socket]" = {}
        self._serial = 0
        self._listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        self._listener.bind(self.path)
        self._listener.listen(64)
        self._listener.setblocking(False)
        agent.watch(self._listener.fileno(), _POLLIN, self._accept)

    def _accept(self, _: int) -> None:
        try:
            fd, _address = self._listener._accept()  # type: ignore[attr-defined]
        except OSError:
            return
        client = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, fd)
        pid, uid, _gid = struct.unpack("3i", client.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12))
        child_id = self._child_of(pid)
        if uid != os.getuid() or child_id is None:
            client.close()
            return
        client.setblocking(False)
        conversation = Conversation(self._identities(child_id))
        reader = self._reader(client, conversation, child_id)
        self._agent.watch(client.fileno(), _POLLIN, reader)

    def _reader(
        self, client: _socket.socket, conversation: Conversation, child_id: int
    ) -> "Callable[[int], None]":
        def readable(_: int) -> None:
            try:
                data = client.recv(65536)
                answer, requests = conversation.feed(data) if data else (b"", [])
                if answer:
                    client.sendall(answer)  # short, into an empty buffer
            except BlockingIOError:
                return
            except (OSError, ValueError):
                data = b""
            if not data:
                self._agent.unwatch(client.fileno())
                client.close()
                return
            for binds, body in requests:
                self._serial += 1
                self._waiting[self._serial] = client
                self._request(child_id, self._serial, binds, body)

        return readable

    def answer(self, serial: int, body: bytes) -> None:
        """The root's answer to a request, passed to the client that made it, if it still waits."""
        client = self._waiting.pop(serial, None)
        if client is None or client.fileno() < 0:
            return
        try:
            client.sendall(message(body))
        except OSError:
            pass  # the ssh client was killed meanwhile

    def close(self) -> None:
        """Fail what is pending, and leave nothing."""
        for serial in list(self._waiting):
            self.answer(serial, bytes([FAILURE]))
        self._agent.unwatch(self._listener.fileno())
        self._listener.close()
        try:
            os.unlink(self.path)
        except OSError:
            pass
