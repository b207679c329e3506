"""What is written for two hundred models, counted by the API server. Storms do not show at three."""

from collections import Counter
from pathlib import Path

import pytest

from tests.api.installation import Installation
from tests.bench.control import phases
from tests.bench.control.operator import Operator
from tests.bench.control.site import Site, install, open_site
from tests.cluster.places import checkout

pytestmark = pytest.mark.api

MODELS = 200
CHILDREN = {"controllerrevisions", "services", "deployments", "poddisruptionbudgets"}
WRITES = {"create", "update", "patch", "delete", "deletecollection"}
IDLE_S = 20
QUIET_S = 10


async def test_nothing_is_written_twice_and_nothing_without_a_change(tmp_path: Path) -> None:
    async with open_site(f"writes-{checkout()}") as site:
        installation = install(site.cluster, tmp_path)
        operator = Operator(installation.kubeconfig(), tmp_path / "operator.log")
        try:
            await _a_fleet_is_born(site, installation, operator)
            await _it_rests(site, installation, operator)
            await _its_operator_starts_again(site, installation, operator)
        finally:
            operator.stop()


async def _a_fleet_is_born(site: Site, installation: Installation, operator: Operator) -> None:
    await phases.cold(site, operator, MODELS)
    made = written(installation)
    statuses = made.pop("llmdeployments/status")
    assert made == dict.fromkeys(CHILDREN, MODELS)
    assert MODELS <= statuses <= 2 * MODELS


async def _it_rests(site: Site, installation: Installation, operator: Operator) -> None:
    before = written(installation)
    line = await phases.idle(site, operator, IDLE_S)
    assert written(installation) == before
    assert line["requests"] == 0


async def _its_operator_starts_again(site: Site, installation: Installation, operator: Operator) -> None:
    before = written(installation)
    line = await phases.restart(site, operator)
    assert written(installation) == before
    assert line["reconciles"] >= MODELS
    assert line["quiet_s"] <= QUIET_S


def written(installation: Installation) -> Counter[str]:
    """Count the operator's writes by resource, from the API server's audit log; Leases and Events are left out."""
    events = (event for event in installation.asked() if event["verb"] in WRITES)
    objects = (event["objectRef"] for event in events)
    return Counter(
        "/".join(about[part] for part in ("resource", "subresource") if part in about)
        for about in objects
        if about["resource"] not in ("leases", "events")
    )
