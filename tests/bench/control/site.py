"""Where it is measured: a fresh control plane with our kinds, pods played, and the operator's account."""

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from llmfleet.kube.client import Client
from tests.api.installation import SYSTEM, Installation, install_kind
from tests.bench.control import fleet
from tests.bench.control.meters import Meter
from tests.cluster import Cluster, LocalCluster
from tests.cluster.places import REPOSITORY

_CALM = 0.1
"""Of a core, that a control plane without anything to do uses at most."""
_CALM_WITHIN_S = 120
_LOOK_S = 2
_SERVERS = ("kube-apiserver", "etcd", "kube-controller-manager")


@dataclass(frozen=True, slots=True)
class Site:
    """Where it is measured.

    Attributes:
        servers: ids of the processes that a cluster consists of, by name.
    """

    cluster: Cluster
    client: Client
    servers: Mapping[str, int]


@asynccontextmanager
async def open_site(name: str) -> AsyncIterator[Site]:
    """Lend a fresh control plane with our kinds, and pods played."""
    cluster = LocalCluster(name).up(nodes=0)
    try:
        cluster.stop("kube-scheduler")
        install_kind(cluster)
        servers = {
            component: pid for component, pid, _ in cluster.status() if component in _SERVERS and pid is not None
        }
        command = [sys.executable, "-m", "tests.bench.control.player", str(cluster.kubeconfig)]
        player = await asyncio.create_subprocess_exec(*command, cwd=REPOSITORY)
        try:
            await _calm(servers)
            async with fleet.connected(cluster.kubeconfig) as client:
                yield Site(cluster, client, servers)
        finally:
            player.terminate()
            await player.wait()
    finally:
        cluster.down()


async def _calm(servers: Mapping[str, int]) -> None:
    """Wait until the control plane has done what it does at its own start, which is no part of what is measured."""
    async with asyncio.timeout(_CALM_WITHIN_S):
        while True:
            meter = Meter.start(servers)
            await asyncio.sleep(_LOOK_S)
            if sum(meter.since()[name] for name in servers) < _CALM * _LOOK_S:
                return


def install(cluster: Cluster, folder: Path) -> Installation:
    """Install accounts and rights, not the operator's pod."""
    cluster.kubectl("create", "namespace", SYSTEM)
    cluster.kubectl("apply", "--server-side", "-k", "manifests/base")
    cluster.kubectl("-n", SYSTEM, "scale", "deployment", "llmfleet-operator", "--replicas=0")
    return Installation(cluster, folder)
