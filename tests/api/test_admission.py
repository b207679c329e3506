"""What stands between our objects and etcd: quotas, LimitRanges, PodSecurity, policies, webhooks, the namespace.

Whatever refuses or changes something is named in the status in the API server's own words, and nothing loops.
"""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.webhook import mutating_webhook
from tests.cluster import Cluster, ClusterError
from tests.models import Models
from tests.operator_process import OperatorProcess

pytestmark = [pytest.mark.api, pytest.mark.usefixtures("operator")]

ADMISSION = "admissionregistration.k8s.io/v1"


@pytest.fixture
def models(crds: Cluster, namespace: str) -> Models:
    return Models(crds, namespace)


class Policies:
    """Admission policies and webhooks for the namespace of one test."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self._cluster, self._namespace = cluster, namespace
        self._made: list[str] = []

    def refuse(self, group: str, resource: str, operation: str, message: str) -> None:
        """Refuse an operation by a ValidatingAdmissionPolicy."""
        validations = [{"expression": "false", "message": message}]
        self._policy("Validating", group, resource, [operation], {"validations": validations})

    def mutate(self, group: str, resource: str, operations: list[str], expression: str) -> None:
        """Change objects by a MutatingAdmissionPolicy."""
        mutation = {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}
        self._policy("Mutating", group, resource, operations, {"mutations": [mutation], "reinvocationPolicy": "Never"})

    def patch(self, group: str, resource: str, operations: list[str], expression: str) -> None:
        """Change objects by a MutatingAdmissionPolicy that may also take things away."""
        mutation = {"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}
        self._policy("Mutating", group, resource, operations, {"mutations": [mutation], "reinvocationPolicy": "Never"})

    def break_webhook(self, group: str, resource: str) -> None:
        """Ask a webhook that does not answer, and refuse what it was not asked about."""
        self._webhook("Validating", group, resource, ["CREATE"], {"url": "https://127.0.0.1:1/guard"})

    def mutate_by_webhook(self, group: str, resource: str, operations: list[str], client: dict[str, str]) -> None:
        """Change objects by the webhook behind this `clientConfig`."""
        self._webhook("Mutating", group, resource, operations, client)

    def drop(self) -> None:
        """Take them all away."""
        while self._made:
            self._cluster.kubectl("delete", self._made.pop(), self._namespace, "--ignore-not-found")

    def _policy(self, kind: str, group: str, resource: str, operations: list[str], what: dict[str, Any]) -> None:
        rules = [self._rule(group, resource, operations)]
        constraints = {"resourceRules": rules, "namespaceSelector": self._selector()}
        spec = {"failurePolicy": "Fail", "matchConstraints": constraints, **what}
        self._make(f"{kind}AdmissionPolicy", {"spec": spec})
        binding: dict[str, Any] = {"policyName": self._namespace}
        if kind == "Validating":
            binding["validationActions"] = ["Deny"]
        self._make(f"{kind}AdmissionPolicyBinding", {"spec": binding})

    def _webhook(self, kind: str, group: str, resource: str, operations: list[str], client: dict[str, str]) -> None:
        hook = {
            "name": "guard.example.com",
            "clientConfig": client,
            "rules": [self._rule(group, resource, operations)],
            "namespaceSelector": self._selector(),
            "failurePolicy": "Fail",
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
        }
        self._make(f"{kind}WebhookConfiguration", {"webhooks": [hook]})

    @staticmethod
    def _rule(group: str, resource: str, operations: list[str]) -> dict[str, Any]:
        return {"apiGroups": [group], "apiVersions": ["*"], "resources": [resource], "operations": operations}

    def _selector(self) -> dict[str, Any]:
        return {"matchLabels": {"kubernetes.io/metadata.name": self._namespace}}

    def _make(self, kind: str, rest: dict[str, Any]) -> None:
        made = {"apiVersion": ADMISSION, "kind": kind, "metadata": {"name": self._namespace}, **rest}
        self._cluster.kubectl("apply", "-f", "-", input=json.dumps(made))
        self._made.append(kind.lower())


@pytest.fixture
def policies(crds: Cluster, namespace: str) -> Iterator[Policies]:
    made = Policies(crds, namespace)
    yield made
    made.drop()


def in_force(models: Models, probe: Callable[[], bool]) -> None:
    """The API server takes a moment to know a policy; everything before would pass it by."""
    models.wait(probe, "the policy is in force")


def limit(models: Models, kind: str, **spec: Any) -> None:
    made = {"apiVersion": "v1", "kind": kind, "metadata": {"name": "tight"}, "spec": spec}
    models.kubectl("apply", "-f", "-", stdin=json.dumps(made))


def tell(models: Models, state: str, *words: str) -> None:
    models.wait(lambda: models.status().get("state") == state, f"state {state}")
    for said in words:
        models.wait(lambda said=said: said in models.status()["summary"], f"the sentence says {said!r}", within_s=5)


# --- refused pods ----------------------------------------------------------------------------------------------------


def test_a_quota_for_pods_is_named_and_a_restart_tries_again_at_once(models: Models) -> None:
    limit(models, "ResourceQuota", hard={"pods": "1"})
    models.apply(replicas=2)
    tell(models, "Partial: PodRefused", "exceeded quota: tight")
    assert models.answer("Available")["status"] == "True"
    limit(models, "ResourceQuota", hard={"pods": "5"})
    models.kubectl("annotate", "llm/chat", "llmfleet.dev/restart=quota-raised")
    assert models.wait_ready()["ready"] == "2/2"


def test_a_limit_range_that_refuses_is_named(models: Models) -> None:
    limit(models, "LimitRange", limits=[{"type": "Container", "max": {"memory": "1Gi"}}])
    models.apply(resources={"memory": "64Gi"})
    tell(models, "PodRefused", "maximum memory usage per Container is 1Gi, but limit is 64Gi")


def test_a_limit_range_that_adds_a_limit_is_named(models: Models) -> None:
    limit(models, "LimitRange", limits=[{"type": "Container", "default": {"memory": "512Mi"}}])
    models.apply(image="play/crash:1")
    tell(models, "EngineFailed", "changed the pods: resources.limits.memory 512Mi (asked: none)")


def test_a_pod_security_level_is_named(models: Models) -> None:
    models.kubectl("label", "namespace", models.namespace, "pod-security.kubernetes.io/enforce=restricted")
    models.apply(podTemplate={"securityContext": {"runAsNonRoot": False, "runAsUser": 0}})
    tell(models, "PodRefused", 'violates PodSecurity "restricted:latest"', "runAsNonRoot")


def test_a_policy_that_refuses_pods_is_named(models: Models, policies: Policies) -> None:
    policies.refuse("", "pods", "CREATE", "no engines on Fridays")
    in_force(models, lambda: _refuses(models, "run", "probe", "--image=play/ok"))
    models.apply()
    tell(models, "PodRefused", "no engines on Fridays")


def test_a_webhook_for_pods_that_does_not_answer_is_named(models: Models, policies: Policies) -> None:
    policies.break_webhook("", "pods")
    in_force(models, lambda: _refuses(models, "run", "probe", "--image=play/ok"))
    models.apply()
    tell(models, "PodRefused", "failed calling webhook", "guard.example.com")


def _refuses(models: Models, *arguments: str) -> bool:
    """Say whether the API server refuses what kubectl would do; nothing is done."""
    try:
        models.kubectl(*arguments, "--dry-run=server")
    except ClusterError as error:
        return "denied" in str(error) or "webhook" in str(error)
    return False


# --- refused objects of ours -----------------------------------------------------------------------------------------


def test_a_quota_for_deployments_is_named_and_kept_to_when_it_is_raised(models: Models) -> None:
    limit(models, "ResourceQuota", hard={"count/deployments.apps": "0"})
    models.wait(lambda: models.get("resourcequotas", "tight").get("status", {}).get("used"), "the quota is in force")
    models.apply()
    tell(models, "Rejected", "the API server refuses Deployment chat-", "exceeded quota: tight")
    assert models.answer("Stalled")["reason"] == "Rejected"
    limit(models, "ResourceQuota", hard={"count/deployments.apps": "5"})
    models.wait_ready()


def test_a_policy_that_refuses_deployments_is_named(models: Models, policies: Policies) -> None:
    policies.refuse("apps", "deployments", "CREATE", "no models on Fridays")
    in_force(models, lambda: _refuses(models, "create", "deployment", "probe", "--image=play/ok"))
    models.apply()
    tell(models, "Rejected", "no models on Fridays")


def test_a_webhook_for_deployments_that_does_not_answer_is_named(models: Models, policies: Policies) -> None:
    policies.break_webhook("apps", "deployments")
    in_force(models, lambda: _refuses(models, "create", "deployment", "probe", "--image=play/ok"))
    models.apply()
    tell(models, "Rejected", "failed calling webhook", "guard.example.com")


@pytest.mark.parametrize("what", ["Service", "PodDisruptionBudget"])
def test_a_switch_that_is_refused_leaves_what_serves_as_it_is_until_it_is_made(
    models: Models, policies: Policies, what: str
) -> None:
    rollout = {"retainStable": "1s"}
    models.apply(rollout=rollout)
    old = models.wait_ready()["stable"]["revision"]
    if what == "Service":
        policies.refuse("", "services", "UPDATE", "no switch on Fridays")
        in_force(models, lambda: _refuses(models, "label", "service", "chat", "probe=1"))
    else:
        policies.refuse("policy", "poddisruptionbudgets", "CREATE", "no switch on Fridays")
        in_force(models, lambda: _refuses(models, "create", "pdb", "probe", "--selector=a=b", "--min-available=1"))
    models.apply(image="play/ok:2", rollout=rollout)
    tell(models, "Rejected", f"the API server refuses {what} chat", "no switch on Fridays")
    # Longer than retainStable: what still serves is scaled with the rest, up and down.
    for replicas in (2, 1):
        models.kubectl("scale", "llm/chat", f"--replicas={replicas}")
        models.wait(
            lambda replicas=replicas: (
                [item["spec"]["replicas"] for item in models.items("deployments")] == [replicas] * 2
            ),
            "both revisions are scaled",
        )
    tell(models, "Rejected")
    kept = models.get("deployments", f"chat-{old}")
    assert "llmfleet.dev/retired-at" not in kept["metadata"].get("annotations", {})
    assert models.selected() == old
    assert models.answer("Available")["status"] == "True"
    policies.drop()
    new = models.wait_ready()["stable"]["revision"]
    models.wait(lambda: models.revisions() == {new}, "the old one is removed after the switch")


def test_a_refused_deletion_of_an_old_revision_is_named_and_the_new_one_serves(
    models: Models, policies: Policies
) -> None:
    models.apply(rollout={"retainStable": "1s"})
    old = models.wait_ready()["stable"]["revision"]
    policies.refuse("apps", "deployments", "DELETE", "nothing goes on Fridays")
    in_force(models, lambda: _refuses(models, "delete", "deployment", f"chat-{old}"))
    models.apply(image="play/ok:2", rollout={"retainStable": "1s"})
    tell(models, "Rejected", "the API server refuses the deletion of Deployment", "nothing goes on Fridays")
    assert models.selected() != old
    assert models.answer("Available")["status"] == "True"


# --- objects that something changes ----------------------------------------------------------------------------------

CHANGED = "changes spec.progressDeadlineSeconds of Deployment chat-"
DEADLINE = "Object{spec: Object.spec{progressDeadlineSeconds: 4321}}"
COUNTER = (
    "Object{spec: Object.spec{progressDeadlineSeconds: "
    "4321 + (oldObject == null ? 0 : int(object.metadata.generation))}}"
)


def _mutates(models: Models) -> bool:
    command = ("create", "deployment", "probe", "--image=play/ok", "--dry-run=server", "-o", "json")
    return json.loads(models.kubectl(*command))["spec"]["progressDeadlineSeconds"] >= 4321


def _named(models: Models) -> dict[str, Any]:
    """Make a model whose Deployment is changed on its way; return that once the status tells it."""
    models.apply()
    models.wait_ready()
    models.wait(lambda: CHANGED in models.answer("Ready")["message"], "the field is named")
    return _deployment(models)


def _left_alone(models: Models, before: dict[str, Any]) -> None:
    """Check that a Deployment is not written again while another model is made from nothing to ready."""
    models.apply(name="other")
    models.wait_ready("other")
    assert _deployment(models)["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]


def test_what_a_policy_makes_of_a_deployment_is_named_and_does_not_loop_also_after_a_restart(
    models: Models, policies: Policies, operator: OperatorProcess
) -> None:
    policies.mutate("apps", "deployments", ["CREATE", "UPDATE"], DEADLINE)
    in_force(models, lambda: _mutates(models))
    before = _named(models)
    operator.stop()
    operator.start()
    _left_alone(models, before)
    models.wait(lambda: CHANGED in models.answer("Ready")["message"], "the field is named again")
    assert "Repaired" not in models.kubectl("get", "events")


def test_what_a_webhook_makes_of_a_deployment_is_named_and_does_not_loop(
    models: Models, policies: Policies, tmp_path: Path
) -> None:
    patch = [{"op": "add", "path": "/spec/progressDeadlineSeconds", "value": 4321}]
    with mutating_webhook(tmp_path, patch) as client:
        policies.mutate_by_webhook("apps", "deployments", ["CREATE", "UPDATE"], client)
        in_force(models, lambda: _mutates(models))
        _left_alone(models, _named(models))
        policies.drop()


def test_a_policy_that_changes_a_deployment_differently_each_time_does_not_loop(
    models: Models, policies: Policies
) -> None:
    policies.mutate("apps", "deployments", ["CREATE", "UPDATE"], COUNTER)
    in_force(models, lambda: _mutates(models))
    models.apply()
    models.wait_ready()
    models.kubectl("scale", "llm/chat", "--replicas=2")
    models.wait(lambda: models.status()["ready"] == "2/2", "it is scaled")
    generation = _deployment(models)["metadata"]["generation"]
    models.apply(name="other")
    models.wait_ready("other")
    assert _deployment(models)["metadata"]["generation"] <= generation + 3


def test_a_revision_whose_mark_a_policy_takes_away_is_removed_all_the_same(models: Models, policies: Policies) -> None:
    mark = "object.metadata.annotations"
    remove = 'JSONPatch{op: "remove", path: "/metadata/annotations/llmfleet.dev~1retired-at"}'
    has = f'has({mark}) && "llmfleet.dev/retired-at" in {mark}'
    policies.patch("apps", "deployments", ["CREATE", "UPDATE"], f"{has} ? [{remove}] : []")
    rollout = {"retainStable": "3s"}
    models.apply(rollout=rollout)
    old = models.wait_ready()["stable"]["revision"]
    command = ("annotate", "deployment", f"chat-{old}", "llmfleet.dev/retired-at=x", "--dry-run=server", "-o", "json")
    in_force(models, lambda: "llmfleet.dev/retired-at" not in models.kubectl(*command))
    models.apply(image="play/ok:2", rollout=rollout)
    new = models.wait_ready()["stable"]["revision"]
    models.wait(lambda: models.revisions() == {new}, "the old revision is removed", within_s=15)


def _deployment(models: Models, name: str = "chat") -> dict[str, Any]:
    return next(item for item in models.items("deployments") if item["metadata"]["labels"]["llmfleet.dev/name"] == name)


def test_what_a_policy_makes_of_pods_is_named(models: Models, policies: Policies) -> None:
    sidecar = 'Object.spec.containers{name: "agent", image: "play/ok"}'
    policies.mutate("", "pods", ["CREATE"], f"Object{{spec: Object.spec{{containers: [{sidecar}]}}}}")
    command = ("run", "probe", "--image=play/ok", "--dry-run=server", "-o", "json")
    in_force(models, lambda: len(json.loads(models.kubectl(*command))["spec"]["containers"]) == 2)
    models.apply()
    models.wait_ready()
    models.wait(lambda: "changed the pods: container agent" in models.answer("Ready")["message"], "it is named")


def test_what_a_webhook_makes_of_pods_is_named(models: Models, policies: Policies, tmp_path: Path) -> None:
    agent = {"name": "agent", "image": "play/ok"}
    with mutating_webhook(tmp_path, [{"op": "add", "path": "/spec/containers/-", "value": agent}]) as client:
        policies.mutate_by_webhook("", "pods", ["CREATE"], client)
        command = ("run", "probe", "--image=play/ok", "--dry-run=server", "-o", "json")
        in_force(models, lambda: len(json.loads(models.kubectl(*command))["spec"]["containers"]) > 1)
        models.apply()
        models.wait_ready()
        models.wait(lambda: "changed the pods: container agent" in models.answer("Ready")["message"], "it is named")
        policies.drop()


def test_who_changes_an_object_back_each_time_is_named_and_answered_ever_more_slowly(models: Models) -> None:
    models.apply()
    models.wait_ready()
    name = _deployment(models)["metadata"]["name"]

    def contested() -> bool:
        """Scale our Deployment each time that it is put back, as an autoscaler would."""
        if _deployment(models)["spec"]["replicas"] == 1:
            models.kubectl("scale", "deployment", name, "--replicas=2")
        return models.status()["state"] == "Contested"

    models.wait(contested, "the dispute is told")
    assert f"kubectl changes spec.replicas of Deployment {name}" in models.status()["summary"]
    assert models.answer("Available")["status"] == "True"
    models.wait(lambda: _deployment(models)["spec"]["replicas"] == 1, "it is put back after a pause")
    models.kubectl("scale", "llm/chat", "--replicas=3")
    models.wait(lambda: models.status()["ready"] == "3/3", "what the user wants comes through meanwhile")


def test_what_is_deleted_each_time_is_made_again_ever_more_slowly(models: Models) -> None:
    models.apply()
    models.wait_ready()

    def contested() -> bool:
        models.kubectl("delete", "poddisruptionbudgets", "--all")
        return models.status()["state"] == "Contested"

    models.wait(contested, "the dispute is told")
    assert "something deletes PodDisruptionBudget chat-" in models.status()["summary"]
    models.wait(lambda: models.items("poddisruptionbudgets"), "it is made again")


# --- a namespace that goes -------------------------------------------------------------------------------------------


def test_a_namespace_that_goes_gets_no_storm_of_writes(
    models: Models, policies: Policies, cluster: Cluster, operator: OperatorProcess
) -> None:
    models.apply()
    models.wait_ready()
    # Something holds the LLMDeployment, so that the namespace stays for a while.
    policies.refuse("llmfleet.dev", "llmdeployments", "DELETE", "held")
    in_force(models, lambda: _refuses(models, "delete", "llm", "chat"))
    cluster.kubectl("delete", "namespace", models.namespace, "--wait=false")
    tell(models, "NamespaceTerminating", f"namespace {models.namespace} is being deleted")
    refused, told = _refused_applies(cluster), len(operator.lines())
    other = Models(cluster, "default")
    other.apply(name="bystander")
    other.wait_ready("bystander")
    other.kubectl("delete", "llm", "bystander")
    assert _refused_applies(cluster) - refused <= 2
    mine = [line for line in operator.lines()[told:] if line.get("key") == f"{models.namespace}/chat"]
    assert [line for line in mine if line["level"] != "INFO"] == []
    policies.drop()
    models.wait(lambda: models.namespace not in cluster.kubectl("get", "namespaces"), "it is gone", within_s=60)


def _refused_applies(cluster: Cluster) -> int:
    """How many server-side applies the API server has answered with 403 so far."""
    metrics = cluster.kubectl("get", "--raw", "/metrics")
    found = re.findall(r'^apiserver_request_total\{code="403",.*verb="APPLY".*\} (\d+)', metrics, re.MULTILINE)
    return sum(map(int, found))
