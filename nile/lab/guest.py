"""The inside of a netns host: its file systems, its Python, its sshd and its pid 1.

All of this runs in a process forked from the supervisor, already in namespaces
of its own. From the moment the masks are mounted, the files of Python's own
library may be out of sight: everything needed is imported before.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import uuid
from dataclasses import dataclass
from pathlib import Path

from nile.lab import links
from nile.lab.kernel import MS_NODEV, MS_NOEXEC, MS_NOSUID, bind, mount, tmpfs
from nile.lab.login import ROOT_PATH

OWN = Path("/run/lab")
"""Where a host keeps what the lab gave it."""
MASKS = {"/tmp": 0o1777, "/root": 0o700, "/run": 0o755, "/srv": 0o755, "/dev/shm": 0o1777, "/var/log": 0o755}
"""Directories that every host has of its own, empty and in memory -> mode."""
FRONT = Path("/usr/local/sbin")
"""First on root's PATH, as sshd sets it."""
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
REBOOT = """#!/bin/sh
# The first process of this host ends, and with it all others; then the lab boots it anew.
kill -TERM 1
"""


@dataclass(frozen=True, slots=True)
class Guest:
    """What a netns host is to be."""

    name: str
    address: str
    sshd: str
    sshd_config: str
    host_key: bytes
    authorized_keys: bytes
    hosts_file: Path
    hostname_file: Path
    rate: str | None
    delay_login_s: float
    python: Python | None
    masked: tuple[str, ...]
    """Files that aren't there: the interpreters, on a host without Python."""


@dataclass(frozen=True, slots=True)
class Python:
    """An interpreter to put in front: its file, and the prefix that it must find where it was built for."""

    executable: str
    prefix: str


def hidden(path: str) -> bool:
    """Whether the masks hide a path of the machine."""
    return any(path == mask or path.startswith(f"{mask}/") for mask in MASKS)


