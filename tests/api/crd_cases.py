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
CLIMBING = "pvc://models/../others"


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


def adapter(source: str, name: str = "a") -> Object:
    return {"model.adapters": [{"name": name, "source": source}]}


def from_secret(name: str = "hf", key: str = "token", kind: str = "secretKeyRef") -> Object:
    return env("A", valueFrom={kind: {"name": name, "key": key}})


NO_NAME = "must be the name of an object"
NO_KEY = "must be a key as in a Secret's data"
NO_TIME = "must be a time such as 90s, 10m or 1h30m"
NO_AMOUNT = "must be an amount such as 8, 500m or 64Gi"
NO_MEMORY = "must be an amount of memory such as 64Gi or 512Mi"
NO_SHARE = "must be a number such as 1, or a share such as 25%"
NO_LABEL = "must be the value of a label"
NO_LABEL_KEY = "a key must be a name of at most 63 letters"


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
    ("spec.engine.args", "belong to llmfleet", {"engine.args": ["--ssl-keyfile=/key"]}),
    ("spec.engine.args", "belong to llmfleet", {"engine.args": ["--ssl_certfile", "/crt"]}),
    ("spec.engine.args", "VLLM_API_KEY", {"engine.args": ["--api-key=sk-1"]}),
    ("spec.engine.args", "VLLM_API_KEY", {"engine.args": ["--api_k", "sk-1"]}),
    ("spec.engine.args", "model.tokenSecret", {"engine.args": ["--hf-token=hf_1"]}),
    ("spec.engine.args", "write long options", {"engine.args": ["-tp=2"]}),
    ("spec.engine.args", "write long options", {"engine.args": ["-qfp8"]}),
    ("spec.engine.args", "write long options", {"engine.args": ["--config", "engine.yaml"]}),
    ("spec.engine.args", "--model has a field of its own", {"engine.args": ["--model=a\nb"]}),
    ("spec.startup.deadline", "at least 1s", {"startup.deadline": "0s"}),
    ("spec.startup.deadline", NO_TIME, {"startup.deadline": "m5"}),
    ("spec.drain.timeout", NO_TIME, {"drain.timeout": "300"}),
    ("spec.drain.timeout", NO_TIME, {"drain.timeout": "5 min"}),
    ("spec.rollout.retainStable", NO_TIME, {"rollout.retainStable": "1d"}),
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
    ("spec.podTemplate.labels", NO_LABEL_KEY, {"podTemplate.labels": {"a key": "v"}}),
    ("spec.podTemplate.labels", NO_LABEL_KEY, {"podTemplate.labels": {"": "v"}}),
    ("spec.podTemplate.annotations", NO_LABEL_KEY, {"podTemplate.annotations": {"example.com/": "v"}}),
    ("spec.podTemplate.nodeSelector", NO_LABEL_KEY, {"podTemplate.nodeSelector": {"Example.com/pool": "v"}}),
    ("spec.podTemplate.labels{}", NO_LABEL, {"podTemplate.labels": {"k": "a team"}}),
    ("spec.podTemplate.nodeSelector{}", NO_LABEL, {"podTemplate.nodeSelector": {"k": "-gpu"}}),
    ("spec.podTemplate.runtimeClassName", NO_NAME, {"podTemplate.runtimeClassName": "NVIDIA"}),
    ("spec.podTemplate.priorityClassName", NO_NAME, {"podTemplate.priorityClassName": "very high"}),
    ("spec.podTemplate.schedulerName", NO_NAME, {"podTemplate.schedulerName": "my_scheduler"}),
    ("spec.podTemplate.serviceAccountName", NO_NAME, {"podTemplate.serviceAccountName": "team-a/engine"}),
    ("spec.podTemplate.imagePullSecrets[].name", NO_NAME, {"podTemplate.imagePullSecrets": [{"name": "a..b"}]}),
    ("spec.model.name", "must be letters, digits and the signs", {"model.name": "llama 3"}),
    ("spec.model.tokenSecret.name", NO_NAME, {"model.tokenSecret": {"name": "HF"}}),
    ("spec.model.tokenSecret.key", NO_KEY, {"model.tokenSecret": {"name": "hf", "key": "a/b"}}),
    ("spec.model.cache.claimName", NO_NAME, {"model.cache": {"kind": "PVC", "claimName": "Models"}}),
    ("spec.model.cache.path", "must be an absolute path", {"model.cache": {"kind": "Node", "path": "models"}}),
    (
        "spec.model.adapters[].name",
        "must be letters, digits and the signs",
        adapter("hf://o/r", name="legal advice"),
    ),
    ("spec.engine.image", "must be an image such as", {"engine.image": "engine: latest"}),
    ("spec.engine.env[].name", "must be letters, digits and '_'", env("MY-VARIABLE", value="a")),
    ("spec.engine.env[].valueFrom.secretKeyRef.name", NO_NAME, from_secret(name="hf token")),
    ("spec.engine.env[].valueFrom.secretKeyRef.key", NO_KEY, from_secret(key="to ken")),
    ("spec.engine.env[].valueFrom.configMapKeyRef.name", NO_NAME, from_secret(name="A", kind="configMapKeyRef")),
    ("spec.engine.env[].valueFrom.configMapKeyRef.key", NO_KEY, from_secret(key="a:b", kind="configMapKeyRef")),
    ("spec.resources.gpu.resourceName", "such as nvidia.com/gpu", {"resources.gpu": {"resourceName": "gpu"}}),
    ("spec.resources.gpu.product", "such as NVIDIA-A100", {"resources.gpu": {"product": "NVIDIA A100"}}),
    ("spec.resources.cpu", NO_AMOUNT, {"resources.cpu": "8 cores"}),
    ("spec.resources.memory", NO_MEMORY, {"resources.memory": "64GB"}),
    ("spec.resources.memory", NO_MEMORY, {"resources.memory": "-1Gi"}),
    ("spec.resources.sharedMemory", NO_MEMORY, {"resources.sharedMemory": "8 Gi"}),
    ("spec.disruption.maxUnavailable", NO_SHARE, {"disruption": {"maxUnavailable": "101%"}}),
    ("spec.disruption.minAvailable", NO_SHARE, {"disruption": {"minAvailable": "half"}}),
    ("spec.disruption", "not both", {"disruption": {"maxUnavailable": 1, "minAvailable": 1}}),
]


