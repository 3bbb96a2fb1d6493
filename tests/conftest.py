"""Labs that tests share. Each worker of pytest-xdist has its own; they end with the worker, however it ends.

`loopback_lab` and `netns_lab` are one lab a session, healed after every test:
crashed, frozen and cut hosts are brought back. Files that a test leaves on a
host stay until the session ends.

What Hypothesis tries is the same each time, so that nothing fails by chance,
nor by how long it takes on a machine that has other work;
`make soak` has it try others (`--hypothesis-profile=explore`).
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from nile.lab import BackendName, Lab, LabSpec

HOSTS = 12

settings.register_profile("explore", max_examples=1000, deadline=None, print_blob=True)
settings.register_profile(
    "check", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("check")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests in namespaces first: of two workers one begins with these, which wait a lot, and one computes."""
    items.sort(key=lambda item: item.get_closest_marker("cluster") is None)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What Nile keeps in the user's cache directory isn't used by tests, nor left there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def loopback_lab_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """12 hosts on loopback addresses, for the whole session."""
    with Lab.up(LabSpec(hosts=HOSTS), tmp_path_factory.mktemp("labs") / "loopback", tied=True) as lab:
        yield lab


@pytest.fixture
def loopback_lab(loopback_lab_session: Lab) -> Iterator[Lab]:
    """12 hosts on loopback addresses; all up again after the test."""
    yield loopback_lab_session
    loopback_lab_session.heal()


@pytest.fixture(scope="session")
def netns_lab_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """12 hosts in namespaces on two switches, for the whole session. Needs root: mark tests `cluster`."""
    spec = LabSpec(hosts=HOSTS, backend=BackendName.NETNS, switches=2)
    with Lab.up(spec, tmp_path_factory.mktemp("labs") / "netns", tied=True) as lab:
        yield lab


@pytest.fixture
def netns_lab(netns_lab_session: Lab) -> Iterator[Lab]:
    """12 hosts in namespaces on two switches; all up again after the test."""
    yield netns_lab_session
    netns_lab_session.heal()
