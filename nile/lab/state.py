"""A lab's directory: where everything of a lab lies, and state.json, written ahead of each step."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nile.errors import LabError
from nile.lab.spec import LabSpec

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")


def check_name(name: str) -> str:
    """A lab's name, which is a directory's name too; LabError where it can't be one."""
    if not _NAME.match(name):
        raise LabError(
            f"{name!r} can't be the name of a lab",
            where="--name",
            remedy="take letters, digits, dots, dashes and underscores",
        )
    return name


@dataclass(frozen=True, slots=True)
class LabFiles:
    """Paths under a lab's directory."""

    directory: Path

    @property
    def state(self) -> Path:
        return self.directory / "state.json"

    @property
    def routes(self) -> Path:
        return self.directory / "routes.yaml"

    @property
    def key(self) -> Path:
        """The lab user's private key; the public one is beside it with `.pub`."""
        return self.directory / "id_ed25519"

    @property
    def public_key(self) -> Path:
        return self.directory / "id_ed25519.pub"

    @property
    def known_hosts(self) -> Path:
        return self.directory / "known_hosts"

    @property
    def ssh_config(self) -> Path:
        """For `ssh -F`."""
        return self.directory / "ssh_config"

    @property
    def hosts_file(self) -> Path:
        """The /etc/hosts of the lab."""
        return self.directory / "hosts.txt"

    @property
    def log(self) -> Path:
        return self.directory / "log"

    @property
    def control(self) -> Path:
        return self.directory / "control.sock"

    def host(self, name: str) -> Path:
        """A host's own directory."""
        return self.directory / "hosts" / name

    def host_key(self, name: str) -> Path:
        return self.host(name) / "host_key"


@dataclass(frozen=True, slots=True)
class LabState:
    """What state.json says. `phase` is `starting` until every host answered, then `up`."""

    spec: LabSpec
    phase: str = "starting"
    user: str = ""
    addresses: Mapping[str, str] = field(default_factory=dict)
    """Host -> address; empty while starting."""
    supervisor: int = 0

    def up(self, addresses: Mapping[str, str], supervisor: int) -> LabState:
        """The state once every host is up."""
        return replace(self, phase="up", addresses=dict(addresses), supervisor=supervisor)

    def to_json(self) -> dict[str, Any]:
        return {
            "version": 1,
            "phase": self.phase,
            "user": self.user,
            "supervisor": self.supervisor,
            "spec": self.spec.to_json(),
            "addresses": dict(self.addresses),
        }


def write_state(files: LabFiles, state: LabState) -> None:
    """Put a state in place of the last one, in one step."""
    fresh = files.state.with_suffix(".new")
    fresh.write_text(json.dumps(state.to_json(), indent=1) + "\n")
    fresh.replace(files.state)


def read_state(files: LabFiles) -> LabState:
    """The state of a lab; LabError where there is no lab, or no readable state."""
    name = files.directory.name
    try:
        raw = json.loads(files.state.read_text())
        return LabState(
            spec=LabSpec.from_json(raw["spec"]),
            phase=raw["phase"],
            user=raw["user"],
            addresses=raw["addresses"],
            supervisor=raw["supervisor"],
        )
    except FileNotFoundError:
        raise LabError(
            f"there is no lab {name!r}", where=str(files.directory), remedy="bring one up: nile lab up"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise LabError(
            f"the state of lab {name!r} can't be read: {error}",
            where=str(files.state),
            remedy=f"clear it away: nile lab down --name {name}",
        ) from None
