"""What other people do to our objects, done on a real API server.

`python -m tests.unit.kube.ownership_cases KUBECONFIG` records fixtures/ownership.json for the unit tests; the api tier
runs the same cases live. Needs a namespace `default` and nothing else in it.
"""

# ruff: noqa: S108 - paths inside of containers

import asyncio
import copy
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmfleet.kube.client import Client
from llmfleet.kube.resources import Ref
from llmfleet.kube.session import Connection, open_session

FIXTURES = Path(__file__).parent / "fixtures" / "ownership.json"
MANAGER = "llmfleet"

Object = dict[str, Any]

LABELS = {
    "app.kubernetes.io/managed-by": "llmfleet",
    "app.kubernetes.io/name": "llmfleet-engine",
    "llmfleet.dev/name": "chat",
    "llmfleet.dev/revision": "6c9f4a1b",
}
METADATA = {
    "namespace": "default",
    "labels": LABELS,
    "annotations": {"llmfleet.dev/retired-at": "2026-11-21T11:00:00Z"},
    "ownerReferences": [
        {
            "apiVersion": "llmfleet.dev/v1alpha1",
            "kind": "LLMDeployment",
            "name": "chat",
            "uid": "5f1ddf3e-5ce4-4cf0-a6c4-4d2a1f3b7a11",
            "controller": True,
            "blockOwnerDeletion": True,
        }
    ],
}


def spread(topology_key: str) -> Object:
    return {
        "maxSkew": 1,
        "topologyKey": topology_key,
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": {"llmfleet.dev/revision": "6c9f4a1b"}},
    }


CONTAINER: Object = {
    "name": "engine",
    "image": "ghcr.io/llmfleet/engine:0.1.0",
    "imagePullPolicy": "IfNotPresent",
    "args": ["--model", "/models/chat", "--gpus", "1", "--", "--enforce-eager"],
    "command": [],
    "env": [
        {"name": "USER", "value": "llmfleet"},
        {"name": "HOME", "value": "/tmp"},
        {"name": "EMPTY", "value": ""},
        {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hf", "key": "token"}}},
        {"name": "POD_NAME", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}},
    ],
    "ports": [{"name": "probes", "containerPort": 8001}, {"name": "http", "containerPort": 8000}],
    "readinessProbe": {"httpGet": {"path": "/readyz", "port": "probes"}, "periodSeconds": 5, "failureThreshold": 2},
    "startupProbe": {"httpGet": {"path": "/startupz", "port": "probes"}, "periodSeconds": 5, "failureThreshold": 360},
    "resources": {"limits": {"cpu": "8", "memory": "64Gi", "nvidia.com/gpu": "1"}, "requests": {}},
    "securityContext": {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    },
    "volumeMounts": [
        {"name": "tmp", "mountPath": "/tmp"},
        {"name": "cache", "mountPath": "/cache"},
        {"name": "shm", "mountPath": "/dev/shm"},
        {"name": "model", "mountPath": "/models/chat", "readOnly": True},
    ],
}
DEPLOYMENT: Object = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {**METADATA, "name": "chat-6c9f4a1b", "finalizers": ["llmfleet.dev/b", "llmfleet.dev/a"]},
    "spec": {
        "replicas": 2,
        "paused": False,
        "progressDeadlineSeconds": 2400,
        "selector": {"matchLabels": {"llmfleet.dev/revision": "6c9f4a1b"}},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "template": {
            "metadata": {"labels": LABELS},
            "spec": {
                "automountServiceAccountToken": False,
                "enableServiceLinks": False,
                "hostNetwork": False,
                "nodeSelector": {},
                "terminationGracePeriodSeconds": 330,
                "securityContext": {
                    "runAsNonRoot": True,
                    "runAsUser": 65532,
                    "fsGroup": 65532,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
                "topologySpreadConstraints": [spread("topology.kubernetes.io/zone"), spread("kubernetes.io/hostname")],
                "containers": [CONTAINER],
                "volumes": [
                    {"name": "tmp", "emptyDir": {}},
                    {"name": "cache", "emptyDir": {"sizeLimit": "20Gi"}},
                    {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "8Gi"}},
                    {"name": "model", "persistentVolumeClaim": {"claimName": "models", "readOnly": True}},
                ],
            },
        },
    },
}
SERVICE: Object = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {**METADATA, "name": "chat"},
    "spec": {
        "selector": {"llmfleet.dev/name": "chat", "llmfleet.dev/revision": "6c9f4a1b"},
        "ports": [
            {"name": "probes", "port": 8001, "targetPort": "probes", "protocol": "TCP"},
            {"name": "http", "port": 8000, "targetPort": "http", "protocol": "TCP"},
        ],
    },
}
BUDGET: Object = {
    "apiVersion": "policy/v1",
    "kind": "PodDisruptionBudget",
    "metadata": {**METADATA, "name": "chat-6c9f4a1b"},
    "spec": {
        "maxUnavailable": 1,
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
        "selector": {"matchLabels": {"llmfleet.dev/revision": "6c9f4a1b"}},
    },
}
REVISION: Object = {
    "apiVersion": "apps/v1",
    "kind": "ControllerRevision",
    "metadata": {**METADATA, "name": "chat-6c9f4a1b"},
    "revision": 3,
    "data": {
        "engine": {"args": [], "gpuMemoryUtilization": 0.9, "ropeScaling": 1.0, "quantization": None},
        "template": {"spec": {"containers": [CONTAINER], "volumes": [{"name": "tmp", "emptyDir": {}}]}},
    },
}


