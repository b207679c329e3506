"""Who provides a cluster: this machine, kind, or somebody whose cluster exists already."""

from __future__ import annotations

import os

from tests.cluster.cluster import Cluster, recorded
from tests.cluster.context import ContextCluster
from tests.cluster.errors import ClusterError
from tests.cluster.kind import KindCluster
from tests.cluster.local import LocalCluster

PROVIDERS = "local, kind or context:NAME"
_CONTEXT = "context:"


def open_cluster(name: str, provider: str = "", *, unlabelled: bool = False) -> Cluster:
    """Return the cluster of that name.

    Args:
        name: Its name.
        provider: Who provides it. Default: what LLMFLEET_PROVIDER says, else who provided the one that is up, else
            `local`.
        unlabelled: Take an existing cluster although it is not labelled for tests; LLMFLEET_UNLABELLED=1 says the same.

    Raises:
        ClusterError: There is no such provider, or a cluster of that name is up from another one.
    """
    up = recorded(name)
    chosen = provider or os.environ.get("LLMFLEET_PROVIDER") or (up.provider if up else "local")
    if up and up.provider != chosen:
        raise ClusterError(
            f"cluster {name!r} is up from provider {up.provider}",
            advice=f"python -m tests.cluster --name {name} down",
        )
    if chosen == "local":
        return LocalCluster(name)
    if chosen == "kind":
        return KindCluster(name)
    if chosen.startswith(_CONTEXT) and chosen != _CONTEXT:
        allowed = unlabelled or os.environ.get("LLMFLEET_UNLABELLED") == "1"
        return ContextCluster(name, chosen.removeprefix(_CONTEXT), unlabelled=allowed)
    raise ClusterError(f"there is no provider {chosen!r}", advice=f"use {PROVIDERS}")
