"""What holds for every tier, and the cluster with a real node that two of them share."""

import contextlib
from collections.abc import Generator, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

from tests import chart
from tests.cluster import Cluster, UnsupportedError, open_cluster
from tests.cluster.cache import locked
from tests.cluster.places import checkout, state_root

# Two cores shared with builds: how long one made-up example takes says nothing about the code.
settings.register_profile("llmfleet", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("llmfleet")


@contextlib.contextmanager
def _skipped_where_unsupported() -> Iterator[None]:
    """Skip a test that needs what this provider of clusters does not offer (LLMFLEET_PROVIDER), and say what."""
    try:
        yield
    except UnsupportedError as error:
        pytest.skip(str(error))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None, object, object]:
    with _skipped_where_unsupported():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, object, object]:
    with _skipped_where_unsupported():
        return (yield)


_LANES = {"tests/nodes": "nodes", "tests/e2e": "nodes", "tests/api/faults": "faults", "tests/api": "api"}
"""Folders, whose tests share a cluster, and the lane they run in where lanes run side by side (`pytest -n`)."""


class _Lanes(LoadScopeScheduling):
    """Keeps the tests of a lane together in one process, and other tests by their file."""

    def _split_scope(self, nodeid: str) -> str:
        return _lane(nodeid) or nodeid.partition("::")[0]


def _lane(nodeid: str) -> str | None:
    return _LANES.get(nodeid.partition("::")[0].rpartition("/")[0])


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    return _Lanes(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Side by side, let the longest lane begin first."""
    if hasattr(config, "workerinput"):
        order = [*dict.fromkeys(_LANES.values()), None]
        items.sort(key=lambda item: order.index(_lane(item.nodeid)))


@pytest.fixture(scope="session")
def real_cluster() -> Iterator[Cluster]:
    """A cluster with one node and the operator running as a pod, installed by its chart as a user does."""
    with locked(state_root() / f"tests-nodes-{checkout()}.lock", "another run of these tests"):
        made = open_cluster(f"nodes-{checkout()}").up(nodes=1, wanted=("operator",))
        chart.install(made)
        yield made
        made.down()
