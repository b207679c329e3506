"""Installed by kubectl from the manifests: the account's rights are those that are used, no more and no fewer."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import config

from tests.api.installation import Installation, assert_nothing_refused, established
from tests.api.kubelet import PlayedNodes
from tests.cluster import ClusterError, open_cluster
from tests.cluster.cache import locked
from tests.cluster.places import checkout, state_root
from tests.wait import eventually

pytestmark = pytest.mark.api

CHILDREN = "deployments,services,poddisruptionbudgets,controllerrevisions"
SAMPLES = sorted(Path("manifests/samples").rglob("*.yaml"))
ASKED_BY_ADMISSION = {("llmfleet.dev", "llmdeployments/finalizers", "update")}
"""A right that is needed and never used in a request: see test_the_owners_finalizers_right_is_needed."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A control plane on which the documentation's two commands were run."""
    with locked(state_root() / f"tests-install-{checkout()}.lock", "another run of these tests"):
        cluster = open_cluster(f"install-{checkout()}").up(nodes=0)
        cluster.kubectl("apply", "--server-side", "-f", "crds/")
        cluster.kubectl("apply", "--server-side", "-k", "manifests/base")
        established(cluster)
        with PlayedNodes(config.new_client_from_config(str(cluster.kubeconfig))):
            yield Installation(cluster, tmp_path_factory.mktemp("install"))
        cluster.down()


def test_the_operators_pod_passes_the_restricted_namespace(site: Installation) -> None:
    site.cluster.kubectl("-n", "llmfleet-system", "rollout", "status", "deployment/llmfleet-operator", "--timeout=30s")


def test_a_model_from_nothing_to_its_third_revision_needs_just_these_rights(site: Installation) -> None:
    models = site.models("story")
    revisions = {"rollout": {"retainStable": "1s"}, "revisionHistoryLimit": 0}
    with site.operator() as operator:
        models.apply(image="play/ok:1", **revisions)
        models.wait_ready()
        assert {item["kind"] for item in models.items(CHILDREN)} == {
            *("ControllerRevision", "Deployment", "PodDisruptionBudget", "Service"),
        }
        models.apply(image="play/ok:2", **revisions)
        models.wait_ready()
        models.wait(lambda: len(models.items(CHILDREN)) == 4, "the first revision is gone")
    # Going back after a restart says again what an operator before has said: the Event's count is raised.
    with operator:
        models.apply(image="play/ok:1", **revisions)
        models.wait_ready()
        models.wait(lambda: ("", "events", "patch") in site.used(), "an Event is counted up")
        revision = models.status()["stable"]["revision"]
        models.kubectl("delete", "poddisruptionbudgets", "--all")
        models.wait(lambda: models.items("poddisruptionbudgets"), "what was deleted is made again")
        for kind, manifest in _foreign(revision).items():
            models.kubectl("create", "-f", "-", stdin=json.dumps(manifest))
            models.apply(name=kind, image="play/ok:1", **revisions)
            models.wait(lambda kind=kind: models.status(kind).get("state") == "NameTaken", f"{kind} is not ours")
        models.apply(name="lost", image="play/mount:1")
        models.wait(lambda: models.status("lost").get("state") == "ConfigMissing", "an Event is read")
    assert_nothing_refused(site, operator)
    assert site.used() | ASKED_BY_ADMISSION == site.granted()


def _foreign(revision: str) -> dict[str, dict[str, Any]]:
    """Somebody's objects of the names that ours would have, by the LLMDeployment in whose way they are."""
    labels = {"app": "theirs"}
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "theirs", "image": "play/ok"}]}}
    selector = {"matchLabels": labels}
    made = {
        "record": ("apps/v1", "ControllerRevision", {"revision": 7, "data": {"theirs": True}}),
        "engines": ("apps/v1", "Deployment", {"spec": {"selector": selector, "template": pod, "replicas": 0}}),
        "budget": ("policy/v1", "PodDisruptionBudget", {"spec": {"selector": selector, "minAvailable": 1}}),
    }
    return {
        name: {"apiVersion": version, "kind": kind, "metadata": {"name": f"{name}-{revision}"}, **rest}
        for name, (version, kind, rest) in made.items()
    }


