"""How the program of a peer ends."""

from __future__ import annotations

import subprocess
import sys

ENDS = """
import os
from nile.agent.worker import peerprogram

class Peer:
    def __init__(self, found):
        self.found = found
    def run(self):
        os.write(1, b"it ran; ")
    def __del__(self):
        os.write(1, b"its session is being closed")

peerprogram._installed = lambda: peerprogram
peerprogram.Peer = Peer
peerprogram.main()
"""


def test_nobody_waits_for_a_peer_to_close_its_connections_in_order() -> None:
    """With libtorrent's session, and so when the last name of a peer goes, that takes up to seconds."""
    done = subprocess.run([sys.executable, "-c", ENDS], stdout=subprocess.PIPE, check=True, timeout=30)
    assert done.stdout == b"it ran; "
