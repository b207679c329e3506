"""Profile ``vllm``: the packaged vLLM image, run by llmfleet's launcher (engine_image/), whose options are these."""

import math
from collections.abc import Iterator
from typing import Any, Final

from llmfleet.api.deployment import Spec
from llmfleet.api.names import HTTP_PORT, PROBE_PORT
from llmfleet.api.resources import DEFAULT_GPU_RESOURCE
from llmfleet.render.probe import http_probe
from llmfleet.render.sources import Mounts, location

_STARTUP_PERIOD_S: Final = 2
_HOME: Final = "/tmp"  # noqa: S108 - the pod's own emptyDir
_ENVIRONMENT: Final = {
    "HOME": _HOME,
    "USER": "llmfleet",
    "HF_HOME": "/cache/huggingface",
    "TORCHINDUCTOR_CACHE_DIR": "/cache/torchinductor",
    "TRITON_CACHE_DIR": "/cache/triton",
    "VLLM_CACHE_ROOT": "/cache/vllm",
    "XDG_CACHE_HOME": "/cache",
}
"""A uid without a passwd entry has no home and no name, and the root file system is read-only."""


def container(name: str, spec: Spec, mounts: Mounts) -> dict[str, Any]:
    """Return the vLLM part of the engine's container.

    Args:
        name: of the LLMDeployment; clients send it as ``model`` unless the spec names another.
        spec: what is asked for.
        mounts: volumes of the model's sources.
    """
    return {
        "args": [*_options(name, spec), *(["--", *spec.engine.args] if spec.engine.args else [])],
        "env": list(_environment(spec)),
        "ports": [
            {"name": "http", "containerPort": HTTP_PORT, "protocol": "TCP"},
            {"name": "probes", "containerPort": PROBE_PORT, "protocol": "TCP"},
        ],
        "volumeMounts": list(mounts.volume_mounts),
        # The operator reports a start that takes too long at startup.deadline; only at twice that time does the
        # kubelet give up and start the engine again.
        "startupProbe": http_probe("/startupz", "probes", period_s=_STARTUP_PERIOD_S, failures=_patience(spec)),
        "readinessProbe": http_probe("/readyz", "probes", period_s=2, failures=2),
        "livenessProbe": http_probe("/livez", "probes", period_s=10, failures=6),
    }


def _patience(spec: Spec) -> int:
    return math.ceil(2 * spec.startup_deadline_s / _STARTUP_PERIOD_S) + 1


def _options(name: str, spec: Spec) -> Iterator[str]:
    engine, model = spec.engine, spec.model
    yield f"--model={location(model.source)}"
    yield f"--served-model-name={model.name or name}"
    yield f"--gpus={spec.gpu_count}"
    if spec.gpu_count and spec.resources.gpu_resource != DEFAULT_GPU_RESOURCE:
        yield f"--gpu-resource={spec.resources.gpu_resource}"
    yield f"--drain-timeout={spec.drain_timeout_s:g}"
    typed = {
        "tensor-parallel-size": engine.tensor_parallel_size,
        "pipeline-parallel-size": engine.pipeline_parallel_size,
        "max-model-len": engine.max_model_len,
        "max-num-seqs": engine.max_num_seqs,
        "gpu-memory-utilization": engine.gpu_memory_utilization,
        "quantization": engine.quantization,
        "dtype": engine.dtype,
        "prefix-caching": engine.prefix_caching,
        "chunked-prefill": engine.chunked_prefill,
    }
    for option, value in typed.items():
        if value is not None:
            yield f"--{option}={str(value).lower() if isinstance(value, bool) else value}"
    if engine.speculative is not None:
        yield f"--draft-model={location(engine.speculative.draft_model)}"
        yield f"--draft-tokens={engine.speculative.tokens}"
    for adapter in model.adapters:
        yield f"--adapter={adapter.name}={location(adapter.source)}"


def _environment(spec: Spec) -> Iterator[dict[str, Any]]:
    for name, value in _ENVIRONMENT.items():
        yield {"name": name, "value": value}
    if spec.model.token_secret is not None:
        secret = spec.model.token_secret
        reference = {"name": secret.name, "key": secret.key or "token"}
        yield {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": reference}}
