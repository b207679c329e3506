"""From Kubernetes objects (JSON as the API server sends it) to views. Missing parts read as empty, never as errors."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from llmfleet.api.names import ANNOTATION_RETIRED_AT, CONTAINER, LABEL_NAME, LABEL_REVISION
from llmfleet.api.units import moment
from llmfleet.observe.views import Child, DeploymentView, Failure, PodView, RevisionView, packed

Object = Mapping[str, Any]

_NO_CONDITION: Object = {}


def child(obj: Object, digest: str) -> Child:
    """Return the view of an object that has nothing of its own to read, such as a PodDisruptionBudget."""
    return Child(**_identity(obj), revision=_labels(obj).get(LABEL_REVISION, ""), digest=digest)


def service(obj: Object, digest: str) -> Child:
    """Return the view of a Service; its revision is the one that its selector names."""
    selector = obj.get("spec", {}).get("selector") or {}
    return Child(**_identity(obj), revision=selector.get(LABEL_REVISION, ""), digest=digest)


def deployment(obj: Object, digest: str) -> DeploymentView:
    """Return the view of a Deployment."""
    failure = _condition(obj, "ReplicaFailure")
    retired_at = (obj["metadata"].get("annotations") or {}).get(ANNOTATION_RETIRED_AT)
    return DeploymentView(
        **_identity(obj),
        revision=_labels(obj).get(LABEL_REVISION, ""),
        digest=digest,
        replicas=obj.get("spec", {}).get("replicas", 1),
        refused=failure.get("message", "") if failure.get("status") == "True" else "",
        retired_at=_moment(retired_at),
    )


def controller_revision(obj: Object, digest: str) -> RevisionView:
    """Return the view of a ControllerRevision."""
    return RevisionView(
        **_identity(obj),
        revision=_labels(obj).get(LABEL_REVISION, ""),
        digest=digest,
        number=obj.get("revision", 0),
        packed=packed(obj.get("data") or {}),
    )


def pod(obj: Object) -> PodView:
    """Return the view of an engine's pod."""
    metadata, status = obj["metadata"], obj.get("status", {})
    scheduled = _condition(obj, "PodScheduled")
    container = _engine_status(status)
    state = container.get("state") or {}
    waiting = state.get("waiting") or {}
    return PodView(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        llm=_labels(obj).get(LABEL_NAME, ""),
        revision=_labels(obj).get(LABEL_REVISION, ""),
        ready=_condition(obj, "Ready").get("status") == "True",
        deleting="deletionTimestamp" in metadata,
        scheduled_at=_moment(scheduled.get("lastTransitionTime")) if scheduled.get("status") == "True" else None,
        unschedulable=scheduled.get("message", "") if scheduled.get("status") == "False" else "",
        waiting=(waiting.get("reason", ""), waiting.get("message", "")),
        running="running" in state,
        failure=_failure(container),
        restarts=container.get("restartCount", 0),
        probe=_probe_address(obj),
    )


def _identity(obj: Object) -> dict[str, str]:
    metadata = obj["metadata"]
    owners = [owner["uid"] for owner in metadata.get("ownerReferences", ()) if owner.get("controller")]
    return {
        "namespace": metadata.get("namespace", ""),
        "name": metadata["name"],
        "uid": metadata["uid"],
        "owner": owners[0] if owners else "",
        "llm": _labels(obj).get(LABEL_NAME, ""),
    }


def _labels(obj: Object) -> Object:
    return obj["metadata"].get("labels") or {}


def _condition(obj: Object, kind: str) -> Object:
    conditions = obj.get("status", {}).get("conditions") or ()
    return next((condition for condition in conditions if condition["type"] == kind), _NO_CONDITION)


def _moment(text: str | None) -> datetime | None:
    return moment(text) if text else None


def _engine_status(status: Object) -> Object:
    statuses = status.get("containerStatuses") or ()
    return next((container for container in statuses if container["name"] == CONTAINER), {})


def _failure(container: Object) -> Failure | None:
    """An engine never ends by itself, so every end is a failure, even with exit code 0. The present end comes first."""
    for state in (container.get("state") or {}, container.get("lastState") or {}):
        ended = state.get("terminated")
        if ended:
            said = (ended.get("message") or "").strip()
            fallback = f"it ended with exit code {ended.get('exitCode', 0)} ({ended.get('reason') or 'no reason'})"
            return Failure(message=said or fallback, at=ended.get("finishedAt") or "")
    return None


def _probe_address(obj: Object) -> str:
    address = obj.get("status", {}).get("podIP")
    for container in obj.get("spec", {}).get("containers") or ():
        for port in container.get("ports") or ():
            if address and port.get("name") == "probes":
                host = f"[{address}]" if ":" in address else address
                return f"{host}:{port['containerPort']}"
    return ""
