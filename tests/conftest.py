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


_LANES = {"tests/nodes": "nodes", "tests/e2e": "nodes", "tests/api/faults": "control", "tests/api": "control"}
"""Lane of each tier, where two lanes run side by side (`pytest -n 2`), and the order in it.

The lanes take about as long as each other: the faults wait most of their time, for what they broke to be noticed.
"""


class _Lanes(LoadScopeScheduling):
    """Keeps the tests of a lane in one process, and fills the gaps with the other tests, file by file."""

    def _split_scope(self, nodeid: str) -> str:
        return _LANES.get(_folder(nodeid)) or nodeid.partition("::")[0]


def _folder(nodeid: str) -> str:
    return nodeid.partition("::")[0].rpartition("/")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    return _Lanes(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Side by side, let the lanes begin before the rest."""
    if hasattr(config, "workerinput"):
        order = [*_LANES, ""]
        items.sort(key=lambda item: order.index(folder if (folder := _folder(item.nodeid)) in _LANES else ""))


@pytest.fixture(scope="session")
def real_cluster() -> Iterator[Cluster]:
    """A cluster with one node and the operator running as a pod, installed by its chart as a user does."""
    with locked(state_root() / f"tests-nodes-{checkout()}.lock", "another run of these tests"):
        made = open_cluster(f"nodes-{checkout()}").up(nodes=1, wanted=("operator",))
        chart.install(made)
        yield made
        made.down()
