"""The objects of one LLMDeployment: Deployment and PodDisruptionBudget per revision, ControllerRevision, Service."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from llmfleet.api.deployment import Spec
from llmfleet.api.names import (
    ANNOTATION_RESTART,
    ANNOTATION_RESTARTED_AT,
    ANNOTATION_RETIRED_AT,
    API_VERSION,
    APP,
    HTTP_PORT,
    KIND,
    LABEL_APP,
    LABEL_MANAGED_BY,
    LABEL_NAME,
    MANAGED_BY,
)
from llmfleet.api.units import timestamp
from llmfleet.render.pod import labels, pod_template, selector
from llmfleet.render.profiles import Images


@dataclass(frozen=True, slots=True)
class Owner:
    """The LLMDeployment that objects are made for."""

    namespace: str
    name: str
    uid: str


def child_name(owner: Owner, revision: str) -> str:
    """Return the name of the objects of one revision."""
    return f"{owner.name}-{revision}"


def revision_data(owner: Owner, revision: str, spec: Spec, images: Images) -> dict[str, Any]:
    """Return what a ControllerRevision keeps: all that a Deployment of this revision needs, defaults resolved.

    It is what makes an upgrade of the operator restart no engine: the template is read from here ever after.
    """
    return {
        "template": pod_template(owner.name, revision, spec, images),
        # Above the deadline that status reports, or else a tool that watches Deployments calls a loading model failed.
        "progressDeadlineSeconds": math.ceil(spec.startup_deadline_s * 1.5) + 60,
    }


def controller_revision(owner: Owner, revision: str, number: int, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the ControllerRevision that remembers ``data``."""
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": _metadata(owner, child_name(owner, revision), labels(owner.name, revision)),
        "revision": number,
        "data": dict(data),
    }


def deployment(
    owner: Owner,
    revision: str,
    data: Mapping[str, Any],
    *,
    replicas: int,
    retired_at: datetime | None = None,
    restart: str = "",
    restarted_at: datetime | None = None,
    surge: bool = True,
) -> dict[str, Any]:
    """Return the Deployment of one revision.

    Args:
        owner: of the object.
        revision: hash of the revision.
        data: what its ControllerRevision keeps.
        replicas: engines wanted.
        retired_at: when it was relieved of serving, None while it serves or is to serve.
        restart: the restart that it answered or was made with, empty for none.
        restarted_at: when its engines were told to restart, None where they never were.
        surge: whether a successor comes before an engine goes, or after it.
    """
    metadata = _metadata(owner, child_name(owner, revision), labels(owner.name, revision))
    if annotations := _annotations({ANNOTATION_RESTART: restart, ANNOTATION_RETIRED_AT: retired_at}):
        metadata["annotations"] = annotations
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {
            "replicas": replicas,
            "progressDeadlineSeconds": data["progressDeadlineSeconds"],
            # Its ReplicaSets differ by restarts only: there is nothing to go back to.
            "revisionHistoryLimit": 0,
            "selector": {"matchLabels": selector(owner.name, revision)},
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": int(surge), "maxUnavailable": int(not surge)},
            },
            "template": _template(data["template"], restarted_at),
        },
    }


def _template(resolved: Mapping[str, Any], restarted_at: datetime | None) -> Mapping[str, Any]:
    """Return the revision's template; only a restart adds something to it, ever."""
    if restarted_at is None:
        return resolved
    metadata = resolved["metadata"]
    annotations = {**metadata.get("annotations", {}), **_annotations({ANNOTATION_RESTARTED_AT: restarted_at})}
    return {**resolved, "metadata": {**metadata, "annotations": annotations}}


def _annotations(values: Mapping[str, str | datetime | None]) -> dict[str, str]:
    """Return the annotations that have a value, moments as text."""
    texts = {key: timestamp(value) if isinstance(value, datetime) else value for key, value in values.items()}
    return {key: text for key, text in texts.items() if text}


def service(owner: Owner, revision: str) -> dict[str, Any]:
    """Return the Service that clients call; it selects the pods of one revision."""
    own_labels = {LABEL_MANAGED_BY: MANAGED_BY, LABEL_APP: APP, LABEL_NAME: owner.name}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(owner, owner.name, own_labels),
        "spec": {
            "ports": [{"name": "http", "port": HTTP_PORT, "protocol": "TCP", "targetPort": "http"}],
            "selector": selector(owner.name, revision),
        },
    }


def disruption_budget(owner: Owner, revision: str, spec: Spec) -> dict[str, Any]:
    """Return the PodDisruptionBudget of one revision; engines that are not ready may always be evicted."""
    asked = spec.disruption
    limit = (
        {"minAvailable": asked.min_available}
        if asked.min_available is not None
        else {"maxUnavailable": 1 if asked.max_unavailable is None else asked.max_unavailable}
    )
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": _metadata(owner, child_name(owner, revision), labels(owner.name, revision)),
        "spec": {
            **limit,
            "selector": {"matchLabels": selector(owner.name, revision)},
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }


def endpoint(namespace: str, name: str) -> str:
    """Return where clients inside the cluster reach the model."""
    return f"http://{name}.{namespace}:{HTTP_PORT}/v1"


def _metadata(owner: Owner, name: str, own_labels: Mapping[str, str]) -> dict[str, Any]:
    return {
        "name": name,
        "namespace": owner.namespace,
        "labels": dict(own_labels),
        "ownerReferences": [
            {
                "apiVersion": API_VERSION,
                "kind": KIND,
                "name": owner.name,
                "uid": owner.uid,
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ],
    }
