"""`make bench-control`: the control plane's cost, one JSON line for each phase and size.

Each size has two fresh clusters one after the other: on the first the bare loop writes a fleet's objects, on the second
the operator makes them. Pods are played, there is no scheduler; both sides run beside the same controller manager.
"""

import argparse
import asyncio
import json
import os
import platform
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.api.installation import Installation, established
from tests.bench.control import fleet, phases
from tests.bench.control.operator import Operator
from tests.bench.control.phases import Site
from tests.cluster import Cluster, LocalCluster
from tests.cluster.places import REPOSITORY, checkout

_SERVERS = ("kube-apiserver", "etcd", "kube-controller-manager")
_CHANGED = 100


@asynccontextmanager
async def _site(name: str) -> AsyncIterator[Site]:
    """Lend a fresh control plane with our kinds, and pods played."""
    cluster = LocalCluster(name).up(nodes=0)
    try:
        cluster.stop("kube-scheduler")
        cluster.kubectl("apply", "--server-side", "-f", "crds/")
        established(cluster)
        servers = {
            component: pid for component, pid, _ in cluster.status() if component in _SERVERS and pid is not None
        }
        command = [sys.executable, "-m", "tests.bench.control.player", str(cluster.kubeconfig)]
        player = await asyncio.create_subprocess_exec(*command, cwd=REPOSITORY)
        try:
            async with fleet.connected(cluster.kubeconfig) as client:
                yield Site(cluster, client, servers)
        finally:
            player.terminate()
            await player.wait()
    finally:
        cluster.down()


def _say(phase: str, count: int, line: dict[str, Any]) -> None:
    print(json.dumps({"bench": "control", "phase": phase, "models": count, **line}), flush=True)


async def _measure(count: int, idle_s: float) -> None:
    async with _site(f"ground-{checkout()}") as site:
        bare = await phases.ground(site, count)
        _say("ground", count, bare)
    with TemporaryDirectory() as folder:
        async with _site(f"bench-{checkout()}") as site:
            operator = Operator(_account(site.cluster, Path(folder)), Path(folder) / "operator.log")
            try:
                line = await phases.cold(site, operator, count)
                _say("cold", count, {**line, "ratio_to_ground": round(line["s"] / bare["s"], 2)})
                await _operate(site, operator, count, idle_s)
            finally:
                operator.stop()


async def _operate(site: Site, operator: Operator, count: int, idle_s: float) -> None:
    """Measure a fleet that is there."""
    keys = fleet.models(count)
    spread = keys[:: max(1, count // _CHANGED)][:_CHANGED]
    _say("react", count, await phases.react(site, operator, spread, 128, gap_s=0.3))
    _say("noise", count, await phases.noise(site, operator, spread, 64, gap_s=0.3))
    await operator.quiet(within_s=600)
    _say("idle", count, await phases.idle(site, operator, idle_s))
    _say("restart", count, await phases.restart(site, operator))


def _account(cluster: Cluster, folder: Path) -> Path:
    """Install accounts and rights, not the operator's pod, and return the kubeconfig of the operator's account."""
    cluster.kubectl("create", "namespace", "llmfleet-system")
    cluster.kubectl("apply", "--server-side", "-k", "manifests/base")
    cluster.kubectl("-n", "llmfleet-system", "scale", "deployment", "llmfleet-operator", "--replicas=0")
    return Installation(cluster, folder).kubeconfig()


def main() -> None:
    """Measure every size that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default="200,1000", help="sizes of the fleet, separated by commas")
    parser.add_argument("--idle-s", type=float, default=120.0, help="how long nothing changes, in seconds")
    asked = parser.parse_args()
    conditions = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_before": os.getloadavg()[0],
    }
    print(json.dumps({"bench": "control", "conditions": conditions}), flush=True)
    for count in (int(text) for text in asked.models.split(",")):
        asyncio.run(_measure(count, asked.idle_s))


if __name__ == "__main__":
    main()
