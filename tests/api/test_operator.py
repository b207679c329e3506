"""The operator against a real control plane; kubelets are played (tests/api/kubelet.py)."""

import json

import pytest

from tests.cluster import Cluster, ClusterError
from tests.models import Models
from tests.operator_process import OperatorProcess

pytestmark = [pytest.mark.api, pytest.mark.usefixtures("operator")]

CHILDREN = "deployments,services,poddisruptionbudgets,controllerrevisions"


@pytest.fixture
def models(crds: Cluster, namespace: str) -> Models:
    return Models(crds, namespace)


def test_five_lines_become_a_served_model(models: Models) -> None:
    models.kubectl(
        "apply",
        "-f",
        "-",
        stdin="""
apiVersion: llmfleet.dev/v1alpha1
kind: LLMDeployment
metadata: {name: chat}
spec:
  model: {source: hf://meta-llama/Llama-3.1-8B-Instruct}
""",
    )
    status = models.wait_ready()
    revision = status["stable"]["revision"]
    assert status["summary"] == f"Serving chat on 1/1 replicas of {revision}."
    kinds = sorted(item["kind"] for item in models.items(CHILDREN))
    assert kinds == ["ControllerRevision", "Deployment", "PodDisruptionBudget", "Service"]
    line = models.kubectl("get", "llm", "chat", "--no-headers").split()
    assert line[:4] == ["chat", "True", "Serving", "1/1"]


def test_a_typo_is_refused_with_the_fields_name(models: Models) -> None:
    manifest = """
apiVersion: llmfleet.dev/v1alpha1
kind: LLMDeployment
metadata: {name: chat}
spec:
  model: {source: hf://org/model}
  engine: {tensorParalelSize: 2}
"""
    with pytest.raises(ClusterError, match=r"spec\.engine\.tensorParalelSize"):
        models.kubectl("apply", "-f", "-", stdin=manifest)


def test_a_new_revision_takes_over_when_it_is_ready_and_the_old_one_stays_for_a_while(models: Models) -> None:
    models.apply(rollout={"retainStable": "1h"})
    old = models.wait_ready()["stable"]["revision"]
    models.apply(image="play/never:1", rollout={"retainStable": "1h"})
    models.wait(lambda: len(models.revisions()) == 2, "both revisions run")
    assert models.selected() == old
    models.apply(image="play/ok:2", rollout={"retainStable": "1h"})
    new = models.wait_ready()["stable"]["revision"]
    assert new != old
    assert models.selected() == new
    # The one that never became ready is gone, the one that served stays ready as the way back.
    models.wait(lambda: models.revisions() == {old, new}, "the superseded revision is removed")
    models.apply(rollout={"retainStable": "1h"})
    models.wait(lambda: models.selected() == old, "going back switches at once", within_s=5)


def test_the_relieved_revision_goes_when_its_time_is_over(models: Models) -> None:
    models.apply(rollout={"retainStable": "2s"})
    models.wait_ready()
    models.apply(image="play/ok:2", rollout={"retainStable": "2s"})
    new = models.wait_ready()["stable"]["revision"]
    models.wait(lambda: models.revisions() == {new}, "the old revision is removed")


def test_a_revision_that_misses_its_deadline_stalls_and_the_old_one_serves(models: Models) -> None:
    models.apply(startup={"deadline": "3s"})
    old = models.wait_ready()["stable"]["revision"]
    models.apply(image="play/never:1", startup={"deadline": "3s"})
    models.wait(lambda: models.answer("Stalled").get("reason") == "StartupDeadlineExceeded", "it is told")
    assert models.selected() == old
    assert models.answer("Available")["status"] == "True"
    assert "startup.deadline" in models.status()["summary"]


@pytest.mark.parametrize(
    ("image", "spec", "state", "words"),
    [
        ("play/pull:1", {}, "ImagePullFailed", "not found"),
        ("play/crash:1", {}, "EngineFailed", "model directory /models/x does not exist (2 restarts"),
        ("play/secret:1", {}, "ConfigMissing", 'secret "hf" not found'),
        ("play/mount:1", {}, "ConfigMissing", 'failed for volume "extra" : secret "absent" not found'),
        ("play/ok:1", {"resources": {"gpu": {"product": "NONE-SUCH"}}}, "Unschedulable", "nodes are available"),
        ("play/ok:1", {"engine": {"tensorParallelSize": 16}}, "Unschedulable", "Insufficient nvidia.com/gpu"),
    ],
    ids=["image", "crash", "secret", "volume", "GPU product", "GPU count"],
)
def test_the_cause_of_a_failure_is_in_the_sentence(
    models: Models, image: str, spec: dict, state: str, words: str
) -> None:
    models.apply(image=image, **spec)
    models.wait(lambda: models.status().get("state") == state, f"state {state}")
    assert words in models.status()["summary"]
    assert models.answer("EnginesReady")["reason"] == state
    events = models.wait(
        lambda: [e for e in json.loads(models.kubectl("get", "events", "-o", "json"))["items"] if e["reason"] == state],
        "an Event tells it",
    )
    assert events[0]["type"] == "Warning"
    assert words in events[0]["message"]


