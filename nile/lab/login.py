"""What a login to a loopback host gets: user, shell, directories and environment."""

from __future__ import annotations

import os
import pwd
import shutil
from dataclasses import dataclass
from pathlib import Path

from nile.lab.procs import MARK

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
    fallback_path: str = ""
    """Directory of the lab's own `python3` link, put last where the standard PATH has no Python."""
    delay_login_s: float = 0.0

    def environment(self) -> dict[str, str]:
        """What sshd gives a session, and the lab's mark."""
        path = ROOT_PATH if os.getuid() == 0 else USER_PATH
        return {
            "USER": self.user,
            "LOGNAME": self.user,
            "HOME": str(self.home),
            "PATH": f"{path}:{self.fallback_path}" if self.fallback_path else path,
            "MAIL": f"/var/mail/{self.user}",
            "SHELL": self.shell,
            "TMPDIR": str(self.scratch),
            MARK: str(self.lab),
            "NILE_LAB_HOST": self.name,
        }


def lab_user() -> tuple[str, str]:
    """Name and login shell of the user whose lab this is."""
    entry = pwd.getpwuid(os.getuid())
    return entry.pw_name, entry.pw_shell or "/bin/sh"


def python_on(path: str) -> bool:
    """Whether a PATH has a python3."""
    return shutil.which("python3", path=path) is not None
