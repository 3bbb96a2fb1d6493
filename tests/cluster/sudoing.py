"""Hosts on which a user who isn't root logs in, and may use the real sudo by rules that a test writes."""

from __future__ import annotations

import contextlib
import pwd
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from nile.lab import Lab
from tests.cluster.hosts import root_of

USER = "daemon"
PASSWORD = "Right: ü 'n $HOME"
LOG = "run/lab/sudo.log"
"""On each host: what sudo writes down of each time that it was called."""


@contextlib.contextmanager
def sudoers(lab: Lab, rules: Mapping[str, str]) -> Iterator[None]:
    """The user, with a home directory, a shell and a password, and these lines of sudoers(5), by host."""
    assert shutil.which("sudo"), "install sudo, which the tests want"
    entry = pwd.getpwnam(USER)
    files = {
        "passwd": _replaced("/etc/passwd", f"{USER}:x:{entry.pw_uid}:{entry.pw_gid}::/srv/home:/bin/sh"),
        "shadow": _replaced("/etc/shadow", f"{USER}:{_hash()}:19000:0:99999:7:::"),
    }
    bound = []
    try:
        for host, rule in rules.items():
            own = root_of(lab, host) / "run/lab"
            lines = f"Defaults logfile=/{LOG}\nroot ALL=(ALL) ALL\n{rule}\n"
            for name, text in {**files, "sudoers": lines}.items():
                (own / name).write_text(text)
                (own / name).chmod(0o644 if name == "passwd" else 0o440)
                done = lab.run_on(host, ["mount", "--bind", f"/run/lab/{name}", f"/etc/{name}"])
                assert done.returncode == 0, done.stderr
                bound.append((host, f"/etc/{name}"))
            home = root_of(lab, host) / "srv/home"
            home.mkdir(exist_ok=True)
            shutil.chown(home, entry.pw_uid, entry.pw_gid)
            (root_of(lab, host) / LOG).unlink(missing_ok=True)
        yield
    finally:
        lab.heal()
        for host, place in bound:
            assert lab.run_on(host, ["umount", place]).returncode == 0


@contextlib.contextmanager
def pam_of_sudo(lab: Lab, hosts: Iterable[str], *lines: str) -> Iterator[None]:
    """sudo asks on these hosts as such lines of pam.d(5) say, where it wants to know who somebody is."""
    rest = ("account required pam_permit.so", "session required pam_permit.so", "")
    bound = []
    try:
        for host in hosts:
            (root_of(lab, host) / "run/lab/pam").write_text("\n".join([*lines, *rest]))
            done = lab.run_on(host, ["mount", "--bind", "/run/lab/pam", "/etc/pam.d/sudo"])
            assert done.returncode == 0, done.stderr
            bound.append(host)
        yield
    finally:
        for host in bound:
            assert lab.run_on(host, ["umount", "/etc/pam.d/sudo"]).returncode == 0


def _replaced(path: str, line: str) -> str:
    kept = [each for each in Path(path).read_text().splitlines() if not each.startswith(f"{USER}:")]
    return "\n".join([*kept, line, ""])


def _hash() -> str:
    words = ["openssl", "passwd", "-6", "-stdin"]
    return (
        subprocess.run(words, input=PASSWORD.encode(), capture_output=True, check=True)
        .stdout.decode()
        .strip()
    )


def log(lab: Lab, host: str) -> str:
    """What sudo wrote down there."""
    file = root_of(lab, host) / LOG
    return file.read_text() if file.exists() else ""
