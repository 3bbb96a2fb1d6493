"""Requests to a lab's supervisor: one line of JSON each way over a socket in the lab's directory.

A request is `{"do": WORD, "hosts": [...]}`; the answer is `{"ok": VALUE}` or
`{"error": MESSAGE, "remedy": ...}`.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nile.errors import LabError
from nile.lab.state import LabFiles

LINE_MAX = 4 << 20
ANSWER_S = 60.0


@contextlib.contextmanager
def short_path(path: Path) -> Iterator[str]:
    """A name for `path` that fits into a socket address (108 bytes), however long the path is."""
    fd = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{path.name}"
    finally:
        os.close(fd)


def listen(files: LabFiles) -> socket.socket:
    """The supervisor's end."""
    sock = socket.socket(socket.AF_UNIX)
    with short_path(files.control) as path:
        sock.bind(path)
    sock.listen(16)
    return sock


def read_line(sock: socket.socket) -> bytes:
    """Up to the end of a line or of the stream; LabError where a line has no end."""
    data = bytearray()
    while not data.endswith(b"\n"):
        chunk = sock.recv(65536)
        if not chunk:
            break
        data += chunk
        if len(data) > LINE_MAX:
            raise LabError("a request to the lab is too long")
    return bytes(data)


def ask(files: LabFiles, do: str, hosts: tuple[str, ...] = ()) -> Any:
    """Have the supervisor do something; its answer, or LabError as it says."""
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(ANSWER_S)
            with short_path(files.control) as path:
                sock.connect(path)
            sock.sendall(json.dumps({"do": do, "hosts": list(hosts)}).encode() + b"\n")
            answer = json.loads(read_line(sock) or b"{}")
    except (OSError, ValueError) as error:
        name = files.directory.name
        raise LabError(
            f"the supervisor of lab {name!r} doesn't answer: {error}",
            where=str(files.directory),
            remedy=f"clear the lab away (nile lab down --name {name}) and bring it up again",
        ) from None
    if "error" in answer or "ok" not in answer:
        raise LabError(
            answer.get("error", "the supervisor gave up"),
            remedy=answer.get("remedy") or f"see {files.log}",
        )
    return answer["ok"]
