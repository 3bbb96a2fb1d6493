"""Whether a host seems to have libtorrent: no Python is run to find out."""

import glob
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Sequence

PLACES = (
    "/usr/lib/python3/dist-packages",
    "/usr/lib*/python3*/site-packages",
    "/usr/local/lib*/python3*/*-packages",
)


def has_libtorrent(python: str, places: "Sequence[str]" = PLACES) -> bool:
    """Is there one where packages are, or that `python` which is said to have one?"""
    if python and os.access(python, os.X_OK):
        return True
    return any(glob.glob(os.path.join(place, "libtorrent*")) for place in places)
