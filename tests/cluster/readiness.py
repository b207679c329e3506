"""Waiting until the parts of a local cluster work, or saying at once which of them ended."""

from __future__ import annotations

import json
from typing import Any

from tests.cluster.api import Api
from tests.cluster.errors import ClusterError
from tests.cluster.process import Processes, wait_for

_API_READY_S = 60.0
_NODE_READY_S = 90.0


def wait_for_api(processes: Processes, api: Api) -> None:
    """Wait until the API server is ready."""

    def ready() -> bool:
        _require_alive(processes, "etcd", "kube-apiserver")
        return api.ready()

    log = processes.log("kube-apiserver")
    wait_for(ready, "the API server to be ready", timeout_s=_API_READY_S, log=log)


def wait_for_controllers(processes: Processes, api: Api) -> None:
    """Wait until pods can be made: that takes the account which the controller manager gives each namespace."""

    def account() -> bool:
        _require_alive(processes, *processes.names())
        return api.get("/api/v1/namespaces/default/serviceaccounts/default") is not None

    log = processes.log("kube-controller-manager")
    wait_for(account, "the controller manager to work", timeout_s=_API_READY_S, log=log)


def wait_for_node(processes: Processes, api: Api, node: str, kubelet: str) -> None:
    """Wait until a node is Ready.

    Args:
        processes: The cluster's.
        api: Its API server.
        node: The node's name.
        kubelet: The component whose log tells most.
    """
    seen: dict[str, Any] = {}

    def ready() -> bool:
        _require_alive(processes, kubelet)
        seen.update(api.get(f"/api/v1/nodes/{node}") or {})
        conditions = seen.get("status", {}).get("conditions", [])
        return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)

    wait_for(
        ready,
        f"node {node} to be Ready",
        timeout_s=_NODE_READY_S,
        log=processes.log(kubelet),
        state=lambda: json.dumps(seen.get("status", {}).get("conditions")),
    )


def _require_alive(processes: Processes, *components: str) -> None:
    for component in components:
        if processes.pid(component) is None:
            raise ClusterError(
                f"{component} ended right after its start",
                log=processes.log(component),
                advice="bring the cluster up again; where the log speaks of an address in use, others are chosen then",
            )
