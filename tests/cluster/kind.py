"""A cluster made by kind, for people who have Docker: its nodes are containers."""

from __future__ import annotations

import copy
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, Self

import yaml

from tests.cluster import images, oci
from tests.cluster.cluster import output
from tests.cluster.errors import ClusterError
from tests.cluster.files import write_whole
from tests.cluster.gotools import binary
from tests.cluster.host import remove_state
from tests.cluster.lent import LentCluster, takes_pods
from tests.cluster.node import ZONE_LABEL, gpu_patch, zone
from tests.cluster.progress import PROGRESS

CONFIG = Path(__file__).with_name("kind.yaml")
_READY_WITHIN = "180s"
_RUNTIMES = ("docker", "podman", "nerdctl")


class KindCluster(LentCluster):
    """A cluster of the same shape as a local one, with a node more for the control plane."""

    @property
    def provider(self) -> str:
        """Who provides it."""
        return "kind"

    def up(self, nodes: int = 1, gpus: int = 0, wanted: tuple[str, ...] = ()) -> Self:
        """Bring the cluster up; images are loaded once it is there.

        Raises:
            ClusterError: There is no Docker, or kind failed; the message is its own.
        """
        if not any(shutil.which(runtime) for runtime in _RUNTIMES):
            raise ClusterError(
                f"kind needs one of {', '.join(_RUNTIMES)}, and none is on PATH", advice="use --provider local"
            )
        if not nodes:
            raise self._unsupported("be a control plane alone")
        with self._exclusive(), PROGRESS.step(f"bring up kind cluster {self.name}", key="up-kind", expected=60):
            self._take_down()
            config = self._state / "kind.yaml"
            write_whole(config, yaml.safe_dump(rendered(nodes), sort_keys=False))
            create = ("create", "cluster", f"--config={config}", f"--wait={_READY_WITHIN}")
            self._kind(*create, f"--kubeconfig={self.kubeconfig}")
            self._write_shape(nodes, gpus, 0)
        found = json.loads(self.kubectl("get", "nodes", "-o", "json"))["items"] if gpus else []
        for node in (each["metadata"]["name"] for each in found if takes_pods(each)):
            status = ("--subresource=status", "--type=json", f"--patch={json.dumps(gpu_patch(gpus))}")
            self.kubectl("patch", "node", node, *status)
        for name in wanted:
            self.load_image(name)
        return self

    def down(self) -> None:
        """Take the cluster down; fine when nothing is up."""
        with self._exclusive(), PROGRESS.step(f"take down kind cluster {self.name}", key="down-kind", expected=5):
            self._take_down()

    def load_image(self, name: str) -> None:
        """Give an image of the images table to every node, built first when needed."""
        descriptor = images.ensure(name)
        with (
            PROGRESS.step(f"load image {name} into the nodes", key=f"load-kind-{name}", expected=10),
            tempfile.NamedTemporaryFile(suffix=".tar") as archive,
        ):
            oci.stream(descriptor, [images.reference(name)], set(), archive)
            archive.flush()
            self._kind("load", "image-archive", archive.name)

    def _kind(self, *arguments: str) -> str:
        return output([str(binary("kind")), *arguments, f"--name=llmfleet-{self.name}"], dict(os.environ))

    def _take_down(self) -> None:
        if self._state.exists():
            self._stop_forwarding()
            self._kind("delete", "cluster", f"--kubeconfig={self.kubeconfig}")
            remove_state(self._state)


def rendered(nodes: int) -> dict[str, Any]:
    """Return kind's configuration for so many nodes besides the one of the control plane."""
    config: dict[str, Any] = yaml.safe_load(CONFIG.read_text())
    plane, worker = config["nodes"]
    workers = [copy.deepcopy(worker) for _ in range(nodes)]
    for number, each in enumerate(workers, start=1):
        each["labels"][ZONE_LABEL] = zone(number)
    return config | {"nodes": [plane, *workers]}
