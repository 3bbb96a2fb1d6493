"""The signing socket of a relay: what it says by itself, what goes to the root, and to whom it speaks."""

from __future__ import annotations

import os
import select
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nile.agent.loop import Agent
from nile.agent.signsocket import (
    EXTENSION,
    FAILURE,
    IDENTITIES_ANSWER,
    MOST_BINDS,
    MOST_MESSAGE,
    REQUEST_IDENTITIES,
    SIGN_REQUEST,
    SUCCESS,
    Conversation,
    SignSocket,
    message,
    string,
)

KEYS = [(b"blob one", "me@here"), (b"blob two", "")]
BIND = bytes([EXTENSION]) + string(b"session-bind@openssh.com") + string(b"host key") + string(b"sid")
SIGN = bytes([SIGN_REQUEST]) + string(b"blob one") + string(b"data") + bytes(4)
LIST = bytes([REQUEST_IDENTITIES])


class TestConversation:
    def test_the_list_is_answered_from_the_plan(self) -> None:
        answer, requests = Conversation(KEYS).feed(message(LIST))
        body = struct.pack("!BI", IDENTITIES_ANSWER, 2)
        body += string(b"blob one") + string(b"me@here") + string(b"blob two") + string(b"")
        assert (answer, requests) == (message(body), [])

    def test_a_request_goes_up_with_the_binds_before_it(self) -> None:
        talk = Conversation(KEYS)
        assert talk.feed(message(BIND)) == (message(bytes([SUCCESS])), [])
        assert talk.feed(message(SIGN)) == (b"", [([BIND], SIGN)])
        second = BIND + b"forwarded"
        _, requests = talk.feed(message(second) + message(SIGN))
        assert requests == [([BIND, second], SIGN)]

    @pytest.mark.parametrize("kind", sorted(set(range(256)) - {REQUEST_IDENTITIES, SIGN_REQUEST, EXTENSION}))
    def test_all_else_fails(self, kind: int) -> None:
        """Adding and removing keys, locking, smart cards: nothing but listing, signing and binding."""
        assert Conversation(KEYS).feed(message(bytes([kind]) + b"x")) == (message(bytes([FAILURE])), [])

    def test_other_extensions_fail(self) -> None:
        query = bytes([EXTENSION]) + string(b"query")
        assert Conversation(KEYS).feed(message(query)) == (message(bytes([FAILURE])), [])

    def test_binds_are_bounded(self) -> None:
        talk = Conversation(KEYS)
        answers = [talk.feed(message(BIND))[0] for _ in range(MOST_BINDS + 1)]
        assert answers == [message(bytes([SUCCESS]))] * MOST_BINDS + [message(bytes([FAILURE]))]

    @pytest.mark.parametrize("size", [0, MOST_MESSAGE + 1, 2**32 - 1])
    def test_sizes_are_bounded(self, size: int) -> None:
        with pytest.raises(ValueError, match="message of"):
            Conversation(KEYS).feed(struct.pack("!I", size))

    @given(st.lists(st.sampled_from([LIST, BIND, SIGN, b"\x07rubbish"]), max_size=8), st.data())
    def test_in_any_pieces(self, bodies: list[bytes], data: st.DataObject) -> None:
        stream = b"".join(map(message, bodies))
        whole = Conversation(KEYS).feed(stream)
        talk, answer, at = Conversation(KEYS), b"", 0
        requests: list[tuple[list[bytes], bytes]] = []
        while at < len(stream):
            size = data.draw(st.integers(1, len(stream) - at))
            said, asked = talk.feed(stream[at : at + size])
            answer, requests, at = answer + said, requests + asked, at + size
        assert (answer, requests) == whole

    @given(st.binary(max_size=300))
    def test_any_bytes_give_answers_or_a_value_error(self, data: bytes) -> None:
        try:
            Conversation(KEYS).feed(data)
        except ValueError:
            pass


