"""What makes a host of a netns lab odd; each is over when its context is."""

from __future__ import annotations

import contextlib
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from nile.lab import Lab
from tests.cluster.hosts import root_of, sshd_with

CLOCK = """
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t which, struct timespec *at) {
    int failed = syscall(SYS_clock_gettime, which, at);
    if (!failed && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE)) at->tv_sec += AHEAD;
    return failed;
}
time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
int gettimeofday(struct timeval *at, void *zone) {
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}
"""
"""In place of the C library's: whatever a login starts has another time of day."""


def done_on(lab: Lab, host: str, script: str) -> None:
    """Have a host's own shell do something, which must succeed."""
    done = lab.run_on(host, ["sh", "-ec", script])
    assert done.returncode == 0, done.stderr


@contextlib.contextmanager
def noexec(lab: Lab, host: str) -> Iterator[None]:
    """Nothing may be executed where anybody may write."""
    for place in ("/tmp", "/dev/shm", "/run"):
        done_on(lab, host, f"mount -o remount,noexec {place}")
    yield


@contextlib.contextmanager
def full(lab: Lab, host: str, place: str) -> Iterator[None]:
    """A directory of its own in which there is no room for one byte."""
    small = f"mount -t tmpfs -o size=64k,mode=1777 tmpfs {place}"
    done_on(lab, host, f"{small}; head -c 1000000 /dev/zero >{place}/fill || true")
    yield


@contextlib.contextmanager
def few_files(lab: Lab, host: str, most: int) -> Iterator[None]:
    """So many open files for each process of a login, and no more."""
    (lab.home(host) / ".bashrc").write_text(f"ulimit -n {most}\n")
    yield


@contextlib.contextmanager
def called(lab: Lab, host: str, name: str) -> Iterator[None]:
    """It calls itself otherwise than all others do, and knows nobody by that name."""
    done_on(lab, host, f"hostname {name}")
    yield
    done_on(lab, host, f"hostname {host}")


@contextlib.contextmanager
def with_ipv6(lab: Lab, host: str, address: str, port: int) -> Iterator[None]:
    """An address of IPv6, and an sshd that listens on nothing else; no host, and it is the root machine."""
    script = f"echo 0 >/proc/sys/net/ipv6/conf/eth0/disable_ipv6; ip -6 addr add {address}/64 dev eth0 nodad"
    if not host:
        done = lab.run_on_root(["sh", "-ec", script])
        assert done.returncode == 0, done.stderr
        yield
        return
    done_on(lab, host, script)
    with sshd_with(lab, host, port, "AddressFamily inet6"):
        yield


@contextlib.contextmanager
def with_user(lab: Lab, host: str, user: str, port: int) -> Iterator[None]:
    """On that port that user logs in, and root doesn't."""
    entry = pwd.getpwnam(user)
    kept = [each for each in Path("/etc/passwd").read_text().splitlines() if not each.startswith(f"{user}:")]
    line = f"{user}:x:{entry.pw_uid}:{entry.pw_gid}::/srv/home:/bin/sh"
    (root_of(lab, host) / "run/lab/passwd").write_text("\n".join([*kept, line, ""]))
    done_on(lab, host, f"mount --bind /run/lab/passwd /etc/passwd; mkdir /srv/home; chown {user} /srv/home")
    with sshd_with(lab, host, port, "PermitRootLogin no"):
        yield


@contextlib.contextmanager
def clock(lab: Lab, host: str, ahead_s: int, port: int) -> Iterator[None]:
    """Whoever logs in on that port has another time of day: its agent, its commands, its ssh."""
    compiler = shutil.which("cc")
    assert compiler, "install gcc, which the tests want"
    words = [compiler, "-shared", "-fPIC", f"-DAHEAD=({ahead_s}L)", "-x", "c", "-", "-o"]
    place = root_of(lab, host) / "run/lab/clock.so"
    subprocess.run([*words, str(place)], input=CLOCK.encode(), check=True)
    with sshd_with(lab, host, port, "SetEnv LD_PRELOAD=/run/lab/clock.so"):
        yield


@contextlib.contextmanager
def busybox(lab: Lab, host: str) -> Iterator[None]:
    """All that is in /usr/bin is busybox: a host without Python, bash and GNU."""
    path = shutil.which("busybox")
    assert path, "install busybox, which the tests want"
    own = "/run/lab/busybox"
    kept = [each for each in Path("/etc/passwd").read_text().splitlines() if not each.startswith("root:")]
    (root_of(lab, host) / "run/lab/passwd").write_text("\n".join(["root:x:0:0::/root:/bin/sh", *kept, ""]))
    done_on(
        lab,
        host,
        f"mkdir {own}; cp {path} {own}/busybox; {own}/busybox --install -s {own};"
        f" mount --bind /run/lab/passwd /etc/passwd; mount --bind {own} /usr/bin",
    )
    yield


@contextlib.contextmanager
def ssh_config(lab: Lab, text: str, place: Path) -> Iterator[None]:
    """What the root machine's ssh_config says, for whoever runs ssh or Nile there."""
    place.write_text(text)
    words = ["mount", "--bind", str(place), "/etc/ssh/ssh_config"]
    assert lab.run_on_root(words).returncode == 0
    yield
    assert lab.run_on_root(["umount", "/etc/ssh/ssh_config"]).returncode == 0
