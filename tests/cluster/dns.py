"""Cluster DNS: CoreDNS as a process beside the control plane, behind a Service without a selector."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.cluster import network
from tests.cluster.api import Api
from tests.cluster.errors import ClusterError
from tests.cluster.gotools import binary
from tests.cluster.process import Command, Processes, wait_for

_READY_S = 30.0

_SERVICE = "/api/v1/namespaces/kube-system/services/kube-dns"
_SLICE = "/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices/kube-dns"


def start(processes: Processes, state: Path, netns: str) -> None:
    """Start CoreDNS in the control plane's namespace."""
    corefile = state / "Corefile"
    corefile.write_text(
        f""".:53 {{
    errors
    health :8080
    ready :8181
    cache 5
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {state}/kubeconfigs/coredns.yaml
        ttl 5
    }}
}}
"""
    )
    processes.start("coredns", Command([str(binary("coredns")), "-conf", str(corefile)], netns))


def wait_ready(processes: Processes, netns: str) -> None:
    """Wait until CoreDNS knows the cluster's Services."""
    log = processes.log("coredns")
    ask = [
        "nsenter",
        f"--net=/run/netns/{netns}",
        "busybox",
        "wget",
        "-qO-",
        f"http://{network.CONTROL_PLANE_IP}:8181/ready",
    ]

    def ready() -> bool:
        if processes.pid("coredns") is None:
            raise ClusterError("coredns ended right after its start", log=log)
        return subprocess.run(ask, capture_output=True, check=False).returncode == 0

    wait_for(ready, "coredns to be ready", timeout_s=_READY_S, log=log)


def publish(api: Api) -> None:
    """Give CoreDNS the well-known Service address inside the cluster."""
    ports = [{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53, "protocol": "TCP"}]
    metadata = {"name": "kube-dns", "namespace": "kube-system"}
    service = {"clusterIP": network.DNS_SERVICE_IP, "ports": ports}
    api.apply(_SERVICE, {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": service})
    endpoints = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": metadata | {"labels": {"kubernetes.io/service-name": "kube-dns"}},
        "addressType": "IPv4",
        "ports": ports,
        "endpoints": [{"addresses": [network.CONTROL_PLANE_IP], "conditions": {"ready": True}}],
    }
    api.apply(_SLICE, endpoints)
