"""What the demo is about: the cluster, the names in it, and how it is asked."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster import LocalCluster
from tests.cluster.api import Api

CLUSTER = "demo"
NAMESPACE = "default"
MODEL = "tiny"
SYSTEM = "llmfleet-system"
OPERATOR = "llmfleet-operator"
SAMPLES = Path("manifests/samples/tiny")
SIMULATOR = Path("manifests/samples/simulator.yaml")
CHART = Path("charts/llmfleet")


@dataclass(frozen=True, slots=True)
class Site:
    """The demo's cluster, and its state folder, which ends with it."""

    cluster: LocalCluster

    @property
    def state(self) -> Path:
        """The folder that `make demo-down` deletes."""
        return self.cluster.kubeconfig.parent

    def get(self, path: str) -> dict[str, Any]:
        """Return the object or list at a path of the API server, empty if there is none."""
        return Api(self.cluster.shape.api_port, self.cluster.ca.parent).get(path) or {}

    def llm(self) -> dict[str, Any]:
        """Return the demo's LLMDeployment, empty if there is none."""
        return self.get(f"/apis/llmfleet.dev/v1alpha1/namespaces/{NAMESPACE}/llmdeployments/{MODEL}")

    def serving_revision(self) -> str:
        """Return the revision that the Service selects, empty if there is none: this is what clients reach."""
        service = self.get(f"/api/v1/namespaces/{NAMESPACE}/services/{MODEL}")
        selector = service.get("spec", {}).get("selector") or {}
        return str(selector.get("llmfleet.dev/revision", ""))


def polls(timeout_s: float, every_s: float = 0.4) -> Iterator[float]:
    """Yield the seconds since the first of them, again and again until the time is over."""
    began = time.monotonic()
    while (elapsed := time.monotonic() - began) < timeout_s:
        yield elapsed
        time.sleep(every_s)


def patch(**engine: str | int | None) -> list[str]:
    """Return a kubectl command that sets fields of spec.engine; None takes a field away."""
    change = json.dumps({"spec": {"engine": engine}}, separators=(",", ":"))
    return ["kubectl", "patch", "llm", MODEL, "--type=merge", "-p", change]