def test_quota_is_quoted(models: Models) -> None:
    models.kubectl("create", "quota", "none", "--hard=pods=0")
    models.apply()
    models.wait(lambda: models.status().get("state") == "PodRefused", "the quota is told")
    assert "exceeded quota" in models.status()["summary"]


def test_an_object_that_is_not_ours_is_left_alone_and_told(models: Models) -> None:
    models.kubectl("create", "service", "clusterip", "chat", "--tcp=80")
    before = models.get("services")
    models.apply()
    models.wait(lambda: models.status().get("state") == "NameTaken", "the collision is told")
    assert "Service chat exists" in models.status()["summary"]
    assert models.get("services") == before
    models.kubectl("delete", "service", "chat")
    models.wait_ready()


def test_drift_in_our_fields_is_repaired_and_foreign_fields_stay(models: Models) -> None:
    models.apply(replicas=2)
    revision = models.wait_ready()["stable"]["revision"]
    name = f"deployment/chat-{revision}"
    models.kubectl("annotate", name, "example.com/mine=yes")
    models.kubectl("scale", name, "--replicas=5")
    models.kubectl("patch", "service", "chat", "--type=merge", "-p", '{"spec":{"ports":[{"port":9,"name":"http"}]}}')
    models.kubectl("delete", "pdb", f"chat-{revision}")
    models.wait(lambda: models.get("deployments", f"chat-{revision}")["spec"]["replicas"] == 2, "replicas are put back")
    models.wait(lambda: models.get("services")["spec"]["ports"][0]["port"] == 8000, "the port is put back")

    def told() -> bool:
        events = models.kubectl("get", "events", "-o", "jsonpath={range .items[*]}{.reason}: {.message}{'\\n'}{end}")
        repairs = [line for line in events.splitlines() if line.startswith("Repaired: ")]
        return all(
            any(what in line for line in repairs)
            for what in (
                ": spec.replicas put back (changed by kubectl",
                "PodDisruptionBudget",
                "was deleted and is made",
            )
        )

    models.wait(told, "every repair is told, with the field and who changed it")
    models.wait(lambda: len(models.items("poddisruptionbudgets")) == 1, "the budget is made again")
    assert models.get("deployments", f"chat-{revision}")["metadata"]["annotations"]["example.com/mine"] == "yes"


def test_scaling_the_model_scales_its_engines_and_restarts_none(models: Models) -> None:
    models.apply()
    revision = models.wait_ready()["stable"]["revision"]
    models.kubectl("scale", "llm/chat", "--replicas=3")
    models.wait(lambda: models.status().get("ready") == "3/3", "three engines are ready")
    assert models.status()["stable"]["revision"] == revision
    assert models.get()["status"]["replicas"] == 3
    models.kubectl("scale", "llm/chat", "--replicas=0")
    models.wait(lambda: models.status().get("state") == "ScaledToZero", "it is scaled to zero")


MANAGED_BY = "app.kubernetes.io/managed-by"


@pytest.mark.parametrize("label", [f"{MANAGED_BY}=somebody", f"{MANAGED_BY}-", "llmfleet.dev/revision=x"])
@pytest.mark.parametrize("running", [True, False], ids=["operator up", "operator down"])
def test_an_object_whose_labels_somebody_changed_is_found_and_restarts_no_engine(
    models: Models, operator: OperatorProcess, label: str, *, running: bool
) -> None:
    models.apply()
    models.wait_ready()
    models.kubectl("annotate", "llm/chat", "llmfleet.dev/restart=once")
    models.wait(lambda: models.status().get("restart", {}).get("request") == "once", "the restart is begun")
    models.wait_ready()
    made, engines = _made(models), models.engines()
    if not running:
        operator.stop()
    for kind in CHILDREN.split(","):
        models.kubectl("label", kind, "--all", "--overwrite", label)
    if not running:
        operator.start()
    models.wait(lambda: _made(models) == made, "the labels are put back on all objects")
    models.wait_ready()
    assert models.engines() == engines
    assert len(models.items("replicasets")) == 1


def _made(models: Models) -> dict[str, str]:
    """Revisions by uid of the objects whose labels say that they are llmfleet's, empty for the Service."""
    found = json.loads(models.kubectl("get", CHILDREN, "-o", "json", "-l", f"{MANAGED_BY}=llmfleet"))["items"]
    labels = {item["metadata"]["uid"]: item["metadata"]["labels"] for item in found if item["kind"] != "Service"}
    revisions = {uid: own["llmfleet.dev/revision"] for uid, own in labels.items()}
    return dict.fromkeys((item["metadata"]["uid"] for item in found), "") | revisions


