"""The cluster tool: a real Kubernetes on one Linux machine, made from package registries alone."""

from tests.cluster.cluster import Cluster
from tests.cluster.errors import ClusterError

__all__ = ["Cluster", "ClusterError"]
