"""What a running operator says about itself."""

from typing import Any

import httpx

from tests.operator_process import OperatorProcess
from tests.wait import eventually


def pid_of(operator: OperatorProcess) -> int:
    assert operator._process is not None
    return operator._process.pid


def probe(operator: OperatorProcess, path: str) -> tuple[int, str]:
    """Ask an operator's own server; the latest start of the process counts."""
    said = [line["message"] for line in operator.lines() if line["message"].startswith("probes and metrics at ")]
    answer = httpx.get(f"http://{said[-1].removeprefix('probes and metrics at ')}{path}", timeout=5)
    return answer.status_code, answer.text


def metric(operator: OperatorProcess, name: str) -> float:
    """Return a metric's value; `name` is as in Prometheus' text, labels included."""
    _, text = probe(operator, "/metrics")
    values = [line.rpartition(" ")[2] for line in text.splitlines() if line.startswith(f"{name} ")]
    return float(values[0]) if values else 0.0


def wait_for_log(operator: OperatorProcess, words: str, *, within_s: float, after: int = 0) -> dict[str, Any]:
    """Wait for a line of the log, among those after the first so many."""

    def found() -> dict[str, Any] | None:
        return next((line for line in operator.lines()[after:] if words in line["message"]), None)

    line = eventually(found, within_s=within_s, what=f"the log says {words!r}", last=operator.tail)
    assert line is not None
    return line
