"""Plays the kubelets of a fleet: every engine's pod is Running and Ready after one write. A process of its own."""

import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path

from llmfleet.api.names import CONTAINER, LABEL_MANAGED_BY, MANAGED_BY
from llmfleet.kube.client import Client
from llmfleet.kube.errors import Conflict, NotFound
from llmfleet.kube.reflector import Reflector
from llmfleet.kube.resources import RESOURCES
from tests.bench.control.fleet import Object, connected

_WORKERS = 8

Pod = tuple[str, str, str, bool]
"""Namespace, name, image, and whether its status says that it runs."""


def _trim(pod: Object) -> Pod:
    metadata = pod["metadata"]
    runs = bool(pod.get("status", {}).get("containerStatuses")) or "deletionTimestamp" in metadata
    return metadata["namespace"], metadata["name"], pod["spec"]["containers"][0]["image"], runs


async def play(client: Client) -> None:
    """Play until cancelled."""
    starting: asyncio.Queue[Pod] = asyncio.Queue()

    def changed(_: tuple[str, str], old: Pod | None, new: Pod | None) -> None:
        if old is None and new is not None and not new[3]:
            starting.put_nowait(new)

    reflector = Reflector(
        client,
        RESOURCES["Pod"],
        namespaces=None,
        label_selector=f"{LABEL_MANAGED_BY}={MANAGED_BY}",
        trim=_trim,
        on_change=changed,
    )
    async with asyncio.TaskGroup() as group:
        group.create_task(reflector.run())
        for _ in range(_WORKERS):
            group.create_task(_work(client, starting))


async def _work(client: Client, starting: asyncio.Queue[Pod]) -> None:
    while True:
        namespace, name, image, _ = await starting.get()
        try:
            await client.apply(_running(namespace, name, image), manager="player", subresource="status")
        except (NotFound, Conflict):
            continue  # gone meanwhile


def _running(namespace: str, name: str, image: str) -> Object:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    conditions = [
        {"type": kind, "status": "True", "lastTransitionTime": now}
        for kind in ("PodScheduled", "ContainersReady", "Ready")
    ]
    container = {
        "name": CONTAINER,
        "image": image,
        "imageID": "",
        "ready": True,
        "restartCount": 0,
        "started": True,
        "state": {"running": {"startedAt": now}},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"namespace": namespace, "name": name},
        "status": {"phase": "Running", "startTime": now, "conditions": conditions, "containerStatuses": [container]},
    }


async def _main(kubeconfig: Path) -> None:
    async with connected(kubeconfig) as client:
        await play(client)


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1])))
