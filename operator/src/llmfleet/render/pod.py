"""The engine's pod: restricted, spread, with room to write where the engine must write and nowhere else."""

import math
from collections.abc import Iterator
from typing import Any, Final

from llmfleet.api.deployment import Spec
from llmfleet.api.engine import EnvVar
from llmfleet.api.names import (
    APP,
    CONTAINER,
    LABEL_APP,
    LABEL_MANAGED_BY,
    LABEL_NAME,
    LABEL_REVISION,
    MANAGED_BY,
)
from llmfleet.api.units import canonical_quantity
from llmfleet.render.profiles import PROFILES, Images
from llmfleet.render.sources import Mounts

_UID: Final = 65532
_GRACE_S: Final = 30
"""After drain.timeout: for the engine to end by itself, before the kubelet kills it."""
_ZONES: Final = ("topology.kubernetes.io/zone", "kubernetes.io/hostname")


def labels(name: str, revision: str) -> dict[str, str]:
    """Return the labels of everything that belongs to one revision of one LLMDeployment."""
    return {LABEL_MANAGED_BY: MANAGED_BY, LABEL_APP: APP, LABEL_NAME: name, LABEL_REVISION: revision}


def selector(name: str, revision: str) -> dict[str, str]:
    """Return what selects the pods of one revision; it can never change, selectors of Deployments are immutable."""
    return {LABEL_NAME: name, LABEL_REVISION: revision}


def pod_template(name: str, revision: str, spec: Spec, images: Images) -> dict[str, Any]:
    """Return the template of a revision's pods, resolved: it needs no default of ours any more."""
    overlay = spec.pod_template
    metadata: dict[str, Any] = {"labels": {**(overlay.labels or {}), **labels(name, revision)}}
    if overlay.annotations:
        metadata["annotations"] = dict(overlay.annotations)
    return {"metadata": metadata, "spec": _pod_spec(name, revision, spec, images)}


def _pod_spec(name: str, revision: str, spec: Spec, images: Images) -> dict[str, Any]:
    overlay, mounts = spec.pod_template, Mounts.of(_sources(spec))
    pod = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": math.ceil(spec.drain_timeout_s) + _GRACE_S,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _UID,
            "runAsGroup": _UID,
            "fsGroup": _UID,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
            **(overlay.security_context or {}),
        },
        "containers": [_container(name, spec, images, mounts)],
        "volumes": [*_scratch(spec), *mounts.volumes, *overlay.volumes],
        "nodeSelector": {**_node_labels(spec), **(overlay.node_selector or {})},
        "tolerations": [*_tolerations(spec), *overlay.tolerations],
        "affinity": overlay.affinity,
        "topologySpreadConstraints": list(overlay.topology_spread_constraints) or _spread(name, revision),
        "runtimeClassName": overlay.runtime_class_name,
        "priorityClassName": overlay.priority_class_name,
        "schedulerName": overlay.scheduler_name,
        "serviceAccountName": overlay.service_account_name,
        "imagePullSecrets": [{"name": secret.name} for secret in overlay.image_pull_secrets],
    }
    return {field: value for field, value in pod.items() if value not in (None, [], {})}


def _container(name: str, spec: Spec, images: Images, mounts: Mounts) -> dict[str, Any]:
    profile = PROFILES[spec.profile]
    own = dict(profile.container(name, spec, mounts))
    environment = {variable["name"]: variable for variable in own.pop("env")}
    environment |= {variable.name: _env_var(variable) for variable in spec.engine.env}
    volume_mounts = [
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the pod's own emptyDir
        {"name": "cache", "mountPath": "/cache"},
        {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108 - the pod's own emptyDir
        *own.pop("volumeMounts"),
        *spec.pod_template.volume_mounts,
    ]
    container = {
        "name": CONTAINER,
        "image": spec.engine.image or profile.image(images, spec.gpu_count),
        "imagePullPolicy": "IfNotPresent",
        **own,
        "env": list(environment.values()),
        "resources": _resources(spec),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": volume_mounts,
    }
    return {field: value for field, value in container.items() if value not in ([], {})}


def _env_var(variable: EnvVar) -> dict[str, Any]:
    return variable.model_dump(by_alias=True, exclude_none=True)


def _resources(spec: Spec) -> dict[str, Any]:
    asked = spec.resources
    requests = {"cpu": canonical_quantity(asked.cpu or "1")}
    limits = {}
    if asked.memory is not None:
        limits["memory"] = requests["memory"] = canonical_quantity(asked.memory)
    if spec.gpu_count:
        limits[asked.gpu_resource] = requests[asked.gpu_resource] = str(spec.gpu_count)
    return {"requests": requests, **({"limits": limits} if limits else {})}


def _node_labels(spec: Spec) -> dict[str, str]:
    """Vendors label their nodes under the domain of their resource: nvidia.com/gpu and nvidia.com/gpu.product."""
    product = spec.resources.gpu.product if spec.resources.gpu else None
    return {f"{spec.resources.gpu_resource.split('/')[0]}/gpu.product": product} if product else {}


def _tolerations(spec: Spec) -> list[dict[str, Any]]:
    """GPU nodes are commonly tainted with the name of their resource to keep other pods away."""
    resource = spec.resources.gpu_resource
    return [{"key": resource, "operator": "Exists", "effect": "NoSchedule"}] if spec.gpu_count else []


def _spread(name: str, revision: str) -> list[dict[str, Any]]:
    return [
        {
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": selector(name, revision)},
        }
        for key in _ZONES
    ]


def _scratch(spec: Spec) -> Iterator[dict[str, Any]]:
    cache = spec.model.cache
    yield {"name": "tmp", "emptyDir": {}}
    if cache is not None and cache.kind == "PVC":
        yield {"name": "cache", "persistentVolumeClaim": {"claimName": cache.claim_name}}
    elif cache is not None and cache.kind == "Node":
        yield {"name": "cache", "hostPath": {"path": cache.path, "type": "Directory"}}
    else:
        yield {"name": "cache", "emptyDir": {}}
    size = canonical_quantity(spec.resources.shared_memory or "2Gi")
    yield {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": size}}


def _sources(spec: Spec) -> Iterator[str]:
    """List what an engine loads; a simulator loads nothing, whatever its source says."""
    if spec.profile == "sim":
        return
    yield spec.model.source
    yield from (adapter.source for adapter in spec.model.adapters)
    if spec.engine.speculative is not None:
        yield spec.engine.speculative.draft_model
