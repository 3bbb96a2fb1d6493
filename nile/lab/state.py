"""A lab's directory: where everything of a lab lies, and state.json, written ahead of each step."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nile.errors import LabError
from nile.lab.spec import LabSpec


@dataclass(frozen=True, slots=True)
class LabFiles:
    """Paths under a lab's directory."""

    directory: Path

    @property
    def state(self) -> Path:
        """What the lab is and how far it came."""
        return self.directory / "state.json"

    @property
    def routes(self) -> Path:
        """The route file."""
        return self.directory / "routes.yaml"

    @property
    def key(self) -> Path:
        """The lab user's private key; the public one is beside it with `.pub`."""
        return self.directory / "id_ed25519"

    @property
    def public_key(self) -> Path:
        """The lab user's public key, which every host admits."""
        return self.directory / "id_ed25519.pub"

    @property
    def known_hosts(self) -> Path:
        """Host keys, by name and by address."""
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
        """What the supervisor and the hosts say of themselves."""
        return self.directory / "log"

    @property
    def control(self) -> Path:
        """The supervisor's socket."""
        return self.directory / "control.sock"

    @property
    def programs(self) -> Path:
        """On every loopback host's PATH, after all else; there only where it is needed."""
        return self.directory / "bin"

    def host(self, name: str) -> Path:
        """A host's own directory."""
        return self.directory / "hosts" / name

    def host_key(self, name: str) -> Path:
        """A host's private key; the public one is beside it with `.pub`."""
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
        """What state.json says."""
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
