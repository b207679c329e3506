"""etcd, API server, controller manager and scheduler as processes: on the host's loopback or in a namespace."""

from __future__ import annotations

import random
import socket
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import network, pki
from tests.cluster.gotools import binary
from tests.cluster.packages import beside
from tests.cluster.process import Command, Processes

NODE_GRACE_S = 16
"""After so many seconds of silence a node is not Ready; Kubernetes' own default is 50."""
NODE_REPORTS_S = 4
"""How often a kubelet renews its node's status."""

# Outside the range from which the kernel takes ports for outgoing connections.
_PORT_RANGE = range(20000, 30000)

# What service accounts ask for, without the controllers' own: tests compare it with the roles they were given.
_AUDIT_POLICY = """\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - {level: None, userGroups: ["system:serviceaccounts:kube-system"]}
  - {level: Metadata, userGroups: ["system:serviceaccounts"]}
  - {level: None}
"""


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports of the control plane's processes at their address."""

    api: int = 6443
    etcd: int = 2379
    etcd_peer: int = 2380
    controller_manager: int = 10257
    scheduler: int = 10259

    @classmethod
    def free(cls) -> Ports:
        """Choose ports on the host's loopback that nobody uses at this moment."""
        chosen: set[int] = set()
        while len(chosen) < 5:
            port = random.choice(_PORT_RANGE)
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) != 0:
                    chosen.add(port)
        return cls(*sorted(chosen))


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """The control plane of one cluster.

    Attributes:
        state: The cluster's state folder.
        netns: The namespace it runs in; None for the host's.
        ports: Its ports.
    """

    state: Path
    netns: str | None
    ports: Ports

    @property
    def address(self) -> str:
        """The address at which its own processes and the nodes reach the API server."""
        return network.CONTROL_PLANE_IP if self.netns else "127.0.0.1"

    @property
    def pki(self) -> Path:
        """The folder of certificates and keys."""
        return self.state / "pki"

    @property
    def audit_log(self) -> Path:
        """The API server's record of what service accounts asked for, one JSON object per line."""
        return self.state / "logs" / "audit.log"

    @property
    def _audit_policy(self) -> Path:
        return self.state / "audit-policy.yaml"

    def kubeconfig(self, user: str) -> Path:
        """Return the kubeconfig of a component or node, valid where the control plane runs."""
        return self.state / "kubeconfigs" / f"{user}.yaml"

    def write_credentials(self) -> None:
        """Make the authorities, all certificates, the service account key pair and the components' kubeconfigs."""
        authority = pki.Authority.create(self.pki, "ca")
        sans = (
            "127.0.0.1",
            "localhost",
            network.CONTROL_PLANE_IP,
            network.API_SERVICE_IP,
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
        )
        authority.issue("apiserver", "kube-apiserver", sans=sans)
        authority.issue("admin", "admin", organization="system:masters")
        authority.issue("kubelet-client", "apiserver-kubelet-client", organization="system:masters")
        users = ("kube-controller-manager", "kube-scheduler", "kube-proxy")
        for user in users:
            authority.issue(user, f"system:{user}")
        authority.issue("coredns", "coredns", organization="system:masters")
        pki.key_pair(self.pki, "service-accounts")
        # A second authority vouches for the API server towards extension API servers (external metrics).
        pki.Authority.create(self.pki, "front-proxy-ca").issue("front-proxy", "front-proxy-client")
        for user in (*users, "admin", "coredns"):
            self._write_kubeconfig(user)

    def write_node_credentials(self, node: int) -> None:
        """Make the certificate and kubeconfig of a node; nodes count from 1."""
        user = f"n{node}"
        names = (user, network.node_ip(node))
        authority = pki.Authority.load(self.pki, "ca")
        authority.issue(user, f"system:node:{user}", organization="system:nodes", sans=names)
        self._write_kubeconfig(user)

    def _write_kubeconfig(self, user: str) -> None:
        server = f"https://{self.address}:{self.ports.api}"
        pki.write_kubeconfig(self.kubeconfig(user), server=server, pki=self.pki, user=user, context="llmfleet")

    def start_api(self, processes: Processes) -> None:
        """Start etcd and the API server, which waits for it."""
        self._audit_policy.write_text(_AUDIT_POLICY)
        etcd = beside() / "usr/bin/etcd"
        processes.start("etcd", Command([str(etcd), *self._etcd_flags()], self.netns))
        processes.start("kube-apiserver", Command([str(binary("kube-apiserver")), *self._api_flags()], self.netns))

    def start_controllers(self, processes: Processes) -> None:
        """Start controller manager and scheduler; they need a ready API server."""
        for component, flags in (
            ("kube-controller-manager", self._controller_manager_flags()),
            ("kube-scheduler", self._scheduler_flags()),
        ):
            processes.start(component, Command([str(binary(component)), *flags], self.netns))

    def _etcd_flags(self) -> list[str]:
        client, peer = f"http://127.0.0.1:{self.ports.etcd}", f"http://127.0.0.1:{self.ports.etcd_peer}"
        return [
            f"--data-dir={self.state}/etcd",
            "--unsafe-no-fsync",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--log-level=warn",
        ]

    def _api_flags(self) -> list[str]:
        files = self.pki
        # The API server refuses a loopback address as the one that the `kubernetes` Service leads to.
        advertised = network.CONTROL_PLANE_IP
        return [
            f"--etcd-servers=http://127.0.0.1:{self.ports.etcd}",
            f"--bind-address={self.address if not self.netns else '0.0.0.0'}",  # noqa: S104 - inside a namespace
            f"--advertise-address={advertised}",
            f"--secure-port={self.ports.api}",
            f"--tls-cert-file={files}/apiserver.crt",
            f"--tls-private-key-file={files}/apiserver.key",
            f"--client-ca-file={files}/ca.crt",
            f"--kubelet-certificate-authority={files}/ca.crt",
            f"--kubelet-client-certificate={files}/kubelet-client.crt",
            f"--kubelet-client-key={files}/kubelet-client.key",
            "--kubelet-preferred-address-types=InternalIP",
            f"--service-cluster-ip-range={network.SERVICE_CIDR}",
            "--authorization-mode=Node,RBAC",
            # The second asks, as OpenShift does, whether an owner's deletion may be blocked by who says so.
            "--enable-admission-plugins=NodeRestriction,OwnerReferencesPermissionEnforcement",
            f"--audit-policy-file={self._audit_policy}",
            f"--audit-log-path={self.audit_log}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={files}/service-accounts.pub",
            f"--service-account-signing-key-file={files}/service-accounts.key",
            f"--requestheader-client-ca-file={files}/front-proxy-ca.crt",
            "--requestheader-allowed-names=front-proxy-client",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-username-headers=X-Remote-User",
            f"--proxy-client-cert-file={files}/front-proxy.crt",
            f"--proxy-client-key-file={files}/front-proxy.key",
            "--enable-aggregator-routing=true",
            "--allow-privileged=true",
            "--endpoint-reconciler-type=lease",
            "--shutdown-delay-duration=0s",
        ]

    def _controller_manager_flags(self) -> list[str]:
        return [
            f"--kubeconfig={self.kubeconfig('kube-controller-manager')}",
            f"--secure-port={self.ports.controller_manager}",
            "--bind-address=127.0.0.1",
            f"--service-account-private-key-file={self.pki}/service-accounts.key",
            f"--root-ca-file={self.pki}/ca.crt",
            f"--cluster-signing-cert-file={self.pki}/ca.crt",
            f"--cluster-signing-key-file={self.pki}/ca.key",
            "--use-service-account-credentials",
            "--allocate-node-cidrs=false",
            f"--cluster-cidr={network.POD_CIDR}",
            f"--service-cluster-ip-range={network.SERVICE_CIDR}",
            "--leader-elect=false",
            "--kube-api-qps=200",
            "--kube-api-burst=400",
            # Without kubelets, Node objects are written by tests and nobody renews them.
            f"--node-monitor-grace-period={f'{NODE_GRACE_S}s' if self.netns else '1h'}",
        ]

    def _scheduler_flags(self) -> list[str]:
        return [
            f"--kubeconfig={self.kubeconfig('kube-scheduler')}",
            f"--secure-port={self.ports.scheduler}",
            "--bind-address=127.0.0.1",
            "--leader-elect=false",
            "--kube-api-qps=200",
            "--kube-api-burst=400",
        ]
