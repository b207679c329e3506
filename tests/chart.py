"""The operator in a cluster with nodes, installed by its chart as a user does."""

from tests.cluster import Cluster

SYSTEM = "llmfleet-system"
OPERATOR = "llmfleet-operator"


def install(cluster: Cluster, *settings: str) -> None:
    """Install the chart and wait until the operator is ready.

    Args:
        cluster: its nodes have the operator's image.
        settings: values of the chart, as `--set` takes them.
    """
    values = [part for setting in settings for part in ("--set", setting)]
    release = ("install", "llmfleet", "charts/llmfleet", "-n", SYSTEM, "--create-namespace")
    cluster.helm(*release, *values, "--wait", "--timeout=60s")
