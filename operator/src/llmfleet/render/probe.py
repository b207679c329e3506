"""HTTP probes, with every field that the API server would fill in: what is not said cannot be compared."""

from typing import Any


def http_probe(path: str, port: str, *, period_s: int, failures: int) -> dict[str, Any]:
    """Return a probe of a named port, asked every ``period_s`` seconds; ``failures`` refusals in a row fail it."""
    return {
        "httpGet": {"path": path, "port": port, "scheme": "HTTP"},
        "periodSeconds": period_s,
        "timeoutSeconds": 3,
        "successThreshold": 1,
        "failureThreshold": failures,
    }
