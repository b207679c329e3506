"""Profile ``sim``: llm-d-inference-sim, an engine that answers without a model. It has no launcher.

The kubelet's own sleep keeps it serving while endpoints are updated; after that the simulator shuts down by itself.
"""

import math
from typing import Any, Final

from llmfleet.api.deployment import Spec
from llmfleet.api.names import HTTP_PORT
from llmfleet.render.probe import http_probe
from llmfleet.render.sources import Mounts, location

_PROPAGATION_S: Final = 10


def container(name: str, spec: Spec, mounts: Mounts) -> dict[str, Any]:
    """Return the simulator's part of the engine's container; the arguments are those of render.vllm.container."""
    served = spec.model.name or name
    args = [f"--model={location(spec.model.source)}", f"--served-model-name={served}", f"--port={HTTP_PORT}"]
    if spec.engine.max_num_seqs is not None:
        args.append(f"--max-num-seqs={spec.engine.max_num_seqs}")
    if spec.engine.max_model_len is not None:
        args.append(f"--max-model-len={spec.engine.max_model_len}")
    patience = math.ceil(2 * spec.startup_deadline_s) + 1
    return {
        "args": [*args, *spec.engine.args],
        "env": [],
        "ports": [{"name": "http", "containerPort": HTTP_PORT, "protocol": "TCP"}],
        "volumeMounts": list(mounts.volume_mounts),
        "startupProbe": http_probe("/health/ready", "http", period_s=1, failures=patience),
        "readinessProbe": http_probe("/health/ready", "http", period_s=2, failures=2),
        "livenessProbe": http_probe("/health", "http", period_s=10, failures=6),
        "lifecycle": {"preStop": {"sleep": {"seconds": _PROPAGATION_S}}},
    }