@pytest.mark.parametrize("running", [True, False], ids=["operator up", "operator down"])
def test_a_relieved_revision_whose_label_somebody_changed_goes_when_its_time_is_over(
    models: Models, operator: OperatorProcess, *, running: bool
) -> None:
    rollout = {"retainStable": "5s"}
    models.apply(rollout=rollout)
    old = models.wait_ready()["stable"]["revision"]
    models.apply(image="play/ok:2", rollout=rollout)
    new = models.wait_ready()["stable"]["revision"]
    if not running:
        operator.stop()
    models.kubectl("label", "deployment", f"chat-{old}", "--overwrite", f"{MANAGED_BY}=somebody")
    if not running:
        operator.start()
    models.wait(lambda: models.revisions() == {new}, "the old revision is removed")


def test_deleting_the_model_deletes_everything_that_was_made_for_it(models: Models) -> None:
    models.apply()
    models.wait_ready()
    models.kubectl("delete", "llm", "chat")
    models.wait(lambda: not models.items(f"{CHILDREN},pods"), "nothing is left")


def test_a_model_deleted_and_made_again_at_once_is_served(models: Models) -> None:
    models.apply()
    models.wait_ready()
    models.kubectl("delete", "llm", "chat")
    models.apply(image="play/ok:2")
    models.wait_ready()


def test_what_a_predecessor_leaves_for_long_is_told_with_what_holds_it(models: Models) -> None:
    models.apply()
    models.wait_ready()
    hold = '{"metadata":{"finalizers":["example.com/hold"]}}'
    models.kubectl("patch", "service", "chat", "--type=merge", "-p", hold)
    models.kubectl("delete", "llm", "chat")
    models.apply()
    models.wait(lambda: models.status().get("state") == "NameTaken", "it is told")
    assert "Service chat of the LLMDeployment before is still there" in models.status()["summary"]
    assert "finalizers" in models.status()["summary"]
    models.kubectl("patch", "service", "chat", "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
    models.wait_ready()


def test_host_paths_need_the_operators_consent(models: Models) -> None:
    models.apply(model={"source": "hostpath:///data/model"})
    models.wait(lambda: models.status().get("state") == "HostPathNotAllowed", "it is refused")
    assert "spec.model.source" in models.status()["summary"]
    assert not models.items(CHILDREN)


def test_a_pod_that_the_api_server_refuses_to_describe_is_told_with_its_field(models: Models) -> None:
    models.apply(podTemplate={"tolerations": [{"operator": "Sometimes"}]})
    models.wait(lambda: models.status().get("state") == "Rejected", "the refusal is told")
    assert "tolerations[1].operator" in models.status()["summary"]


def test_drain_and_startup_apply_from_the_next_revision_on(models: Models) -> None:
    models.apply(drain={"timeout": "1m"})
    revision = models.wait_ready()["stable"]["revision"]
    models.apply(drain={"timeout": "2m"})
    models.wait(lambda: "next revision" in models.answer("Ready").get("message", ""), "it is announced")
    assert models.revisions() == {revision}
    template = models.get("deployments", f"chat-{revision}")["spec"]["template"]["spec"]
    assert template["terminationGracePeriodSeconds"] == 90


def test_history_is_kept_as_asked(models: Models) -> None:
    for number in range(4):
        models.apply(image=f"play/ok:{number}", rollout={"retainStable": "1s"}, revisionHistoryLimit=1)
        models.wait_ready()
    models.wait(lambda: len(models.revisions()) == 1, "one revision runs")
    models.wait(lambda: len(models.items("controllerrevisions")) == 2, "one more is remembered")


def test_an_object_at_rest_is_not_written(models: Models, operator: OperatorProcess) -> None:
    models.apply()
    models.wait_ready()
    versions = {item["metadata"]["uid"]: item["metadata"]["resourceVersion"] for item in models.items(CHILDREN)}
    versions["llm"] = models.get()["metadata"]["resourceVersion"]
    operator.stop()
    operator.start()
    models.apply(name="other")
    models.wait_ready("other")
    after = {item["metadata"]["uid"]: item["metadata"]["resourceVersion"] for item in models.items(CHILDREN)}
    after["llm"] = models.get()["metadata"]["resourceVersion"]
    assert {uid: after[uid] for uid in versions} == versions


def test_the_operator_leaves_no_trace_on_the_users_object(models: Models) -> None:
    models.apply()
    models.wait_ready()
    metadata = models.get()["metadata"]
    assert "finalizers" not in metadata
    assert "annotations" not in metadata


def test_logs_are_json_and_name_the_object(models: Models, operator: OperatorProcess) -> None:
    models.apply()
    models.wait_ready()
    mine = [line for line in operator.lines() if line.get("key") == f"{models.namespace}/chat"]
    assert any(line["message"].startswith("revision") for line in mine)
    assert all(line["reconcile"] and line["generation"] == 1 for line in mine)
