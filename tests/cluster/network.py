"""Network namespaces of one cluster: the control plane's with a bridge, and one for each node behind it.

They have no route to the outside, and nothing of them is visible among the host's own links, routes and rules.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.cluster.errors import ClusterError
from tests.cluster.places import mark

CONTROL_PLANE_IP = "172.30.0.1"
POD_CIDR = "10.244.0.0/16"
SERVICE_CIDR = "10.96.0.0/16"
API_SERVICE_IP = "10.96.0.1"
DNS_SERVICE_IP = "10.96.0.10"

_NETNS = Path("/run/netns")


def control_plane_netns(name: str) -> str:
    """Return the namespace in which etcd, the API server and DNS of the cluster run."""
    return f"{mark(name)}-cp"


def node_netns(name: str, node: int) -> str:
    """Return the namespace of a node; nodes count from 1."""
    return f"{mark(name)}-n{node}"


def node_ip(node: int) -> str:
    """Return a node's address."""
    return f"172.30.0.{10 + node}"


def pod_subnet(node: int) -> str:
    """Return the range of pod addresses on a node."""
    return f"10.244.{node}.0/24"


def create_control_plane(name: str) -> None:
    """Make the control plane's namespace and the bridge that nodes join."""
    space = control_plane_netns(name)
    _run("ip", "netns", "add", space)
    _batch(
        space,
        "link set lo up",
        "link add br0 type bridge",
        f"addr add {CONTROL_PLANE_IP}/24 dev br0",
        "link set br0 up",
    )
    _run("nsenter", f"--net={_NETNS / space}", "sysctl", "-qw", "net.ipv4.ip_forward=1")


def create_node(name: str, node: int) -> None:
    """Make a node's namespace, plug it into the bridge, and tell it and the nodes that are there where pods are.

    The default route leads nowhere, but without one a connect() to a Service address fails before the rules see it.
    """
    plane, space = control_plane_netns(name), node_netns(name, node)
    others = _nodes(name)
    _run("ip", "netns", "add", space)
    _batch(plane, f"link add vn{node} type veth peer name eth0 netns {space}", f"link set vn{node} master br0 up")
    _batch(plane, f"route add {pod_subnet(node)} via {node_ip(node)}")
    _batch(
        space,
        "link set lo up",
        f"addr add {node_ip(node)}/24 dev eth0",
        "link set eth0 up",
        f"route add default via {CONTROL_PLANE_IP}",
        *(f"route add {pod_subnet(other)} via {node_ip(other)}" for other in others),
    )
    for other in others:
        _batch(node_netns(name, other), f"route add {pod_subnet(node)} via {node_ip(node)}")
    _run("nsenter", f"--net={_NETNS / space}", "sysctl", "-qw", "net.ipv4.ip_forward=1")


def set_link(name: str, node: int, *, up: bool) -> None:
    """Connect a node with the others and the control plane, or cut it off: its packets vanish without an answer."""
    _batch(control_plane_netns(name), f"link set vn{node} {'up' if up else 'down'}")


def namespaces(name: str) -> list[str]:
    """Return the namespaces that exist for the cluster."""
    plane = control_plane_netns(name)
    return sorted([*(node_netns(name, node) for node in _nodes(name)), *([plane] if (_NETNS / plane).exists() else [])])


def processes(space: str) -> set[int]:
    """Return the processes that live in a namespace."""
    return {int(pid) for pid in _run("ip", "netns", "pids", space).split()}


def delete(space: str) -> None:
    """Delete a namespace with all its links and rules."""
    _run("ip", "netns", "delete", space)


def _nodes(name: str) -> list[int]:
    prefix = f"{mark(name)}-n"
    found = [path.name.removeprefix(prefix) for path in _NETNS.glob(f"{prefix}*")] if _NETNS.is_dir() else []
    return sorted(int(number) for number in found if number.isdigit())


def _batch(space: str, *lines: str) -> None:
    _run("ip", "-n", space, "-batch", "-", text="".join(f"{line}\n" for line in lines))


def _run(*command: str, text: str | None = None) -> str:
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ClusterError(f"`{' '.join(command)}` failed: {done.stderr.strip()}{f' (input: {text})' if text else ''}")
    return done.stdout