class Loop:
    """What the socket needs of an agent: watched descriptors."""

    def __init__(self) -> None:
        self.handlers: dict[int, Callable[[int], None]] = {}

    def watch(self, fd: int, _: int, handler: Callable[[int], None]) -> None:
        self.handlers[fd] = handler

    def unwatch(self, fd: int) -> None:
        self.handlers.pop(fd, None)

    def turn(self) -> None:
        """Handle what is ready."""
        for fd in select.select(list(self.handlers), [], [], 5.0)[0]:
            self.handlers[fd](select.POLLIN)


class Served:
    """A socket that serves the process `known`, child 7, and remembers requests."""

    def __init__(self, directory: Path) -> None:
        self.loop = Loop()
        self.known = os.getpid()
        self.requests: list[tuple[int, int, list[bytes], bytes]] = []
        self.socket = SignSocket(
            cast(Agent, self.loop),
            str(directory),
            lambda pid: 7 if pid == self.known else None,
            lambda child: KEYS if child == 7 else [],
            lambda *request: self.requests.append(request),
        )

    def client(self) -> socket.socket:
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        client.settimeout(5.0)
        client.connect(self.socket.path)
        self.loop.turn()
        return client


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    serving = Served(tmp_path)
    yield serving
    if Path(serving.socket.path).exists():
        serving.socket.close()
    while serving.loop.handlers:  # clients that have gone
        serving.loop.turn()


class TestSocket:
    def test_list_bind_sign(self, served: Served) -> None:
        with served.client() as client:
            client.sendall(message(LIST))
            served.loop.turn()
            assert client.recv(4096)[4] == IDENTITIES_ANSWER
            client.sendall(message(BIND) + message(SIGN))
            served.loop.turn()
            assert client.recv(4096) == message(bytes([SUCCESS]))
            ((child, serial, binds, request),) = served.requests
            assert (child, binds, request) == (7, [BIND], SIGN)
            served.socket.answer(serial, b"\x0esignature")
            assert client.recv(4096) == message(b"\x0esignature")

    def test_answers_reach_who_asked(self, served: Served) -> None:
        with served.client() as one, served.client() as two:
            for client in (one, two):
                client.sendall(message(SIGN))
                served.loop.turn()
            serials = [serial for _, serial, _, _ in served.requests]
            served.socket.answer(serials[1], b"for two")
            served.socket.answer(serials[0], b"for one")
            served.socket.answer(serials[0], b"once more")
            served.socket.answer(999, b"for nobody")
            assert one.recv(4096) == message(b"for one")
            assert two.recv(4096) == message(b"for two")

    def test_another_process_of_this_user_is_turned_away(self, served: Served) -> None:
        code = (
            "import socket, sys; s = socket.socket(socket.AF_UNIX); s.settimeout(5); s.connect(sys.argv[1]);"
            "s.sendall(bytes([0, 0, 0, 1, 11])); print(s.recv(100))"
        )
        argv = [sys.executable, "-c", code, served.socket.path]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as stranger:
            served.loop.turn()
            said, errors = stranger.communicate(timeout=10)
        assert said == "b''\n" or "reset" in errors.lower() or "broken pipe" in errors.lower()
        assert served.requests == []

    def test_another_user_is_turned_away(self, served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(os, "getuid", lambda: 12345)
            client = served.client()
        with client:
            assert client.recv(10) == b""

    def test_rubbish_ends_the_connection_and_no_other(self, served: Served) -> None:
        with served.client() as bad, served.client() as good:
            bad.sendall(b"\xff" * 20)
            served.loop.turn()
            assert bad.recv(10) == b""
            good.sendall(message(LIST))
            served.loop.turn()
            assert good.recv(4096)[4] == IDENTITIES_ANSWER

    def test_who_left_gets_no_answer(self, served: Served) -> None:
        client = served.client()
        client.sendall(message(SIGN))
        served.loop.turn()
        client.close()
        served.loop.turn()
        served.socket.answer(served.requests[0][1], b"too late")
        assert len(served.loop.handlers) == 1

    def test_closing_fails_what_is_pending_and_leaves_nothing(self, served: Served) -> None:
        with served.client() as client:
            client.sendall(message(SIGN))
            served.loop.turn()
            served.socket.close()
            assert client.recv(100) == message(bytes([FAILURE]))
        assert not Path(served.socket.path).exists()
