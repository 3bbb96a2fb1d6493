"""Whether a host seems to have libtorrent: no Python is run to find out."""

import glob
import os
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterator, List, Sequence

OLDEST = 2  # what peers can do with (see peerprogram); Debian 10 has a 1.1
_VERSION = re.compile(r"(?:python_)?libtorrent-([0-9]+)[.0-9]*[^/]*\.(?:egg|dist)-info")

PLACES = (
    "/usr/lib/python3/dist-packages",
    "/usr/lib*/python3*/site-packages",
    "/usr/local/lib*/python3*/*-packages",
)


def has_libtorrent(python: str, places: "Sequence[str]" = PLACES) -> bool:
    """Is there one where packages are, or that `python` which is said to have one?"""
    if python and os.access(python, os.X_OK):
        return True
    return any(_has_one(found) for place in places for found in _there(place))


def _there(place: str) -> "Iterator[List[str]]":
    """What may be one, by directory."""
    for directory in glob.glob(place):
        yield [
            os.path.basename(path)
            for name in ("libtorrent*", "python_libtorrent-*")
            for path in glob.glob(os.path.join(glob.escape(directory), name))
        ]


def _has_one(names: "List[str]") -> bool:
    """Is there one that can take part? Of one whose version nobody says, that is hoped."""
    versions = [int(said.group(1)) for said in map(_VERSION.fullmatch, names) if said]
    return max(versions) >= OLDEST if versions else bool(names)
