"""An existing cluster, by the name of its context in the user's kubeconfig."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Self

from tests.cluster import images
from tests.cluster.cache import locked
from tests.cluster.cluster import output
from tests.cluster.errors import ClusterError, UnsupportedError
from tests.cluster.files import write_whole
from tests.cluster.gotools import binary
from tests.cluster.host import remove_state
from tests.cluster.lent import OWN_NAMESPACE, LentCluster, takes_pods
from tests.cluster.places import REPOSITORY, state_root
from tests.cluster.progress import PROGRESS

LABEL = "llmfleet.dev/tests"
"""On the namespace kube-system, with the value `allowed`: tests may do with this cluster what they like."""
_CRD = "llmdeployments.llmfleet.dev"
_TESTED_NAMESPACES = (OWN_NAMESPACE, "llmfleet-system")
_RELEASE = "app.kubernetes.io/name=llmfleet"


class ContextCluster(LentCluster):
    """A cluster that exists before the tests and after them.

    Args:
        name: The name under which tests know it.
        context: The context of the user's kubeconfig.
        unlabelled: Take it although it is not labelled for tests.
    """

    def __init__(self, name: str, context: str, *, unlabelled: bool = False) -> None:
        super().__init__(name)
        self._context = context
        self._unlabelled = unlabelled

    @property
    def provider(self) -> str:
        """Who provides it."""
        return f"context:{self._context}"

    def up(self, nodes: int = 1, gpus: int = 0, wanted: tuple[str, ...] = ()) -> Self:
        """Check that the cluster may be used and has what is asked for; nothing in it is changed.

        Raises:
            ClusterError: It is not labelled for tests, or llmfleet is installed in it, which tests would remove.
            UnsupportedError: It has other nodes than asked for.
        """
        if gpus:
            raise self._unsupported("pretend to have GPUs")
        view = self._ask("config", "view", "--raw", "--flatten", "--minify")
        with self._exclusive(), PROGRESS.step(f"check the cluster of context {self._context}"):
            self._require_label()
            self._require_nodes(nodes)
            self._claim()
            self._take_down()
            self._require_free()
            write_whole(self.kubeconfig, view)
            self.kubeconfig.chmod(0o600)
            self._write_shape(nodes, 0, 0)
        for name in wanted:
            self.load_image(name)
        return self

    def down(self) -> None:
        """Remove what tests have made in the cluster for all of them; the cluster stays."""
        with self._exclusive(), PROGRESS.step(f"take llmfleet out of the cluster of context {self._context}"):
            self._take_down()
            self._claimed().unlink(missing_ok=True)

    def load_image(self, name: str) -> None:
        """Check that the nodes have an image: this cluster's registry is not known here.

        Raises:
            UnsupportedError: A node does not list it.
        """
        reference = images.reference(name)
        nodes = json.loads(self.kubectl("get", "nodes", "-o", "json"))["items"]
        lacking = [node["metadata"]["name"] for node in nodes if not _has(node, reference)]
        if lacking:
            raise UnsupportedError(
                f"{self.provider}: node {', '.join(lacking)} does not have the image {reference}",
                advice=f"build it (`python -m tests.cluster image {name}`) and give it to every node under that name",
            )
        PROGRESS.say(f"{self.provider}: {reference} is used as the nodes have it")

    def _ask(self, *arguments: str) -> str:
        """Run kubectl with the user's own kubeconfig."""
        return output([str(binary("kubectl")), f"--context={self._context}", *arguments], dict(os.environ))

    def _require_label(self) -> None:
        found = json.loads(self._ask("get", "namespace", "kube-system", "-o", "json"))
        if self._unlabelled or found["metadata"].get("labels", {}).get(LABEL) == "allowed":
            return
        raise ClusterError(
            f"the cluster of context {self._context} is not labelled for tests",
            advice=f"if tests may do there what they like: kubectl --context {self._context} label namespace "
            f"kube-system {LABEL}=allowed (or, this once, --unlabelled, in the environment LLMFLEET_UNLABELLED=1)",
        )

    def _require_free(self) -> None:
        """An llmfleet that somebody uses there would be removed at the end."""
        if self._ask("get", "crd", _CRD, "--ignore-not-found", "-o", "name"):
            raise ClusterError(
                f"llmfleet is installed in the cluster of context {self._context}: tests install and remove their own",
                advice=f"uninstall it, and delete the CustomResourceDefinition {_CRD}",
            )

    def _require_nodes(self, wanted: int) -> None:
        nodes = json.loads(self._ask("get", "nodes", "-o", "json"))["items"]
        ready = [node["metadata"]["name"] for node in nodes if takes_pods(node)]
        if not wanted and ready:
            raise self._unsupported(f"play nodes: it has real ones ({', '.join(ready)})")
        if len(ready) < wanted:
            raise self._unsupported(f"offer {wanted} nodes: of those that take pods it has {len(ready)}")

    def _claim(self) -> None:
        """Keep two names from using the one cluster at the same time."""
        record = self._claimed()
        with locked(record.with_suffix(".lock"), f"another user of context {self._context}"):
            holder = record.read_text() if record.exists() else ""
            if holder not in {"", self.name} and (state_root() / holder).is_dir():
                raise UnsupportedError(f"{self.provider} is in use as cluster {holder}, and it is only one")
            write_whole(record, self.name)

    def _claimed(self) -> Path:
        safe = "".join(letter if letter.isalnum() else "_" for letter in self._context)
        return state_root() / f"context-{safe}.holder"

    def _take_down(self) -> None:
        if not self.kubeconfig.exists():
            remove_state(self._state)
            return
        self._stop_forwarding()
        gone = ("--ignore-not-found", "--timeout=60s")
        # First what is made from the definitions, while the operator may still have a part in its end.
        self.kubectl("delete", "-f", str(REPOSITORY / "crds"), *gone)
        self.kubectl("delete", "namespace", *_TESTED_NAMESPACES, *gone)
        self.kubectl("delete", "clusterroles,clusterrolebindings", "-l", _RELEASE, *gone)
        remove_state(self._state)


def _has(node: dict[str, Any], reference: str) -> bool:
    """Tell whether a node lists an image; nodes list the 50 largest."""
    return any(reference in (image.get("names") or ()) for image in node["status"].get("images", []))
