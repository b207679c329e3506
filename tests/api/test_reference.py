"""docs/reference/metrics.md is what an operator that runs answers."""

import re
import socket
from pathlib import Path

import httpx
import pytest

from tests.cluster import Cluster
from tests.generate import metrics_reference
from tests.operator_process import OperatorProcess
from tests.wait import eventually

pytestmark = pytest.mark.api


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def test_the_page_lists_the_metrics_of_an_operator_that_leads(crds: Cluster, namespace: str, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{(port := free_port())}"
    flags = (f"--listen-port={port}", "--lease-name=reference", f"--namespaces={namespace}")
    with OperatorProcess(crds.kubeconfig, tmp_path / "operator.log", *flags):
        eventually(
            lambda: httpx.get(f"{url}/readyz").status_code == httpx.codes.OK, within_s=30, what="the operator is ready"
        )
        text = httpx.get(f"{url}/metrics").text
    told = dict(re.findall(r"^# HELP (llmfleet_\S+) (.+)$", text, re.MULTILINE))
    types = dict(re.findall(r"^# TYPE (llmfleet_\S+) (\S+)$", text, re.MULTILINE))
    found = {(name, types[name], said) for name, said in told.items() if not name.endswith("_created")}
    assert found == {(row.name, row.type, row.text) for row in metrics_reference.rows()}
