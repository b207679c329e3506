"""Which Kubernetes resources llmfleet speaks about, and where each lies below the API server's root.

The table is closed on purpose: no discovery request is made, and what is not in it the operator cannot touch.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind and its place in the API; its objects lie in namespaces. `group` is empty for the core group."""

    group: str
    version: str
    plural: str
    kind: str

    @property
    def api_version(self) -> str:
        """The `apiVersion` that objects of this kind carry."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """Build the URL path of a collection (no name), an object or its subresource.

        Args:
            namespace: None for a list or watch over all namespaces.
            name: the object's name.
            subresource: such as `status` or `scale`; needs a name.
        """
        parts = ["apis", self.group, self.version] if self.group else ["api", self.version]
        if namespace:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        if name is not None:
            parts.append(name)
            if subresource is not None:
                parts.append(subresource)
        return "/" + "/".join(quote(part, safe=":") for part in parts)


_ALL = (
    Resource("", "v1", "events", "Event"),
    Resource("", "v1", "pods", "Pod"),
    Resource("", "v1", "secrets", "Secret"),
    Resource("", "v1", "services", "Service"),
    Resource("apps", "v1", "controllerrevisions", "ControllerRevision"),
    Resource("apps", "v1", "deployments", "Deployment"),
    Resource("coordination.k8s.io", "v1", "leases", "Lease"),
    Resource("llmfleet.dev", "v1alpha1", "llmdeployments", "LLMDeployment"),
    Resource("llmfleet.dev", "v1alpha1", "llmroutes", "LLMRoute"),
    Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget"),
)

RESOURCES: Mapping[str, Resource] = MappingProxyType({resource.kind: resource for resource in _ALL})
"""Every resource by its kind."""


def resource_of(obj: Mapping[str, Any]) -> Resource:
    """Find the resource of an object by its apiVersion and kind.

    Raises:
        ValueError: the object names a kind or version that is not in the table.
    """
    api_version, kind = obj.get("apiVersion"), obj.get("kind")
    resource = RESOURCES.get(str(kind))
    if resource is None or resource.api_version != api_version:
        raise ValueError(f"no resource is known for apiVersion {api_version!r}, kind {kind!r}")
    return resource


def version_of(obj: Mapping[str, Any]) -> int:
    """Return an object's resourceVersion as a number, 0 if it has none.

    Versions of one resource are decimal and grow with every write of any object of it; Kubernetes promises so since
    1.35 (KEP-5504), and it has always been so with etcd. A text that is no number counts as 0: then nothing is older
    than anything else.
    """
    text = str((obj.get("metadata") or {}).get("resourceVersion") or "")
    return int(text) if text.isdecimal() else 0


@dataclass(frozen=True, slots=True)
class Ref:
    """The address of one object."""

    resource: Resource
    namespace: str
    name: str

    @classmethod
    def to(cls, kind: str, name: str, namespace: str) -> Self:
        """Name an object by its kind.

        Raises:
            KeyError: the kind is not in the table.
        """
        return cls(RESOURCES[kind], namespace, name)

    @classmethod
    def of(cls, obj: Mapping[str, Any]) -> Self:
        """Name the object itself.

        Raises:
            ValueError: unknown kind, no name or no namespace.
        """
        metadata = obj.get("metadata") or {}
        name, namespace = metadata.get("name"), metadata.get("namespace")
        if not name or not namespace:
            raise ValueError(f"{obj.get('kind')} without a {'namespace' if name else 'name'}")
        return cls(resource_of(obj), str(namespace), str(name))

    def path(self, subresource: str | None = None) -> str:
        """Build the URL path of the object or of one of its subresources."""
        return self.resource.path(self.namespace, self.name, subresource)

    def __str__(self) -> str:
        return f"{self.resource.kind} {self.namespace}/{self.name}"
