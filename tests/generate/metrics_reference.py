"""docs/reference/metrics.md: what the operator counts about itself.

From the registry as it is made, and from the calls that add metrics to it where the things they read are made. A test
compares the page with the /metrics of an operator that runs.
"""

import ast
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from llmfleet import control
from llmfleet.control.metrics import Metrics

_HEAD = """<!-- Generated from operator/src/llmfleet/control by "make generate": change that, not this file. -->

# Metrics of the operator

On port 8080, path `/metrics`, of every replica; what the fleet is like, only the one that acts tells. A histogram has
`_bucket`, `_sum` and `_count`; times are in seconds.

| Metric | Type | Labels | Meaning |
|---|---|---|---|
"""
_SUFFIX = {"counter": "_total", "info": "_info"}


@dataclass(frozen=True, slots=True)
class Row:
    """One metric: its name as Prometheus shows it."""

    name: str
    type: str
    labels: tuple[str, ...]
    text: str


def page() -> dict[PurePosixPath, str]:
    """Return the page by its path."""
    lines = (
        f"| `{row.name}` | {row.type} | {', '.join(f'`{label}`' for label in row.labels)} | {row.text} |\n"
        for row in rows()
    )
    return {PurePosixPath("docs/reference/metrics.md"): _HEAD + "".join(lines)}


def rows() -> list[Row]:
    """Return every metric, by name."""
    return sorted((*_registered(), *_added()), key=lambda row: row.name)


def _registered() -> list[Row]:
    """Return the metrics that are there from the start."""
    collectors: Any = Metrics().registry._collector_to_names
    return [
        Row(
            f"{collector._name}{_SUFFIX.get(collector._type, '')}",
            "gauge" if collector._type == "info" else collector._type,
            tuple(collector._labelnames) or (("version",) if collector._type == "info" else ()),
            collector._documentation,
        )
        for collector in collectors
    ]


def _added() -> list[Row]:
    """Return the metrics that are added by name as the operator starts: ``metrics.gauge(name, text, ...)``.

    Raises:
        ValueError: A call that adds one does not say name and text as they are.
    """
    found = []
    for module in sorted(Path(*control.__path__).glob("*.py")):
        for call in ast.walk(ast.parse(module.read_text())):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr in _ADDERS:
                if not ast.unparse(call.func.value).endswith("metrics"):
                    continue
                kind, count = _ADDERS[call.func.attr]
                said = [argument.value for argument in call.args[:count] if isinstance(argument, ast.Constant)]
                if len(said) < count:
                    raise ValueError(f"{module.name}:{call.lineno}: name, text and label must be literals")
                name, text, *labels = (str(word) for word in said)
                found.append(Row(f"{name}{_SUFFIX.get(kind, '')}", kind, tuple(labels), text))
    return found


_ADDERS = {"gauge": ("gauge", 2), "gauges": ("gauge", 3), "counter": ("counter", 2)}
"""Methods of Metrics that add a metric: its type, and how many of their arguments describe it."""
