"""What the model stands on: programs, images, cluster, volume, operator. What is there already is kept."""

from __future__ import annotations

import concurrent.futures
import json
import os

from tests.cluster import ClusterError, images, imagestore
from tests.cluster.gotools import TOOLS_BY_NAME
from tests.cluster.progress import PROGRESS
from tests.demo.screen import say
from tests.demo.site import CHART, MODEL, NAMESPACE, OPERATOR, SYSTEM, Site, polls

_ENGINE_UID = 65532
_IMAGES = ("operator", "engine-cpu")
_UNUSED = ("glua", "kind", "llm-d-inference-sim")
_OPERATOR_READY_S = 90.0


def build(site: Site) -> None:
    """Build what is not in the cache yet. The images wait mostly for disk and network, the programs for the CPU."""
    with concurrent.futures.ThreadPoolExecutor(max_workers=1, thread_name_prefix="images") as beside:
        made = beside.submit(_store_images)
        for program in TOOLS_BY_NAME:
            if program not in _UNUSED:
                site.cluster.bin(program)
        made.result()
    say(f"programs and images ({', '.join(_IMAGES)}) are in the cache")


def _store_images() -> None:
    imagestore.ensure({name: (images.reference(name), images.ensure(name)) for name in _IMAGES})


def prepare_cluster(site: Site) -> None:
    """Bring the cluster up, or keep it where it is whole; either way its node has the images."""
    lacking = _lacking(site)
    if not lacking:
        say(f"cluster {site.cluster.name} is up and healthy: kept")
        for name in _IMAGES:
            site.cluster.load_image(name)
        return
    if site.state.exists():
        say(f"cluster {site.cluster.name} is made anew: {lacking}")
    site.cluster.up(nodes=1, wanted=_IMAGES)


def _lacking(site: Site) -> str:
    """Say what keeps the cluster from being used as it is, or nothing."""
    try:
        site.cluster.require_up()
    except ClusterError as error:
        return str(error)
    dead = [name for name, pid, _ in site.cluster.status() if pid is None]
    if dead:
        return f"{dead[0]} has ended"
    try:
        nodes = site.get("/api/v1/nodes").get("items", [])
    except ClusterError as error:
        return str(error)
    ready = [node for node in nodes if _condition(node, "Ready") == "True"]
    return "" if ready and len(ready) == len(nodes) else "its node is not Ready"


def _condition(obj: dict[str, object], kind: str) -> str:
    status = obj.get("status")
    conditions = status.get("conditions", []) if isinstance(status, dict) else []
    return next((str(condition["status"]) for condition in conditions if condition["type"] == kind), "")


def make_volume(site: Site) -> None:
    """Offer a folder of this machine as the volume of the model's claim; a real cluster has storage of its own."""
    folder = site.state / "volumes" / MODEL
    folder.mkdir(parents=True, exist_ok=True)
    os.chown(folder, _ENGINE_UID, _ENGINE_UID)
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"{MODEL}-model"},
        "spec": {
            "accessModes": ["ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany"],
            "capacity": {"storage": "1Gi"},
            "claimRef": {"namespace": NAMESPACE, "name": f"{MODEL}-model"},
            "hostPath": {"path": str(folder), "type": "Directory"},
            "persistentVolumeReclaimPolicy": "Retain",
        },
    }
    with PROGRESS.step(f"offer {folder} as PersistentVolume {MODEL}-model"):
        site.cluster.kubectl("apply", "--server-side", "-f", "-", input=json.dumps(volume))


def install_operator(site: Site) -> None:
    """Install the chart, or upgrade what is installed, and wait until the operator is ready."""
    # The tag stays the same while somebody works on the operator: the image's digest makes a changed one start.
    digest = images.ensure("operator").digest
    with PROGRESS.step(f"helm install llmfleet {CHART}", key="demo-helm", expected=4):
        site.cluster.helm(
            *("upgrade", "--install", "llmfleet", str(CHART)),
            *("--namespace", SYSTEM, "--create-namespace"),
            *("--set-string", f"podAnnotations.image-digest={digest}"),
        )
    with PROGRESS.step("wait until the operator leads", key="demo-operator", expected=8):
        if not any(_rolled_out(site) for _ in polls(_OPERATOR_READY_S)):
            seen = site.cluster.kubectl("-n", SYSTEM, "get", "pods")
            raise ClusterError(f"waited {_OPERATOR_READY_S:g} s for the operator to be ready; last seen:\n{seen}")


def _rolled_out(site: Site) -> bool:
    deployment = site.get(f"/apis/apps/v1/namespaces/{SYSTEM}/deployments/{OPERATOR}")
    status = deployment.get("status", {})
    if status.get("observedGeneration") != deployment.get("metadata", {}).get("generation"):
        return False
    wanted = deployment.get("spec", {}).get("replicas")
    return bool(wanted == status.get("replicas") == status.get("updatedReplicas") == status.get("availableReplicas"))
