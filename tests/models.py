"""LLMDeployments in tests, handled as a user does: with kubectl."""

import json
from collections.abc import Callable
from typing import Any

import httpx

from tests.api_http import http_client
from tests.cluster import Cluster, ClusterError, UnsupportedError
from tests.wait import eventually

_GROUPS = {
    "llmdeployments": "/apis/llmfleet.dev/v1alpha1",
    **dict.fromkeys(("controllerrevisions", "deployments", "replicasets"), "/apis/apps/v1"),
    **dict.fromkeys(("pods", "resourcequotas", "services"), "/api/v1"),
    "endpointslices": "/apis/discovery.k8s.io/v1",
    "poddisruptionbudgets": "/apis/policy/v1",
}
"""Where each kind lies in the API."""


class Models:
    """LLMDeployments of one namespace."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self._cluster = cluster
        self.namespace = namespace

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        return self._cluster.kubectl("-n", self.namespace, *arguments, input=stdin)

    def apply(self, name: str = "chat", image: str = "play/ok:1", **spec: Any) -> None:
        spec.setdefault("model", {"source": "hf://org/model"})
        spec["engine"] = {**({"image": image} if image else {}), **spec.get("engine", {})}
        manifest = {
            "apiVersion": "llmfleet.dev/v1alpha1",
            "kind": "LLMDeployment",
            "metadata": {"name": name},
            "spec": spec,
        }
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(manifest))

    def get(self, kind: str = "llmdeployments", name: str = "chat") -> dict[str, Any]:
        """Return an object; its kind by its plural."""
        return self._read(f"{self._collection(kind)}/{name}")

    def items(self, kinds: str) -> list[dict[str, Any]]:
        """Return the objects of ours of these kinds, by their plurals, set apart by commas."""
        listed = (self._read(self._collection(kind)) for kind in kinds.split(","))
        found = [{"kind": items["kind"].removesuffix("List"), **item} for items in listed for item in items["items"]]
        return [item for item in found if item["metadata"].get("labels", {}).get("llmfleet.dev/name")]

    def _collection(self, kind: str) -> str:
        return f"{_GROUPS[kind]}/namespaces/{self.namespace}/{kind}"

    def _read(self, path: str) -> dict[str, Any]:
        """Ask the API server itself: a test that waits asks often, and kubectl takes a tenth of a second of CPU."""
        try:
            with http_client(self._cluster) as http:
                answer = http.get(path)
        except UnsupportedError:  # a kubeconfig without certificates
            return dict(json.loads(self._cluster.kubectl("get", "--raw", path)))
        except httpx.TransportError as error:
            raise ClusterError(f"the API server does not answer GET {path}: {error!r}") from error
        if answer.is_error:
            raise ClusterError(f"GET {path}: {answer.status_code} {answer.text}")
        return dict(answer.json())

    def status(self, name: str = "chat") -> dict[str, Any]:
        status: dict[str, Any] = self.get(name=name).get("status", {})
        return status

    def answer(self, condition: str, name: str = "chat") -> dict[str, Any]:
        conditions = self.status(name).get("conditions", [])
        return next((c for c in conditions if c["type"] == condition), {})

    def selected(self, name: str = "chat") -> str:
        return str(self.get("services", name)["spec"]["selector"]["llmfleet.dev/revision"])

    def revisions(self) -> set[str]:
        return {item["metadata"]["labels"]["llmfleet.dev/revision"] for item in self.items("deployments")}

    def engines(self) -> list[str]:
        """Names of the engines' pods that are there, also of those on their way out."""
        return [pod["metadata"]["name"] for pod in self.items("pods")]

    def wait(self, condition: Callable[[], Any], what: str, within_s: float = 30) -> Any:
        return eventually(condition, within_s=within_s, what=what, last=lambda: self.status().get("summary"))

    def wait_ready(self, name: str = "chat") -> dict[str, Any]:
        def ready() -> bool:
            seen = self.get(name=name)
            status = seen.get("status", {})
            current = status.get("observedGeneration") == seen["metadata"]["generation"]
            return current and any(c["type"] == "Ready" and c["status"] == "True" for c in status["conditions"])

        self.wait(ready, f"{name} is Ready")
        return self.status(name)

    def expose(self, name: str = "chat") -> str:
        """Return a URL of the Service that answers: nodes learn of a ready engine a moment after its status does."""
        url = self._cluster.expose(self.namespace, name, 8000)
        self.wait(lambda: _answers(url), f"{url} answers", within_s=10)
        return url


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/v1/models").is_success
    except httpx.TransportError:
        return False