def run_guest(guest: Guest, go: int) -> None:
    """Be the host's pid 1: set up when `go` has a byte, start sshd, reap until SIGTERM asks for a reboot."""
    if not os.read(go, 1):
        return  # the supervisor is gone
    os.close(go)
    socket.sethostname(guest.name)
    Path("/proc/self/comm").write_text(f"lab-{guest.name}")
    links.silence_ipv6()
    links.configure(guest.address)
    if guest.rate:
        links.tc([links.shape("eth0", guest.rate)])
    furnish(guest)
    watched = {signal.SIGCHLD, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    start_sshd(guest)
    while signal.sigwait(watched) != signal.SIGTERM:
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def furnish(guest: Guest) -> None:
    """Mount what the host has of its own, and write its files; OSError names what failed."""
    os.chdir("/")
    bind(guest.hosts_file, "/etc/hosts")
    if Path("/etc/hostname").exists():
        bind(guest.hostname_file, "/etc/hostname")
    tmpfs("/run")
    for directory in (OWN, Path("/run/sshd"), Path("/run/lock")):
        directory.mkdir(mode=0o755)
    if guest.python and hidden(guest.python.prefix):
        (OWN / "python").mkdir()
        bind(guest.python.prefix, OWN / "python")
    for target, mode in MASKS.items():
        if target != "/run" and Path(target).is_dir():
            tmpfs(target, mode)
    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    boot_id = OWN / "boot_id"
    boot_id.write_text(f"{uuid.uuid4()}\n")
    bind(boot_id, BOOT_ID)
    if guest.python or FRONT.is_dir():
        put_in_front(guest.python)
    hide(guest.masked)
    _write_sshd_files(guest)


def put_in_front(python: Python | None) -> None:
    """Make these first on sshd's PATH: a `reboot` that is the host's own, and an interpreter as `python3`.

    The interpreter's prefix is shown at the path that it was built for.
    """
    if python and hidden(python.prefix):
        Path(python.prefix).mkdir(parents=True)
        bind(OWN / "python", python.prefix)
    links = dict.fromkeys(("python3", Path(python.executable).name), python.executable) if python else {}
    show_without(FRONT, {*links, "reboot"})
    for name, target in links.items():
        (FRONT / name).symlink_to(target)
    (FRONT / "reboot").write_text(REBOOT)
    (FRONT / "reboot").chmod(0o755)


def hide(paths: tuple[str, ...]) -> None:
    """Take files out of their directories, as this host sees them."""
    directories: dict[Path, set[str]] = {}
    for path in map(Path, paths):
        directories.setdefault(path.parent, set()).add(path.name)
    for directory, names in directories.items():
        show_without(directory, names)


def show_without(directory: Path, names: set[str]) -> None:
    """Put links to a directory's entries in its place, without some of them.

    A file that is only covered (by a bind mount) would still be found: `command
    -v` of bash tells of files that root can't execute.
    """
    behind = OWN / "behind" / str(directory).replace("/", "_")
    while behind.exists():  # of another layer
        behind = behind.with_name(f"{behind.name}_")
    behind.mkdir(parents=True)
    bind(directory, behind)
    tmpfs(directory)
    for entry in os.scandir(behind):
        if entry.name not in names:
            target = os.readlink(entry.path) if entry.is_symlink() else entry.path  # noqa: PTH115
            os.symlink(target, directory / entry.name)  # noqa: PTH211


def _write_sshd_files(guest: Guest) -> None:
    (OWN / "sshd_config").write_text(guest.sshd_config)
    (OWN / "authorized_keys").write_bytes(guest.authorized_keys)
    key = OWN / "host_key"
    key.touch(mode=0o600)
    key.write_bytes(guest.host_key)
    if guest.delay_login_s > 0:
        rc = Path("/root/.ssh/rc")  # sshd runs it for every session, before the command, sshd(8)
        rc.parent.mkdir(mode=0o700)
        rc.write_text(f"sleep {guest.delay_login_s:g}\n")


def start_sshd(guest: Guest) -> None:
    """Start sshd in the foreground mode, as a child of pid 1, with a clean environment."""
    pid = os.fork()
    if pid:
        return
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, set())
        for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, sshd's sessions must not
            signal.signal(number, signal.SIG_DFL)
        os.setsid()
        os.umask(0o022)
        words = [guest.sshd, "-D", "-f", str(OWN / "sshd_config"), "-E", str(OWN / "sshd.log")]
        os.execve(guest.sshd, words, {"PATH": ROOT_PATH})
    finally:
        os._exit(127)


def sshd_config(port: int, max_startups: str, extra: tuple[str, ...] = ()) -> str:
    """What a host's sshd is told; the rest is sshd's own default."""
    lines = (
        f"Port {port}",
        "AddressFamily inet",
        f"HostKey {OWN}/host_key",
        f"AuthorizedKeysFile {OWN}/authorized_keys",
        "PermitRootLogin prohibit-password",
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication no",
        "UsePAM no",
        "UseDNS no",
        "PidFile none",
        "PrintMotd no",
        "PrintLastLog no",
        f"MaxStartups {max_startups}",
        "MaxSessions 1000",
        "AcceptEnv LANG LC_*",
        "Subsystem sftp internal-sftp",
        *extra,
    )
    return "\n".join(lines) + "\n"


def find_pythons() -> tuple[str, ...]:
    """Every path by which a host without Python must not find one; directories are spelled without links."""
    places = [*ROOT_PATH.split(":"), "/usr/libexec", "/usr/lib/platform-python/bin"]
    directories = {Path(place).resolve() for place in places}
    return tuple(
        sorted(
            str(path)
            for directory in directories
            for pattern in ("python", "python[23]*", "platform-python*", "pypy*")
            for path in directory.glob(pattern)
        )
    )


def ask_prefix(executable: str) -> tuple[str, str]:
    """(file, prefix) of an interpreter, links and virtual environments seen through; SubprocessError."""
    code = "import os, sys; print(os.path.realpath(sys.executable)); print(sys.base_prefix)"
    done = subprocess.run([executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    path, prefix = done.stdout.splitlines()
    return path, prefix
