"""Views of objects as the API server sends them; the samples are shortened real ones."""

from datetime import UTC, datetime

import pytest

from llmfleet.observe import objects
from llmfleet.observe.views import Orders

META = {
    "name": "chat-12345678",
    "namespace": "team",
    "uid": "u-2",
    "labels": {"llmfleet.dev/name": "chat", "llmfleet.dev/revision": "12345678"},
    "ownerReferences": [
        {"uid": "stranger"},
        {"uid": "u-1", "kind": "LLMDeployment", "name": "chat", "controller": True},
    ],
}


def pod(**status: object) -> dict:
    ports = [{"name": "http", "containerPort": 8000}, {"name": "probes", "containerPort": 8001}]
    return {"metadata": META, "spec": {"containers": [{"name": "engine", "ports": ports}]}, "status": status}


def engine(**state: object) -> list[dict]:
    return [{"name": "sidecar", "state": {"waiting": {"reason": "Other"}}}, {"name": "engine", **state}]


@pytest.mark.parametrize("labels", [META["labels"], {}, {"llmfleet.dev/name": "x", "llmfleet.dev/revision": "y"}])
def test_an_object_is_known_by_its_controlling_owner_and_its_name_whatever_its_labels(labels: dict) -> None:
    view = objects.deployment({"metadata": {**META, "labels": labels}, "spec": {"replicas": 3}}, "d")
    assert (view.owner, view.llm, view.revision, view.replicas) == ("u-1", "chat", "12345678", 3)
    assert (view.refused, view.retired_at) == ("", None)


def test_a_service_belongs_to_the_revision_it_selects() -> None:
    service = {"metadata": {**META, "labels": {}}, "spec": {"selector": {"llmfleet.dev/revision": "abc"}}}
    assert objects.service(service, "d").revision == "abc"
    assert objects.service({"metadata": META, "spec": {}}, "d").revision == ""


def test_why_pods_cannot_be_made_is_read_from_the_deployment() -> None:
    status = {"conditions": [{"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}]}
    assert objects.deployment({"metadata": META, "status": status}, "d").refused == "exceeded quota"


def test_a_relieved_deployment_knows_since_when() -> None:
    metadata = {**META, "annotations": {"llmfleet.dev/retired-at": "2026-11-21T12:00:00Z"}}
    assert objects.deployment({"metadata": metadata}, "d").retired_at == datetime(2026, 11, 21, 12, tzinfo=UTC)


def test_a_pod_that_was_just_made_has_nothing_to_tell() -> None:
    view = objects.pod({"metadata": META})
    assert (view.ready, view.scheduled_at, view.waiting, view.failure, view.probe) == (False, None, ("", ""), None, "")


def test_the_scheduler_is_quoted() -> None:
    waiting = {"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available"}
    placed = {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-11-21T12:00:00Z"}
    assert objects.pod(pod(conditions=[waiting])).unschedulable == "0/3 nodes are available"
    assert objects.pod(pod(conditions=[placed])).scheduled_at == datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            "pod has unbound immediate PersistentVolumeClaims. not found",
            "pod has unbound immediate PersistentVolumeClaims.",
        ),
        ('persistentvolumeclaim "absent" not found. not found.', 'persistentvolumeclaim "absent" not found.'),
        ('persistentvolumeclaim "absent" not found', 'persistentvolumeclaim "absent" not found'),
    ],
)
def test_a_preemption_that_was_not_tried_is_not_told(said: str, told: str) -> None:
    waiting = {"type": "PodScheduled", "status": "False", "message": said}
    assert objects.pod(pod(conditions=[waiting])).unschedulable == told


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"lastState": {"terminated": {"exitCode": 1, "message": "no such model\n"}}}, "no such model"),
        (
            {"state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}},
            "it ended with exit code 137 (OOMKilled); see kubectl logs chat-12345678 --previous",
        ),
        (
            {"lastState": {"terminated": {"exitCode": 0, "reason": "Completed"}}},
            "it ended with exit code 0 (Completed); see kubectl logs chat-12345678 --previous",
        ),
        (
            {
                "state": {"terminated": {"exitCode": 1, "message": "new"}},
                "lastState": {"terminated": {"exitCode": 1, "message": "old"}},
            },
            "new",
        ),
    ],
    ids=["last words", "killed", "ended by itself", "the newest end"],
)
def test_how_an_engine_ended_is_told_by_itself_or_by_the_kubelet(state: dict, message: str) -> None:
    failure = objects.pod(pod(containerStatuses=engine(**state))).failure
    assert failure is not None
    assert failure.message == message


