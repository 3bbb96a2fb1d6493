"""aria2 peers started by hand: Debian's aria2c on every host over ssh, a seed and opentracker at the root."""

from __future__ import annotations

import filecmp
import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from nile.agent.worker import bencode
from nile.lab.links import ROOT_ADDRESS
from tests.bench.sync_bench import DEST, Site, Took

PORT = 6969
OPTIONS = (
    "--seed-ratio=0.0 --bt-max-peers=0 --bt-request-peer-speed-limit=1000M --bt-tracker-interval=2"
    " --enable-dht=false --file-allocation=none --allow-overwrite=true --quiet"
)
PIECE = 1 << 18


def torrent(source: Path, tracker: str) -> bytes:
    """The metainfo of what is in a directory, without any padding, as mktorrent makes it."""
    files = sorted(path for path in source.rglob("*") if path.is_file())
    data = b"".join(path.read_bytes() for path in files)
    pieces = b"".join(hashlib.sha1(data[at : at + PIECE]).digest() for at in range(0, len(data), PIECE))
    listed = [
        {
            b"length": path.stat().st_size,
            b"path": [os.fsencode(part) for part in path.relative_to(source).parts],
        }
        for path in files
    ]
    info = {
        b"files": listed,
        b"name": os.fsencode(Path(DEST).name),
        b"piece length": PIECE,
        b"pieces": pieces,
    }
    return bencode.encode({b"announce": tracker.encode(), b"info": info})


@contextmanager
def _started(site: Site, *argv: str) -> Iterator[None]:
    with subprocess.Popen(site.lab.root_argv(list(argv)), stdout=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.terminate()


def by_hand(site: Site) -> Took:
    """From the first login until the last host has all of it, by aria2's own checks of its pieces."""
    assert shutil.which("aria2c"), "aria2 is missing"
    with tempfile.TemporaryDirectory(prefix="nile-bench-", dir="/var/tmp") as place:  # where hosts see it
        Path(place).chmod(0o755)
        return _copy(site, Path(place))


def _copy(site: Site, place: Path) -> Took:
    metainfo, seeded, done = place / "it.torrent", place / "seed", place / "done"
    dest = Path(DEST)
    tracker = f"http://{ROOT_ADDRESS}:{PORT}/announce"
    metainfo.write_bytes(torrent(site.source, tracker))
    info = bencode.decode(metainfo.read_bytes())
    assert isinstance(info, dict)
    (place / "whitelist").write_text(hashlib.sha1(bencode.encode(info[b"info"])).hexdigest() + "\n")
    seeded.mkdir(exist_ok=True)
    (seeded / dest.name).unlink(missing_ok=True)
    (seeded / dest.name).symlink_to(site.source)
    done.write_text("#!/bin/sh\ntouch /srv/done\n")
    done.chmod(0o755)
    whitelist = str(place / "whitelist")
    began = 0.0
    peer = f"aria2c {OPTIONS} --daemon=true --dir={dest.parent} --on-bt-download-complete={done} {metainfo}"
    ssh = f"ssh -F {site.lab.directory / 'ssh_config'}"
    with ExitStack() as stack:
        stack.enter_context(
            _started(
                site, "opentracker", "-i", ROOT_ADDRESS, "-p", str(PORT), "-P", str(PORT), "-w", whitelist
            )
        )
        seed = ["aria2c", *OPTIONS.split(), "--bt-seed-unverified=true", f"--dir={seeded}", str(metainfo)]
        stack.enter_context(_started(site, *seed))
        stack.callback(_end, site)
        began = time.monotonic()
        hosts = " ".join(site.hosts)
        site.run(
            "sh", "-c", f"printf '%s\\n' {hosts} | xargs -P {len(site.hosts)} -I{{}} {ssh} {{}} '{peer}'"
        )
        roots = [Path(f"/proc/{site.lab.pid(host)}/root") for host in site.hosts]
        while not all((root / "srv/done").exists() for root in roots):
            if time.monotonic() - began > 120:
                raise SystemExit("aria2: not all have it after 120 s")
            time.sleep(0.05)
        return Took(time.monotonic() - began)


def verify(site: Site) -> None:
    """Every host must have the contents of the source; aria2 brings no times."""
    for host in site.hosts:
        dest = Path(f"/proc/{site.lab.pid(host)}/root{DEST}")
        for path in site.source.rglob("*"):
            if path.is_file() and not filecmp.cmp(path, dest / path.relative_to(site.source), shallow=False):
                raise SystemExit(f"{host}: {path.name} isn't what the source has")


def _end(site: Site) -> None:
    for host in site.hosts:
        for process in site.lab.processes(host):
            if process.name == "aria2c":
                os.kill(process.pid, signal.SIGKILL)
        site.lab.run_on(host, ["rm", "-f", "/srv/done"])
