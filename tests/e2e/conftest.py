"""The packaged engine on a real node, and the tiny model it serves."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.cluster import Cluster, UnsupportedError
from tests.models import Models

SAMPLE = Path("manifests/samples/tiny")
NAMESPACE = "e2e"
_ENGINE_UID = 65532


@pytest.fixture(scope="session")
def tiny(real_cluster: Cluster) -> Iterator[Models]:
    """A namespace whose claim holds the tiny model, made by the sample's own Job."""
    if real_cluster.provider != "local":
        raise UnsupportedError(f"the model lies on this machine, where nodes of {real_cluster.provider} do not see it")
    real_cluster.load_image("engine-cpu")
    folder = real_cluster.kubeconfig.parent / "volumes" / NAMESPACE
    folder.mkdir(parents=True, exist_ok=True)
    os.chown(folder, _ENGINE_UID, _ENGINE_UID)
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": NAMESPACE},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "capacity": {"storage": "1Gi"},
            "claimRef": {"namespace": NAMESPACE, "name": "tiny-model"},
            "hostPath": {"path": str(folder), "type": "Directory"},
            "persistentVolumeReclaimPolicy": "Retain",
        },
    }
    real_cluster.kubectl("create", "namespace", NAMESPACE)
    real_cluster.kubectl("apply", "-f", "-", input=json.dumps(volume))
    models = Models(real_cluster, NAMESPACE)
    models.kubectl("apply", "-f", str(SAMPLE / "pvc.yaml"), "-f", str(SAMPLE / "job.yaml"))
    models.kubectl("wait", "--for=condition=Complete", "job/tiny-model", "--timeout=240s")
    yield models
    models.kubectl("delete", "llm", "--all")


@pytest.fixture(scope="session")
def sample() -> dict:
    """The sample LLMDeployment as a user applies it."""
    return yaml.safe_load((SAMPLE / "llmdeployment.yaml").read_text())
