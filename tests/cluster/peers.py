"""A Python with libtorrent for the hosts of a lab, whatever that of the tests is."""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def python_with_libtorrent() -> Iterator[Path]:
    """Where hosts see it: their own python3, to which libtorrent is added."""
    with tempfile.TemporaryDirectory(prefix="nile-test-", dir="/var/tmp") as place:
        Path(place).chmod(0o755)
        found = importlib.util.find_spec("libtorrent")
        assert found is not None
        assert found.origin is not None
        shutil.copytree(Path(found.origin).parent, Path(place) / "libtorrent")
        python = Path(place) / "python"
        python.write_text(f'#!/bin/sh\nPYTHONPATH={place} exec python3 "$@"\n')
        python.chmod(0o755)
        yield python
