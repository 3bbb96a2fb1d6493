"""A Kerberos realm of one's own: a real KDC (krb5-kdc) on loopback, its files in one directory."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.lab.helpers import eventually
from tests.transport.servers import DEADLINE_S, free_port

REALM = "NILE.TEST"
ON_HOST = "localhost"
"""What its services are called: Kerberos goes by names."""
_CLIENT = """\
[libdefaults]
    default_realm = {realm}
    dns_lookup_kdc = false
    dns_lookup_realm = false
    dns_canonicalize_hostname = false
    rdns = false
    qualify_shortname = ""
    udp_preference_limit = 1
[realms]
    {realm} = {{
        kdc = 127.0.0.1:{port}
    }}
"""
_SERVER = """\
[realms]
    {realm} = {{
        database_name = {directory}/principal
        key_stash_file = {directory}/stash
        kdc_listen = 127.0.0.1:{port}
        kdc_tcp_listen = 127.0.0.1:{port}
    }}
[logging]
    kdc = FILE:{directory}/kdc.log
"""


@dataclass(frozen=True)
class Realm:
    """A KDC that runs, with a principal for `user`, whose keys are in a keytab, and one for sshd here."""

    directory: Path
    user: str

    @property
    def environment(self) -> Mapping[str, str]:
        """For clients and servers: all that they need of the realm, and nothing of the machine's own."""
        return {
            "KRB5_CONFIG": str(self.directory / "krb5.conf"),
            "KRB5_KTNAME": f"FILE:{self.directory}/host.keytab",
            "KRB5CCNAME": f"FILE:{self.directory}/tickets",
            "KRB5RCACHENAME": "none:",  # else the server leaves a file in /var/tmp
        }

    def kinit(self, *options: str) -> None:
        """Get the user a ticket; `-f` for one that may be delegated."""
        keytab = f"{self.directory}/user.keytab"
        _run(["kinit", *options, "-k", "-t", keytab, self.user], self.environment)


@contextmanager
def running_realm(directory: Path, user: str) -> Iterator[Realm]:
    """A realm that is gone afterwards."""
    directory.mkdir()
    for _ in range(5):
        port = free_port()
        words = {"realm": REALM, "port": port, "directory": directory}
        (directory / "krb5.conf").write_text(_CLIENT.format_map(words))
        (directory / "kdc.conf").write_text(_SERVER.format_map(words))
        realm = Realm(directory, user)
        environment = {**realm.environment, "KRB5_KDC_PROFILE": str(directory / "kdc.conf")}
        if not (directory / "principal").exists():
            _fill(realm, environment)
        kdc = subprocess.Popen(["krb5kdc", "-n"], env=_with(environment), stdin=subprocess.DEVNULL)
        try:
            eventually(partial(_settled, kdc, port), "the KDC answers, or has ended")
            if kdc.poll() is None:
                yield realm
                return
        finally:
            kdc.terminate()
            kdc.wait(DEADLINE_S)
    raise AssertionError("the KDC doesn't start:\n" + (directory / "kdc.log").read_text())


def _fill(realm: Realm, environment: Mapping[str, str]) -> None:
    """The database: a user and a service, with keys that nobody types."""
    _run(["kdb5_util", "create", "-s", "-r", REALM, "-P", "a key that nobody needs again"], environment)
    for principal, keytab in ((realm.user, "user"), (f"host/{ON_HOST}", "host")):
        _run(["kadmin.local", "-q", f"addprinc -randkey {principal}"], environment)
        _run(["kadmin.local", "-q", f"ktadd -k {realm.directory}/{keytab}.keytab {principal}"], environment)


def _settled(kdc: subprocess.Popen[bytes], port: int) -> bool:
    if kdc.poll() is not None:
        return True
    try:
        socket.create_connection(("127.0.0.1", port), DEADLINE_S).close()
    except OSError:
        return False
    return True


def _run(argv: list[str], environment: Mapping[str, str]) -> None:
    done = subprocess.run(
        argv,
        env=_with(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, f"{argv[0]}: {done.stdout}{done.stderr}"


def _with(environment: Mapping[str, str]) -> dict[str, str]:
    return {**os.environ, **environment, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