@dataclass(frozen=True)
class Recorded:
    """One object as somebody left it. `drifted`: one of our fields is not what we applied."""

    case: str
    drifted: bool
    applied: Object
    live: Object


Change = Callable[[Client, Object], Awaitable[object]]


def edit(path: str, value: Any) -> Change:
    """Change one field like `kubectl edit`, by an update."""

    async def change(client: Client, obj: Object) -> None:
        operation = "remove" if value is None else "replace" if path[-1].isdigit() else "add"
        patch = {"op": operation, "path": path} | ({} if value is None else {"value": value})
        await client.patch_json(Ref.of(obj), [patch], manager="kubectl-edit")

    return change


def apply(fields: Object, manager: str = "intruder") -> Change:
    """Apply some fields as another manager, by force."""

    async def change(client: Client, obj: Object) -> None:
        identity = {key: obj[key] for key in ("apiVersion", "kind")}
        name = {key: obj["metadata"][key] for key in ("name", "namespace")}
        await client.apply({**identity, **fields, "metadata": {**name, **fields.get("metadata", {})}}, manager=manager)

    return change


async def scale(client: Client, obj: Object) -> None:
    """Scale like `kubectl scale`, through the scale subresource."""
    name = {key: obj["metadata"][key] for key in ("name", "namespace")}
    path = Ref.of(obj).path("scale")
    async with client._session.patch(
        client._server + path,
        params={"fieldManager": "kubectl"},
        headers={"Content-Type": "application/merge-patch+json"},
        data=json.dumps({"metadata": name, "spec": {"replicas": 5}}),
    ) as response:
        response.raise_for_status()


async def nothing(_client: Client, _obj: Object) -> None:
    """Leave the object alone."""


async def again(client: Client, obj: Object) -> None:
    """Apply the same a second time."""
    await client.apply(obj, manager=MANAGER)


def in_turn(*changes: Change) -> Change:
    async def change(client: Client, obj: Object) -> None:
        for one in changes:
            await one(client, obj)

    return change


def container(**fields: Any) -> Object:
    return {"spec": {"template": {"spec": {"containers": [{"name": "engine", **fields}]}}}}


