"""Copies that a worker is at: what is kept of one that broke."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from nile.agent.worker import pushing
from nile.agent.worker.copies import Copies
from tests.agent.worker.copying import NAME, SECRET, a_loop, litter

BIG = 6_000_000
HOW = {
    "delete": False,
    "excludes": [],
    "checksum": False,
    "whole": True,
    "numeric_ids": False,
    "chown": "",
    "bwlimit": 0,
    "max_delete": None,
}


@pytest.mark.parametrize("keep", [True, False])
def test_what_is_kept_goes_in_the_end_if_no_other_copy_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: bool
) -> None:
    monkeypatch.setattr(pushing, "PROGRESS_S", 0.0)
    source, dest = tmp_path / "src", tmp_path / "dest"
    source.mkdir()
    (source / "big").write_bytes(os.urandom(BIG))
    ended: dict[int, dict[str, Any]] = {}

    def say(number: int, fields: dict[str, Any]) -> None:
        if fields.get("sent_so_far", 0) > BIG // 2:
            copies.abandon(2)
        elif not fields.get("more"):
            ended[number] = fields
            if len(ended) == 2:
                loop.stop()

    with a_loop() as loop:
        copies = Copies(loop, say, list)
        rsync = copies.look_for_rsync()
        take = {"n": 1, "loopback": True, "secret": SECRET, "keep": keep}
        port = copies.receive(take, os.fsencode(dest), NAME)["port"]
        where = {"address": "127.0.0.1", "port": port, "secret": SECRET, "dest": os.fsencode(dest)}
        copies.push({"n": 2, **where, "temporary": NAME, "peer": rsync, "copy": HOW}, [bytes(source) + b"/"])
        loop.run()
    assert (ended[1]["retry"], ended[2]["code"]) == (True, "stopped")
    assert not (dest / "big").exists()
    assert (litter(dest) != []) is keep
    copies.tidy(os.fsencode(dest), NAME)
    assert litter(dest) == []
