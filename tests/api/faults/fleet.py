"""LLMDeployments of one namespace, by plain HTTP: what kubectl takes 100 ms for is asked here again and again."""

import json
import re
import ssl
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any, Self

import aiohttp
import httpx

from tests.api.faults.proxy import Asked, Written
from tests.cluster import Cluster
from tests.wait import eventually

Object = dict[str, Any]

_CHILDREN = {
    "Deployment": "apis/apps/v1/{}/deployments",
    "Service": "api/v1/{}/services",
    "PodDisruptionBudget": "apis/policy/v1/{}/poddisruptionbudgets",
    "ControllerRevision": "apis/apps/v1/{}/controllerrevisions",
}
_MODELS = "apis/llmfleet.dev/v1alpha1/{}/llmdeployments"
_FLEETING = ("uid", "resourceVersion", "creationTimestamp", "generation", "selfLink")
_UID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_PATIENCE = 10
_SSA = {"Content-Type": "application/apply-patch+yaml"}


class Fleet:
    """See the module; use it as a context, which makes the namespace and takes it away."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        tls = ssl.create_default_context(cafile=str(cluster.ca))
        tls.load_cert_chain(cluster.cert, cluster.key)
        self.http = httpx.Client(base_url=cluster.server, verify=tls, timeout=30)
        self.namespace = namespace
        self.wanted: dict[str, Object] = {}
        """Specs by name, of the models that should be there."""

    def __enter__(self) -> Self:
        self._ask("POST", "/api/v1/namespaces", json={"metadata": {"name": self.namespace}})
        return self

    def __exit__(self, *_: object) -> None:
        # At once, and not when the namespace's turn comes: operators of later tests shall not find them.
        self.http.request("DELETE", self._path(_MODELS))
        self._ask("DELETE", f"/api/v1/namespaces/{self.namespace}")
        self.http.close()

    def apply(self, name: str, tag: str = "1", image: str = "play/ok", **spec: Any) -> None:
        """Create or change a model; another tag makes another revision."""
        spec = {
            "model": {"source": "hf://org/model"},
            "rollout": {"retainStable": "1s"},
            **spec,
            "engine": {"image": f"{image}:{tag}"},
        }
        body = {
            "apiVersion": "llmfleet.dev/v1alpha1",
            "kind": "LLMDeployment",
            "metadata": {"name": name},
            "spec": spec,
        }
        path = f"{self._path(_MODELS)}/{name}?fieldManager=test&force=true"
        self._ask("PATCH", path, content=json.dumps(body), headers=_SSA)
        self.wanted[name] = spec

    def delete(self, name: str) -> None:
        self._ask("DELETE", f"{self._path(_MODELS)}/{name}")
        self.wanted.pop(name, None)

    def remove(self, kind: str, name: str) -> None:
        """Take a child away, as a careless person would."""
        self._ask("DELETE", f"{self._path(_CHILDREN[kind])}/{name}")

    def models(self) -> dict[str, Object]:
        return self._named(self._path(_MODELS))

    def children(self, kind: str) -> dict[str, Object]:
        """Children of one kind by name: everything that llmfleet labels as its own."""
        return self._named(f"{self._path(_CHILDREN[kind])}?labelSelector=app.kubernetes.io/managed-by=llmfleet")

    def pods(self) -> dict[str, str]:
        """Uids of pods by name, of those that are not on their way out."""
        pods = self._named(f"/api/v1/namespaces/{self.namespace}/pods")
        return {
            name: pod["metadata"]["uid"] for name, pod in pods.items() if not pod["metadata"].get("deletionTimestamp")
        }

    def selected(self) -> dict[str, str]:
        """The revision that each Service selects."""
        return {
            name: service["spec"]["selector"]["llmfleet.dev/revision"]
            for name, service in self.children("Service").items()
        }

    def unsettled(self) -> str:
        """Say what is not as it should be; nothing once everything wanted is there, and nothing else."""
        models, kinds = self.models(), {kind: self.children(kind) for kind in _CHILDREN}
        if models.keys() != self.wanted.keys():
            return f"models {sorted(models)} instead of {sorted(self.wanted)}"
        running: dict[str, list[str]] = {name: [] for name in models}
        for deployment in kinds["Deployment"].values():
            labels = deployment["metadata"]["labels"]
            running.setdefault(labels["llmfleet.dev/name"], []).append(labels["llmfleet.dev/revision"])
        for name, model in models.items():
            if not _ready(model) or model["spec"]["engine"] != self.wanted[name]["engine"]:
                return f"{name}: {model.get('status', {}).get('summary')} Pods: {self._engines(name)}"
        serving = {name: model["status"]["stable"]["revision"] for name, model in models.items()}
        if running != {name: [revision] for name, revision in serving.items()}:
            return f"revisions {running} run instead of {serving}"
        if self.selected() != serving:
            return f"Services select {self.selected()} instead of {serving}"
        expected = {f"{name}-{revision}" for name, revision in serving.items()}
        if kinds["PodDisruptionBudget"].keys() != expected or not expected <= kinds["ControllerRevision"].keys():
            return f"budgets {sorted(kinds['PodDisruptionBudget'])}, revisions {sorted(kinds['ControllerRevision'])}"
        return ""

    def _engines(self, name: str) -> dict[str, str]:
        pods = self._named(f"/api/v1/namespaces/{self.namespace}/pods?labelSelector=llmfleet.dev/name={name}")
        return {
            pod: f"{found['status'].get('phase')} on {found['spec'].get('nodeName')}" for pod, found in pods.items()
        }

    def settle(self, within_s: float = 30) -> float:
        """Wait until everything is as it should be; return how long that took, in seconds."""
        begin = time.monotonic()
        eventually(lambda: not self.unsettled(), within_s=within_s, what="the fleet is as wanted", last=self.unsettled)
        return time.monotonic() - begin

    def normal(self) -> str:
        """Return everything that is there as text without what differs from one run to the next."""
        found = {kind: self.children(kind) for kind in _CHILDREN} | {"LLMDeployment": self.models()}
        text = json.dumps(_normal(found), sort_keys=True, indent=1)
        return _UID.sub("UID", text.replace(self.namespace, "NAMESPACE"))

    def _path(self, pattern: str) -> str:
        return "/" + pattern.format(f"namespaces/{self.namespace}")

    def _named(self, path: str) -> dict[str, Object]:
        items: list[Object] = self._ask("GET", path)["items"]
        return {item["metadata"]["name"]: item for item in items}

    def _ask(self, method: str, path: str, **arguments: Any) -> Any:
        """Ask; where the API server answers that it is not so far yet, as after its restart, ask again when it says."""
        for _ in range(_PATIENCE):
            answer = self.http.request(method, path, **arguments)
            if answer.status_code != httpx.codes.TOO_MANY_REQUESTS:
                break
            time.sleep(int(answer.headers.get("Retry-After", 1)))
        assert answer.is_success, f"{method} {path}: {answer.text}"
        return answer.json()


def _ready(model: Object) -> bool:
    status = model.get("status", {})
    current = status.get("observedGeneration") == model["metadata"]["generation"]
    return current and _condition(model, "Ready")


def _normal(value: Any) -> Any:
    """Drop what is different in every run: identities, versions, times, addresses, and what controllers report."""
    if isinstance(value, list):
        return [_normal(item) for item in value]
    if not isinstance(value, dict):
        return value
    kept = {}
    for key, inner in value.items():
        if key in (*_FLEETING, "lastTransitionTime", "clusterIP", "clusterIPs", "llmfleet.dev/retired-at"):
            continue
        if key == "deployment.kubernetes.io/revision" or (key == "status" and value.get("kind") != "LLMDeployment"):
            continue
        if key == "status":
            # Pods on their way out are told up to 15 s later.
            kept[key] = _normal({name: said for name, said in inner.items() if name != "replicas"})
        elif key == "managedFields":
            # Which fields are ours is part of the result; when they were written, and what others wrote, is not.
            kept[key] = [entry["fieldsV1"] for entry in inner if entry["manager"].startswith("llmfleet")]
        else:
            kept[key] = _normal(inner)
    return kept


async def ready_engines(session: aiohttp.ClientSession, server: str, asked: Asked) -> Counter[str] | None:
    """Count the ready engines of each revision of a model whose Service is about to be written: the proxy's witness."""
    if asked.plural != "services" or asked.method != "PATCH":
        return None
    url = f"{server}/api/v1/namespaces/{asked.namespace}/pods?labelSelector=llmfleet.dev/name={asked.name}"
    async with session.get(url, headers={"Accept-Encoding": "identity"}) as answer:
        answer.raise_for_status()
        pods = (await answer.json())["items"]
    there = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
    return Counter(pod["metadata"]["labels"]["llmfleet.dev/revision"] for pod in there if _condition(pod, "Ready"))


