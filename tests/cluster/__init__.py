"""The cluster tool: a real Kubernetes on one Linux machine, made from package registries alone, or a borrowed one."""

from tests.cluster.cluster import Cluster
from tests.cluster.errors import ClusterError, UnsupportedError
from tests.cluster.local import LocalCluster
from tests.cluster.providers import open_cluster

__all__ = ["Cluster", "ClusterError", "LocalCluster", "UnsupportedError", "open_cluster"]
