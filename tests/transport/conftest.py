"""Keys and a real sshd that the tests of this directory share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.transport.servers import Sshd, keygen, running_sshd


@pytest.fixture(scope="session")
def user_key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key that `sshd` lets in."""
    return keygen(tmp_path_factory.mktemp("user") / "id_user")


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory, user_key: Path) -> Iterator[Sshd]:
    """One sshd for all tests that don't need it special."""
    with running_sshd(tmp_path_factory.mktemp("sshd"), [user_key]) as server:
        yield server
