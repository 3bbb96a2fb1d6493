"""All that chains do, they do through TLS too; and what only TLS has."""

from __future__ import annotations

from types import ModuleType

import pytest

from nile.agent.worker.sealing import Tls
from nile.bootstrap.identity import make_identity
from tests.agent.worker import chaining, test_chain, test_chain_offsets, test_chain_pace


@pytest.fixture(autouse=True)
def sealed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chaining, "TLS", Tls(make_identity()))


def _tests_of(*modules: ModuleType) -> dict[str, object]:
    return {
        name: test for module in modules for name, test in vars(module).items() if name.startswith("test_")
    }


globals().update(_tests_of(test_chain, test_chain_offsets, test_chain_pace))
