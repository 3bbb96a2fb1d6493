"""What a worker answers by itself, without a root that asks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from nile.agent.worker import service
from nile.agent.worker.messages import CantError, pack
from nile.agent.worker.service import Service
from tests.agent.worker.copying import a_loop


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """It has a user, and a group."""
    path = tmp_path / "src"
    path.mkdir()
    (path / "file").write_text("x")
    return path


def read(source: Path, numeric_ids: bool) -> dict[str, Any]:
    ask = {"sources": [os.fsencode(source) + b"/"], "excludes": [], "checksum": False, "streams": False}
    with a_loop() as loop:
        return Service(loop)._do_read({**ask, "numeric_ids": numeric_ids})


def test_more_owners_than_go_by_name_go_by_number(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by_name = read(source, False)
    assert by_name["users"]
    assert by_name["groups"]
    monkeypatch.setattr(service, "MOST_OWNERS", 1)
    with pytest.raises(CantError, match="too many owners") as refused:
        read(source, False)
    assert refused.value.fields["remedy"] == "give --numeric-ids"
    by_number = read(source, True)
    assert (by_number["users"], by_number["groups"]) == ([], [])
    assert by_number["fingerprints"]["numbers"] == by_name["fingerprints"]["numbers"]


def looked(dest: Path) -> dict[str, Any]:
    """What a host answers that is asked for its copy."""
    taking = {"dest": os.fsencode(dest), "write": False, "delete": False, "run": "run"}
    look = {"roots": [b""], "excludes": [], "checksum": False, "owner": "names", "users": [], "groups": []}
    with a_loop() as loop:
        worker = Service(loop)
        worker._do_open(taking)
        try:
            return worker._do_scan(look)
        finally:
            worker._do_close({})


def test_what_a_host_says_of_its_copy_is_as_short_however_much_it_has(source: Path) -> None:
    one = looked(source)
    for number in range(500):
        (source / f"file {number}").write_text("x" * number)
    many = looked(source)
    assert many["entries"] == one["entries"] + 500
    assert many["fingerprint"] != one["fingerprint"]
    assert len(pack({**many, "n": 1})) == len(pack({**one, "n": 1})) < 150, "all hosts say it to the root"
