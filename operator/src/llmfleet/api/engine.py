"""``spec.engine``: which engine serves the model and how it is tuned."""

from typing import Annotated, Final, Literal

from pydantic import Field

from llmfleet.api.markers import Rule, cel, list_atomic, list_map, matches, rules
from llmfleet.api.model import SecretKey, Source
from llmfleet.api.part import Items, Part
from llmfleet.api.patterns import compiled
from llmfleet.api.references import DataKey, ObjectName

TYPED_OPTIONS: Final = {
    "model": "spec.model.source",
    "revision": "spec.model.source, as hf://org/repo@revision",
    "served-model-name": "spec.model.name",
    "lora-modules": "spec.model.adapters",
    "tensor-parallel-size": "spec.engine.tensorParallelSize",
    "pipeline-parallel-size": "spec.engine.pipelineParallelSize",
    "max-model-len": "spec.engine.maxModelLen",
    "max-num-seqs": "spec.engine.maxNumSeqs",
    "gpu-memory-utilization": "spec.engine.gpuMemoryUtilization",
    "quantization": "spec.engine.quantization",
    "dtype": "spec.engine.dtype",
    "enable-prefix-caching": "spec.engine.prefixCaching",
    "no-enable-prefix-caching": "spec.engine.prefixCaching",
    "enable-chunked-prefill": "spec.engine.chunkedPrefill",
    "no-enable-chunked-prefill": "spec.engine.chunkedPrefill",
    "speculative-config": "spec.engine.speculative",
}
"""Options of the engine that have a field of their own, and that field. The launcher refuses the same ones."""

LAUNCHER_OPTIONS: Final = ("host", "port", "uds", "middleware", "shutdown-timeout", "ssl-*")
"""Options of the engine that only the launcher may give; `*` stands for anything."""

_TELLTALE_NAME: Final = "(^|_)(TOKEN|SECRET|PASSWORD|API_?KEY|(ACCESS|PRIVATE)_KEY)(_|$)"


def _option_pattern(option: str) -> str:
    """Match the option alone, with ``=value`` or ``.part=value``; the engine takes dashes and underscores alike."""
    return f"^--{option.replace('-', '[-_]')}([=.]|$)"


def _without(pattern: str, message: str) -> Rule:
    """Refuse lists in which something matches the pattern."""
    found = compiled(pattern).search
    return cel(
        f"!self.exists(a, a.matches('{pattern}'))", message, lambda given: not any(found(item) for item in given)
    )


_ARGS_RULES = (
    *(
        _without(_option_pattern(option), f"--{option} has a field of its own: use {field}")
        for option, field in TYPED_OPTIONS.items()
    ),
    _without(
        "^(-[a-z]|--config(=|$))",
        "short options and --config could say what has a field of its own: write long options",
    ),
    _without(
        f"^--({'|'.join(o.replace('-', '[-_]').replace('*', '[^=]*') for o in LAUNCHER_OPTIONS)})(=|$)",
        f"--{', --'.join(LAUNCHER_OPTIONS)} belong to llmfleet: leave them out",
    ),
    _without(
        "^--(api[-_]k|hf[-_]t)",
        "a key or token does not belong here: give VLLM_API_KEY by valueFrom.secretKeyRef in engine.env, and the "
        "token of the hub by model.tokenSecret",
    ),
)


class ConfigMapKey(Part):
    """One key of a ConfigMap in the namespace of this object."""

    name: ObjectName = Field(description="Name of the ConfigMap.")
    key: DataKey = Field(description="Key inside the ConfigMap.")


class EnvSecretKey(Part):
    """One key of a Secret in the namespace of this object."""

    name: ObjectName = Field(description="Name of the Secret.")
    key: DataKey = Field(description="Key inside the Secret.")


@rules(
    cel(
        "has(self.secretKeyRef) != has(self.configMapKeyRef)",
        "give exactly one of secretKeyRef and configMapKeyRef",
        lambda source: (source.secret_key_ref is None) != (source.config_map_key_ref is None),
    ),
)
class EnvSource(Part):
    """Where the value of an environment variable comes from."""

    secret_key_ref: EnvSecretKey | None = Field(None, description="Key of a Secret.")
    config_map_key_ref: ConfigMapKey | None = Field(None, description="Key of a ConfigMap.")


