"""A cluster as tests, the demo and the command line see it, whoever provides it."""

from __future__ import annotations

import abc
import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from tests.cluster.cache import locked
from tests.cluster.errors import ClusterError, UnsupportedError
from tests.cluster.files import write_whole
from tests.cluster.gotools import binary
from tests.cluster.places import state_dir, state_root

_RECORD = "cluster.json"


@dataclass(frozen=True, slots=True)
class Shape:
    """What `up` made or found, kept in the state folder for later runs of the tool.

    Attributes:
        nodes: Number of nodes that take pods; 0 for a control plane alone.
        gpus: Pretended GPUs on each node.
        api_port: Port of the API server on the host's loopback; 0 where it is reached by the kubeconfig alone.
        provider: Who provides it: `local`, `kind` or `context:NAME`.
    """

    nodes: int
    gpus: int
    api_port: int
    provider: str


class Cluster(abc.ABC):
    """A cluster of a given name; several of different names may run side by side.

    What a provider does not offer raises UnsupportedError, with a sentence that names the provider.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._state = state_dir(name)

    @property
    @abc.abstractmethod
    def provider(self) -> str:
        """Who provides it, as `--provider` names it."""

    @abc.abstractmethod
    def up(self, nodes: int = 1, gpus: int = 0, wanted: tuple[str, ...] = ()) -> Self:
        """Bring the cluster up, after taking down whatever is left of that name.

        Args:
            nodes: Number of real nodes; 0 for a control plane alone.
            gpus: Pretended nvidia.com/gpu on each node.
            wanted: Images of the images table that nodes have from the start.

        Raises:
            ClusterError: A step failed. What was started stays for a look at it, until `down` or the next `up`.
        """

    @abc.abstractmethod
    def down(self) -> None:
        """Take the cluster down; fine when nothing is up or a run was killed half-way."""

    @abc.abstractmethod
    def describe(self) -> list[str]:
        """Return what is up, line by line."""

    @abc.abstractmethod
    def load_image(self, name: str) -> None:
        """Give an image of the images table to every node, built first when needed."""

    @abc.abstractmethod
    def expose(self, namespace: str, service: str, port: int | str, *, local_port: int = 0) -> str:
        """Open a port of the host's loopback that leads to a Service, and return its URL.

        Each connection goes to the Service's address inside the cluster, as a pod's would.

        Args:
            namespace: The Service's namespace.
            service: Its name; it needs a cluster IP.
            port: One of its ports, by number or name.
            local_port: The port to open; 0 for any. A Service exposed already keeps the port it has.

        Raises:
            ClusterError: There is no such Service or port, or there are no nodes.
        """

    # --- faults and growth: what only a provider offers that owns the cluster's insides

    def add_node(self) -> str:
        """Add a node to the running cluster and return its name once it is Ready."""
        raise self._unsupported("be given another node")

    def stop(self, component: str, grace_s: float = 10.0) -> None:
        """End a component as a fault; `restart` brings it back. grace_s=0 kills it without warning."""
        del grace_s
        raise self._unsupported(f"stop {component}")

    def restart(self, component: str) -> None:
        """End a component, if it runs, and start it again with the same command."""
        raise self._unsupported(f"restart {component}")

    def pause(self, component: str) -> None:
        """Freeze a component as a fault: it keeps its connections and answers nothing."""
        raise self._unsupported(f"freeze {component}")

    def resume(self, component: str) -> None:
        """Let a frozen component go on."""
        raise self._unsupported(f"freeze {component}")

    def cut_off(self, node: str) -> None:
        """Unplug a node's network as a fault: whatever is sent to it or from it vanishes. `rejoin` plugs it in."""
        raise self._unsupported(f"cut off node {node}")

    def rejoin(self, node: str) -> None:
        """Plug a node's network in again."""
        raise self._unsupported(f"cut off node {node}")

    def log(self, component: str) -> Path:
        """Return the log of a component."""
        raise self._unsupported(f"show the log of {component}")

    @property
    def audit_log(self) -> Path:
        """The API server's record of what service accounts asked for, one JSON object per line."""
        raise self._unsupported("show its audit log")

    # --- the same for all

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
    def shape(self) -> Shape:
        """What is up.

        Raises:
            ClusterError: Nothing is up under this name.
        """
        shape = recorded(self.name)
        if shape is None:
            raise ClusterError(
                f"cluster {self.name!r} is not up", advice=f"python -m tests.cluster --name {self.name} up"
            )
        return shape

    def require_up(self) -> None:
        """Raise ClusterError if nothing is up under this name."""
        _ = self.shape

    def bin(self, name: str) -> Path:
        """Return the path of a program (kubectl, helm, kubelet, ...), built first when needed."""
        return binary(name)

    def kubectl(self, *arguments: str, input: str | None = None) -> str:  # noqa: A002 - as in subprocess.run
        """Run kubectl and return what it prints.

        Raises:
            ClusterError: It failed; the message is its own.
        """
        return output([str(binary("kubectl")), *arguments], self.environment(), input)

    def helm(self, *arguments: str) -> str:
        """Run helm and return what it prints; its own files stay in the cluster's state folder.

        Raises:
            ClusterError: It failed; the message is its own.
        """
        return output([str(binary("helm")), *arguments], self.environment())

    def environment(self) -> dict[str, str]:
        """Return the environment in which kubectl and helm talk to this cluster."""
        helm = {f"HELM_{part}_HOME": f"{self._state}/helm/{part.lower()}" for part in ("CACHE", "CONFIG", "DATA")}
        return os.environ | helm | {"KUBECONFIG": str(self.kubeconfig)}

    def _write_shape(self, nodes: int, gpus: int, api_port: int) -> None:
        shape = Shape(nodes, gpus, api_port, self.provider)
        write_whole(self._state / _RECORD, json.dumps(asdict(shape)))

    def _unsupported(self, what: str) -> UnsupportedError:
        return UnsupportedError(f"a cluster of provider {self.provider} cannot {what}", advice="use --provider local")

    @contextlib.contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Let nobody else change the cluster meanwhile; the lock of one that is gone goes with it."""
        lock = state_root() / f"{self.name}.lock"
        with locked(lock, f"another change of cluster {self.name}"):
            yield
            if not self._state.exists():
                lock.unlink(missing_ok=True)


def recorded(name: str) -> Shape | None:
    """Return what is up under a name, None if nothing is."""
    try:
        return Shape(**json.loads((state_dir(name) / _RECORD).read_text()))
    except FileNotFoundError:
        return None


def service_address(found: dict[str, Any] | None, name: str, port: int | str) -> tuple[str, int]:
    """Return the address and port number inside the cluster of a Service as the API server gives it.

    Raises:
        ClusterError: There is no such Service or port, or it has no address.
    """
    spec = (found or {}).get("spec", {})
    address = spec.get("clusterIP")
    ports = (entry for entry in spec.get("ports", []) if str(port) in {str(entry["port"]), entry.get("name")})
    number = next((entry["port"] for entry in ports), None)
    if not address or address == "None" or number is None:
        raise ClusterError(f"there is no Service {name} with a cluster IP and port {port}")
    return address, number


def output(command: list[str], environment: dict[str, str], text: str | None = None) -> str:
    """Run a program and return what it prints.

    Raises:
        ClusterError: It failed; the message is its own.
    """
    done = subprocess.run(command, env=environment, input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ClusterError(f"`{Path(command[0]).name} {' '.join(command[1:])}` failed: {done.stderr.strip()}")
    return done.stdout