# What the schema alone refuses: the field that is named, a piece of the API server's message, the spec.
OUT_OF_BOUNDS: list[tuple[str, str, Object]] = [
    ("spec.model", "Required value", {"model": None}),
    ("spec.model.source", "Required value", {"model": {}}),
    ("spec.model.source", "should be at least 1 chars long", {"model.source": ""}),
    ("spec.model.source", "may not be more than 512", {"model.source": f"hf://org/{'r' * 512}"}),
    ("spec.model.cache.kind", 'supported values: "PVC", "Node", "None"', {"model.cache": {"kind": "pvc"}}),
    (
        "spec.model.adapters",
        "must have at most 32 items",
        {"model.adapters": [{"name": f"a{n}", "source": "hf://o/r"} for n in range(33)]},
    ),
    ("spec.model.adapters[1]", "Duplicate value", {"model.adapters": [{"name": "a", "source": "hf://o/r"}] * 2}),
    ("spec.model.tokenSecret.name", "Required value", {"model.tokenSecret": {"key": "token"}}),
    ("spec.engine.profile", 'supported values: "vllm", "sim"', {"engine.profile": "ollama"}),
    ("spec.engine.dtype", 'supported values: "auto", "half", "float16"', {"engine.dtype": "fp4"}),
    ("spec.engine.quantization", 'supported values: "awq", "gptq", "fp8"', {"engine.quantization": "q4_K_M"}),
    ("spec.engine.tensorParallelSize", "greater than or equal to 1", {"engine.tensorParallelSize": 0}),
    ("spec.engine.pipelineParallelSize", "less than or equal to 64", {"engine.pipelineParallelSize": 65}),
    ("spec.engine.maxModelLen", "must be of type integer", {"engine.maxModelLen": "8k"}),
    ("spec.engine.maxNumSeqs", "greater than or equal to 1", {"engine.maxNumSeqs": 0}),
    ("spec.engine.gpuMemoryUtilization", "should be greater than 0", {"engine.gpuMemoryUtilization": 0}),
    ("spec.engine.gpuMemoryUtilization", "less than or equal to 1", {"engine.gpuMemoryUtilization": 90}),
    ("spec.engine.prefixCaching", "must be of type boolean", {"engine.prefixCaching": "yes"}),
    ("spec.engine.speculative.tokens", "Required value", {"engine.speculative": {"draftModel": "hf://o/r"}}),
    (
        "spec.engine.speculative.tokens",
        "less than or equal to 32",
        {"engine.speculative": {"draftModel": "hf://o/r", "tokens": 33}},
    ),
    ("spec.engine.args", "must be of type array", {"engine.args": "--enforce-eager"}),
    ("spec.engine.args[0]", "must be of type string", {"engine.args": [8]}),
    ("spec.engine.env", "must be of type array", {"engine.env": "A=a"}),
    ("spec.engine.env[0].value", "must be of type string", env("A", value=1)),
    ("spec.engine.env[1]", "Duplicate value", {"engine.env": [{"name": "A", "value": "a"}] * 2}),
    ("spec.resources.cpu", "must be of type", {"resources.cpu": 0.5}),
    ("spec.resources.cpu", "greater than or equal to 0", {"resources.cpu": -1}),
    ("spec.resources.gpu", "must be of type object", {"resources.gpu": 4}),
    ("spec.resources.gpu.count", "less than or equal to 64", {"resources.gpu.count": 65}),
    ("spec.podTemplate.labels.k", "may not be more than 63", {"podTemplate.labels": {"k": "v" * 64}}),
    ("spec.podTemplate.tolerations[0]", "must be of type object", {"podTemplate.tolerations": ["gpu"]}),
    ("spec.podTemplate.imagePullSecrets[0].name", "Required value", {"podTemplate.imagePullSecrets": [{}]}),
    ("spec.podTemplate.serviceAccountName", "at least 1 chars long", {"podTemplate.serviceAccountName": ""}),
    ("spec.replicas", "greater than or equal to 0", {"replicas": -1}),
    ("spec.replicas", "less than or equal to 1000", {"replicas": 1001}),
    ("spec.replicas", "must be of type integer", {"replicas": "3"}),
    ("spec.revisionHistoryLimit", "less than or equal to 50", {"revisionHistoryLimit": 51}),
    ("spec.drain.timeout", "must be of type string", {"drain.timeout": 300}),
    ("spec.disruption.maxUnavailable", "greater than or equal to 0", {"disruption.maxUnavailable": -1}),
]

STATUS: Object = {
    "observedGeneration": 7,
    "summary": "Serving chat on 4/4 replicas of 6c9f4a11. Revision 77ab1c22 is loading weights (0/4 ready).",
    "state": "Updating: Starting",
    "endpoint": "http://chat.team:8000/v1",
    "model": "repo-8b",
    "profile": "vllm",
    "ready": "4/4",
    "replicas": 8,
    "selector": "llmfleet.dev/name=chat",
    "stable": {"revision": "6c9f4a11", "replicas": 4, "ready": 4},
    "canary": {"revision": "77ab1c22", "replicas": 4, "ready": 0},
    "restart": {"request": "2026-11-21", "at": "2026-11-21T11:00:00Z"},
    "conditions": [
        {
            "type": "Available",
            "status": "True",
            "reason": "Serving",
            "message": "Revision 6c9f4a11 answers at http://chat.team:8000/v1.",
            "observedGeneration": 7,
            "lastTransitionTime": "2026-11-21T12:00:00Z",
        }
    ],
}
"""A status as the operator writes it, with every field."""
