"""The libtorrent of the tests' Python as a wheel, and Pythons that see none."""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import sys
import zipfile
from pathlib import Path

DISTRIBUTION = importlib.metadata.distribution("libtorrent")
VERSION = DISTRIBUTION.version


def _tags() -> list[str]:
    lines = (DISTRIBUTION.read_text("WHEEL") or "").splitlines()
    return [line.partition(": ")[2] for line in lines if line.startswith("Tag: ")]


def name(version: str = VERSION) -> str:
    """What the wheel is called that was installed."""
    tags = _tags()
    python, abi, _ = tags[0].split("-", 2)
    return f"libtorrent-{version}-{python}-{abi}-{'.'.join(tag.split('-', 2)[2] for tag in tags)}.whl"


def pack(place: Path, called: str = "") -> Path:
    """Put what was installed into a wheel again; it isn't packed tightly, which would take long."""
    wheel = place / (called or name())
    records = []
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for path in DISTRIBUTION.files or ():
            top, last = path.parts[0], path.name
            if top != "libtorrent" and last not in ("WHEEL", "METADATA", "top_level.txt"):
                continue
            data = Path(str(path.locate())).read_bytes()
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            records.append(f"{path},sha256={digest},{len(data)}")
            archive.writestr(str(path), data)
        info = f"libtorrent-{VERSION}.dist-info/RECORD"
        archive.writestr(info, "\n".join([*records, f"{info},,", ""]))
    return wheel


def fill(cache: Path) -> None:
    """Put it where a root looks for wheels."""
    cache.mkdir(mode=0o700, parents=True)
    wheel = pack(cache)
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    (cache / f"{wheel.name}.sha256").write_text(f"{digest}  {wheel.name}\n")


def bare_python(place: Path) -> Path:
    """A Python like this one that sees nothing but its standard library: that of an empty venv."""
    made = place / "bare/bin/python"
    if not made.exists():
        made.parent.mkdir(parents=True)
        made.symlink_to(Path(sys.base_prefix) / "bin/python3")
        said = f"home = {sys.base_prefix}/bin\ninclude-system-site-packages = false\n"
        (place / "bare/pyvenv.cfg").write_text(said)
    return made
