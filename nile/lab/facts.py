"""What is known of a lab without asking it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from nile.lab.spec import LabSpec
from nile.lab.state import LabFiles, LabState


class LabFacts:
    """Names, addresses and files of a lab that is up."""

    def __init__(self, files: LabFiles, state: LabState) -> None:
        self._files = files
        self._state = state

    @property
    def directory(self) -> Path:
        """Where its files lie."""
        return self._files.directory

    @property
    def spec(self) -> LabSpec:
        """What it was asked to be."""
        return self._state.spec

    @property
    def names(self) -> tuple[str, ...]:
        """Every host's name."""
        return self._state.spec.names

    @property
    def addresses(self) -> Mapping[str, str]:
        """Host -> address."""
        return self._state.addresses

    @property
    def port(self) -> int:
        """Where ssh listens, on every host."""
        return self._state.spec.ssh_port

    @property
    def user(self) -> str:
        """Whom its key lets in."""
        return self._state.user

    @property
    def routes_file(self) -> Path:
        """The route file, for `-r`."""
        return self._files.routes

    @property
    def key_file(self) -> Path:
        """The private key of its user."""
        return self._files.key

    @property
    def known_hosts_file(self) -> Path:
        """Host keys, by name and by address."""
        return self._files.known_hosts

    @property
    def ssh_config_file(self) -> Path:
        """For `ssh -F`."""
        return self._files.ssh_config

    @property
    def supervisor(self) -> int:
        """Its pid."""
        return self._state.supervisor
