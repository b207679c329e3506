"""``spec.podTemplate``: what a user lays over the pods that llmfleet makes."""

from typing import Annotated, Any

from pydantic import Field

from llmfleet.api.markers import cel, list_atomic, list_map, preserve_unknown
from llmfleet.api.part import Part

Opaque = Annotated[dict[str, Any], preserve_unknown()]
"""A piece of a pod in Kubernetes' own words; the API server judges it when the Deployment is written."""

_KEY = Annotated[str, Field(max_length=317)]
_VALUE = Annotated[str, Field(max_length=63)]
_OWN_LABELS = cel(
    "!self.exists(k, k.matches('^llmfleet[.]dev/') || k in ['app.kubernetes.io/managed-by', 'app.kubernetes.io/name'])",
    "labels of llmfleet.dev/, app.kubernetes.io/managed-by and app.kubernetes.io/name belong to llmfleet: take another",
)


class LocalObject(Part):
    """A name of an object in the namespace of this one."""

    name: str = Field(description="Name of the object.", min_length=1, max_length=253)


class PodTemplate(Part):
    """Laid over the pods: maps are merged, lists are appended, single values replace."""

    labels: Annotated[dict[_KEY, _VALUE] | None, _OWN_LABELS] = Field(
        None, description="Labels of the pods.", max_length=64
    )
    annotations: dict[_KEY, Annotated[str, Field(max_length=4096)]] | None = Field(
        None, description="Annotations of the pods.", max_length=64
    )
    node_selector: dict[_KEY, _VALUE] | None = Field(None, description="Labels that a node must have.", max_length=32)
    tolerations: Annotated[tuple[Opaque, ...], list_atomic()] = Field(
        (), description="Taints that the pods tolerate, beside that of the GPU resource.", max_length=32
    )
    affinity: Opaque | None = Field(None, description="Affinity of the pods, in Kubernetes' own form.")
    topology_spread_constraints: Annotated[tuple[Opaque, ...], list_atomic()] = Field(
        (), description="How the pods spread; replaces the default spread over zones and hosts.", max_length=16
    )
    runtime_class_name: str | None = Field(
        None, description="RuntimeClass of the pods, such as nvidia.", max_length=253
    )
    priority_class_name: str | None = Field(None, description="PriorityClass of the pods.", max_length=253)
    scheduler_name: str | None = Field(None, description="Scheduler that places the pods.", max_length=253)
    service_account_name: str | None = Field(
        None, description="ServiceAccount of the pods; its token is not mounted. Default: default.", max_length=253
    )
    image_pull_secrets: Annotated[tuple[LocalObject, ...], list_map("name")] = Field(
        (), description="Secrets for pulling images.", max_length=16
    )
    security_context: Opaque | None = Field(
        None, description="Laid over the pod's restricted security context, such as fsGroup or supplementalGroups."
    )
    volumes: Annotated[tuple[Opaque, ...], list_atomic()] = Field(
        (), description="Further volumes, in Kubernetes' own form.", max_length=32
    )
    volume_mounts: Annotated[tuple[Opaque, ...], list_atomic()] = Field(
        (), description="Where the engine's container mounts the further volumes.", max_length=32
    )
