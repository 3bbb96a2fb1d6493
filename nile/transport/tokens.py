"""Percent tokens and environment variables in values of ssh_config(5)."""

from __future__ import annotations

import os
import pwd
import re
import socket
from collections.abc import Mapping
from functools import cache

from nile.errors import SshConfigError

_TOKEN = re.compile(r"%(.)|\$\{([^}]*)\}")


def expand(text: str, values: Mapping[str, str]) -> str:
    """`text` with its tokens replaced; `values` are the host's. An unknown one is an SshConfigError."""

    def replace(match: re.Match[str]) -> str:
        token, variable = match.groups()
        if variable is not None:
            return _variable(variable, text)
        known = values if token in values else _local()
        if token not in known:
            raise SshConfigError(f"%{token} isn't supported here", where=f"ssh configuration, {text!r}")
        return known[token]

    return _TOKEN.sub(replace, text)


def _variable(name: str, text: str) -> str:
    value = os.environ.get(name)
    if value is None:
        raise SshConfigError(f"${{{name}}} isn't set", where=f"ssh configuration, {text!r}")
    return value


@cache
def _local() -> Mapping[str, str]:
    try:
        user = pwd.getpwuid(os.getuid())
    except KeyError as exc:
        raise SshConfigError(
            f"user {os.getuid()} of this machine can't be looked up", where="ssh configuration"
        ) from exc
    hostname = socket.gethostname()
    return {
        "%": "%",
        "d": user.pw_dir,
        "i": str(os.getuid()),
        "L": hostname.split(".")[0],
        "l": hostname,
        "u": user.pw_name,
    }
