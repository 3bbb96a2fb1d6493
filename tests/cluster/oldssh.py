#!/usr/bin/env python3
"""Stands in front of a relay's ssh and makes it look like one from before OpenSSH 8.9.

It talks to the agent's socket itself: session-binds never get there, and the
requests that do name no host. What it is asked to do is written to
/run/lab/ssh.log; with /run/lab/greedy it logs in twice for each login.
"""

import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

SSH = "/usr/bin/ssh"
EXTENSION, FAILURE = 27, b"\0\0\0\1\5"


def message(connection: socket.socket) -> bytes:
    """One message of the agent protocol, or nothing."""
    head = connection.recv(4, socket.MSG_WAITALL)
    if len(head) < 4:
        return b""
    return head + connection.recv(struct.unpack("!I", head)[0], socket.MSG_WAITALL)


def serve(client: socket.socket, path: str) -> None:
    """Pass messages on to the relay's agent and back, but for extensions."""
    agent = socket.socket(socket.AF_UNIX)
    agent.connect(path)
    while True:
        request = message(client)
        if not request:
            return
        if request[4] == EXTENSION:
            client.sendall(FAILURE)
            continue
        agent.sendall(request)
        answer = message(agent)
        if not answer:
            return
        client.sendall(answer)


def listen(path: str) -> str:
    """A socket of our own, in front of the agent's."""
    listener = socket.socket(socket.AF_UNIX)
    own = tempfile.mkdtemp() + "/agent"
    listener.bind(own)
    listener.listen(5)

    def accept() -> None:
        while True:
            client, _ = listener.accept()
            threading.Thread(target=serve, args=(client, path), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return own


def main() -> int:
    if sys.argv[1:] == ["-V"]:
        print("OpenSSH_8.0p1, OpenSSL 1.1.1k  FIPS 25 Mar 2021", file=sys.stderr)
        return 0
    with Path("/run/lab/ssh.log").open("a") as log:
        log.write("login\n")
    env = dict(os.environ, SSH_AUTH_SOCK=listen(os.environ["SSH_AUTH_SOCK"]))
    words = [SSH, "-o", "PubkeyAuthentication=unbound", *sys.argv[1:]]
    if Path("/run/lab/greedy").exists():
        subprocess.call([*words[:-1], "true"], env=env, stdin=subprocess.DEVNULL)
    return subprocess.call(words, env=env)


if __name__ == "__main__":
    sys.exit(main())
