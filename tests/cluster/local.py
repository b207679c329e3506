"""The cluster that runs on this machine, made of processes and network namespaces."""

from __future__ import annotations

import concurrent.futures
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Self

from tests.cluster import bridge, dns, host, images, imagestore, network, packages, pki, readiness
from tests.cluster.api import Api
from tests.cluster.cluster import Cluster, service_address
from tests.cluster.control_plane import ControlPlane, Ports
from tests.cluster.errors import ClusterError
from tests.cluster.files import write_whole
from tests.cluster.gotools import binary
from tests.cluster.node import Node, gpu_patch
from tests.cluster.process import Command, Processes
from tests.cluster.progress import PROGRESS

_NODE_PROGRAMS = ("kubelet", "kube-proxy", "coredns")
_PLANE_PROGRAMS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")
_API_BRIDGE = "bridge-api"


class LocalCluster(Cluster):
    """Real Kubernetes on this machine; nodes need root, a control plane alone does not."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._processes = Processes(self._state)

    @property
    def provider(self) -> str:
        """Who provides it."""
        return "local"

    @property
    def audit_log(self) -> Path:
        """The API server's record of what service accounts asked for, one JSON object per line."""
        return self._state / "logs" / "audit.log"

    def up(self, nodes: int = 1, gpus: int = 0, wanted: tuple[str, ...] = ()) -> Self:
        """Bring the cluster up; `wanted` images are far quicker here than by `load_image`."""
        if nodes and os.geteuid() != 0:
            raise ClusterError("nodes need root", advice="run as root, or use --nodes 0 for a control plane alone")
        for program in (*_PLANE_PROGRAMS, *(_NODE_PROGRAMS if nodes else ())):
            binary(program)
        packages.beside()
        if nodes:
            packages.install(packages.NODE_PACKAGES)
            names = dict.fromkeys(("pause", "busybox", *wanted))
            imagestore.ensure({name: (images.reference(name), images.ensure(name)) for name in names})
        title = f"bring up cluster {self.name}"
        with self._exclusive(), PROGRESS.step(title, key=f"up-{nodes}", expected=4 + 2 * nodes):
            self._take_down()
            self._state.mkdir(parents=True)
            with concurrent.futures.ThreadPoolExecutor() as pool:
                self._start(nodes, gpus, pool)
        return self

    def down(self) -> None:
        """Take the cluster down and restore the host; fine when nothing is up or a run was killed half-way."""
        with self._exclusive(), PROGRESS.step(f"take down cluster {self.name}", key="down", expected=2):
            self._take_down()

    def add_node(self) -> str:
        """Add a node to the running cluster and return its name once it is Ready; it has the images of the others."""
        with self._exclusive():
            shape = self.shape
            if not shape.nodes:
                raise ClusterError("a control plane alone has no network for nodes", advice="up --nodes 1")
            number = shape.nodes + 1
            if network.node_netns(self.name, number) in network.namespaces(self.name):
                raise ClusterError(f"node n{number} was begun and not finished", advice="take the cluster down")
            with PROGRESS.step(f"add node n{number} to cluster {self.name}", key="add-node", expected=3):
                self._plane(shape.nodes).write_node_credentials(number)
                network.create_node(self.name, number)
                node = Node(self.name, self._state, number)
                node.start_runtime(self._processes)
                node.start_kubelet(self._processes)
                self._wait_for_node(node, shape.gpus)
            self._write_shape(number, shape.gpus, shape.api_port)
        return node.name

    def describe(self) -> list[str]:
        """Return its address and its processes."""
        shape = self.shape
        lines = [f"{self.name}: {shape.nodes} nodes, {shape.gpus} GPUs on each, API server {self.server}"]
        for component, pid, memory in self.status():
            lines.append(f"  {component:<28} {'pid ' + str(pid) if pid else 'DEAD':<12} {memory:>5} MiB")
        return lines

    def status(self) -> list[tuple[str, int | None, int]]:
        """Return for each component its name, its pid (None when dead) and its resident memory in MiB."""
        found = []
        for component in self._processes.names():
            pid = self._processes.pid(component)
            found.append((component, pid, _resident_mib(pid) if pid else 0))
        return found

    def log(self, component: str) -> Path:
        """Return the log of a component.

        Raises:
            ClusterError: There is no such component.
        """
        self._processes.command(component)
        return self._processes.log(component)

    def load_image(self, name: str) -> None:
        """Give an image of the images table to every node, built first when needed."""
        descriptor = images.ensure(name)
        imagestore.ensure({name: (images.reference(name), descriptor)})
        for node in self._nodes(self.shape.nodes):
            with PROGRESS.step(f"load image {name} into {node.name}", key=f"load-{name}"):
                node.load(images.reference(name), descriptor)

    def expose(self, namespace: str, service: str, port: int | str, *, local_port: int = 0) -> str:
        """Open a port of the host's loopback that leads to a Service by way of node n1, and return its URL."""
        if not self.shape.nodes:
            raise ClusterError("a control plane alone has no Service traffic", advice="up --nodes 1")
        found = self._api().get(f"/api/v1/namespaces/{namespace}/services/{service}")
        target = service_address(found, f"{namespace}/{service}", port)
        component = f"bridge-{namespace}.{service}.{target[1]}"
        return f"http://127.0.0.1:{self._bridge(component, network.node_netns(self.name, 1), target, local_port)}"

    def stop(self, component: str, grace_s: float = 10.0) -> None:
        """End a component as a fault; `restart` brings it back. grace_s=0 kills it without warning."""
        self._processes.command(component)
        self._processes.stop([component], grace_s=grace_s)

    def restart(self, component: str) -> None:
        """End a component, if it runs, and start it again with the same command."""
        self.stop(component)
        self._processes.start_again(component)
        if component.startswith("kubelet-"):
            # A new kubelet may reset what it knows no device plugin for.
            self._pretend_gpus(component.removeprefix("kubelet-"), self.shape.gpus)

    def pause(self, component: str) -> None:
        """Freeze a component as a fault: it keeps its connections and answers nothing."""
        self._processes.send_signal(component, signal.SIGSTOP)

    def resume(self, component: str) -> None:
        """Let a frozen component go on."""
        self._processes.send_signal(component, signal.SIGCONT)

    def cut_off(self, node: str) -> None:
        """Unplug a node's network as a fault: whatever is sent to it or from it vanishes. `rejoin` plugs it in."""
        network.set_link(self.name, self._number(node), up=False)

    def rejoin(self, node: str) -> None:
        """Plug a node's network in again."""
        network.set_link(self.name, self._number(node), up=True)

    def _start(self, nodes: int, gpus: int, pool: concurrent.futures.Executor) -> None:
        plane, members = self._plane(nodes), self._nodes(nodes)
        if nodes:
            host.borrow(self.name)
            network.create_control_plane(self.name)
        plane.write_credentials()
        for node in members:
            plane.write_node_credentials(node.number)
            network.create_node(self.name, node.number)
        runtimes = [pool.submit(node.start_runtime, self._processes) for node in members]
        plane.start_api(self._processes)
        port = plane.ports.api
        if plane.netns:
            port = self._bridge(_API_BRIDGE, plane.netns, (network.CONTROL_PLANE_IP, port), 0)
        pki.write_kubeconfig(
            self.kubeconfig, server=f"https://127.0.0.1:{port}", pki=plane.pki, user="admin", context=self.name
        )
        self._write_shape(nodes, gpus, port)
        readiness.wait_for_api(self._processes, self._api())
        plane.start_controllers(self._processes)
        if plane.netns:
            dns.start(self._processes, self._state, plane.netns)
            dns.publish(self._api())
        for node, runtime in zip(members, runtimes, strict=True):
            runtime.result()
            node.start_kubelet(self._processes)
        for node in members:
            self._wait_for_node(node, gpus)
        if plane.netns:
            dns.wait_ready(self._processes, plane.netns)
        readiness.wait_for_controllers(self._processes, self._api())

    def _wait_for_node(self, node: Node, gpus: int) -> None:
        readiness.wait_for_node(self._processes, self._api(), node.name, node.component("kubelet"))
        self._pretend_gpus(node.name, gpus)

    def _pretend_gpus(self, node: str, gpus: int) -> None:
        if gpus:
            self._api().patch(f"/api/v1/nodes/{node}/status", gpu_patch(gpus))

    def _bridge(self, component: str, netns: str, target: tuple[str, int], local_port: int) -> int:
        """Start a bridge, unless it runs already, and return its port on the host's loopback."""
        record = self._state / "run" / f"{component}.port"
        if self._processes.pid(component) is not None:
            return int(record.read_text())
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(("127.0.0.1", local_port))
            except OSError as error:
                raise ClusterError(f"port {local_port} cannot be opened: {error.strerror}") from None
            listener.listen(1024)
            inherited = listener.fileno()
            command = [sys.executable, "-ES", str(Path(bridge.__file__)), str(inherited), target[0], str(target[1])]
            self._processes.start(component, Command(command, netns), pass_fds=(inherited,))
            port: int = listener.getsockname()[1]
        write_whole(record, str(port))
        return port

    def _take_down(self) -> None:
        if not self._state.exists() and not network.namespaces(self.name):
            return
        self._processes.stop(self._processes.names(), grace_s=0)
        if os.geteuid() == 0:
            host.sweep(self.name, self._state)
        host.remove_state(self._state)
        if os.geteuid() == 0 and host.give_back(self.name):
            imagestore.prune()
            images.prune()

    def _plane(self, nodes: int) -> ControlPlane:
        if not nodes:
            return ControlPlane(self._state, None, Ports.free())
        return ControlPlane(self._state, network.control_plane_netns(self.name), Ports())

    def _nodes(self, count: int) -> list[Node]:
        return [Node(self.name, self._state, number) for number in range(1, count + 1)]

    def _number(self, node: str) -> int:
        known = {member.name: member.number for member in self._nodes(self.shape.nodes)}
        if node not in known:
            raise ClusterError(f"no node {node!r}; there are: {', '.join(known) or 'none'}")
        return known[node]

    def _api(self) -> Api:
        return Api(self.shape.api_port, self._state / "pki")


def _resident_mib(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 2**20
    except FileNotFoundError:
        return 0