def test_the_owners_finalizers_right_is_needed(site: Installation) -> None:
    """Where owner references are enforced, as on OpenShift; without the right, the status says what is missing."""
    without = site.get("clusterrole", "llmfleet-operator")
    without["rules"] = [rule for rule in without["rules"] if "llmdeployments/finalizers" not in rule["resources"]]
    site.cluster.kubectl("replace", "-f", "-", input=json.dumps(without))
    models, operator = site.models("owned"), site.operator("owned").start()
    try:
        models.apply()
        models.wait(
            lambda: "cannot set blockOwnerDeletion" in models.status().get("summary", ""), "the refusal is told"
        )
    finally:
        operator.stop()
        site.cluster.kubectl("apply", "--server-side", "--force-conflicts", "-k", "manifests/base")


@pytest.mark.parametrize("sample", SAMPLES, ids=str)
def test_samples_are_valid_to_the_last_field(site: Installation, sample: Path) -> None:
    said = site.cluster.kubectl("apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", str(sample))
    assert said.count("serverside-applied") == sample.read_text().count("apiVersion:")


def test_the_tiny_samples_job_is_restricted(site: Installation) -> None:
    models = site.models("tiny")
    models.kubectl("label", "namespace", "tiny", "pod-security.kubernetes.io/enforce=restricted")
    models.kubectl("apply", "-f", "manifests/samples/tiny/pvc.yaml", "-f", "manifests/samples/tiny/job.yaml")
    eventually(
        lambda: json.loads(models.kubectl("get", "pods", "-o", "json"))["items"],
        within_s=15,
        what="the Job's pod is let in",
        last=lambda: models.kubectl("get", "events"),
    )


@pytest.mark.parametrize(
    ("role", "may", "may_not"),
    [
        ("view", ("get llmdeployments", "get llmdeployments/status"), ("create llmdeployments",)),
        (
            "edit",
            ("create llmdeployments", "delete llmdeployments", "patch llmdeployments/scale", "list llmdeployments"),
            ("patch llmdeployments/status", "update llmdeployments/finalizers"),
        ),
    ],
)
def test_people_with_the_clusters_own_roles_handle_models(
    site: Installation, role: str, may: tuple[str, ...], may_not: tuple[str, ...]
) -> None:
    namespace = site.models(f"people-{role}").namespace
    site.cluster.kubectl("-n", namespace, "create", "rolebinding", "jane", f"--clusterrole={role}", "--user=jane")

    def allowed(action: str) -> bool:
        verb, resource = action.split()
        resource, _, subresource = resource.partition("/")
        question = ["auth", "can-i", verb, f"{resource}.llmfleet.dev", "--as=jane", "-n", namespace]
        try:
            return site.cluster.kubectl(*question, f"--subresource={subresource}").strip() == "yes"
        except ClusterError:  # kubectl says no by its exit status
            return False

    # Aggregation is done by a controller, some moments after the install.
    eventually(lambda: all(map(allowed, may)), within_s=15, what=f"{role} may {', '.join(may)}")
    assert [action for action in may_not if allowed(action)] == []


def test_models_serve_on_when_the_operator_is_uninstalled(site: Installation) -> None:
    models = site.models("left")
    with site.operator("left"):
        models.apply()
        models.wait_ready()
    before = models.items("deployments,services")
    site.cluster.kubectl("delete", "-k", "manifests/base", "--wait=true")
    after = models.items("deployments,services")
    assert [item["metadata"]["uid"] for item in after] == [item["metadata"]["uid"] for item in before]
    assert models.get()["metadata"].get("finalizers") is None
    site.cluster.kubectl("apply", "--server-side", "-k", "manifests/base")
