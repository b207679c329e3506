"""Changes that only the cluster can tell to be wrong: each is laid over a model that serves."""

from dataclasses import dataclass
from typing import Any

from tests.api.crd_cases import laid

Object = dict[str, Any]


@dataclass(frozen=True)
class WrongChange:
    """A change to the spec of a model that serves.

    Attributes:
        name: of the LLMDeployment.
        changes: fields by their place, such as `model.source`.
        reason: of ConfigValid=False.
        field: that the message names.
        remedy: that the message names.
        image: of the changed revision; it says how the played kubelet treats the pod.
    """

    name: str
    changes: Object
    reason: str
    field: str
    remedy: str
    image: str = "play/ok:2"

    @property
    def spec(self) -> Object:
        changes = laid(self.changes)
        changes["engine"] = {"image": self.image, **changes.get("engine", {})}
        return {"resources": {"gpu": {"count": 0}}, **changes}


ALLOW = "use pvc://claim/path or hf://org/repo, or start the operator with LLMFLEET_ALLOW_HOST_PATH=true"


def host_path(name: str, changes: Object, place: str) -> WrongChange:
    return WrongChange(name, changes, "HostPathNotAllowed", place, ALLOW)


def absent(name: str, changes: Object, place: str, remedy: str, image: str = "play/ok:2") -> WrongChange:
    return WrongChange(name, changes, "ConfigMissing", f"{place} names it", remedy, image)


def rejected(name: str, changes: Object, place: str, words: str) -> WrongChange:
    return WrongChange(name, changes, "Rejected", f"Correct {place}: the API server refuses Deployment", words)


def overlay(name: str, part: str, value: Any, place: str, words: str) -> WrongChange:
    return rejected(name, {f"podTemplate.{part}": value}, f"spec.podTemplate.{place}", words)


WRONG_CHANGES = [
    host_path("source", {"model.source": "hostpath:///data/model"}, "spec.model.source"),
    host_path(
        "adapter", {"model.adapters": [{"name": "a", "source": "hostpath:///a"}]}, "spec.model.adapters[a].source"
    ),
    host_path(
        "draft",
        {"engine.speculative": {"draftModel": "hostpath:///d", "tokens": 1}},
        "spec.engine.speculative.draftModel",
    ),
    host_path("node-cache", {"model.cache": {"kind": "Node", "path": "/cache"}}, "spec.model.cache"),
    host_path(
        "volume",
        {"podTemplate.volumes": [{"name": "root", "hostPath": {"path": "/"}}]},
        "spec.podTemplate.volumes",
    ),
    absent(
        "token", {"model.tokenSecret": {"name": "hf"}}, "spec.model.tokenSecret", "create Secret hf", "play/secret:1"
    ),
    absent(
        "variable",
        {"engine.env": [{"name": "LICENCE", "valueFrom": {"secretKeyRef": {"name": "hf", "key": "a"}}}]},
        "spec.engine.env[LICENCE].valueFrom.secretKeyRef",
        "create Secret hf in this namespace",
        "play/secret:1",
    ),
    absent("claim", {"model.source": "pvc://none/x"}, "spec.model.source", "create PersistentVolumeClaim none"),
    absent(
        "cache-claim",
        {"model.cache": {"kind": "PVC", "claimName": "none"}},
        "spec.model.cache.claimName",
        "create PersistentVolumeClaim none in this namespace, or name another one",
    ),
    absent(
        "account",
        {"podTemplate.serviceAccountName": "none"},
        "spec.podTemplate.serviceAccountName",
        "create ServiceAccount none in this namespace",
    ),
    absent(
        "priority",
        {"podTemplate.priorityClassName": "none"},
        "spec.podTemplate.priorityClassName",
        "create PriorityClass none in the cluster",
    ),
    absent(
        "runtime",
        {"podTemplate.runtimeClassName": "none"},
        "spec.podTemplate.runtimeClassName",
        "create RuntimeClass none in the cluster",
    ),
    overlay(
        "toleration", "tolerations", [{"operator": "Sometimes"}], "tolerations[0].operator", 'supported values: "Equal"'
    ),
    overlay(
        "unknown-field",
        "tolerations",
        [{"operater": "Exists"}],
        "tolerations[0].operater",
        "field not declared in schema",
    ),
    overlay(
        "mount",
        "volumeMounts",
        [{"name": "nowhere", "mountPath": "/x"}],
        "volumeMounts[0].name",
        'Not found: "nowhere"',
    ),
    overlay(
        "mount-path",
        "volumeMounts",
        [{"name": "tmp", "mountPath": "/cache"}],
        "volumeMounts",
        "duplicate entries for key",
    ),
    overlay("volume-name", "volumes", [{"name": "tmp", "emptyDir": {}}], "volumes", "duplicate entries for key"),
    overlay(
        "affinity",
        "affinity",
        {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}},
        "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms",
        "must have at least one node selector term",
    ),
    overlay("context", "securityContext", {"runAsUser": "root"}, "securityContext.runAsUser", "expected numeric"),
    overlay(
        "spread",
        "topologySpreadConstraints",
        [{"maxSkew": 0, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}],
        "topologySpreadConstraints[0].maxSkew",
        "must be greater than zero",
    ),
    rejected(
        "resource",
        {"resources.gpu": {"resourceName": "requests.example.com/gpu"}},
        "spec.resources.limits[requests.example.com/gpu]",
        "doesn't follow extended resource name standard",
    ),
]
