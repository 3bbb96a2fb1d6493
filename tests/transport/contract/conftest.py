"""Every test of the contract runs once with each kind of transport that it is about."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.transport.contract.clients import Client, Kind

SSH = [kind for kind in Kind if kind is not Kind.LOCAL]


@pytest.fixture(params=list(Kind))
def any_client(request: pytest.FixtureRequest, tmp_path: Path) -> Client:
    """A transport of any kind."""
    return Client(tmp_path, request.param)


@pytest.fixture(params=SSH)
def client(request: pytest.FixtureRequest, tmp_path: Path) -> Client:
    """A transport that really logs in."""
    return Client(tmp_path, request.param)
