"""A whole cluster: brought up, asked, disturbed and taken down."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.cluster import bridge, dns, host, images, imagestore, network, packages, pki
from tests.cluster.api import Api
from tests.cluster.cache import locked
from tests.cluster.control_plane import ControlPlane, Ports
from tests.cluster.errors import ClusterError
from tests.cluster.files import write_whole
from tests.cluster.gotools import TOOLS_BY_NAME, binary
from tests.cluster.node import Node
from tests.cluster.places import state_dir, state_root
from tests.cluster.process import Command, Processes, wait_for
from tests.cluster.progress import PROGRESS

_API_READY_S = 60.0
_NODE_READY_S = 90.0
_NODE_PROGRAMS = ("kubelet", "kube-proxy", "coredns")
_PLANE_PROGRAMS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")
_API_BRIDGE = "bridge-api"
_GPU = "nvidia.com/gpu"


@dataclass(frozen=True, slots=True)
class Shape:
    """What `up` made, kept in the state folder for later runs of the tool.

    Attributes:
        nodes: Number of nodes; 0 for a control plane alone.
        gpus: Pretended GPUs on each node.
        api_port: Port of the API server on the host's loopback.
    """

    nodes: int
    gpus: int
    api_port: int


class Cluster:
    """A cluster of a given name; several of different names may run side by side."""

    def __init__(self, name: str = "dev") -> None:
        self.name = name
        self._state = state_dir(name)
        self._processes = Processes(self._state)

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig, valid on this host."""
        return self._state / "kubeconfig.yaml"

    @property
    def server(self) -> str:
        """The API server's URL on this host."""
        return f"https://127.0.0.1:{self.shape.api_port}"

    @property
    def ca(self) -> Path:
        """The certificate of the authority that signed the API server's."""
        return self._state / "pki" / "ca.crt"

    @property
    def cert(self) -> Path:
        """The administrator's client certificate."""
        return self._state / "pki" / "admin.crt"

    @property
    def key(self) -> Path:
        """The administrator's private key."""
        return self._state / "pki" / "admin.key"

    @property
    def audit_log(self) -> Path:
        """The API server's record of what service accounts asked for, one JSON object per line."""
        return self._state / "logs" / "audit.log"

    @property
    def shape(self) -> Shape:
        """What is up.

        Raises:
            ClusterError: Nothing is up under this name.
        """
        try:
            return Shape(**json.loads((self._state / "cluster.json").read_text()))
        except FileNotFoundError:
            raise ClusterError(
                f"cluster {self.name!r} is not up", advice=f"python -m tests.cluster --name {self.name} up"
            ) from None

    def require_up(self) -> None:
        """Raise ClusterError if nothing is up under this name."""
        _ = self.shape

    def bin(self, name: str) -> Path:
        """Return the path of a program (kubectl, helm, kubelet, ...), built first when needed."""
        return binary(name)

    def up(self, nodes: int = 1, gpus: int = 0, wanted: tuple[str, ...] = ()) -> Cluster:
        """Bring the cluster up, after taking down whatever is left of that name.

        Args:
            nodes: Number of real nodes, which need root; 0 for the control plane alone, which does not.
            gpus: Pretended nvidia.com/gpu on each node.
            wanted: Images of the images table that nodes have from the start, which is far quicker than `load_image`.

        Raises:
            ClusterError: A step failed. What was started stays for a look at it, until `down` or the next `up`.
        """
        if nodes and os.geteuid() != 0:
            raise ClusterError("nodes need root", advice="run as root, or use --nodes 0 for a control plane alone")
        programs = (*_PLANE_PROGRAMS, *(_NODE_PROGRAMS if nodes else ()))
        for program in programs:
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

    def kubectl(self, *arguments: str, input: str | None = None) -> str:  # noqa: A002 - as in subprocess.run
        """Run kubectl and return what it prints.

        Raises:
            ClusterError: It failed; the message is its own.
        """
        return _output([str(binary("kubectl")), *arguments], self.environment(), input)

    def helm(self, *arguments: str) -> str:
        """Run helm and return what it prints; its own files stay in the cluster's state folder.

        Raises:
            ClusterError: It failed; the message is its own.
        """
        return _output([str(binary("helm")), *arguments], self.environment(), None)

    def environment(self) -> dict[str, str]:
        """Return the environment in which kubectl and helm talk to this cluster."""
        helm = {f"HELM_{part}_HOME": f"{self._state}/helm/{part.lower()}" for part in ("CACHE", "CONFIG", "DATA")}
        return os.environ | helm | {"KUBECONFIG": str(self.kubeconfig)}

    def load_image(self, name: str) -> None:
        """Give an image of the images table to every node, built first when needed."""
        descriptor = images.ensure(name)
        imagestore.ensure({name: (images.reference(name), descriptor)})
        for node in self._nodes(self.shape.nodes):
            with PROGRESS.step(f"load image {name} into {node.name}", key=f"load-{name}"):
                node.load(images.reference(name), descriptor)

    def expose(self, namespace: str, service: str, port: int | str, *, local_port: int = 0) -> str:
        """Open a port of the host's loopback that leads to a Service, and return its URL.

        Args:
            namespace: The Service's namespace.
            service: Its name; it needs a cluster IP.
            port: One of its ports, by number or name.
            local_port: The port to open; 0 for any. A Service exposed already keeps the port it has.

        Raises:
            ClusterError: There is no such Service or port, or there are no nodes.
        """
        if not self.shape.nodes:
            raise ClusterError("a control plane alone has no Service traffic", advice="up --nodes 1")
        spec = (self._api().get(f"/api/v1/namespaces/{namespace}/services/{service}") or {}).get("spec", {})
        address = spec.get("clusterIP")
        ports = (entry for entry in spec.get("ports", []) if str(port) in {str(entry["port"]), entry.get("name")})
        number = next((entry["port"] for entry in ports), None)
        if not address or address == "None" or number is None:
            raise ClusterError(f"there is no Service {namespace}/{service} with a cluster IP and port {port}")
        component = f"bridge-{namespace}.{service}.{number}"
        space = network.node_netns(self.name, 1)
        return f"http://127.0.0.1:{self._bridge(component, space, (address, number), local_port)}"

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

    def _start(self, nodes: int, gpus: int, pool: concurrent.futures.Executor) -> None:
        if nodes:
            host.borrow(self.name)
            network.create_control_plane(self.name)
            for number in range(1, nodes + 1):
                network.create_node(self.name, number, range(1, nodes + 1))
        space = network.control_plane_netns(self.name) if nodes else None
        plane = ControlPlane(self._state, space, Ports() if nodes else Ports.free(), nodes)
        plane.write_credentials()
        members = self._nodes(nodes)
        runtimes = [pool.submit(node.start_runtime, self._processes) for node in members]
        plane.start_api(self._processes)
        port = plane.ports.api
        if space:
            port = self._bridge(_API_BRIDGE, space, (network.CONTROL_PLANE_IP, port), 0)
        pki.write_kubeconfig(
            self.kubeconfig, server=f"https://127.0.0.1:{port}", pki=plane.pki, user="admin", context=self.name
        )
        write_whole(self._state / "cluster.json", json.dumps(asdict(Shape(nodes, gpus, port))))
        self._wait_for_api(plane)
        plane.start_controllers(self._processes)
        if space:
            dns.start(self._processes, self._state, space)
            dns.publish(self._api())
        for node, runtime in zip(members, runtimes, strict=True):
            runtime.result()
            node.start_kubelet(self._processes)
        for node in members:
            self._wait_for_node(node, gpus)
        if space:
            dns.wait_ready(self._processes, space)
        self._wait_for_controllers()

    def _wait_for_api(self, plane: ControlPlane) -> None:
        api = self._api()

        def ready() -> bool:
            plane.require_alive(self._processes)
            return api.ready()

        wait_for(ready, "the API server to be ready", timeout_s=_API_READY_S, log=self._processes.log("kube-apiserver"))

    def _wait_for_controllers(self) -> None:
        """Wait until pods can be made: that takes the account which the controller manager gives each namespace."""

        def account() -> bool:
            dead = [component for component in self._processes.names() if self._processes.pid(component) is None]
            if dead:
                raise ClusterError(f"{dead[0]} ended right after its start", log=self._processes.log(dead[0]))
            return self._api().get("/api/v1/namespaces/default/serviceaccounts/default") is not None

        log = self._processes.log("kube-controller-manager")
        wait_for(account, "the controller manager to work", timeout_s=_API_READY_S, log=log)

    def _wait_for_node(self, node: Node, gpus: int) -> None:
        kubelet = node.component("kubelet")
        log = self._processes.log(kubelet)
        seen: dict[str, Any] = {}

        def status(kind: str) -> bool:
            if self._processes.pid(kubelet) is None:
                raise ClusterError(f"{kubelet} ended right after its start", log=log)
            seen.update(self._api().get(f"/api/v1/nodes/{node.name}") or {})
            conditions = seen.get("status", {}).get("conditions", [])
            return any(condition["type"] == kind and condition["status"] == "True" for condition in conditions)

        wait_for(
            lambda: status("Ready"),
            f"node {node.name} to be Ready",
            timeout_s=_NODE_READY_S,
            log=log,
            state=lambda: json.dumps(seen.get("status", {}).get("conditions")),
        )
        self._pretend_gpus(node.name, gpus)

    def _pretend_gpus(self, node: str, gpus: int) -> None:
        path = _GPU.replace("/", "~1")
        fields = ("capacity", "allocatable")
        operations = [{"op": "add", "path": f"/status/{field}/{path}", "value": str(gpus)} for field in fields]
        if gpus:
            self._api().patch(f"/api/v1/nodes/{node}/status", operations)

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

    def _nodes(self, count: int) -> list[Node]:
        return [Node(self.name, self._state, number) for number in range(1, count + 1)]

    def _api(self) -> Api:
        return Api(self.shape.api_port, self._state / "pki")

    @contextlib.contextmanager
    def _exclusive(self) -> Iterator[None]:
        with locked(state_root() / f"{self.name}.lock", f"another `up` or `down` of {self.name}"):
            yield


def build_all() -> None:
    """Build every program, so that no later step has to."""
    for name in TOOLS_BY_NAME:
        binary(name)
    packages.beside()


def _output(command: list[str], environment: dict[str, str], text: str | None) -> str:
    done = subprocess.run(command, env=environment, input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ClusterError(f"`{Path(command[0]).name} {' '.join(command[1:])}` failed: {done.stderr.strip()}")
    return done.stdout


def _resident_mib(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 2**20
    except FileNotFoundError:
        return 0
