"""`make bench-control`: the control plane's cost, one JSON line for each phase and size.

Each size has two fresh clusters one after the other: on the first the bare loop writes a fleet's objects, on the second
the operator makes them. Pods are played, there is no scheduler; both sides run beside the same controller manager.
"""

import argparse
import asyncio
import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.bench.control import fleet, phases
from tests.bench.control.operator import Operator
from tests.bench.control.site import Site, install, open_site
from tests.cluster.places import checkout

_CHANGED = 100


def _say(phase: str, count: int, line: dict[str, Any]) -> None:
    print(json.dumps({"bench": "control", "phase": phase, "models": count, **line}), flush=True)


async def _measure(count: int, idle_s: float) -> None:
    async with open_site(f"ground-{checkout()}") as site:
        bare = await phases.ground(site, count)
        _say("ground", count, bare)
    with TemporaryDirectory() as folder:
        async with open_site(f"bench-{checkout()}") as site:
            operator = Operator(install(site.cluster, Path(folder)).kubeconfig(), Path(folder) / "operator.log")
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
    alone = await phases.react(site, operator, spread, 128)
    _say("react", count, alone)
    _say("noise", count, await phases.noise(site, operator, spread, 64, alone=alone))
    await operator.quiet(within_s=600)
    _say("idle", count, await phases.idle(site, operator, idle_s))
    _say("restart", count, await phases.restart(site, operator))


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