@pytest.mark.parametrize(("address", "probe"), [("10.0.0.7", "10.0.0.7:8001"), ("fd00::7", "[fd00::7]:8001")])
def test_the_launcher_is_found_at_the_pods_address(address: str, probe: str) -> None:
    assert objects.pod(pod(podIP=address)).probe == probe


@pytest.mark.parametrize(
    ("annotations", "orders"),
    [
        ({}, Orders()),
        ({"llmfleet.dev/restart": " today "}, Orders(restart="today")),
        ({"llmfleet.dev/pause": "true"}, Orders(pause="true")),
        ({"llmfleet.dev/pause": "incident 4711"}, Orders(pause="incident 4711")),
        ({"llmfleet.dev/pause": "False"}, Orders()),
        ({"llmfleet.dev/pause": ""}, Orders()),
    ],
    ids=str,
)
def test_annotations_are_orders(annotations: dict, orders: Orders) -> None:
    assert objects.orders({"metadata": {"annotations": annotations}}) == orders


def test_a_restart_too_long_to_echo_is_told_by_its_hash() -> None:
    one, other = (
        objects.orders({"metadata": {"annotations": {"llmfleet.dev/restart": "x" * 1000 + end}}}) for end in "ab"
    )
    assert len(one.restart) == 64
    assert one != other


def test_a_restart_on_a_deployment_is_read_as_on_the_object_that_asked_for_it() -> None:
    metadata = {**META, "annotations": {"llmfleet.dev/restart": "x" * 1000}}
    assert objects.deployment({"metadata": metadata}, "d").restart == objects.orders({"metadata": metadata}).restart


def test_a_deployment_knows_its_last_restart_and_how_it_rolls() -> None:
    spec = {
        "template": {"metadata": {"annotations": {"llmfleet.dev/restarted-at": "2026-11-21T12:00:00Z"}}},
        "strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}},
    }
    view = objects.deployment({"metadata": {**META, "annotations": {"llmfleet.dev/restart": "a"}}, "spec": spec}, "d")
    assert (view.restart, view.restarted_at, view.surge) == ("a", datetime(2026, 11, 21, 12, tzinfo=UTC), False)


@pytest.mark.parametrize(
    "written", ["yesterday", "2026-11-21T12:00:00", "", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00+05:00"]
)
def test_a_moment_that_somebody_wrote_wrong_counts_as_absent(written: str) -> None:
    annotations = {"llmfleet.dev/retired-at": written, "llmfleet.dev/restarted-at": written}
    assert objects.deployment({"metadata": {**META, "annotations": annotations}}, "d").retired_at is None
    assert objects.pod({"metadata": {**META, "annotations": annotations}}).restarted_at is None


def engine_spec(**container: object) -> dict:
    return {
        "spec": {"containers": [{"name": "engine", "image": "x:1", "env": [{"name": "A", "value": ""}], **container}]}
    }


def test_what_the_api_server_fills_in_is_no_difference_between_pod_and_template() -> None:
    limits = {"limits": {"memory": "1Gi"}}
    template = {"data": {"template": engine_spec(resources=limits)}, "metadata": META}
    made = engine_spec(resources={**limits, "requests": {"memory": "1Gi"}}, env=[{"name": "A"}], command=[])
    assert objects.pod({**made, "metadata": META}).engine == objects.controller_revision(template, "d").engine


@pytest.mark.parametrize(
    "change",
    [
        {"image": "y:1"},
        {"args": ["--b"]},
        {"env": [{"name": "B"}]},
        {"resources": {"limits": {"memory": "1Gi"}}},
    ],
    ids=str,
)
def test_what_changes_how_the_engine_runs_is_a_difference(change: dict) -> None:
    plain = objects.pod({**engine_spec(), "metadata": META}).engine
    assert objects.pod({**engine_spec(**change), "metadata": META}).engine != plain
