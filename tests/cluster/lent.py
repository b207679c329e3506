"""A cluster that is reached by a kubeconfig alone: its processes and networks belong to somebody else."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

from tests.cluster import bridge, images
from tests.cluster.cluster import Cluster, service_address
from tests.cluster.errors import ClusterError
from tests.cluster.files import write_whole
from tests.cluster.gotools import binary
from tests.cluster.process import Command, Processes, wait_for

OWN_NAMESPACE = "llmfleet-tests"
"""Where the tool keeps the pods by which it reaches Services."""
_BRIDGE_PORT = 8000
_BRIDGE_READY_S = 60
_FORWARDED = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+)")


class LentCluster(Cluster):
    """What providers share that have no way into the cluster but its API server."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._processes = Processes(self._state)

    @property
    def server(self) -> str:
        """The API server's URL on this host."""
        return str(self._view()["clusters"][0]["cluster"]["server"])

    @property
    def ca(self) -> Path:
        """The certificate of the authority that signed the API server's."""
        return self._certificate("ca.crt", "clusters", "cluster", "certificate-authority-data")

    @property
    def cert(self) -> Path:
        """The administrator's client certificate."""
        return self._certificate("admin.crt", "users", "user", "client-certificate-data")

    @property
    def key(self) -> Path:
        """The administrator's private key."""
        return self._certificate("admin.key", "users", "user", "client-key-data")

    def describe(self) -> list[str]:
        """Return its nodes."""
        return [f"{self.name}: {self.provider}, API server {self.server}", self.kubectl("get", "nodes", "-o", "wide")]

    def expose(self, namespace: str, service: str, port: int | str, *, local_port: int = 0) -> str:
        """Open a port of the host's loopback that leads to a Service by way of a pod, and return its URL.

        `kubectl port-forward` to a Service would stay with one of its pods; the pod in between connects to the
        Service's address for every connection.
        """
        found = json.loads(
            self.kubectl("-n", namespace, "get", "service", service, "--ignore-not-found", "-o", "json") or "{}"
        )
        address, number = service_address(found, f"{namespace}/{service}", port)
        pod = f"bridge-{namespace}-{service}-{number}"
        record = self._state / "run" / f"{pod}.port"
        if self._processes.pid(pod) is None:
            self._start_bridge(pod, address, number)
            write_whole(record, str(self._forward(pod, local_port)))
        return f"http://127.0.0.1:{record.read_text()}"

    def _start_bridge(self, pod: str, address: str, port: int) -> None:
        self.load_image("operator")
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": OWN_NAMESPACE}}
        objects = {
            "apiVersion": "v1",
            "kind": "List",
            "items": [namespace, bridge_pod(pod, self._first_node(), address, port)],
        }
        self.kubectl("apply", "--server-side", "-f", "-", input=json.dumps(objects))
        ready = ("--for=condition=Ready", f"--timeout={_BRIDGE_READY_S}s")
        self.kubectl("-n", OWN_NAMESPACE, "wait", f"pod/{pod}", *ready)

    def _first_node(self) -> str:
        """Return the node over which the way to Services leads: tests that harm nodes spare the first."""
        nodes = json.loads(self.kubectl("get", "nodes", "-o", "json"))["items"]
        names: list[str] = sorted(node["metadata"]["name"] for node in nodes if takes_pods(node))
        if not names:
            raise ClusterError(f"no node of {self.name} takes pods", advice="kubectl get nodes")
        return names[0]

    def _forward(self, pod: str, local_port: int) -> int:
        log = self._processes.log(pod)
        seen = log.stat().st_size if log.exists() else 0
        command = [str(binary("kubectl")), f"--kubeconfig={self.kubeconfig}", "-n", OWN_NAMESPACE, "port-forward"]
        ports = f"{local_port or ''}:{_BRIDGE_PORT}"
        self._processes.start(pod, Command([*command, "--address=127.0.0.1", f"pod/{pod}", ports]))
        opened: list[str] = []

        def forwards() -> bool:
            if self._processes.pid(pod) is None:
                raise ClusterError(f"kubectl port-forward to {pod} ended", log=log)
            opened.extend(_FORWARDED.findall(log.read_text()[seen:]))
            return bool(opened)

        wait_for(forwards, f"a port that leads to {pod}", timeout_s=_BRIDGE_READY_S, log=log)
        return int(opened[0])

    def _certificate(self, file: str, kind: str, part: str, field: str) -> Path:
        content = self._view()[kind][0].get(part, {}).get(field)
        if content is None:
            raise self._unsupported(f"be reached without kubectl: its kubeconfig has no {field}")
        path = self._state / "pki" / file
        write_whole(path, base64.b64decode(content))
        path.chmod(0o600)
        return path

    def _view(self) -> dict[str, Any]:
        view: dict[str, Any] = json.loads(
            self.kubectl("config", "view", "--raw", "--flatten", "--minify", "-o", "json")
        )
        return view

    def _stop_forwarding(self) -> None:
        self._processes.stop(self._processes.names(), grace_s=0)


def takes_pods(node: dict[str, Any]) -> bool:
    """Tell whether a node is Ready and open to every pod."""
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in node["status"].get("conditions", []))
    closed = any(taint["effect"] != "PreferNoSchedule" for taint in node["spec"].get("taints") or [])
    return ready and not closed and not node["spec"].get("unschedulable", False)


def bridge_pod(name: str, node: str, address: str, port: int) -> dict[str, Any]:
    """Return the pod that hands connections on to an address inside the cluster; every namespace may have it."""
    source = Path(bridge.__file__).read_text()
    container = {
        "name": "bridge",
        "image": images.reference("operator"),
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-ESc", source, f":{_BRIDGE_PORT}", address, str(port)],
        "ports": [{"containerPort": _BRIDGE_PORT}],
        "readinessProbe": {"tcpSocket": {"port": _BRIDGE_PORT}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    spec = {
        "containers": [container],
        "nodeSelector": {"kubernetes.io/hostname": node},
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 1,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": OWN_NAMESPACE},
        "spec": spec,
    }