@rules(
    cel(
        "has(self.value) != has(self.valueFrom)",
        "give exactly one of value and valueFrom",
        lambda variable: (variable.value is None) != (variable.value_from is None),
    ),
    cel(
        f"!has(self.value) || !self.name.matches('{_TELLTALE_NAME}')",
        "looks like a secret: put it into a Secret and name that in valueFrom.secretKeyRef",
        lambda variable: variable.value is None or compiled(_TELLTALE_NAME).search(variable.name) is None,
        field_path=".value",
    ),
)
class EnvVar(Part):
    """One environment variable of the engine."""

    name: Annotated[
        str,
        Field(max_length=128),
        matches("^[A-Za-z_][A-Za-z0-9_]*$", "must be letters, digits and '_', not beginning with a digit"),
    ] = Field(description="Name of the variable.")
    value: str | None = Field(None, description="Its value, never a secret.", max_length=4096)
    value_from: EnvSource | None = Field(None, description="A Secret or ConfigMap that holds the value.")


class Speculative(Part):
    """Speculative decoding: a small model drafts tokens that the served one checks."""

    draft_model: Source = Field(description="The drafting model, in the same forms as model.source.")
    tokens: int = Field(description="Tokens drafted at a time.", ge=1, le=32)


class Engine(Part):
    """The engine and its options. What is not said is the engine's own default."""

    profile: Literal["vllm", "sim"] | None = Field(
        None,
        description="Kind of engine: vllm, or sim, a simulator that answers without a model. Default: vllm.",
    )
    image: (
        Annotated[
            str,
            Field(max_length=512),
            matches(
                r"^[a-zA-Z0-9][a-zA-Z0-9._/:@-]*$",
                "must be an image such as registry/engine:tag or name@sha256:digest",
            ),
        ]
        | None
    ) = Field(
        None,
        description="Image to run instead of the profile's own, such as registry/engine:tag or name@sha256:digest.",
    )
    tensor_parallel_size: int | None = Field(None, description="GPUs that share each layer. Default: 1.", ge=1, le=64)
    pipeline_parallel_size: int | None = Field(
        None, description="Groups of GPUs that the layers are spread over. Default: 1.", ge=1, le=64
    )
    max_model_len: int | None = Field(
        None, description="Longest prompt plus answer, in tokens. Default: the model's own.", ge=1, le=16_777_216
    )
    max_num_seqs: int | None = Field(
        None, description="Requests that run at the same time in one replica.", ge=1, le=65_536
    )
    gpu_memory_utilization: float | None = Field(
        None, description="Share of each GPU's memory that the engine takes, 0-1.", gt=0, le=1
    )
    quantization: Literal["awq", "gptq", "fp8", "int8", "none"] | None = Field(
        None, description="How the weights are quantized. Default: as the model says."
    )
    dtype: Literal["auto", "half", "float16", "bfloat16", "float32"] | None = Field(
        None, description="Number format of weights and activations. Default: auto."
    )
    prefix_caching: bool | None = Field(None, description="Reuse the KV cache of equal prompt beginnings.")
    chunked_prefill: bool | None = Field(None, description="Mix pieces of long prompts with decoding.")
    speculative: Speculative | None = Field(None, description="Speculative decoding with a draft model.")
    args: Annotated[Items[Annotated[str, Field(min_length=1, max_length=1024)]], list_atomic(), *_ARGS_RULES] = Field(
        (), description="Further options, given to the engine as they are.", max_length=64
    )
    env: Annotated[Items[EnvVar], list_map("name")] = Field(
        (), description="Environment variables of the engine; secrets by reference only.", max_length=64
    )


__all__ = [
    "LAUNCHER_OPTIONS",
    "TYPED_OPTIONS",
    "ConfigMapKey",
    "Engine",
    "EnvSecretKey",
    "EnvSource",
    "EnvVar",
    "SecretKey",
    "Speculative",
]