_ANNOTATE = edit("/metadata/annotations/example.com~1team", "blue")
_REANNOTATE = edit("/metadata/annotations/llmfleet.dev~1retired-at", "never")
_SAME = apply({"metadata": {"labels": {"llmfleet.dev/name": "chat"}}})
_RELABEL = apply({"metadata": {"labels": {"llmfleet.dev/name": "other"}}})
_UNLABEL = edit("/metadata/labels/llmfleet.dev~1name", None)
_DISOWN = edit("/metadata/ownerReferences", None)
_EVERY = (
    ("as applied", False, nothing),
    ("applied again", False, again),
    ("foreign annotation", False, _ANNOTATE),
    ("our annotation edited", True, _REANNOTATE),
    ("co-owned label", False, _SAME),
    ("label stolen by force", True, _RELABEL),
    ("label removed", True, _UNLABEL),
    ("owner reference removed", True, _DISOWN),
)
_POD = "/spec/template/spec"
_REQUEST = edit(f"{_POD}/containers/0/resources/requests", {"cpu": "1"})
_SIDECAR = apply({"spec": {"template": {"spec": {"containers": [{"name": "mesh", "image": "m:1"}]}}}})
_TARGET = apply({"spec": {"ports": [{"port": 8000, "protocol": "TCP", "targetPort": 1}]}})
_HOST_PATH = edit(f"{_POD}/volumes/0", {"name": "tmp", "hostPath": {"path": "/"}})
CASES: tuple[tuple[Object, str, bool, Change], ...] = (
    *((obj, *case) for obj in (DEPLOYMENT, SERVICE, BUDGET, REVISION) for case in _EVERY),
    (DEPLOYMENT, "image edited", True, edit(f"{_POD}/containers/0/image", "evil:1")),
    (DEPLOYMENT, "argument edited", True, edit(f"{_POD}/containers/0/args/1", "/models/other")),
    (DEPLOYMENT, "argument order edited", True, edit(f"{_POD}/containers/0/args", CONTAINER["args"][::-1])),
    (DEPLOYMENT, "variable removed", True, edit(f"{_POD}/containers/0/env/1", None)),
    (DEPLOYMENT, "false made true", True, edit("/spec/paused", value=True)),
    (DEPLOYMENT, "scaled by kubectl scale", True, scale),
    (DEPLOYMENT, "replicas stolen by force", True, apply({"spec": {"replicas": 7}})),
    (DEPLOYMENT, "replicas co-owned at the same value", False, apply({"spec": {"replicas": 2}})),
    (DEPLOYMENT, "cpu limit stolen by force", True, apply(container(resources={"limits": {"cpu": "1"}}))),
    (DEPLOYMENT, "empty volume made a host path", True, _HOST_PATH),
    (DEPLOYMENT, "toleration added to ours", True, edit(f"{_POD}/tolerations/-", {"operator": "Exists"})),
    (DEPLOYMENT, "finalizer removed", True, edit("/metadata/finalizers", ["llmfleet.dev/b"])),
    (DEPLOYMENT, "foreign sidecar", False, _SIDECAR),
    (DEPLOYMENT, "foreign variable", False, apply(container(env=[{"name": "EXTRA", "value": "1"}]))),
    (DEPLOYMENT, "foreign node selector", True, edit(f"{_POD}/nodeSelector", {"disk": "ssd"})),
    (DEPLOYMENT, "foreign probe field", False, edit(f"{_POD}/containers/0/readinessProbe/timeoutSeconds", 9)),
    (DEPLOYMENT, "size limit on our empty volume", False, edit(f"{_POD}/volumes/0/emptyDir/sizeLimit", "1Gi")),
    # Filling a map that we applied empty, and that the server therefore dropped, takes it away from us: one more apply.
    (DEPLOYMENT, "foreign request among our empty ones", True, _REQUEST),
    (DEPLOYMENT, "foreign request, applied again", False, in_turn(_REQUEST, again)),
    (SERVICE, "selector edited", True, edit("/spec/selector/llmfleet.dev~1revision", "77ab1000")),
    (SERVICE, "selector widened", True, edit("/spec/selector/llmfleet.dev~1revision", None)),
    (SERVICE, "target port stolen by force", True, _TARGET),
    (SERVICE, "foreign port", False, apply({"spec": {"ports": [{"name": "x", "port": 9, "protocol": "TCP"}]}})),
    (SERVICE, "foreign traffic policy", False, edit("/spec/internalTrafficPolicy", "Local")),
    (BUDGET, "budget edited", True, edit("/spec/maxUnavailable", 0)),
    (BUDGET, "selector edited", True, edit("/spec/selector/matchLabels/x", "y")),
    (REVISION, "number edited", True, edit("/revision", 4)),
)


async def run(client: Client, applied: Object, change: Change) -> Object:
    """Apply an object, let somebody change it, return what it is then; the object is gone afterwards."""
    ref = Ref.of(applied)
    await client.apply(applied, manager=MANAGER)
    try:
        await change(client, applied)
        return await client.get(ref)
    finally:
        if "finalizers" in applied["metadata"]:
            await client.patch_json(ref, [{"op": "add", "path": "/metadata/finalizers", "value": []}], manager="test")
        await client.delete(ref)


async def run_all(client: Client) -> AsyncIterator[Recorded]:
    for applied, case, drifted, change in CASES:
        yield Recorded(
            f"{applied['kind']}: {case}", drifted, applied, await run(client, copy.deepcopy(applied), change)
        )


def trimmed(live: Object) -> Object:
    """Drop what has nothing to do with ownership and changes with every recording."""
    changing = ("creationTimestamp", "resourceVersion")
    metadata = {key: value for key, value in live["metadata"].items() if key not in changing}
    metadata["managedFields"] = [
        {key: value for key, value in entry.items() if key != "time"} for entry in metadata["managedFields"]
    ]
    return {key: value for key, value in live.items() if key != "status"} | {"metadata": metadata | {"uid": "recorded"}}


def read() -> list[Recorded]:
    """Read the fixtures; the applied objects are those of this module."""
    applied = {obj["kind"]: obj for obj in (DEPLOYMENT, SERVICE, BUDGET, REVISION)}
    recorded = json.loads(FIXTURES.read_text(encoding="utf-8"))
    return [Recorded(one["case"], one["drifted"], applied[one["live"]["kind"]], one["live"]) for one in recorded]


async def record(kubeconfig: Path) -> None:
    connection = Connection.from_kubeconfig(kubeconfig)
    async with open_session(connection) as session:
        rows = [
            json.dumps({"case": one.case, "drifted": one.drifted, "live": trimmed(one.live)}, separators=(",", ":"))
            async for one in run_all(Client(session, connection.server))
        ]
    FIXTURES.parent.mkdir(exist_ok=True)
    FIXTURES.write_text("[\n" + ",\n".join(rows) + "\n]\n", encoding="utf-8")
    print(f"{len(rows)} cases recorded in {FIXTURES}")


if __name__ == "__main__":
    asyncio.run(record(Path(sys.argv[1])))
