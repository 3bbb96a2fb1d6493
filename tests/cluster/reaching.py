"""A root that opens channels to hosts while a run goes on; to be run on a lab's root machine.

    python -m tests.cluster.reaching ROUTES HOME SIZE

Below the root stands h001, and below that h002, which serves a port on its loopback. So many bytes go there
from h001, over a channel of its agent's own (HOME is where h001's command looks for the port), and as many
from the root. Prints the hosts' results and the root's, as JSON.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
import sys
import threading
from pathlib import Path

from nile.agent import wire
from nile.agent.wire import Frame
from nile.bootstrap import reach_code
from nile.cli.common import SelectionOptions, select
from nile.controller import Engine, new_run_id, prepare
from nile.events import HostOutput, HostResult
from nile.options import ExecOptions

RELAY, LEAF = 1, 2
PORT = 7777

SERVE = """
import hashlib, socket
with socket.create_server(("127.0.0.1", %d)) as listener:
    print("serving", flush=True)
    for _ in range(2):
        connection, _ = listener.accept()
        with connection:
            digest = hashlib.sha256()
            while piece := connection.recv(1 << 16):
                digest.update(piece)
            connection.sendall(digest.hexdigest().encode() + bytes(1000000))
"""
SEND = """
import hashlib, os, socket, sys, time
while not os.path.exists("port"):
    time.sleep(0.02)
sent, began = os.urandom(1 << 20) * (%d >> 20), time.monotonic()
with socket.create_connection(("127.0.0.1", int(open("port").read()))) as connection:
    connection.sendall(sent)
    connection.shutdown(socket.SHUT_WR)
    answer = b""
    while piece := connection.recv(1 << 16):
        answer += piece
took = time.monotonic() - began
print(answer == hashlib.sha256(sent).hexdigest().encode() + bytes(1000000), took, flush=True)
"""


class Reaching:
    """The run, and what becomes of its channels."""

    def __init__(self, routes: str, home: Path, size: int) -> None:
        self._home = home
        self._size = size
        chosen = select(SelectionOptions(routes=routes, hosts=("h[001-002]",)))
        command = (
            f"[ $NILE_HOST = h002 ] && exec python3 -c '{SERVE % PORT}' || exec python3 -c '{SEND % size}'"
        )
        options = ExecOptions(command)
        self.engine: Engine = prepare(
            new_run_id(), chosen.plan, chosen.hosts, options, lambda events: None, None
        )
        self._up, self.engine._up = self.engine._up, self._heard  # type: ignore[method-assign]
        self.told: dict[str, object] = {}

    def _heard(self, frame: Frame, child_id: int, size: int) -> None:
        if frame.type != wire.REACHED:
            self._up(frame, child_id, size)
            return
        self.told["reached"] = sorted(frame.fields())
        temporary = self._home / "port.new"
        temporary.write_text(str(frame.fields()["port"]))
        temporary.rename(self._home / "port")

    def run(self) -> dict[str, object]:
        """To its end."""
        root = threading.Thread(target=self._from_the_root)
        for event in self.engine.events():
            if isinstance(event, HostOutput) and event.data == b"serving\n":
                body = {"number": 1, "child": LEAF, "port": PORT, "code": reach_code()}
                self.engine._post(self.engine._send_to, RELAY, wire.REACH, wire.dumps(body), None)
            elif isinstance(event, HostOutput):
                self.told[event.host] = event.data.decode()
                root.start()
            elif isinstance(event, HostResult):
                self.told[f"verdict {event.host}"] = event.verdict.value
        root.join()
        return self.told

    def _from_the_root(self) -> None:
        sent = bytes(self._size)
        with socket.create_connection(("127.0.0.1", self._listen())) as connection:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            answer = b""
            while piece := connection.recv(1 << 16):
                answer += piece
        self.told["root"] = answer == hashlib.sha256(sent).hexdigest().encode() + bytes(1_000_000)

    def _listen(self) -> int:
        async def listen() -> int:
            return self.engine._tunnels.listen(LEAF, PORT)

        return asyncio.run_coroutine_threadsafe(listen(), self.engine._loop).result()


def main() -> None:
    routes, home, size = sys.argv[1:]
    print(json.dumps(Reaching(routes, Path(home), int(size)).run()))


if __name__ == "__main__":
    main()
