"""SSH servers for tests: a real sshd on loopback, and values to log in to it."""

from __future__ import annotations

import getpass
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from nile.options import Kex, Signing, SshClient
from nile.transport.base import PublicKey, ResolvedLogin

SSHD = "/usr/sbin/sshd"
DEADLINE_S = 20.0
_PIPE = (
    "import os,socket,sys,threading\n"
    "s=socket.create_connection((sys.argv[1],int(sys.argv[2])))\n"
    "def pump(read,write):\n"
    "    while d:=read(65536): write(d)\n"
    "out=lambda d: os.write(1,d)\n"
    "threading.Thread(target=pump,args=(s.recv,out),daemon=True).start()\n"
    "pump(lambda n: os.read(0,n),s.sendall)\n"
)
PIPE = f"ProxyCommand=python3 -c '{_PIPE}' %h %p"
"""An ssh option, by which a program leads to the host."""


def keygen(path: Path, *more: str, kind: str = "ed25519", passphrase: str = "") -> Path:
    """Make a key pair at `path`."""
    subprocess.run(
        ["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", path.name, "-f", str(path), *more],
        check=True,
        stdin=subprocess.DEVNULL,
    )
    return path


def public_line(path: Path) -> str:
    """Type and base64 of the .pub file beside a private key."""
    return " ".join(path.with_name(path.name + ".pub").read_text().split()[:2])


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listened on just now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextmanager
def refusing_port() -> Iterator[int]:
    """A port of 127.0.0.1 that is taken and not listened on: it refuses, and nobody else can have it."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield int(sock.getsockname()[1])


@dataclass
class Sshd:
    """A running sshd."""

    port: int
    host_key: Path
    log: list[str]

    @property
    def known(self) -> str:
        """Its line in known_hosts, by the name `target`."""
        return f"target {public_line(self.host_key)}"

    def login(self, **changes: object) -> ResolvedLogin:
        """Values for a login to it by the present user; `identities` must be given for one that succeeds."""
        login = ResolvedLogin(
            host="target",
            hostname_root="127.0.0.1",
            hostname_inside="127.0.0.1",
            port=self.port,
            user=getpass.getuser(),
            host_key_alias="target",
            known_hosts=(self.known,) if "known_hosts" not in changes else (),
            identities=(),
            relay_options=(),
            client=SshClient.ASYNCSSH,
            kex=Kex.FAST,
            signing=Signing.AUTO,
        )
        return replace(login, **changes)  # type: ignore[arg-type]


@contextmanager
def running_sshd(
    directory: Path, authorized: Sequence[Path], *options: str, host_key: Path | None = None
) -> Iterator[Sshd]:
    """An sshd of one's own, which lets in the keys in `authorized`, and is gone afterwards."""
    directory.mkdir(exist_ok=True)
    host_key = host_key or keygen(directory / "host_key")
    keys = directory / "authorized_keys"
    keys.write_text("".join(f"{public_line(key)}\n" for key in authorized))
    if Path("/run").stat().st_uid == Path(directory).stat().st_uid:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    fixed = [
        "ListenAddress=127.0.0.1",
        f"HostKey={host_key}",
        f"AuthorizedKeysFile={keys}",
        "PidFile=none",
        "StrictModes=no",
        "UsePAM=no",
        "PasswordAuthentication=no",
        "KbdInteractiveAuthentication=no",
        "PermitRootLogin=prohibit-password",
        "LogLevel=VERBOSE",
        "MaxStartups=100",
    ]
    process, port, log, reader = _listening([*options, *fixed])
    try:
        yield Sshd(port, host_key, log)
    finally:
        process.terminate()
        _reap(process, reader)


def _listening(options: Sequence[str]) -> tuple[subprocess.Popen[str], int, list[str], threading.Thread]:
    """Start sshd on a port that nobody else took in the meantime."""
    arguments = [word for option in options for word in ("-o", option)]
    for _ in range(5):
        port, log, settled = free_port(), list[str](), threading.Event()
        process = subprocess.Popen(
            [SSHD, "-D", "-e", "-f", "/dev/null", *arguments, "-p", str(port)],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        reader = threading.Thread(target=_collect, args=(process, log, settled), daemon=True)
        reader.start()
        assert settled.wait(DEADLINE_S), "sshd neither listens nor ends"
        if any(line.startswith("Server listening") for line in log):
            return process, port, log, reader
        _reap(process, reader)
    raise AssertionError("sshd doesn't listen:\n" + "".join(log))


def _reap(process: subprocess.Popen[str], reader: threading.Thread) -> None:
    process.wait(DEADLINE_S)
    reader.join(DEADLINE_S)
    assert process.stderr is not None
    process.stderr.close()


def _collect(process: subprocess.Popen[str], log: list[str], settled: threading.Event) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        log.append(line)
        if line.startswith("Server listening"):
            settled.set()
    settled.set()


def public_key(path: Path) -> PublicKey:
    """The public half of a private key file, as a plan holds it."""
    from nile.transport.keyfile import read_public

    found = read_public(path.with_name(path.name + ".pub"))
    assert found is not None
    return found


@contextmanager
def stub_server(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """A TCP server that gives each connection to `answer` and closes it; yields its port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                answer(connection)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(DEADLINE_S)
