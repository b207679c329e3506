"""Command line of the cluster tool: python -m tests.cluster [--name NAME] [--provider PROVIDER] COMMAND."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

from tests.cluster import images, packages
from tests.cluster.cluster import Cluster, recorded
from tests.cluster.errors import ClusterError
from tests.cluster.gotools import TOOLS_BY_NAME, binary
from tests.cluster.providers import PROVIDERS, open_cluster


def main(arguments: list[str]) -> int:
    """Run one command and return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        _COMMANDS[options.command](options, _cluster(options))
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
    parser.add_argument(
        "--provider",
        default="",
        metavar="PROVIDER",
        help=f"{PROVIDERS}, an existing cluster by its kubeconfig context (default: $LLMFLEET_PROVIDER, else local)",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="bring it up, after taking down what is left of it")
    up.add_argument("--nodes", type=int, default=1, help="real nodes (need root); 0 for the control plane alone")
    up.add_argument("--gpus", type=int, default=0, help="pretended GPUs on each node")
    known = sorted(images.table())
    up.add_argument("--image", action="append", default=[], choices=known, help="give it to every node; repeatable")
    up.add_argument("--unlabelled", action="store_true", help="use an existing cluster that is not labelled for tests")
    commands.add_parser("down", help="take it down and restore the host")
    commands.add_parser("add-node", help="add a node to the running cluster")
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


def _cluster(options: argparse.Namespace) -> Cluster:
    """Return the cluster that a command is about: one that is up is its provider's, whatever the environment says."""
    up = recorded(options.name) if options.command != "up" else None
    unlabelled = options.command == "up" and options.unlabelled
    return open_cluster(options.name, options.provider or (up.provider if up else ""), unlabelled=unlabelled)


def _up(options: argparse.Namespace, cluster: Cluster) -> None:
    cluster.up(nodes=options.nodes, gpus=options.gpus, wanted=tuple(options.image))
    print(f"Cluster {cluster.name} is up. export KUBECONFIG={cluster.kubeconfig}")


def _down(_: argparse.Namespace, cluster: Cluster) -> None:
    cluster.down()


def _add_node(_: argparse.Namespace, cluster: Cluster) -> None:
    print(f"Node {cluster.add_node()} is Ready.")


def _kubeconfig(_: argparse.Namespace, cluster: Cluster) -> None:
    cluster.require_up()
    print(cluster.kubeconfig)


def _build(_: argparse.Namespace, __: Cluster) -> None:
    for name in TOOLS_BY_NAME:
        binary(name)
    packages.beside()


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
    for line in cluster.describe():
        print(line)


_COMMANDS: dict[str, Callable[[argparse.Namespace, Cluster], None]] = {
    "up": _up,
    "down": _down,
    "add-node": _add_node,
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
