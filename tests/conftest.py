"""What holds for every tier, and the cluster with a real node that two of them share."""

import contextlib
from collections.abc import Generator, Iterator

import pytest
from hypothesis import HealthCheck, settings

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


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep tests of one cluster together, and side by side let the longest lane begin first."""
    for item in items:
        folder = item.path.relative_to(config.rootpath).parent.as_posix()
        if folder in _LANES:
            item.add_marker(pytest.mark.xdist_group(_LANES[folder]))
    if hasattr(config, "workerinput"):
        lanes = [*dict.fromkeys(_LANES.values()), None]
        items.sort(key=lambda item: lanes.index(_lane(item)))


def _lane(item: pytest.Item) -> str | None:
    group = item.get_closest_marker("xdist_group")
    return group.args[0] if group else None


@pytest.fixture(scope="session")
def real_cluster() -> Iterator[Cluster]:
    """A cluster with one node and the operator running as a pod, installed by its chart as a user does."""
    with locked(state_root() / f"tests-nodes-{checkout()}.lock", "another run of these tests"):
        made = open_cluster(f"nodes-{checkout()}").up(nodes=1, wanted=("operator",))
        chart.install(made)
        yield made
        made.down()
