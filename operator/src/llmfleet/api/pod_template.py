"""``spec.podTemplate``: what a user lays over the pods that llmfleet makes."""

from typing import Annotated, Any, Final

from pydantic import Field

from llmfleet.api.markers import cel, list_atomic, list_map, matches, preserve_unknown
from llmfleet.api.part import Items, Part
from llmfleet.api.patterns import compiled
from llmfleet.api.references import DOMAIN, LABEL_VALUE, ObjectName

Opaque = Annotated[dict[str, Any], preserve_unknown()]
"""A piece of a pod in Kubernetes' own words; the API server judges it when the Deployment is written."""

_KEY = Annotated[str, Field(max_length=317)]
_VALUE = Annotated[
    str,
    Field(max_length=63),
    matches(
        f"^({LABEL_VALUE})?$",
        "must be the value of a label: letters, digits, '-', '_' and '.', beginning and ending with a letter or digit",
    ),
]
_KEY_PATTERN: Final = f"^({DOMAIN}/)?{LABEL_VALUE}$"
_KEYS = cel(
    f"self.all(k, k.matches('{_KEY_PATTERN}'))",
    "a key must be a name of at most 63 letters, digits, '-', '_' and '.', or a domain, '/' and such a name",
    lambda pairs: all(compiled(_KEY_PATTERN).search(key) for key in pairs),
)
_OWN_KEYS: Final = "^(llmfleet[.]dev/.*|app[.]kubernetes[.]io/(managed-by|name))$"
_OWN_LABELS = cel(
    f"!self.exists(k, k.matches('{_OWN_KEYS}'))",
    "labels of llmfleet.dev/, app.kubernetes.io/managed-by and app.kubernetes.io/name belong to llmfleet: take another",
    lambda labels: not any(compiled(_OWN_KEYS).search(key) for key in labels),
)


class LocalObject(Part):
    """A name of an object in the namespace of this one."""

    name: ObjectName = Field(description="Name of the object.")


class PodTemplate(Part):
    """Laid over the pods: maps are merged, lists are appended, single values replace."""

    labels: Annotated[dict[_KEY, _VALUE], Field(max_length=64), _KEYS, _OWN_LABELS] | None = Field(
        None, description="Labels of the pods."
    )
    annotations: Annotated[dict[_KEY, Annotated[str, Field(max_length=4096)]], Field(max_length=64), _KEYS] | None = (
        Field(None, description="Annotations of the pods.")
    )
    node_selector: Annotated[dict[_KEY, _VALUE], Field(max_length=32), _KEYS] | None = Field(
        None, description="Labels that a node must have."
    )
    tolerations: Annotated[Items[Opaque], list_atomic()] = Field(
        (), description="Taints that the pods tolerate, beside that of the GPU resource.", max_length=32
    )
    affinity: Opaque | None = Field(None, description="Affinity of the pods, in Kubernetes' own form.")
    topology_spread_constraints: Annotated[Items[Opaque], list_atomic()] = Field(
        (), description="How the pods spread; replaces the default spread over zones and hosts.", max_length=16
    )
    runtime_class_name: ObjectName | None = Field(None, description="RuntimeClass of the pods, such as nvidia.")
    priority_class_name: ObjectName | None = Field(None, description="PriorityClass of the pods.")
    scheduler_name: ObjectName | None = Field(None, description="Scheduler that places the pods.")
    service_account_name: ObjectName | None = Field(
        None, description="ServiceAccount of the pods; its token is not mounted. Default: default."
    )
    image_pull_secrets: Annotated[Items[LocalObject], list_map("name")] = Field(
        (), description="Secrets for pulling images.", max_length=16
    )
    security_context: Opaque | None = Field(
        None, description="Laid over the pod's restricted security context, such as fsGroup or supplementalGroups."
    )
    volumes: Annotated[Items[Opaque], list_atomic()] = Field(
        (), description="Further volumes, in Kubernetes' own form.", max_length=32
    )
    volume_mounts: Annotated[Items[Opaque], list_atomic()] = Field(
        (), description="Where the engine's container mounts the further volumes.", max_length=32
    )
