"""Command line of the cluster tool: python -m tests.cluster [--name NAME] COMMAND."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

from tests.cluster import images
from tests.cluster.cluster import Cluster, build_all
from tests.cluster.errors import ClusterError
from tests.cluster.gotools import binary


def main(arguments: list[str]) -> int:
    """Run one command and return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        _COMMANDS[options.command](options, Cluster(options.name))
    except ClusterError as error:
        print(error.report(), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\nInterrupted. `python -m tests.cluster --name {options.name} down` cleans up.", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description="A real Kubernetes on this machine.")
    parser.add_argument("--name", default="dev", help="which cluster (default: dev); several may run side by side")
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="bring it up, after taking down what is left of it")
    up.add_argument("--nodes", type=int, default=1, help="real nodes (need root); 0 for the control plane alone")
    up.add_argument("--gpus", type=int, default=0, help="pretended GPUs on each node")
    known = sorted(images.table())
    up.add_argument("--image", action="append", default=[], choices=known, help="give it to every node; repeatable")
    commands.add_parser("down", help="take it down and restore the host")
    commands.add_parser("status", help="show its processes")
    commands.add_parser("kubeconfig", help="print the path of its kubeconfig")
    commands.add_parser("build", help="build all programs, start nothing")
    for program in ("kubectl", "helm"):
        tool = commands.add_parser(program, help=f"run {program} against it", add_help=False, prefix_chars="\0")
        tool.add_argument("arguments", nargs=argparse.REMAINDER)
    for command, text in (("image", "build images"), ("load-image", "build images and give them to every node")):
        image = commands.add_parser(command, help=text)
        image.add_argument("images", nargs="+", choices=known, metavar="IMAGE")
    expose = commands.add_parser("expose", help="open a port of this host that leads to a Service")
    expose.add_argument("service", metavar="NAMESPACE/SERVICE:PORT")
    expose.add_argument("--local-port", type=int, default=0)
    logs = commands.add_parser("logs", help="print the log of a component")
    logs.add_argument("component")
    return parser


def _up(options: argparse.Namespace, cluster: Cluster) -> None:
    cluster.up(nodes=options.nodes, gpus=options.gpus, wanted=tuple(options.image))
    print(f"Cluster {cluster.name} is up. export KUBECONFIG={cluster.kubeconfig}")


def _down(_: argparse.Namespace, cluster: Cluster) -> None:
    cluster.down()


def _kubeconfig(_: argparse.Namespace, cluster: Cluster) -> None:
    cluster.require_up()
    print(cluster.kubeconfig)


def _build(_: argparse.Namespace, __: Cluster) -> None:
    build_all()


def _program(options: argparse.Namespace, cluster: Cluster) -> None:
    cluster.require_up()
    program = binary(options.command)
    os.execve(program, [options.command, *options.arguments], cluster.environment())  # noqa: S606 - becomes the program


def _image(options: argparse.Namespace, _: Cluster) -> None:
    for image in options.images:
        print(images.reference(image), images.ensure(image).digest)


def _load_image(options: argparse.Namespace, cluster: Cluster) -> None:
    for image in options.images:
        cluster.load_image(image)


def _logs(options: argparse.Namespace, cluster: Cluster) -> None:
    print(cluster.log(options.component).read_text(errors="replace"), end="")


def _expose(options: argparse.Namespace, cluster: Cluster) -> None:
    namespace, _, rest = options.service.partition("/")
    service, _, port = rest.partition(":")
    if not (namespace and service and port):
        raise ClusterError(f"{options.service!r} is not of the form NAMESPACE/SERVICE:PORT")
    print(cluster.expose(namespace, service, port, local_port=options.local_port))


def _status(_: argparse.Namespace, cluster: Cluster) -> None:
    shape = cluster.shape
    print(f"{cluster.name}: {shape.nodes} nodes, {shape.gpus} GPUs on each, API server {cluster.server}")
    for component, pid, memory in cluster.status():
        print(f"  {component:<28} {'pid ' + str(pid) if pid else 'DEAD':<12} {memory:>5} MiB")


_COMMANDS: dict[str, Callable[[argparse.Namespace, Cluster], None]] = {
    "up": _up,
    "down": _down,
    "status": _status,
    "kubeconfig": _kubeconfig,
    "build": _build,
    "kubectl": _program,
    "helm": _program,
    "image": _image,
    "load-image": _load_image,
    "expose": _expose,
    "logs": _logs,
}


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _interrupt)
    sys.exit(main(sys.argv[1:]))
