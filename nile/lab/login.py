"""What a login to a loopback host gets: user, shell, directories and environment."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from pathlib import Path

from nile.errors import LabError
from nile.lab.procs import MARK
from nile.lab.spec import LabSpec
from nile.lab.state import LabFiles

ROOT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
USER_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/games"
"""sshd's PATH, as Debian builds it."""


@dataclass(frozen=True, slots=True)
class HostConfig:
    """What a loopback host is."""

    lab: Path
    """The lab's directory, which is also the mark of its processes."""
    name: str
    user: str
    shell: str
    home: Path
    scratch: Path
    host_key: Path
    authorized_keys: Path
    path: str
    """$PATH."""
    delay_login_s: float = 0.0

    def environment(self) -> dict[str, str]:
        """What sshd gives a session, and the lab's mark."""
        return {
            "USER": self.user,
            "LOGNAME": self.user,
            "HOME": str(self.home),
            "PATH": self.path,
            "MAIL": f"/var/mail/{self.user}",
            "SHELL": self.shell,
            "TMPDIR": str(self.scratch),
            MARK: str(self.lab),
            "NILE_LAB_HOST": self.name,
        }


def lab_user() -> tuple[str, str]:
    """Name and login shell of the user whose lab this is; LabError where the machine doesn't know them."""
    try:
        entry = pwd.getpwuid(os.getuid())
    except KeyError:
        raise LabError(
            f"there is no user with the id {os.getuid()}",
            remedy="ssh needs an entry in /etc/passwd; run the lab as a user who has one",
        ) from None
    return entry.pw_name, entry.pw_shell or "/bin/sh"


def standard_path() -> str:
    """What sshd gives as $PATH."""
    return ROOT_PATH if os.getuid() == 0 else USER_PATH


def host_config(files: LabFiles, spec: LabSpec, name: str) -> HostConfig:
    """What a loopback host of a lab is."""
    user, shell = lab_user()
    own = files.host(name)
    extra = f":{files.programs}" if files.programs.exists() else ""
    return HostConfig(
        lab=files.directory,
        name=name,
        user=user,
        shell=shell,
        home=own / "home",
        scratch=own / "tmp",
        host_key=files.host_key(name),
        authorized_keys=files.public_key,
        path=standard_path() + extra,
        delay_login_s=spec.delay_login_s,
    )
