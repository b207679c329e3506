"""One node: containerd with runc and CNI's bridge, kubelet and kube-proxy, in a network namespace of its own."""

from __future__ import annotations

import json
import resource
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster import host, images, imagestore, network
from tests.cluster.control_plane import NODE_REPORTS_S
from tests.cluster.errors import ClusterError
from tests.cluster.gotools import binary
from tests.cluster.imagestore import ContainerdClient
from tests.cluster.oci import Descriptor
from tests.cluster.packages import beside
from tests.cluster.process import Command, Processes, wait_for

ZONE_LABEL = "topology.kubernetes.io/zone"
_GPU = "nvidia.com/gpu"
_CONTAINERD_START_S = 20.0


def zone(node: int) -> str:
    """Return the zone that a node says it is in: each is in one of its own."""
    return f"zone-{node}"


def gpu_patch(gpus: int) -> list[dict[str, str]]:
    """Return the JSON patch of a node's status that makes it pretend to have GPUs."""
    path = _GPU.replace("/", "~1")
    return [
        {"op": "add", "path": f"/status/{field}/{path}", "value": str(gpus)} for field in ("capacity", "allocatable")
    ]


@dataclass(frozen=True, slots=True)
class Node:
    """A node of a cluster.

    Attributes:
        cluster: The cluster's name.
        state: The cluster's state folder.
        number: Counts from 1; the node's name is `n` and this number.
    """

    cluster: str
    state: Path
    number: int

    @property
    def name(self) -> str:
        """The name of the Node object."""
        return f"n{self.number}"

    @property
    def netns(self) -> str:
        """The node's network namespace."""
        return network.node_netns(self.cluster, self.number)

    @property
    def folder(self) -> Path:
        """The node's part of the state folder."""
        return self.state / self.name

    @property
    def socket(self) -> Path:
        """Containerd's socket."""
        return self.folder / "ctd.sock"

    def component(self, program: str) -> str:
        """Return the component name of one of the node's programs."""
        return f"{program}-{self.name}"

    def start_runtime(self, processes: Processes) -> None:
        """Start containerd with the images of the machine's store and wait until it answers."""
        programs = beside() / "usr/bin"
        for folder in ("cni", "ctd/state"):
            (self.folder / folder).mkdir(parents=True, exist_ok=True)
        imagestore.copy_to(self.folder / "ctd/lib")
        (self.folder / "containerd.toml").write_text(self._containerd_config())
        (self.folder / "cni" / "10-pods.conflist").write_text(json.dumps(self._cni_config()))
        command = [str(programs / "containerd"), "-c", str(self.folder / "containerd.toml")]
        path = f"{programs}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        component = self.component("containerd")
        client = ContainerdClient(self.socket)
        processes.start(component, Command(command, self.netns, {"PATH": path}))

        def answers() -> bool:
            if processes.pid(component) is None:
                raise ClusterError(f"{component} ended right after its start", log=processes.log(component))
            return client.answers()

        wait_for(answers, f"{component} to answer", timeout_s=_CONTAINERD_START_S, log=processes.log(component))

    def load(self, reference: str, descriptor: Descriptor) -> None:
        """Give the running node an image, unless it has that very one."""
        client = ContainerdClient(self.socket)
        if client.images().get(reference) != descriptor.digest:
            client.import_image(descriptor, [reference])

    def start_kubelet(self, processes: Processes) -> None:
        """Start kubelet and kube-proxy."""
        host.create_cgroup(host.cgroup(self.cluster, self.number))
        resolv = self.state / "resolv.conf"
        resolv.write_text(f"nameserver {network.DNS_SERVICE_IP}\n")
        (self.folder / "kubelet.json").write_text(json.dumps(self._kubelet_config(resolv), indent=1))
        (self.folder / "kube-proxy.json").write_text(json.dumps(self._proxy_config(), indent=1))
        kubelet = [
            str(binary("kubelet")),
            f"--config={self.folder}/kubelet.json",
            f"--kubeconfig={self.state}/kubeconfigs/{self.name}.yaml",
            f"--hostname-override={self.name}",
            # As on a cluster that spans zones: what spreads over zones spreads here.
            f"--node-labels={ZONE_LABEL}={zone(self.number)}",
            f"--node-ip={network.node_ip(self.number)}",
            f"--root-dir={self.folder}/kubelet",
            f"--cert-dir={self.folder}/kubelet/pki",
        ]
        proxy = [str(binary("kube-proxy")), f"--config={self.folder}/kube-proxy.json"]
        processes.start(self.component("kubelet"), Command(kubelet, self.netns))
        processes.start(self.component("kube-proxy"), Command(proxy, self.netns))

    def _containerd_config(self) -> str:
        cri = 'plugins."io.containerd.grpc.v1.cri"'
        return f"""version = 2
root = "{self.folder}/ctd/lib"
state = "{self.folder}/ctd/state"
[grpc]
  address = "{self.socket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{self.folder}/ctd/opt"
[{cri}]
  sandbox_image = "{images.reference("pause")}"
  disable_apparmor = true
  # Some machines forbid even root to lower an OOM score or raise a limit; runc would fail without a hint.
  restrict_oom_score_adj = true
  # Below the state folder, so that teardown sees whose they are.
  netns_mounts_under_state_dir = true
  [{cri}.containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [{cri}.containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [{cri}.containerd.runtimes.runc.options]
        BinaryName = "/usr/sbin/runc"
        Root = "{self.folder}/ctd/runc"
        SystemdCgroup = false
  [{cri}.cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{self.folder}/cni"
"""

    def _cni_config(self) -> dict[str, Any]:
        bridge = {
            "type": "bridge",
            "bridge": "cni0",
            "isDefaultGateway": True,
            "ipMasq": True,
            "hairpinMode": True,
            "ipam": {
                "type": "host-local",
                "dataDir": f"{self.folder}/ipam",
                "ranges": [[{"subnet": network.pod_subnet(self.number)}]],
            },
        }
        portmap = {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True}
        return {"cniVersion": "0.4.0", "name": "pods", "plugins": [bridge, portmap]}

    def _kubelet_config(self, resolv: Path) -> dict[str, Any]:
        pki = self.state / "pki"
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "containerRuntimeEndpoint": f"unix://{self.socket}",
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{host.cgroup(self.cluster, self.number)}",
            "failCgroupV1": False,
            "failSwapOn": False,
            "oomScoreAdj": 0,
            "maxOpenFiles": min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], 1_000_000),
            "enforceNodeAllocatable": ["none"],
            # Images cannot be pulled again and the disk belongs to the person: evict and collect nothing.
            "evictionHard": {"nodefs.available": "0%", "nodefs.inodesFree": "0%", "imagefs.available": "0%"},
            "imageGCHighThresholdPercent": 100,
            "imageGCLowThresholdPercent": 99,
            "localStorageCapacityIsolation": False,
            "resolvConf": str(resolv),
            "clusterDNS": [network.DNS_SERVICE_IP],
            "clusterDomain": "cluster.local",
            "podLogsDir": f"{self.folder}/pods",
            "volumePluginDir": f"{self.folder}/kubelet/volume-plugins",
            "readOnlyPort": 0,
            "nodeStatusUpdateFrequency": f"{NODE_REPORTS_S}s",
            "tlsCertFile": f"{pki}/{self.name}.crt",
            "tlsPrivateKeyFile": f"{pki}/{self.name}.key",
            "authentication": {
                "anonymous": {"enabled": False},
                "x509": {"clientCAFile": f"{pki}/ca.crt"},
                "webhook": {"enabled": True},
            },
            "authorization": {"mode": "Webhook"},
        }

    def _proxy_config(self) -> dict[str, Any]:
        return {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "clientConnection": {"kubeconfig": f"{self.state}/kubeconfigs/kube-proxy.yaml"},
            "mode": "nftables",
            "clusterCIDR": network.POD_CIDR,
            "hostnameOverride": self.name,
            "bindAddress": "0.0.0.0",  # noqa: S104 - inside the node's namespace
            "oomScoreAdj": 0,
            # The limits of connection tracking cannot be written in a namespace.
            "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        }
