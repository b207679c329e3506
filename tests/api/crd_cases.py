"""LLMDeployments for the API server to judge: valid ones that use every field, and one violation of each rule."""

from typing import Any

from llmfleet.api.deployment import LLM_DEPLOYMENT
from llmfleet.api.engine import TYPED_OPTIONS

Object = dict[str, Any]


def deployment(spec: Object | None = None, name: str = "chat") -> Object:
    """The smallest object that is valid, with `spec` laid over it."""
    return {
        "apiVersion": f"{LLM_DEPLOYMENT.group}/{LLM_DEPLOYMENT.version}",
        "kind": LLM_DEPLOYMENT.kind,
        "metadata": {"name": name},
        "spec": {"model": {"source": "hf://org/repo"}, **(spec or {})},
    }


FULL: Object = {
    "model": {
        "name": "repo-8b",
        "source": "hf://org/repo@main",
        "tokenSecret": {"name": "hf", "key": "token"},
        "cache": {"kind": "PVC", "claimName": "models"},
        "adapters": [{"name": "legal", "source": "pvc://models/legal"}],
    },
    "engine": {
        "profile": "vllm",
        "image": "registry.example:5000/engine@sha256:0123",
        "tensorParallelSize": 2,
        "pipelineParallelSize": 2,
        "maxModelLen": 8192,
        "maxNumSeqs": 256,
        "gpuMemoryUtilization": 0.9,
        "quantization": "fp8",
        "dtype": "auto",
        "prefixCaching": True,
        "chunkedPrefill": False,
        "speculative": {"draftModel": "hostpath:///models/draft", "tokens": 5},
        "args": ["--enforce-eager", "--modelling=no"],
        "env": [
            {"name": "VLLM_LOGGING_LEVEL", "value": "INFO"},
            {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hf", "key": "token"}}},
            {"name": "HTTPS_PROXY", "valueFrom": {"configMapKeyRef": {"name": "proxy", "key": "url"}}},
        ],
    },
    "resources": {
        "gpu": {"count": 4, "resourceName": "nvidia.com/gpu", "product": "NVIDIA-A100-SXM4-80GB"},
        "cpu": 8,
        "memory": "64Gi",
        "sharedMemory": "1.5Gi",
    },
    "podTemplate": {
        "labels": {"team": "chat"},
        "annotations": {"example.com/note": "a note"},
        "nodeSelector": {"pool": "gpu"},
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
        "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}],
        "runtimeClassName": "nvidia",
        "priorityClassName": "high",
        "schedulerName": "default-scheduler",
        "serviceAccountName": "engine",
        "imagePullSecrets": [{"name": "registry"}],
        "securityContext": {"fsGroup": 65532},
        "volumes": [{"name": "models", "emptyDir": {}}],
        "volumeMounts": [{"name": "models", "mountPath": "/models"}],
    },
    "replicas": 3,
    "startup": {"deadline": "1h30m"},
    "drain": {"timeout": "90s"},
    "disruption": {"maxUnavailable": "25%"},
    "rollout": {"retainStable": "500ms"},
    "revisionHistoryLimit": 0,
}
ALTERNATIVES: list[Object] = [
    {"model": {"source": "hf://o/r", "cache": {"kind": "Node", "path": "/var/cache/llm"}}},
    {"model": {"source": "hf://o/r", "cache": {"kind": "None"}}},
    {"disruption": {"minAvailable": 1}},
    {"resources": {"gpu": {"count": 0}}, "engine": {"tensorParallelSize": 2}},
    {"engine": None, "podTemplate": None, "startup": {"deadline": None}},  # as a Helm template without values
]


LONG_KEY = {f"{'k' * 318}": "v"}
BAD_SOURCE = "s3://bucket/model"
CLIMBING = "hf://org/../repo"


def laid(changes: Object) -> Object:
    """The spec that has these values at these places, such as `engine.args`."""
    spec: Object = {"model": {"source": "hf://org/repo"}}
    for place, value in changes.items():
        *parents, last = place.split(".")
        inner = spec
        for parent in parents:
            inner = inner.setdefault(parent, {})
        inner[last] = value
    return spec


def env(name: str, **fields: Any) -> Object:
    return {"engine.env": [{"name": name, **fields}]}


def draft(source: str) -> Object:
    return {"engine.speculative": {"draftModel": source, "tokens": 1}}


def adapter(source: str) -> Object:
    return {"model.adapters": [{"name": "a", "source": source}]}


# What breaks each rule: the rule's place in the schema, a piece of its message, the spec that breaks it.
VIOLATIONS: list[tuple[str, str, Object]] = [
    ("spec", "gpu.count must be", {"resources.gpu.count": 3}),
    (
        "spec",
        "gpu.count must be",
        {"resources.gpu.count": 2, "engine.tensorParallelSize": 2, "engine.pipelineParallelSize": 2},
    ),
    ("spec.model.source", "must be hf://", {"model.source": BAD_SOURCE}),
    ("spec.model.source", "must be hf://", {"model.source": "hf://repo"}),
    ("spec.model.source", "two dots", {"model.source": CLIMBING}),
    ("spec.model.adapters[].source", "must be hf://", adapter(BAD_SOURCE)),
    ("spec.model.adapters[].source", "two dots", adapter(CLIMBING)),
    ("spec.engine.speculative.draftModel", "must be hf://", draft(BAD_SOURCE)),
    ("spec.engine.speculative.draftModel", "two dots", draft(CLIMBING)),
    ("spec.model.cache", "claimName names", {"model.cache": {"kind": "PVC"}}),
    ("spec.model.cache", "claimName names", {"model.cache": {"kind": "None", "claimName": "c"}}),
    ("spec.model.cache", "path names", {"model.cache": {"kind": "Node"}}),
    ("spec.model.cache", "path names", {"model.cache": {"kind": "None", "path": "/p"}}),
    *(
        ("spec.engine.args", f"--{option} has a field of its own: use {field}", {"engine.args": [given]})
        for option, field in TYPED_OPTIONS.items()
        for given in (f"--{option}", f"--{option.replace('-', '_')}=x")
    ),
    (
        "spec.engine.args",
        "--speculative-config has a field of its own",
        {"engine.args": ["--speculative-config.num_speculative_tokens=3"]},
    ),
    ("spec.engine.args", "belong to llmfleet", {"engine.args": ["--shutdown_timeout=3"]}),
    ("spec.engine.args", "write long options", {"engine.args": ["-tp=2"]}),
    ("spec.engine.args", "write long options", {"engine.args": ["--config", "engine.yaml"]}),
    ("spec.startup.deadline", "at least 1s", {"startup.deadline": "0s"}),
    ("spec.model.cache.path", "two dots", {"model.cache": {"kind": "Node", "path": "/a/../b"}}),
    (
        "spec.model",
        "the name of the model",
        {"model.name": "a", "model.adapters": [{"name": "a", "source": "hf://o/r"}]},
    ),
    ("spec.engine.env[]", "exactly one of value and valueFrom", env("A")),
    ("spec.engine.env[]", "looks like a secret", env("MY_API_KEY", value="x")),
    ("spec.engine.env[]", "looks like a secret", env("AWS_SECRET_ACCESS_KEY", value="x")),
    ("spec.engine.env[].valueFrom", "exactly one of secretKeyRef", env("A", valueFrom={})),
    ("spec.podTemplate.labels", "belong to llmfleet", {"podTemplate.labels": {"llmfleet.dev/x": "y"}}),
    ("spec.podTemplate.labels", "belong to llmfleet", {"podTemplate.labels": {"app.kubernetes.io/name": "y"}}),
    ("spec.podTemplate.labels", "317 characters", {"podTemplate.labels": LONG_KEY}),
    ("spec.podTemplate.annotations", "317 characters", {"podTemplate.annotations": LONG_KEY}),
    ("spec.podTemplate.nodeSelector", "317 characters", {"podTemplate.nodeSelector": LONG_KEY}),
    ("spec.disruption", "not both", {"disruption": {"maxUnavailable": 1, "minAvailable": 1}}),
]