def _condition(obj: Object, kind: str) -> bool:
    return any(c["type"] == kind and c["status"] == "True" for c in obj.get("status", {}).get("conditions", ()))


def harm(written: Iterable[Written], serving: dict[str, str]) -> list[str]:
    """Return what was written and should not have been, in a record of writes to one fleet that nobody scales down.

    Args:
        written: the writes, in order, by a proxy whose witness is `ready_engines`.
        serving: the revision that each Service selected before the first.
    """
    serving, replicas, found = dict(serving), Counter[tuple[str, str]](), []
    for write in written:
        asked = write.asked
        model, _, revision = asked.name.rpartition("-")
        if asked.plural == "services" and asked.method == "PATCH" and write.status < 300:
            selected = asked.body["spec"]["selector"]["llmfleet.dev/revision"]
            if why := _moved_early(serving.get(asked.name, ""), selected, write.seen, replicas[asked.name, selected]):
                found.append(f"{asked}: {why}")
            serving[asked.name] = selected
        elif asked.plural in ("services", "pods", "llmdeployments") and asked.method == "DELETE":
            found.append(f"{asked}: never to be deleted by us")
        elif asked.plural in ("deployments", "poddisruptionbudgets") and serving.get(model) == revision:
            if asked.method == "DELETE":
                found.append(f"{asked}: it serves")
            elif asked.plural == "deployments" and asked.body["spec"]["replicas"] < max(1, replicas[model, revision]):
                found.append(f"{asked}: it serves and is scaled down to {asked.body['spec']['replicas']}")
            elif "llmfleet.dev/retired-at" in asked.body["metadata"].get("annotations", {}):
                found.append(f"{asked}: it serves and is retired")
        if asked.plural == "deployments" and asked.method == "PATCH":
            replicas[model, revision] = asked.body["spec"]["replicas"]
    return found


def impatient(attempts: Iterable[Written]) -> list[str]:
    """Return the writes that came before the time for which an answer to the same model had asked."""
    until: dict[str, float] = {}
    found = []
    for attempt in attempts:
        asked = attempt.asked
        model = asked.name if asked.plural in ("services", "llmdeployments") else asked.name.rpartition("-")[0]
        if attempt.at < until.get(model, 0.0):
            found.append(f"{asked}: {until[model] - attempt.at:.1f} s too soon")
        if attempt.retry_after:
            until[model] = attempt.at + attempt.retry_after
    return found


def _moved_early(before: str, after: str, ready: Counter[str], wanted: int) -> str:
    """Say what is wrong with a Service's move: whom it selects then has to be complete, or better than none at all."""
    if before in ("", after) or ready[after] >= max(1, wanted) or (ready[after] and not ready[before]):
        return ""
    return f"it moves from {before}, {ready[before]} ready, to {after}, {ready[after]} of {wanted} ready"
