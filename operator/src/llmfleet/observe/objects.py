"""From Kubernetes objects (JSON as the API server sends it) to views. Missing parts read as empty, never as errors.

What an object of ours is, its owner and its name tell: anybody can change its labels, and nothing may depend on that.
"""

import functools
import hashlib
import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from llmfleet.api.names import (
    ANNOTATION_PAUSE,
    ANNOTATION_RESTART,
    ANNOTATION_RESTARTED_AT,
    ANNOTATION_RETIRED_AT,
    CONTAINER,
    LABEL_MANAGED_BY,
    LABEL_NAME,
    LABEL_REVISION,
    MANAGED_BY,
)
from llmfleet.api.units import moment
from llmfleet.observe.views import Child, DeploymentView, EnginePart, Failure, Orders, PodView, RevisionView, packed

Object = Mapping[str, Any]

_REQUEST_CHARACTERS: Final = 128
_WHY_CHARACTERS: Final = 200
_NO_ORDERS: Final = Orders()

_NO_CONDITION: Object = {}
_NO_PREEMPTION: Final = re.compile(r"\. not found\.?\s*$")


def child(obj: Object, digest: str) -> Child:
    """Return the view of an object that has nothing of its own to read, such as a PodDisruptionBudget."""
    return Child(**_identity(obj), revision=_revision(obj), digest=digest)


def service(obj: Object, digest: str) -> Child:
    """Return the view of a Service; its revision is the one that its selector names."""
    selector = obj.get("spec", {}).get("selector") or {}
    return Child(**_identity(obj), revision=selector.get(LABEL_REVISION, ""), digest=digest)


def orders(obj: Object) -> Orders:
    """Return what the annotations of an LLMDeployment ask for. A text that is too long to echo is told by its hash."""
    restart, pause = _request(obj), _annotations(obj).get(ANNOTATION_PAUSE, "").strip()
    return (
        Orders(restart, "" if pause.lower() == "false" else pause[:_WHY_CHARACTERS]) if restart or pause else _NO_ORDERS
    )


def _request(obj: Object) -> str:
    """Return the restart that an object asks for or has answered, as it can be echoed."""
    request: str = _annotations(obj).get(ANNOTATION_RESTART, "").strip()
    return request if len(request) <= _REQUEST_CHARACTERS else hashlib.sha256(request.encode()).hexdigest()


def deployment(obj: Object, digest: str) -> DeploymentView:
    """Return the view of a Deployment."""
    failure, spec = _condition(obj, "ReplicaFailure"), obj.get("spec", {})
    template = spec.get("template") or {"metadata": {}}
    rolling = (spec.get("strategy") or {}).get("rollingUpdate") or {}
    return DeploymentView(
        **_identity(obj),
        revision=_revision(obj),
        digest=digest,
        replicas=spec.get("replicas", 1),
        refused=failure.get("message", "") if failure.get("status") == "True" else "",
        retired_at=_moment(_annotations(obj).get(ANNOTATION_RETIRED_AT)),
        restart=_request(obj),
        restarted_at=_moment(_annotations(template).get(ANNOTATION_RESTARTED_AT)),
        surge=rolling.get("maxSurge", 1) != 0,
    )


def controller_revision(obj: Object, digest: str) -> RevisionView:
    """Return the view of a ControllerRevision."""
    data, identity, revision = obj.get("data") or {}, _identity(obj), _revision(obj)
    labels = {LABEL_MANAGED_BY: MANAGED_BY, LABEL_NAME: identity["llm"], LABEL_REVISION: revision}
    return RevisionView(
        **identity,
        revision=revision,
        digest=digest,
        number=obj.get("revision", 0),
        packed=packed(data),
        engine=_engine(data.get("template") or {}),
        relabelled=not labels.items() <= _labels(obj).items(),
    )


