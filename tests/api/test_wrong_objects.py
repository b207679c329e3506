"""Specs that are stored and cannot be carried out: told with field and remedy, while users are served on."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest

from llmfleet.decide.revision import revision_hash
from tests.api.crd_cases import deployment
from tests.api.wrong_specs import WRONG_CHANGES, WrongChange
from tests.cluster import Cluster, ClusterError
from tests.models import Models
from tests.wait import eventually

pytestmark = [pytest.mark.api, pytest.mark.usefixtures("operator")]

KINDS = "deployments,services,poddisruptionbudgets,pods"
TOLD_WITHIN_S = 60.0
Object = dict[str, Any]
IDS = [wrong.name for wrong in WRONG_CHANGES]


@dataclass
class Fleet:
    """Models of one namespace, each of which got a wrong change while it served."""

    models: Models
    serving: dict[str, Object]

    def conditions(self, name: str) -> dict[str, Object]:
        return {condition["type"]: condition for condition in self.models.status(name).get("conditions", [])}

    def last(self, name: str) -> str:
        """What to look at when it is not told."""
        children = self.models.kubectl("get", "deployments,pods", "-l", f"llmfleet.dev/name={name}", "-o", "yaml")
        return f"{json.dumps(self.conditions(name))}\n{children}"


def apply_all(models: Models, specs: dict[str, Object]) -> None:
    """Apply many LLMDeployments by one kubectl."""
    items = [deployment(spec, name) for name, spec in specs.items()]
    together = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    models.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=together)


def parts(items: list[Object], name: str, revision: str) -> Object:
    """What serves one model: by kind and name, without what a status or a neighbour's change may alter."""
    kept = {}
    for item in items:
        labels = item["metadata"].get("labels", {})
        if labels.get("llmfleet.dev/name") != name:
            continue
        if item["kind"] == "Service" or labels["llmfleet.dev/revision"] == revision:
            identity = f"{item['kind']} {item['metadata']['name']} {item['metadata']['uid']}"
            kept[identity] = item["spec"]
    return kept


def selected(serving: Object) -> str:
    """The revision that a model's Service selects."""
    (service,) = (spec for identity, spec in serving.items() if identity.startswith("Service"))
    revision: str = service["selector"]["llmfleet.dev/revision"]
    return revision


@pytest.fixture(scope="module")
def fleet(crds: Cluster) -> Iterator[Fleet]:
    """Every model serves; then every model gets its wrong change."""
    namespace = f"wrong-{uuid4().hex[:8]}"
    crds.kubectl("create", "namespace", namespace)
    models = Models(crds, namespace)
    good = {"engine": {"image": "play/ok:1"}, "resources": {"gpu": {"count": 0}}}
    apply_all(models, {wrong.name: good for wrong in WRONG_CHANGES})
    for wrong in WRONG_CHANGES:
        models.wait_ready(wrong.name)
    items = models.items(KINDS)
    serving = {wrong.name: parts(items, wrong.name, revision_hash(deployment(good)["spec"])) for wrong in WRONG_CHANGES}
    apply_all(models, {wrong.name: wrong.spec for wrong in WRONG_CHANGES})
    yield Fleet(models, serving)
    crds.kubectl("delete", "namespace", namespace, "--wait=false")


@pytest.mark.parametrize("wrong", WRONG_CHANGES, ids=IDS)
def test_a_bad_change_is_told_and_touches_nothing_that_serves(fleet: Fleet, wrong: WrongChange) -> None:
    def told() -> bool:
        valid = fleet.conditions(wrong.name).get("ConfigValid", {})
        return valid.get("status") == "False" and valid["reason"] == wrong.reason

    eventually(told, within_s=TOLD_WITHIN_S, what="the change is told", last=lambda: fleet.last(wrong.name))
    conditions = fleet.conditions(wrong.name)
    message = conditions["ConfigValid"]["message"]
    assert wrong.field in message
    assert wrong.remedy in message
    assert wrong.field in fleet.models.status(wrong.name)["summary"]
    assert conditions["Available"]["status"] == "True"
    assert conditions["Ready"]["status"] == "False"
    before = fleet.serving[wrong.name]
    assert {identity.split()[0] for identity in before} == {"Deployment", "Pod", "PodDisruptionBudget", "Service"}
    assert parts(fleet.models.items(KINDS), wrong.name, selected(before)) == before


def test_every_reason_of_an_invalid_config_has_a_case() -> None:
    # NameTaken and InvalidSpec have tests of their own below.
    assert {wrong.reason for wrong in WRONG_CHANGES} == {"HostPathNotAllowed", "ConfigMissing", "Rejected"}


def test_a_taken_name_is_told_and_touches_nothing_that_serves(crds: Cluster, namespace: str) -> None:
    models = Models(crds, namespace)
    models.apply()
    old = models.wait_ready()["stable"]["revision"]
    before = parts(models.items(KINDS), "chat", old)
    wanted = {"model": {"source": "hf://org/model"}, "engine": {"image": "play/ok:2"}}
    taken = f"chat-{revision_hash(wanted)}"
    models.kubectl("create", "deployment", taken, "--image=somebody/else:1", "--replicas=0")
    models.apply(image="play/ok:2")
    models.wait(lambda: models.answer("ConfigValid").get("reason") == "NameTaken", "the collision is told")
    assert f"Deployment {taken} exists" in models.answer("ConfigValid")["message"]
    assert "rename one of the two" in models.answer("ConfigValid")["message"]
    assert models.answer("Available")["status"] == "True"
    assert parts(models.items(KINDS), "chat", old) == before


def test_an_object_stored_under_a_wider_definition_is_told_and_serves_on(crds: Cluster, namespace: str) -> None:
    """As after an upgrade whose definition is narrower than the one before it."""
    models = Models(crds, namespace)
    models.apply()
    old = models.wait_ready()["stable"]["revision"]
    before = parts(models.items(KINDS), "chat", old)
    limit = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/replicas/maximum"
    try:
        for most in (5000, 1000):
            patch = json.dumps([{"op": "replace", "path": limit, "value": most}])
            crds.kubectl("patch", "crd/llmdeployments.llmfleet.dev", "--type=json", "-p", patch)
            if most > 1000:
                eventually(lambda: scaled(models, 2000), within_s=20, what="the wider definition is in force")
    finally:
        crds.kubectl("apply", "--server-side", "--force-conflicts", "-f", "crds/")
    models.wait(lambda: models.answer("ConfigValid").get("reason") == "InvalidSpec", "the stored spec is told")
    assert "spec.replicas" in models.answer("ConfigValid")["message"]
    assert "less than or equal to 1000" in models.answer("ConfigValid")["message"]
    assert models.answer("Available")["status"] == "True"
    assert parts(models.items(KINDS), "chat", old) == before


def scaled(models: Models, replicas: int) -> bool:
    """Scale, and say whether the API server took it."""
    patch = json.dumps({"spec": {"replicas": replicas}})
    try:
        models.kubectl("patch", "llm", "chat", "--type=merge", "-p", patch)
    except ClusterError:
        return False
    return True
