"""Command line of the cluster tool: python -m tests.cluster [--name NAME] COMMAND."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from types import FrameType

from tests.cluster import images
from tests.cluster.cluster import Cluster, build_all
from tests.cluster.errors import ClusterError
from tests.cluster.gotools import binary


def main(arguments: list[str]) -> int:
    """Run one command and return the exit status."""
    signal.signal(signal.SIGTERM, _interrupt)
    options = _parser().parse_args(arguments)
    try:
        _run(options, Cluster(options.name))
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
    commands.add_parser("down", help="take it down and restore the host")
    commands.add_parser("status", help="show its processes")
    commands.add_parser("kubeconfig", help="print the path of its kubeconfig")
    commands.add_parser("build", help="build all programs, start nothing")
    for program in ("kubectl", "helm"):
        tool = commands.add_parser(program, help=f"run {program} against it", add_help=False, prefix_chars="\0")
        tool.add_argument("arguments", nargs=argparse.REMAINDER)
    for command, text in (("image", "build images"), ("load-image", "build images and give them to every node")):
        image = commands.add_parser(command, help=text)
        image.add_argument("images", nargs="+", choices=sorted(images.NAMES), metavar="IMAGE")
    expose = commands.add_parser("expose", help="open a port of this host that leads to a Service")
    expose.add_argument("service", metavar="NAMESPACE/SERVICE:PORT")
    expose.add_argument("--local-port", type=int, default=0)
    logs = commands.add_parser("logs", help="print the log of a component")
    logs.add_argument("component")
    return parser


def _run(options: argparse.Namespace, cluster: Cluster) -> None:
    match options.command:
        case "up":
            cluster.up(nodes=options.nodes, gpus=options.gpus)
            print(f"Cluster {cluster.name} is up. export KUBECONFIG={cluster.kubeconfig}")
        case "down":
            cluster.down()
        case "status":
            _print_status(cluster)
        case "kubeconfig":
            print(cluster.shape and cluster.kubeconfig)
        case "build":
            build_all()
        case "kubectl" | "helm" as program:
            _ = cluster.shape
            os.execve(binary(program), [program, *options.arguments], cluster.environment())  # noqa: S606 - on purpose
        case "image":
            for image in options.images:
                print(images.archive(image))
        case "load-image":
            for image in options.images:
                cluster.load_image(image)
        case "expose":
            print(_expose(cluster, options))
        case "logs":
            print(cluster.log(options.component).read_text(errors="replace"), end="")


def _expose(cluster: Cluster, options: argparse.Namespace) -> str:
    namespace, _, rest = options.service.partition("/")
    service, _, port = rest.partition(":")
    if not (namespace and service and port):
        raise ClusterError(f"{options.service!r} is not of the form NAMESPACE/SERVICE:PORT")
    return cluster.expose(namespace, service, port, local_port=options.local_port)


def _print_status(cluster: Cluster) -> None:
    shape = cluster.shape
    print(f"{cluster.name}: {shape.nodes} nodes, {shape.gpus} GPUs on each, API server {cluster.server}")
    for component, pid, memory in cluster.status():
        print(f"  {component:<28} {'pid ' + str(pid) if pid else 'DEAD':<12} {memory:>5} MiB")


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