def pod(obj: Object) -> PodView:
    """Return the view of an engine's pod."""
    metadata, status = obj["metadata"], obj.get("status", {})
    scheduled, ready = _condition(obj, "PodScheduled"), _condition(obj, "Ready")
    container = _engine_status(status)
    state = container.get("state") or {}
    waiting = state.get("waiting") or {}
    return PodView(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        llm=_labels(obj).get(LABEL_NAME, ""),
        revision=_labels(obj).get(LABEL_REVISION, ""),
        ready=ready.get("status") == "True",
        deleting="deletionTimestamp" in metadata,
        scheduled_at=_moment(scheduled.get("lastTransitionTime")) if scheduled.get("status") == "True" else None,
        unschedulable=_unschedulable(scheduled),
        waiting=(waiting.get("reason", ""), waiting.get("message", "")),
        running="running" in state,
        failure=_failure(container, metadata["name"]),
        restarts=container.get("restartCount", 0),
        probe=_probe_address(obj),
        restarted_at=_moment(_annotations(obj).get(ANNOTATION_RESTARTED_AT)),
        engine=_engine(obj),
        unscheduled_since=_moment(scheduled.get("lastTransitionTime")) if scheduled.get("status") == "False" else None,
        unready_since=_moment(ready.get("lastTransitionTime")) if ready.get("status") == "False" else None,
        started=bool(container.get("started")),
    )


def _identity(obj: Object) -> dict[str, str]:
    metadata, owner = obj["metadata"], _owner(obj)
    return {
        "namespace": metadata.get("namespace", ""),
        "name": metadata["name"],
        "uid": metadata["uid"],
        "owner": owner.get("uid", ""),
        "llm": owner.get("name", ""),
    }


def _owner(obj: Object) -> Object:
    owners = obj["metadata"].get("ownerReferences") or ()
    return next((owner for owner in owners if owner.get("controller")), {})


def _revision(obj: Object) -> str:
    """Return the revision that an object's name ends with, after the name of its LLMDeployment."""
    name: str = obj["metadata"]["name"]
    return name.removeprefix(f"{_owner(obj).get('name', '')}-")


def _labels(obj: Object) -> Object:
    return obj["metadata"].get("labels") or {}


def _annotations(obj: Object) -> Object:
    return (obj.get("metadata") or {}).get("annotations") or {}


def _condition(obj: Object, kind: str) -> Object:
    conditions = obj.get("status", {}).get("conditions") or ()
    return next((condition for condition in conditions if condition["type"] == kind), _NO_CONDITION)


def _moment(text: str | None) -> datetime | None:
    return moment(text) if text else None


def _engine(pod_or_template: Object) -> EnginePart:
    """Read what decides how the engine runs."""
    spec = pod_or_template.get("spec") or {}
    everything = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
    container: Object = next((one for one in everything if one.get("name") == CONTAINER), {})
    asked = container.get("resources") or {}
    limits, requests = asked.get("limits") or {}, asked.get("requests") or {}
    # An empty value is no longer there when a pod comes back.
    environment = [{key: value for key, value in variable.items() if value} for variable in container.get("env") or ()]
    resources = {f"limits.{name}": amount for name, amount in limits.items()}
    resources |= {f"requests.{name}": amount for name, amount in requests.items() if limits.get(name) != amount}
    return _shared(
        EnginePart(
            image=container.get("image", ""),
            arguments=_digest([container.get("command") or [], container.get("args") or []]),
            environment=_digest([environment, container.get("envFrom") or []]),
            resources=tuple(sorted(resources.items())),
            containers=tuple(sorted(one.get("name", "") for one in everything)),
        )
    )


@functools.lru_cache(maxsize=4096)
def _shared(part: EnginePart) -> EnginePart:
    """Return the part that was seen first of those that are equal: a template and its pods share one."""
    return part


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def _engine_status(status: Object) -> Object:
    statuses = status.get("containerStatuses") or ()
    return next((container for container in statuses if container["name"] == CONTAINER), {})


def _unschedulable(scheduled: Object) -> str:
    """Return the scheduler's words, without the "not found" of a preemption that was not tried."""
    said: str = scheduled.get("message", "") if scheduled.get("status") == "False" else ""
    return _NO_PREEMPTION.sub(".", said)


def _failure(container: Object, pod_name: str) -> Failure | None:
    """An engine never ends by itself, so every end is a failure, even with exit code 0. The present end comes first."""
    for state in (container.get("state") or {}, container.get("lastState") or {}):
        ended = state.get("terminated")
        if ended:
            said = (ended.get("message") or "").strip()
            how = f"it ended with exit code {ended.get('exitCode', 0)} ({ended.get('reason') or 'no reason'})"
            fallback = f"{how}; see kubectl logs {pod_name} --previous"
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
