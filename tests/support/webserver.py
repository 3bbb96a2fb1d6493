"""Files by HTTP, or parts of them, as peers ask for those: in a test's own process, or as a program.

python webserver.py ADDRESS PORT DIRECTORY BYTES_A_SECOND
"""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

BLOCK = 16 * 1024


class Ranges(SimpleHTTPRequestHandler):
    """Files, or parts of them; `sent` counts bytes by path."""

    protocol_version = "HTTP/1.1"
    sent: Counter[str]

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return
        first, _, last = self.headers["Range"].partition("=")[2].partition("-")
        data = path.read_bytes()[int(first) : int(last) + 1]
        self.send_response(206)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Content-Range", f"bytes {first}-{last}/{path.stat().st_size}")
        self.end_headers()
        self.give(data)
        self.sent[path.name] += len(data)

    def give(self, data: bytes) -> None:
        """Send this."""
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Slow(Ranges):
    """So many bytes a second, to all together."""

    rate: int
    turn = threading.Lock()

    def give(self, data: bytes) -> None:
        """Send this, in turn with others."""
        for at in range(0, len(data), BLOCK):
            block = data[at : at + BLOCK]
            with self.turn:
                time.sleep(len(block) / self.rate)
            self.wfile.write(block)


def main(address: str, port: str, directory: str, rate: str) -> None:
    """Serve until killed."""
    handler = type("Handler", (Slow,), {"sent": Counter(), "rate": int(rate)})
    with ThreadingHTTPServer((address, int(port)), partial(handler, directory=directory)) as server:
        server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
